// The embedded service.
require("./lives.scenarios");
