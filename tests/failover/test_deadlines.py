"""How long requests wait, and what becomes of those that waited too long."""

import contextlib
import time

import pytest

from support.case import relayed
from support.relay import Rule
from support.resp import encode, encode_all
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

IN_DOUBT = "INDOUBT"


def test_a_request_does_not_inherit_an_old_deadline():
    """The session's only request so far was in doubt; long afterwards it asks again."""
    with relayed({"hold-timeout": "1s"}) as (_, relay, proxy), proxy.connect() as client:
        request = encode("INCR", "inherit")
        rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
        assert client.call("INCR", "inherit").code == IN_DOUBT
        rule.wait()
        time.sleep(1.2)  # past the deadline that the first request had
        delay = relay.add(Rule("delay", marker=b"ROLE", seconds=0.2))
        assert client.call("INCR", "inherit") == 2
        delay.wait()


def test_a_transaction_that_waited_too_long_and_what_follows_it():
    """It is answered here to its end, one answer for each request, and so is all behind it."""
    with relayed({"hold-timeout": "2s"}) as (node, relay, proxy), proxy.connect() as client:
        assert client.call("MULTI") == "OK"
        relay.freeze()
        client.send(encode("SET", "k", "1"))  # sent, and never answered
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        client.send(encode_all([("SET", "k", "2"), ("EXEC",), ("SUBSCRIBE", "channel"),
                                ("PING",), ("PING",)]))
        assert [client.read() for _ in range(2)] == ["QUEUED", "QUEUED"]
        assert client.read().code == "EXECABORT"
        assert [client.read().code for _ in range(3)] == ["LOADING"] * 3
        relay.freeze(False)
        wait_until(lambda: client.call("PING") == "PONG", 5, "the primary")
        assert node.call("EXISTS", "k") == 0


@pytest.mark.parametrize("links, ties", [
    ("shared", ("PING",)), ("exclusive", ("PING",)), ("shared", ("SUBSCRIBE", "channel")),
    ("shared", ("CLIENT", "TRACKING", "ON")),
], ids=["shared", "exclusive", "subscribed", "tracking"])
def test_a_hold_in_the_turn_in_which_requests_came(links, ties):
    """Each was sent, and its answer may be kept back until the hold ends; or it waits and has a
    deadline. None is left lying on a link."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, **{"hold-timeout": "300ms", "proxy.workers": 1, "links": links})
        clients = [stack.enter_context(stage.proxy.connect(20)) for _ in range(300)]
        for client in clients:
            client.ok("HELLO", 3)
            client.ok(*ties)
        stage.proxy.process.pause()
        for number, client in enumerate(clients):
            client.send(encode("INCR", f"n{number}"))
        stage.sentinel.flags = "master,failover_in_progress"
        stage.sentinel.publish("+try-failover", stage.address)
        stage.proxy.process.resume()
        time.sleep(1.5)
        assert stage.proxy.entries("hold-begin")
        answers = [client.read_for(0.0001) for client in clients]
        for number, answer in enumerate(answers):
            assert answer in (b"", b":1\r\n") or answer.startswith(b"-LOADING "), answer
            held = answer.startswith(b"-")
            assert stage.old.call("EXISTS", f"n{number}") == (0 if held else 1)
        stage.abort()
        for client, answer in zip(clients, answers):
            assert answer or client.read() == 1


def test_what_a_full_socket_kept_from_being_sent():
    """A shared link that stalls gives back what was not sent: it has its deadline."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, **{"hold-timeout": "1s", "proxy.workers": 1, "links": "shared"})
        clients = [stack.enter_context(stage.proxy.connect(20)) for _ in range(600)]
        for client in clients:
            assert client.call("PING") == "PONG"
        stage.relay.freeze()
        for client in clients:
            client.send(encode("INCRBY", "n", "1" + " " * 15000))
        wait_until(lambda: stage.proxy.entries("suspect-begin"), 5, "the stalled link")
        waits = list(clients)

        def answered():
            for client in list(waits):
                if client.read_for(0.0001):
                    waits.remove(client)
            return len(clients) - len(waits)

        wait_until(lambda: answered() > 100, 5, "the deadline")
        time.sleep(1.5)
        assert answered() < 590, "those that were sent"
        stage.switch()
        others = [client for client in waits if not client.read_frame().startswith(b"-INDOUBT")]
        assert len(others) <= 1, "the one that was sent in part"
        stage.relay.freeze(False)
