// Lets Node run the simulator's TypeScript as it is: node --require test/sim/register.js test/sim/main.ts
require("../agent/register.js");
