"""The PyPI package wisp-python (AGPL) as a server, in a process of its own. Test only."""

from argparse import Namespace

import asyncio

from wisp.server import http, net


def test_zone(host, port, kind):
    if host.endswith(".vivarium.test"):
        return "127.0.0.1"
    raise OSError(f"{host} is not of the test's zone")


class Announced(http.serve):
    """Says where it listens, which the package itself cannot for port 0."""

    async def __aenter__(self):
        server = await super().__aenter__()
        port = server.sockets[0].getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}/", flush=True)
        return server


net.get_ip = test_zone
net.reuse_port_supported = lambda: False
http.serve = Announced
asyncio.run(
    http.main(
        Namespace(
            host="127.0.0.1", port=0, static=None, limits=False, proxy=None,
            allow_loopback=True, allow_private=False, block_udp=False, block_tcp=False,
        )
    )
)
