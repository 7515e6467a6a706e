// `npm run start:azure-local [-- DATA PORT]`: lets Node load the stand-ins' TypeScript, and starts them with the service.
void require("../agent/register.js");
require("./azureLocal.ts").main().catch((error) => {
  console.error(error);
  process.exit(1);
});
