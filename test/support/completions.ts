// What really happened to the tasks of a work item, read from the stored events of the stand-in for Cosmos DB: not from what the
// service says of itself.
import { CosmosClient } from "@azure/cosmos";
import type { AzureStandIns } from "../standins/azureStandIns";

interface Commit {
  readonly s: string;
  readonly v: number;
  readonly e: readonly { readonly type: string; readonly attempt?: number; readonly exitCode?: number }[];
}

export interface Completions {
  readonly tasks: number;
  /** Streams with a gap, or with another number of completions than one, or one that is not of the attempt that was last given out. */
  readonly wrong: readonly string[];
}

export const completionsOf = async ({ addresses: { cosmos } }: Pick<AzureStandIns, "addresses">, workItem: string): Promise<Completions> => {
  const client = new CosmosClient({ endpoint: cosmos.endpoint, key: cosmos.key, connectionPolicy: { enableBackgroundEndpointRefreshing: false } });
  const streams = new Map<string, Commit[]>();
  try {
    const pages = client.database(cosmos.database).container("events").items.readAll<Commit>({ maxItemCount: 1_000 });
    while (pages.hasMoreResults()) {
      const { resources = [] } = await pages.fetchNext();
      for (const commit of resources) if (commit.s.startsWith(`task-local.${workItem}.`)) streams.set(commit.s, [...(streams.get(commit.s) ?? []), commit]);
    }
  } finally {
    client.dispose();
  }
  const wrong = [...streams].filter(([, commits]) => !isRight(commits.toSorted((a, b) => a.v - b.v)));
  return { tasks: streams.size, wrong: wrong.map(([stream, commits]) => `${stream}: ${commits.flatMap(({ v, e }) => e.map(({ type, attempt }) => `${v} ${type} ${attempt ?? ""}`)).join(", ")}`) };
};

const isRight = (commits: readonly Commit[]): boolean => {
  const events = commits.flatMap(({ e }) => e);
  const completed = events.filter(({ type }) => type === "TaskCompleted");
  const given = events.filter(({ type }) => type === "TaskAssigned");
  return commits.every(({ v }, index) => v === index + 1) && completed.length === 1 && events.at(-1) === completed[0] && completed[0]?.attempt === given.at(-1)?.attempt;
};
