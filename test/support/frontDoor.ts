// One address for several copies of the service, as the platform's front end: requests go to the copies in turn, and one that cannot be
// reached is passed over. What was on its way to a copy that dies is lost to its sender, who may try again.
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";

export interface FrontDoor {
  readonly url: string;
  /** Requests answered by each copy. */
  readonly answered: ReadonlyMap<string, number>;
  use(urls: readonly string[]): void;
  close(): Promise<void>;
}

export const openFrontDoor = async (): Promise<FrontDoor> => {
  let copies: readonly string[] = [];
  let turn = 0;
  const answered = new Map<string, number>();

  const pass = (copy: string, request: http.IncomingMessage, body: Buffer, response: http.ServerResponse, left: number): void => {
    const onward = http.request(new URL(request.url ?? "/", copy), { method: request.method, headers: request.headers }, (answer) => {
      answered.set(copy, (answered.get(copy) ?? 0) + 1);
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    response.on("close", () => onward.destroy());
    onward.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" && left > 0) pass(copies[turn++ % copies.length] as string, request, body, response, left - 1);
      else response.destroy();
    });
    onward.end(body);
  };

  const server = http.createServer((request, response) => {
    void (async () => {
      const pieces: Buffer[] = [];
      for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
      pass(copies[turn++ % copies.length] as string, request, Buffer.concat(pieces), response, copies.length);
    })().catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answered,
    use: (urls) => void (copies = urls),
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
};
