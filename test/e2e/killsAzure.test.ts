// The service on Azure's parts. Its TVMs are processes whose end is noticed at once: a scale set's machine whose agent dies is only
// missed after a minute of silence.
import { azureParts } from "../support/azure";
import { compose } from "../support/service";

const azure = azureParts("processes");
compose(azure);
void require("./kills.scenarios");
afterAll(() => azure.close());
