import { readHostSettings } from "../../src/host/hostJson";

test("the numbers of host.json are the host's", () => {
  const settings = readHostSettings({
    version: "2.0",
    functionTimeout: "00:10:00",
    extensions: {
      http: { routePrefix: "" },
      durableTask: { hubName: "Hub", maxConcurrentActivityFunctions: 3, maxConcurrentOrchestratorFunctions: 4 },
      serviceBus: { maxConcurrentCalls: 5, maxConcurrentSessions: 6, maxMessageBatchSize: 7 },
    },
  });
  expect(settings).toEqual({ functionTimeoutMs: 600_000, routePrefix: "", hubName: "Hub", activitiesMax: 3, orchestratorsMax: 4, callsMax: 5, lanesMax: 6, batchMax: 7 });
});

test.each([
  [{ version: "1.0" }, "version"],
  [{ version: "2.0", extension: {} }, "extension"],
  [{ version: "2.0", extensions: { kafka: {} } }, "kafka"],
  [{ version: "2.0", extensions: { serviceBus: { maxConcurrentCall: 1 } } }, "maxConcurrentCall"],
  [{ version: "2.0", extensions: { serviceBus: { maxConcurrentCalls: 0 } } }, "maxConcurrentCalls"],
  [{ version: "2.0", functionTimeout: "10 minutes" }, "functionTimeout"],
])("%j is refused by name", (json, name) => {
  expect(() => readHostSettings(json)).toThrow(name);
});
