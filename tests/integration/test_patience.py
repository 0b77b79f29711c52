"""How long a client may take, and be quiet, and what it may send before it has said who it is."""

import contextlib
import socket
import time

import pytest

from support import tls
from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.procs import Port
from support.proxy import Proxy
from support.resp import ServerError, encode
from support.wait import wait_until


def entries(service, event, client):
    name = f"127.0.0.1:{client.local[1]}"
    return [e for e in service.proxy.entries(event) if e["client"] == name]


def trickle(client, data, pause, seconds):
    """Sends byte by byte for at most so long; how long it took until the end was seen, or None."""
    began = time.monotonic()
    for n in range(len(data)):
        with contextlib.suppress(ConnectionError):
            client.send(data[n:n + 1])
        if client.closed(pause):
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            return None
    return None


@pytest.mark.parametrize("words", [encode("SET", "k", "v" * 1000), b"PING " + b"x" * 1000,
                                   b"*1000000\r\n" + b"$1\r\nx\r\n" * 1000],
                         ids=["array", "inline", "many"])
def test_the_first_request_has_its_time(start_service, words):
    """Bytes that come do not give it more; a client that begins none, and one that has asked once,
    are left alone for longer than that."""
    with start_service({"proxy.handshake-timeout": "1s"}) as service:
        with service.connect() as silent, service.connect() as known, service.connect() as slow:
            assert known.ok("PING") == "PONG"
            known.send(b"*1\r\n$4\r\nPI")
            took = trickle(slow, words, 0.1, 20)
            assert took is not None and 0.9 < took < 8, took
            assert entries(service, "frame-timeout", slow)[0]["first"] == "yes"
            known.send(b"NG\r\n")
            assert known.read() == "PONG"
            assert silent.ok("PING") == "PONG"


def test_the_first_byte_has_its_time(start_service):
    """Behind it the first request has its own, and later silence is nobody's business."""
    with start_service({"proxy.first-byte-timeout": "1s", "proxy.handshake-timeout": "3s"}) as \
            service, service.connect() as silent, service.connect() as known, \
            service.connect() as slow:
        assert known.ok("PING") == "PONG"
        took = trickle(slow, encode("SET", "k", "v" * 1000), 0.1, 20)
        assert took is not None and 2.9 < took < 10, took
        assert silent.closed()
        assert entries(service, "first-byte-timeout", silent)
        assert entries(service, "frame-timeout", slow)[0]["ms"] == "3000"
        assert known.ok("PING") == "PONG"


def test_a_large_first_request_takes_its_time(start_service):
    """It is slow because it is large."""
    with start_service({"proxy.handshake-timeout": "1s"}) as service, service.connect(30) as client:
        whole = encode("SET", "big", "x" * 400_000)
        client.send(whole[:100_000])
        time.sleep(1.5)  # longer than it would have
        client.send(whole[100_000:])
        assert client.read() == "OK"


def test_what_has_begun_takes_as_much_memory_as_it_has_bytes(start_service):
    """limit: REQUEST_CARRIED_MAX. However many pieces it comes in; beyond that, not much more."""
    half = b"x" * 9000
    pieces = [b"*2\r\n$4\r\nEC", b"HO\r\n$18000\r\n", half, half + b"\r", b"\n"]
    with start_service({"proxy.buffer-memory": "40m", "proxy.workers": 1}) as service, \
            contextlib.ExitStack() as stack:
        clients = [stack.enter_context(service.connect(30)) for _ in range(1000)]
        few = clients[:20]
        for round_, piece in enumerate(pieces):
            for client in clients if round_ < 3 else few:  # all have come: they are looked at in turn
                client.send(piece)
            assert service.proxy.call("PING") == "PONG"
        assert [client.read() for client in few] == [2 * half] * len(few)
        for client in clients[len(few):]:
            client.send(half + b"\r\n")
            assert client.read() == 2 * half
        assert not service.proxy.entries("buffer-memory")


def test_a_tls_handshake_has_its_time(start_service):
    certs, port = tls.certs(), Port()
    try:
        with start_service({"tls-listen": f"127.0.0.1:{port.number}",
                            "proxy.handshake-timeout": "1s",
                            **certs.listener("service.mymaster")}) as service:
            for said in (b"", b"\x16\x03\x01\0\xa5\1"):
                with socket.create_connection(("127.0.0.1", port.number), 10) as client:
                    began = time.monotonic()
                    client.sendall(said)
                    assert client.recv(1) == b""
                    assert 0.9 < time.monotonic() - began < 8
            wait_until(lambda: len([e for e in service.proxy.entries("client-tls-failed")
                                    if "no TLS handshake in time" in e["error"]]) == 2, 10, "words")
    finally:
        port.release()


@pytest.mark.tsan
def test_idle_clients_are_closed(start_service):
    """limit: IDLE_STEPS. Within a sixteenth more, and a busy machine's delay; not those that are
    subscribed, monitor, or are blocked."""
    with start_service({"proxy.idle-timeout": "2s"}) as service, contextlib.ExitStack() as stack:
        def client(*words):
            conn = stack.enter_context(service.connect(30))
            if words:
                conn.send(encode(*words))
            return conn
        subscribed, listening = client("SUBSCRIBE", "c"), client("PSUBSCRIBE", "p*")
        monitor, blocked = client("MONITOR"), client("BLPOP", "list", "0")
        pushed = client("HELLO", "3")
        pushed.read()
        assert pushed.call("SUBSCRIBE", "c")
        busy = client("PING")
        subscribed.read(), listening.read(), monitor.read()
        began = time.monotonic()
        idle, never = client("PING"), client()
        multi = client("MULTI")
        assert idle.read() == "PONG" and multi.read() == "OK"
        while not idle.closed(0.1):
            busy.send(encode("PING"))
            assert busy.read() == "PONG"
            assert time.monotonic() - began < 15
        assert time.monotonic() - began > 1.9
        assert never.closed(10) and multi.closed(10)
        assert entries(service, "idle-timeout", idle)
        time.sleep(3)  # in which the others would be closed, were they not spared
        service.node.call("RPUSH", "list", "x")
        service.node.call("PUBLISH", "c", "m")
        assert blocked.read() == [b"list", b"x"]
        assert subscribed.read() == [b"message", b"c", b"m"]
        assert pushed.read() == [b"message", b"c", b"m"]
        assert b"PUBLISH" in monitor.read_for(1)
        assert listening.is_open() and blocked.is_open()  # its time begins with the answer
        assert blocked.closed(15)


def test_who_waits_for_a_primary_is_not_idle(start_service):
    """Its request is held for longer than it might be quiet."""
    with start_service({"proxy.idle-timeout": "1s", "hold-timeout": "60s"}) as service:
        service.node.kill()
        with service.connect(30) as waiting, service.connect(30) as idle:
            waiting.send(encode("PING"))
            assert idle.closed(15)
            assert waiting.read_for(2) == b""
            service.node.start()
            assert waiting.read() == "PONG"


def test_off_by_default(start_service):
    with start_service() as service, service.connect() as client:
        assert not client.closed(3)
        assert client.ok("PING") == "PONG"


@pytest.fixture(name="guarded")
def guarded_fixture(tmp_path):
    node = Node(str(tmp_path), settings=[("requirepass", "secret-11")])
    try:
        node.start()
        with FakeSentinel(node.address, epoch=1) as sentinel, Proxy([sentinel.address]) as proxy:
            yield proxy
    finally:
        node.close()


def test_before_auth(guarded):
    """limit: UNAUTHENTICATED_ARGS_MAX UNAUTHENTICATED_BULK_MAX. In the words of Redis, at the line
    that asks for too much, once the server has said that it wants a password; with one all may be
    sent."""
    for line, words in ((b"*11\r\n", "multibulk"), (b"*2\r\n$4\r\nECHO\r\n$16385\r\n", "bulk")):
        with guarded.connect() as client:
            wait_until(lambda c=client: c.call("GET", "k").code == "NOAUTH", 15, "a primary")
            client.send(line)
            assert client.read() == ServerError(f"ERR Protocol error: unauthenticated {words} length")
            assert client.closed()
    with guarded.connect() as client:
        assert client.call("DEL", *["x"] * 9).code == "NOAUTH"
        assert client.call("ECHO", "x" * 16384).code == "NOAUTH"
        assert client.ok("AUTH", "secret-11") == "OK"
        assert client.ok("ECHO", "x" * 16385) == b"x" * 16385
        assert client.ok("DEL", *["x"] * 10) == 0
