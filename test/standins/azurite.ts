// Azurite as the stand-in for Blob storage: a child process on a free port, with blobs in memory or in a folder. It is ended
// by SIGTERM and waited for, as it writes what it knows late. It is never killed and never shared between test files.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestCertificate } from "./certificate";

export interface Azurite {
  /** With the account at its end, as a client wants it. */
  readonly url: string;
  readonly account: string;
  readonly key: string;
  stop(): Promise<void>;
}

export interface AzuriteOptions {
  /** Where blobs are kept; absent: in memory. */
  readonly folder?: string;
  /** Absent: a free one. */
  readonly port?: number;
  /** Speaks https and takes an identity's tokens beside the key (of any issuer: their signature is not checked). */
  readonly tls?: TestCertificate;
}

/** The account and key that Azurite has built in; they open nothing else. */
const account = "devstoreaccount1";
const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const readyWithinMs = 90_000;
const portTries = 3;

/** Resolves when it answers. */
export async function startAzurite(options: AzuriteOptions = {}): Promise<Azurite> {
  const own = await mkdtemp(path.join(tmpdir(), "azurite-"));
  try {
    for (let tries = 1; ; tries++) {
      const port = options.port ?? (await freePort());
      const child = await launch(options, own, port);
      const said = capture(child);
      if (await answers(child, port)) {
        const stop = async (): Promise<void> => {
          await end(child);
          await rm(own, { recursive: true, force: true });
        };
        return { url: `${options.tls ? "https" : "http"}://127.0.0.1:${port}/${account}`, account, key, stop };
      }
      await end(child);
      // Somebody else may have taken the port meanwhile.
      if (tries >= portTries || options.port !== undefined) throw new Error(`Azurite did not start: ${said()}`);
    }
  } catch (error) {
    await rm(own, { recursive: true, force: true });
    throw error;
  }
}

async function launch(options: AzuriteOptions, own: string, port: number): Promise<ChildProcess> {
  const main = path.join(path.dirname(require.resolve("azurite/package.json")), "dist/src/blob/main.js");
  const args = [main, "--blobHost", "127.0.0.1", "--blobPort", String(port), "--silent", "--skipApiVersionCheck", "--disableTelemetry"];
  if (options.folder === undefined) args.push("--inMemoryPersistence");
  else args.push("--location", options.folder);
  if (options.tls) {
    const [cert, keyFile] = [path.join(own, "cert.pem"), path.join(own, "key.pem")];
    await writeFile(cert, options.tls.cert);
    await writeFile(keyFile, options.tls.key, { mode: 0o600 });
    args.push("--oauth", "basic", "--cert", cert, "--key", keyFile);
  }
  return spawn(process.execPath, args, { cwd: own, stdio: ["ignore", "pipe", "pipe"] });
}

function capture(child: ChildProcess): () => string {
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece: Buffer) => (said = (said + piece.toString()).slice(-2_000)));
  return () => said.trim();
}

async function answers(child: ChildProcess, port: number): Promise<boolean> {
  for (const until = Date.now() + readyWithinMs; Date.now() < until && child.exitCode === null && child.signalCode === null; ) {
    if (await accepts(port)) return true;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return false;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
