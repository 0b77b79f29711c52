"""Several services in one process, each with its own listener and primary."""

import pytest

from support.cluster import SHORT, Node, Sentinel
from support.procs import Port
from support.proxy import Proxy
from support.resp import Conn, ServerError
from support.wait import wait_until

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture(name="three")
def three_fixture(tmp_path):
    """({name: node}, {name: address}, proxy)."""
    nodes = {name: Node(str(tmp_path)) for name in NAMES}
    sentinel = Sentinel(str(tmp_path), {n: node.port for n, node in nodes.items()}, SHORT, 1)
    ports = {name: Port() for name in NAMES[1:]}
    try:
        for daemon in (*nodes.values(), sentinel):
            daemon.start()
        config = f"[proxy]\nworkers = 2\n[sentinel]\naddress = 127.0.0.1:{sentinel.port}\n"
        for name in NAMES:
            listen = f"127.0.0.1:{ports[name].number}" if name in ports else "@LISTEN@"
            config += f"[service {name}]\nlisten = {listen}\nhold-timeout = 1s\n"
        with Proxy(config=config) as proxy:
            addresses = {name: ("127.0.0.1", port.number) for name, port in ports.items()}
            addresses["alpha"] = proxy.address
            yield nodes, addresses, proxy
    finally:
        for daemon in (*nodes.values(), sentinel):
            daemon.close()
        for port in ports.values():
            port.release()


def test_each_listener_has_its_primary(three):
    nodes, addresses, _ = three
    for name in NAMES:
        with Conn(addresses[name]) as client:
            wait_until(lambda c=client: c.call("SET", "who", "x") == "OK", what=name)
            assert client.ok("SET", "who", name) == "OK"
    for name in NAMES:
        assert nodes[name].call("GET", "who") == name.encode()
        with Conn(addresses[name]) as client:
            assert client.ok("GET", "who") == name.encode()


@pytest.mark.tsan
def test_one_primary_gone_leaves_the_others(three):
    nodes, addresses, proxy = three
    with Conn(addresses["beta"]) as beta, Conn(addresses["gamma"]) as gamma:
        wait_until(lambda: beta.call("PING") == gamma.call("PING") == "PONG", what="both")
        nodes["beta"].kill()
        # Of a request that is on its way just then nobody knows whether it was executed.
        wait_until(lambda: proxy.entries("suspect-begin"), what="beta to be suspected")
        assert beta.call("INCR", "n") == ServerError(
            "LOADING No primary available for 'beta'; the command was not executed")
        for _ in range(100):
            assert gamma.ok("INCR", "n")
        nodes["beta"].start()
        wait_until(lambda: beta.call("INCR", "n") == 1, 15, "beta back")
