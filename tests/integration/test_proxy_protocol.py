"""The PROXY protocol: whom a header speaks for, from whom it is taken, and what is no header."""

import contextlib
import time

import pytest

from support import tls
from support.cluster import Cluster
from support.procs import Port
from support.proxy import Proxy, joined
from support.proxy_header import CLIENT, LOCAL, SIGNATURE, v1, v2
from support.resp import Conn, ServerError, encode
from support.wait import wait_until

FULL = ServerError("ERR max number of clients reached")
PING = encode("PING")
FROM = {"proxy-protocol": "yes", "proxy-protocol-from": "127.0.0.1"}


@contextlib.contextmanager
def proxied(settings, **options):
    with Cluster(replicas=0, sentinels=1) as cluster, \
            Proxy(cluster.sentinel_addresses, {**FROM, **settings}, **options) as proxy:
        yield proxy


def connect(proxy, header, **options):
    return Conn(proxy.address, begin=(header,) if header else (), **options)


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture():
    with proxied({"proxy.handshake-timeout": "1500ms"}) as proxy:
        yield proxy


def said(proxy, event, **pairs):
    """Waits for a line of that event with these pairs, and returns it."""
    def found():
        return [e for e in proxy.entries(event)
                if all(words in e.get(key, "") for key, words in pairs.items())]
    return wait_until(found, 10, f"{event} {pairs}:\n{proxy.log()[-2000:]}")[-1]


HEADERS = [v1(), v1(("2001:db8::1", 1)), b"PROXY UNKNOWN\r\n", v2(), v2(("2001:db8::1", 1)),
           v2(tlvs=b"\4\0\4quit"), v2(command=LOCAL), SIGNATURE + b"\x20\0\0\0"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_and_requests_in_one_piece(proxy, header):
    with connect(proxy, header + PING + PING) as client:
        assert [client.read(), client.read()] == ["PONG", "PONG"]
        assert client.ok("SET", "k", "v" * 100_000) == "OK"


@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
def test_cut_at_every_byte(proxy, header):
    whole = header + PING
    for at in range(1, len(whole)):
        with connect(proxy, whole[:at]) as client:
            time.sleep(0.002)  # mostly they come as two; nothing depends on it
            client.send(whole[at:])
            assert client.read() == "PONG"


def test_byte_by_byte(proxy):
    with Conn(proxy.address, begin=[bytes([b]) for b in v2(tlvs=b"x" * 300) + PING]) as client:
        assert client.read() == "PONG"


@pytest.mark.parametrize("words, fault", [
    (PING, "something else"), (b"GET / HTTP/1.1\r\n\r\n", "something else"),
    (b"\x16\x03\x01\0\xa5\1\0\0\xa1\3\3", "something else"),
    (b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n", "a port"),
    (b"PROXY TCP4 x 1.2.3.4 1 1\r\n", "an address"), (b"PROXY " + b"x" * 200, "too long"),
    (SIGNATURE + b"\x31\x11\0\x0c" + b"x" * 12, "version"),
    (SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 12, "too long"),
])
def test_what_is_no_header_is_closed(proxy, words, fault):
    def noted():
        """No more than five lines a second are written."""
        with connect(proxy, words) as client:
            name = f"127.0.0.1:{client.local[1]}"
            assert client.closed()
        return any(e["peer"] == name and fault in e["error"]
                   for e in proxy.entries("proxy-header-bad"))
    wait_until(noted, 10, f"a line about {words[:20]}", 0.3)


def test_ended_and_reset_in_it(proxy):
    for header in (b"", b"PROXY TC", v2()[:20]):
        connect(proxy, header).close()
        connect(proxy, header).reset()
    with connect(proxy, v1() + PING) as client:
        assert client.read() == "PONG"


@pytest.mark.parametrize("begun, words", [(b"", "none came in time"), (v1()[:-1], "its end")])
def test_a_slow_header(proxy, begun, words):
    """Bytes of it that come do not give it more time."""
    began = time.monotonic()
    with connect(proxy, begun[:3]) as client:
        for n in range(3, len(begun)):
            if time.monotonic() - began > 5:
                break
            with contextlib.suppress(ConnectionError):
                client.send(begun[n:n + 1])
            time.sleep(0.1)
        assert client.closed(10)
        assert 1.4 < time.monotonic() - began < 8
        said(proxy, "proxy-header-bad", peer=f"127.0.0.1:{client.local[1]}", error=words)


def test_only_those_that_are_trusted(proxy):
    """With yes nobody else gets in, header or not."""
    for header in (b"", v1(), PING):
        with connect(proxy, header, source="127.0.0.2") as client:
            name = f"127.0.0.2:{client.local[1]}"
            assert client.closed()
        said(proxy, "client-refused", client=name, reason="proxy-protocol-from")


def test_optional():
    """Others are clients themselves; a header is no RESP then."""
    with proxied({"proxy-protocol": "optional"}) as proxy:
        with connect(proxy, v1() + PING) as client:
            assert client.read() == "PONG"
        with connect(proxy, b"", source="127.0.0.2") as client:
            assert client.ok("PING") == "PONG"
        with connect(proxy, v1(), source="127.0.0.2") as client:
            assert "unknown command" in client.read().text
        with connect(proxy, PING) as client:
            assert client.closed()


def test_the_address_it_tells_is_the_clients():
    """limit: max-clients-per-address. In the log, for allow, and for the number of clients from one
    address; where it tells of none, the proxy's own is meant."""
    with proxied({"allow": "192.0.2.0/24", "proxy.max-clients-per-address": 2}) as proxy:
        with connect(proxy, v1(("198.51.100.7", 1234))) as client:
            assert client.closed()
        said(proxy, "client-refused", client="198.51.100.7:1234", reason="allow")
        for header in (v2(command=LOCAL), b"PROXY UNKNOWN\r\n"):
            with connect(proxy, header) as client:
                name = f"127.0.0.1:{client.local[1]}"
                assert client.closed()
            said(proxy, "client-refused", client=name, reason="allow")
        with connect(proxy, v2() + b"\x16\x03\x01") as client:
            assert b"takes no TLS" in client.read_all()
        said(proxy, "client-speaks-no-resp", client=f"{CLIENT[0]}:{CLIENT[1]}")

        def served(client):
            if client.call("PING") == "PONG":
                return client
            client.close()
            return None
        with contextlib.ExitStack() as stack:
            for host in (CLIENT[0], "192.0.2.2"):
                for port in (1, 2):
                    stack.enter_context(wait_until(
                        lambda h=host, p=port: served(connect(proxy, v1((h, p)))), 10, "a place"))
                with connect(proxy, v1((host, 3))) as client:
                    assert client.read() == FULL
            said(proxy, "client-refused", client="192.0.2.2:3", reason="max-clients-per-address")


def test_before_tls():
    """The header is plain, and TLS begins behind it."""
    certs, port = tls.certs(), Port()
    at = ("127.0.0.1", port.number)
    tls.speaks(at, certs.client_context())
    try:
        with proxied({"tls-listen": joined(at), **certs.listener("service.mymaster")}):
            for header in (v1(), v2(tlvs=b"x" * 600)):
                with Conn(at, 20, begin=[header]) as client:
                    assert client.ok("PING") == "PONG"
                    assert client.ok("ECHO", "x" * 100_000) == b"x" * 100_000
    finally:
        tls.speaks(at, None)
        port.release()


def test_max_clients_counts_those_that_wait():
    """limit: max-clients. A header that does not come takes a place as long as it is waited for."""
    def answer():
        with connect(proxy, v1() + PING) as client:
            return client.read()
    with proxied({"proxy.max-clients": 3, "proxy.handshake-timeout": "3s"}) as proxy, \
            contextlib.ExitStack() as stack:
        wait_until(lambda: answer() == "PONG", 10, "a place")

        def full():
            stack.enter_context(connect(proxy, b"PROXY"))
            return answer() == FULL
        wait_until(full, 10, "no place")
        wait_until(lambda: answer() == "PONG", 15, "a place again")


def test_left_waiting_at_the_end():
    """Nothing of it is left behind: the sanitizer would tell."""
    with proxied({}) as proxy:
        with connect(proxy, v1() + PING) as client:
            assert client.read() == "PONG"
        waiting = connect(proxy, b"PROXY")
    assert waiting.closed()
    waiting.close()
