"""Clients that end, break or fall silent after every byte of what they wanted to say: whole requests
run once, cut ones never, and nothing of the client stays behind."""

import contextlib
import itertools
import os
import tempfile
import time

import pytest

from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.resp import encode
from support.wait import wait_until

# In each of two workers: a connection that clients share, and two that are kept for the next who
# need one alone (WARM_LINKS_PER_SET).
KEPT = 2 * (1 + 2)
LARGE = "x" * 70_000  # more than is waited for before it is passed on
SCRIPT_ADDS = "return redis.call('INCR', KEYS[1])"


def conversation(tag):
    """[(request, replies, key that it raises by one when it is run or None)]; all of them are of
    the same length for tags of the same length."""
    return [
        (encode("INCR", f"a:{tag}"), 1, f"a:{tag}"),
        (encode("SETRANGE", f"large:{tag}", 0, LARGE), 1, None),
        (encode("MULTI"), 1, None),
        (encode("INCR", f"b:{tag}"), 1, None),
        (encode("EXEC"), 1, f"b:{tag}"),
        (encode("EVAL", SCRIPT_ADDS, 1, f"c:{tag}"), 1, f"c:{tag}"),
        (encode("GET", "value"), 1, None),
        (b"INCR d:%b\r\n" % tag.encode(), 1, f"d:{tag}"),
    ]


def cuts():
    """Every byte, but of the large body only some."""
    total, large = 0, range(0)
    for request, _, _ in conversation("000000"):
        if len(request) > len(LARGE):
            large = range(total + 60, total + len(request) - 4)
        total += len(request)
    return [k for k in range(1, total + 1) if k not in large or (k - large[0]) % 8192 == 0]


class Cut:
    """What one client said, and what must have come of it."""

    def __init__(self, k, mode):
        self.tag = f"{k:05}{mode[0]}"
        requests = conversation(self.tag)
        self.data = b"".join(request for request, _, _ in requests)[:k]
        self.replies, self.keys, end = 0, [], 0
        for request, replies, key in requests:
            end += len(request)
            if end <= k:
                self.replies += replies
                self.keys += [key] if key else []

    def ran(self, conn):
        """{key: times} of what it may have raised, without those that were not."""
        names = [f"{letter}:{self.tag}" for letter in "abcd"]
        return {name: int(n) for name, n in zip(names, conn.ok("MGET", *names)) if n is not None}

    def wanted(self):
        return {key: 1 for key in self.keys}


@contextlib.contextmanager
def one_node(primary_known, settings=None):
    """(node, sentinel, proxy)"""
    with contextlib.ExitStack() as stack:
        node = Node(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(node.close)
        node.start()
        node.call("SET", "value", os.urandom(300_000).hex())
        sentinel = stack.enter_context(FakeSentinel(node.address if primary_known else None, 1))
        proxy = stack.enter_context(Proxy([sentinel.address],
                                          {"hold-timeout": "60s", **(settings or {})}))
        yield node, sentinel, proxy
        began = time.monotonic()
        proxy.stop()
        assert time.monotonic() - began < 5, "something was still waited for"


@pytest.mark.tsan
@pytest.mark.parametrize("mode", ["fin", "rst", "silence"])
def test_while_all_is_well(mode):
    with one_node(True) as (node, _, proxy):
        proxy.wait_serving()
        idle = proxy.fds()
        done = [Cut(k, mode) for k in cuts()]
        silent = []
        for cut in done:
            client = proxy.connect(20)
            client.send(cut.data)
            if mode == "fin":
                client.half_close()
                for _ in range(cut.replies):
                    assert client.read_frame()[:1] != b"-"
                assert client.closed()
                client.close()
            elif mode == "rst":
                client.reset()
            else:
                for _ in range(cut.replies):
                    assert client.read_frame()[:1] != b"-"
                silent.append(client)
        assert all(client.is_open() for client in silent)
        for client in silent:
            client.close()
        wait_until(lambda: proxy.fds() <= idle + KEPT, 20, "descriptors given back")
        check(node, done, exactly=mode != "rst")


def check(node, done, exactly):
    with node.connect(20) as conn:
        for cut in done:
            ran, wanted = cut.ran(conn), cut.wanted()
            if exactly:
                assert ran == wanted, cut.tag
            else:
                assert set(ran) <= set(wanted) and set(ran.values()) <= {1}, cut.tag


class NoPrimary:
    """Nobody knows one; then there is one."""

    primary_known = False

    def __init__(self, node, sentinel, proxy):
        self._node, self._sentinel = node, sentinel
        self.connect = lambda: proxy.connect(30)

    def begin(self):
        """From here on requests wait."""

    def end(self):
        self._sentinel.primary = self._node.address


class Hold:
    """A failover is announced, when the clients have been served already; it comes to nothing."""

    primary_known = True

    def __init__(self, node, sentinel, proxy):
        self._sentinel, self._proxy = sentinel, proxy
        self._address = f"master mymaster {node.address[0]} {node.port}"
        proxy.wait_serving()

    def connect(self):
        client = self._proxy.connect(30)
        client.ok("PING")
        return client

    def begin(self):
        self._sentinel.flags = "master,failover_in_progress"
        self._sentinel.publish("+try-failover", self._address)
        wait_until(lambda: self._proxy.entries("hold-begin"), 5, "the hold")

    def end(self):
        self._sentinel.flags = "master"
        self._sentinel.publish("-failover-abort-not-elected", self._address)


@pytest.mark.tsan
@pytest.mark.parametrize("links", ["shared", "exclusive"])
@pytest.mark.parametrize("state", [NoPrimary, Hold])
def test_while_requests_wait(state, links):
    """Whose client has gone, that never ran; who waits in silence is served in the end."""
    with one_node(state.primary_known, {"links": links}) as (node, sentinel, proxy):
        wait_until(lambda: sentinel.subscribers() > 0, 10, "a subscription")
        stage = state(node, sentinel, proxy)
        cutting = [(Cut(k, mode), mode) for k, mode in
                   zip(cuts(), itertools.cycle(("fin", "rst", "silence")))]
        clients = [stage.connect() for _ in cutting]
        wait_until(lambda: stays_for(proxy.fds), 10, "all to be connected")
        # A client, and its connection to the server.
        each = 2 if state.primary_known and links == "exclusive" else 1
        held, left = proxy.fds(), 0
        stage.begin()
        for (cut, mode), client in zip(cutting, clients):
            client.send(cut.data)
            if mode == "fin":
                client.half_close()
            if mode == "rst":
                client.reset()
            left += mode != "silence"
        # Connections kept for nobody in particular, by each of two workers, may have been added.
        kept = 2 * 3 if links == "shared" else 0
        wait_until(lambda: proxy.fds() <= held - left * each + kept, 20,
                   "those that left to be forgotten")
        stage.end()
        for (cut, mode), client in zip(cutting, clients):
            for _ in range(cut.replies if mode == "silence" else 0):
                assert client.read_frame()[:1] != b"-"
            client.close()
        check(node, [cut for cut, mode in cutting if mode == "silence"], exactly=True)
        with node.connect(20) as conn:
            for cut in (cut for cut, mode in cutting if mode != "silence"):
                assert cut.ran(conn) == {}, cut.tag


def stays_for(value, seconds=0.1):
    before = value()
    time.sleep(seconds)
    return value() == before


BLOCKING = {
    "BLPOP": encode("BLPOP", "none", 0),
    "SUBSCRIBE": encode("SUBSCRIBE", "news"),
    "WATCH": encode("WATCH", "k") + encode("MULTI") + encode("INCR", "watched"),
    "MONITOR": encode("MONITOR"),
}


@pytest.mark.parametrize("what", BLOCKING)
def test_what_lasts(service, what):
    """A client that blocks, listens or is in a transaction leaves nothing of it on the server."""
    node, proxy = service.node, service.proxy
    for end in ("half_close", "reset", "close"):
        for k in range(1, len(BLOCKING[what]) + 1):
            with proxy.connect(10) as client:
                client.send(BLOCKING[what][:k])
                if k % 3 == 0:
                    client.read_for(0.001)
                getattr(client, end)()

    def clean():
        clients = node.info("clients")
        listeners = node.call("PUBSUB", "NUMSUB", "news")[1]
        return int(clients["blocked_clients"]) == 0 and listeners == 0 and \
            int(clients["connected_clients"]) < 20
    wait_until(clean, 15, "the server to have forgotten them")
    assert node.call("GET", "watched") is None
    wait_until(lambda: proxy.fds() < 80, 15, "descriptors given back")
