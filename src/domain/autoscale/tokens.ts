// Formula text to tokens with their places (reference autoscale-formula, section 2). Knows no names and no meaning.
import { Failure } from "./fault";

export interface Token {
  readonly kind: "number" | "string" | "name" | "sign" | "end";
  /** Of a string: what is between the quotes. */
  readonly text: string;
  readonly offset: number;
}

// One sticky expression, one alternative a kind: it never goes back over what it has read, whatever the text.
const TOKEN = /[ \t\r\n]+|\/\/[^\r\n]*|((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|"([^"\r\n]*)"|(\$?[A-Za-z_][A-Za-z0-9_]*)|(<=|>=|==|!=|&&|\|\||[-+*/<>!?:=(),;.])/y;

/** Throws a Failure at the first character that begins no token. */
export const tokensOf = (text: string): readonly Token[] => {
  const tokens: Token[] = [];
  for (let offset = 0; offset < text.length; offset = TOKEN.lastIndex) {
    TOKEN.lastIndex = offset;
    const match = TOKEN.exec(text);
    if (!match) throw unreadable(text, offset);
    const [, number, string, name, sign] = match;
    if (number !== undefined) tokens.push({ kind: "number", text: number, offset });
    else if (string !== undefined) tokens.push({ kind: "string", text: string, offset });
    else if (name !== undefined) tokens.push({ kind: "name", text: name, offset });
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign, offset });
  }
  tokens.push({ kind: "end", text: "end of formula", offset: text.length });
  return tokens;
};

const unreadable = (text: string, offset: number): Failure => {
  const character = String.fromCodePoint(text.codePointAt(offset) as number);
  const reason = character === '"' ? "The string has no closing quotation mark on its line" : `Unexpected character: ${character}`;
  return new Failure("AutoScalingFormulaSyntaxError", offset, reason);
};
