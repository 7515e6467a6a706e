// Before the first invocation: the deployed app composes its ports from its settings. A local service has done so already.
import { app } from "@azure/functions";
import { composeAtStart } from "../src/compose";

app.hook.appStart(() => composeAtStart());
