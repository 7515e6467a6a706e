// What only looks: each is rare, for it changes nothing, and together they go through every list and view there is.
import { type Action, type Client, jobPath, someItem, somePool, someTvm, taskPath } from "../names";

type Place = (client: Client) => string;

const pool: Place = (client) => `/pools/${somePool(client)}`;
const tvm: Place = (client) => `/pools/${someTvm(client)}`;
const item: Place = (client) => `/workitems/${someItem(client)}`;
const job: Place = (client) => jobPath(someItem(client));

const looks = (name: string, place: Place, method: "GET" | "HEAD" = "GET"): Action => ({ name, weight: 0.25, ask: (client) => ({ method, target: place(client) }) });
const beside = (path: string, place: Place): Place => (client) => `/batchledger/${path}${place(client)}`;

/** Of lists: pages, filters, statistics. */
const listed = (of: string): Place => ({ random }) => `${of}?${random.oneOf(["maxresults=2", "$filter=" + encodeURIComponent("state eq 'active'"), "$expand=stats"])}`;

export const readActions: readonly Action[] = [
  looks("listPools", listed("/pools")),
  looks("headPool", pool, "HEAD"),
  looks("getTvm", tvm),
  looks("getTvmRdpFile", (client) => `${tvm(client)}/rdp`),
  looks("getTvmSsh", (client) => `${tvm(client)}/ssh`),
  looks("listWorkItems", listed("/workitems")),
  looks("getWorkItem", item),
  looks("headWorkItem", item, "HEAD"),
  looks("listJobs", (client) => listed(`${item(client)}/jobs`)(client)),
  looks("poolHistory", beside("history", pool)),
  looks("tvmHistory", beside("history", tvm)),
  looks("workItemHistory", beside("history", item)),
  looks("jobHistory", beside("history", job)),
  looks("taskHistory", beside("history", taskPath)),
  looks("why", beside("why", taskPath)),
  looks("counts", beside("counts", job)),
  looks("autoScaleRecord", (client) => `/batchledger/autoscale/${somePool(client)}`),
  looks("listSizes", () => "/batchledger/sizes"),
  looks("health", () => "/batchledger/health"),
  looks("headHealth", () => "/batchledger/health", "HEAD"),
  looks("listUploads", () => "/batchledger/files/input/"),
  looks("listAllUploads", () => "/batchledger/files"),
  looks("listRefusedCommands", () => "/batchledger/refusedcommands"),
  looks("listParkedCommits", () => "/batchledger/parkedcommits"),
  { name: "grantUpload", weight: 0.25, ask: ({ random }) => ({ method: "POST", target: `/batchledger/files/input/${random.oneOf(["a", "b/c"])}` }) },
];
