// The embedded service.
require("./kills.scenarios");
