// Pages of rows: scan an index on from where the last page ended until enough rows pass the filter.
import type { Row, ViewLayout, Views } from "../ports";

export interface Page<R> {
  readonly after?: string | undefined;
  readonly limit: number;
  readonly filter?: ((row: R) => boolean) | undefined;
}

export interface Rows<R> {
  readonly rows: readonly { readonly key: string; readonly row: R }[];
  /** Hand it back as `after` for more; absent: there is no more. */
  readonly next?: string;
}

const CHUNK = 1000;

export const scan = async <R extends Row>(
  views: Views,
  view: ViewLayout<R>,
  index: string,
  prefix: string,
  page: Page<R>,
  reverse = false,
): Promise<Rows<R>> => {
  const rows: { key: string; row: R }[] = [];
  let after = page.after;
  for (;;) {
    const wanted = page.filter ? CHUNK : Math.min(CHUNK, page.limit + 1 - rows.length);
    const found = await views.query(view, { index, prefix, reverse, limit: wanted, ...(after === undefined ? {} : { after }) });
    for (const entry of found) {
      if (page.filter && !page.filter(entry.row)) continue;
      // One more than asked for: there is a next page, and the last row given is where it starts.
      if (rows.length === page.limit) return { rows, next: (rows[rows.length - 1] as { key: string }).key };
      rows.push(entry);
    }
    if (found.length < wanted) return { rows };
    after = (found[found.length - 1] as { key: string }).key;
  }
};
