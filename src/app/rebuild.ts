// Views from zero: emptied, then folded anew from every commit there is. Safe while the service runs: what happens meanwhile is
// shown by the feed, which finds what is already there by its version. It never changes an event.
import type { Ports } from "../ports";
import { tvms } from "../views/tvms";
import { forgetSaid } from "./agents";
import { writeHeartbeat } from "./heartbeats";
import { forgetShown, projectFeed } from "./project";

/** Commits read at a time. */
const BATCH = 500;
const TVMS_PAGE = 500;

/** Answers how many commits were folded; `progress` is told so after each batch. */
export const rebuild = async (ports: Ports, at: string, progress: (commits: number) => void = () => {}): Promise<number> => {
  await ports.views.clear();
  // After the views: what was shown between the two must not be taken for still shown.
  forgetShown(ports.views);
  forgetSaid(ports.views);
  let position: string | undefined;
  let count = 0;
  for (;;) {
    const { commits, position: next } = await ports.eventStore.readFeed(position, BATCH);
    if (commits.length === 0) break;
    await projectFeed(ports, commits);
    position = next;
    count += commits.length;
    progress(count);
  }
  await listenAgain(ports, at);
  return count;
};

/** When TVMs were last heard of is no event: counting their silence begins anew, or one that is dead would never be missed. */
const listenAgain = async (ports: Ports, at: string): Promise<void> => {
  let after: string | undefined;
  for (;;) {
    const page = await ports.views.query(tvms, { index: "pool", prefix: "", limit: TVMS_PAGE, ...(after === undefined ? {} : { after }) });
    for (const { key, row } of page) if (row.joined) await writeHeartbeat(ports, key.replace("/", "."), row.boot, at, true);
    if (page.length < TVMS_PAGE) return;
    after = page[page.length - 1]?.key;
  }
};
