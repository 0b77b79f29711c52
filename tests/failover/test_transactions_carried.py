"""A transaction whose connection is lost before its EXEC: said again on the next one, to the same
answers, or ended with the words for it."""

import pytest

from support.case import case_fixture, client_fixture, relayed, two_primaries
from support.proxy import is_sanitized
from support.relay import Rule
from support.resp import ServerError, encode, encode_all
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

ABORTED = ServerError("EXECABORT Transaction discarded because the primary changed before EXEC")
SPOILT = ServerError("EXECABORT Transaction discarded because of previous errors.")
IN_DOUBT = ServerError("INDOUBT The primary was lost after EXEC was sent; the transaction may or "
                       "may not have been, or may still be, executed")
KIB = 1 << 10


def cut(case):
    """The link is lost, not the primary."""
    case[1].cut_all()


def calls(node, command):
    """How often the node was asked for it."""
    stats = node.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(stats.split(",")[0].split("=")[1])


def queue(client, *commands):
    assert client.pipeline([("MULTI",), *commands]) == ["OK"] + ["QUEUED"] * len(commands)


def test_38_runs_once_on_the_next_link(case, client):
    """All that was said before is said again, whatever it was; it runs once, in its order."""
    node = case[0]
    queue(client, ("RPUSH", "l", "a"), ("RPUSH", "l", b"\r\n\0" * 100))
    client.send(b"RPUSH l 'c d'\r\n")
    assert client.read() == "QUEUED"
    for word in "efg":
        cut(case)
        assert client.ok("RPUSH", "l", word) == "QUEUED"
    cut(case)
    assert client.pipeline([("EXEC",), ("GET", "none")]) == [[1, 2, 3, 4, 5, 6], None]
    assert node.call("LRANGE", "l", 0, -1) == [b"a", b"\r\n\0" * 100, b"c d", b"e", b"f", b"g"]
    queue(client)
    cut(case)
    assert client.call("MULTI") == ServerError("ERR MULTI calls can not be nested")
    cut(case)
    assert client.ok("DISCARD") == "OK"
    assert client.call("EXEC") == ServerError("ERR EXEC without MULTI")


def test_38_a_link_is_had_without_being_asked(case, client):
    """The client is silent: what it has queued waits for it on a new link."""
    node = case[0]
    queue(client, ("INCR", "n"), ("INCR", "n"))
    cut(case)
    wait_until(lambda: b" multi=2 " in node.call("CLIENT", "LIST"), 5, "the transaction")
    assert client.call("EXEC") == [1, 2]


def test_38_what_was_in_flight(case, client):
    """Sent and not answered, of a transaction that goes on: answered by the next link."""
    _, relay, _ = case
    queue(client, ("INCR", "n"))
    request = encode("INCR", "inflight")
    rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
    assert client.pipeline([("INCR", "inflight"), ("INCR", "n"), ("EXEC",)]) in (
        # EXEC was sent as well, or not yet.
        ["QUEUED", "QUEUED", IN_DOUBT], ["QUEUED", "QUEUED", [1, 1, 2]])
    rule.wait()
    queue(client, ("INCR", "m"))
    request = encode("INCR", "again")
    rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
    assert client.ok("INCR", "again") == "QUEUED"
    rule.wait()
    assert client.call("EXEC") == [1, 1]


def test_38_refused_when_queued(case, client):
    """Redis's own refusals come again by themselves."""
    queue(client, ("INCR", "n"))
    assert client.call("NOSUCH", "x").text.startswith("ERR unknown command 'NOSUCH'")
    assert client.call("INCR").code == "ERR"
    cut(case)
    assert client.ok("INCR", "n") == "QUEUED"
    assert client.call("EXEC") == SPOILT
    assert client.call("GET", "n") is None


@pytest.mark.parametrize("ending", ["EXEC", "DISCARD"])
def test_38_another_answer(case, client, ending):
    """What was queued before is refused now: nothing of it may run."""
    node, _, proxy = case
    aborted = len(proxy.entries("transaction-aborted"))
    queue(client, ("SET", "k", "v"), ("INCR", "n"), ("SET", "j", "v"))
    node.call("ACL", "SETUSER", "default", "-incr")
    try:
        cut(case)
        wait_until(lambda: len(proxy.entries("transaction-aborted")) > aborted, 5, "the difference")
        assert client.pipeline([("SET", "i", "v"), ("MULTI",), ("WATCH", "k")]) == [
            "QUEUED", ServerError("ERR MULTI calls can not be nested"),
            ServerError("ERR WATCH inside MULTI is not allowed")]
        assert client.call(ending) == (ABORTED if ending == "EXEC" else "OK")
    finally:
        node.call("ACL", "SETUSER", "default", "+incr")
    assert client.ok("MGET", "i", "j", "k", "n") == [None] * 4
    queue(client, ("INCR", "n"))
    assert client.call("EXEC") == [1]


def test_38_multi_itself_is_refused(case, client):
    """What was queued behind it must not come to a node that would run it at once."""
    node, _, proxy = case
    aborted = len(proxy.entries("transaction-aborted"))
    queue(client, ("SET", "k", "v"), ("INCR", "n"))
    node.call("CONFIG", "RESETSTAT")
    node.call("ACL", "SETUSER", "default", "-multi")
    try:
        cut(case)
        wait_until(lambda: len(proxy.entries("transaction-aborted")) > aborted, 5, "the difference")
        assert client.call("EXEC") == ABORTED
    finally:
        node.call("ACL", "SETUSER", "default", "+multi")
    assert (calls(node, "set"), calls(node, "incr")) == (0, 0)
    assert client.ok("MGET", "k", "n") == [None, None]


@pytest.mark.parametrize("differs", [False, True], ids=["same", "other"])
def test_38_of_a_subscriber(case, client, differs):
    """RESP3: its subscriptions are had again outside of the transaction, whatever becomes of it."""
    node, _, proxy = case
    client.ok("HELLO", "3")
    assert client.call("SUBSCRIBE", "ch")[:2] == [b"subscribe", b"ch"]
    queue(client, ("INCR", "n"))
    if differs:
        node.call("ACL", "SETUSER", "default", "-incr")
    try:
        aborted = len(proxy.entries("transaction-aborted"))
        cut(case)
        if differs:
            wait_until(lambda: len(proxy.entries("transaction-aborted")) > aborted, 5, "the end")
        wait_until(lambda: node.call("PUBSUB", "NUMSUB", "ch") == [b"ch", 1], 5, "the subscription")
    finally:
        node.call("ACL", "SETUSER", "default", "+incr")
    assert node.call("PUBLISH", "ch", "one") == 1
    assert client.read() == [b"message", b"ch", b"one"]
    assert client.call("EXEC") == (ABORTED if differs else [1])
    assert node.call("PUBLISH", "ch", "two") == 1
    assert client.read() == [b"message", b"ch", b"two"]


@pytest.mark.parametrize("size,frames,goes_on", [
    (200 * KIB, 5, True),        # each in pieces, as it comes
    (200 * KIB, 6, False),
    (8 * KIB, 120, True),
    (8 * KIB, 130, False),
    (1100 * KIB, 1, False),      # past retain-max too
])
def test_38_size(case, client, size, frames, goes_on):
    """Up to 1 MiB of it is kept; more is given up when the link is, and not before."""
    value = b"v" * size
    block = [("SET", f"k{i}", value) for i in range(frames)]
    for lost in (False, True):
        queue(client, *block)
        if lost:
            cut(case)
        assert client.call("EXEC") == (["OK"] * frames if goes_on or not lost else ABORTED)
    assert client.ok("PING") == "PONG"


@pytest.mark.skipif(is_sanitized(), reason="sanitizers hold freed memory back")
def test_memory_of_what_is_kept_is_given_back(case, client):
    """When it ends, and at once when it is too much."""
    _, _, proxy = case
    with_none = proxy.rss()
    for ending in ("EXEC", "DISCARD", "RESET"):
        clients = [proxy.connect() for _ in range(20)]
        for other in clients:
            queue(other, *[("SET", "k", b"v" * 50 * KIB)] * 18)
        assert proxy.rss() - with_none < 64 << 20
        for other in clients:
            other.ok(ending)
            other.close()
    assert proxy.rss() - with_none < 16 << 20
    queue(client, *[("SET", "k", b"v" * 50 * KIB)] * 400)
    assert proxy.rss() - with_none < 16 << 20


@pytest.mark.parametrize("resp,nil", [(2, b"*-1\r\n"), (3, b"_\r\n")], ids=["resp2", "resp3"])
def test_39_watch_is_lost(case, client, resp, nil):
    """What was read under it came from the link before: EXEC does nothing, as if a watched key had
    changed, whenever the link was lost."""
    def run(*steps):
        client.ok("HELLO", resp)
        for step in steps:
            if step == "cut":
                cut(case)
            else:
                client.send(encode(*step.split()))
                client.read_frame()
        client.send(encode("EXEC"))
        return client.read_frame()

    assert run("WATCH n", "cut", "MULTI", "INCR n") == nil
    assert run("WATCH n", "MULTI", "cut", "INCR n") == nil
    assert run("WATCH n", "MULTI", "INCR n", "cut") == nil
    assert run("WATCH n", "cut", "WATCH n", "MULTI", "INCR n") == nil
    assert run("WATCH n", "cut", "GET n", "MULTI", "cut", "INCR n", "NOSUCH") == nil
    without = b"-ERR EXEC without MULTI\r\n"
    assert run("WATCH n", "cut", "MULTI", "INCR n", "DISCARD") == without
    # Without what was lost it runs.
    assert run("MULTI", "GET n") == b"*1\r\n" + (b"$-1\r\n" if resp == 2 else b"_\r\n")
    assert run("WATCH n", "cut", "UNWATCH", "MULTI", "INCR n") == b"*1\r\n:1\r\n"
    assert run("WATCH n", "MULTI", "cut", "DISCARD", "MULTI", "INCR n") == b"*1\r\n:2\r\n"
    assert run("WATCH n", "cut", "MULTI", "EXEC", "MULTI", "INCR n") == b"*1\r\n:3\r\n"


@pytest.mark.parametrize("ending", ["EXEC", "DISCARD"])
def test_39_watch_said_again_behind_a_lost_one(case, client, ending):
    """It ends with the transaction, here as there."""
    node = case[0]
    client.ok("WATCH", "k")
    cut(case)
    client.ok("WATCH", "k")
    queue(client, ("INCR", "n"))
    assert client.call(ending) == (None if ending == "EXEC" else "OK")
    node.call("SET", "k", "by another")
    queue(client, ("INCR", "n"))
    assert client.call("EXEC") == [1]


def test_39_unwatch_and_discard_while_there_is_no_primary():
    """They wait like any other, and end what was lost."""
    with relayed() as (_, relay, proxy), proxy.connect(20) as watching, \
            proxy.connect(20) as discarding:
        watching.ok("WATCH", "n")
        discarding.ok("WATCH", "n")
        queue(discarding, ("INCR", "n"))
        relay.refuse()
        relay.cut_all()
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        watching.send(encode_all([("UNWATCH",), ("MULTI",), ("INCR", "n"), ("EXEC",)]))
        assert discarding.ok("DISCARD") == "OK"
        relay.refuse(False)
        assert [watching.read() for _ in range(4)] == ["OK", "OK", "QUEUED", [1]]
        queue(discarding, ("INCR", "n"))
        assert discarding.call("EXEC") == [2]


@pytest.mark.parametrize("ending,answer", [("EXEC", IN_DOUBT), ("DISCARD", "OK")])
def test_40_the_answer_is_lost(case, client, ending, answer):
    """EXEC was executed, as the server knows: said once to be in doubt, never sent again; what was
    behind it goes on outside of MULTI."""
    node, relay, _ = case
    before = calls(node, ending.lower())
    queue(client, ("INCR", "n"))
    block = encode_all([("INCR", "n"), ("INCR", "n"), (ending,)])
    rule = relay.add(Rule("drop_reply", marker=block, after=len(block), reply=20))
    client.send(block)
    assert [client.read() for _ in range(3)] == ["QUEUED", "QUEUED", answer]
    rule.wait()
    assert client.ok("GET", "n") == (b"3" if ending == "EXEC" else None)
    assert calls(node, ending.lower()) == before + 1
    assert client.call("EXEC") == ServerError("ERR EXEC without MULTI")


@pytest.mark.parametrize("cut_at", [1, 7, 13])
def test_40_exec_does_not_arrive(case, client, cut_at):
    """It has not run, but who sent all of it can't know."""
    node, relay, _ = case
    queue(client, ("INCR", "n"))
    block = encode("INCR", f"last{cut_at}") + encode("EXEC")
    rule = relay.add(Rule("rst", marker=block,
                          after=len(block) - len(encode("EXEC")) + cut_at))
    client.send(block)
    assert [client.read() for _ in range(2)] == ["QUEUED", IN_DOUBT]
    rule.wait()
    assert node.call("GET", "n") is None
    assert client.call("EXEC") == ServerError("ERR EXEC without MULTI")


def test_55_the_profile_that_exec_made(case, client):
    """AUTH, HELLO, SELECT and CLIENT SETNAME take effect at EXEC, each as its own answer says, and
    are carried from then on."""
    node = case[0]
    node.call("ACL", "SETUSER", "alice", "on", ">secret", "~*", "&*", "+@all")
    queue(client, ("SELECT", "5"), ("SET", "k", "five"), ("SELECT", "99"),
          ("CLIENT", "SETNAME", "inside"), ("GET", "k"))
    cut(case)
    replies = client.call("EXEC")
    assert replies[:2] == ["OK", "OK"] and replies[2].code == "ERR"
    assert replies[3:] == ["OK", b"five"]
    for _ in range(2):
        assert client.ok("GET", "k") == b"five"
        assert client.ok("CLIENT", "GETNAME") == b"inside"
        assert client.ok("ACL", "WHOAMI") == b"default"
        cut(case)
    queue(client, ("AUTH", "alice", "secret"), ("AUTH", "alice", "wrong"), ("SELECT", "3"),
          ("HELLO", "3", "SETNAME", "three"), ("HGETALL", "none"))
    assert client.call("EXEC")[1].code == "WRONGPASS"
    for _ in range(2):
        client.send(encode("HGETALL", "none"))
        assert client.read_frame() == b"%0\r\n"
        assert client.ok("ACL", "WHOAMI") == b"alice"
        assert client.ok("CLIENT", "GETNAME") == b"three"
        assert client.ok("GET", "k") is None
        cut(case)
    queue(client, ("SELECT", "5"))
    block = encode_all([("DISCARD",), ("MULTI",), ("PING",), ("EXEC",)])
    rule = case[1].add(Rule("drop_reply", marker=block[:20], after=20))
    client.send(block)
    rule.wait()
    assert [client.read() for _ in range(4)] in (
        ["OK", "OK", "QUEUED", IN_DOUBT], ["OK", "OK", "QUEUED", ["PONG"]])
    assert client.ok("GET", "k") is None
    assert client.ok("RESET") == "RESET"
    assert client.ok("SELECT", "5") == "OK"
    assert client.ok("GET", "k") == b"five"


def test_55_a_profile_in_doubt_is_not_guessed(case, client):
    """Nobody can know which database the session would be in."""
    _, relay, proxy = case
    queue(client, ("SELECT", "5"))
    exec_ = encode("EXEC")
    rule = relay.add(Rule("drop_reply", marker=exec_, after=len(exec_)))
    client.send(exec_)
    rule.wait()
    assert client.read() == IN_DOUBT
    assert client.closed(5)
    assert "in doubt" in proxy.entries("session-closed")[-1]["state"]


def test_waits_behind_a_refusal(case, client):
    """A write that is refused when it is queued, or at EXEC, has not run, nor has its transaction:
    it waits until the primary takes writes."""
    node = case[0]
    with case[2].connect(20) as late, case[2].connect(20) as whole, case[2].connect(20) as watching:
        queue(client, ("INCR", "n"))
        queue(late, ("INCR", "m"))
        watching.ok("WATCH", "n")
        queue(watching, ("INCR", "w"))
        node.call("CONFIG", "SET", "min-replicas-to-write", 1)
        refused = node.info("stats")["total_error_replies"]
        client.send(encode("INCR", "n"))
        late.send(encode("EXEC"))
        whole.send(encode_all([("SET", "x", "1"), ("MULTI",), ("INCR", "x"), ("INCR", "x"),
                               ("EXEC",), ("GET", "x")]))
        # What it watched is not known behind another link.
        assert watching.pipeline([("INCR", "w"), ("EXEC",)]) == ["QUEUED", None]
        wait_until(lambda: int(node.info("stats")["total_error_replies"]) > int(refused) + 8, 5,
                   "refusals")
        assert client.is_open() and late.is_open() and whole.is_open()
        node.call("CONFIG", "SET", "min-replicas-to-write", 0)
        assert client.read() == "QUEUED"
        assert client.call("EXEC") == [1, 2]
        assert late.read() == [1]
        assert [whole.read() for _ in range(6)] == ["OK", "OK", "QUEUED", "QUEUED", [2, 3], b"3"]
    assert node.call("MGET", "n", "m", "x", "w") == [b"2", b"1", b"3", None]


def test_what_ran_behind_a_refusal(case, client):
    """Something behind the transaction was executed: all is answered as the server did."""
    node = case[0]
    node.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        replies = client.pipeline([("MULTI",), ("GET", "n"), ("INCR", "n"), ("EXEC",),
                                   ("PUBLISH", "none", "x"), ("MULTI",), ("GET", "n"), ("EXEC",)])
    finally:
        node.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert replies[:2] == ["OK", "QUEUED"] and replies[2].code == "NOREPLICAS"
    assert replies[3:] == [SPOILT, 0, "OK", "QUEUED", [None]]
    queue(client, ("PING",))
    assert client.call("EXEC") == ["PONG"]


def test_41_demotion_by_hand():
    """REPLICAOF in the middle of a transaction: it goes on when the node is a primary again, or at
    the one that is."""
    with two_primaries() as ((old, new), sentinel, proxy), proxy.connect(20) as client, \
            proxy.connect(20) as late:
        queue(client, ("INCR", "n"))
        queue(late, ("INCR", "m"))
        old.call("REPLICAOF", *new.address)
        client.send(encode("INCR", "n"))
        late.send(encode("EXEC"))
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        # Behind it nothing is sent. An EXEC that was has been executed by the next PING, and is
        # taken back with its connection.
        old.call("PING")
        wait_until(lambda: b" cmd=exec" not in old.call("CLIENT", "LIST"), 5, "the refusal")
        sentinel.switch(new.address, 2)
        assert client.read() == "QUEUED"
        assert client.call("EXEC") == [1, 2]
        assert late.read() == [1]
        assert new.call("MGET", "n", "m") == [b"2", b"1"]


def test_silence_has_no_deadline():
    """Only what waits does: a client that thinks longer than the hold-timeout goes on."""
    with relayed({"hold-timeout": "500ms"}) as (_, relay, proxy), proxy.connect(20) as client, \
            proxy.connect(20) as asking:
        queue(client, ("INCR", "n"))
        queue(asking, ("INCR", "n"))
        relay.refuse()
        relay.cut_all()
        assert asking.call("EXEC") == ABORTED
        asking.send(encode("GET", "n"))
        assert asking.read().code == "LOADING"
        relay.refuse(False)
        assert client.call("EXEC") == [1]
        assert asking.call("GET", "n") == b"1"
