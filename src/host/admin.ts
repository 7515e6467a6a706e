// The host's admin endpoints: is it up, and with the master key, as on the platform: what state is it in, and running a function by hand.

import { findFunction, log, registry } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import type { HostClock } from "./clock";
import { presentedKey, readBody, sameSecret } from "./http";
import type { Door, Keys } from "./http";
import { endWith } from "./httpInvoke";
import type { Call, Invoker } from "./invoke";
import { messageOf } from "./retry";
import { timerData } from "./timerPump";

export interface AdminOptions {
  readonly invoker: Invoker;
  readonly clock: HostClock;
  readonly keys: Keys;
  readonly state: { readonly stopping: boolean };
}

const bodyBytesMax = 1024 * 1024;
const kindsByHand = ["timertrigger", "servicebustrigger", "cosmosdbtrigger", "activitytrigger"];

/** `GET /admin/host/ping`, `GET /admin/host/status`, `POST /admin/functions/{name}`. */
export function createAdminDoor({ invoker, clock, keys, state }: AdminOptions): Door {
  const startedAt = clock.now();
  return {
    prefix: "/admin/",
    async handle(request, response, url) {
      const { method } = request;
      if (url.pathname === "/admin/host/ping" && (method === "GET" || method === "POST")) return endWith(response, state.stopping ? 503 : 200);
      const key = presentedKey(request, request.url ?? "");
      if (key === undefined || !sameSecret(key, keys.master)) return endWith(response, 401);
      if (url.pathname === "/admin/host/status" && method === "GET") {
        const current = state.stopping ? "Stopping" : "Running";
        const uptime = clock.now() - startedAt;
        const body = JSON.stringify({ state: current, version: "4.local", functions: registry.functions.size, processUptime: uptime });
        response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
        response.end(body);
        return;
      }
      const name = /^\/admin\/functions\/([^/]+)$/.exec(url.pathname)?.[1];
      if (name === undefined || method !== "POST") return endWith(response, 404);
      const body = await readBody(request, bodyBytesMax);
      const fn = kindsByHand.map((kind) => findFunction(kind, name)).find((found) => found !== undefined);
      if (!fn || !body) return endWith(response, 404);
      invoker.invoke(fn, callByHand(fn, body.toString("utf8"), clock)).catch((error: unknown) => log("error", "user", messageOf(error), fn.name));
      endWith(response, 202);
    },
  };
}

function callByHand(fn: RegisteredFunction, body: string, clock: HostClock): Call {
  if (fn.kind === "timertrigger") return { data: timerData(undefined, clock.now(), false) };
  return { data: { string: inputOf(body) }, triggerMetadata: {} };
}

function inputOf(body: string): string {
  try {
    const { input } = JSON.parse(body) as { input?: unknown };
    return typeof input === "string" ? input : JSON.stringify(input ?? null);
  } catch {
    return body;
  }
}
