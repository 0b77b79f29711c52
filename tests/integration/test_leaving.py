"""Clients that end their side: what they sent is executed, and nothing stays behind."""

import contextlib
import signal

import pytest

from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.resp import encode, encode_all
from support.wait import wait_until


def blocked_clients(node):
    return int(node.info("clients")["blocked_clients"])


def test_blocking_command_behind_another(service):
    """limit: LEFT_BLOCKED_MS. Its client has gone, so it must not take an element that others wait for."""
    with service.connect() as client:
        client.send(encode_all([("DEBUG", "SLEEP", "0.2"), ("BLPOP", "none", "0")]))
        client.half_close()
        assert client.read() == "OK"
        assert client.closed()
    wait_until(lambda: blocked_clients(service.node) == 0, 5, "nobody to be blocked")


def test_without_replies(service):
    """CLIENT REPLY OFF: only the end of the connection tells that all was sent."""
    service.node.call("FLUSHALL")
    with service.connect() as client:
        client.send(encode("CLIENT", "REPLY", "OFF"))
        body = b"x" * 10_000
        for first in range(0, 4000, 100):
            client.send(encode_all([("SET", f"k{n}", body) for n in range(first, first + 100)]))
        client.half_close()
        assert client.closed(20)
    assert service.node.call("DBSIZE") == 4000


@contextlib.contextmanager
def little_room(tmp_path, settings=()):
    """(node, proxy, clients): on a shared link, by a unix socket, which holds little."""
    path = str(tmp_path / "redis.sock")
    with contextlib.ExitStack() as stack:
        node = Node(str(tmp_path), settings=(("unixsocket", path),))
        stack.callback(node.close)
        node.start()
        sentinel = stack.enter_context(FakeSentinel(("192.0.2.7", 6379), epoch=1))
        proxy = stack.enter_context(Proxy(
            [sentinel.address], {"links": "shared", "proxy.workers": 1, "proxy.log-level": "debug",
                                 **dict(settings)},
            arguments=("--set", f"sentinel.address-map=192.0.2.7:6379 unix:{path}")))
        proxy.wait_serving()
        clients = [stack.enter_context(proxy.connect()) for _ in range(40)]
        for client in clients:
            assert client.ok("PING") == "PONG"
        yield node, proxy, clients


@pytest.mark.parametrize("how", ["reset", "close"])
def test_unsent_requests_on_a_shared_link(tmp_path, how):
    """The server takes nothing more (a unix socket holds little), and what it was not given of those
    who left it never gets; what it was given a part of, it gets whole."""
    body = b"x" * 62_000
    with little_room(tmp_path) as (node, proxy, clients):
        node.pause()
        for number, client in enumerate(clients):
            client.send(encode("SET", f"k{number}", body))
        wait_until(lambda: proxy.entries("suspect-begin"), 10, "the primary to be suspected")
        for client in clients:
            getattr(client, how)()
        gone = len(clients) if how == "reset" else len(clients) // 2 + 1  # the others were sent
        wait_until(lambda: len(proxy.entries("session-closed")) >= gone, 10, "them to be gone")
        with proxy.connect() as other:
            other.send(encode("SET", "last", body))
            node.resume()
            assert other.read() == "OK"
            assert other.ok("GET", "last") == body
            executed = other.ok("DBSIZE") - 1
    assert 0 < executed < len(clients) // 2


def test_unsent_requests_at_the_end_of_a_drain(tmp_path):
    """What the server was not given a byte of is certainly not executed; what it was given a part of
    the proxy goes on sending as long as it is there, so that this is in doubt."""
    with little_room(tmp_path, {"proxy.drain-timeout": "300ms"}) as (node, proxy, clients):
        node.pause()
        for number, client in enumerate(clients):
            client.send(encode("SET", f"k{number}", b"x" * 62_000))
        wait_until(lambda: proxy.entries("suspect-begin"), 10, "the primary to be suspected")
        proxy.process.signal(signal.SIGTERM)
        codes = [client.read().code for client in clients]
        proxy.process.wait(10)
        node.resume()
        executed = [node.call("EXISTS", f"k{number}") for number in range(len(clients))]
    assert set(codes) == {"LOADING", "INDOUBT"}
    assert all(code == "INDOUBT" for code, done in zip(codes, executed) if done)
