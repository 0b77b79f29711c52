"""Scenario 28: odd but legal framing, and illegal framing, answered as Redis answers it."""

import random
import time

import pytest

from support.resp import Conn, encode

MARK = b"the-end-of-this-stream"
END = encode("ECHO", MARK)
ENDED = b"$%d\r\n%b\r\n" % (len(MARK), MARK)

LEGAL = {
    "empty array": b"*0\r\n",
    "null array": b"*-1\r\n",
    "many empty arrays": b"*0\r\n*-1\r\n*0\r\n" * 50,
    "blank lines": b"\r\n\r\n\n\n\r\n",
    "spaces only": b"   \r\n \t \r\n",
    "inline": b"PING\r\n",
    "inline with LF only": b"PING\nSET k v\nGET k\n",
    "inline with many spaces": b"  SET   k    v  \r\nGET k\r\n",
    "inline with tabs": b"SET\tk\tv\r\nGET\tk\r\n",
    "inline double quotes": b'SET k "a b\\x00\\n\\"c"\r\nGET k\r\n',
    "inline single quotes": b"SET k 'a \\' \\n b'\r\nGET k\r\n",
    "inline quoted name": b'"GET" k\r\n"G\\x45T" k\r\nGE"T k"\r\n' + b"\r\n",
    "inline empty argument": b'SET k ""\r\nGET k\r\nSET "" x\r\n',
    "inline long": b"SET k " + b"v" * 30000 + b"\r\nSTRLEN k\r\n",
    "mixed": b"PING\r\n*1\r\n$4\r\nPING\r\n\r\nECHO x\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$1\r\ny\r\n"
             b"PING\n",
    "wrong bytes behind a bulk": b"*2\r\n$4\r\nECHOxx$1\r\nyzz",
    "empty name": b"*1\r\n$0\r\n\r\n",
    "many arguments": encode("MSET", *range(20000)) + encode("GET", "19998"),
    "CR inside": encode("SET", "k", "a\rb\nc\r\nd") + encode("GET", "k"),
    "name with NUL": encode(b"GE\0T", "k") + encode(b"GET\0", "k"),
    "long unknown": encode("X" * 5000, "y" * 5000),
    "pipeline": b"".join(encode("SET", f"k{i}", i) + encode("GET", f"k{i}") for i in range(500)),
    "errors inside a pipeline": encode("SET", "k", "v") + encode("LPUSH", "k", "x") +
                                encode("NOSUCH") + encode("GET") + encode("GET", "k"),
    "transaction by lines": b"MULTI\nSET k v\nGET k\nEXEC\n",
}

# Each ends with an error and the end of the connection.
# limit: INLINE_MAX HEADER_LINE_MAX REQUEST_ARGS_MAX BULK_MAX
ILLEGAL = {
    "unbalanced double": b'SET k "abc\r\n',
    "unbalanced single": b"SET k 'abc\r\n",
    "text behind a quote": b'SET k "abc"def\r\n',
    "null bulk": b"*1\r\n$-1\r\n",
    "number as argument": b"*1\r\n:1\r\n",
    "simple string as argument": b"*2\r\n$3\r\nGET\r\n+k\r\n",
    "nested array": b"*1\r\n*1\r\n",
    "count is no number": b"*x\r\n",
    "count with a space": b"* 1\r\n",
    "count too large": b"*2147483648\r\n",
    "count with leading zero": b"*02\r\n$4\r\nECHO\r\n$1\r\nx\r\n",
    "length with leading zero": b"*2\r\n$4\r\nECHO\r\n$01\r\nx\r\n",
    "bulk length is no number": b"*1\r\n$x\r\n",
    "bulk length too large": b"*1\r\n$536870913\r\n",
    "bulk length negative": b"*1\r\n$-5\r\n",
    "bulk length beyond 64 bits": b"*1\r\n$99999999999999999999\r\n",
    "count line too long": b"*" + b"1" * 66000,
    "bulk line too long": b"*1\r\n$" + b"1" * 66000,
    "inline too long": b"x" * 66000,
    "behind good ones": b"PING\r\nSET k v\r\n*1\r\n$-1\r\nPING\r\n",
}


def exchange(address, data, chop=None):
    """Everything a server says to these bytes, until the mark or the end."""
    with Conn(address, 20) as conn:
        try:
            step = chop or len(data)
            for at in range(0, len(data), step):
                conn.send(data[at : at + step])
                if chop and at % 64 == 0:
                    time.sleep(0.0005)
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = bytearray()
        while not said.endswith(ENDED):
            try:
                conn.sock.settimeout(20)
                got = conn.sock.recv(1 << 20)
            except ConnectionResetError:
                return bytes(said), "closed"
            if not got:
                return bytes(said), "closed"
            said += got
        return bytes(said), "open"


@pytest.fixture(name="both")
def both_fixture(service, reference):
    """The answers of Redis and of the proxy to the same bytes."""
    def both(data, chop=None):
        for node in (service.node, reference):
            node.call("FLUSHALL")
        return [exchange(address, data, chop)
                for address in (reference.address, service.proxy.address)]
    return both


@pytest.mark.parametrize("name", LEGAL)
def test_28_legal(both, name):
    direct, proxied = both(LEGAL[name] + END)
    assert direct[1] == "open"
    assert proxied == direct


@pytest.mark.parametrize("name", [n for n, data in LEGAL.items() if len(data) < 2000])
def test_28_legal_byte_by_byte(both, name):
    direct, proxied = both(LEGAL[name] + END, chop=1)
    assert direct[1] == "open"
    assert proxied == direct


@pytest.mark.parametrize("name", ILLEGAL)
def test_28_illegal(both, name):
    direct, proxied = both(ILLEGAL[name])
    assert direct[1] == "closed" and direct[0]
    assert proxied == direct


@pytest.mark.parametrize("name", [n for n, data in ILLEGAL.items() if len(data) < 2000])
def test_28_illegal_byte_by_byte(both, name):
    direct, proxied = both(ILLEGAL[name], chop=1)
    assert direct[1] == "closed"
    assert proxied == direct


def test_28_all_in_random_pieces(both):
    """All legal streams after each other, in pieces of random size."""
    rng = random.Random(28)
    order = list(LEGAL.values()) * 2
    rng.shuffle(order)
    for _ in range(5):
        direct, proxied = both(b"".join(order) + END, chop=rng.randint(2, 9000))
        assert proxied == direct


def test_28_words_of_http_are_not_sent(service):
    """Redis closes without a word at a command named POST or Host: and would close a shared link;
    another session notices nothing."""
    with service.connect() as other:
        other.ok("SET", "k", "v")
        for line in (b"POST / HTTP/1.1\r\n", b"Host: x\r\n", encode("POST", "/"),
                     encode("Host:", "x")):
            with service.connect() as client:
                client.send(line + b"SET k hacked\r\n")
                assert other.ok("PING") == "PONG"
                client.read_all()
                assert not client.is_open()
        assert other.call("GET", "k") == b"v"


@pytest.mark.parametrize("bad", ILLEGAL)
def test_29_others_see_nothing(service, bad):
    """A protocol error of one session is no concern of another one's pipeline."""
    with service.connect() as other:
        other.ok("SET", "n", 0)
        for round_number in range(3):
            other.send(encode("INCR", "n") * 20)
            with service.connect() as client:
                client.send(ILLEGAL[bad])
                assert client.read_all().endswith(b"\r\n")
            assert [other.read() for _ in range(20)] == list(range(20 * round_number + 1,
                                                                   20 * round_number + 21))
