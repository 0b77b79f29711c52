"""Large values, deep pipelines, half-closed and slow clients: correct and within bounded memory."""

import os
import subprocess
import threading
import time

import pytest

from support.case import one_node
from support.proxy import is_sanitized
from support.resp import encode
from support.wait import wait_until

MIB = 1 << 20


@pytest.fixture(autouse=True)
def empty(service):
    service.node.call("FLUSHALL")
    yield
    service.proxy.check_log()


def body_of(size):
    """Bytes that don't repeat, so that a shifted or doubled piece shows."""
    block = os.urandom(min(size, MIB))
    return b"".join(block[i % 997 :] + block[: i % 997] for i in range(size // MIB)) + \
        block[: size % MIB]


def bound():
    """How much the proxy may grow. ASan keeps freed memory, up to 256 MiB, for a while."""
    return (48 + (300 if is_sanitized() else 0)) * MIB


SIZES = [0, 1, 15, 16, 1000, 4095, 4096, 4097, 16383, 16384, 32767, 32768, 32769, 65535, 65536, 65537, 100_000,
         MIB - 100, MIB, MIB + 1, 3_000_001, 16 * MIB, 64 * MIB]


@pytest.mark.parametrize("size", SIZES)
def test_value_both_ways(service, size):
    """limit: READ_CHUNK REQUEST_BUFFER_MAX REPLY_BUFFER_MAX REPLY_CARRIED_MAX. Below, at and above each of them."""
    check_value(service, size)


@pytest.mark.full
@pytest.mark.slow
def test_value_of_512_mib(service):
    check_value(service, 512 * MIB)


def check_value(service, size):
    body = body_of(size)
    before = service.proxy.rss()
    with service.connect(120) as client:
        assert client.ok("SET", "k", body) == "OK"
        assert service.node.call("STRLEN", "k") == size
        assert client.ok("GET", "k") == body
        assert client.ok("PING") == "PONG"
    assert service.proxy.rss() - before < bound()


def test_values_in_a_pipeline(service):
    """Small and large requests and replies alternate: order stays, and so does every byte."""
    sizes = [0, 10, 70_000, 1, 2 * MIB, 16, 65536, 300_000, 5, 65535]
    bodies = [body_of(size) for size in sizes]
    with service.connect(60) as client:
        sender = threading.Thread(target=client.send, args=(b"".join(
            encode("SET", f"k{i}", body) + encode("GET", f"k{i}") + encode("INCR", "n")
            for i, body in enumerate(bodies)),))
        sender.start()
        for i, body in enumerate(bodies):
            assert client.read() == "OK"
            assert client.read() == body
            assert client.read() == i + 1
        sender.join()


def test_large_arrays(service):
    with service.connect(60) as client:
        client.ok("RPUSH", "l", *range(100_000))
        assert client.ok("LRANGE", "l", 0, -1) == [b"%d" % i for i in range(100_000)]
        nested = client.ok("EVAL", "local t={} for i=1,5000 do t[i]={i,{tostring(i)}} end return t",
                           0)
        assert nested == [[i, [b"%d" % i]] for i in range(1, 5001)]


def test_pipeline_of_100000(service):
    """The client sends everything before it reads anything."""
    count = 100_000
    before = service.proxy.rss()
    with service.connect(60) as client:
        data = b"".join(encode("INCR", "n") if i % 10 else encode("ECHO", i) for i in range(count))
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        value = 0
        for i in range(count):
            reply = client.read()
            if i % 10:
                value += 1
                assert reply == value
            else:
                assert reply == b"%d" % i
        sender.join()
        assert client.ok("PING") == "PONG"
    assert service.proxy.rss() - before < bound()


def test_half_close(service):
    """As `printf ... | nc`: what was received is answered, then the proxy closes."""
    with service.connect(20) as client:
        client.send(b"".join(encode("INCR", "n") for _ in range(5000)))
        client.half_close()
        assert client.read_all() == b"".join(b":%d\r\n" % i for i in range(1, 5001))


def test_half_close_behind_a_large_reply(service):
    body = body_of(5 * MIB)
    service.node.call("SET", "k", body)
    with service.connect(20) as client:
        client.send(encode("GET", "k") + encode("PING"))
        client.half_close()
        assert client.read_all() == b"$%d\r\n%b\r\n+PONG\r\n" % (len(body), body)


def test_printf_and_netcat(service):
    host, port = service.proxy.address
    done = subprocess.run(["nc", "-N", "-w", "10", host, str(port)], capture_output=True,
                          input=b"SET k v\r\nGET k\r\nMULTI\r\nINCR n\r\nEXEC\r\n", timeout=20,
                          check=False)
    assert done.stdout == b"+OK\r\n$1\r\nv\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"


def test_slow_reader_is_held_back():
    """limit: SESSION_OUTPUT_HIGH SESSION_OUTPUT_LOW.
    A client that asks for 400 MiB on a link of its own and reads nothing: the proxy does not store
    it, others go on, and it gets everything once it reads."""
    size, count = 512 * 1024, 800
    body = body_of(size)
    with one_node({"links": "exclusive", "proxy.workers": 2}) as (node, proxy), \
            proxy.connect(60, rcvbuf=65536) as slow, proxy.connect() as other:
        node.call("SET", "k", body)
        assert slow.ok("PING") == other.ok("PING") == "PONG"
        before = proxy.rss()
        slow.send(encode("GET", "k") * count)
        for _ in range(200):
            assert other.ok("INCR", "n")
            time.sleep(0.002)
        assert proxy.rss() - before < bound()
        head = b"$%d\r\n" % size
        for _ in range(count):
            assert slow.read_exactly(len(head)) == head
            assert slow.read_exactly(size + 2) == body + b"\r\n"
        assert slow.ok("PING") == "PONG"


def test_slow_reader_of_small_replies(service):
    """The same with millions of small requests: back-pressure reaches the client's own sending."""
    before = service.proxy.rss()
    with service.connect(60, rcvbuf=65536) as slow, service.connect() as other:
        slow.sock.settimeout(1.0)
        sent = 0
        data = encode("ECHO", "x" * 1000) * 100
        with pytest.raises(TimeoutError):
            while sent < 400 * MIB:
                sent += slow.sock.send(data)
        assert sent < 64 * MIB
        assert other.ok("PING") == "PONG"
        assert service.proxy.rss() - before < bound()


def test_client_gone_in_the_middle_of_replies(service):
    """Replies owed to a client that reset its connection go to nobody else."""
    service.node.call("SET", "k", body_of(200_000))
    with service.connect() as other:
        for _ in range(20):
            gone = service.connect()
            gone.send((encode("GET", "k") + encode("INCR", "n")) * 20)
            other.send(encode("ECHO", "mine") * 20)
            gone.reset()
            assert [other.read() for _ in range(20)] == [b"mine"] * 20
    wait_until(lambda: service.proxy.fds() < 100, what="descriptors given back")


def test_slow_uploader_disturbs_nobody(service):
    body = body_of(3 * MIB)
    data = encode("SET", "slow", body)
    with service.connect(60) as slow, service.connect() as other:
        worst = 0.0
        for at in range(0, len(data), 64 * 1024):
            slow.send(data[at : at + 64 * 1024])
            began = time.monotonic()
            other.ok("INCR", "n")
            worst = max(worst, time.monotonic() - began)
        assert slow.read() == "OK"
        assert worst < 1.0
    assert service.node.call("STRLEN", "slow") == len(body)


def test_unfinished_request_is_never_run(service):
    request = encode("INCR", "n")
    for cut in range(1, len(request)):
        with service.connect() as client:
            client.send(encode("PING") + request[:cut])
            assert client.read() == "PONG"
            client.half_close()
            assert client.read_all() == b""
    assert service.node.call("GET", "n") is None


def test_descriptors_are_given_back(service):
    service.proxy.call("PING")
    before = service.proxy.fds()
    for _ in range(5):
        clients = [service.connect() for _ in range(50)]
        for client in clients:
            client.send(encode("BLPOP", "none", "0"))
        for client in clients:
            client.close()
    wait_until(lambda: service.proxy.fds() <= before + 140, 15, "descriptors given back")
    wait_until(lambda: int(service.node.info("clients")["blocked_clients"]) == 0, 15,
               "blocked clients gone from the server")
