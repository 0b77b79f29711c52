"""Scenario 67: random streams of bytes, right and wrong, answered as Redis answers them.

A stream that is answered differently is named by its seed. To play it again, and find what is the
shortest part of it that makes the difference:

    VEDETTE_STREAM=1234 python3 -m pytest -q tests/integration/test_67_differential.py
"""

import itertools
import os
import random
import re
import time

import pytest

from support.cluster import Node
from support.differential import Twins, account, first_difference, shortest
from support.resp import encode
from support.streams import Maker, Stream

# Else such a hash or set is in an order of its own.
SAME_ORDER = (("hash-max-listpack-value", "1000000"), ("hash-max-listpack-entries", "100000"))
RULES = ("on", ">right", "~*", "&*", "+@all")
SECURED = (("requirepass", "right"), ("user", "default", *RULES), ("user", "bob", *RULES, "-del"))

# With this they are other streams in each run of the suite that sets it.
FIRST = int(os.environ.get("VEDETTE_STREAMS_FROM", "1"))
# Whether a password is wanted, and the proxy's links.
VARIANTS = {"open": (False, "exclusive"), "secured": (True, "exclusive"),
            "shared": (False, "shared")}
# Of a HELLO that is refused behind a part that was accepted, Redis keeps that part; a session that
# shares connections keeps nothing.
PART_OF_HELLO = re.compile(rb"SETNAME\W.*\bAUTH\b", re.I | re.S)

# Streams that were answered differently once.
REGRESSIONS = {
    "more arguments than Redis 6 took": Stream(0, [b"*1048577\r\n$4\r\nPING\r\n*\r\n"], [], False),
    "an error, and the client has ended its side":
        Stream(0, [b"PING\r\nPING\r\nECHO \"\r\n"], [6, 7], True),
    "an element is there, and the client has ended its side":
        Stream(0, [b"RPUSH l x y\r\nBLPOP l 0\r\nLLEN l\r\n"], [13, 14], True),
    "an error of the server, which closes on what it has not read":
        Stream(0, [b"SUBSCRIBE c\r\n", b"*" + b"x" * 800000], [], False),
    "a wrong blocking command, and the client has ended its side":
        Stream(0, [b"WAIT\r\nBLPOP l\r\n"], [], True),
}
SECURED_REGRESSIONS = {
    "arguments before AUTH": Stream(0, [encode(*["PING"] * 11), b"PING\r\n"], [], False),
    "a large argument before AUTH":
        Stream(0, [encode("ECHO", "x" * 16385), b"PING\r\n"], [], False),
    "a huge argument before AUTH":
        Stream(0, [encode("ECHO", "x" * 300000), b"PING\r\n"], [], False),
}


@pytest.fixture(name="twins", scope="module", params=VARIANTS)
def twins_fixture(request, tmp_path_factory, start_service):
    """(Twins, secured): a Redis, and another with the same configuration behind the proxy."""
    secured, links = VARIANTS[request.param]
    settings = SAME_ORDER + (SECURED if secured else ())
    sentinel_settings = [("sentinel", "auth-pass", "mymaster", "right")] if secured else ()
    node = Node(str(tmp_path_factory.mktemp("twin")), settings=settings)
    node.start()
    with start_service({"links": links}, node_settings=settings, sentinel_settings=sentinel_settings) as service:
        pair = Twins(node, service.node, service.proxy.address)
        pair.shared = links == "shared"
        yield pair, secured
        pair.close()
    node.close()


def check(twins, seeds, seconds):
    """Plays as many of these as there is time for; at least so many that it means something."""
    pair, secured = twins
    if pair.shared:
        seeds = [seed for seed in seeds if not PART_OF_HELLO.search(
            b"".join(Maker(seed, secured).stream().chunks))]
    difference, played = first_difference(pair, seeds, secured, time.monotonic() + seconds)
    print(f"{played} streams")
    if difference:
        pytest.fail(difference, pytrace=False)
    assert played >= min(len(seeds), 100)


def test_67_streams(twins):
    again = os.environ.get("VEDETTE_STREAM")
    if again:
        check(twins, [int(again)], 300)
    else:
        check(twins, range(FIRST, FIRST + 2000), 10)


@pytest.mark.full
def test_67_many_streams(twins):
    check(twins, range(FIRST + 2000, FIRST + 52000), 900)


def test_67_regressions(twins, request):
    """Some of them depend on what comes at once: each is played often."""
    pair, secured = twins
    often = 100 if request.config.getoption("--full") else 25
    streams = dict(REGRESSIONS, **SECURED_REGRESSIONS) if secured else REGRESSIONS
    for name, stream in streams.items():
        for _ in range(10 if pair.shared else often):  # what is framed, is so in one place for both
            answers = pair.play(stream)
            assert answers[0] == answers[1], name


SUBSCRIBING = (b"SUBSCRIBE a\r\n", b"SUBSCRIBE a b b\r\n", b"PSUBSCRIBE a* b?\r\n",
               b"SSUBSCRIBE a c\r\n", b"UNSUBSCRIBE\r\n", b"UNSUBSCRIBE b x a\r\n",
               b"PUNSUBSCRIBE\r\n", b"PUNSUBSCRIBE a*\r\n", b"SUNSUBSCRIBE\r\n", b"SUBSCRIBE\r\n",
               b"PUBLISH a x\r\n", b"GET k\r\n", b"PING\r\n", b"LRANGE l 0 -1\r\n", b"MULTI\r\n",
               b"EXEC\r\n", b"HELLO 3\r\n", b"HELLO 2\r\n", b"RESET\r\n", b"QUIT\r\n")
# What a list may hold to look like a message.
LOOKALIKE = b"DEL l\r\nRPUSH l message a x\r\n"


def subscribing(count, begin):
    """Streams that together have all orders of so many of these requests, each as a whole."""
    orders = list(itertools.product(SUBSCRIBING, repeat=count))
    random.Random(FIRST).shuffle(orders)
    ends = [b"".join(order) for order in orders if b"QUIT\r\n" in order]
    rest = [b"".join(order) for order in orders if b"QUIT\r\n" not in order]
    while rest or ends:
        yield [begin, LOOKALIKE, *(part for order in rest[:16]
                                   for part in (order, b"RESET\r\n" + begin)), *ends[:1]]
        del rest[:16], ends[:1]


def test_67_subscriptions(twins):
    pair, secured = twins
    begin = b"AUTH right\r\n" if secured else b""
    for chunks in subscribing(3, begin):
        stream = Stream(0, chunks, [], False)
        if pair.differ(stream) and pair.differ(stream):
            pytest.fail(account(pair, shortest(stream, pair.differ), pair.play(stream)))


@pytest.fixture(name="unlike", scope="module")
def unlike_fixture(tmp_path_factory):
    """Two that are not alike: the second has no GETDEL."""
    nodes = [Node(str(tmp_path_factory.mktemp("unlike")), settings=[*SAME_ORDER, *more])
             for more in ((), (("rename-command", "GETDEL", '""'),))]
    for node in nodes:
        node.start()
    pair = Twins(nodes[0], nodes[1], nodes[1].address)
    yield pair
    pair.close()
    for node in nodes:
        node.close()


def test_differences_are_seen(unlike):
    """The comparison itself: what differs is found among the streams and cut down to its core."""
    difference, _ = first_difference(unlike, range(1, 2000))
    assert "answered differently" in difference and "again: VEDETTE_STREAM=" in difference
    sent = difference.partition("\nsent: ")[2].partition("\n")[0]
    assert "GETDEL" in sent.upper() and len(sent) < 80, difference


def test_streams_come_from_their_seed():
    for secured in (False, True):
        first, again = ([Maker(seed, secured).stream() for seed in range(50)] for _ in range(2))
        assert [s.pieces() for s in first] == [s.pieces() for s in again]
        assert len({s.pieces()[0] for s in first}) > 40


def test_the_account_of_a_race(unlike):
    """What differed once and not again is told too, not dropped."""
    stream = Stream(7, [b"PING\r\n"], [], False)
    text = account(unlike, stream, [(b"+PONG\r\n", "open"), (b"", "open")])
    assert "VEDETTE_STREAM=7" in text and "a race" in text
