"""Connections with TLS that end at any byte of what is encrypted: what was cut is as if it had not
been said, and nothing runs twice."""

import contextlib
import tempfile

import pytest

from support import tls
from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.relay import DOWN, UP, Relay, Rule
from support.resp import Conn, ServerError, encode
from support.wait import wait_until

IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")
RECORD = 5 + 1 + 16  # what TLS 1.3 adds: header, kind, tag
PIECE = 16384        # plain bytes of a record at most
KEY = "k" * 90       # long enough for its requests to be like no others on these connections


@pytest.fixture(name="setup", scope="module")
def setup_fixture():
    """(node, relay between it and the proxy, proxy, relay in front of the proxy), TLS everywhere,
    and both relays pass it as it comes."""
    certs = tls.certs()
    with contextlib.ExitStack() as stack:
        node = Node(stack.enter_context(tempfile.TemporaryDirectory()), tls=certs)
        stack.callback(node.close)
        node.start()
        behind = stack.enter_context(Relay(node.address, opens=False))
        sentinel = stack.enter_context(FakeSentinel(behind.address, epoch=1))
        proxy = stack.enter_context(Proxy([sentinel.address], {"proxy.workers": 1}, tls=certs))
        before = stack.enter_context(Relay(proxy.address, opens=False))
        proxy.wait_serving()
        yield node, behind, proxy, before


def token(after):
    return f"token-{after:05}".encode()


def record(data):
    """How many bytes those become; they fit into one record."""
    assert len(data) <= PIECE
    return len(data) + RECORD


def how(after):
    return "fin" if after % 2 else "rst"


def some(total, step=7):
    """All numbers up to total, with --full; else those at both ends, and a few between."""
    return [pytest.param(n, marks=[] if n < 7 or n > total - 4 or n % step == 0
                         else pytest.mark.full) for n in range(total + 1)]


def cut(relay, request, *rules):
    """The rules, where the first is that of the record with this request."""
    first, *others = rules
    first.size = record(request)
    relay.add(first)
    return others[-1] if others else first


GETSET = encode("GETSET", KEY, token(0))
ANSWER = b"$11\r\n%b\r\n" % token(0)


@pytest.mark.parametrize("after", some(record(GETSET)))
def test_request_cut_on_its_way_to_the_node(setup, after):
    """It never runs there: the proxy can't know, and says so. The last byte alone counts."""
    node, relay, proxy, _ = setup
    with proxy.connect() as client:
        client.ok("SET", KEY, "old")
        before = node.calls("getset")
        rule = cut(relay, GETSET, Rule(how(after), UP, after=after))
        assert client.call("GETSET", KEY, token(0)) == IN_DOUBT
        rule.wait()
        whole = after == record(GETSET)
        wait_until(lambda: node.calls("getset") == before + whole, what="what has run")
        assert client.call("GET", KEY) == (token(0) if whole else b"old")


@pytest.mark.parametrize("after", some(record(ANSWER), 5))
def test_answer_cut(setup, after):
    """The write has run, once; its answer is taken only with its last byte."""
    node, relay, proxy, _ = setup
    with proxy.connect() as client:
        client.ok("SET", KEY, token(after))
        before, request = node.calls("getset"), encode("GETSET", KEY, token(0))
        then = Rule(how(after), DOWN, after=after)
        rule = cut(relay, request, Rule("then", UP, after=record(request), then=then), then)
        whole = after == record(ANSWER)
        assert client.call("GETSET", KEY, token(0)) == (token(after) if whole else IN_DOUBT)
        rule.wait()
        assert node.calls("getset") == before + 1
        assert client.call("GET", KEY) == token(0)


@pytest.mark.parametrize("after", some(record(ANSWER), 5))
def test_answer_to_a_read_cut(setup, after):
    """Which is asked again, and nobody hears of it."""
    node, relay, proxy, _ = setup
    with proxy.connect() as client:
        client.ok("SET", KEY, token(after))
        before, request = node.calls("get"), encode("GET", KEY)
        then = Rule(how(after), DOWN, after=after)
        rule = cut(relay, request, Rule("then", UP, after=record(request), then=then), then)
        assert client.call("GET", KEY) == token(after)
        rule.wait()
        assert node.calls("get") == before + (1 if after == record(ANSWER) else 2)


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("records", [1, 2])
@pytest.mark.parametrize("end", ["fin", "rst"])
def test_answer_cut_between_two_records(setup, end, records, off):
    """All that came was genuine, and no word of TLS said that it was the end: it is none."""
    node, relay, proxy, _ = setup
    value = "v" * 40_000
    with proxy.connect() as client:
        client.ok("SET", KEY, value)
        before, request = node.calls("getset"), encode("GETSET", KEY, token(0))
        then = Rule(end, DOWN, after=records * (PIECE + RECORD) + off)
        rule = cut(relay, request, Rule("then", UP, after=record(request), then=then), then)
        assert client.call("GETSET", KEY, token(0)) == IN_DOUBT
        rule.wait()
        assert node.calls("getset") == before + 1
        assert client.call("GET", KEY) == token(0)


@pytest.mark.parametrize("after", [1, 5, 6, 50, 127, 200, 300, 500]
                         + [pytest.param(n, marks=pytest.mark.full) for n in range(7, 600, 4)])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_handshake_cut(setup, direction, after):
    """And the greeting behind it: the client sees time."""
    _, relay, proxy, _ = setup
    with proxy.connect() as client:
        client.ok("PING")
        relay.refuse()
        relay.cut_all()
        rule = relay.add(Rule(how(after), direction, after=after))
        relay.refuse(False)
        wait_until(lambda: client.ok("ECHO", "x") and rule.fired.is_set(), what="the cut")
        assert client.ok("PING") == "PONG"


@contextlib.contextmanager
def through(relay):
    """A client whose handshake is over, tickets and all."""
    with Conn(relay.address, 20) as client:
        client.ok("PING")
        yield client


@pytest.mark.parametrize("after", some(record(GETSET)))
@pytest.mark.parametrize("end", ["rst", "half_close"])
def test_request_cut_on_its_way_to_the_proxy(setup, end, after):
    """Cut, it was never said. Whole, it runs, once, and its answer can be read."""
    node, _, proxy, relay = setup
    whole = after == record(GETSET)
    before = node.calls("getset")
    with through(relay) as client:
        rule = cut(relay, GETSET, Rule(end, UP, after=after))
        client.send(GETSET)
        rule.wait()
        if end == "half_close" and whole:
            assert not isinstance(client.read(), ServerError)
        client.read_all()
    if whole and end == "rst":
        # It may go with the reset, as without TLS.
        assert node.calls("getset") - before in (0, 1)
    else:
        wait_until(lambda: node.calls("getset") == before + whole, what="what has run")
    assert proxy.call("PING") == "PONG"


@pytest.mark.parametrize("after", some(record(ANSWER), 5))
def test_answer_cut_on_its_way_to_the_client(setup, after):
    node, _, proxy, relay = setup
    node.call("SET", KEY, token(after))
    before = node.calls("getset")
    with through(relay) as client:
        then = Rule(how(after), DOWN, after=after)
        rule = cut(relay, GETSET, Rule("then", UP, after=record(GETSET), then=then), then)
        client.send(GETSET)
        rule.wait()
        # A reset may overtake what is not read yet.
        assert client.read_all() in ([b"", ANSWER.replace(token(0), token(after))]
                                     if after == record(ANSWER) else [b""])
    assert node.calls("getset") == before + 1
    assert proxy.call("GET", KEY) == token(0)
