"""Unix sockets: to clients, to Sentinel, and to a node beside the proxy."""

import contextlib
import os
import signal
import socket
import stat

import pytest

from support.cluster import SHORT, Cluster, Node, Sentinel
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy, joined, run
from support.resp import Conn, encode
from support.wait import wait_until


@contextlib.contextmanager
def listening(tmp_path, *more, settings=None):
    """(proxy, path): it listens on TCP and on a unix socket."""
    path = str(tmp_path / "vedette.sock")
    with Cluster(replicas=0, sentinels=1) as cluster:
        with Proxy(cluster.sentinel_addresses, settings,
                   arguments=("--listen", f"unix:{path}", *more)) as proxy:
            proxy.wait_serving()
            yield proxy, path


@pytest.mark.tsan
def test_clients_on_several_listeners(tmp_path):
    other = str(tmp_path / "other.sock")
    with listening(tmp_path, "--listen", f"unix:{other}") as (proxy, path):
        for place in (proxy.address, path, other):
            with Conn(place) as client:
                assert client.ok("SET", "k", str(place)) == "OK"
                assert client.ok("GET", "k") == str(place).encode()
                client.send(b"".join(encode("INCR", "n") for _ in range(1000)))
                last = [client.read() for _ in range(1000)][-1]
                assert isinstance(last, int)
        big = "x" * 3_000_000
        with Conn(path) as client:
            assert client.ok("SET", "big", big) == "OK"
            assert client.ok("GET", "big") == big.encode()
        assert [e["address"] for e in proxy.entries("listening")] == [
            joined(proxy.address), f"unix:{path}", f"unix:{other}"]
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o700
    assert not os.path.lexists(path) and not os.path.lexists(other)


def test_permissions(tmp_path):
    with listening(tmp_path, settings={"unix-mode": "0777"}) as (_, path):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o777


def test_after_a_crash(tmp_path):
    """kill -9 leaves the file, and the next start replaces it."""
    with listening(tmp_path) as (proxy, path):
        proxy.process.signal(signal.SIGKILL)
        proxy.process.wait(10)
        assert os.path.lexists(path)
        proxy.start()
        proxy.wait_serving()
        with Conn(path) as client:
            assert client.ok("PING") == "PONG"
    assert not os.path.lexists(path)


def refused(path):
    """What a proxy says that is to listen there, and can't."""
    code, _, log = run("--sentinel", "127.0.0.1:1", "--listen", f"unix:{path}")
    assert code == 1
    return log


def test_a_live_socket_is_left_alone(tmp_path):
    with listening(tmp_path) as (_, path):
        assert "another process listens there" in refused(path)
        with Conn(path) as client:
            assert client.ok("PING") == "PONG"


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    assert "no socket" in refused(path)
    assert path.read_text() == "precious"


def test_a_path_too_long(tmp_path):
    code, _, said = run("--sentinel", "s1", "--listen", f"unix:{tmp_path}/{'x' * 107}", "--check")
    assert code == 2
    assert "longer than 107 bytes" in said


def test_a_failed_start_leaves_no_file(tmp_path):
    """The second listener can't be had: the first one's file goes."""
    path = tmp_path / "first.sock"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, log = run("--sentinel", "127.0.0.1:1", "--listen", f"unix:{path}", "--listen",
                           f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1 and "listen-failed" in log
    assert not path.exists()


def test_a_sentinel_on_a_unix_socket(tmp_path):
    path = str(tmp_path / "sentinel.sock")
    node = Node(str(tmp_path))
    sentinel = Sentinel(str(tmp_path), {"mymaster": node.port}, SHORT, 1,
                        settings=(("unixsocket", path),))
    try:
        node.start()
        sentinel.start()
        wait_until(lambda: os.path.exists(path), what="Sentinel's socket")
        with Proxy(arguments=("--sentinel", f"unix:{path}")) as proxy:
            proxy.wait_serving()
            assert proxy.call("SET", "k", "v") == "OK"
            up = proxy.entries("sentinel-up")
            assert [e["sentinel"] for e in up] == [f"unix:{path}"]
            sentinel.kill()
            wait_until(lambda: proxy.entries("sentinel-down"), what="the loss")
            sentinel.start()
            wait_until(lambda: len(proxy.entries("sentinel-up")) == 2, what="it is back")
    finally:
        sentinel.close()
        node.close()


def test_a_node_on_a_unix_socket(tmp_path):
    """A sidecar: Sentinel announces TCP only, and the map leads to the socket beside us."""
    path = str(tmp_path / "redis.sock")
    node = Node(str(tmp_path), settings=(("unixsocket", path),))
    other = Node(str(tmp_path))
    try:
        node.start()
        other.start()
        with FakeSentinel(("192.0.2.7", 6379), epoch=1) as sentinel:
            mapping = f"sentinel.address-map=192.0.2.7:6379 unix:{path}"
            with Proxy([sentinel.address], arguments=("--set", mapping)) as proxy:
                proxy.wait_serving()
                assert proxy.primaries()[0]["new"] == f"unix:{path}"
                with proxy.connect() as client:
                    assert client.ok("INCR", "n") == 1
                    assert node.call("GET", "n") == b"1"
                    # From the socket to TCP and back, with the client's connection kept.
                    sentinel.switch(other.address, 2)
                    wait_until(lambda: client.call("CONFIG", "GET", "port")[1]
                               == str(other.port).encode(), 10, "the switch")
                    assert client.ok("INCR", "n") == 1
                    sentinel.switch(("192.0.2.7", 6379), 3)
                    wait_until(lambda: client.call("CONFIG", "GET", "port")[1]
                               == str(node.port).encode(), 10, "the way back")
                    assert client.ok("INCR", "n") == 2
                    # And a node that goes away and comes back.
                    node.kill()
                    node.start()
                    assert isinstance(client.ok("INCR", "n"), int)
    finally:
        other.close()
        node.close()


def test_a_sentinel_can_not_lead_to_a_path():
    """Only the configuration may: what a Sentinel tells as a host is never a file."""
    with FakeSentinel(("/var/run/docker.sock", 6379), epoch=1) as sentinel:
        with Proxy([sentinel.address]) as proxy:
            wait_until(lambda: proxy.entries("no-sentinel"), 10, "an answer that is of no use")
            assert not proxy.entries("primary-changed")
