"""A server behind the proxy that breaks the protocol: no harm but to who asks it."""

import time

import pytest

from support.fake_sentinel import FakeNode, FakeSentinel, bulk
from support.proxy import Proxy
from support.resp import encode


class Hasty(FakeNode):
    """Answers a request of which it has only a part."""

    def __init__(self, reply):
        super().__init__()
        self._reply = reply

    def _read(self, client):
        super()._read(client)
        if client.inbox.startswith(encode("SET", "k", "")[:-6]) and not client.state:
            client.state["answered"] = True
            client.outbox += self._reply
            self._write(client)


@pytest.mark.parametrize("reply", [bulk(b"x" * 200_000), b"+OK\r\n", b"-LOADING not yet\r\n",
                                   b"-ERR " + b"x" * 200_000 + b"\r\n", b"-ERR no\r\n"],
                         ids=["large", "ok", "loading", "large-error", "error"])
def test_an_answer_to_half_a_request(reply):
    with Hasty(reply) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"hold-timeout": "2s"}) as proxy:
        proxy.wait_serving()
        with proxy.connect() as client:
            client.send(encode("SET", "k", b"y" * 900_000)[:600_000])
            client.read_for(1)
        assert proxy.call("PING") == "PONG"


def test_garbage_is_not_asked_for_without_a_pause():
    with FakeNode({"GET": b"garbage\r\n"}) as node, \
            FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"hold-timeout": "2s"}) as proxy:
        proxy.wait_serving()
        with proxy.connect() as client:
            before, began = node.accepted, time.monotonic()
            assert client.call("GET", "k").code == "LOADING"
            assert time.monotonic() - began < 5
            assert node.accepted - before < 60
