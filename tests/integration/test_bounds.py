"""The bounds of one client and one connection, each reached, by scripted servers where a real one
would not sit still. The names behind `limit:` are those of proxy/base/limits.h."""

import contextlib
import os
import time
from types import SimpleNamespace

import pytest

from support.case import relayed
from support.cluster import Node
from support.fake_sentinel import CLOSE, NEVER, FakeNode, FakeSentinel, bulk
from support.proxy import Proxy, is_sanitized
from support.resp import ServerError, encode
from support.wait import wait_until

MIB = 1 << 20
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
IN_DOUBT = ("INDOUBT The primary was lost after the command was sent; it may or may not have been, "
            "or may still be, executed")


@contextlib.contextmanager
def scripted(script, settings=None):
    """(node, sentinel, proxy): a primary that answers as the script says, and one worker."""
    with FakeNode(script) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "proxy.log-level": "debug",
                                       "proxy.drain-timeout": "200ms", "stall-timeout": "30s",
                                       **(settings or {})}) as proxy:
        proxy.wait_serving()
        yield node, sentinel, proxy


def stays(value, seconds=0.4):
    """What value() gives, the same now and a moment later."""
    before = value()
    time.sleep(seconds)
    assert value() == before
    return before


def ended(proxy, reason):
    return [e for e in proxy.entries("session-closed") if e["reason"] == reason]


@pytest.mark.parametrize("request_, limit", [
    pytest.param(encode("GET", "k"), 1024, id="requests"),
    pytest.param(encode("GET", "k" * 50_000), 84, id="bytes"),  # the first that pass 4 MiB
])
def test_unanswered_requests(request_, limit):
    """limit: SESSION_OUTSTANDING_MAX LINK_UNANSWERED_MAX. A server that answers nothing gets so
    many requests of a client and no more, and another client is served beside."""
    with scripted({"GET": NEVER}, {"links": "exclusive"}) as (node, _, proxy), \
            proxy.connect() as client, proxy.connect() as other:
        client.send(request_ * (limit + 20))
        wait_until(lambda: len(node.requests("GET")) >= limit, 10, "the bound to be reached")
        assert stays(lambda: len(node.requests("GET"))) == limit
        assert other.ok("PING") == "PONG"


def test_answers_kept_behind_a_refusal():
    """limit: TENTATIVE_REPLIES_MAX. Reads behind a refused write wait with it while what they
    answered can be kept; beyond that everything is given as the server said it."""
    refused = b"-READONLY You can't write against a read only replica.\r\n"
    with scripted({"SET": refused, "GET": bulk("x" * 10_000)}) as (node, _, proxy), \
            proxy.connect() as few, proxy.connect() as many:
        many.send(encode("SET", "k", "v") + encode("GET", "k") * 10)
        assert many.read() == ServerError(refused[1:-2].decode())
        assert [len(many.read()) for _ in range(10)] == [10_000] * 10
        few.send(encode("SET", "k", "v") + encode("GET", "k") * 5)
        wait_until(lambda: len(node.requests("SET")) > 2, 10, "it to be tried again")
        assert few.read_for(0.2) == b""
        del node.script["SET"]
        assert few.read() == "OK"
        assert [len(few.read()) for _ in range(5)] == [10_000] * 5


def test_refused_requests_are_tried_by_one():
    """limit: SCOUT_INTERVAL_MS. Twenty clients wait for a server that refuses: each has tried once,
    from then on one of them does, ten times a second."""
    refused = b"-LOADING Redis is loading the dataset in memory\r\n"
    with scripted({"INCR": refused}) as (node, _, proxy), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.connect()) for _ in range(20)]
        began = time.monotonic()
        for client in clients:
            client.send(encode("INCR", "n"))
        wait_until(lambda: len(node.requests("INCR")) >= 30, 10, "ten more tries")
        tries, took = len(node.requests("INCR")), time.monotonic() - began
        assert tries - 20 <= took / 0.1 + 1
        del node.script["INCR"]
        assert [client.read() for client in clients] == ["OK"] * 20


def test_connections_that_break_are_not_tried_in_a_row():
    """limit: RECONNECT_MIN_MS RECONNECT_MAX_MS. A server that takes connections and drops them is
    asked at intervals that double up to half a second, and a quarter more; but for the first, where
    one that has answered before is opened again at once."""
    tries = []

    def drop(_):
        tries.append(time.monotonic())
        return CLOSE
    with scripted({"GET": drop}) as (node, _, proxy), proxy.connect(20) as client:
        client.send(encode("GET", "k"))
        wait_until(lambda: len(tries) >= 10, 15, "ten tries")
        node.script["GET"] = bulk("v")
        assert client.read() == b"v"
        gaps = [later - earlier for earlier, later in zip(tries[1:], tries[2:])]
        assert all(gap >= 0.009 for gap in gaps), gaps
        assert gaps[-1] >= 0.45 and min(gaps[-2:]) < 1.5, gaps


def test_connections_being_opened():
    """limit: HANDSHAKES_MAX GREETING_TIMEOUT_MS RELEASE_PER_TURN. A server that takes connections
    and says nothing gets 64 of them from a worker, each for a second; when it speaks again, all
    that waited are served."""
    with relayed({"proxy.workers": 1, "proxy.log-level": "debug", "links": "exclusive"}) \
            as (_, relay, proxy), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.connect(20)) for _ in range(300)]
        before = relay.accepted
        relay.freeze()
        began = time.monotonic()
        for client in clients:
            client.send(encode("INCR", "n"))
        wait_until(lambda: relay.accepted >= before + 64, 10, "64 connections")
        assert stays(lambda: relay.accepted, 0.2) == before + 64
        wait_until(lambda: proxy.entries("link-lost"), 10, "the first to be given up")
        assert time.monotonic() - began > 0.9
        assert proxy.entries("link-lost")[0]["reason"] == "greeting-failed"
        relay.freeze(False)
        assert sorted(client.read() for client in clients) == list(range(1, 301))


def test_upload_to_a_server_that_does_not_read():
    """limit: LINK_UNSENT_HIGH LINK_UNSENT_LOW. What the server does not take the proxy does not
    take from the client; both go on later."""
    with relayed({"stall-timeout": "30s"}) as (node, relay, proxy), proxy.connect(60) as client:
        client.ok("PING")
        before = proxy.rss()
        relay.freeze()
        data = memoryview(encode("SET", "k", "x" * (96 * MIB)))
        client.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while data:
                data = data[client.sock.send(data):]
        assert len(data) > 48 * MIB  # the kernel took some on both sides
        assert proxy.rss() - before < (16 + (64 if is_sanitized() else 0)) * MIB
        relay.freeze(False)
        client.sock.settimeout(60)
        client.send(data)
        assert client.read(60) == "OK"
        assert node.call("STRLEN", "k") == 96 * MIB


def test_many_connections_at_once():
    """limit: ACCEPTS_PER_TURN TURN_REQUESTS_MAX. 300 connections that came while the proxy stood
    still, each with more requests than are taken in one turn."""
    with relayed() as (_, _, proxy), contextlib.ExitStack() as stack:
        proxy.process.pause()
        clients = [stack.enter_context(proxy.connect(20)) for _ in range(300)]
        for client in clients:
            client.send(b"PING\r\n" * 700)
        proxy.process.resume()
        for client in clients:
            assert client.read_exactly(7 * 700) == b"+PONG\r\n" * 700


def test_reply_with_too_many_elements():
    """limit: REPLY_ELEMENTS_MAX. No server says so: the connection is not believed any more, and
    the read is asked again on another."""
    answers = iter([b"*2147483648\r\n", bulk("v")])
    with scripted({"GET": lambda _: next(answers)}) as (_, _, proxy), proxy.connect() as client:
        assert client.ok("GET", "k") == b"v"


def test_last_words_that_are_not_read():
    """limit: CLOSE_LINGER_MS. A client that is to be closed, as the proxy ends, and does not read
    what was said to it has five seconds."""
    with scripted({"GET": bulk("x" * (24 * MIB))}) as (_, _, proxy), \
            proxy.connect(rcvbuf=4096) as client:
        client.send(encode("GET", "k"))
        assert client.read_exactly(4) == b"$251"
        began = time.monotonic()
        proxy.stop()
        assert 4 < time.monotonic() - began < 20


def test_reply_that_is_not_read_after_a_switch(tmp_path):
    """limit: RETIRING_MAX_MS. A reply begun on the old primary may end there, for ten seconds."""
    new = Node(str(tmp_path))
    new.start()
    try:
        with scripted({"GET": bulk("x" * (24 * MIB))}, {"links": "exclusive"}) as \
                (_, sentinel, proxy), proxy.connect(30, rcvbuf=4096) as client:
            client.send(encode("GET", "k"))
            assert client.read_exactly(4) == b"$251"
            sentinel.switch(new.address, 2)
            wait_until(lambda: len(proxy.entries("primary-changed")) == 2, 10, "the switch")
            began = time.monotonic()
            wait_until(lambda: ended(proxy, "reply-cut"), 20, "its end", 0.1)
            assert time.monotonic() - began > 9
    finally:
        new.close()


def test_the_largest_request_that_is_kept():
    """limit: retain-max. A read up to that size is asked again when its connection is lost; a larger
    one is not kept, so nobody can know."""
    for size, reply in ((60_000, b"v"), (70_000, ServerError(IN_DOUBT))):
        answers = iter([CLOSE, bulk("v"), bulk("v")])
        with scripted({"GET": lambda _, a=answers: next(a)}, {"retain-max": "64k"}) as \
                (_, _, proxy), proxy.connect() as client:
            assert client.call("GET", "k" * size) == reply


class Unwilling(FakeNode):
    """Refuses each SET, one after the other."""

    def answer(self, client, args):
        if args[0] != b"SET":
            return super().answer(client, args)
        self.later(client, 0.4 * len(self.requests("SET")), LOADING)
        return NEVER


def test_one_that_is_not_kept_is_refused_behind_another():
    """limit: retain-max. What was kept of the other can't be said again alone: both are told."""
    with Unwilling() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"links": "exclusive", "retain-max": "64k"}) as proxy, \
            proxy.connect(10) as client:
        proxy.wait_serving()
        small, large = encode("SET", "k", "v"), encode("SET", "k", "v" * 70_000)
        client.send(small + large[:60_000])
        wait_until(lambda: node.requests("SET"), 5, "the small one")
        client.send(large[60_000:])
        assert [client.read_frame(), client.read_frame()] == [LOADING, LOADING]
        assert len(node.requests("SET")) == 2


def test_sentinels_that_must_agree():
    """limit: min-agree. One that names the primary is not enough where two are asked for."""
    with FakeNode() as node, FakeSentinel(node.address, epoch=1) as one, \
            FakeSentinel(None) as two, \
            Proxy([one.address, two.address], sentinel_settings={"min-agree": 2}) as proxy, \
            proxy.connect(20) as client:
        client.send(encode("SET", "k", "v"))
        assert client.read_for(1.5) == b""
        two.primary, two.epoch = node.address, 1
        assert client.read() == "OK"


def test_too_many_sentinels():
    """limit: SENTINELS_MAX. One tells of sixty others, none of which can be reached: there is room
    for 32, the one that was named in the configuration stays among them, and is believed."""
    others = [SimpleNamespace(id=f"{number:040x}", address=("127.0.0.1", 40_000 + number))
              for number in range(60)]
    with FakeNode() as node, FakeSentinel(node.address, epoch=1, others=others) as sentinel, \
            Proxy([sentinel.address]) as proxy:
        proxy.wait_serving()
        dropped = wait_until(lambda: proxy.entries("sentinel-dropped"), 10, "room to be made")
        assert all(entry["reason"] == "room for another" for entry in dropped)
        assert str(sentinel.port) not in " ".join(entry["sentinel"] for entry in dropped)
        assert proxy.call("SET", "k", "v") == "OK"


def test_workers():
    """limit: workers. So many threads, and each takes its share of the clients."""
    def threads(workers):
        with FakeNode() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
                Proxy([sentinel.address], {"proxy.workers": workers}) as proxy:
            proxy.wait_serving()
            return len(os.listdir(f"/proc/{proxy.process.pid}/task"))
    assert threads(9) - threads(2) == 7


@pytest.mark.full
@pytest.mark.slow
def test_frame_that_is_not_continued(service):
    """limit: FRAME_IDLE_MAX_MS. A minute without a byte in the middle of a request; a client that
    says nothing at all, and one that goes on slowly, may stay."""
    with service.connect(90) as begun, service.connect(90) as idle, service.connect(90) as slow:
        data = encode("ECHO", "x" * 20)
        began = time.monotonic()
        begun.send(data[:15])
        for at in range(7):
            slow.send(data[at : at + 1])
            if begun.closed(10):
                break
        assert 59 < time.monotonic() - began < 75
        assert service.proxy.entries("frame-timeout")
        slow.send(data[at + 1 :])
        assert slow.read() == b"x" * 20
        assert idle.ok("PING") == "PONG"


@pytest.mark.full
@pytest.mark.slow
def test_shortest_automatic_hold_timeout():
    """limit: HOLD_TIMEOUT_MIN_MS. No Sentinel has told its down-after."""
    with FakeSentinel(None) as sentinel, Proxy([sentinel.address]) as proxy, \
            proxy.connect(60) as client:
        began = time.monotonic()
        assert client.call("GET", "k").code == "LOADING"
        assert 29 < time.monotonic() - began < 45
