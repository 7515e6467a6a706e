// Every operation that takes a body, against everything that can be wrong with one: made by rule from what each body may
// have, with the exact status, code and property that the caller is told. Nothing that is refused changes anything.
import type { Operation } from "../../src/api/operation";
import { operations } from "../../src/api/operations";
import { execute } from "../../src/app/execute";
import { isRejection } from "../../src/domain/decider";
import { jobKey, jobStream, poolKey, poolStream, tvmKey, tvmStream, workItemKey, workItemStream } from "../../src/domain/ids";
import { ACCOUNT, JOB, POOL, type Service, TASK, WORK_ITEM, ask, openService, refusal } from "./support";
import { testPfx } from "../standins/certificate";

let service: Service;
beforeAll(async () => {
  service = await openService();
  for (const [target, body] of [["/pools", POOL], ["/workitems", WORK_ITEM], [`${JOB}/tasks`, TASK]] as const)
    expect((await ask(service, "POST", target, { body })).status).toBe(201);
});
afterAll(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

/** A value that breaks a property, and what is said of it; the property itself unless another is named. */
type Bad = readonly [value: unknown, code?: string, property?: string];

interface Shape {
  readonly good: Readonly<Record<string, unknown>>;
  readonly required?: readonly string[];
  readonly bad: Readonly<Record<string, readonly Bad[]>>;
}

const VALUE = "InvalidPropertyValue";
const long = (length: number): string => "x".repeat(length);

const NAME: Bad[] = [[""], ["a b"], ["a.b"], ["ä"], [long(65)], [7], [{}], [["a"]], [true]];
const COMMAND_LINE: Bad[] = [[""], [" "], [long(32 * 1024 + 1)], ["é".repeat(16 * 1024 + 1)], ["a\0b"], [1], [[]]];
const INTEGER: Bad[] = [["1"], [1.5], [true], [{}], [1e300], [Number.MAX_SAFE_INTEGER + 2]];
const BOOLEAN: Bad[] = [["true"], [1], [{}]];
const DURATION: Bad[] = [["5 minutes"], ["P1Y"], ["PT"], ["P"], [""], [300], ["-PT5M"], [`PT${long(80)}`]];
const METADATA: Bad[] = [
  ["x"],
  [[{ name: "a" }], "MissingRequiredProperty", "metadata[0].value"],
  [[{ name: "", value: "v" }], VALUE, "metadata[0].name"],
  [[{ name: "a", value: 1 }], VALUE, "metadata[0].value"],
  [[{ name: "a", value: "v", extra: 1 }], "UnsupportedProperty", "metadata[0].extra"],
  [Array.from({ length: 101 }, () => ({ name: "a", value: "v" }))],
];

const file = (changes: object = {}) => ({ blobSource: "https://s.example/c/x", filePath: "x", ...changes });

const resourceFiles = (at: string): Bad[] => [
  ["x"],
  [[7], VALUE, `${at}[0]`],
  [[{ filePath: "x" }], "MissingRequiredProperty", `${at}[0].blobSource`],
  [[{ blobSource: "https://s/x" }], "MissingRequiredProperty", `${at}[0].filePath`],
  [[file(), file({ extra: 1 })], "UnsupportedProperty", `${at}[1].extra`],
  ...["ftp://s/x", "s/x", "file:///etc/passwd", "http://", "https://me:pw@s/x", "javascript:alert(1)", `https://s/${long(5000)}`, ""].map((blobSource): Bad => [[file({ blobSource })], VALUE, `${at}[0].blobSource`]),
  ...["../x", "a/../../x", "..\\x", "/etc/passwd", "\\x", "C:\\x", "c:x", "a//b", "./x", "a/.", "", "a\0b", long(261)].map((filePath): Bad => [[file({ filePath })], VALUE, `${at}[0].filePath`]),
  [Array.from({ length: 1001 }, () => file())],
];

const environmentSettings = (at: string): Bad[] => [
  ["x"],
  [[{ name: "A" }], "MissingRequiredProperty", `${at}[0].value`],
  [[{ name: "A", value: 1 }], VALUE, `${at}[0].value`],
  [[{ name: "A", value: "a\0b" }], VALUE, `${at}[0].value`],
  [[{ name: "A", value: "1", extra: 1 }], "UnsupportedProperty", `${at}[0].extra`],
  ...["", "A=B", "A\nB", "WATASK_TASK_NAME", "watask_pool_name", "WATASK_ANYTHING", long(257)].map((name): Bad => [[{ name, value: "1" }], VALUE, `${at}[0].name`]),
  [[{ name: "A", value: "1" }, { name: "a", value: "2" }], VALUE, at],
  [[{ name: "A", value: long(20_000) }, { name: "B", value: long(20_000) }], VALUE, at],
  [Array.from({ length: 501 }, (_, index) => ({ name: `A${index}`, value: "" }))],
];

const RETRIES: Bad[] = [...INTEGER, [-2], [2 ** 31]];

const within = (at: string, bad: readonly Bad[], wrap: (value: unknown) => unknown): Bad[] => bad.map(([value, code = VALUE, property = at]) => [wrap(value), code, property]);

const START_TASK: Bad[] = [
  ["x"],
  [{}, "MissingRequiredProperty", "startTask.commandLine"],
  [{ commandLine: "x", name: "y" }, "UnsupportedProperty", "startTask.name"],
  [{ commandLine: "x", runElevated: true }, "InsufficientAccountPermissions", "startTask.runElevated"],
  ...within("startTask.commandLine", COMMAND_LINE, (commandLine) => ({ commandLine })),
  ...within("startTask.waitForSuccess", BOOLEAN, (waitForSuccess) => ({ commandLine: "x", waitForSuccess })),
  ...within("startTask.maxTaskRetryCount", RETRIES, (maxTaskRetryCount) => ({ commandLine: "x", maxTaskRetryCount })),
  ...within("startTask.resourceFiles", resourceFiles("startTask.resourceFiles"), (value) => ({ commandLine: "x", resourceFiles: value })),
  ...within("startTask.environmentSettings", environmentSettings("startTask.environmentSettings"), (value) => ({ commandLine: "x", environmentSettings: value })),
];

const HEX = "0123456789abcdef0123456789abcdef01234567";
const THUMBPRINT: Bad[] = [["ab"], [""], [`${HEX}0`], [HEX.replace("0", "g")], [1]];
const CERTIFICATES: Bad[] = [
  ["x"],
  [[{ thumbprintAlgorithm: "sha1" }], "MissingRequiredProperty", "certificateReferences[0].thumbprint"],
  [[{ thumbprint: HEX }], "MissingRequiredProperty", "certificateReferences[0].thumbprintAlgorithm"],
  [[{ thumbprint: HEX, thumbprintAlgorithm: "md5" }], VALUE, "certificateReferences[0].thumbprintAlgorithm"],
  [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1", extra: 1 }], "UnsupportedProperty", "certificateReferences[0].extra"],
  [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1", storeLocation: "Mars" }], VALUE, "certificateReferences[0].storeLocation"],
  [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1", storeName: "" }], VALUE, "certificateReferences[0].storeName"],
  ...["", "all", "task,", "task;rdp"].map((visibility): Bad => [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1", visibility }], VALUE, "certificateReferences[0].visibility"]),
  ...within("certificateReferences[0].thumbprint", THUMBPRINT, (value) => [{ thumbprint: value, thumbprintAlgorithm: "sha1" }]),
  [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1" }, { thumbprint: HEX.toUpperCase(), thumbprintAlgorithm: "SHA1" }]],
  [Array.from({ length: 21 }, (_, index) => ({ thumbprint: HEX.slice(2) + String(index).padStart(2, "0"), thumbprintAlgorithm: "sha1" }))],
  // Right as it is, but the account has no such certificate.
  [[{ thumbprint: HEX, thumbprintAlgorithm: "sha1" }], "CertificateNotFound", "certificateReferences[0].thumbprint"],
];
const OWN = testPfx();
const TARGET: Bad[] = [...INTEGER, [-1], [51]];
const RESIZE_TIMEOUT: Bad[] = [...DURATION, ["PT4M59S"]];

const JOB_CONSTRAINTS = (at: string): Bad[] => [
  ["x"],
  [{ extra: 1 }, "UnsupportedProperty", `${at}.extra`],
  ...within(`${at}.maxWallClockTime`, [...DURATION, ["PT0S"]], (maxWallClockTime) => ({ maxWallClockTime })),
  ...within(`${at}.maxTaskRetryCount`, RETRIES, (maxTaskRetryCount) => ({ maxTaskRetryCount })),
];
const TASK_CONSTRAINTS = (at = "taskConstraints"): Bad[] => [
  ["x"],
  [{ extra: 1 }, "UnsupportedProperty", `${at}.extra`],
  ...within(`${at}.maxWallClockTime`, [...DURATION, ["PT0S"]], (maxWallClockTime) => ({ maxWallClockTime })),
  ...within(`${at}.retentionTime`, DURATION, (retentionTime) => ({ retentionTime })),
  ...within(`${at}.maxTaskRetryCount`, RETRIES, (maxTaskRetryCount) => ({ maxTaskRetryCount })),
];
const MANAGER = "jobSpecification.jobManager";
const PRIORITY: Bad[] = [...INTEGER, [-1001], [1001]];

const pool: Shape = {
  good: { name: "new", osFamily: "3", tvmSize: "small", targetDedicated: 1 },
  required: ["name", "osFamily", "tvmSize", "targetDedicated"],
  bad: {
    name: NAME,
    osFamily: [["1"], ["5"], ["linux"], [3], [""]],
    tvmSize: [["extrasmall"], ["A0"], ["huge"], [1], [""]],
    targetDedicated: TARGET,
    targetOSVersion: [[""], [long(65)], [1]],
    resizeTimeout: RESIZE_TIMEOUT,
    communication: BOOLEAN,
    startTask: START_TASK,
    certificateReferences: CERTIFICATES,
    metadata: METADATA,
    maxTasksPerTVM: [...INTEGER, [0], [5]],
    schedulingPolicy: [["Pack"], [{}, "MissingRequiredProperty", "schedulingPolicy.tvmFillType"], [{ tvmFillType: "Random" }, VALUE, "schedulingPolicy.tvmFillType"], [{ tvmFillType: "Pack", x: 1 }, "UnsupportedProperty", "schedulingPolicy.x"]],
    enableAutoScale: [["yes"], [1], [true, "InvalidAutoScalingSettings", "targetDedicated"]],
    autoScaleFormula: [[1], ["$TargetDedicated=1", "InvalidAutoScalingSettings"]],
    autoScaleEvaluationInterval: [["soon"], [5], ["PT5M", "InvalidAutoScalingSettings"]],
    autoScaleMaxDedicated: [...INTEGER, [-1], [5, "InvalidAutoScalingSettings"]],
    storageAccountAffinity: [[""], [1], [long(1025)], ["a\0b"]],
  },
};

const USER: Shape["bad"] = {
  password: [[""], [long(128)], ["a\nb"], ["a\0b"], [1]],
  isAdmin: BOOLEAN,
  expiryTime: [["tomorrow"], ["2015-04-01"], ["2000-01-01T00:00:00Z"], [1]],
};
const OPTION: Bad[] = [["drop"], [1], [""]];
const TVM_LIST: Bad[] = [["tvm-1"], [[]], [[7], VALUE, "tvmList[0]"], [[""], VALUE, "tvmList[0]"], [["tvm-1", long(65)], VALUE, "tvmList[1]"], [Array.from({ length: 101 }, (_, index) => `tvm-${index}`)]];

const poolPatch: Shape = { good: { metadata: [] }, bad: { startTask: START_TASK, certificateReferences: CERTIFICATES, metadata: METADATA } };

const jobUpdate: Shape = { good: { priority: 1 }, bad: { priority: PRIORITY, jobConstraints: JOB_CONSTRAINTS("jobConstraints"), poolName: NAME } };

const INSTANT: Bad[] = [["tomorrow"], ["2099-01-01"], ["2099-01-01T00:00:00"], ["2099-13-01T00:00:00Z"], ["+012099-01-01T00:00:00Z"], [""], [7], [long(70)]];
const MINUTE: Bad[] = [...DURATION, ["PT59S"], ["PT0S"], ["PT59.999S"]];

const auto = (changes: object = {}, more: object = {}) => ({ poolLifeTimeOption: "job", pool: { osFamily: "3", tvmSize: "small", targetDedicated: 1, ...changes }, ...more });
const AUTO = "jobExecutionEnvironment.autoPoolSpecification";
/** What a pool must fulfil, the auto pool must: its specification is the same but for the name. */
const autoPool = (property: string): Bad[] =>
  (pool.bad[property] as readonly Bad[]).map(([value, code, about = property]) => [{ autoPoolSpecification: auto({ [property]: value }) }, code ?? VALUE, `${AUTO}.pool.${about}`]);

const workItemBad: Shape["bad"] = {
  schedule: [
    ["P1D"],
    [{ extra: 1 }, "UnsupportedProperty", "schedule.extra"],
    [{ doNotRunAfter: "2015-01-01T00:00:00Z" }, VALUE, "schedule.doNotRunAfter"],
    [{ doNotRunUntil: "2099-01-02T00:00:00Z", doNotRunAfter: "2099-01-01T00:00:00Z" }, VALUE, "schedule.doNotRunAfter"],
    ...within("schedule.doNotRunUntil", INSTANT, (doNotRunUntil) => ({ doNotRunUntil })),
    ...within("schedule.doNotRunAfter", INSTANT, (doNotRunAfter) => ({ doNotRunAfter })),
    ...within("schedule.startWindow", MINUTE, (startWindow) => ({ startWindow })),
    // case 23
    ...within("schedule.recurrenceInterval", MINUTE, (recurrenceInterval) => ({ recurrenceInterval })),
  ],
  jobSpecification: [
    ["x"],
    [{ extra: 1 }, "UnsupportedProperty", "jobSpecification.extra"],
    [{ jobManager: "jm" }, VALUE, "jobSpecification.jobManager"],
    [{ jobManager: { commandLine: "x" } }, "MissingRequiredProperty", "jobSpecification.jobManager.name"],
    [{ jobManager: { name: "jm" } }, "MissingRequiredProperty", "jobSpecification.jobManager.commandLine"],
    [{ jobManager: { name: "jm", commandLine: "x", affinityInfo: {} } }, "UnsupportedProperty", "jobSpecification.jobManager.affinityInfo"],
    [{ jobManager: { name: "jm", commandLine: "x", runElevated: true } }, "InsufficientAccountPermissions", "jobSpecification.jobManager.runElevated"],
    ...["runExclusive", "killJobOnCompletion"].flatMap((flag) => within(`${MANAGER}.${flag}`, BOOLEAN, (value) => ({ jobManager: { name: "jm", commandLine: "x", [flag]: value } }))),
    ...within(`${MANAGER}.name`, NAME, (value) => ({ jobManager: { name: value, commandLine: "x" } })),
    ...within(`${MANAGER}.commandLine`, COMMAND_LINE, (value) => ({ jobManager: { name: "jm", commandLine: value } })),
    ...within(`${MANAGER}.taskConstraints`, TASK_CONSTRAINTS(`${MANAGER}.taskConstraints`), (taskConstraints) => ({ jobManager: { name: "jm", commandLine: "x", taskConstraints } })),
    ...within(`${MANAGER}.environmentSettings`, environmentSettings(`${MANAGER}.environmentSettings`), (value) => ({ jobManager: { name: "jm", commandLine: "x", environmentSettings: value } })),
    ...within(`${MANAGER}.resourceFiles`, resourceFiles(`${MANAGER}.resourceFiles`), (value) => ({ jobManager: { name: "jm", commandLine: "x", resourceFiles: value } })),
    ...within("jobSpecification.priority", PRIORITY, (priority) => ({ priority })),
    ...within("jobSpecification.jobConstraints", JOB_CONSTRAINTS("jobSpecification.jobConstraints"), (jobConstraints) => ({ jobConstraints })),
  ],
  jobExecutionEnvironment: [
    ["p1"],
    [{}, "MissingRequiredProperty", "jobExecutionEnvironment.poolName"],
    [{ poolName: "p1", x: 1 }, "UnsupportedProperty", "jobExecutionEnvironment.x"],
    [{ poolName: "p1", autoPoolSpecification: auto() }, VALUE],
    ...within("jobExecutionEnvironment.poolName", NAME, (poolName) => ({ poolName })),
    ...within(AUTO, [["x"], [7]], (autoPoolSpecification) => ({ autoPoolSpecification })),
    [{ autoPoolSpecification: { pool: auto().pool } }, "MissingRequiredProperty", `${AUTO}.poolLifeTimeOption`],
    [{ autoPoolSpecification: { poolLifeTimeOption: "job" } }, "MissingRequiredProperty", `${AUTO}.pool`],
    [{ autoPoolSpecification: auto({}, { extra: 1 }) }, "UnsupportedProperty", `${AUTO}.extra`],
    [{ autoPoolSpecification: auto({ name: "mine" }) }, "UnsupportedProperty", `${AUTO}.pool.name`],
    ...within(`${AUTO}.poolLifeTimeOption`, [["day"], [""], [1]], (poolLifeTimeOption) => ({ autoPoolSpecification: auto({}, { poolLifeTimeOption }) })),
    ...within(`${AUTO}.keepAlive`, BOOLEAN, (keepAlive) => ({ autoPoolSpecification: auto({}, { keepAlive }) })),
    ...within(`${AUTO}.autoPoolNamePrefix`, [[""], ["a b"], [long(21)], [1]], (autoPoolNamePrefix) => ({ autoPoolSpecification: auto({}, { autoPoolNamePrefix }) })),
    ...["osFamily", "tvmSize", "targetDedicated", "resizeTimeout", "maxTasksPerTVM", "enableAutoScale"].flatMap(autoPool),
    [{ autoPoolSpecification: auto({ startTask: { commandLine: "x", runElevated: true } }) }, "InsufficientAccountPermissions", `${AUTO}.pool.startTask.runElevated`],
  ],
  metadata: METADATA,
};

const SHAPES: Readonly<Record<string, readonly [method: string, target: string, shape: Shape]>> = {
  AddPool: ["POST", "/pools", pool],
  PatchPool: ["PATCH", "/pools/p1", poolPatch],
  UpdatePoolProperties: ["POST", "/pools/p1?updateproperties", poolPatch],
  EnableAutoScale: [
    "POST",
    "/pools/p1?enableautoscale",
    {
      good: { autoScaleFormula: "$TargetDedicated=1" },
      bad: {
        autoScaleFormula: [[1], ["", "InvalidAutoScalingSettings"], ["a=", "AutoScalingFormulaSyntaxError"], [long(8193), "AutoScalingFormulaTooLong"]],
        autoScaleEvaluationInterval: [["soon"], ["PT4M59S"], ["P8D"], ["PT0S"]],
        autoScaleMaxDedicated: [...INTEGER, [-1]],
      },
    },
  ],
  EvaluateAutoScale: ["POST", "/pools/p1?evaluateautoscale", { good: { autoScaleFormula: "$TargetDedicated=1" }, required: ["autoScaleFormula"], bad: { autoScaleFormula: [[1], [null, "MissingRequiredProperty"]] } }],
  ResizePool: [
    "POST",
    "/pools/p1?resize",
    {
      good: { targetDedicated: 1 },
      required: ["targetDedicated"],
      bad: { targetDedicated: TARGET, resizeTimeout: RESIZE_TIMEOUT, tvmDeallocationOption: [["drop"], [1], [""]] },
    },
  ],
  RemoveTVMs: [
    "POST",
    "/pools/p1?removetvms",
    { good: { tvmList: ["tvm-1"] }, required: ["tvmList"], bad: { tvmList: TVM_LIST, resizeTimeout: RESIZE_TIMEOUT, tvmDeallocationOption: OPTION } },
  ],
  UpgradePoolOS: ["POST", "/pools/p1?upgradeos", { good: { targetOSVersion: "*" }, required: ["targetOSVersion"], bad: { targetOSVersion: [[""], [long(65)], [1]] } }],
  RebootTVM: ["POST", "/pools/p1/tvms/tvm-1?reboot", { good: { rebootOption: "requeue" }, bad: { rebootOption: OPTION } }],
  ReimageTVM: ["POST", "/pools/p1/tvms/tvm-1?reimage", { good: { reimageOption: "requeue" }, bad: { reimageOption: OPTION } }],
  AddCertificate: [
    "POST",
    "/certificates",
    {
      good: { thumbprint: OWN.thumbprint, thumbprintAlgorithm: "sha1", data: OWN.pfx("right").toString("base64"), password: "right" },
      required: ["thumbprint", "thumbprintAlgorithm", "data"],
      bad: {
        thumbprint: [...THUMBPRINT, [HEX]],
        thumbprintAlgorithm: [["md5"], ["sha256"], [""], [1]],
        data: [
          [""], ["not base64!"], ["QUJ"], ["QUJD"], [7], [["QUJD"]],
          [Buffer.alloc(10 * 1024 + 1).toString("base64")],
          [OWN.cer.toString("base64")],
          [OWN.pfx("right").subarray(0, 1000).toString("base64")],
        ],
        certificateFormat: [["der"], [""], [1], ["cer", VALUE, "password"]],
        password: [["wrong"], [""], [null], [7], ["a\0b"], [long(1025)]],
      },
    },
  ],
  AddTVMUser: [
    "POST",
    "/pools/p1/tvms/tvm-1/users",
    { good: { name: "ann", password: "Secret#1" }, required: ["name", "password"], bad: { name: [[""], ["a b"], [long(21)], ["a.b"], ["root:x"], [1]], ...USER } },
  ],
  UpdateTVMUser: ["PUT", "/pools/p1/tvms/tvm-1/users/ann", { good: { password: "Secret#1" }, bad: USER }],
  AddWorkItem: [
    "POST",
    "/workitems",
    {
      good: { ...WORK_ITEM, name: "new" },
      required: ["name", "jobExecutionEnvironment"],
      bad: {
        name: NAME,
        ...workItemBad,
      },
    },
  ],
  UpdateWorkItem: ["PUT", "/workitems/w1", { good: { jobExecutionEnvironment: { poolName: "p1" } }, required: ["jobExecutionEnvironment"], bad: workItemBad }],
  PatchWorkItem: ["PATCH", "/workitems/w1", { good: { metadata: [] }, bad: workItemBad }],
  PatchJob: ["PATCH", JOB, jobUpdate],
  UpdateJob: ["PUT", JOB, jobUpdate],
  DisableJob: ["POST", `${JOB}?disable`, { good: { disableTasks: "wait" }, required: ["disableTasks"], bad: { disableTasks: [["stop"], [1], [""]] } }],
  UpdateTask: ["PUT", `${JOB}/tasks/t1`, { good: { taskConstraints: {} }, bad: { taskConstraints: TASK_CONSTRAINTS(), environmentSettings: environmentSettings("environmentSettings") } }],
  TerminateJob: ["POST", `${JOB}?terminate`, { good: {}, bad: { terminateReason: [[""], [long(1025)], [1], ["a\0"]] } }],
  AddTask: [
    "POST",
    `${JOB}/tasks`,
    {
      good: { ...TASK, name: "new" },
      required: ["name", "commandLine"],
      bad: {
        name: NAME,
        commandLine: COMMAND_LINE,
        resourceFiles: resourceFiles("resourceFiles"),
        environmentSettings: environmentSettings("environmentSettings"),
        affinityInfo: [["x"], [{}, "MissingRequiredProperty", "affinityInfo.affinityId"], [{ affinityId: 1 }, VALUE, "affinityInfo.affinityId"], [{ affinityId: long(1025) }, VALUE, "affinityInfo.affinityId"]],
        runElevated: [...BOOLEAN, [true, "InsufficientAccountPermissions"]],
        taskConstraints: TASK_CONSTRAINTS(),
      },
    },
  ],
  AddTaskCollection: ["POST", `${JOB}/tasks?addtaskcollection`, { good: { value: [{ ...TASK, name: "new" }] }, required: ["value"], bad: { value: [["x"], [[]], [{}]] } }],
};

const STATUS: Readonly<Record<string, number>> = { CertificateNotFound: 404, NotImplemented: 501, InsufficientAccountPermissions: 403 };

/** Nothing of the refused has happened: the same things are there, with the same definitions. */
const everything = async (): Promise<string> => {
  const lists = await Promise.all(["/pools", "/certificates", "/workitems", "/workitems/w1/jobs", `${JOB}/tasks`].map((target) => ask(service, "GET", target)));
  return lists.map(({ text }) => text).join("\n");
};

test("every operation that takes a body is here", () => {
  const taking = operations.filter((one) => one.version === "classic" && one.body !== undefined).map((one) => one.name);
  expect(taking.sort()).toEqual(Object.keys(SHAPES).sort());
});

describe.each(Object.entries(SHAPES).map(([name, [method, target, shape]]) => ({ name, method, target, shape })))("$name", ({ name, method, target, shape }) => {
  let before: string;
  beforeAll(async () => {
    before = await everything();
  });
  afterAll(async () => {
    expect(await everything()).toBe(before);
  });

  const send = (options: Parameters<typeof ask>[3]) => ask(service, method, target, options);
  const sendRaw = (raw: string | Uint8Array, headers: Record<string, string> = {}) => send({ raw, headers });
  const optional = ["TerminateJob", "RebootTVM", "ReimageTVM"].includes(name);

  test("what is missing is named", async () => {
    for (const property of shape.required ?? []) {
      const { [property]: _, ...rest } = shape.good;
      expect(refusal(await send({ body: rest }))).toBe(`400 MissingRequiredProperty ${property}`);
      // Some clients write null for what they leave out.
      expect(refusal(await send({ body: { ...rest, [property]: null } }))).toBe(`400 MissingRequiredProperty ${property}`);
    }
  });

  test("what is not known is named", async () => {
    for (const property of ["colour", "state", "eTag", "Name", "url"]) {
      expect(refusal(await send({ body: { ...shape.good, [property]: "x" } }))).toBe(`400 UnsupportedProperty ${property}`);
    }
  });

  test.each(Object.keys(shape.bad))("%s: wrong types, ranges, forms", async (property) => {
    for (const [value, code = VALUE, about = property] of shape.bad[property] as readonly Bad[]) {
      const got = await send({ body: { ...shape.good, [property]: value } });
      const shown = (JSON.stringify(value) ?? "").slice(0, 80);
      expect([shown, refusal(got)]).toEqual([shown, `${STATUS[code] ?? 400} ${code} ${about}`]);
      for (const { key, value: text } of got.json.values as { key: string; value: string }[]) expect(text.length).toBeLessThanOrEqual(key === "PropertyName" ? 160 : 64);
      if (code === VALUE) expect(got.json.values.map((one: { key: string }) => one.key)).toEqual(["PropertyName", "PropertyValue", "Reason"]);
    }
  });

  test("what is no JSON object", async () => {
    for (const raw of ["{", "not json", "[]", "7", "null", '"x"', '{"a":1,"a":2}', '{"__proto__":{"a":1}}', '{"constructor":1}', `{"a":${"[".repeat(30)}${"]".repeat(30)}}`])
      expect([raw, refusal(await sendRaw(raw))]).toEqual([raw, "400 InvalidRequestBody"]);
    expect(refusal(await sendRaw(new Uint8Array([0x7b, 0xff, 0x7d])))).toBe("400 InvalidRequestBody");
    if (!optional) expect(refusal(await sendRaw(""))).toBe("400 InvalidRequestBody");
  });

  test("what is too large, before it is read, or while", async () => {
    const most = name === "AddTaskCollection" ? 4 * 1024 * 1024 : 1024 * 1024;
    const large = JSON.stringify({ ...shape.good, filler: long(most) });
    expect(refusal(await sendRaw(large))).toBe("413 RequestBodyTooLarge");
    const stream = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(new Uint8Array(256 * 1024).fill(32)) });
    expect(refusal(await send({ raw: stream }))).toBe("413 RequestBodyTooLarge");
  });

  test("another type, charset or encoding of the body", async () => {
    const raw = JSON.stringify(shape.good);
    for (const type of ["text/plain", "application/xml", "application/json; charset=utf-16", "application/jsonp", "application/x-www-form-urlencoded"])
      expect(refusal(await sendRaw(raw, { "content-type": type }))).toBe("400 InvalidHeaderValue Content-Type");
    expect(refusal(await sendRaw(raw, { "content-encoding": "gzip" }))).toBe("400 UnsupportedHeader Content-Encoding");
  });

  test("who asks, when, in which version", async () => {
    const body = shape.good;
    expect(refusal(await send({ body, authorization: null }))).toBe("403 AuthenticationFailed");
    expect(refusal(await send({ body, key: Buffer.alloc(64).toString("base64") }))).toBe("403 AuthenticationFailed");
    expect(refusal(await send({ body, date: new Date(service.ports.clock.now().getTime() - 16 * 60_000).toUTCString() }))).toBe("403 AuthenticationFailed ocp-date");
    expect(refusal(await send({ body, version: "2099-01-01.0.0" }))).toBe("400 UnsupportedRequestVersion api-version");
    expect(refusal(await send({ body, version: null }))).toBe("400 MissingRequiredQueryParameter api-version");
    expect(refusal(await send({ body, query: { colour: "red" } }))).toBe("400 UnsupportedQueryParameter colour");
    expect(refusal(await send({ body, headers: { "if-match": "0x1", "if-none-match": "0x1" } }))).toBe("400 MultipleConditionHeadersNotSupported");
    expect(refusal(await send({ body, headers: { "if-modified-since": "yesterday" } }))).toBe("400 InvalidHeaderValue If-Modified-Since");
  });
});

test("what is left out may be written as null, and annotations are nobody's business", async () => {
  const body = { ...POOL, name: "nulls", "odata.metadata": "x", "tvmSize@odata.type": "Edm.String", startTask: null, metadata: null, schedulingPolicy: null, resizeTimeout: null };
  expect((await ask(service, "POST", "/pools", { body })).status).toBe(201);
  expect((await ask(service, "GET", "/pools/nulls")).json.startTask).toBeUndefined();
});

test("elevated tasks are taken where the operator allows them, and the refusal names the switch", async () => {
  const body = { ...TASK, name: "root", runElevated: true };
  expect((await ask(service, "POST", `${JOB}/tasks`, { body })).json.message.value).toContain("--allow-elevated");
  const allowing = { ports: { ...service.ports, policy: { ...service.ports.policy, allowElevated: true } } };
  expect((await ask(allowing, "POST", `${JOB}/tasks`, { body })).status).toBe(201);
  expect((await ask(service, "GET", `${JOB}/tasks/root`)).json.runElevated).toBe(true);
});

test("the address of a file is told without its signature", async () => {
  const blobSource = "ftp://s/x?sig=SECRET";
  const got = await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, name: "f", resourceFiles: [{ blobSource, filePath: "x" }] } });
  expect(refusal(got)).toBe("400 InvalidPropertyValue resourceFiles[0].blobSource");
  expect(got.text).not.toContain("SECRET");
});

// ---------------------------------------------------------------- every operation there is, with a body or without
// Made from the table of operations: a new operation is in all of these as soon as it is in the table. Its target is made from
// its path, its body is the good one of SHAPES. What is different about one is written down here, with the reason.

/** Operations of a definition that have no condition, or that the rule for states below does not fit: why. */
const WITHOUT_CONDITION: Readonly<Record<string, string>> = {
  EvaluateAutoScale: "changes nothing",
};
/** What is answered instead of the usual refusal while the thing is being deleted, or when it has completed. */
const IN_DELETING: Readonly<Record<string, string>> = {
  EvaluateAutoScale: "any",
};
const IN_COMPLETED: Readonly<Record<string, string>> = {};

const isReal = (one: Operation): boolean => !one.name.startsWith(`${one.method} `);
const CLASSIC = operations.filter((one) => one.version === "classic" && isReal(one));
/** Their own answers in their own tests: what has neither names nor a list. */
const WITH_NAMES: Readonly<Record<string, string>> = { pool: "PoolNotFound", tvm: "TVMNotFound", workItem: "WorkItemNotFound", job: "JobNotFound", task: "TaskNotFound" };
const CERTIFICATE = `/certificates(thumbprintAlgorithm=sha1,thumbprint=${"0a".repeat(20)})`;

type Names = Readonly<Record<string, string>>;

const targetOf = (one: Operation, names: Names): string => {
  const path = one.path.replace("/certificates(...)", CERTIFICATE).replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = names[name];
    if (value === undefined) throw new Error(`${one.name} has {${name}} in its path, and this test knows no name for it: add one to the world below.`);
    return value;
  });
  return one.verb === undefined ? path : `${path}?${one.verb}`;
};
const namesIn = (one: Operation): string[] => [...one.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as string);
const goodBody = (one: Operation): unknown => (one.body === undefined ? undefined : SHAPES[one.name]?.[2].good);
const isChange = (one: Operation): boolean => one.method !== "GET" && one.method !== "HEAD";
/** `{pool}`, `{workItem}`, `{job}` or `{task}` when the operation is one on such a definition itself. */
const definitionOf = (one: Operation): string | undefined => /\{(pool|workItem|job|task)\}$/.exec(one.path)?.[1];

interface World {
  readonly service: Service;
  readonly names: Names;
}

const openWorld = async (): Promise<World> => {
  const own = await openService();
  for (const [target, body] of [["/pools", { ...POOL, targetDedicated: 1 }], ["/workitems", WORK_ITEM], [`${JOB}/tasks`, TASK]] as const)
    expect((await ask(own, "POST", target, { body })).status).toBe(201);
  const at = own.ports.clock.now().toISOString();
  const allocated = await execute(own.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p1")), command: { type: "AllocateTvms", at, count: 1 } });
  if (isRejection(allocated)) throw new Error(allocated.code);
  const tvm = allocated.state.tvms[0] as string;
  const stream = tvmStream(tvmKey(ACCOUNT, "p1", tvm));
  await execute(own.ports, "tvm", "test", { stream, command: { type: "AllocateTvm", at, account: ACCOUNT, pool: "p1", name: tvm, size: "small", slots: 1 } });
  await execute(own.ports, "tvm", "test", { stream, command: { type: "JoinTvm", at, boot: 1, address: "127.0.0.2", cores: 1, platform: "linux", separateUser: false } });
  await execute(own.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p1")), command: { type: "EndPoolResize", at } });
  return { service: own, names: { pool: "p1", tvm, workItem: "w1", job: "job-0000000001", task: "t1", path: "stdout.txt", user: "me", container: "inputs" } };
};

/** All that the account has, as it is told. */
const contents = async ({ service: own, names }: World): Promise<string> => {
  const targets = ["/pools", `/pools/p1/tvms`, `/pools/p1/tvms/${names["tvm"]}`, "/workitems", "/workitems/w1/jobs", `${JOB}/tasks`, "/certificates"];
  const lists = await Promise.all(targets.map((target) => ask(own, "GET", target)));
  return lists.map(({ text, status }) => (status < 400 ? text : String(status))).join("\n");
};

/** HEAD says no more than the status. */
const told = (one: Pick<Operation, "method">, expected: string): string => (one.method === "HEAD" ? (expected.split(" ")[0] as string) : expected);

const sendTo = (own: Service, one: Operation, names: Names, options: Parameters<typeof ask>[3] = {}) => {
  const body = goodBody(one);
  return ask(own, one.method, targetOf(one, names), { ...(body === undefined ? {} : { body }), ...options });
};

describe("every operation", () => {
  let world: World;
  let before: string;
  beforeAll(async () => {
    world = await openWorld();
    before = await contents(world);
  });
  afterEach(async () => {
    // Nothing that any of these asked for was done.
    expect(await contents(world)).toBe(before);
    expect(world.service.errors).toEqual([]);
  });
  afterAll(() => world.service.close());

  test("has a body to send, if it takes one", () => {
    expect(CLASSIC.filter((one) => one.body !== undefined && SHAPES[one.name] === undefined).map((one) => one.name)).toEqual([]);
    expect(CLASSIC.length).toBeGreaterThan(20);
  });

  test.each(CLASSIC.map((one) => [one.name, one] as const))("%s: strangers, versions, parameters, times, conditions", async (_name, one) => {
    const cases: [Parameters<typeof ask>[3], string][] = [
      [{ authorization: null }, "403 AuthenticationFailed"],
      [{ key: Buffer.alloc(64).toString("base64") }, "403 AuthenticationFailed"],
      [{ authorization: "Basic eDp5" }, "400 InvalidAuthenticationInfo Authorization"],
      [{ authorization: "TVM x~1~y" }, "403 AuthenticationFailed"],
      [{ version: null }, "400 MissingRequiredQueryParameter api-version"],
      [{ version: "2099-01-01.0.0" }, "400 UnsupportedRequestVersion api-version"],
      [{ query: { colour: "red" } }, "400 UnsupportedQueryParameter colour"],
      [{ query: { timeout: "0" } }, "400 OutOfRangeQueryParameterValue timeout"],
      [{ query: { timeout: "31" } }, "400 OutOfRangeQueryParameterValue timeout"],
      [{ query: { timeout: "-1" } }, "400 InvalidQueryParameterValue timeout"],
      [{ query: { timeout: "" } }, "400 InvalidQueryParameterValue timeout"],
      [{ headers: { "if-match": "0x1", "if-none-match": "0x1" } }, "400 MultipleConditionHeadersNotSupported"],
      [{ headers: { "if-match": "0x1", "if-modified-since": "Thu, 09 Jul 2015 19:31:21 GMT" } }, "400 MultipleConditionHeadersNotSupported"],
      [{ headers: { "if-unmodified-since": "yesterday" } }, "400 InvalidHeaderValue If-Unmodified-Since"],
    ];
    for (const [options, expected] of cases) expect([options, refusal(await sendTo(world.service, one, world.names, options))]).toEqual([options, told(one, expected)]);
  });

  test.each(CLASSIC.filter((one) => namesIn(one).some((name) => WITH_NAMES[name])).map((one) => [one.name, one] as const))("%s: on what is not there", async (_name, one) => {
    for (const name of namesIn(one)) {
      const missing = WITH_NAMES[name];
      if (missing === undefined) continue;
      for (const value of ["nothing", "a%20b", "a.b", "x".repeat(65)]) {
        const got = await sendTo(world.service, one, { ...world.names, [name]: value });
        // A TVM that a body names is the pool's business; here it is the path's.
        expect([name, value, refusal(got)]).toEqual([name, value, told(one, `404 ${missing}`)]);
      }
    }
  });

  const conditioned = CLASSIC.filter((one) => definitionOf(one) !== undefined && !WITHOUT_CONDITION[one.name]);
  test.each(conditioned.map((one) => [one.name, one] as const))("%s: under conditions that do not hold", async (_name, one) => {
    const path = targetOf({ ...one, verb: undefined } as never as Operation, world.names);
    const tag = (await ask(world.service, "GET", path)).headers.get("etag") as string;
    expect(tag).toMatch(/^0x[0-9A-F]{15}$/);
    const cases: [Record<string, string>, read: string][] = [
      [{ "if-match": "0x1" }, "412 ConditionNotMet"],
      [{ "if-match": '"0x1", W/"0x2"' }, "412 ConditionNotMet"],
      [{ "if-unmodified-since": "Thu, 09 Jul 2015 19:31:21 GMT" }, "412 ConditionNotMet"],
      [{ "if-none-match": tag }, "304"],
      [{ "if-none-match": `"${tag}"` }, "304"],
      [{ "if-none-match": "*" }, "304"],
      [{ "if-modified-since": new Date(Date.now() + 60_000).toUTCString() }, "304"],
      // Of two that say the same kind of thing the tag counts.
      [{ "if-match": "0x1", "if-unmodified-since": new Date(Date.now() + 60_000).toUTCString() }, "412 ConditionNotMet"],
      [{ "if-none-match": tag, "if-modified-since": "Thu, 09 Jul 2015 19:31:21 GMT" }, "304"],
    ];
    for (const [headers, read] of cases) {
      const got = await sendTo(world.service, one, world.names, { headers });
      expect([headers, refusal(got)]).toEqual([headers, isChange(one) ? "412 ConditionNotMet" : told(one, read)]);
      if (got.status === 304) expect([got.text, got.headers.get("etag")]).toEqual(["", tag]);
    }
  });
});

describe("every operation by another account", () => {
  let world: World;
  let before: string;
  beforeAll(async () => {
    world = await openWorld();
    before = await contents(world);
  });
  afterAll(() => world.service.close());

  test.each(operations.filter(isReal).map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    const own = one.version === "none";
    const body = goodBody(one);
    const got = await ask(world.service, one.method, targetOf(one, world.names), { account: "other", ...(body === undefined ? {} : { body }) });
    const first = namesIn(one)[0];
    const missing = first === undefined ? undefined : WITH_NAMES[first];
    // What happened to a TVM is told of TVMs that are gone too: it is looked up by itself.
    if (missing !== undefined) expect(refusal(got)).toBe(told(one, `404 ${one.name.startsWith("History ") && namesIn(one).includes("tvm") ? "TVMNotFound" : missing}`));
    else if (one.method === "GET" && got.status === 200 && !own) expect(got.json.value).toEqual([]);
    // What it makes by these names is its own.
    else expect(got.status).not.toBe(500);
    for (const secret of [world.names["tvm"] as string, "echo hello"]) expect(got.text).not.toContain(secret);
    expect(await contents(world)).toBe(before);
    expect(world.service.errors).toEqual([]);
  });
});

describe("every change to a definition in a state that has none", () => {
  let world: World;
  beforeEach(async () => {
    world = await openWorld();
  });
  afterEach(() => world.service.close());

  const at = (): string => world.service.ports.clock.now().toISOString();
  const changes = (kind: string): Operation[] => CLASSIC.filter((one) => isChange(one) && definitionOf(one) === kind);
  const refusals = async (kind: string, usual: (one: Operation) => string | undefined, other: Readonly<Record<string, string>>): Promise<void> => {
    const before = await contents(world);
    for (const one of changes(kind)) {
      const expected = other[one.name] ?? usual(one);
      if (expected === undefined || expected === "any") continue;
      expect([one.name, refusal(await sendTo(world.service, one, world.names))]).toEqual([one.name, expected]);
    }
    expect(await contents(world)).toBe(before);
    expect(changes(kind).length).toBeGreaterThan(1);
  };

  test.each([
    ["pool", "/pools/p1", "409 PoolBeingDeleted"],
    ["workItem", "/workitems/w1", "409 WorkItemBeingDeleted"],
    ["job", JOB, "409 JobBeingDeleted"],
  ])("a %s that is being deleted", async (kind, target, expected) => {
    expect((await ask(world.service, "DELETE", target)).status).toBe(202);
    await refusals(kind, () => expected, IN_DELETING);
    if (kind !== "job") return;
    for (const verb of ["", "?addtaskcollection"]) {
      const body = verb === "" ? { ...TASK, name: "late" } : { value: [{ ...TASK, name: "late" }] };
      expect(refusal(await ask(world.service, "POST", `${JOB}/tasks${verb}`, { body }))).toBe(expected);
    }
  });

  test("a job that has completed; adding to it: case 28", async () => {
    const stream = jobStream(jobKey(ACCOUNT, "w1", 1, "job-0000000001"));
    expect((await ask(world.service, "POST", `${JOB}?terminate`)).status).toBe(202);
    await execute(world.service.ports, "job", "test", { stream, command: { type: "CompleteJob", at: at() } });
    await refusals("job", (one) => (one.method === "DELETE" ? undefined : "409 JobCompleted"), IN_COMPLETED);
    expect(refusal(await ask(world.service, "POST", `${JOB}/tasks`, { body: { ...TASK, name: "late" } }))).toBe("409 JobCompleted");
  });

  test("a work item that has completed", async () => {
    const stream = workItemStream(workItemKey(ACCOUNT, "w1"));
    expect((await ask(world.service, "POST", "/workitems/w1?terminate")).status).toBe(202);
    await execute(world.service.ports, "workItem", "test", { stream, command: { type: "CompleteWorkItem", at: at() } });
    await refusals("workItem", (one) => (one.method === "DELETE" ? undefined : "409 WorkItemCompleted"), IN_COMPLETED);
  });

  test("a task that has completed; case 42", async () => {
    expect((await ask(world.service, "POST", `${JOB}/tasks/t1?terminate`)).status).toBe(204);
    await refusals("task", (one) => (one.method === "DELETE" ? undefined : "409 TaskCompleted"), IN_COMPLETED);
  });
});
