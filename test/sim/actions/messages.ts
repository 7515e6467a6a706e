// Requests within other things: many in one batch, and one as a message, sent by the queue or through the service.
import { taskBody } from "../bodies";
import { ACCOUNT, type Action, type Ask, type Client, JOB, jobPath, someItem, somePool, taskPath, weighted } from "../names";

// ---------------------------------------------------------------- a batch

const BOUNDARY = "batch_of_the_simulation";
const EOL = "\r\n";

const request = (method: string, target: string, body?: object): string =>
  ["Content-Type: application/http", "Content-Transfer-Encoding: binary", "", `${method} ${target} HTTP/1.1`, ...(body ? ["Content-Type: application/json"] : []), "", ...(body ? [JSON.stringify(body)] : []), ""].join(EOL);

const changeSet = (number: number, part: string): string => {
  const boundary = `changeset_${number}`;
  return [`Content-Type: multipart/mixed; boundary=${boundary}`, "", `--${boundary}`, part, `--${boundary}--`, ""].join(EOL);
};

/** Additions first, so that answers are found by their place; what is read or removed afterwards is of no matter to them. */
const batch = (client: Client): Ask => {
  const { random } = client;
  const workItem = someItem(client);
  const job = jobPath(workItem);
  const names = Array.from({ length: 1 + random.below(4) }, () => (random.chance(0.9) ? client.nextTask() : client.someTask()));
  const adding = names.map((name, index) => changeSet(index, request("POST", `${job}/tasks`, taskBody(client, name))));
  const more = [request("GET", `/pools/${somePool(client)}`), ...(random.chance(0.3) ? [changeSet(99, request("POST", `${taskPath(client)}?terminate`))] : [])];
  const broken = random.chance(0.05) ? "--nobody's boundary--" : `--${BOUNDARY}--`;
  const text = [...[...adding, ...more].map((part) => `--${BOUNDARY}${EOL}${part}${EOL}`), broken, ""].join("");
  return { method: "POST", target: "/$batch", raw: { type: `multipart/mixed; boundary=${BOUNDARY}`, text }, adds: names.map((task) => ({ workItem, task })) };
};

export const batchActions: readonly Action[] = [{ name: "batch", weight: 6, ask: batch }];

// ---------------------------------------------------------------- messages

/** What may be asked for by message, by the name of the action that asks for it directly. */
export const BY_MESSAGE: Readonly<Record<string, string>> = {
  addPool: "addPool", patchPool: "patchPool", updatePoolProperties: "updatePoolProperties", resizePool: "resizePool", stopResize: "stopPoolResize", deletePool: "deletePool",
  addWorkItem: "addWorkItem", updateWorkItem: "updateWorkItem", patchWorkItem: "patchWorkItem", enableWorkItem: "enableWorkItem", disableWorkItem: "disableWorkItem",
  terminateWorkItem: "terminateWorkItem", deleteWorkItem: "deleteWorkItem", updateJob: "updateJob", patchJob: "patchJob", disableJob: "disableJob", enableJob: "enableJob",
  terminateJob: "terminateJob", deleteJob: "deleteJob", addTask: "addTask", addTaskCollection: "addTasks", updateTask: "updateTask", terminateTask: "terminateTask", deleteTask: "deleteTask",
};

const PLACE = /^\/(?:pools(?:\/(?<pool>\w+))?|workitems(?:\/(?<workItem>\w+)(?:\/jobs\/(?<job>[\w-]+)(?:\/tasks(?:\/(?<task>\w+))?)?)?)?)(?:\?|$)/;

/** The same wish as a message has it. */
const commandOf = (operation: string, { target, body }: Ask): Record<string, unknown> => JSON.parse(JSON.stringify({ operation, account: ACCOUNT, ...PLACE.exec(target)?.groups, body })) as Record<string, unknown>;

/** Any of these wishes: half of them are put into the queue, half sent by way of the service. Nobody is told what becomes of them. */
export const messageActions = (direct: readonly Action[]): readonly Action[] => {
  const may = direct.filter(({ name }) => BY_MESSAGE[name] !== undefined);
  const make = (client: Client): { command: Record<string, unknown>; adds?: Ask["adds"] } => {
    const action = weighted(client.random, may);
    const ask = action.ask(client);
    return { command: commandOf(BY_MESSAGE[action.name] as string, ask), ...(ask.adds ? { adds: ask.adds } : {}) };
  };
  return [
    { name: "someMessage", weight: 2, ask: (client) => ({ method: "POST", target: "message", ...make(client) }) as Ask },
    { name: "sendCommand", weight: 2, ask: (client) => {
      const { command, adds } = make(client);
      return { method: "POST", target: "/batchledger/commands", body: command, later: true, ...(adds ? { adds } : {}) };
    } },
    { name: "addTaskByMessage", weight: 4, ask: (client) => {
      const workItem = someItem(client);
      const task = client.nextTask();
      const command = { operation: "addTask", account: ACCOUNT, workItem, job: JOB, body: taskBody(client, task) };
      return { method: "POST", target: `message ${workItem}`, command, adds: [{ workItem, task }] };
    } },
  ];
};
