// `npm run bench -- azure-faults [tasks]`: the service on Azure's parts while 5 % of the calls to Cosmos DB fail (throttled, unavailable, or
// carried out without an answer) and every fifth message comes twice. Prints one JSON line: rate, faults, and that every task has
// completed exactly once by the stored events; ends with 1 if not.
import { azureParts } from "../support/azure";
import { completionsOf } from "../support/completions";
import { JOB, allCompleted, compose, newData, pool, removeData, start, stop, workItem } from "../support/service";

const main = async (): Promise<void> => {
  const count = Number(process.argv[2] ?? 2_000);
  const azure = azureParts("scaleSets");
  compose(azure);
  const data = newData();
  const service = await start(data);
  const { gateway, broker, addresses } = await azure.standIns(data);
  try {
    await pool(service.client, "main", 2, 4);
    await workItem(service.client, "faulty", "main");
    gateway.fail({ rate: 0.05, seed: 42 });
    broker.setFaults({ seed: 42, repeat: 0.2 });
    const began = performance.now();
    await service.client.addTasks("faulty", JOB, Array.from({ length: count }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true" })));
    const counts = await allCompleted(service.client, "faulty", count, 20 * 60_000);
    const seconds = (performance.now() - began) / 1000;
    const faults = { cosmos: { ...gateway.failed }, repeated: broker.totals().faults };
    gateway.fail();
    broker.setFaults(undefined);
    const { tasks, wrong } = await completionsOf({ addresses }, "faulty");
    const figure = { figure: "tasks end to end under faults", value: Math.round((count / seconds) * 100) / 100, unit: "tasks/s", tasks, seconds: Math.round(seconds), faults, counts, completedOnce: tasks - wrong.length, wrong: wrong.slice(0, 10) };
    console.log(JSON.stringify(figure));
    if (tasks !== count || wrong.length > 0 || counts.completed !== count) process.exitCode = 1;
  } finally {
    await stop(service);
    await removeData(data);
    await azure.close();
  }
};

main().then(() => process.exit(), (error: unknown) => {
  console.error(error);
  process.exit(1);
});
