"""CLIENT REPLY and CLIENT NO-EVICT while the primary is held, moves, or is lost."""

import contextlib

import pytest

from support.resp import encode
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

OFF, SKIP, ON = (encode("CLIENT", "REPLY", mode) for mode in ("OFF", "SKIP", "ON"))
END = b"+OK\r\n$3\r\nend\r\n"


@pytest.fixture(name="stage")
def stage_fixture(request):
    with contextlib.ExitStack() as stack:
        yield Stage(stack, **getattr(request, "param", {}))


def end(client):
    client.send(ON + encode("ECHO", "end"))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("how", ["hold", "hang"])
def test_48_no_stray_bytes(stage, how, protocol):
    """Answers, and the words that we have for what is in doubt or was sent again, are kept from a
    client that wants none; all others hear theirs."""
    with stage.proxy.connect(20) as mute, stage.proxy.connect(20) as skips, \
            stage.proxy.connect(20) as other:
        for client in (mute, skips, other):
            if protocol == 3:
                client.call("HELLO", 3)
            client.ok("PING")
        mute.send(OFF + encode("INCR", "mute") * 3)
        wait_until(lambda: stage.old.call("GET", "mute") == b"3", 5, "what was said under OFF")
        if how == "hang":
            stage.old.pause()
        else:
            stage.announce()
        mute.send(encode("INCR", "mute") * 3 + encode("NOSUCH") + encode("BLPOP", "q", "0.01"))
        skips.send((SKIP + encode("INCR", "skips") + encode("GET", "none")) * 3)
        other.send(encode("INCR", "other") * 2)
        assert mute.read_for(0.3) == skips.read_for(0.1) == other.read_for(0.1) == b""
        stage.switch()
        end(mute)
        assert mute.read_exactly(len(END)) == END
        nil = b"_\r\n" if protocol == 3 else b"$-1\r\n"
        gets = [skips.read_frame() for _ in range(3)]
        # A read with a write in doubt behind it is in doubt as well.
        assert all(f == nil or how == "hang" and f.startswith(b"-INDOUBT ") for f in gets), gets
        heard = [other.read_frame() for _ in range(2)]
        if how == "hold":
            assert heard == [b":1\r\n", b":2\r\n"]
            assert [stage.new.call("GET", key) for key in ("mute", "skips", "other")] == \
                [b"3", b"3", b"2"]
        for client in (mute, skips, other):
            assert client.call("ECHO", "still") == b"still"
        stage.old.resume()


@pytest.mark.parametrize("stage", [{"hold-timeout": "300ms"}], indirect=True)
def test_48_what_was_not_executed(stage):
    """Nor does it hear that; what it says of CLIENT REPLY meanwhile counts in its place."""
    with stage.proxy.connect(20) as client:
        client.ok("PING")
        stage.announce()
        client.send(encode("GET", "a") + SKIP + encode("GET", "b") + encode("GET", "c") + OFF
                    + encode("GET", "d") + ON + encode("GET", "e"))
        not_executed = (b"-LOADING No primary available for 'mymaster'; the command was not "
                        b"executed\r\n")
        assert [client.read_frame() for _ in range(4)] == [
            not_executed, not_executed, b"+OK\r\n", not_executed]
        assert client.read_for(0.2) == b""
        stage.abort()


@pytest.mark.parametrize("protocol", [2, 3])
def test_48_a_large_answer_that_is_cut(stage, protocol):
    """Nothing of it was given, so nothing of it is missed: the connection stays."""
    with stage.proxy.connect(20) as client:
        if protocol == 3:
            client.call("HELLO", 3)
        client.ok("PING")
        for node in (stage.old, stage.new):
            node.call("SET", "large", "x" * 8_000_000)
        client.send(OFF + encode("GET", "large") * 8)
        stage.relay.cut_all()
        end(client)
        assert client.read_exactly(len(END)) == END


def flags(node, address):
    """Of the connections whose name begins so."""
    lines = node.call("CLIENT", "LIST").decode().splitlines()
    fields = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    return {f["name"]: f["flags"] for f in fields if f["name"].startswith(address)}


def test_no_evict_goes_along(stage):
    """It is said again where the session goes on; OFF and RESET end that."""
    with stage.proxy.connect(20) as on, stage.proxy.connect(20) as off, \
            stage.proxy.connect(20) as back:
        for name, client in (("c.on", on), ("c.off", off), ("c.back", back)):
            client.ok("CLIENT", "SETNAME", name)
            client.ok("CLIENT", "NO-EVICT", "ON")
        assert off.ok("CLIENT", "NO-EVICT", "OFF") == "OK"
        assert back.ok("RESET") == "RESET"
        assert "e" in flags(stage.old, "c.")["c.on"]
        stage.announce()
        stage.switch()
        for client in (on, off, back):
            assert client.ok("INCR", "n") > 0
        there = flags(stage.new, "c.")
        assert "e" in there["c.on"] and "e" not in there["c.off"] and "c.back" not in there
        assert not any("e" in f for f in flags(stage.new, "").values() if f != there["c.on"])
