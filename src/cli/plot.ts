// A plot of series over time as one SVG text: steps, an axis of hours, an axis of numbers, a legend. Needs no script and no font of its own.

export interface PlotSeries {
  readonly name: string;
  readonly color: string;
  /** Milliseconds since 1970, and a value of at least 0; oldest first. */
  readonly points: readonly (readonly [number, number])[];
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [960, 400, 60, 20, 60, 40];

/** A value holds until the next one. Without points there are axes alone. */
export function plot(title: string, series: readonly PlotSeries[]): string {
  const times = series.flatMap(({ points }) => points.map(([at]) => at));
  const [from, to] = times.length === 0 ? [0, 1] : [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
  const top = niceTop(series.flatMap(({ points }) => points.map(([, value]) => value)).reduce((a, b) => Math.max(a, b), 1));
  const x = (at: number): number => round(LEFT + ((at - from) / Math.max(1, to - from)) * (WIDTH - LEFT - RIGHT));
  const y = (value: number): number => round(HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escaped(title)}</text>`,
    ...series.map(({ name, color }, index) => `<text x="${LEFT + index * 160}" y="42" fill="${color}">${escaped(name)}</text>`),
    ...[0, 0.25, 0.5, 0.75, 1].map((part) => horizontal(y(top * part), String(round(top * part)))),
    ...[0, 0.25, 0.5, 0.75, 1].map((part) => label(from + (to - from) * part, x)),
    ...series.map(({ color, points }) => `<path d="${steps(points, x, y)}" fill="none" stroke="${color}" stroke-width="1.5"/>`),
    "</svg>", "",
  ].join("\n");
}

const steps = (points: PlotSeries["points"], x: (at: number) => number, y: (value: number) => number): string =>
  points.map(([at, value], index) => (index === 0 ? `M${x(at)} ${y(value)}` : `H${x(at)}V${y(value)}`)).join("");

const horizontal = (y: number, text: string): string =>
  `<path d="M${LEFT} ${y}H${WIDTH - RIGHT}" stroke="#dddddd"/><text x="${LEFT - 6}" y="${y + 4}" text-anchor="end">${text}</text>`;

const label = (at: number, x: (at: number) => number): string =>
  `<text x="${x(at)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${new Date(at).toISOString().slice(5, 16).replace("T", " ")}</text>`;

/** The next of 4, 8, 20, 40, 80, 200 and so on: a quarter of it is a round number. */
const niceTop = (most: number): number => {
  for (let power = 1; ; power *= 10) for (const step of [4, 8, 20]) if (most <= step * power) return step * power;
};

const round = (value: number): number => Math.round(value * 10) / 10;

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
