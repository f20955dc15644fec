// Three bare TCP servers in a process of their own, for the bench: `source` sends for ever,
// `sink` answers a byte for each MiB that it got, `echo` sends back. Ends with its parent.
import net from "node:net";

const MIB = 1 << 20;
const piece = Buffer.alloc(256 * 1024, 7);

function serve(handler) {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    handler(socket);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

const source = await serve((socket) => {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on("drain", more);
  socket.resume();
  more();
});
const sink = await serve((socket) => {
  let got = 0;
  socket.on("data", (bytes) => {
    const before = Math.floor(got / MIB);
    got += bytes.length;
    const whole = Math.floor(got / MIB) - before;
    if (whole > 0) socket.write(Buffer.alloc(whole));
  });
});
const echo = await serve((socket) => socket.pipe(socket));
console.log(JSON.stringify({ source, sink, echo }));
process.stdin.resume().on("end", () => process.exit(0));
