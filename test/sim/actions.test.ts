// Nothing that the service can be asked for is left out of the simulation: the route table and the table of messages are held
// against what the actions ask for.
import { operations, routes } from "../../src/api/operations";
import { COMMANDS } from "../../src/api/commands";
import { isRejection } from "../../src/domain/decider";
import { seeded } from "../support/seeded";
import { BY_MESSAGE } from "./actions/messages";
import { ACTIONS, createClient } from "./clients";
import type { Ask } from "./names";

/** Operations that no client asks for, and who does. */
const NOT_OF_CLIENTS: Readonly<Record<string, string>> = {
  Join: "simulated TVMs ask for it (machines.ts)",
  FetchCertificates: "simulated TVMs ask for it (machines.ts)",
  Exchange: "simulated TVMs ask for it (machines.ts)",
};

const operationOf = ({ method, target }: Ask): string | undefined => {
  const url = new URL(target, "http://service.example");
  const route = routes.find(url.pathname);
  if (isRejection(route)) return undefined;
  const verb = route.operations.find((one) => one.verb !== undefined && url.searchParams.get(one.verb) === "")?.verb;
  return route.operations.find((one) => one.method === method && one.verb === verb)?.name;
};

test("every operation of the route table is asked for by an action", () => {
  const client = createClient(seeded(1), () => Date.UTC(2015, 3, 1));
  client.tvms.push("Alpha/tvms/tvm-1");
  const asked = new Set<string>();
  // More than once: some ask now for this, now for that.
  for (const { name, ask } of Array.from({ length: 20 }, () => ACTIONS).flat()) {
    const one = ask(client);
    if (one.command) continue;
    const operation = operationOf(one);
    if (operation === undefined) throw new Error(`The action ${name} asks for ${one.method} ${one.target}, which is no operation.`);
    asked.add(operation);
  }
  expect(operations.map(({ name }) => name).filter((name) => !asked.has(name)).sort()).toEqual(Object.keys(NOT_OF_CLIENTS).sort());
});

test("whatever may be asked for by message is asked for so", () => {
  expect(Object.values(BY_MESSAGE).sort()).toEqual(Object.keys(COMMANDS).sort());
  const names = new Set(ACTIONS.map(({ name }) => name));
  expect(Object.keys(BY_MESSAGE).filter((name) => !names.has(name))).toEqual([]);
});
