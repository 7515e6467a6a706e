// Every view that is folded from events, by the category of its streams.
import type { Category } from "../domain/ids";
import { certificates } from "./certificates";
import { jobs } from "./jobs";
import { pools } from "./pools";
import { tasks } from "./tasks";
import { tvms } from "./tvms";
import type { View } from "./view";
import { workItems } from "./workItems";

export const viewOf = { pool: pools, tvm: tvms, workItem: workItems, job: jobs, task: tasks, certificate: certificates } as const;

/** The view of a category with its types erased. */
export const anyViewOf = (category: Category): View => viewOf[category] as unknown as View;
