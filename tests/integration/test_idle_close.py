"""Servers that close connections on which nothing happens (`timeout`), and Sentinels that go and
come back, or whose name is found late only."""

import os
import subprocess
import time

import pytest

from support.cluster import SHORT, Node, Sentinel
from support.fake_sentinel import FakeNode, FakeSentinel
from support.proxy import Proxy
from support.wait import wait_until

TIMEOUT = [("timeout", "1")]


def trouble(proxy):
    """The lines that an operator would have to look at."""
    return [e for e in proxy.entries() if e.level in ("warning", "error")
            or e.event.startswith("suspect")]


def closed_clients(node, name):
    """Whether the node has closed the connection of that name."""
    return f"name={name} ".encode() not in node.call("CLIENT", "LIST")


def test_idle_connections_closed_by_the_server(start_service):
    """A client that did nothing for longer finds everything as it left it."""
    with start_service(node_settings=TIMEOUT) as service:
        node, proxy = service.node, service.proxy
        with proxy.connect() as plain, proxy.connect() as other, proxy.connect() as three:
            three.ok("HELLO", "3", "SETNAME", "three")
            other.ok("SELECT", 3)
            other.ok("CLIENT", "SETNAME", "other")
            other.ok("SET", "k", "of 3")
            for _ in range(2):
                plain.ok("CLIENT", "SETNAME", "plain")
                assert plain.call("PING") == "PONG"
                wait_until(lambda: all(closed_clients(node, name)
                                       for name in ("plain", "other", "three")), 10,
                           "the server to close idle connections")
                assert plain.call("INCR", "n") == int(node.call("GET", "n"))
                assert other.call("GET", "k") == b"of 3"
                assert other.call("CLIENT", "GETNAME") == b"other"
                assert three.call("GET", "nothing") is None
                assert three.ok("HGETALL", "nothing") == []  # a map, in RESP3
        assert trouble(proxy) == []


def test_subscribed_and_blocked_clients_are_not_idle(start_service):
    """Redis leaves both alone, however long they wait."""
    with start_service(node_settings=TIMEOUT) as service:
        node, proxy = service.node, service.proxy
        with proxy.connect() as listener, proxy.connect() as blocked, proxy.connect() as idle:
            listener.ok("SUBSCRIBE", "ch")
            blocked.send(b"BLPOP q 0\r\n")
            idle.ok("CLIENT", "SETNAME", "idle")
            wait_until(lambda: closed_clients(node, "idle"), 10, "the end of an idle one")
            node.call("PUBLISH", "ch", "m")
            node.call("RPUSH", "q", "e")
            assert listener.read() == [b"message", b"ch", b"m"]
            assert blocked.read() == [b"q", b"e"]
        assert trouble(proxy) == []


def test_sentinel_that_closes_idle_connections(tmp_path):
    """At the normal interval it never has reason to; its subscription it does not close."""
    node = Node(str(tmp_path))
    sentinel = Sentinel(str(tmp_path), {"mymaster": node.port}, SHORT, 1, settings=TIMEOUT)
    try:
        node.start()
        sentinel.start()
        with Proxy([sentinel.address]) as proxy:
            proxy.wait_serving()
            with sentinel.connect() as idle:  # closes before the third of the proxy's rounds
                assert idle.closed(10)
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 3, what="three more rounds")
            assert proxy.call("PING") == "PONG"
            assert trouble(proxy) == []
    finally:
        node.close()
        sentinel.close()


def away(tmp_path, seconds):
    """Its Sentinel is away for so long: told once, nothing else changes, and it is back at once."""
    node = Node(str(tmp_path))
    sentinel = Sentinel(str(tmp_path), {"mymaster": node.port}, SHORT, 1)
    try:
        node.start()
        sentinel.start()
        with Proxy([sentinel.address]) as proxy:
            proxy.wait_serving()
            sentinel.kill()
            begun = time.monotonic()
            with proxy.connect() as client:
                while time.monotonic() - begun < seconds:
                    assert client.call("INCR", "n") > 0
                    time.sleep(0.05)  # a client at its own pace
                told = [e.event for e in trouble(proxy)]
                assert sorted(set(told)) == sorted(told), told
                assert set(told) <= {"sentinel-down", "sentinel-unreachable", "no-sentinel"}
                back = time.monotonic()
                sentinel.start()
                wait_until(lambda: len(proxy.entries("sentinel-up")) == 2, 5, "the Sentinel")
                print(f"back after {time.monotonic() - back:.2f} s")
                assert client.call("INCR", "n") > 0
    finally:
        node.close()
        sentinel.close()


def test_sentinel_away_for_seconds(tmp_path):
    away(tmp_path, 4)


@pytest.mark.full
def test_sentinel_away_for_a_minute(tmp_path):
    away(tmp_path, 65)


def why_no_private_hosts():
    """None where a process can be given files of its own in /etc, else the reason."""
    if os.geteuid() != 0:
        return "mount namespaces need root"
    try:
        done = subprocess.run(["unshare", "--mount", "mount", "--bind", "/dev/null", "/etc/hosts"],
                              capture_output=True, check=False)
    except FileNotFoundError:
        return "no unshare here (Debian: util-linux)"
    return None if done.returncode == 0 else f"no mount namespaces here: {done.stderr.decode()}"


@pytest.mark.skipif(why_no_private_hosts() is not None, reason=str(why_no_private_hosts()))
def test_name_that_is_found_late(tmp_path):
    """The proxy starts, says which name it misses, and uses it once it is found; and where it first
    led to the wrong place, the right one."""
    hosts, nss = tmp_path / "hosts", tmp_path / "nsswitch.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    nss.write_text("hosts: files\n")
    private = (f"mount --bind {hosts} /etc/hosts && mount --bind {nss} /etc/nsswitch.conf && "
               'exec "$@"')
    with FakeNode() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([("sentinel-late", sentinel.port)],
                  wrapper=["unshare", "--mount", "sh", "-c", private, "sh"]) as proxy, \
            proxy.connect() as client:
        client.send(b"PING\r\n")
        wait_until(lambda: proxy.entries("name-unresolved"), 10, "the missing name in the log")
        missing, = proxy.entries("name-unresolved")
        assert missing["name"] == f"sentinel-late:{sentinel.port}"
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 2.5, what="two more tries")
        assert len(proxy.entries("name-unresolved")) == 1
        hosts.write_text("127.0.0.1 localhost\n127.0.0.9 sentinel-late\n")
        wait_until(lambda: proxy.entries("sentinel-unreachable"), 10, "the wrong address in use")
        assert not sentinel.accepted
        hosts.write_text("127.0.0.1 localhost sentinel-late\n")
        assert client.read(10) == "PONG"
        found = [e["address"] for e in proxy.entries("name-resolved")]
        assert found == [f"127.0.0.9:{sentinel.port}", f"127.0.0.1:{sentinel.port}"]
