// What `require("@azure/functions-core")` answers in tests (jest.config.js maps it here): the local host's own stand-in,
// so that functions which a test registers and a host which it starts meet in one registry per test file.
import { coreApi } from "../../src/host/functionsCore";

export = coreApi;
