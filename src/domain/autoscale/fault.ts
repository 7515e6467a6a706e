// What can be wrong with a formula or its evaluation: codes, positions and sentences (reference autoscale-formula, section 10).
// A fault is thrown inside the interpreter and caught at its two doors, `parseFormula` and `evaluateFormula`; nobody else sees it fly.

export type FaultCode =
  | "AutoScalingFormulaTooLong"
  | "InvalidAutoScalingSettings"
  | "AutoScalingFormulaSyntaxError"
  | "AutoScalingFormulaEvaluationError"
  | "InsufficientSampleData";

/** Line and column count from 1; `detail` is the service's own sentence with the position in it. */
export interface FormulaFault {
  readonly fault: true;
  readonly code: FaultCode;
  readonly line: number;
  readonly column: number;
  readonly detail: string;
}

export const isFault = (value: unknown): value is FormulaFault => typeof value === "object" && value !== null && (value as FormulaFault).fault === true;

/** The general sentence of a code: [O] and [D] of the reference. */
export const faultMessage = (code: FaultCode): string => MESSAGES[code];

const MESSAGES: Readonly<Record<FaultCode, string>> = {
  AutoScalingFormulaTooLong: "The specified auto-scaling formula is too long",
  InvalidAutoScalingSettings: "The specified auto-scaling settings are invalid",
  AutoScalingFormulaSyntaxError: "The specified auto-scaling formula has syntax error",
  AutoScalingFormulaEvaluationError: "The specified auto-scaling formula has evaluation error",
  InsufficientSampleData: "Autoscale evaluation failed due to insufficient sample data",
};

/** Thrown with an offset into the text, which becomes line and column once, at the door. */
export class Failure extends Error {
  constructor(
    readonly code: FaultCode,
    readonly offset: number,
    readonly reason: string,
  ) {
    super(reason);
  }
}

export const faultAt = (text: string, { code, offset, reason }: Failure): FormulaFault => {
  const { line, column } = positionOf(text, offset);
  return { fault: true, code, line, column, detail: `Line ${line}, Col ${column}: ${reason}` };
};

/** CR LF is one line break, a tab one column. */
export const positionOf = (text: string, offset: number): { line: number; column: number } => {
  let line = 1;
  let start = 0;
  for (let at = 0; at < offset; at++) {
    const character = text[at];
    if (character !== "\n" && !(character === "\r" && text[at + 1] !== "\n")) continue;
    line++;
    start = at + 1;
  }
  return { line, column: offset - start + 1 };
};
