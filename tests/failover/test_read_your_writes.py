"""Reads on replicas: a session never reads older than what it wrote or has read."""

import contextlib
import time

import pytest

from support.crowd import Crowd
from support.readers import OwnKey, scripts
from support.relay import UP, Rule
from support.replicas import Landed, ReplicaStage, moved_about
from support.resp import ServerError, encode, encode_all
from support.wait import wait_until

EVENTUAL = {"consistency": "eventual"}
IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")


@pytest.fixture(name="stages", scope="module")
def stages_fixture():
    """Without relays between the proxy and the nodes, and with them."""
    with contextlib.ExitStack() as stack:
        yield ReplicaStage(stack), ReplicaStage(stack, fronts=True)


@pytest.fixture(name="stage")
def stage_fixture(stages):
    stages[0].primary.call("FLUSHALL")
    return stages[0]


@pytest.fixture(name="fronted")
def fronted_fixture(stages):
    """The proxy reaches the nodes through relays."""
    stages[1].primary.call("FLUSHALL")
    return stages[1]


def pulses(stage, seconds):
    """One replica after the other stops for a moment, and wakes with reads and the stream of writes
    before it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for replica in stage.replicas:
            replica.node.pause()
            time.sleep(0.1)
            replica.node.resume()
            time.sleep(0.1)


def tell(talkers, landed, command="get"):
    stale = [s for t in talkers for s in t.stale]
    pairs = sum(t.pairs for t in talkers)
    print(f"{pairs} writes, {len(stale)} stale, read on {landed.of(command)}, oldest "
          f"{max((s[2] for s in stale), default=0)} s after the write")
    return pairs, stale


def write_and_read(stage, seconds, talkers):
    """(writes, stale reads); most reads must have been served by replicas that lag."""
    landed = Landed(stage.nodes)
    with Crowd(stage.proxy.address, scripts(talkers)) as crowd:
        if seconds:
            pulses(stage, seconds)
        else:
            crowd.wait_over(600)
        crowd.stop()
    pairs, stale = tell(talkers, landed)
    assert all(count > 200 for count in landed.of("get")[1:]), "replicas served too few reads"
    return pairs, stale


def lag(stage, *seconds):
    for replica, by in zip(stage.replicas, seconds):
        replica.line.lag(by)


def test_57_no_stale_read_of_ones_own(stage):
    with stage.through():
        lag(stage, 0.02, 0.15)
        pairs, stale = write_and_read(stage, 5, [OwnKey(i, quiet=0.3) for i in range(50)])
    assert pairs > 1000
    assert not stale, stale[:10]


def test_57_stale_without_the_rule(stage):
    """The same is able to fail."""
    with stage.through(EVENTUAL):
        lag(stage, 0.02, 0.15)
        _, stale = write_and_read(stage, 2, [OwnKey(i, quiet=0.3) for i in range(50)])
    assert len(stale) > 100


@pytest.mark.full
@pytest.mark.slow
def test_57_a_million(stage):
    with stage.through():
        lag(stage, 0.02, 0.15)
        pairs, stale = write_and_read(stage, 0, [OwnKey(i, quiet=0.1, rounds=4000)
                                                 for i in range(250)])
    assert pairs == 10**6
    assert not stale, stale[:10]


@pytest.mark.parametrize("settings, least, most", [
    pytest.param({}, 0, 0, id="session"),
    pytest.param(EVENTUAL, 20, 10**6, id="eventual", marks=pytest.mark.full)])
def test_57_one_replica_5_seconds_behind(stage, settings, least, most):
    """Within max-replica-lag, so it serves whom it does not lie to; seconds after a write it still
    would."""
    with stage.through({"max-replica-lag": "30s", **settings}):
        lag(stage, 0, 5)
        talkers = [OwnKey(i, quiet=4, ways=("plain", "script")) for i in range(60)]
        landed = Landed(stage.nodes)
        with Crowd(stage.proxy.address, scripts(talkers)) as crowd:
            crowd.run_for(4)
            before = landed.of("strlen")[2]
            for _ in range(20):  # of sessions that have written nothing
                stage.proxy.call("STRLEN", "k")
            assert landed.of("strlen")[2] > before, "the one that lags is fit"
            crowd.run_for(3)
            crowd.stop()
        _, stale = tell(talkers, landed)
    assert least <= len(stale) <= most, stale[:10]
    if least:
        assert max(s[2] for s in stale) > 2, "a window of two seconds would have done"


@pytest.mark.tls
def test_58_pipelined(stage):
    """Whatever comes before and behind it in the same write."""
    with stage.through():
        lag(stage, 0.1, 0.1)
        landed = Landed(stage.nodes)
        clients = [stage.proxy.connect() for _ in range(10)]
        until, number = time.monotonic() + 3, 0
        while time.monotonic() < until:
            for client, name in zip(clients, "abcdefghij"):
                key = f"p:{name}"
                old = b"%d" % number if number else None
                got = client.pipeline([("GET", key), ("SET", key, number + 1), ("GET", key),
                                       ("SET", key, number + 2), ("GET", key)])
                assert got == [old, "OK", b"%d" % (number + 1), "OK", b"%d" % (number + 2)]
            number += 2
            time.sleep(0.2)  # until the replicas have it
            for client, name in zip(clients, "abcdefghij"):
                assert client.call("GET", f"p:{name}") == b"%d" % number
        for client in clients:
            client.close()
        assert sum(landed.of("get")[1:]) > 20


@pytest.mark.tls
def test_58_a_write_waits_for_the_read_before_it(fronted):
    """The read takes its time on the way to a replica, which has the write long before it if that
    does not wait."""
    with fronted.through():
        for replica in fronted.replicas:
            for number in range(5):
                key = f"slow:{replica.node.port}:{number}"
                fronted.primary.call("SET", key, "old")
                fronted.replicated()
                with fronted.proxy.connect() as client:
                    for one in fronted.replicas:  # whichever of them it reads from
                        one.front.add(Rule("delay", UP, encode("GET", key), seconds=0.15))
                    assert client.pipeline([("GET", key), ("SET", key, "new")]) == [b"old", "OK"]
                for one in fronted.replicas:  # the other's is used up
                    with one.front_client() as direct:
                        direct.ok("GET", key)


def test_reads_never_go_back(fronted):
    """When a session is moved to another replica, that one has what the first had shown."""
    back, served = moved_while_one_lags(fronted, {})
    assert not back, back[:10]
    assert all(count > 100 for count in served), served


def test_reads_go_back_without_the_rule(fronted):
    """The same is able to fail."""
    back, _ = moved_while_one_lags(fronted, EVENTUAL)
    assert back


def moved_while_one_lags(stage, settings):
    stage.primary.call("SET", "clock", 0)
    with stage.through(settings):
        lag(stage, 0, 0.4)
        return moved_about(stage, stage.proxy.address)


def test_a_busy_reader_comes_back_to_a_replica(stage):
    """limit: CATCH_UP_INTERVAL_MS. It reads without a pause, and more often than replicas are
    asked; after a write it reads from the primary only as long as the replicas lack that."""
    with stage.through(), stage.proxy.connect() as client:
        for number in range(2):
            client.ok("SET", "busy", number)
            landed = Landed(stage.nodes)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                assert client.ok("GET", "busy") == b"%d" % number
            primary, *others = landed.of("get")
            print(f"primary {primary}, replicas {others}")
            assert sum(others) > primary


def test_what_a_session_has_in_doubt_is_its_write(fronted):
    """The answer to it is lost, but it ran: that is what the session reads, not what was before."""
    with fronted.through():
        lag(fronted, 0.3, 0.3)
        for number in range(3):
            key = f"doubt:{number}"
            fronted.primary.call("SET", key, "old")
            wait_until(lambda key=key: all(r.node.call("GET", key) == b"old"
                                           for r in fronted.replicas), 5, "the old value")
            with fronted.proxy.connect() as client:
                assert client.ok("GET", key) == b"old"
                rule = fronted.front.add(Rule("drop_reply", UP, encode("SET", key, "new")))
                assert client.call("SET", key, "new") == IN_DOUBT
                rule.wait()
                assert client.ok("GET", key) == b"new"


WRITES = [
    [("MULTI",), ("SET", "k", "new"), ("EXEC",)],
    [("WATCH", "k"), ("MULTI",), ("GET", "k"), ("SET", "k", "new"), ("EXEC",)],
    [("EVAL", "redis.call('SET', KEYS[1], 'new') return 1", 1, "k")],
    [("GETSET", "k", "new")],
    [("MULTI",), ("SET", "k", "x"), ("DISCARD",), ("SELECT", 0), ("SET", "k", "new")],
    [("GETEX", "k", "PERSIST"), ("SET", "k", "new", "EX", 100)],
    [("CLIENT", "TRACKING", "ON"), ("CLIENT", "TRACKING", "OFF"), ("SET", "k", "new")],
    [("SET", "k", "n" * 100_000), ("SET", "k", "new")],
    [("CLIENT", "REPLY", "SKIP"), ("SET", "k", "new")],
    [("RPUSH", "list", "new"), ("BLPOP", "list", 0), ("RENAME", "k", "k2"), ("SET", "k", "new")],
    [("SET", "from", "new"), ("COPY", "from", "k", "REPLACE")],
]


@pytest.mark.parametrize("resp", [2, 3])
def test_whatever_writes(stage, resp):
    with stage.through() as proxy:
        for write in WRITES:
            lag(stage, 0, 0)
            stage.primary.call("SET", "k", "old")
            stage.replicated()
            lag(stage, 0.2, 0.2)
            with proxy.connect() as client, proxy.connect() as other:
                client.ok("HELLO", resp)
                assert client.ok("GET", "k") == b"old"
                client.send(encode_all(write))
                muted = write[0][-1] == "SKIP"
                replies = [client.read() for _ in (() if muted else write)]
                assert not [r for r in replies if isinstance(r, ServerError)], (write, replies)
                assert client.ok("GET", "k") == b"new", write
                assert other.ok("GET", "k") == b"old", "the replicas do not lag"


@pytest.mark.parametrize("policy", ["prefer-replica", "primary"])
def test_what_was_written_while_reads_were_for_the_primary(stage, policy):
    """A session that changes its mind has still written what it has."""
    with stage.through({"read-policy": policy}, fit=None if policy != "primary" else ()) as proxy:
        lag(stage, 0.2, 0.2)
        with proxy.connect() as keeps:  # asks for replicas all the time
            keeps.ok("READONLY")
            landed = Landed(stage.nodes)
            wait_until(lambda: keeps.ok("GET", "nothing") is None and sum(landed.of("get")[1:]) > 0, 10,
                       "reads on replicas")
            for number in range(5):
                for words in ("READWRITE", "RESET"):
                    with proxy.connect() as client:
                        client.ok(words)
                        client.ok("SET", "mind", number)
                        client.ok("RESET" if words == "READWRITE" else "READONLY")
                        assert client.ok("GET", "mind") == b"%d" % number
                        client.ok("READONLY")
                        assert client.ok("GET", "mind") == b"%d" % number
                        client.ok("DEL", "mind")
        lag(stage, 0, 0)


@pytest.mark.parametrize("resp", [2, 3])
def test_a_blocked_pop_is_a_write(stage, resp):
    with stage.through():
        stage.primary.call("DEL", "q")
        stage.replicated()
        with stage.proxy.connect() as client, stage.primary.connect() as direct:
            client.ok("HELLO", resp)
            client.send(encode("BLPOP", "q", 0))
            wait_until(lambda: stage.primary.info("clients")["blocked_clients"] == "1", 5,
                       "it blocks")
            lag(stage, 0.2, 0.2)
            direct.pipeline([("RPUSH", "q", "a", "b")])
            assert client.read() == [b"q", b"a"]
            assert client.ok("LRANGE", "q", 0, -1) == [b"b"]
