"""Transactions that change their own connection: EXEC's answer, and all behind it, byte for byte as
from Redis itself."""

import re

import pytest

from support.case import one_node
from support.resp import encode

pytestmark = pytest.mark.exclusive

MULTI, EXEC, GET = ("MULTI",), ("EXEC",), ("GET", "k")
OFF, SKIP, ON = (("CLIENT", "REPLY", mode) for mode in ("OFF", "SKIP", "ON"))
LOOKS_LIKE_A_MESSAGE = ("LRANGE", "l", "0", "-1")

SAID = {
    "subscribe": [MULTI, ("SUBSCRIBE", "a", "b"), GET, EXEC, ("PING",), ("UNSUBSCRIBE", "a"),
                  ("UNSUBSCRIBE", "b"), GET],
    "one name": [MULTI, ("SUBSCRIBE", "a"), EXEC, GET],
    "last": [MULTI, GET, ("SUBSCRIBE", "a", "b", "c"), EXEC, ("UNSUBSCRIBE", "b")],
    "names again": [MULTI, ("SUBSCRIBE", "a", "a", "b", "a"), ("SUBSCRIBE", "b"), EXEC],
    "every kind": [MULTI, ("SUBSCRIBE", "a"), ("PSUBSCRIBE", "p*", "q*"), ("SSUBSCRIBE", "s"), EXEC,
                   ("PUNSUBSCRIBE", "q*"), ("SUNSUBSCRIBE",), ("UNSUBSCRIBE",)],
    "and back": [MULTI, ("SUBSCRIBE", "a"), ("PSUBSCRIBE", "p*"), ("UNSUBSCRIBE",), GET,
                 ("PUNSUBSCRIBE",), ("UNSUBSCRIBE",), EXEC, GET],
    "nothing held": [MULTI, ("UNSUBSCRIBE",), ("SUNSUBSCRIBE", "x", "y"), EXEC, GET],
    "no names": [MULTI, ("SUBSCRIBE",), EXEC, GET],
    "an empty name": [MULTI, ("SUBSCRIBE", "", "\r\n"), EXEC],
    "inline": [MULTI, b"subscribe a 'b c'\r\n", b"get k\r\n", EXEC, ("UNSUBSCRIBE", "b c")],
    "discarded": [MULTI, ("SUBSCRIBE", "a", "b"), ("DISCARD",), GET],
    "aborted": [MULTI, ("SUBSCRIBE", "a", "b"), ("NOSUCH",), EXEC, GET],
    "watched": [("WATCH", "k"), ("SET", "k", "2"), MULTI, ("SUBSCRIBE", "a"), EXEC, GET],
    "errors": [MULTI, ("INCR", "l"), ("SUBSCRIBE", "a", "b"), ("MONITOR",), ("INCR", "l"), EXEC],
    "refused": [("ACL", "SETUSER", "bob", "on", "nopass", "~*", "+@all", "&a"), MULTI,
                ("AUTH", "bob", "x"), ("SUBSCRIBE", "a", "b"), ("SUBSCRIBE", "a"), GET, EXEC],
    "heard of itself": [MULTI, ("SUBSCRIBE", "a", "b"), ("PUBLISH", "a", "x"), GET, EXEC,
                        ("PING",)],
    "what looks like it": [MULTI, ("SUBSCRIBE", "a"), LOOKS_LIKE_A_MESSAGE, GET, EXEC, ("PING",)],
    "what looks like it before": [MULTI, LOOKS_LIKE_A_MESSAGE, ("SUBSCRIBE", "a", "b"), EXEC],
    "resp 3": [MULTI, ("HELLO", "3"), ("SUBSCRIBE", "a", "b"), ("HGETALL", "h"), EXEC, GET,
               ("HGETALL", "h")],
    "resp 2": [MULTI, ("HELLO", "2"), ("SUBSCRIBE", "a", "b"), EXEC, GET, ("PING",)],
    "resp 3 and back": [MULTI, ("HELLO", "3"), ("SUBSCRIBE", "a", "b"), ("HELLO", "2"), EXEC, GET],
    "large": [MULTI, ("SELECT", 4), ("GET", "large"), ("SET", "k", "four"), ("SUBSCRIBE", "a", "b"),
              ("SELECT", 0), ("GET", "large"), ("SUBSCRIBE", "c", "d"), EXEC, ("PING",),
              ("UNSUBSCRIBE", "a", "b", "c", "d"), GET],
    "large and a database": [MULTI, ("GET", "large"), ("SELECT", 4), EXEC, GET, ("SET", "k", "4"),
                             ("SELECT", 0), GET],
    "evict": [MULTI, ("CLIENT", "NO-EVICT", "ON"), ("CLIENT", "NO-EVICT", "x"), GET, EXEC, GET],
    "under off": [OFF, MULTI, ("SUBSCRIBE", "a", "b"), GET, EXEC, GET, ("UNSUBSCRIBE", "a", "b"), ON,
                  GET],
    "behind skip": [SKIP, MULTI, ("SUBSCRIBE", "a"), EXEC, ("UNSUBSCRIBE", "a"), GET],
    "replies on": [MULTI, GET, ("CLIENT", "REPLY", "ON"), EXEC, GET, ("CLIENT", "REPLY", "ON")],
}
OF_RESP3 = {
    "a subscriber": [("SUBSCRIBE", "a"), MULTI, ("SET", "k", "2"), ("PUBLISH", "a", "x"), GET, EXEC,
                     GET],
    "a subscriber under off": [("SUBSCRIBE", "a"), OFF, MULTI, ("PUBLISH", "a", "x" * 300), GET,
                               ("SUBSCRIBE", "b"), EXEC, ON, GET],
    "a subscriber that ends": [("SUBSCRIBE", "a"), MULTI, ("PUBLISH", "a", "x"), ("UNSUBSCRIBE",),
                               ("PUBLISH", "a", "y"), EXEC, GET],
    "a subscriber and resp 2": [("SUBSCRIBE", "a"), MULTI, ("HELLO", "2"), ("SUBSCRIBE", "b"), EXEC,
                                ("PING",), GET],
    "what it does": [("SUBSCRIBE", "__keyevent@0__:set"), MULTI, ("SET", "k", "2"), ("SET", "j", 1),
                     GET, EXEC, GET],
    "tracking": [MULTI, ("CLIENT", "TRACKING", "ON"), GET, ("SET", "k", "2"), EXEC, GET,
                 ("CLIENT", "TRACKINGINFO"), MULTI, ("CLIENT", "TRACKING", "OFF"), EXEC,
                 ("SET", "k", "3"), ("CLIENT", "TRACKINGINFO")],
    "caching": [MULTI, ("CLIENT", "TRACKING", "ON", "OPTIN"), ("CLIENT", "CACHING", "YES"), GET,
                EXEC, ("SET", "k", "2"), GET, ("SET", "k", "2")],
    "tracking refused": [MULTI, ("CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT"), EXEC, GET],
}
MONITORING = {
    "monitor": [("PING",), ("ECHO", "123.123456 [0"), GET, ("PING", "x"), ("SELECT", 3),
                ("CLIENT", "GETNAME"), ("SELECT", 0), ("NOSUCH",), ("PING",)],
    "monitor and a transaction": [MULTI, ("PING",), ("ECHO", "x"), EXEC, ("PING",)],
    "monitor and subscribe": [MULTI, ("SUBSCRIBE", "a", "b"), ("PING",), EXEC, ("PING",),
                              ("UNSUBSCRIBE", "a", "b"), ("PING",)],
    "monitor again": [("PING",), ("MONITOR",), ("PING",)],
    "monitor and a script": [("EVAL", "return 1", 0), ("PING",)],
}
ALL = [(name, said, protocol) for cases, protocols in ((SAID, (2, 3)), (OF_RESP3, (3,)))
       for name, said in cases.items() for protocol in protocols]
ALL += [(name, [("MONITOR",), *said], protocol) for name, said in MONITORING.items()
        for protocol in (2, 3)]
END = b"the-end\r\n"
VOLATILE = [(re.compile(rb"\$2\r\nid\r\n:\d+\r\n"), b"(id)"),
            (re.compile(rb"\+\d+\.\d{6} \[\d+ [^\r]*\r\n"), b"")]  # lines of MONITOR


@pytest.fixture(name="pair", scope="module")
def pair_fixture():
    with one_node() as (node, proxy):
        proxy.wait_serving()
        node.call("CONFIG", "SET", "notify-keyspace-events", "KEA")
        yield node, proxy


def heard(address, chunks, protocol):
    """What comes up to the answer to a PING behind it all."""
    with address.connect(20) as client:
        if protocol == 3:
            client.call("HELLO", 3)
        got = b""
        for chunk in [*chunks, encode("PING", "the-end")]:
            client.send(chunk)
        while END not in got:
            some = client.sock.recv(1 << 20)
            assert some, got
            got += some
    for pattern, instead in VOLATILE:
        got = pattern.sub(instead, got)
    return got


def same(pair, chunks, protocol):
    node, proxy = pair
    got = []
    for address in (node, proxy):
        node.call("FLUSHALL")
        node.call("SET", "k", "value")
        node.call("SET", "large", "x" * 200_000)
        node.call("HSET", "h", "f", "v")
        node.call("RPUSH", "l", "message", "a", "x")
        got.append(heard(address, chunks, protocol))
    assert got[1] == got[0]


@pytest.mark.parametrize("how", ["at_once", "one_by_one", "in_pieces"])
@pytest.mark.parametrize("said, protocol", [case[1:] for case in ALL],
                         ids=[f"{name}-{protocol}" for name, _, protocol in ALL])
def test_as_redis(pair, said, protocol, how):
    chunks = [one if isinstance(one, bytes) else encode(*one) for one in said]
    if how == "at_once":
        chunks = [b"".join(chunks)]
    elif how == "in_pieces":
        data = b"".join(chunks)
        chunks = [data[i : i + 7] for i in range(0, len(data), 7)]
    same(pair, chunks, protocol)
