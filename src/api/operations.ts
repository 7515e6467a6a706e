// Every operation there is, and the router over them. A route is not there unless it is in this list.
import { agentDoor } from "./agent";
import { batch } from "./classic/batch";
import { bulk } from "./classic/bulk";
import { certificates } from "./classic/certificates";
import { files } from "./classic/files";
import { jobs } from "./classic/jobs";
import { pools } from "./classic/pools";
import { tasks } from "./classic/tasks";
import { tvmUsers } from "./classic/tvmUsers";
import { tvms } from "./classic/tvms";
import { workItems } from "./classic/workItems";
import { extras } from "./extras";
import { type Operation, type Router, router } from "./operation";

export const operations: readonly Operation[] = [...pools, ...tvms, ...tvmUsers, ...workItems, ...jobs, ...tasks, ...bulk, ...batch, ...files, ...certificates, ...agentDoor, ...extras];

export const routes: Router = router(operations);
