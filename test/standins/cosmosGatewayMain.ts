// The stand-in for Cosmos DB as a process of its own: prints one line of JSON with its endpoint and key, and ends with its
// standard input. Run by measurements: node --require test/agent/register.js test/standins/cosmosGatewayMain.ts [ranges] [file]
import { startCosmosGateway } from "./cosmosGateway";

const main = async ([ranges = "4", file]: readonly string[]): Promise<void> => {
  const gateway = await startCosmosGateway({ ranges: Number(ranges), ...(file === undefined ? {} : { file }) });
  process.stdout.write(`${JSON.stringify({ endpoint: gateway.endpoint, key: gateway.key })}\n`);
  process.stdin.on("end", () => void gateway.close());
  process.stdin.resume();
};

void main(process.argv.slice(2));
