// The infrastructure, as far as it can be checked without a subscription: both forms are whole and say the same, they fit the
// code, and they keep the security rules. What only Azure can show stands in infra/README.md.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { cosmosContainers } from "../../src/adapters/cosmosContainers";
import { scaleSetMachines } from "../../src/adapters/scaleSetMachines";
import { eventsTopic } from "../../src/adapters/serviceBus";
import { signalsQueue } from "../../src/adapters/serviceBusSignals";
import { systemClock } from "../../src/adapters/system";
import { type Declaration, declarations, keys, property, tokens, uses } from "./bicep";

const root = path.resolve(__dirname, "..", "..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const readme = read("infra/README.md");

type Json = Record<string, unknown>;
interface Resource {
  readonly type: string;
  readonly apiVersion: string;
  readonly name: string;
  readonly scope?: string;
  readonly copy?: Json;
  readonly properties?: Json;
  readonly [more: string]: unknown;
}
interface Template {
  readonly metadata?: Json;
  readonly parameters: Record<string, { type: string; defaultValue?: unknown }>;
  readonly variables?: Json;
  readonly resources: readonly Resource[];
  readonly outputs?: Record<string, { type: string; value: string }>;
}

const template = JSON.parse(read("infra/azuredeploy.json")) as Template;
const nestedOf = ({ type, properties }: Resource): Template | undefined => (type === "Microsoft.Resources/deployments" ? (properties as { template: Template }).template : undefined);
/** The template and those within it, with the deployment that each is. */
const templates = (of: Template, deployment?: Resource): { template: Template; deployment?: Resource }[] => [
  { template: of, ...(deployment === undefined ? {} : { deployment }) },
  ...of.resources.flatMap((resource) => { const inner = nestedOf(resource); return inner === undefined ? [] : templates(inner, resource); }),
];
const all = templates(template);
const resources = all.flatMap((one) => one.template.resources.filter((resource) => nestedOf(resource) === undefined).map((resource) => ({ ...resource, template: one.template, deployment: one.deployment })));
const ofType = (type: string) => resources.filter((resource) => resource.type === type);
const bicepFiles = readdirSync(path.join(root, "infra")).filter((file) => file.endsWith(".bicep")).sort();
const bicep = new Map(bicepFiles.map((file) => [file, declarations(read(`infra/${file}`))]));
const reached = (from: string): string[] => [from, ...(bicep.get(from) ?? []).filter(({ kind }) => kind === "module").flatMap(({ of }) => reached(of))];
const sources = [...new Set(reached("main.bicep"))].sort();
const bicepResources = sources.flatMap((file) => bicep.get(file)!.filter(({ kind, existing }) => kind === "resource" && !existing).map((one) => ({ file, ...one })));

// ---------------------------------------------------------------- both forms

test.each([["param a string = 'x", /not closed/], ["var a = [1, 2", /"\[" is not closed/], ["var a = { b: 1 ]", /closes nothing/], ["var a = ~", /no place/]])("broken Bicep is noticed: %s", (text, problem) =>
  expect(() => tokens(text)).toThrow(problem));

test.each(bicepFiles)("%s is whole, and declares nothing that it does not use", (file) => {
  const own = bicep.get(file)!;
  const used = new Set(own.flatMap(({ kind, name, tokens: tokensOf }) => [...uses(tokensOf.slice(2))].filter((word) => kind !== "param" || word !== name)));
  expect(own.filter(({ kind, name }) => (kind === "param" || kind === "var") && !used.has(name)).map(({ name }) => name)).toEqual([]);
  expect(read(`infra/${file}`)).toMatch(/^\/\/ \S/);
});

test.each(bicepFiles)("%s gives its modules what they take", (file) => {
  for (const module of bicep.get(file)!.filter(({ kind }) => kind === "module")) {
    const taken = bicep.get(module.of)!.filter(({ kind }) => kind === "param");
    const given = keys(property(module.tokens, "params"));
    expect({ module: module.name, strange: given.filter((name) => !taken.some((one) => one.name === name)) }).toEqual({ module: module.name, strange: [] });
    expect({ module: module.name, missing: taken.filter(({ name, hasDefault }) => !hasDefault && !given.includes(name)).map(({ name }) => name) }).toEqual({ module: module.name, missing: [] });
  }
});

test("azuredeploy.json was compiled from these very sources", () => {
  const hash = createHash("sha256");
  for (const file of sources) hash.update(`${file}\n${read(`infra/${file}`)}\n`);
  expect(template.metadata?.["sourceSha256"]).toBe(hash.digest("hex"));
});

test("both forms describe the same resources, by type, version and name", () => {
  const literals = (name: string): string => [...name.matchAll(/'([^']*)'/g)].map(([, text]) => text!.replace(/\{\d\}/g, "")).join(" ");
  const inBicep = bicepResources.map(({ of, tokens: own }) => {
    const [value] = property(own, "name");
    const last = value?.kind === "string" ? value.text.replace(/\$\{[^}]*\}/g, "") : "";
    return { of, last };
  });
  const inArm = resources.map(({ type, apiVersion, name }) => ({ of: `${type}@${apiVersion}`, name: name.startsWith("[") ? literals(name) : name }));
  expect(inArm.map(({ of }) => of).sort()).toEqual(inBicep.map(({ of }) => of).sort());
  // Each name's own words are in exactly one of the other form's names of that type that is not taken yet.
  const open = [...inArm];
  const lost = inBicep.filter(({ last }) => last !== "").filter(({ of, last }) => {
    const at = open.findIndex((one) => one.of === of && one.name.split(" ").some((word) => word.endsWith(last)));
    if (at >= 0) open.splice(at, 1);
    return at < 0;
  });
  expect(lost).toEqual([]);
});

test("parameters and outputs of both forms are the same", () => {
  const main = bicep.get("main.bicep")!;
  const names = (kind: Declaration["kind"]): string[] => main.filter((one) => one.kind === kind).map(({ name }) => name).sort();
  expect(Object.keys(template.parameters).sort()).toEqual(names("param"));
  expect(Object.keys(template.outputs ?? {}).sort()).toEqual(names("output"));
});

// ---------------------------------------------------------------- the ARM template and the portal's form

test("every parameter and variable is used, and what is used exists", () => {
  for (const { template: one, deployment } of all) {
    const text = JSON.stringify({ v: one.variables, o: one.outputs, d: Object.values(one.parameters).map(({ defaultValue }) => defaultValue), r: one.resources.map((resource) => (nestedOf(resource) ? { ...resource, properties: { ...resource.properties, template: undefined } } : resource)) });
    for (const [kind, declared] of [["parameters", one.parameters], ["variables", one.variables ?? {}]] as const) {
      const used = [...new Set([...text.matchAll(new RegExp(`\\b${kind}\\('(\\w+)'\\)`, "g"))].map(([, name]) => name))].sort();
      const names = Object.keys(declared).filter((name) => name !== "copy").sort();
      expect({ in: deployment?.name, kind, used }).toEqual({ in: deployment?.name, kind, used: names });
    }
  }
});

test("api versions are dated; a preview only where nothing else is offered", () => {
  expect(resources.length).toBeGreaterThan(50);
  expect(resources.filter(({ apiVersion }) => !/^20\d\d-\d\d-\d\d$/.test(apiVersion)).map(({ type }) => type)).toEqual(["Microsoft.Insights/diagnosticSettings"]);
});

const secret = /\blist\w*\(|\bsecure|accountKey|connectionString|primaryKey|sharedAccess|password/i;

test("no output, parameter or setting holds a secret", () => {
  for (const bad of ["[listKeys(resourceId('x'), '2024').keys[0].value]", "[reference('x').primaryKey]"]) expect(bad).toMatch(secret);
  for (const { template: one } of all) {
    for (const [name, { value }] of Object.entries(one.outputs ?? {})) expect(`${name} ${value}`).not.toMatch(secret);
    for (const [name, { type, defaultValue }] of Object.entries(one.parameters)) {
      expect(`${name} ${JSON.stringify(defaultValue)}`).not.toMatch(secret);
      if (/^secure/i.test(type)) expect({ name, defaultValue }).toEqual({ name, defaultValue: undefined });
    }
  }
  expect(read("infra/azuredeploy.json")).not.toMatch(/\blist(Keys|Secrets|AccountSas|ServiceSas|ConnectionStrings)\(/);
});

const ui = JSON.parse(read("infra/createUiDefinition.json")) as { handler: string; version: string; parameters: { basics: Control[]; steps: { name: string; elements: Control[] }[]; outputs: Record<string, string> } };
interface Control { name: string; type: string; constraints?: { regex?: string; allowedValues?: { value: unknown }[] }; defaultValue?: unknown }

test("the portal's form asks for what the template takes", () => {
  expect([ui.handler, ui.version]).toEqual(["Microsoft.Azure.CreateUIDef", "0.1.2-preview"]);
  const { basics, steps, outputs } = ui.parameters;
  expect(Object.keys(outputs).filter((name) => template.parameters[name] === undefined)).toEqual([]);
  const required = Object.entries(template.parameters).filter(([, { defaultValue }]) => defaultValue === undefined).map(([name]) => name);
  expect(required.filter((name) => outputs[name] === undefined)).toEqual([]);
  const asked = [...basics.map(({ name }) => `basics('${name}')`), ...steps.flatMap((step) => step.elements.map(({ name }) => `steps('${step.name}').${name}`))];
  const used = Object.values(outputs).flatMap((value) => value.match(/basics\('\w+'\)|steps\('\w+'\)\.\w+/g) ?? []);
  expect([...used].sort()).toEqual([...asked].sort());
});

test("the form's defaults pass its own rules and the template's", () => {
  for (const { name, type, constraints, defaultValue } of [...ui.parameters.basics, ...ui.parameters.steps.flatMap(({ elements }) => elements)]) {
    const parameter = template.parameters[name] as { defaultValue?: unknown; allowedValues?: unknown[] };
    if (constraints?.regex !== undefined) expect(String(defaultValue)).toMatch(new RegExp(constraints.regex));
    if (constraints?.allowedValues !== undefined) expect(constraints.allowedValues.map(({ value }) => value)).toEqual(parameter.allowedValues);
    if (type === "Microsoft.Common.TextBox") expect({ name, value: String(defaultValue) }).toEqual({ name, value: String(parameter.defaultValue) });
  }
});

// ---------------------------------------------------------------- the code's own names

const propertiesOf = (resource: Resource): Json => resource.properties ?? {};
const lastName = ({ name }: Resource): string => /'([^']+)'\)+\]$/.exec(name)?.[1] ?? name;

test("containers of Cosmos DB are the code's", () => {
  const found = Object.fromEntries(ofType("Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers").map((one) => [lastName(one), propertiesOf(one)["resource"]]));
  expect(found).toEqual(cosmosContainers);
});

const functions = readdirSync(path.join(root, "functions")).map((file) => read(`functions/${file}`)).join("\n");
const valuesOf = (key: string): string[] => [...new Set([...functions.matchAll(new RegExp(`\\b${key}: "([^"]+)"`, "g"))].map(([, value]) => value!))].sort();

test("the functions' database, containers and queues exist", () => {
  expect(valuesOf("databaseName")).toEqual(ofType("Microsoft.DocumentDB/databaseAccounts/sqlDatabases").map(lastName));
  for (const name of [...valuesOf("containerName"), ...valuesOf("leaseContainerName")]) expect(Object.keys(cosmosContainers)).toContain(name);
  const queues = ofType("Microsoft.ServiceBus/namespaces/queues").filter(({ copy }) => copy === undefined);
  const named = /export type QueueName = ([^;]+);/.exec(read("src/ports.ts"))![1]!.match(/\w+/g)!.sort();
  // The queue `signals` is between the copies of the app: no function receives from it.
  expect(queues.map(lastName).sort()).toEqual([...named, signalsQueue].sort());
  expect(valuesOf("queueName")).toEqual(named);
  const laned = [...functions.matchAll(/queueName: "(\w+)",\s*isSessionsEnabled: true/g)].map(([, name]) => name);
  expect(queues.filter((one) => propertiesOf(one)["requiresSession"] === true).map(lastName).sort()).toEqual([...laned, signalsQueue].sort());
  for (const one of queues) expect(propertiesOf(one)).toMatchObject({ maxDeliveryCount: 10 });
  expect(ofType("Microsoft.ServiceBus/namespaces/topics").map(lastName)).toEqual([eventsTopic]);
});

const settingsIn = (): string[] => {
  const app = bicep.get("main.bicep")!.find(({ kind, name }) => kind === "module" && name === "app")!;
  const given = keys(property(property(app.tokens, "params"), "settings"));
  const config = bicep.get("app.bicep")!.find(({ name }) => name === "appSettings")!;
  const own = property(config.tokens, "properties");
  return [...given, ...keys(own.slice(own.findIndex(({ text }) => text === "{")))].sort();
};

test("app settings are those of the functions' connections and of the runtime, and README lists each", () => {
  const settings = settingsIn();
  const suffix: Readonly<Record<string, string>> = { Cosmos: "accountEndpoint", ServiceBus: "fullyQualifiedNamespace", AzureWebJobsStorage: "accountName" };
  const connections = [...valuesOf("connection"), "AzureWebJobsStorage"].flatMap((name) => [`${name}__${suffix[name]}`, `${name}__credential`, `${name}__clientId`]);
  expect(settings.filter((name) => name.includes("__"))).toEqual(connections.sort());
  const listed = [...readme.slice(readme.indexOf("## Settings")).split("\n## ")[0]!.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name!);
  expect(listed.sort()).toEqual(settings);
  // Flex Consumption refuses these.
  expect(settings).not.toEqual(expect.arrayContaining(["FUNCTIONS_WORKER_RUNTIME"]));
  const settingsOfCode = existsSync(path.join(root, "src/settings.ts")) ? [...new Set(read("src/settings.ts").match(/\bBATCHLEDGER_[A-Z_0-9]+\b/g) ?? [])] : [];
  expect(settingsOfCode.filter((name) => !settings.includes(name))).toEqual([]);
});

// ---------------------------------------------------------------- security

test("nothing that keeps data takes a key, and transport is TLS 1.2 or later", () => {
  const [cosmos] = ofType("Microsoft.DocumentDB/databaseAccounts");
  expect(propertiesOf(cosmos!)).toMatchObject({ disableLocalAuth: true, disableKeyBasedMetadataWriteAccess: true, minimalTlsVersion: "Tls12" });
  const [bus] = ofType("Microsoft.ServiceBus/namespaces");
  expect(propertiesOf(bus!)).toMatchObject({ disableLocalAuth: true, minimumTlsVersion: "1.2" });
  const storage = ofType("Microsoft.Storage/storageAccounts");
  expect(storage).toHaveLength(2);
  for (const one of storage) expect(propertiesOf(one)).toMatchObject({ allowSharedKeyAccess: false, allowBlobPublicAccess: false, supportsHttpsTrafficOnly: true, minimumTlsVersion: "TLS1_2" });
  const [vault] = ofType("Microsoft.KeyVault/vaults");
  expect(propertiesOf(vault!)).toMatchObject({ enableRbacAuthorization: true, enablePurgeProtection: true, enableSoftDelete: true });
  const [app] = ofType("Microsoft.Web/sites");
  expect(propertiesOf(app!)).toMatchObject({ httpsOnly: true, siteConfig: { ftpsState: "Disabled", remoteDebuggingEnabled: false, minTlsVersion: "1.2" } });
  expect(ofType("Microsoft.Web/sites/basicPublishingCredentialsPolicies").map((one) => [lastName(one), propertiesOf(one)["allow"]])).toEqual([["ftp", false], ["scm", false]]);
  expect(propertiesOf(ofType("Microsoft.Insights/components")[0]!)).toMatchObject({ DisableLocalAuth: true });
});

test("what is exchanged is removed by the store too", () => {
  const [policy] = ofType("Microsoft.Storage/storageAccounts/managementPolicies");
  const uploads = /UPLOADS = "([^"]+)"/.exec(read("src/app/tvmFiles.ts"))![1]!;
  expect(JSON.stringify(propertiesOf(policy!))).toContain(`"prefixMatch":["${uploads}"]`);
});

const assignments = bicepResources.filter(({ of }) => /\/(sqlR|r)oleAssignments@/.test(of));

test("each role is on one resource; the one on a group is on the group that holds nothing but scale sets", () => {
  const wide = ofType("Microsoft.Authorization/roleAssignments").filter(({ scope }) => scope === undefined);
  expect(wide.map(({ deployment }) => deployment?.name)).toEqual(["batchledger-tvms"]);
  expect((wide[0]!.deployment as unknown as { resourceGroup: string }).resourceGroup).toBe("[parameters('poolsResourceGroup')]");
  for (const { scope } of ofType("Microsoft.Authorization/roleAssignments").filter((one) => one.scope !== undefined)) expect(scope).toMatch(/^\[resourceId\('Microsoft\.\w+\/\w+/);
  for (const one of ofType("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments")) expect(String(propertiesOf(one)["scope"])).toMatch(/Microsoft\.DocumentDB\/databaseAccounts/);
});

test("each role has its reason beside it and in README", () => {
  expect(assignments).toHaveLength(ofType("Microsoft.Authorization/roleAssignments").length + ofType("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments").length);
  const table = readme.slice(readme.indexOf("## Roles")).split("\n## ")[0]!;
  for (const { file, name } of assignments) {
    expect({ name, reason: new RegExp(`// Reason: [^\\n]+\\n(//[^\\n]*\\n)*resource ${name} `).test(read(`infra/${file}`)) }).toEqual({ name, reason: true });
    expect({ name, listed: new RegExp(`^\\| \`${name}\` \\| [^|]+ \\| [^|]+ \\| [^|]{10,} \\|$`, "m").test(table) }).toEqual({ name, listed: true });
  }
  expect([...table.matchAll(/^\| `(\w+Role)`/gm)].map(([, name]) => name).sort()).toEqual(assignments.map(({ name }) => name).sort());
});

const builtIn: Readonly<Record<string, string>> = {
  "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
  "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
  "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
  "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
  "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
  "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
  "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
  "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
  "a4417e6f-fecd-4de8-b567-7b0420556985": "Key Vault Certificates Officer",
  "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
};

test("no built-in role but these, no wildcard in an own one, and events cannot be changed", () => {
  const used = new Set(sources.flatMap((file) => read(`infra/${file}`).match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? []));
  expect([...used].sort()).toEqual(Object.keys(builtIn).sort());
  for (const name of Object.values(builtIn)) expect(readme).toContain(name);
  const own = [...ofType("Microsoft.Authorization/roleDefinitions"), ...ofType("Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions")];
  expect(own).toHaveLength(5);
  for (const one of own) expect(JSON.stringify(propertiesOf(one)["permissions"])).not.toContain("*");
  const keeper = own.find((one) => propertiesOf(one)["roleName"] === "Batchledger event keeper")!;
  expect(JSON.stringify(propertiesOf(keeper))).not.toMatch(/items\/(replace|upsert)/);
});

test("the scale set role allows what the adapter calls on machines and scale sets, and nothing more of them", () => {
  const code = read("src/adapters/scaleSetMachines.ts");
  const action: Readonly<Record<string, string>> = {
    get: "read", list: "read", createOrUpdate: "write", update: "write", delete: "delete", reimage: "reimage/action", restart: "restart/action", instanceView: "instanceView/read",
  };
  const called = [...code.matchAll(/client\.(virtual\w+)\.(\w+)\(/g)].map(([, of, call]) => `Microsoft.Compute/${of}/${action[call!] ?? call}`);
  const keeper = ofType("Microsoft.Authorization/roleDefinitions").find((one) => String(propertiesOf(one)["roleName"]).includes("scale set keeper"))!;
  const allowed = (propertiesOf(keeper)["permissions"] as { actions: string[] }[]).flatMap(({ actions }) => actions);
  expect(allowed.filter((one) => one.startsWith("Microsoft.Compute/virtual")).sort()).toEqual([...new Set(called)].sort());
  expect(allowed.filter((one) => !one.startsWith("Microsoft.Compute/virtual") && !/^Microsoft\.(Compute\/disks|Network\/networkInterfaces)\//.test(one))).toEqual([]);
});

interface Rule { readonly name: string; readonly properties: Record<string, unknown> }
const rulesOf = (name: string): Rule[] => {
  const group = ofType("Microsoft.Network/networkSecurityGroups").find((one) => one.name.includes(name))!;
  const variables = group.template.variables as Record<string, Rule>;
  return (propertiesOf(group)["securityRules"] as (Rule | string)[]).map((rule) => (typeof rule === "string" ? variables[/variables\('(\w+)'\)/.exec(rule)![1]!]! : rule));
};

test("TVMs accept connections from their own subnet on ports above 1100 when their pool communicates, and else from nobody", () => {
  const inward = (name: string): Rule[] => rulesOf(name).filter(({ properties }) => properties["direction"] === "Inbound");
  expect(inward("-isolated").map(({ properties }) => properties["access"])).toEqual(["Deny"]);
  const [allowed, denied, ...more] = inward("-communicating").map(({ properties }) => properties);
  expect(more).toEqual([]);
  const { low, high } = /PORT_RANGE = \{ low: (?<low>\d+), high: (?<high>[\d_]+) \}/.exec(read("src/app/agents.ts"))!.groups!;
  expect(allowed).toMatchObject({ access: "Allow", destinationPortRange: `${low}-${high!.replace("_", "")}`, sourceAddressPrefix: allowed!["destinationAddressPrefix"] });
  expect(String(allowed!["sourceAddressPrefix"])).toContain("variables('communicatingPrefix')");
  expect(denied).toMatchObject({ access: "Deny", sourceAddressPrefix: "*", destinationPortRange: "*", protocol: "*" });
  expect(Number(allowed!["priority"])).toBeLessThan(Number(denied!["priority"]));
});

// ---------------------------------------------------------------- what TVMs start with, azd

test("cloud-init asks for what machines are given, and checks what it installs", () => {
  const text = read("infra/cloud-init.yaml");
  expect(text).toMatch(/^#cloud-config\n/);
  expect(text).toMatch(/order\.json\n.*\n {4}permissions: "0600"\n {4}encoding: b64\n {4}content: "\{\{order\}\}"/);
  const machines = (values: Record<string, string>) => () => scaleSetMachines({
    subscription: "s", resourceGroup: "g", location: "l", credential: { getToken: async () => null }, subnets: { isolated: "i", communicating: "c" },
    endpoint: () => "https://ledger.example", cloudInit: text, values, clock: systemClock, log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  expect(machines({ nodeUrl: "n", nodeSha256: "d", agentUrl: "a", agentSha256: "d" })).not.toThrow();
  expect(machines({ nodeUrl: "n", nodeSha256: "d", agentUrl: "a" })).toThrow("agentSha256");
  expect(text).toContain("sha256sum --check --strict");
  expect(text.indexOf("sha256sum")).toBeLessThan(text.indexOf("tar --extract"));
});

test("azd's parameters are those of azd.bicep, and its service is the app's tag", () => {
  const given = (JSON.parse(read("infra/azd.parameters.json")) as { parameters: object }).parameters;
  expect(Object.keys(given).sort()).toEqual(bicep.get("azd.bicep")!.filter(({ kind }) => kind === "param").map(({ name }) => name).sort());
  const azure = read("azure.yaml");
  const service = /^services:\n {2}(\w+):/m.exec(azure)![1];
  expect(read("infra/app.bicep")).toContain(`'azd-service-name': '${service}'`);
  for (const [, variable] of azure.matchAll(/\$(BATCHLEDGER_\w+)/g)) expect(bicep.get("azd.bicep")!.some(({ kind, name }) => kind === "output" && name === variable)).toBe(true);
});
