// The agent's way to the service: POST with JSON over kept-alive connections. The address stands in a small file,
// {"url": "http://127.0.0.1:PORT"}, read again after every failure, since a restarted service may have another port.
// It never retries by itself; exchange.ts decides when to try again.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";

export interface ServiceAnswer {
  readonly status: number;
  /** Parsed JSON of a 2xx answer, else undefined. */
  readonly body: unknown;
}

export interface Service {
  /** Rejects when no whole answer came in time, for whatever reason. */
  post(path: string, body: unknown, options: { readonly authorization?: string; readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<ServiceAnswer>;
  /** Where the service is, as far as is known; for programs that may speak to it themselves. */
  url(): string | undefined;
  /** The file that says where the service is has gone, and nothing was heard for this long: the service is no more. */
  isGone(afterMs: number): boolean;
  close(): void;
}

const ANSWER_BYTES_MAX = 64 << 20;

export function openService(endpointFile: string): Service {
  const agents = { http: new http.Agent({ keepAlive: true }), https: new https.Agent({ keepAlive: true }) };
  let base: URL | undefined;
  let heardAt = performance.now();
  return {
    async post(path, body, options) {
      try {
        base ??= readEndpoint(endpointFile);
        const answer = await send(agents, base, path, JSON.stringify(body), options);
        heardAt = performance.now();
        return answer;
      } catch (error) {
        base = undefined;
        throw error;
      }
    },
    url() {
      try {
        return (base ??= readEndpoint(endpointFile)).origin;
      } catch {
        return undefined;
      }
    },
    isGone: (afterMs) => performance.now() - heardAt > afterMs && !fs.existsSync(endpointFile),
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

function readEndpoint(file: string): URL {
  const { url } = JSON.parse(fs.readFileSync(file, "utf8")) as { url: string };
  return new URL(url);
}

type Agents = { readonly http: http.Agent; readonly https: https.Agent };
type Options = Parameters<Service["post"]>[2];

function send(agents: Agents, base: URL, path: string, text: string, options: Options): Promise<ServiceAnswer> {
  const secure = base.protocol === "https:";
  const headers: http.OutgoingHttpHeaders = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  if (options.authorization !== undefined) headers["authorization"] = options.authorization;
  return new Promise((resolve, reject) => {
    const request = (secure ? https : http).request({
      hostname: base.hostname.replace(/^\[|\]$/g, ""), port: base.port, path: base.pathname.replace(/\/$/, "") + path, method: "POST", headers,
      agent: secure ? agents.https : agents.http, ...(options.signal ? { signal: options.signal } : {}),
    });
    const timer = setTimeout(() => request.destroy(new Error("no answer in time")), options.timeoutMs);
    request.once("close", () => clearTimeout(timer));
    request.on("error", reject);
    request.on("response", (response) => receive(response).then(resolve, reject));
    request.end(text);
  });
}

function receive(response: http.IncomingMessage): Promise<ServiceAnswer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let length = 0;
    response.on("data", (piece: Buffer) => {
      pieces.push(piece);
      length += piece.length;
      if (length > ANSWER_BYTES_MAX) response.destroy(new Error("the answer is too long"));
    });
    response.on("error", reject);
    response.on("aborted", () => reject(new Error("the connection broke")));
    response.on("end", () => {
      const status = response.statusCode ?? 0;
      if (status < 200 || status > 299) return resolve({ status, body: undefined });
      try {
        resolve({ status, body: JSON.parse(Buffer.concat(pieces).toString("utf8")) });
      } catch (error) {
        reject(error as Error);
      }
    });
  });
}
