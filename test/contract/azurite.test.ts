// The blob store on Azurite: the contract of all stores, and what is Blob storage's own: long files in blocks, containers that
// have gone, signed addresses that plain HTTP can use, signing as an identity, and what is said of a store that does not answer.

import { mkdtemp, rm } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";
import { blobFiles } from "../../src/adapters/blobFiles";
import { systemClock } from "../../src/adapters/system";
import type { Files } from "../../src/ports";
import { startAzurite, type Azurite } from "../standins/azurite";
import { testCertificate } from "../standins/certificate";
import { describeFiles } from "./files.contract";

const tls = testCertificate();
const issued = { aud: "https://storage.azure.com", iss: "https://sts.windows.net/00000000-0000-0000-0000-000000000001/" };
let azurite: Azurite;

beforeAll(async () => {
  azurite = await startAzurite({ tls });
});
afterAll(() => azurite.stop());

const quick = { tlsOptions: { ca: tls.cert }, retryOptions: { maxTries: 2, retryDelayInMs: 10 } };
const withKey = (): Files => blobFiles({ url: azurite.url, credential: azurite, clock: systemClock, client: quick });
/** The same account, as somebody whose token is good. */
const asIdentity = (now = () => new Date()): Files =>
  blobFiles({ url: azurite.url, credential: { getToken: async () => ({ token: jwt(), expiresOnTimestamp: Date.now() + 3_600_000 }) }, clock: { now }, client: quick });

describeFiles("blobs, with a key", async () => ({ port: withKey(), reopen: async () => withKey(), close: async () => undefined }));

describe("blobs", () => {
  const inSixDays = () => new Date(Date.now() + 6 * 86_400_000);

  test("a long file is put in blocks, and read again in ranges", async () => {
    const files = withKey();
    const piece = Buffer.alloc(3_000_000, "0123456789");
    const whole = Buffer.concat(Array(8).fill(piece));
    const stat = await files.put("long-files/a", chunks(piece, 8));
    expect(stat.length).toBe(whole.length);
    const found = await files.read("long-files/a", { offset: 8_388_600, length: 20 });
    expect((await bytesOf(found!.content)).equals(whole.subarray(8_388_600, 8_388_620))).toBe(true);
    expect(found!.stat).toEqual(stat);
    expect((await bytesOf((await files.read("long-files/a"))!.content)).equals(whole)).toBe(true);
  });

  test("a long file that fails midway leaves nothing, and throws what its sender threw", async () => {
    const files = withKey();
    await expect(files.put("long-files/broken", broken(9_000_000))).rejects.toThrow("the sender went away");
    expect(await files.stat("long-files/broken")).toBeUndefined();
  });

  test("a container that was removed meanwhile is made again", async () => {
    const files = withKey();
    await files.put("passing/a", Buffer.from("1"));
    await new BlobServiceClient(azurite.url, new StorageSharedKeyCredential(azurite.account, azurite.key), quick).deleteContainer("passing");
    await files.put("passing/b", Buffer.from("2"));
    expect((await files.list("passing/")).map(({ path: name }) => name)).toEqual(["passing/b"]);
  });

  test("a prefix that does not name a container whole finds all that begin so", async () => {
    const files = withKey();
    for (const name of ["many-b/1", "many-a/1", "many-a/2", "many/1"]) await files.put(name, Buffer.from("1"));
    const names = async (prefix: string, after?: string, limit?: number) => (await files.list(prefix, after, limit)).map(({ path: name }) => name);
    expect(await names("many")).toEqual(["many-a/1", "many-a/2", "many-b/1", "many/1"]);
    expect(await names("many", "many-a/1", 2)).toEqual(["many-a/2", "many-b/1"]);
  });

  describe.each([["a key", () => withKey()], ["an identity", () => asIdentity()]])("addresses signed with %s", (_, open) => {
    test("let anybody read or write that file, and nothing else", async () => {
      const files = open();
      const name = `signed/${_.replace(" ", "-")}/a b`;
      const write = await files.signedUrl(name, "write", inSixDays());
      await files.put("signed/other", Buffer.from("other"));
      expect((await request("PUT", write, "hello")).status).toBe(201);
      const read = await files.signedUrl(name, "read", inSixDays());
      expect(await request("GET", read)).toEqual({ status: 200, body: "hello" });
      expect((await request("PUT", read, "no")).status).toBe(403);
      expect((await request("GET", write)).status).toBe(403);
      expect((await request("GET", read.replace(/\/signed\/[^?]*/, "/signed/other"))).status).toBe(403);
      const past = await files.signedUrl(name, "read", new Date(Date.now() - 3_600_000));
      expect((await request("GET", past)).status).toBe(403);
    });
  });

  test("an identity's key signs many addresses, is renewed in time, and for no longer than a key may live", async () => {
    let now = Date.now();
    const files = asIdentity(() => new Date(now));
    const days = (count: number) => new Date(now + count * 86_400_000);
    const keyOf = (address: string) => new URL(address).searchParams.get("ske");
    const first = await Promise.all([1, 2, 6].map((count) => files.signedUrl("signed/a", "read", days(count))));
    expect(new Set(first.map(keyOf)).size).toBe(1);
    now += 2 * 86_400_000;
    expect(keyOf(await files.signedUrl("signed/a", "read", days(1)))).toBe(keyOf(first[0]!));
    const last = await files.signedUrl("signed/a", "read", days(6));
    expect(keyOf(last)).not.toBe(keyOf(first[0]!));
    await expect(files.signedUrl("signed/a", "read", days(8))).rejects.toThrow("seven days");
  });

  test("what is wrong with the store is a sentence that carries no credential", async () => {
    const foreign = blobFiles({ url: azurite.url, credential: { account: azurite.account, key: Buffer.from("another key").toString("base64") }, clock: systemClock, client: quick });
    const refused = await foreign.put("refused/a", Buffer.from("1")).catch((error: Error) => error);
    expect(refused).toMatchObject({ message: expect.stringMatching(/^The file could not be put: the blob store answered 40[03] \(\w+\)\.$/) });
    expect(JSON.stringify([refused, { ...(refused as Error) }])).not.toMatch(/SharedKey|sig=/);
    const nobody = blobFiles({ url: "http://127.0.0.1:9/nobody", credential: { account: "nobody", key: "bm9ib2R5" }, clock: systemClock, client: quick });
    await expect(nobody.stat("gone/a")).rejects.toThrow("The file could not be looked at: the blob store did not answer (ECONNREFUSED).");
  });
});

test("in a folder, blobs are there after a restart", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "batchledger-test-"));
  try {
    const open = (at: Azurite) => blobFiles({ url: at.url, credential: at, clock: systemClock });
    const first = await startAzurite({ folder });
    const stat = await open(first).put("kept/a", Buffer.from("still here"), "application/x-kept").finally(() => first.stop());
    const second = await startAzurite({ folder });
    expect(await open(second).stat("kept/a").finally(() => second.stop())).toEqual(stat);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function jwt(): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const at = Math.floor(Date.now() / 1_000);
  return [part({ alg: "RS256", typ: "JWT" }), part({ ...issued, iat: at - 60, nbf: at - 60, exp: at + 3_600, oid: "tester", tid: "00000000-0000-0000-0000-000000000001" }), "c2ln"].join(".");
}

function request(method: string, address: string, body?: string): Promise<{ status: number; body: string }> {
  const headers = body === undefined ? {} : { "x-ms-blob-type": "BlockBlob", "content-length": String(body.length) };
  return new Promise((resolve, reject) => {
    const sent = https.request(address, { method, headers, ca: tls.cert }, async (response) => {
      resolve({ status: response.statusCode ?? 0, body: (await bytesOf(response)).toString("utf8") });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function bytesOf(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  return Buffer.concat(parts);
}

async function* chunks(chunk: Uint8Array, count: number): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < count; sent++) yield chunk;
}

async function* broken(bytes: number): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(bytes);
  throw new Error("the sender went away");
}
