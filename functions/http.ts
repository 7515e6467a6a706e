// The HTTP surface: every path goes through one handler, which knows the operations and says what it does not know. The
// agents' door and the service's own extras are operations like all others.
import { type HttpMethod, app } from "@azure/functions";
import { serve } from "../src/api/serve";
import { portsFor } from "../src/compose";

// Bodies flow: tasks in any number in one request, files of any size in one answer.
app.setup({ enableHttpStream: true });

const methods: HttpMethod[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

app.http("batch", {
  methods,
  // The signature of the account's key, or a TVM's credential, is the authentication: not a function key.
  authLevel: "anonymous",
  route: "{*path}",
  handler: (request, context) => serve(portsFor(context), request, context),
});
