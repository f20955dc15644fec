// The npm package wisp-js (LGPL) as a server, in a process of its own. Test only.
//   node wisp-js-server.mjs VERSION
import http from "node:http";
import { logging, server as wisp } from "@mercuryworkshop/wisp-js/server";

logging.set_level(logging.NONE);
Object.assign(wisp.options, {
  wisp_version: Number(process.argv[2]),
  wisp_motd: "hello from wisp-js",
  allow_loopback_ips: true,
  dns_method: async (name) => {
    if (name.endsWith(".vivarium.test")) return "127.0.0.1";
    throw new Error(`${name} is not of the test's zone`);
  },
});
const server = http.createServer((_, response) => response.end());
server.on("upgrade", (request, socket, head) => wisp.routeRequest(request, socket, head));
server.listen(0, "127.0.0.1", () => console.log(`listening on ws://127.0.0.1:${server.address().port}/`));
