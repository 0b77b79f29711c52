"""Groups of Sentinels: services whose Sentinels know nothing of each other."""

import contextlib

import pytest

from support.cluster import SHORT, Node, Sentinel
from support.fake_sentinel import FakeNode, FakeSentinel
from support.procs import Port
from support.proxy import Proxy, run
from support.resp import Conn
from support.wait import wait_until

CONFIG = """
[proxy]
workers = 2
[sentinel]
address = {plain}
[sentinel west]
address = {west}
{extra}
[service mymaster]
listen = @LISTEN@
[service west]
master = mymaster
sentinel = west
listen = 127.0.0.1:{port}
"""


def address(server):
    return "{}:{}".format(*server.address)


@contextlib.contextmanager
def proxied(plain, west, extra=""):
    """(proxy, address of the service west)."""
    port = Port()
    try:
        text = CONFIG.format(plain=address(plain), west=address(west), extra=extra,
                             port=port.number)
        with Proxy(config=text) as proxy:
            yield proxy, ("127.0.0.1", port.number)
    finally:
        port.release()


@pytest.mark.tsan
def test_each_service_has_its_group(tmp_path):
    """Both call their primary mymaster, and one of them asks for a password."""
    with contextlib.ExitStack() as stack:
        nodes, sentinels = [], []
        for settings in ((), (("requirepass", "secret"),)):
            nodes.append(Node(str(tmp_path)))
            sentinels.append(Sentinel(str(tmp_path), {"mymaster": nodes[-1].port}, SHORT, 1,
                                      settings))
        for daemon in (*nodes, *sentinels):
            stack.callback(daemon.close)
            daemon.start()
        proxy, west = stack.enter_context(proxied(*sentinels, "password = secret"))
        for place, name in ((proxy.address, "plain"), (west, "west")):
            with Conn(place) as client:
                wait_until(lambda c=client, n=name: c.call("SET", "who", n) == "OK", what=name)
        assert nodes[0].call("GET", "who") == b"plain"
        assert nodes[1].call("GET", "who") == b"west"
        assert not proxy.entries("sentinel-auth-failed")

        # A group that is lost stops nobody, and nobody but its own service takes notice.
        sentinels[1].kill()
        lost = wait_until(lambda: proxy.entries("no-sentinel"), 10, "the loss")
        assert [e["service"] for e in lost] == ["west"]
        assert proxy.call("SET", "who", "still") == "OK"
        with Conn(west) as client:
            assert client.ok("SET", "who", "still") == "OK"


def test_epochs_of_groups_are_not_compared():
    """A switch with a low epoch in one group, while the other one has counted far beyond it."""
    with FakeNode() as one, FakeNode() as two, FakeNode() as other, \
            FakeSentinel(one.address, epoch=1) as plain, \
            FakeSentinel(other.address, epoch=1000) as far, \
            proxied(plain, far) as (proxy, west):
        wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
        with Conn(west) as client:
            wait_until(lambda: client.call("PING") == "PONG", what="the other primary")
        plain.switch(two.address, 2)
        changed = wait_until(lambda: [e for e in proxy.entries("primary-changed")
                                      if e["new"] == address(two)], 5, "the switch")
        assert changed[0]["service"] == "mymaster" and changed[0]["epoch"] == "2"
        assert proxy.call("SET", "k", "v") == "OK"
        assert two.requests("SET") and not one.requests("SET") and not other.requests("SET")


def test_mistakes_are_told(tmp_path):
    path = tmp_path / "vedette.ini"
    path.write_text("[sentinel west]\naddress = h\n[service a]\nsentinel = wset\n")
    code, _, said = run("--config", str(path), "--check")
    assert code == 2
    assert "unknown group of Sentinels 'wset'; did you mean 'west'?" in said
