"""Peers that take what they are sent, or not even that, and say nothing: the proxy's own limits."""

import time

import pytest

from support.case import relayed
from support.fake_sentinel import NEVER, FakeNode, FakeSentinel
from support.proxy import Proxy
from support.relay import DOWN, Relay, Rule
from support.wait import wait_until


def test_a_greeting_that_never_comes():
    """That link is given up after a second; nobody else hears of it."""
    with relayed({"links": "exclusive"}) as (_, relay, proxy), proxy.connect() as other:
        other.ok("PING")
        rule = relay.add(Rule("blackhole", DOWN))
        with proxy.connect() as client:
            begun = time.monotonic()
            client.send(b"PING\r\n")
            rule.wait()
            while time.monotonic() - begun < 0.8:
                assert other.call("PING", timeout=0.5) == "PONG"
            assert client.read(5) == "PONG"
            assert 0.95 <= time.monotonic() - begun < 2.5
            assert other.call("PING") == "PONG"


def test_a_connect_that_never_completes():
    """Given up after connect-timeout, again and again; then the request goes on."""
    with relayed({"connect-timeout": "300ms", "links": "exclusive"}) as (_, relay, proxy):
        relay.deafen()
        with proxy.connect() as client:
            begun = time.monotonic()
            client.send(b"PING\r\n")
            failed = wait_until(lambda: proxy.entries("link-connect-failed"), 5, "the time-out")
            # The kernel's own, by TCP_USER_TIMEOUT, is three seconds.
            assert 0.28 <= time.monotonic() - begun < 2.5
            assert failed[0]["error"] == "Connection timed out"
            wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
            accepted = relay.accepted
            relay.deafen(False)
            assert client.read(10) == "PONG"
            assert relay.accepted > accepted


def test_a_sentinel_that_cannot_be_connected_to():
    """Told once, and nothing waits for it."""
    with FakeNode() as node, FakeSentinel(node.address, epoch=1) as well, \
            FakeSentinel(node.address, epoch=1) as other, Relay(other.address) as relay:
        relay.deafen()
        with Proxy([relay.address, well.address]) as proxy:
            begun = time.monotonic()
            proxy.wait_serving()
            wait_until(lambda: proxy.entries("sentinel-unreachable"), 5, "the time-out")
            assert time.monotonic() - begun < 2.5
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 2, what="a few more time-outs")
            assert len(proxy.entries("sentinel-unreachable")) == 1
            relay.deafen(False)
            wait_until(lambda: len(proxy.entries("sentinel-up")) == 2, 10, "the other Sentinel")


@pytest.mark.parametrize("silent", ["SENTINEL", "SENTINEL MASTER", "SENTINEL REPLICAS"])
def test_a_sentinel_that_does_not_answer(silent):
    """It is asked on a new connection, each time not before the time-out; nothing waits for it."""
    with FakeNode() as node, FakeSentinel(node.address, epoch=1) as well, \
            FakeSentinel(node.address, epoch=1, script={silent: NEVER}) as other:
        with Proxy([other.address, well.address]) as proxy:
            proxy.wait_serving()
            asked = other.accepted
            begun = time.monotonic()
            wait_until(lambda: other.accepted >= asked + 4, 10, "tries again")
            # Two connections at most each time, one for the questions and one to listen on.
            assert time.monotonic() - begun >= 0.3
            del other.script[silent]
            wait_until(lambda: not other.script and other.subscribers(), 10, "the other Sentinel")
            assert proxy.call("PING") == "PONG"


@pytest.mark.parametrize("silent", ["SUBSCRIBE", "PING"])
def test_a_subscription_that_says_nothing(silent):
    """Without a confirmation, or an answer to PING, for a second it is tried again."""
    with FakeNode() as node, FakeSentinel(node.address, epoch=1, script={silent: NEVER}) as fake, \
            Proxy([fake.address]) as proxy:
        proxy.wait_serving()
        begun = time.monotonic()
        wait_until(lambda: len(fake.requests("SUBSCRIBE")) >= 3, 15, "another subscription")
        assert time.monotonic() - begun >= 1.5
        del fake.script[silent]
        wait_until(fake.subscribers, 5, "the subscription")


def test_a_role_that_is_never_told():
    """Such a node is not taken for the primary; it is asked once a second, and taken at once when
    it answers."""
    with FakeNode({"ROLE": NEVER}) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address]) as proxy, proxy.connect() as client:
        client.send(b"PING\r\n")
        wait_until(lambda: len(node.requests("ROLE")) >= 2, 5, "the question asked again")
        begun, asked = time.monotonic(), len(node.requests("ROLE"))
        wait_until(lambda: len(node.requests("ROLE")) >= asked + 2, 10, "and again")
        assert time.monotonic() - begun >= 1
        assert not node.requests("PING")
        del node.script["ROLE"]
        assert client.read(10) == "PONG"
