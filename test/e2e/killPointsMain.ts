// npm run kills: the life of killPoints.ts once for every numbered point of the service or the agent.
//   npm run kills -- --role service                  all points
//   npm run kills -- --role agent --points 10..20    some; --step N leaves out all but every Nth; --jobs N side by side (2)
//   npm run kills -- --list                          names them; --keep leaves the data of failures
import { parseArgs } from "node:util";
import { playPoint } from "./killPoints";

const main = async (): Promise<number> => {
  const { values } = parseArgs({ options: { role: { type: "string", default: "service" }, points: { type: "string" }, step: { type: "string", default: "1" }, jobs: { type: "string", default: "2" }, list: { type: "boolean" }, keep: { type: "boolean" } } });
  const role = values.role === "agent" ? "agent" : "service";
  const { names } = await playPoint(role, 0);
  process.stdout.write(`${names.length} points of the ${role}\n`);
  if (values.list) process.stdout.write(names.map((name, index) => `${index + 1} ${name}\n`).join(""));
  if (values.list) return 0;
  const [first = 1, last = names.length] = (values.points ?? "").split("..").filter(Boolean).map(Number);
  const waiting = Array.from({ length: last - first + 1 }, (_, index) => first + index).filter((at) => (at - first) % Number(values.step) === 0);
  const tally = { died: 0, none: 0, failed: 0 };
  const work = async (): Promise<void> => {
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      const startedAt = performance.now();
      const result = await playPoint(role, at, values.keep).catch((error: Error) => error);
      const took = ((performance.now() - startedAt) / 1000).toFixed(1);
      if (result instanceof Error) {
        tally.failed++;
        process.stdout.write(`FAILED ${result.message}\n`);
      } else {
        tally[result.died === undefined ? "none" : "died"]++;
        process.stdout.write(`ok ${at} ${result.died ?? "nobody died: this run had fewer points"} (${took} s)\n`);
      }
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));
  process.stdout.write(`${JSON.stringify({ role, points: names.length, ...tally })}\n`);
  return tally.failed > 0 ? 1 : 0;
};

void main().then((code) => process.exit(code));
