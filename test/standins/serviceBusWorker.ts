// Run by tests in a process of its own: handles whatever comes on a plain queue and on one with lanes. Prints a line when it
// begins and one when it has settled a batch; waits in between for a line on standard input when it was told to hold on.
//   serviceBusWorker.ts <connection string> <plain queue> <queue with lanes> [hold]

import { once } from "node:events";
import { serviceBusSource } from "../../src/adapters/serviceBusSource";
import { systemClock } from "../../src/adapters/system";
import type { Log, ReceivedMessage } from "../../src/ports";

const tell = (message: string, details?: object): void => void process.stderr.write(`${message} ${JSON.stringify(details)}\n`);
const log: Log = { debug() {}, info() {}, warn: tell, error: tell };

const say = (what: "begun" | "done", queue: string, messages: readonly ReceivedMessage[]): void =>
  void process.stdout.write(`${JSON.stringify({ what, queue, lane: messages[0]?.lane, bodies: messages.map(({ body }) => body) })}\n`);

function main([connection, plain, laned, mode]: readonly string[]): void {
  const source = serviceBusSource({ connection: connection! }, { clock: systemClock, log });
  const serve = (queue: string, byLane: boolean): void => {
    let again = true;
    let busy = false;
    const kick = async (): Promise<void> => {
      again = true;
      if (busy) return;
      busy = true;
      while (again) {
        again = false;
        for (let batch = await source.receive(queue, { max: 5, byLane }); batch.length > 0; batch = await source.receive(queue, { max: 5, byLane })) {
          say("begun", queue, batch);
          if (mode === "hold") await once(process.stdin, "data");
          await source.complete(queue, batch);
          say("done", queue, batch);
        }
      }
      busy = false;
    };
    source.onArrival(queue, () => void kick());
  };
  serve(plain!, false);
  serve(laned!, true);
}

main(process.argv.slice(2));
