/** Serves a fetch handler on Node, without a framework. */

import { createServer, type Server } from "node:http";

export function serve(fetch: (request: Request) => Promise<Response>, port: number, host = "127.0.0.1"): Server {
  const limit = (1 << 20) + 1; // what a handler needs to see that a body is too large
  return createServer(async (incoming, outgoing) => {
    try {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of incoming) {
        if (size < limit) {
          chunks.push(chunk);
        }
        size += chunk.length;
      }
      const headers = new Headers();
      for (const [name, value] of Object.entries(incoming.headers)) {
        headers.set(name, String(value));
      }
      const body = incoming.method === "GET" || incoming.method === "HEAD" ? null : Buffer.concat(chunks);
      const response = await fetch(new Request(`http://${host}${incoming.url}`, { method: incoming.method ?? "POST", headers, body }));
      outgoing.writeHead(response.status, Object.fromEntries(response.headers));
      outgoing.end(Buffer.from(await response.arrayBuffer()));
    } catch (error) {
      console.error(error);
      outgoing.writeHead(500).end();
    }
  }).listen(port, host);
}
