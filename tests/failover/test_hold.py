"""What a hold does, step by step, with a Sentinel that speaks on cue and two real nodes."""

import contextlib
import time

import pytest

from support import tls
from support.relay import DOWN, Rule
from support.resp import ServerError, encode
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")


@pytest.fixture(name="stage")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        yield Stage(stack)


@pytest.mark.parametrize("event", ["+try-failover", "+elected-leader", "+selected-slave",
                                   "+failover-state-select-slave",
                                   "+failover-state-send-slaveof-noone"])
def test_nothing_is_sent_while_it_lasts(stage, event):
    """Reads neither; then all of it goes to the new primary."""
    with stage.proxy.connect(20) as client:
        client.ok("SET", "k", "old")
        stage.announce(event)
        client.send(encode("INCR", "n") * 3 + encode("GET", "k"))
        assert client.read_for(0.3) == b""
        assert stage.old.call("GET", "n") is None
        stage.switch()
        assert [client.read() for _ in range(4)] == [1, 2, 3, None]
        assert stage.old.call("GET", "n") is None
        assert stage.new.call("GET", "n") == b"3"


def test_a_hold_seen_by_asking_only(stage):
    """No event came through, but the answer of a Sentinel shows the failover."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.sentinel.flags = "master,failover_in_progress"
        wait_until(lambda: stage.proxy.entries("hold-begin"), 5, "the hold")
        client.send(encode("INCR", "n"))
        assert client.read_for(0.2) == b""
        stage.switch()
        assert client.read() == 1
        assert stage.new.call("GET", "n") == b"1"


def test_aborted(stage):
    """It goes on with the old primary, at once."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.announce()
        client.send(encode("INCR", "n"))
        assert client.read_for(0.2) == b""
        began = time.monotonic()
        stage.abort()
        assert client.read() == 1
        assert time.monotonic() - began < 1
        assert stage.old.call("GET", "n") == b"1"


def test_it_ends_by_itself(stage):
    """No abort is heard, but no Sentinel shows a failover any more."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.announce()
        stage.sentinel.flags = "master"
        began = time.monotonic()
        assert client.ok("INCR", "n") == 1
        assert 0.5 < time.monotonic() - began < 5


@pytest.mark.tls
@pytest.mark.parametrize("ending", ["switch", "abort"])
def test_a_late_answer_to_a_write(stage, ending):
    """Later than hold-grace it is kept until it is known whether it counts."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        request = encode("INCR", "late")
        stage.relay.add(Rule("delay", DOWN, marker=b":1\r\n", seconds=1.0))
        client.send(request)
        wait_until(lambda: stage.old.call("GET", "late") == b"1", 5, "its execution")
        stage.announce()
        assert client.read_for(1.4) == b"", "given although it may not count"
        getattr(stage, ending)()
        assert client.read() == (IN_DOUBT if ending == "switch" else 1)
        value = client.ok("GET", "late")
        assert value == (None if ending == "switch" else b"1")


def test_an_answer_in_time_to_a_write():
    """Within hold-grace, as for all that was on its way when the failover began: given."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, **{"hold-grace": "3s"})
        with stage.proxy.connect(20) as client:
            client.ok("PING")
            stage.relay.add(Rule("delay", DOWN, marker=b":1\r\n", seconds=0.4))
            client.send(encode("INCR", "soon"))
            wait_until(lambda: stage.old.call("GET", "soon") == b"1", 5, "its execution")
            stage.announce()
            assert client.read(timeout=2) == 1


def test_a_late_answer_to_a_read(stage):
    """A read changes nothing: its answer is given, or it is asked again."""
    stage.old.call("SET", "k", "old-value")
    stage.new.call("SET", "k", "new-value")
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.relay.add(Rule("delay", DOWN, marker=b"old-value", seconds=0.4))
        client.send(encode("GET", "k"))
        stage.announce()
        assert client.read_for(0.1) == b""
        stage.switch()
        assert client.read() in (b"old-value", b"new-value")
        assert client.ok("GET", "k") == b"new-value"


def test_answers_of_the_old_primary_behind_the_switch(stage):
    """They are thrown away, whatever they are, and its links are closed."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.relay.add(Rule("delay", DOWN, marker=b":1\r\n", seconds=1.0))
        client.send(encode("INCR", "n") * 5)
        wait_until(lambda: stage.old.call("GET", "n") == b"5", 5, "their execution")
        stage.announce()
        stage.switch()
        assert [client.read() for _ in range(5)] == [IN_DOUBT] * 5
        assert client.ok("INCR", "n") == 1
        assert client.read_for(1.3) == b""
        wait_until(lambda: stage.relay.connections() <= 2, 5, "links to the old primary closed")


@pytest.mark.tls
def test_two_switches_in_a_row(stage):
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.announce()
        client.send(encode("INCR", "n") * 3)
        stage.sentinel.flags = "master"
        stage.sentinel.switch(stage.new.address, 2)
        stage.sentinel.switch(stage.relay.address, 3)
        values = [client.read() for _ in range(3)]
        assert values == [1, 2, 3] or IN_DOUBT in values
        more = client.call("INCR", "n")  # the second switch may come only now
        assert more == IN_DOUBT or more > 0
        wait_until(lambda: client.ok("CONFIG", "GET", tls.port_key())[1] == b"%d" % stage.old.port, 5,
                   "the last one named")


def test_never_back_to_a_lower_epoch(stage):
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.switch()
        wait_until(lambda: client.ok("CONFIG", "GET", tls.port_key())[1] == b"%d" % stage.new.port, 5,
                   "the switch")
        stage.sentinel.switch(stage.relay.address, 1)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert client.ok("CONFIG", "GET", tls.port_key())[1] == b"%d" % stage.new.port
            time.sleep(0.02)


def test_a_candidate_that_is_no_master_is_waited_for(stage):
    """Named, but it says that it is a replica: nothing goes there."""
    stage.new.call("REPLICAOF", "127.0.0.1", 1)
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.announce()
        stage.switch()
        client.send(encode("INCR", "n"))
        assert client.read_for(0.5) == b""
        stage.new.call("REPLICAOF", "NO", "ONE")
        began = time.monotonic()
        assert client.read() == 1
        assert time.monotonic() - began < 1
        assert stage.new.call("GET", "n") == b"1"
