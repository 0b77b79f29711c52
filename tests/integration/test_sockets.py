"""What is set on the sockets of a running proxy, read from copies of its descriptors."""

import pytest

from support import sockets
from support.wait import wait_until

pytestmark = pytest.mark.skipif(sockets.why_not() is not None, reason=str(sockets.why_not()))

CLIENT = {"nodelay": 1, "keepalive": 1, "idle": 300, "interval": 100, "count": 3,
          "user-timeout": 0}
UPSTREAM = {"nodelay": 1, "keepalive": 1, "idle": 1, "interval": 1, "count": 3,
            "user-timeout": 3000}


def test_options_of_every_side(start_service):
    """Servers that vanish are noticed in seconds; clients are treated as Redis treats them, where
    a reader that pauses for long keeps its connection."""
    with start_service({"proxy.workers": 1}) as service, service.connect() as client:
        node, proxy = service.node, service.proxy
        client.ok("PING")
        where = {node.port: "node", service.cluster.sentinels[0].port: "sentinel",
                 client.local[1]: "client"}
        seen = {"client": [CLIENT], "node": [UPSTREAM] * 2, "sentinel": [UPSTREAM] * 2}

        def set_options():
            found = {"client": [], "node": [], "sentinel": []}
            with sockets.connected(proxy.process.pid) as connections:
                for sock in connections:
                    found[where[sock.getpeername()[1]]].append(sockets.options(sock))
            return found

        # A client's link and a probe; questions and the subscription.
        wait_until(lambda: [len(s) for s in set_options().values()] == [1, 2, 2], 5,
                   "one client's connections")
        assert set_options() == seen
