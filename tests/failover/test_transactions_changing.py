"""Transactions that change what their connection is: what EXEC made of it goes along, and what it
may have made of it is not guessed."""

import contextlib

import pytest

from support.case import case_fixture, client_fixture
from support.proxy import is_sanitized
from support.relay import Rule
from support.resp import Pairs, Push, ServerError, encode, encode_all
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

IN_DOUBT = ServerError("INDOUBT The primary was lost after EXEC was sent; the transaction may or "
                       "may not have been, or may still be, executed")
FORGET_ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"
BOTH = pytest.mark.parametrize("resp", [2, 3])


@pytest.fixture(name="stage")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        yield Stage(stack)


def queue(client, *commands):
    assert client.pipeline([("MULTI",), *commands]) == ["OK"] + ["QUEUED"] * len(commands)


def confirmed(verb, name, count, resp):
    return b"%c3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:%d\r\n" % (
        b">" if resp == 3 else b"*", len(verb), verb, len(name), name, count)


def heard(client, said):
    """Next comes exactly this."""
    assert client.read_exactly(len(said)) == said


def restored(proxy):
    return len(proxy.entries("subscriptions-restored"))


def subscribed(node):
    """The connections that are."""
    return {c["id"] for c in node.connections() if int(c["sub"]) + int(c["psub"])}


def cut_and_restored(case):
    node, relay, _ = case
    before = subscribed(node)
    relay.cut_all()
    wait_until(lambda: subscribed(node) and not subscribed(node) & before, 10, "the subscriptions")


def listens(node, channel):
    return node.call("PUBSUB", "NUMSUB", channel)[1]


@BOTH
def test_44_subscribed_in_a_transaction(case, client, resp):
    """It is said again before EXEC; afterwards each name is confirmed once, and heard on."""
    node, relay, _ = case
    client.ok("HELLO", resp)
    queue(client, ("SUBSCRIBE", "a", "b"), ("INCR", "n"), ("PSUBSCRIBE", "p*"))
    relay.cut_all()
    assert client.ok("UNSUBSCRIBE", "a") == "QUEUED"
    relay.cut_all()
    client.send(encode("EXEC"))
    heard(client, b"*4\r\n" + confirmed(b"subscribe", b"a", 1, resp)
          + confirmed(b"subscribe", b"b", 2, resp) + b":1\r\n"
          + confirmed(b"psubscribe", b"p*", 3, resp) + confirmed(b"unsubscribe", b"a", 2, resp))
    for number in (b"1", b"2"):
        assert [listens(node, name) for name in "ab"] == [0, 1]
        assert node.call("PUBLISH", "b", number) == 1
        heard(client, b"%c3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$1\r\n%b\r\n"
              % (b">" if resp == 3 else b"*", number))
        assert node.call("PUBLISH", "p1", number) == 1
        assert client.read()[2:] == [b"p1", number]
        cut_and_restored(case)
    client.send(encode("PING") + encode("UNSUBSCRIBE"))
    heard(client, b"+PONG\r\n" if resp == 3 else b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    heard(client, confirmed(b"unsubscribe", b"b", 1, resp))
    client.send(encode_all([("PUNSUBSCRIBE",), ("GET", "n")]))
    heard(client, confirmed(b"punsubscribe", b"p*", 0, resp) + b"$1\r\n1\r\n")


def test_44_the_transaction_of_a_subscriber(case, client):
    """Its subscriptions are said again before the block is, and confirmed to nobody."""
    node, relay, _ = case
    client.ok("HELLO", 3)
    client.send(encode("SUBSCRIBE", "a", "b"))
    heard(client, confirmed(b"subscribe", b"a", 1, 3) + confirmed(b"subscribe", b"b", 2, 3))
    queue(client, ("INCR", "n"), ("SUBSCRIBE", "c"))
    relay.cut_all()
    client.send(encode("EXEC"))
    heard(client, b"*2\r\n:1\r\n" + confirmed(b"subscribe", b"c", 3, 3))
    assert [listens(node, name) for name in "abc"] == [1, 1, 1]


@BOTH
def test_44_on_the_new_primary(stage, resp):
    """The block waits through the hold; then what it asked for is had once more elsewhere."""
    with stage.proxy.connect(20) as client, stage.proxy.connect(20) as early:
        for one in (client, early):
            one.ok("HELLO", resp)
            queue(one, ("SUBSCRIBE", "a"), ("INCR", "n"))
        early.send(encode("EXEC"))
        heard(early, b"*2\r\n" + confirmed(b"subscribe", b"a", 1, resp) + b":1\r\n")
        stage.announce()
        client.send(encode("EXEC"))
        assert client.read_for(0.2) == b""
        stage.switch()
        heard(client, b"*2\r\n" + confirmed(b"subscribe", b"a", 1, resp) + b":1\r\n")
        wait_until(lambda: listens(stage.new, "a") == 2, 10, "both")
        assert stage.new.call("PUBLISH", "a", "x") == 2
        for one in (client, early):
            assert one.read() in ([b"message", b"a", b"x"], Push([b"message", b"a", b"x"]))
        assert not stage.proxy.entries("session-closed")


def test_44_resp_changes_in_a_subscribers_transaction(case, client):
    """Messages come as the server writes them from then on, here and there."""
    node, _, _ = case
    client.ok("HELLO", 3)
    client.call("SUBSCRIBE", "a")
    queue(client, ("SUBSCRIBE", "b"), ("PUBLISH", "a", "itself"), ("HELLO", "2"), ("INCR", "n"))
    client.send(encode("EXEC"))
    said = client.read_exactly(len(b"*4\r\n" + confirmed(b"subscribe", b"b", 2, 3)))
    assert said == b"*4\r\n" + confirmed(b"subscribe", b"b", 2, 3)
    assert client.read_frame() == b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nitself\r\n"
    assert client.read() == 1
    assert client.read_frame().startswith(b"*14\r\n")
    assert client.read() == 1
    for _ in range(2):
        assert node.call("PUBLISH", "b", "x") == 1
        assert client.read_frame() == b"*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$1\r\nx\r\n"
        assert client.call("PING") == [b"pong", b""]
        cut_and_restored(case)


@pytest.mark.parametrize("ending", [("EXEC",), ("DISCARD",), ("NOSUCH",)])
def test_44_not_subscribed(case, client, ending):
    """A transaction that did not run has subscribed to nothing, and its client shares again."""
    node, relay, _ = case
    client.ok("WATCH", "k")
    queue(client, ("SUBSCRIBE", "a"))
    if ending[0] == "EXEC":
        node.call("SET", "k", "by another")
    client.send(encode(*ending) + encode("EXEC"))
    client.read(), client.read()
    relay.cut_all()
    assert client.ok("GET", "n") is None
    assert listens(node, "a") == 0


@BOTH
def test_40_a_subscription_in_doubt_is_none(case, client, resp):
    """Of what EXEC did nobody knows, but nothing was confirmed: the client goes on with what it
    knows of, with and without subscriptions of before."""
    node, relay, _ = case
    client.ok("HELLO", resp)
    if resp == 3:
        client.call("SUBSCRIBE", "before")
    queue(client, ("SUBSCRIBE", "a"), ("UNSUBSCRIBE", "before"), ("CLIENT", "TRACKING", "ON"))
    exec_ = encode("EXEC")
    rule = relay.add(Rule("drop_reply", marker=exec_, after=len(exec_), reply=20))
    client.send(exec_)
    rule.wait()
    assert client.read() == IN_DOUBT
    assert client.ok("INCR", "n") == 1
    wait_until(lambda: listens(node, "a") == 0, 5, "the lost connection to end")
    assert listens(node, "before") == (1 if resp == 3 else 0)
    queue(client, ("SUBSCRIBE", "a"))
    client.send(exec_)
    heard(client, b"*1\r\n" + confirmed(b"subscribe", b"a", 2 if resp == 3 else 1, resp))


def test_46_tracking_switched_in_a_transaction(case, client):
    node, relay, _ = case
    assert isinstance(client.call("HELLO", 3), Pairs)
    queue(client, ("CLIENT", "TRACKING", "ON", "NOLOOP"), ("CLIENT", "TRACKING", "ON", "NOSUCH"),
          ("GET", "k"))
    relay.cut_all()
    replies = client.call("EXEC")
    assert replies[0] == "OK" and replies[1].code == "ERR" and replies[2] is None
    relay.cut_all()
    assert client.read_frame() == FORGET_ALL
    assert b"noloop" in dict(client.call("CLIENT", "TRACKINGINFO"))[b"flags"]
    assert client.call("GET", "k") is None
    node.call("SET", "k", "1")
    assert client.read() == Push([b"invalidate", [b"k"]])
    queue(client, ("CLIENT", "TRACKING", "OFF"))
    assert client.call("EXEC") == ["OK"]
    relay.cut_all()
    assert client.call("GET", "k") == b"1"
    node.call("SET", "k", "2")
    assert client.call("PING") == "PONG"


def test_no_evict_in_a_transaction(case, client):
    node, relay, _ = case
    client.ok("CLIENT", "SETNAME", "mine")
    queue(client, ("CLIENT", "NO-EVICT", "ON"), ("CLIENT", "NO-EVICT", "x"), ("INCR", "n"))
    assert client.call("EXEC")[::2] == ["OK", 1]
    for _ in range(2):
        assert client.ok("INCR", "n") > 1
        assert any("e" in c["flags"] for c in node.connections() if c["name"] == "mine")
        relay.cut_all()


@pytest.mark.parametrize("value", [1000, 200_000], ids=["whole", "in_pieces"])
def test_55_an_answer_of_any_size(case, client, value):
    """The database that EXEC chose in the middle of it, and what it subscribed to there."""
    node, relay, proxy = case
    node.call("SET", "large", "x" * value)
    client.ok("HELLO", 3)
    queue(client, ("GET", "large"), ("SELECT", "5"), ("SUBSCRIBE", "a", "b"), ("SET", "k", "five"),
          ("SELECT", "99"), ("SELECT", "0"), ("GET", "large"), ("SELECT", "5"), ("GET", "large"))
    client.send(encode("EXEC"))
    large = b"$%d\r\n%b\r\n" % (value, b"x" * value)
    heard(client, b"*9\r\n" + large + b"+OK\r\n" + confirmed(b"subscribe", b"a", 1, 3)
          + confirmed(b"subscribe", b"b", 2, 3) + b"+OK\r\n-ERR DB index is out of range\r\n"
          b"+OK\r\n" + large + b"+OK\r\n_\r\n")
    for _ in range(2):
        assert client.ok("GET", "k") == b"five"
        assert [listens(node, name) for name in "ab"] == [1, 1]
        cut_and_restored(case)
    assert not proxy.entries("session-closed")


def test_40_an_answer_that_is_cut(case, client):
    """Between the array and what stands behind it: more can't come, and the array was given only
    with it."""
    _, relay, _ = case
    queue(client, ("SUBSCRIBE", "a", "b"))
    exec_ = encode("EXEC")
    array = b"*1\r\n" + confirmed(b"subscribe", b"a", 1, 2)
    rule = relay.add(Rule("drop_reply", marker=exec_, after=len(exec_), reply=len(array)))
    client.send(exec_)
    rule.wait()
    assert client.read() == IN_DOUBT
    assert client.ok("PING") == "PONG"


def test_44_answers_cut_at_every_byte(case):
    """Wherever it is cut, it is in doubt as a whole."""
    node, relay, proxy = case
    exec_ = encode("EXEC")
    whole = b"*2\r\n" + b"".join(confirmed(b"subscribe", b"%d" % i, i, 2) for i in (1, 2)) + b"+OK"
    for length in range(1, len(whole), 7 if is_sanitized() else 1):
        with proxy.connect(20) as client:
            queue(client, ("SUBSCRIBE", "1", "2"), ("SET", "k", "v"))
            rule = relay.add(Rule("drop_reply", marker=exec_, after=len(exec_), reply=length))
            client.send(exec_)
            rule.wait()
            assert client.read() == IN_DOUBT
            assert client.ok("PING") == "PONG"
    wait_until(lambda: listens(node, "1") == 0, 5, "all to have left")


def test_47_what_a_monitoring_client_asks(stage):
    """Its answers stand among the lines; both go on."""
    with stage.proxy.connect(20) as client:
        client.ok("MONITOR")

        def told(*words):
            """The answer, and the line of these words, in any order, among lines of others."""
            line, answers = " ".join(f'"{word}"' for word in words), []
            seen = False
            while not (seen and answers):
                one = client.read()
                is_line = isinstance(one, str) and " [" in one
                seen = seen or is_line and one.endswith(line)
                answers += [] if is_line else [one]
            return answers

        for words, answer in ((("ECHO", "x"), b"x"), (("SELECT", "3"), "OK")):
            client.send(encode(*words))
            assert told(*words) == [answer]
        stage.announce()
        client.send(encode("ECHO", "held"))
        stage.switch()
        assert told("ECHO", "held") == [b"held"]
        client.send(encode("CLIENT", "INFO"))
        assert b" db=3 " in told("CLIENT", "INFO")[0]
        stage.new.call("SET", "k", "new")
        client.send(encode("PING"))
        assert told("PING") == ["PONG"]
        assert not stage.proxy.entries("session-closed")


def test_47_a_status_that_is_anything(stage):
    """A script may answer with what looks like a line."""
    with stage.proxy.connect(20) as client:
        client.ok("MONITOR")
        client.send(encode("EVAL", "return 1", 0))
        assert client.read().text == "ERR Replica can't interact with the keyspace"
        stage.switch()
        client.read_all()  # to the end; what the proxy asks meanwhile makes lines too
        assert stage.proxy.entries("session-closed")[0]["state"] == "eval"


def test_48_replies_on_in_a_transaction(case, client):
    """Nothing changes by it where all is heard."""
    _, relay, _ = case
    queue(client, ("CLIENT", "REPLY", "ON"), ("INCR", "n"))
    relay.cut_all()
    assert client.call("EXEC") == ["OK", 1]
    relay.cut_all()
    assert client.ok("INCR", "n") == 2


@pytest.mark.parametrize("mode", ["OFF", "SKIP"])
def test_48_replies_off_in_a_transaction(stage, mode):
    """Redis answers with an array that lacks elements, and no next connection could go on there."""
    with stage.proxy.connect(20) as client:
        queue(client, ("INCR", "n"))
        client.send(encode("CLIENT", "REPLY", mode) + encode("EXEC"))
        heard(client, b"+QUEUED\r\n*2\r\n:1\r\n")
        stage.switch()
        assert client.closed()
        assert stage.proxy.entries("session-closed")[0]["state"] == "client|reply"


def test_44_a_reader_that_lags_in_its_transaction(case, client):
    """What we ask for ourselves, to know that nothing was missed, is no part of it."""
    node, relay, _ = case
    message = b"x" * 200_000
    with case[2].connect(20, rcvbuf=65536) as slow:
        slow.ok("HELLO", 3)
        slow.call("SUBSCRIBE", "c")
        queue(slow, ("INCR", "n"))
        sent = [node.call("PUBLISH", "c", message) for _ in range(60)]
        assert sent == [1] * 60
        assert [slow.read() for _ in sent] == [Push([b"message", b"c", message])] * 60
        assert slow.call("EXEC") == [1]
        assert slow.call("PING") == "PONG"
        cut_and_restored(case)
        assert slow.call("GET", "n") == b"1"
    assert client.ok("PING") == "PONG"


@BOTH
def test_48_a_transaction_under_off(case, client, resp):
    """It goes on unheard; of EXEC's answer a client hears then only what is pushed."""
    node, relay, _ = case
    off, on = encode("CLIENT", "REPLY", "OFF"), encode("CLIENT", "REPLY", "ON")
    client.ok("HELLO", resp)
    client.send(off + encode_all([("MULTI",), ("INCR", "n"), ("SELECT", "3"), ("SUBSCRIBE", "a")]))
    wait_until(lambda: b" multi=3 " in node.call("CLIENT", "LIST"), 5, "the transaction")
    relay.cut_all()
    client.send(encode("EXEC"))
    heard(client, confirmed(b"subscribe", b"a", 1, resp))
    cut_and_restored(case)
    client.send(encode("UNSUBSCRIBE"))
    heard(client, confirmed(b"unsubscribe", b"a", 0, resp))
    client.send(on + encode("INCR", "n"))
    heard(client, b"+OK\r\n:1\r\n")
    assert node.call("GET", "n") == b"1"
    exec_ = encode("EXEC")
    rule = relay.add(Rule("drop_reply", marker=exec_, after=len(exec_), reply=20))
    client.send(off + encode_all([("MULTI",), ("SUBSCRIBE", "a"), ("INCR", "n"), ("EXEC",)]))
    rule.wait()
    client.send(on + encode("GET", "n"))
    heard(client, b"+OK\r\n$1\r\n2\r\n")
