"""How long requests wait, and what becomes of those that waited too long."""

import contextlib
import time

from support.case import relayed
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.relay import Rule
from support.resp import ServerError, encode, encode_all
from support.wait import wait_until

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
    """It is answered here to its end; what stands behind it waits on and is not lost."""
    with contextlib.ExitStack() as stack:
        node, relay, proxy = stack.enter_context(relayed({"hold-timeout": "2s"}))
        client = stack.enter_context(proxy.connect())
        assert client.call("MULTI") == "OK"
        relay.freeze()
        client.send(encode("SET", "k", "v"))
        wait_until(lambda: "suspect" in proxy.log(), 5, "suspicion")
        client.send(encode_all([("SET", "k", "v"), ("EXEC",), ("SUBSCRIBE", "ch"), ("PING",),
                                ("PING",)]))
        time.sleep(2.5)
        relay.freeze(False)
        replies = [client.read() for _ in range(3)]
        print(replies)
        assert isinstance(replies[2], ServerError) and replies[2].code == "EXECABORT"
        print(client.read(), client.read(), client.read())
