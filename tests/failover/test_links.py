"""A link to the primary breaks at any byte of a request or a reply; the primary itself is well."""

import os
import time

import pytest

from support.case import relayed
from support.load import Load, counter, stored_lists
from support.oracles import (ACKED, ERROR, INDOUBT, NOTRUN, check_counter, check_ledger,
                             check_open, tally)
from support.relay import DOWN, Rule
from support.resp import ServerError, encode
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")
MIB = 1 << 20


@pytest.fixture(name="setup", scope="module")
def setup_fixture():
    with relayed() as parts:
        yield parts


@pytest.mark.tls
@pytest.mark.parametrize("action", ["rst", "fin"])
def test_25_write_cut_at_every_byte(setup, action):
    """The proxy's kernel took all of it, so it is in doubt, unless the answer came; it runs at most
    once, and what is read afterwards is the truth."""
    node, relay, proxy = setup
    node.call("FLUSHALL")
    with proxy.connect() as client:
        for after in range(len(encode("INCR", "cut-00")) + 1):
            key = f"cut-{after:02}"
            request = encode("INCR", key)
            rule = relay.add(Rule(action, marker=request, after=after))
            reply = client.call("INCR", key)
            rule.wait()
            value = client.call("GET", key)
            if after < len(request):  # an incomplete request never runs
                assert value is None
            assert reply in (IN_DOUBT, 1) and value in (None, b"1")
            if reply == 1:
                assert value == b"1"
            assert node.call("GET", key) == value
            assert client.call("INCR", key) == int(value or 0) + 1


@pytest.mark.parametrize("action", ["rst", "fin"])
def test_25_read_cut_at_every_byte(setup, action):
    """A read is sent again, unseen."""
    _, relay, proxy = setup
    with proxy.connect() as client:
        client.ok("SET", "r", "value")
        for after in range(len(encode("GETRANGE", "r", "10")) + 5):
            request = encode("GETRANGE", "r", "0", 100 + after)
            rule = relay.add(Rule(action, marker=request, after=after))
            assert client.call("GETRANGE", "r", "0", 100 + after) == b"value"
            rule.wait()


@pytest.mark.tls
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [100_000, 900_000])
def test_25_large_write_cut_before_its_end(setup, size, part):
    """While the client still sends it, it is certainly not complete: sent again, exactly once."""
    node, relay, proxy = setup
    body = os.urandom(size // 2).hex().encode()
    with proxy.connect() as client:
        client.ok("DEL", "big")
        request = encode("APPEND", "big", body)
        cut = 70_000 + int((size - 80_000) * part)
        rule = relay.add(Rule("rst", marker=body[:40], after=1000))
        client.send(request[:cut])
        rule.wait()
        time.sleep(0.05)  # nothing to wait for: the proxy sees the reset at its own time
        client.send(request[cut:])
        assert client.read() == size
        assert node.call("GET", "big") == body


def test_25_larger_than_retained_and_cut(setup):
    """It can't be sent again, and did not run: said so, and the session goes on."""
    node, relay, proxy = setup
    body = os.urandom(2 * MIB).hex().encode()
    with proxy.connect() as client:
        client.ok("DEL", "huge")
        request = encode("SET", "huge", body)
        rule = relay.add(Rule("rst", marker=body[:40], after=2 * MIB))
        client.send(request[: 3 * MIB])
        rule.wait()
        client.send(request[3 * MIB :])
        reply = client.read()
        assert reply == ServerError(
            "LOADING No primary available for 'mymaster'; the command was not executed")
        assert client.call("EXISTS", "huge") == 0
        assert node.call("EXISTS", "huge") == 0
        assert client.call("SET", "huge", body) == "OK"
        assert node.call("STRLEN", "huge") == len(body)


@pytest.mark.tls
def test_25_unsent_behind_a_silent_primary():
    """Nothing passes for a while and then the links are cut: what was never handed to the kernel
    runs on the next link, and nothing twice."""
    with relayed() as (node, relay, proxy), \
            Load(proxy.address, clients=20, depth=50, rate=3000, workload=counter) as load:
        load.wait_acks(500)
        relay.freeze()
        load.wait_outstanding(1000)
        stalled = time.monotonic()
        wait_until(lambda: time.monotonic() - stalled > 0.5, what="the stall")
        relay.cut_all()
        relay.freeze(False)
        load.wait_acks(2000)
        load.stop()
        counts = tally(load.records)
        print(counts)
        assert counts[ERROR] == counts[NOTRUN] == 0
        assert 0 < counts[INDOUBT] < 1000
        check_counter(load.records, int(node.call("GET", "c")))
        check_open(load.opened, load.connections)


@pytest.mark.tls
def test_26_reply_dropped_write(setup):
    node, relay, proxy = setup
    with proxy.connect() as client:
        for number in range(5):
            request = encode("INCR", "dropped")
            rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
            assert client.call("INCR", "dropped") == IN_DOUBT
            rule.wait()
            assert client.call("GET", "dropped") == b"%d" % (number + 1)
        assert node.call("GET", "dropped") == b"5"


def test_26_reply_dropped_read(setup):
    _, relay, proxy = setup
    with proxy.connect() as client:
        client.ok("SET", "d", "1")
        rule = relay.add(Rule("drop_reply", marker=encode("GET", "d"), after=20))
        assert client.call("GET", "d") == b"1"
        rule.wait()


def test_26_discarded_transaction_keeps_its_place():
    """What is answered here waits for the read before it, which is sent again."""
    with relayed({"links": "exclusive"}) as (_, relay, proxy), proxy.connect() as client:
        client.ok("SET", "t", "1")
        request = b"".join(encode(*words) for words in
                           (("GET", "t"), ("MULTI",), ("SET", "t", "2"), ("DISCARD",), ("PING",)))
        rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
        client.send(request)
        assert [client.read() for _ in range(5)] == [b"1", "OK", "QUEUED", "OK", "PONG"]
        rule.wait()


def test_26_replies_dropped_of_a_pipeline(setup):
    """A read before a write that is in doubt would see its own future: in doubt as well."""
    _, relay, proxy = setup
    with proxy.connect() as client:
        client.ok("SET", "p", "10")
        client.ok("SET", "q", "x")
        rule = relay.add(Rule("drop_reply", marker=encode("GET", "p"), after=23, reply=16))
        replies = client.pipeline([("GET", "p"), ("INCR", "p"), ("GET", "q"), ("GET", "q")])
        rule.wait()
        assert replies == [IN_DOUBT, IN_DOUBT, b"x", b"x"]
        assert client.call("GET", "p") == b"11"


@pytest.mark.tls
@pytest.mark.tsan
def test_26_other_sessions_do_not_mind(setup):
    """Links break again and again under load: exact accounts, nobody is disconnected."""
    node, relay, proxy = setup
    node.call("FLUSHALL")
    with Load(proxy.address, clients=10, depth=8, rate=1000) as load:
        for cut in range(10):
            load.wait_acks(100)
            relay.cut_all(rst=cut % 2 == 0)
        load.wait_acks(200)
        load.stop()
        counts = tally(load.records)
        assert counts[ERROR] == counts[NOTRUN] == 0
        assert counts[INDOUBT] <= 10 * 80 and counts[ACKED] >= 1200
        assert check_ledger(load.records, stored_lists(node, 10)) == []
        check_open(load.opened, load.connections)


@pytest.mark.tls
def test_27_large_reply_cut(setup):
    """Nothing forwarded yet: sent again. Part of it forwarded: that client is closed, no other."""
    node, relay, proxy = setup
    body = os.urandom(5 * MIB).hex().encode()
    node.call("SET", "large", body)
    with proxy.connect() as client, proxy.connect() as other:
        other.ok("PING")
        relay.add(Rule("rst", DOWN, marker=b"$%d\r\n" % len(body), after=3))
        assert client.call("GET", "large") == body
        relay.add(Rule("rst", DOWN, marker=b"$%d\r\n" % len(body), after=5 * MIB))
        client.send(encode("GET", "large"))
        got = client.read_all()
        assert len(got) < len(body) and (b"$%d\r\n" % len(body) + body).startswith(got)
        assert other.ok("PING") == "PONG"
