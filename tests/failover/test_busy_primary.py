"""A primary that is busy for longer than the network's limits, with more to read than it has room
for: it is slow, not lost."""

import contextlib

from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.resp import encode
from support.wait import wait_until

BUSY = 4.5  # seconds; unacknowledged bytes are given up after 3


def test_writes_that_wait_for_a_busy_primary(tmp_path):
    """They fill its window, some of them the proxy's socket too; each is executed in the end."""
    sizes = [300_000, 900_000, 20_000_000]
    with contextlib.ExitStack() as stack:
        node = Node(str(tmp_path))
        stack.callback(node.close)
        node.start()
        sentinel = stack.enter_context(FakeSentinel(node.address, epoch=1))
        # Links of their own, opened before; and all of it sent before the primary is suspected.
        proxy = stack.enter_context(Proxy([sentinel.address],
                                          {"links": "exclusive", "stall-timeout": "3s"}))
        proxy.wait_serving()
        clients = [stack.enter_context(proxy.connect(30)) for _ in sizes]
        for client in clients:
            client.ok("PING")
        prober, sleeper = (stack.enter_context(node.connect(30)) for _ in range(2))
        prober.timeout = 0.3
        sleeper.send(encode("DEBUG", "SLEEP", BUSY))
        wait_until(lambda: is_silent(prober), what="the primary to be busy")
        for number, (client, size) in enumerate(zip(clients, sizes)):
            client.send(encode("APPEND", f"k{number}", b"x" * size))
        assert sleeper.read() == "OK"
        assert [client.read() for client in clients] == sizes
        assert proxy.entries("suspect-begin")
        assert [client.call("STRLEN", f"k{n}") for n, client in enumerate(clients)] == sizes


def is_silent(conn):
    conn.send(encode("PING"))
    try:
        conn.read()
        return False
    except TimeoutError:
        return True
