// The embedded service.
void require("./kills.scenarios");
