// batchledger certificate ...: certificates of the account, for pools to refer to. Passwords come from files, standard input or
// the environment, never from arguments: other users of a machine can read those.
import { readFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { Command, Invocation } from "../command";
import { EXIT, Failure, ServiceError, usage } from "../failures";
import { clean, json, table, when } from "../output";
import * as parse from "../options";
import type { CertificateResource } from "../resources";
import { until } from "../waiting";

const PASSWORD = "BATCHLEDGER_CERTIFICATE_PASSWORD";
const DELETE_MS = 60_000;
const one = { operands: "THUMBPRINT", operandsMin: 1, operandsMax: 1, connects: true } as const;

export const certificateCommands: readonly Command[] = [
  {
    words: "certificate add", operands: "FILE", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Adds a certificate: a PFX file with its private key, or a CER file without.",
    options: {
      "password-file": { type: "string", value: "FILE", help: `the file's first line opens the PFX; - is standard input (or set ${PASSWORD})` },
      format: { type: "string", value: "FORMAT", help: "pfx or cer (default: by the name of the file)" },
      thumbprint: { type: "string", value: "HEX", help: "which certificate, when the file holds several with their keys" },
    },
    more: "The thumbprint is printed: `batchledger pool create --certificate THUMBPRINT` installs it on each TVM of a pool. A task finds it in\n$WATASK_CERTIFICATES_DIR as sha1-THUMBPRINT.pfx, its password in sha1-THUMBPRINT.pfx.pw.",
    run: add,
  },
  { words: "certificate list", operands: "", operandsMin: 0, operandsMax: 0, connects: true, summary: "Lists the certificates.", options: {}, run: list },
  { words: "certificate show", ...one, summary: "Shows one certificate.", options: {}, run: show },
  {
    words: "certificate delete", ...one, summary: "Deletes a certificate that no pool refers to.",
    options: { wait: { type: "boolean", help: "return when it is gone" } },
    run: remove,
  },
  { words: "certificate cancel-delete", ...one, summary: "Makes a certificate active again whose deletion failed.", options: {}, run: cancelDelete },
];

async function add(call: Invocation): Promise<number> {
  const client = call.client();
  const file = path.resolve(call.io.cwd, call.operands[0] as string);
  const data = readFileSync(file);
  const certificateFormat = formatOf(call, file);
  const password = certificateFormat === "pfx" ? await passwordOf(call) : undefined;
  const thumbprint = call.text("thumbprint") === undefined ? thumbprintIn(certificateFormat, data, password ?? "") : parse.thumbprint("--thumbprint", call.text("thumbprint") as string);
  await client.addCertificate({ thumbprint, thumbprintAlgorithm: "sha1", data: data.toString("base64"), certificateFormat, ...(password === undefined ? {} : { password }) });
  if (call.json) json(call.io, await client.getCertificate(thumbprint));
  else call.io.out(`${thumbprint}\n`);
  return EXIT.ok;
}

function formatOf(call: Invocation, file: string): "pfx" | "cer" {
  const format = call.text("format")?.toLowerCase() ?? (/\.(cer|crt|der|pem)$/i.test(file) ? "cer" : "pfx");
  if (format !== "pfx" && format !== "cer") throw usage("--format must be pfx or cer.");
  return format;
}

async function passwordOf(call: Invocation): Promise<string> {
  const file = call.text("password-file");
  if (file === undefined) return call.io.env[PASSWORD] ?? "";
  const content = file === "-" ? await text(call.io.stdin) : readFileSync(path.resolve(call.io.cwd, file), "utf8");
  return content.split(/\r?\n/, 1)[0] as string;
}

/** Of the one certificate in the file that has its private key there, or the only one. */
function thumbprintIn(format: "pfx" | "cer", data: Buffer, password: string): string {
  // Loaded only here: what opens such files is large, and no other command needs it.
  const { openCertificate } = require("../../x509") as typeof import("../../x509");
  const opened = openCertificate(format, data, password);
  if ("problem" in opened) {
    throw usage(`The file cannot be used: ${opened.reason}.`, opened.problem === "password" ? `Give its password with --password-file, or in ${PASSWORD}.` : "Say --format pfx or --format cer if its name misleads.");
  }
  const { certificates } = opened;
  const own = format === "cer" ? certificates : certificates.filter(({ hasPrivateKey }) => hasPrivateKey);
  const [first] = own;
  if (first && own.length === 1) return first.thumbprint;
  const found = certificates.map(({ thumbprint }) => thumbprint).join(", ");
  throw usage(own.length === 0 ? `The file holds no private key of its certificates (${found}).` : `The file holds several certificates with their keys: ${found}.`, own.length === 0 ? "Add a file without a key with --format cer." : "Say which with --thumbprint.");
}

async function list(call: Invocation): Promise<number> {
  const certificates: CertificateResource[] = [];
  for await (const certificate of call.client().listCertificates()) certificates.push(certificate);
  if (call.json) json(call.io, certificates);
  else if (certificates.length === 0) call.io.out("No certificates. Add one: batchledger certificate add FILE.pfx --password-file FILE\n");
  else {
    call.io.out(table(certificates, [
      { title: "THUMBPRINT", value: ({ thumbprint }) => thumbprint },
      { title: "STATE", value: ({ state }) => state },
      { title: "SINCE", value: ({ stateTransitionTime }) => when(stateTransitionTime) },
      { title: "PROBLEM", value: ({ deleteCertificateError: error }) => (error ? `${error.code}: ${error.values?.map(({ value }) => value).join(", ") ?? ""}` : "") },
    ]));
  }
  return EXIT.ok;
}

const thumbprintOf = (call: Invocation): string => parse.thumbprint("THUMBPRINT", call.operands[0] as string);

async function show(call: Invocation): Promise<number> {
  const { "odata.metadata": _, ...certificate } = await call.client().getCertificate(thumbprintOf(call));
  if (call.json) json(call.io, certificate);
  else {
    const wide = Math.max(...Object.keys(certificate).map((key) => key.length));
    for (const [key, value] of Object.entries(certificate)) call.io.out(`${clean(key).padEnd(wide)}  ${clean(typeof value === "object" ? JSON.stringify(value) : String(value))}\n`);
  }
  return EXIT.ok;
}

async function remove(call: Invocation): Promise<number> {
  const client = call.client();
  const thumbprint = thumbprintOf(call);
  await client.deleteCertificate(thumbprint);
  if (call.flag("wait")) {
    const gone = await until(async () => {
      const found = await client.getCertificate(thumbprint).catch((error: unknown) => (error instanceof ServiceError && error.code === "CertificateNotFound" ? undefined : Promise.reject(error)));
      if (found?.state === "deletefailed") {
        const { message = "", values = [] } = found.deleteCertificateError ?? {};
        throw new Failure(EXIT.failed, `The certificate is still there. ${message} (${values.map(({ value }) => value).join(", ")})`, `\`batchledger certificate cancel-delete ${thumbprint}\` makes it active again.`);
      }
      return found === undefined ? true : undefined;
    }, call.io.signal, DELETE_MS);
    if (!gone) throw new Failure(EXIT.failed, "The certificate is still being deleted.", `\`batchledger certificate show ${thumbprint}\` says how it goes.`);
  }
  return told(call, thumbprint, call.flag("wait") ? "is gone" : "is being deleted");
}

async function cancelDelete(call: Invocation): Promise<number> {
  const thumbprint = thumbprintOf(call);
  await call.client().cancelCertificateDeletion(thumbprint);
  return told(call, thumbprint, "is active again");
}

function told(call: Invocation, thumbprint: string, result: string): number {
  if (call.json) json(call.io, { thumbprint, result });
  else call.io.out(`${thumbprint} ${result}.\n`);
  return EXIT.ok;
}
