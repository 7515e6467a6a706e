// The embedded service.
void require("./lives.scenarios");
