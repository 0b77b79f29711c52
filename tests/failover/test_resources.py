"""What many sessions and failovers leave behind: nothing. After each round, in which every kind of
session lives through a failover and ends, the proxy has the descriptors and the memory that it had
after the first."""

import contextlib
import random
import statistics
import time

import pytest

from support.case import judged, scenario
from support.load import Load
from support.resp import encode, encode_all
from support.wait import wait_until

KIB, MIB = 1 << 10, 1 << 20

CHURN = 1000
# The first rounds warm up: tables, rings, pools and arenas get as large as they have to be, and one
# more burst of large replies than ever may still move that. Ten minutes are about ninety rounds of
# a thousand sessions each: what each of them left would show between the middles of the first and
# the last third of them from some 300 bytes on.
WARM_ROUNDS = 5
RSS_MAX = 16 * MIB
# Of links kept warm there are up to two for each of four profiles and two workers, and a Sentinel or
# a node may be in the midst of being asked anew.
FDS_MAX = 20

KINDS = [
    [("SET", "k", "v"), ("GET", "k")],
    [("SET", "large", "x" * 200 * KIB), ("GET", "large")],
    [("SET", "huge", "x" * 2 * MIB), ("GET", "huge")],
    [("SELECT", 3), ("MULTI",), ("INCR", "n"), ("EXEC",)],
    [("WATCH", "n"), ("MULTI",), ("INCR", "n")],
    [("HELLO", 3), ("CLIENT", "SETNAME", "x"), ("MGET", "k", "k", "k")],
    [("AUTH", "someone", "secret"), ("INCR", "m")],
    [("CLIENT", "ID"), ("EVAL", "return redis.call('INCR', 'e')", 0)],
    [("HELLO", 3), ("CLIENT", "TRACKING", "ON"), ("GET", "k")],
    [("SUBSCRIBE", "a"), ("PSUBSCRIBE", "b*")],
    [("PING",), ("BLPOP", "nothing", 0)],
    [("MONITOR",)],
    [("XADD", "s", "*", "f", "v"), ("XREAD", "BLOCK", 0, "STREAMS", "s", "$")],
]


@contextlib.contextmanager
def crowd(proxy, count):
    """Sessions of every kind, in the midst of what they do."""
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(count):
            slow = 4096 if number % 7 == 0 else None
            client = stack.enter_context(proxy.connect(30, rcvbuf=slow))
            with contextlib.suppress(OSError):
                client.send(encode_all(KINDS[number % len(KINDS)]))
            clients.append(client)
        yield clients


def churn(proxy, rng):
    """Connections that come, ask and go, some in the middle of a word."""
    for _ in range(CHURN):
        with proxy.connect() as client:
            data = encode("INCR", "churn") + encode("GET", "k")
            client.send(data[: rng.randrange(1, len(data) + 1)])
            if rng.random() < 0.3:
                client.reset()


def a_round(cluster, proxy, rng, kill):
    with Load(proxy.address, 4, 8, rate=300) as load, crowd(proxy, 130) as clients:
        load.wait_acks(50)
        churn(proxy, rng)
        old = cluster.primary
        if kill:
            old.kill()
        else:
            cluster.failover(rng.randrange(3))
        for client in clients[::2]:
            with contextlib.suppress(OSError):
                client.send(encode("PING"))
        cluster.wait_primary(old)
        load.wait_acks(50)
        for client in clients[::3]:
            client.reset()
        load.stop()
    if kill:
        cluster.restart_as_replica(old)
    cluster.wait_settled(60)


def at_rest(proxy):
    """(descriptors, resident bytes) once they change no more."""
    last, since = None, time.monotonic()

    def still():
        nonlocal last, since
        now = proxy.fds()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.5
    wait_until(still, 20, "descriptors that stay the same")
    return last, proxy.rss()


def rounds(enough):
    rng = random.Random(1)
    user = ("ACL", "SETUSER", "someone", "on", ">secret", "allkeys", "allchannels", "+@all")
    with scenario(intended=10**6, settings={"hold-timeout": "60s", "proxy.log-level": "warning",
                                            "links": "shared"}) as (cluster, proxy):
        for node in cluster.nodes:
            node.call(*user)
        found, begun = [], time.monotonic()
        while not found or not enough(len(found), time.monotonic() - begun):
            a_round(cluster, proxy, rng, kill=len(found) % 2 == 1)
            for node in cluster.nodes:
                node.call(*user)  # known to no file of a node that was killed
            found.append(at_rest(proxy))
            proxy.check_log()
        fds, rss = zip(*found)
        print("descriptors", fds, "MiB", [f"{r / MIB:.1f}" for r in rss])
        assert max(fds[1:]) <= fds[0] + FDS_MAX, fds
        return fds, rss


@judged
def test_rounds_leave_nothing():
    """Descriptors only: so few rounds tell too little of memory."""
    rounds(lambda count, _: count >= 3)


@pytest.mark.full
@pytest.mark.slow
@judged
def test_ten_minutes_leave_nothing(release, monkeypatch):
    monkeypatch.setenv("VEDETTE", str(release))
    fds, rss = rounds(lambda _, seconds: seconds > 600)
    early, late = slice(WARM_ROUNDS, len(rss) // 3), slice(-(len(rss) // 3), None)
    assert statistics.median(fds[late]) <= statistics.median(fds[early]) + 2, fds
    assert statistics.median(rss[late]) <= statistics.median(rss[early]) + RSS_MAX, rss
