// The service on Azure's parts, its TVMs machines of scale sets.
import { azureParts } from "../support/azure";
import { compose } from "../support/service";

const azure = azureParts("scaleSets");
compose(azure);
void require("./lives.scenarios");
// Runs after those that the scenarios have: hooks of this kind run in the order in which they were given.
afterAll(() => azure.close());
