"""Every protocol error of Redis 7.0's networking.c, in its words, for every byte and number that may
stand in the wrong place; and those it keeps for clients that have not authenticated."""

import pytest

from support.cluster import Node
from support.resp import Conn, encode

PASSWORD = ("requirepass", "the-password")
END = encode("ECHO", "the-end")

NUMBERS = [b"", b"+1", b"-0", b"-1", b"-2", b"00", b"01", b" 1", b"1 ", b"1x", b"0x1", b"1.0",
           b"1\n", b"1\0", b"\0", b"536870912", b"536870913", b"2147483647", b"2147483648",
           b"4294967297", b"9223372036854775807", b"9223372036854775808",
           b"-9223372036854775809", b"1" * 25, b"1" * 60_000]


def said(address, data):
    """All that is said to it, until the end of the connection. Where the server would wait for more
    there is none."""
    with Conn(address, 10) as conn:
        try:
            conn.send(data)
            conn.half_close()
        except OSError:
            pass  # closed already
        return conn.read_all()


@pytest.mark.parametrize("where", ["*%b\r\n", "*1\r\n$%b\r\n", "*2\r\n$3\r\nGET\r\n$%b\r\n"])
def test_numbers(service, reference, where):
    """limit: REQUEST_ARGS_MAX BULK_MAX. Up to them, at them and beyond."""
    for number in NUMBERS:
        data = where.encode() % number + END
        assert said(service.proxy.address, data) == said(reference.address, data), number[:30]


@pytest.mark.parametrize("where", ["*1\r\n%b4\r\nPING\r\n", "*2\r\n$4\r\nECHO\r\n%b1\r\nx\r\n"])
def test_bytes_in_the_place_of_a_dollar(service, reference, where):
    for byte in range(256):
        data = where.encode() % bytes([byte]) + END
        assert said(service.proxy.address, data) == said(reference.address, data), byte


def test_bytes_that_begin_a_line(service, reference):
    """What is no array is an inline command."""
    for byte in range(256):
        data = bytes([byte]) + b"x\r\n" + END
        assert said(service.proxy.address, data) == said(reference.address, data), byte


@pytest.fixture(name="closed", scope="module")
def closed_fixture(start_service, tmp_path_factory):
    """(service, reference) that want a password first."""
    node = Node(str(tmp_path_factory.mktemp("closed")), settings=[PASSWORD])
    node.start()
    with start_service(node_settings=[PASSWORD],
                       sentinel_settings=[("sentinel auth-pass mymaster", PASSWORD[1])]) as started:
        yield started, node
    node.close()


@pytest.mark.parametrize("data", [
    pytest.param(encode("PING", *range(9)), id="ten words"),
    pytest.param(encode("PING", *range(10)), id="eleven words"),
    pytest.param(encode("SET", "k", "x" * 16_384), id="the longest word"),
    pytest.param(encode("SET", "k", "x" * 16_385), id="a longer word"),
    pytest.param(encode("SET", "k", "x" * 1_000_000), id="a much longer word"),
    pytest.param(encode("GET", "k") + encode("PING", *range(10)) + encode("GET", "k"),
                 id="behind others"),
])
def test_before_authentication(closed, data):
    """An answer of any kind, and the connection's end where it is one."""
    service, reference = closed
    data += encode("AUTH", PASSWORD[1]) + END
    direct = said(reference.address, data)
    assert b"NOAUTH" in direct or b"unauthenticated" in direct
    assert said(service.proxy.address, data) == direct


def test_after_authentication(closed):
    service, reference = closed
    data = encode("AUTH", PASSWORD[1]) + encode("SET", "k", "x" * 100_000) + \
        encode("DEL", *range(20)) + END
    assert said(service.proxy.address, data) == said(reference.address, data) == \
        b"+OK\r\n+OK\r\n:0\r\n$7\r\nthe-end\r\n"
