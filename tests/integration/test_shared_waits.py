"""Sessions that share connections and what makes others wait: WAIT for replicas, a script without an
end, one client that asks for very much."""

import contextlib
import os
import statistics
import threading
import time

import pytest

from support.case import one_node
from support.cluster import Cluster
from support.proxy import Proxy, is_sanitized
from support.resp import Simple, encode
from support.wait import wait_until


@pytest.fixture(name="replicated", scope="module")
def replicated_fixture():
    """(cluster, proxy): a primary with two replicas."""
    with Cluster(replicas=2, sentinels=1) as cluster:
        with Proxy(cluster.sentinel_addresses, {"proxy.workers": 1, "links": "shared"}) as proxy:
            yield cluster, proxy.wait_serving()


@contextlib.contextmanager
def stopped(nodes):
    """These do nothing, for so short a time that nobody takes them for dead."""
    for node in nodes:
        node.pause()
    try:
        yield
    finally:
        for node in nodes:
            node.resume()


@pytest.mark.tsan
def test_51_wait(replicated):
    """It counts replicas that have the session's own writes, in whatever packet these were."""
    cluster, proxy = replicated
    replicas = cluster.replicas()
    with proxy.connect(20) as client, proxy.connect(20) as other:
        client.ok("SET", "k", 0)
        wait_until(lambda: client.ok("WAIT", 2, 1000) == 2, 10, "both replicas")
        for number in range(20):
            other.send(encode("INCR", "n") * 20)
            assert client.pipeline([("SET", "k", number), ("WAIT", 2, 5000), ("GET", "k")]) == \
                ["OK", 2, b"%d" % number]
            other.read_frames(20)
        with stopped(replicas):
            # What they had before is no assurance for what is written now.
            assert client.pipeline([("SET", "k", "new"), ("WAIT", 1, 100), ("GET", "k")]) == \
                ["OK", 0, b"new"]
            assert client.ok("SET", "k", "newer") == "OK"
            assert client.ok("WAIT", 1, 100) == 0
            assert client.pipeline([("MULTI",), ("SET", "k", "m"), ("EXEC",), ("WAIT", 1, 100)]) \
                == ["OK", "QUEUED", ["OK"], 0]
            assert client.pipeline([("EVAL", "return redis.call('SET', 'k', 'e')", 0),
                                    ("WAIT", 1, 100)])[1] == 0
            client.send(encode("SET", "k", "x" * 100_000) + encode("WAIT", 1, 100))
            assert [client.read(), client.read()] == ["OK", 0]
        assert client.ok("WAIT", 2, 10_000) == 2


def test_51_wait_in_every_place(replicated):
    """Beside whatever it stands, it has one reply, in its place."""
    _, proxy = replicated
    wait = ("WAIT", 0, 0)
    with proxy.connect(20) as client:
        replies = client.pipeline([wait, ("MULTI",), wait, ("SET", "a", 1), wait, ("EXEC",), wait,
                                   ("WATCH", "a"), wait, ("MULTI",), wait, ("EXEC",), wait, wait,
                                   ("PING",)])
    for at in (0, 6, 8, 12, 13):
        assert isinstance(replies[at], int)
    assert replies[1:5] == ["OK", "QUEUED", "QUEUED", "QUEUED"]
    assert replies[5] == [replies[5][0], "OK", replies[5][2]] and len(replies[5]) == 3
    assert replies[7] == "OK" and len(replies[11]) == 1 and replies[14] == "PONG"
    with proxy.connect(20) as client:
        assert [getattr(reply, "code", reply) for reply in client.pipeline(
            [("WAIT",), ("WAIT", "x", 0), ("WAIT", 0, -1), ("PING",)])] == ["ERR"] * 3 + ["PONG"]


def test_wait_keeps_nobody_waiting(replicated):
    """Fifty wait for a replica that does not come, the others go on."""
    cluster, proxy = replicated
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(proxy.connect(20)) for _ in range(50)]
        with proxy.connect(20) as other:
            for number, client in enumerate(waiting):
                client.send(encode("SET", f"w:{number}", 1) + encode("WAIT", 9, 1000))
            wait_until(lambda: int(cluster.primary.info("clients")["blocked_clients"]) == 50, 10,
                       "all to wait")
            began = time.monotonic()
            for _ in range(100):
                other.ok("INCR", "n")
            assert time.monotonic() - began < 0.9
            assert [client.read_frames(2) for client in waiting] == [[b"+OK\r\n", b":2\r\n"]] * 50


ENDLESS = "while true do end"


@pytest.mark.parametrize("database", [0, 3])
def test_53_endless_script(database):
    """SCRIPT KILL from another session ends it, though its own connection, which others share, says
    nothing; these go on afterwards."""
    with one_node({"links": "shared", "hold-timeout": "60s"},
                  [("busy-reply-threshold", "300")]) as (node, proxy), \
            proxy.connect(60) as busy, proxy.connect(60) as killer, proxy.connect(60) as other:
        for client in (busy, killer, other):
            client.ok("SELECT", database)
            client.ok("SET", "k", "v")
        busy.send(encode("EVAL", ENDLESS, 0) + encode("GET", "k"))
        with node.connect(30) as watcher:
            wait_until(lambda: getattr(watcher.call("GET", "k"), "code", None) == "BUSY", 20,
                       "the server to say that it is busy")
        other.send(encode("GET", "k"))
        assert killer.call("SCRIPT", "KILL", timeout=30) == Simple("OK")
        assert "killed by user" in busy.read(30).text
        assert busy.read() == b"v"
        first = other.read()
        assert first == b"v" or first.code == "BUSY"
        assert [client.ok("GET", "k") for client in (busy, killer, other)] == [b"v"] * 3
        replies = killer.pipeline([("SCRIPT", "KILL"), ("MULTI",), ("GET", "k"), ("EXEC",),
                                   ("SCRIPT", "KILL"), ("GET", "k")])
        assert (replies[0].code, replies[3], replies[5]) == ("NOTBUSY", [b"v"], b"v")


class Beside:
    """Clients that ask one thing after the other, in a thread, and the times it took, in ms."""

    def __init__(self, proxy, count):
        self._clients = [proxy.connect(30) for _ in range(count)]

    def measure(self, seconds):
        """Each asks when the one before has its answer."""
        took, request = [], encode("GET", "k")
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            for client in self._clients:
                began = time.monotonic()
                client.send(request)
                assert client.read_frame() == b"$-1\r\n"
                took.append((time.monotonic() - began) * 1000)
        return took

    def close(self):
        for client in self._clients:
            client.close()


class Flood:
    """One client that pipelines without an end, in two threads: one sends, one reads."""

    def __init__(self, proxy):
        self._conn = proxy.connect(60)
        self._over, self.replies = threading.Event(), 0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        data = encode("INCR", "flood") * 2000
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                self._conn.send(data)
            self._conn.half_close()

    def _read(self):
        with contextlib.suppress(OSError):
            while data := self._conn.sock.recv(1 << 18):
                self.replies += data.count(b"\n")

    def __enter__(self):
        wait_until(lambda: self.replies > 5000, 20, "the flood")
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        self._conn.close()


def test_nobody_starves_beside_a_flood():
    """One client has as many requests on the connection as it may have; fifty others, one after the
    other, are answered in time."""
    with one_node({"links": "shared"}) as (_, proxy):
        beside = Beside(proxy.wait_serving(), 50)
        with Flood(proxy) as flood:
            before = flood.replies
            took = beside.measure(2)
            assert flood.replies > before
        beside.close()
    print(f"longest {max(took):.1f} ms, median {statistics.median(took):.2f} ms, {len(took)} asked")
    assert len(took) > 100
    assert statistics.median(took) < 50 and max(took) < 2000


@pytest.mark.full
@pytest.mark.slow
def test_the_price_of_a_flood():
    """At most twice what it takes alone, and a millisecond, for 99 in 100; the best of five tries,
    for other processes have a part in it."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the client, the proxy and Redis on one processor measure each other")
    if is_sanitized():
        pytest.skip("a sanitizer's time is not the proxy's")
    best = None
    with one_node({"links": "shared"}) as (_, proxy):
        beside = Beside(proxy.wait_serving(), 50)
        for _ in range(5):
            alone = statistics.quantiles(beside.measure(3), n=100)[98]
            with Flood(proxy):
                with_flood = statistics.quantiles(beside.measure(3), n=100)[98]
            over = with_flood - (2 * alone + 1)
            print(f"p99 alone {alone:.2f} ms, beside a flood {with_flood:.2f} ms")
            best = over if best is None else min(best, over)
            if best <= 0:
                break
        beside.close()
    assert best <= 0
