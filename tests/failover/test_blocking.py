"""Blocked commands when their primary is held, moves, or is lost."""

import contextlib
import time

import pytest

from support.relay import DOWN, Rule
from support.resp import ServerError, encode
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

UNBLOCKED = ServerError("UNBLOCKED The primary was lost while the command was blocked; an element "
                        "may have been popped")
NOT_EXECUTED = ServerError("LOADING No primary available for 'mymaster'; the command was not "
                           "executed")
POPS = [("BLPOP", "list", 0), ("BRPOP", "other", "list", 0), ("BLMOVE", "list", "to", "LEFT", "LEFT", 0),
        ("BRPOPLPUSH", "list", "to", 0), ("BLMPOP", 0, 1, "list", "LEFT"), ("BZPOPMIN", "z", 0),
        ("BZPOPMAX", "z", 0), ("BZMPOP", 0, 2, "z", "z2", "MAX"),
        ("XREADGROUP", "GROUP", "g", "me", "BLOCK", 0, "STREAMS", "s", ">"),
        ("XREAD", "BLOCK", 0, "STREAMS", "s", "$")]


def blocked(node):
    return int(node.info("clients")["blocked_clients"])


def wait_blocked(node, count=1):
    wait_until(lambda: blocked(node) == count, 10, f"{count} blocked")


@contextlib.contextmanager
def a_stage(**settings):
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, **settings)
        for node in (stage.old, stage.new):
            node.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        yield stage


@pytest.fixture(name="stage")
def stage_fixture():
    with a_stage() as stage:
        yield stage


def connect(stage, protocol, timeout=20):
    client = stage.proxy.connect(timeout)
    if protocol == 3:
        client.call("HELLO", 3)
    return client


def feed(node, count):
    """Something for each of POPS that waits."""
    for number in range(count):
        node.call("RPUSH", "list", number)
        node.call("ZADD", "z", number, number)
        node.call("XADD", "s", "*", "n", number)


@pytest.mark.tls
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("ending", ["switch", "abort"])
def test_42_unblocked_by_the_hold(stage, ending, protocol):
    """The hold ends them all on the old primary, whatever comes there is nobody's; they block again
    where it goes on, and their clients have heard nothing."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(stage, protocol)) for _ in POPS]
        for client, pop in zip(clients, POPS):
            client.send(encode(*pop))
        wait_blocked(stage.old, len(POPS))
        stage.announce()
        wait_blocked(stage.old, 1)  # XREAD takes nothing, wherever it is
        if ending == "switch":
            stage.old.call("RPUSH", "list", "nobody's")
        getattr(stage, ending)()
        node = stage.new if ending == "switch" else stage.old
        wait_blocked(node, len(POPS))
        assert all(client.is_open() for client in clients), "somebody was answered"
        feed(node, len(POPS))
        replies = [client.read() for client in clients]
        assert not any(isinstance(r, ServerError) or r is None for r in replies), replies
        assert not stage.proxy.entries("blocking-in-doubt")
        if ending == "switch":
            assert stage.old.call("LLEN", "list") == 1


def pop_as_hold_begins(stage, client):
    """A BLPOP gets its element, which is still on its way when the hold begins."""
    client.send(encode("BLPOP", "list", 0))
    wait_blocked(stage.old)
    stage.relay.add(Rule("delay", DOWN, marker=b"*2\r\n$4\r\nlist", seconds=0.5))
    stage.old.call("RPUSH", "list", "x")
    stage.announce()


def test_42_what_was_popped_in_the_moment(stage):
    """CLIENT UNBLOCK proves nothing then, and the client is not told that it has what the new
    primary may still have."""
    with stage.proxy.connect(20) as client:
        pop_as_hold_begins(stage, client)
        assert client.read_for(1) == b"", "given although it may not count"
        stage.switch()
        assert client.read() is None
        assert stage.proxy.entries("blocking-in-doubt")


def test_42_popped_and_the_hold_is_aborted(stage):
    """The same, and nothing comes of the failover: the element is given."""
    with stage.proxy.connect(20) as client:
        pop_as_hold_begins(stage, client)
        assert client.read_for(1) == b""
        stage.abort()
        assert client.read() == [b"list", b"x"]


ANSWERS = {"nil": None, "error": UNBLOCKED, "resend": [b"list", b"later"]}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("how", ["crash", "refused"])
@pytest.mark.parametrize("setting", ANSWERS)
def test_42_without_a_proof(setting, how, protocol):
    """blocking-in-doubt says what becomes of it, where the primary is lost or CLIENT UNBLOCK may
    not be said."""
    with a_stage(**{"blocking-in-doubt": setting}) as stage, connect(stage, protocol) as client:
        if how == "refused":
            stage.old.call("ACL", "SETUSER", "default", "-client|unblock")
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        if how == "crash":
            stage.old.kill()
            wait_until(lambda: stage.proxy.entries("suspect-begin"), 10, "the loss to be noticed")
        else:
            stage.announce()
        stage.switch()
        if setting == "resend":
            wait_blocked(stage.new)
            stage.new.call("RPUSH", "list", "later")
        frame = client.read_frame()
        if setting == "nil":
            assert frame == (b"_\r\n" if protocol == 3 else b"*-1\r\n")
        elif setting == "error":
            assert frame == b"-%s\r\n" % UNBLOCKED.text.encode()
        else:
            assert frame == b"*2\r\n$4\r\nlist\r\n$5\r\nlater\r\n"
        (entry,) = stage.proxy.entries("blocking-in-doubt")
        assert entry["command"] == "blpop"
        assert client.ok("PING") == "PONG"


def test_42_client_id_refused(stage):
    """An ACL that does not tell the number of a connection costs the proof, not the connection."""
    stage.old.call("ACL", "SETUSER", "default", "-client|id")
    with stage.proxy.connect(20) as client:
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        stage.announce()
        stage.switch()
        assert client.read() is None


@pytest.mark.parametrize("setting", ANSWERS)
def test_42_demoted_by_hand(setting):
    """REPLICAOF: the server says that it has ended it, so that it took nothing, whatever the
    setting."""
    with a_stage(**{"blocking-in-doubt": setting}) as stage, stage.proxy.connect(20) as client:
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        stage.old.call("REPLICAOF", stage.new.host, stage.new.port)
        wait_blocked(stage.old, 0)
        stage.switch()
        wait_blocked(stage.new)
        stage.new.call("RPUSH", "list", "later")
        assert client.read() == [b"list", b"later"]
        assert not stage.proxy.entries("blocking-in-doubt")


class Monitor:
    """What a node is told, as MONITOR shows it."""

    def __init__(self, node):
        self.conn = node.connect()
        assert self.conn.ok("MONITOR") == "OK"

    def words(self, command):
        """The next request of that name."""
        while True:
            said = self.conn.read(timeout=20).split("] ", 1)[1]
            words = [word.strip('"') for word in said.split(" ")]
            if words[0].upper() == command:
                return words


TIMED = [("BLPOP", "q", "9"), ("BLMPOP", "9.5", "1", "q", "LEFT"), ("BRPOPLPUSH", "q", "r", "9"),
         ("XREAD", "COUNT", "1", "BLOCK", "9000", "STREAMS", "q", "$"),
         ("XREADGROUP", "GROUP", "BLOCK", "me", "BLOCK", "9000", "STREAMS", "s", ">")]


@pytest.mark.parametrize("request_", TIMED, ids=[words[0] for words in TIMED])
def test_42_the_time_that_is_left(stage, request_):
    """Sent again, and first sent after a wait, it has no more time than is left of it."""
    stage.new.call("XGROUP", "CREATE", "s", "BLOCK", "$")
    stage.old.call("XGROUP", "CREATE", "s", "BLOCK", "$")
    with stage.proxy.connect(20) as sent, stage.proxy.connect(20) as held:
        old, new = Monitor(stage.old), Monitor(stage.new)
        sent.send(encode(*request_))
        assert old.words(request_[0]) == list(request_), "first sent unchanged"
        wait_blocked(stage.old)
        stage.announce()
        held.send(encode(*request_))
        wait_until(lambda: blocked(stage.old) == (request_[0] == "XREAD"), 10, "the unblocking")
        time.sleep(0.3)
        stage.switch()
        for _ in (sent, held):
            words = new.words(request_[0])
            place = next(i for i, word in enumerate(request_) if word[0] == "9")
            left, whole = float(words.pop(place)), float(request_[place])
            assert words == [w for i, w in enumerate(request_) if i != place]
            assert whole / 9 < left <= whole - 0.3 * (1000 if whole > 1000 else 1)


@pytest.mark.parametrize("timeout", ["0", "never", "-1"])
def test_42_no_time_to_run_out(stage, timeout):
    """No end stays no end, and what is no time is the server's to refuse."""
    with stage.proxy.connect(20) as client, stage.proxy.connect(20) as other:
        other.ok("PING")
        stage.announce()
        client.send(encode("BLPOP", "q", timeout))
        assert client.read_for(0.3) == b""
        new = Monitor(stage.new)
        stage.switch()
        if timeout == "0":
            assert new.words("BLPOP") == ["BLPOP", "q", "0"]
        else:
            with stage.new.connect() as direct:
                assert client.read() == direct.call("BLPOP", "q", timeout)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("hold", ["300ms", "20s"])
def test_42_its_own_time_runs_out_while_it_waits(hold, protocol):
    """It is answered nil then, not earlier and not with an error; one with more time than
    hold-timeout hears that it was not executed."""
    short = "0.2" if hold == "300ms" else "1"
    with a_stage(**{"hold-timeout": hold}) as stage, contextlib.ExitStack() as stack:
        sent, held, wait, longer = (stack.enter_context(connect(stage, protocol))
                                    for _ in range(4))
        if hold == "20s":  # else it might be over before the hold begins
            began_first = time.monotonic()
            sent.send(encode("BLPOP", "q", short))
            wait_blocked(stage.old)
        stage.announce()
        began = time.monotonic()
        held.send(encode("BLPOP", "q", short) + encode("BRPOPLPUSH", "q", "r", short))
        wait.send(encode("WAIT", 1, int(float(short) * 1000)))
        longer.send(encode("BLPOP", "q", 100))
        nil = b"_\r\n" if protocol == 3 else b"*-1\r\n"
        if hold == "20s":
            assert sent.read_frame() == nil
            assert float(short) <= time.monotonic() - began_first + 0.002
        assert held.read_frame() == nil
        assert float(short) <= time.monotonic() - began + 0.002
        assert wait.read_frame() == b":0\r\n"
        if hold == "20s":
            assert held.read_frame() == nil, "the next one has its own time"
            assert 2 * float(short) <= time.monotonic() - began + 0.002
            assert longer.read_for(0.1) == b""
        else:
            assert longer.read() == NOT_EXECUTED
        assert not stage.proxy.entries("blocking-in-doubt")
        stage.abort()


def test_what_stands_behind_it_is_not_sent(stage):
    """Requests behind a blocked command wait here, so that they certainly did not run."""
    with stage.proxy.connect(20) as client:
        client.send(encode("BLPOP", "list", 0) + encode("INCR", "n") + encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        stage.old.pause()
        stage.switch()
        assert client.read() is None
        assert client.read() == 1
        wait_blocked(stage.new)
        stage.new.call("RPUSH", "list", "x")
        assert client.read() == [b"list", b"x"]
        stage.old.resume()  # now it does whatever lies in its sockets
        wait_blocked(stage.old, 0)
        assert stage.old.call("GET", "n") is None


@pytest.mark.parametrize("how", ["TIMEOUT", "ERROR"])
def test_client_unblock_of_another(stage, how):
    """By the number that CLIENT ID told: works as with Redis, and what it says is passed on."""
    with stage.proxy.connect(20) as client, stage.proxy.connect(20) as other:
        number = client.ok("CLIENT", "ID")
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        assert other.ok("CLIENT", "UNBLOCK", number, how) == 1
        assert client.read() == (None if how == "TIMEOUT" else ServerError(
            "UNBLOCKED client unblocked via CLIENT UNBLOCK"))
        assert other.ok("CLIENT", "UNBLOCK", number) == 0
        assert not stage.proxy.entries("blocking-in-doubt")


def test_a_transaction_does_not_block(stage):
    """Across a hold, too: its commands are queued, and their times are nobody's."""
    with stage.proxy.connect(20) as client:
        assert client.pipeline([("MULTI",), ("BLPOP", "q", "0.001"), ("EXEC",)])[2] == [None]
        stage.announce()
        client.send(encode("MULTI") + encode("BLPOP", "q", "0.001") + encode("RPUSH", "q", "x")
                    + encode("EXEC"))
        assert client.read_for(0.3) == b""
        stage.switch()
        assert [client.read() for _ in range(4)] == ["OK", "QUEUED", "QUEUED", [None, 1]]


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
def test_a_client_that_leaves_while_blocked(stage, how):
    """It takes nothing with it."""
    with stage.proxy.connect(20) as client:
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        getattr(client, how)()
        wait_blocked(stage.old, 0)
        stage.old.call("RPUSH", "list", "x")
        assert stage.old.call("LLEN", "list") == 1


@pytest.mark.tls
@pytest.mark.parametrize("protocol", [2, 3])
def test_drained_while_blocked(protocol):
    """SIGTERM: once its time is over the blocked hear nil from the server, and take nothing."""
    with a_stage(**{"proxy.drain-timeout": "300ms"}) as stage, \
            connect(stage, protocol) as popping, connect(stage, protocol) as reading:
        popping.send(encode("BLPOP", "list", 0))
        reading.send(encode("XREAD", "BLOCK", 0, "STREAMS", "s", "$"))
        wait_blocked(stage.old, 2)
        stage.proxy.stop()
        for client in (popping, reading):
            assert client.read_frame() == (b"_\r\n" if protocol == 3 else b"*-1\r\n")
            assert client.closed()
        assert not stage.proxy.entries("blocking-in-doubt")
        stage.old.call("RPUSH", "list", "x")
        assert stage.old.call("LLEN", "list") == 1


def test_drained_while_blocked_on_a_primary_that_hangs():
    """limit: DRAIN_UNBLOCK_MS. Nothing comes of CLIENT UNBLOCK: then it is in doubt."""
    with a_stage(**{"proxy.drain-timeout": "0"}) as stage, stage.proxy.connect(20) as client:
        client.send(encode("BLPOP", "list", 0))
        wait_blocked(stage.old)
        stage.old.pause()
        stage.proxy.stop()
        assert client.read() is None
        assert client.closed()
        assert stage.proxy.entries("blocking-in-doubt")
        stage.old.resume()
