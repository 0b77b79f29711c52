"""CLIENT REPLY: what a client hears of its answers, byte for byte as from Redis itself."""

import random

import pytest

from support.case import one_node
from support.resp import encode
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

OFF, SKIP, ON = (("CLIENT", "REPLY", mode) for mode in ("OFF", "SKIP", "ON"))
BLANK, EMPTY = b"\r\n", b"*0\r\n"
GET, NOISE = ("GET", "k"), ("LPUSH", "k", "x")

SAID = {
    "off": [OFF, GET, NOISE, ("NOSUCH",)],
    "off and on": [OFF, GET, ON, GET],
    "skip": [SKIP, GET, GET],
    "skip, an error": [SKIP, NOISE, NOISE],
    "skip twice": [SKIP, SKIP, GET, GET],
    "skip, a blank line": [SKIP, BLANK, GET],
    "skip, no request": [SKIP, EMPTY, GET],
    "skip, on": [SKIP, ON, GET],
    "skip under off": [OFF, SKIP, GET, GET, ON, GET],
    "skip, off": [SKIP, OFF, GET, ON, GET],
    "no such mode": [SKIP, ("CLIENT", "REPLY", "maybe"), GET, ("CLIENT", "REPLY", "x"), GET],
    "arity": [("CLIENT", "REPLY"), ("CLIENT", "REPLY", "ON", "x"), GET],
    "any case": [b"cLIENT rEPLY oFF\r\nGET k\r\nclient reply on\r\n", GET],
    "reset behind off": [OFF, GET, ("RESET",), GET],
    "reset behind skip": [SKIP, ("RESET",), GET],
    "select under off": [OFF, ("SELECT", 3), ("SET", "three", 1), ON, ("GET", "three")],
    "hello under off": [OFF, ("HELLO", 3), ON, ("GET", "none")],
    "hello behind skip": [SKIP, ("HELLO", 3), ("GET", "none")],
    "auth under off": [OFF, ("AUTH", "x"), ON, GET],
    "a transaction under off": [OFF, ("MULTI",), ("INCR", "n"), ("EXEC",), ON, ("GET", "n")],
    "off in a transaction": [("MULTI",), OFF, GET, ("EXEC",), GET, ON, GET],
    "skip in a transaction": [("MULTI",), SKIP, GET, ("EXEC",), GET],
    "skip in front of exec": [("MULTI",), GET, SKIP, ("EXEC",), GET],
    "a blocking command": [SKIP, ("BLPOP", "none", "0.01"), GET],
    "subscribe under off": [OFF, ("SUBSCRIBE", "c", "d"), ("UNSUBSCRIBE",), GET, ON, GET],
    "subscribe behind skip": [SKIP, ("SUBSCRIBE", "c"), ("PING",), ("UNSUBSCRIBE",), GET],
    "subscribe in a wrong way": [SKIP, ("SUBSCRIBE",), GET],
    "a large answer": [SKIP, ("GET", "large"), OFF, ("GET", "large"), ON, GET],
    "a large request": [SKIP, ("SET", "large", "y" * 300_000), GET, ("STRLEN", "large")],
    "names": [OFF, ("CLIENT", "SETNAME", "me"), ON, ("CLIENT", "GETNAME")],
    "tracking": [("HELLO", 3), ("CLIENT", "TRACKING", "ON", "BCAST"), OFF, ("SET", "t", 1), ON, GET],
}
END = b"$3\r\nend\r\n"


@pytest.fixture(name="pair", scope="module")
def pair_fixture():
    with one_node() as (node, proxy):
        proxy.wait_serving()
        yield node, proxy


def raw(said):
    return said if isinstance(said, bytes) else encode(*said)


def prepare(node):
    node.call("FLUSHALL")
    node.call("SET", "k", "value")
    node.call("SET", "large", "x" * 200_000)


def heard(address, chunks, protocol):
    """What comes up to the answer to an ECHO behind it all."""
    with address.connect(20) as client:
        if protocol == 3:
            client.call("HELLO", 3)
        for chunk in chunks:
            client.send(chunk)
        client.send(encode("CLIENT", "REPLY", "ON") + encode("ECHO", "end"))
        got = b""
        while not got.endswith(END):
            got += client.read_frame()
        return got


def same(pair, chunks, protocol):
    node, proxy = pair
    got = []
    for address in (node, proxy):
        prepare(node)
        got.append(heard(address, chunks, protocol))
    # HELLO tells the number of the connection.
    direct, proxied = (b"" if b"server" in one else one for one in got)
    assert direct == proxied
    return got[1]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("at_once", [True, False], ids=["at_once", "one_by_one"])
@pytest.mark.parametrize("case", SAID)
def test_as_redis(pair, case, at_once, protocol):
    chunks = [raw(said) for said in SAID[case]]
    same(pair, [b"".join(chunks)] if at_once else chunks, protocol)


COMMON = [GET, NOISE, ("SET", "k", 1), ("INCR", "n"), ("NOSUCH",), ("SELECT", 1), ("SELECT", 0),
          ("MULTI",), ("EXEC",), ("DISCARD",), ("WATCH", "k"), ("BLPOP", "none", "0.001"),
          ("RPUSH", "l", "a"), ("BLPOP", "l", "1"), ("PING",), ("GET", "large"), BLANK, EMPTY,
          ("CLIENT", "GETNAME"), ("CLIENT", "SETNAME", "a"), ("RESET",), ("EVAL", "return 7", 0),
          ("CLIENT", "REPLY", "x"), ("SUBSCRIBE", "c"), ("UNSUBSCRIBE", "c"), ("WAIT", 0, 1)]


@pytest.mark.parametrize("seed", range(40))
def test_in_any_order(pair, seed):
    rng = random.Random(seed)
    said, multi = [], False
    for _ in range(rng.randint(3, 25)):
        choice = COMMON
        if rng.random() < 0.4 and not multi:  # what it does in one, SAID has
            choice = (OFF, SKIP, SKIP, ON)
        said.append(rng.choice(choice))
        if multi and said[-1][0] in ("SUBSCRIBE", "UNSUBSCRIBE", "CLIENT"):
            said.pop()
        elif said[-1] in (("MULTI",), ("EXEC",), ("DISCARD",), ("RESET",)):
            multi = said[-1] == ("MULTI",)
    # A transaction that is open would queue what ends it all; a subscriber might not say it.
    said += [("DISCARD",), ("UNSUBSCRIBE",)]
    data = b"".join(raw(one) for one in said)
    cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randint(0, 4)))
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)]) if a < b]
    same(pair, chunks, rng.choice((2, 3)))


def test_monitor_under_off(pair):
    """Neither its answer nor its lines; to ON it answers, and the lines come from then on."""
    node, proxy = pair
    with proxy.connect() as client:
        client.send(encode(*OFF) + encode("MONITOR"))
        wait_until(lambda: " cmd=monitor" in node.call("CLIENT", "LIST").decode(), 5, "MONITOR")
        node.call("GET", "unheard")
        client.send(encode(*ON))
        assert client.read() == "OK"
        node.call("GET", "heard")
        assert '"heard"' in client.read()


def test_quit_under_off(pair):
    """Redis does not answer, and forgets to close: a connection that ends is meant."""
    with pair[1].connect() as client:
        client.send(encode(*OFF) + encode("QUIT"))
        assert client.closed()


def test_it_costs_no_connection(pair):
    """It is the session's alone: the link stays shared."""
    node, proxy = pair
    proxy.call("PING")
    before = node.info("clients")["connected_clients"]
    with proxy.connect() as client:
        client.send((encode(*SKIP) + encode("INCR", "skipped")) * 300 + encode("ECHO", "end"))
        assert client.read() == b"end"
        if "VEDETTE_LINKS" not in proxy.env or proxy.env["VEDETTE_LINKS"] == "shared":
            assert node.info("clients")["connected_clients"] == before
    assert node.call("GET", "skipped") == b"300"


def test_before_auth():
    """Refused, and so without effect."""
    with one_node(node_settings=(("requirepass", "secret"),)) as (_, proxy), proxy.connect() as client:
        assert client.call(*OFF).code == "NOAUTH"
        assert client.call("GET", "k").code == "NOAUTH"
        assert client.call("AUTH", "secret") == "OK"
        client.send(encode(*OFF) + encode(*ON))
        assert client.read() == "OK"
