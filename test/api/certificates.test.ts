// Certificates over the API: added, listed, shown, deleted, referred to by pools; what is secret goes in and never comes out.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { endCertificate } from "../../src/app/certificates";
import { certificateKey } from "../../src/domain/ids";
import { testPfx } from "../standins/certificate";
import { allocateTvm, agentPost, joinBody } from "./fakeAgent";
import { ACCOUNT, BASE, POOL, type Service, ask, openService, refusal } from "./support";

const own = testPfx("3des");
const other = testPfx();
const PASSWORD = "a canary of a password";
const body = { thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1", data: own.pfx(PASSWORD).toString("base64"), certificateFormat: "pfx", password: PASSWORD };
const cer = { thumbprint: other.thumbprint, thumbprintAlgorithm: "sha1", data: other.cer.toString("base64"), certificateFormat: "cer" };
const at = (thumbprint: string): string => `/certificates(thumbprintAlgorithm=sha1,thumbprint=${thumbprint})`;

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const add = async (one: object): Promise<void> => expect((await ask(service, "POST", "/certificates", { body: one })).status).toBe(201);
/** What the service does a moment after a deletion has begun. */
const settle = (thumbprint = own.thumbprint): Promise<void> => endCertificate(service.ports, certificateKey(ACCOUNT, "sha1", thumbprint), service.ports.clock.now().toISOString());

test("added, it is shown with its public part; in capitals and another order it is the same", async () => {
  const added = await ask(service, "POST", "/certificates", { body: { ...body, thumbprint: own.thumbprint.toUpperCase(), thumbprintAlgorithm: "SHA1", certificateFormat: undefined } });
  expect([added.status, added.text, added.headers.get("location"), added.headers.get("dataserviceid")]).toEqual([201, "", BASE + at(own.thumbprint), BASE + at(own.thumbprint)]);
  const shown = await ask(service, "GET", at(own.thumbprint));
  expect(shown.json).toEqual({
    "odata.metadata": `${BASE}/$metadata#certificates/@Element`,
    thumbprint: own.thumbprint,
    thumbprintAlgorithm: "sha1",
    url: BASE + at(own.thumbprint),
    state: "active",
    stateTransitionTime: expect.any(String),
    publicData: own.cer.toString("base64"),
  });
  expect(shown.headers.get("etag")).toBeNull();
  for (const target of [`/certificates(thumbprint=${own.thumbprint.toUpperCase()},thumbprintAlgorithm=SHA1)`, `/certificates(thumbprintAlgorithm%3Dsha1%2Cthumbprint%3D${own.thumbprint})`, `/certificates(thumbprintAlgorithm='sha1',thumbprint='${own.thumbprint}')`])
    expect((await ask(service, "GET", target)).json.thumbprint).toBe(own.thumbprint);
  expect((await ask(service, "GET", at(own.thumbprint), { query: { $select: "state,thumbprint" } })).json).toMatchObject({ state: "active", thumbprint: own.thumbprint });
  expect(refusal(await ask(service, "POST", "/certificates", { body }))).toBe("409 CertificateExists");
  expect((await ask(service, "GET", `/batchledger/history${at(own.thumbprint)}`)).json.value[0].events[0]).toMatchObject({ type: "CertificateAdded", thumbprint: own.thumbprint });
});

test("lists have 100 at most, in the order of thumbprints, filtered and continued", async () => {
  await add(body);
  await add(cer);
  const [first, second] = [own.thumbprint, other.thumbprint].sort();
  const page = await ask(service, "GET", "/certificates", { query: { maxresults: "1", $filter: "state eq 'active'" } });
  expect(page.json.value.map((one: { thumbprint: string }) => one.thumbprint)).toEqual([first]);
  const rest = await ask(service, "GET", new URL(page.json["odata.nextLink"] as string).href.slice(BASE.length), { version: null });
  expect(rest.json.value.map((one: { thumbprint: string }) => one.thumbprint)).toEqual([second]);
  expect(rest.json["odata.nextLink"]).toBeUndefined();
  expect((await ask(service, "GET", "/certificates", { query: { $filter: "state ne 'active'" } })).json.value).toEqual([]);
  expect(refusal(await ask(service, "GET", "/certificates", { query: { maxresults: "101" } }))).toBe("400 OutOfRangeQueryParameterValue maxresults");
  expect(refusal(await ask(service, "GET", "/certificates", { query: { $filter: "thumbprint eq 'ab'" } }))).toBe("400 InvalidQueryParameterValue $filter");
});

test("another account has none of them, and may have the same", async () => {
  await add(body);
  expect((await ask(service, "GET", "/certificates", { account: "other" })).json.value).toEqual([]);
  for (const [method, target] of [["GET", at(own.thumbprint)], ["DELETE", at(own.thumbprint)], ["POST", `${at(own.thumbprint)}?canceldelete`]] as const)
    expect(refusal(await ask(service, method, target, { account: "other" }))).toBe("404 CertificateNotFound");
  const pool = { ...POOL, certificateReferences: [{ thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1" }] };
  expect(refusal(await ask(service, "POST", "/pools", { account: "other", body: pool }))).toBe("404 CertificateNotFound certificateReferences[0].thumbprint");
  expect((await ask(service, "POST", "/certificates", { account: "other", body })).status).toBe(201);
});

test("case 50: in use it cannot be deleted, and says by which pools; cancelled it is active; out of use it goes", async () => {
  await add(body);
  expect((await ask(service, "POST", "/pools", { body: { ...POOL, certificateReferences: [{ thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1" }] } })).status).toBe(201);
  expect(refusal(await ask(service, "POST", `${at(own.thumbprint)}?canceldelete`))).toBe("409 CertificateStateActive");
  const deleted = await ask(service, "DELETE", at(own.thumbprint));
  expect([deleted.status, deleted.text]).toEqual([202, ""]);
  expect((await ask(service, "GET", at(own.thumbprint))).json).toMatchObject({ state: "deleting", previousState: "active" });
  for (const [method, target, sent] of [["DELETE", at(own.thumbprint)], ["POST", `${at(own.thumbprint)}/canceldelete`], ["POST", "/certificates", body]] as const)
    expect(refusal(await ask(service, method, target, { body: sent }))).toBe("409 CertificateBeingDeleted");
  await settle();
  expect((await ask(service, "GET", at(own.thumbprint))).json).toMatchObject({
    state: "deletefailed",
    previousState: "deleting",
    deleteCertificateError: { code: "PoolsReferencingCertificate", values: [{ name: "Pools", value: "p1" }] },
  });
  expect(refusal(await ask(service, "POST", "/certificates", { body }))).toBe("409 CertificateDeleteFailed");
  const cancelled = await ask(service, "POST", `${at(own.thumbprint)}/canceldelete`);
  expect([cancelled.status, cancelled.text]).toEqual([204, ""]);
  const active = (await ask(service, "GET", at(own.thumbprint))).json;
  expect(active).toMatchObject({ state: "active", previousState: "deletefailed" });
  expect(active.deleteCertificateError).toBeUndefined();

  expect((await ask(service, "PATCH", "/pools/p1", { body: { certificateReferences: [] } })).status).toBe(200);
  expect((await ask(service, "DELETE", at(own.thumbprint))).status).toBe(202);
  await settle();
  expect(refusal(await ask(service, "GET", at(own.thumbprint)))).toBe("404 CertificateNotFound");
  await add(body);
});

test("pools refer to certificates that are there, at their making and in updates; what is left out is filled in", async () => {
  await add(body);
  await add(cer);
  const reference = (thumbprint: string, more: object = {}) => ({ thumbprint, thumbprintAlgorithm: "sha1", ...more });
  const full = { storeLocation: "CurrentUser", storeName: "My", visibility: "starttask,task,rdp" };
  expect((await ask(service, "POST", "/pools", { body: { ...POOL, certificateReferences: [reference(own.thumbprint.toUpperCase())] } })).status).toBe(201);
  expect((await ask(service, "GET", "/pools/p1")).json.certificateReferences).toEqual([reference(own.thumbprint, full)]);
  const own2 = reference(other.thumbprint, { storeLocation: "localmachine", storeName: "Root", visibility: "Task, StartTask" });
  expect((await ask(service, "PATCH", "/pools/p1", { body: { certificateReferences: [own2] } })).status).toBe(200);
  expect((await ask(service, "GET", "/pools/p1")).json.certificateReferences).toEqual([reference(other.thumbprint, { storeLocation: "LocalMachine", storeName: "Root", visibility: "starttask,task" })]);
  const unknown = [reference(own.thumbprint), reference("0".repeat(40))];
  for (const [method, target] of [["PATCH", "/pools/p1"], ["POST", "/pools/p1?updateproperties"]] as const)
    expect(refusal(await ask(service, method, target, { body: { certificateReferences: unknown } }))).toBe("404 CertificateNotFound certificateReferences[1].thumbprint");
  expect(refusal(await ask(service, "POST", "/pools", { body: { ...POOL, name: "p2", certificateReferences: unknown } }))).toBe("404 CertificateNotFound certificateReferences[1].thumbprint");
  expect(refusal(await ask(service, "GET", "/pools/p2"))).toBe("404 PoolNotFound");
  expect((await ask(service, "POST", "/pools/p1?updateproperties", { body: {} })).status).toBe(204);
  expect((await ask(service, "GET", "/pools/p1")).json.certificateReferences).toEqual([]);
});

test("a file without the private key is told to be added as cer; one for another thumbprint says which it holds", async () => {
  expect((await ask(service, "POST", "/certificates", { body: { ...body, data: other.pfx(PASSWORD).toString("base64") } })).json.values)
    .toContainEqual({ key: "Reason", value: `the data hold ${other.thumbprint}` });
  expect(refusal(await ask(service, "POST", "/certificates", { body: { ...cer, thumbprint: own.thumbprint } }))).toBe("400 InvalidPropertyValue thumbprint");
});

test("a TVM of a pool that refers to certificates gets them by its credential, and nobody else does", async () => {
  await add(body);
  await add(cer);
  const references = [{ thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1", visibility: "task" }, { thumbprint: other.thumbprint, thumbprintAlgorithm: "sha1" }];
  expect((await ask(service, "POST", "/pools", { body: { ...POOL, certificateReferences: references } })).status).toBe(201);
  const tvm = await allocateTvm(service);
  const joined = await agentPost(service, "/agent/join", joinBody(service, tvm), null);
  expect(joined.json.certificates).toBe(true);
  const credential = `TVM ${joined.json.credential}`;
  const got = await agentPost(service, "/agent/certificates", { boot: 1 }, credential);
  expect(got.json).toEqual({
    certificates: [
      { thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1", format: "pfx", data: body.data, password: PASSWORD, visibility: ["task"] },
      { thumbprint: other.thumbprint, thumbprintAlgorithm: "sha1", format: "cer", data: cer.data, password: "", visibility: ["starttask", "task", "rdp"] },
    ],
  });
  // The credential has been used: the join code is good no more.
  expect(refusal(await agentPost(service, "/agent/join", joinBody(service, tvm), null))).toBe("403 AuthenticationFailed");
  expect(refusal(await agentPost(service, "/agent/certificates", { boot: 2 }, credential))).toBe("403 AuthenticationFailed");
  expect(refusal(await agentPost(service, "/agent/certificates", { boot: 1 }, `${credential}x`))).toBe("403 AuthenticationFailed");
  expect(refusal(await agentPost(service, "/agent/certificates", { boot: 1 }, null))).toBe("403 AuthenticationFailed");
  expect(refusal(await ask(service, "POST", "/agent/certificates", { body: { boot: 1 } }))).toBe("403 InsufficientAccountPermissions");
  expect((await ask(service, "GET", `/pools/p1/tvms/${tvm}`)).json.certificateReferences).toHaveLength(2);

  // What the pool has dropped is not handed out any more, though this boot was told of it.
  expect((await ask(service, "PATCH", "/pools/p1", { body: { certificateReferences: [references[1]] } })).status).toBe(200);
  expect((await agentPost(service, "/agent/certificates", { boot: 1 }, credential)).json.certificates.map((one: { thumbprint: string }) => one.thumbprint)).toEqual([other.thumbprint]);
});

test("nothing but the sealed file has the key or the password: not the ledger, not an answer", async () => {
  const texts: string[] = [];
  const call = async (...args: Parameters<typeof ask> extends [unknown, ...infer Rest] ? Rest : never): Promise<void> => void texts.push((await ask(service, ...args)).text);
  await call("POST", "/certificates", { body });
  await call("POST", "/certificates", { body });
  await call("POST", "/certificates", { body: { ...body, password: `${PASSWORD}!` } });
  await call("POST", "/certificates", { body: { ...body, password: [PASSWORD] } });
  await call("POST", "/certificates", { body: { ...body, certificateFormat: "cer" } });
  await call("POST", "/certificates", { body: { ...body, data: [body.data] } });
  await call("GET", "/certificates");
  await call("GET", at(own.thumbprint));
  await call("GET", `/batchledger/history${at(own.thumbprint)}`);
  await call("DELETE", at(own.thumbprint));
  const { folder } = service;
  const ledger = readdirSync(folder).filter((name) => name.startsWith("ledger.db")).map((name) => readFileSync(path.join(folder, name), "latin1"));
  const [secret] = readdirSync(path.join(folder, "certificates"));
  const sealed = readFileSync(path.join(folder, "certificates", secret as string), "latin1");
  expect(ledger.join("")).toContain(own.thumbprint);
  const key = own.key.split("\n").slice(1, 4);
  for (const text of [...texts, ...ledger, sealed]) for (const canary of [PASSWORD, body.data.slice(100, 200), ...key]) expect(text).not.toContain(canary);
  await settle();
  expect(readdirSync(path.join(folder, "certificates"))).toEqual([]);
});
