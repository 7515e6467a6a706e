// Route templates of HTTP functions: `items/{id:int}/{tail?}`, `{*rest}`. Matches paths, case-insensitively, literals before
// constrained before free before catch-all. Knows nothing of requests.

export interface Route<T> {
  /** Absent: every method. Upper case. */
  readonly methods: ReadonlySet<string> | undefined;
  readonly segments: readonly Segment[];
  readonly target: T;
}

export interface RouteMatch<T> {
  readonly target: T;
  readonly params: Record<string, string>;
}

type Segment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "parameter"; readonly name: string; readonly pattern: RegExp | undefined; readonly optional: boolean }
  | { readonly kind: "rest"; readonly name: string };

/** Reads a template. Throws on one that cannot be honoured. */
export function parseTemplate(template: string): Segment[] {
  const segments = template.split("/").filter(Boolean).map(parseSegment);
  segments.forEach((segment, index) => {
    if (segment.kind === "rest" && index !== segments.length - 1) throw new Error(`Route "${template}": a catch-all must come last.`);
  });
  return segments;
}

/** Orders routes so that the first that matches is the one the real host would take. */
export function orderRoutes<T>(routes: readonly Route<T>[]): Route<T>[] {
  const rank = (route: Route<T>): string => route.segments.map(precedence).join("");
  return routes
    .map((route) => ({ route, rank: rank(route) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0))
    .map(({ route }) => route);
}

/** The first route for the method and the decoded path segments; a wrong method is no match, as on the real host. */
export function findRoute<T>(routes: readonly Route<T>[], method: string, parts: readonly string[]): RouteMatch<T> | undefined {
  for (const route of routes) {
    if (route.methods && !route.methods.has(method)) continue;
    const params = matchSegments(route.segments, parts);
    if (params) return { target: route.target, params };
  }
  return undefined;
}

/**
 * The decoded segments of a raw path, an escaped slash left as it is; undefined for a path that no honest client sends:
 * bad escapes, or `.` and `..` segments, which a later reader of the URL would resolve differently than the router did.
 */
export function splitPath(path: string): string[] | undefined {
  const parts: string[] = [];
  for (const raw of path.split("/")) {
    if (raw === "") continue;
    const part = raw.includes("%") ? decodeSegment(raw) : raw;
    if (part === undefined || part === "." || part === "..") return undefined;
    parts.push(part);
  }
  return parts;
}

function decodeSegment(raw: string): string | undefined {
  try {
    return decodeURIComponent(raw.replace(/%2f/gi, "%252F"));
  } catch {
    return undefined;
  }
}

const constraints: Readonly<Record<string, RegExp>> = {
  int: /^-?\d+$/,
  long: /^-?\d+$/,
  guid: /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i,
  alpha: /^[a-z]+$/i,
  bool: /^(?:true|false)$/i,
  decimal: /^-?\d+(?:\.\d+)?$/,
  datetime: /^\d{4}-\d{2}-\d{2}/,
};

function parseSegment(text: string): Segment {
  const found = /^\{(\*?)([A-Za-z_]\w*)(?::([^}?]+))?(\?)?\}$/.exec(text);
  if (!found) {
    if (/[{}]/.test(text)) throw new Error(`Route segment "${text}" is not supported.`);
    return { kind: "literal", text: text.toLowerCase() };
  }
  const [, star, name = "", constraint, optional] = found;
  if (star === "*") return { kind: "rest", name };
  const pattern = constraint === undefined ? undefined : constraints[constraint];
  if (constraint !== undefined && !pattern) throw new Error(`Route constraint "${constraint}" is not supported.`);
  return { kind: "parameter", name, pattern, optional: optional === "?" };
}

function precedence(segment: Segment): string {
  if (segment.kind === "literal") return "0";
  if (segment.kind === "rest") return "3";
  return segment.pattern ? "1" : "2";
}

function matchSegments(segments: readonly Segment[], parts: readonly string[]): Record<string, string> | undefined {
  const params: Record<string, string> = {};
  let at = 0;
  for (const segment of segments) {
    if (segment.kind === "rest") {
      if (at < parts.length) params[segment.name] = parts.slice(at).join("/");
      return params;
    }
    const part = parts[at];
    if (part === undefined) {
      if (segment.kind === "parameter" && segment.optional) continue;
      return undefined;
    }
    if (segment.kind === "literal") {
      if (part.toLowerCase() !== segment.text) return undefined;
    } else {
      if (segment.pattern && !segment.pattern.test(part)) return undefined;
      params[segment.name] = part;
    }
    at++;
  }
  return at === parts.length ? params : undefined;
}
