"""TLS to one node and from clients: what is refused and in which words, certificates that change
while connections stand, and sessions that are resumed."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

from support import tls
from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.procs import Port
from support.proxy import Proxy, joined, run
from support.resp import Conn, ServerError, encode
from support.wait import wait_until

NODE = "service.mymaster"
NOT_EXECUTED = "LOADING No primary available for 'mymaster'; the command was not executed"


@pytest.fixture(name="certs", scope="module")
def certs_fixture():
    return tls.certs()


@pytest.fixture(name="node", scope="module")
def node_fixture(certs):
    with tls_node(certs) as node:
        yield node


@contextlib.contextmanager
def tls_node(certs, settings=()):
    with tempfile.TemporaryDirectory() as directory:
        node = Node(directory, settings=settings, tls=certs)
        try:
            node.start()
            yield node
        finally:
            node.close()


@contextlib.contextmanager
def proxied(address, certs, settings=None, **options):
    """(proxy, sentinel): with TLS on both sides, but for the Sentinel, which is a fake one."""
    with FakeSentinel(address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, **(settings or {})}, tls=certs,
                  **options) as proxy:
        yield proxy, sentinel


def said(proxy, event, words):
    """Waits until a line of that event has those words."""
    wait_until(lambda: any(words in entry.get("error", "") for entry in proxy.entries(event)), 10,
               f"{event} with {words!r}:\n{proxy.log()[-2000:]}")


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(node, certs):
    """With a plain listener besides the one for TLS, and one that wants certificates."""
    ports = [Port(), Port()]
    both = {NODE + ".listen": f"127.0.0.1:{ports[0].number}",
            NODE + ".tls-listen": f"127.0.0.1:{ports[1].number}"}
    with proxied(node.address, certs, {NODE + ".listen": both[NODE + ".listen"]}) as (proxy, _):
        proxy.plain = ("127.0.0.1", ports[0].number)
        proxy.wait_serving()
        yield proxy
    for port in ports:
        port.release()


def connect(proxy, context):
    """A TLS connection by that context, or the error that ends it."""
    sock = socket.create_connection(proxy.address, 10)
    sock.settimeout(10)
    try:
        secured = context.wrap_socket(sock, server_hostname=tls.NAME)
        secured.sendall(encode("PING"))
        return secured, secured.recv(100)
    except BaseException:
        sock.close()
        raise


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_and_a_plain_listener_beside(proxy, certs, version):
    secured, reply = connect(proxy, certs.client_context(version=version))
    assert reply == b"+PONG\r\n"
    secured.close()
    with Conn(proxy.plain) as client:
        assert client.ok("SET", "k", "v") == "OK"
    with proxy.connect() as client:
        assert client.ok("GET", "k") == b"v"


def test_large_values_both_ways(proxy):
    value = os.urandom(3_000_000).hex()
    with proxy.connect(30) as client:
        assert client.ok("SET", "large", value, timeout=30) == "OK"
        assert client.ok("GET", "large", timeout=30) == value.encode()
        numbers = client.pipeline([("ECHO", f"{i}") for i in range(20_000)], timeout=60)
        assert numbers == [str(i).encode() for i in range(20_000)]


def test_reader_that_stops_holds_up_nobody(proxy):
    with proxy.connect() as slow, proxy.connect() as other:
        other.ok("SET", "big", "x" * 1_000_000)
        slow.send(encode("GET", "big") * 40)
        for i in range(100):
            assert other.ok("ECHO", i) == str(i).encode()
        for _ in range(40):
            assert len(slow.read_frame(30)) > 1_000_000


def test_half_close_gets_all_answers(proxy):
    with proxy.connect() as client:
        client.send(encode("ECHO", "y" * 100_000) * 20)
        client.half_close()
        for _ in range(20):
            assert client.read(10) == b"y" * 100_000
        assert client.closed()


def test_quit_is_answered_before_the_end(proxy):
    with proxy.connect() as client:
        assert client.call("QUIT") == "OK"
        assert client.closed()


def test_plain_client_on_a_tls_port(proxy):
    with socket.create_connection(proxy.address, 5) as client:
        client.sendall(encode("PING"))
        assert client.recv(200) == b"-ERR This port takes TLS connections only\r\n"
        assert client.recv(1) == b""
    said(proxy, "client-tls-failed", "the other side speaks no TLS")


def test_tls_client_on_a_plain_port(proxy, certs):
    with socket.create_connection(proxy.plain, 5) as client:
        with pytest.raises(ssl.SSLError, match="(?i)wrong.version.number"):
            certs.client_context().wrap_socket(client, server_hostname=tls.NAME)
    said(proxy, "client-speaks-no-resp", "this port takes no TLS")


def test_garbage_in_the_handshake(proxy):
    with socket.create_connection(proxy.address, 5) as client:
        client.sendall(b"\x16\x03\x01\x00\x20" + b"\xff" * 32)
        while client.recv(100):
            pass
    with proxy.connect() as client:  # and in what follows it
        socket.socket.sendall(client.sock, b"\x17\x03\x03\x00\x20" + b"\xff" * 32)
        with pytest.raises((EOFError, OSError)):
            client.read()
    said(proxy, "client-tls-failed", "bad record mac")


def test_renegotiation_is_refused(proxy, certs):
    """A client of TLS 1.2 that wants to agree anew is told that there is none of that."""
    host, port = proxy.address
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-CAfile",
             certs.path("ca.crt")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as client:
        seen = b""
        while b"Verify return code" not in seen:
            seen += client.stdout.readline()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said_last = client.communicate(timeout=20)[0]
    assert b"no renegotiation" in said_last, said_last
    assert proxy.call("PING") == "PONG"


def test_client_that_trusts_another_authority(proxy, certs):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(proxy, certs.client_context(ca="other-ca"))
    said(proxy, "client-tls-failed", "the other side refuses: unknown ca")


def test_clients_have_to_show_a_certificate(node, certs):
    with proxied(node.address, certs, {NODE + ".tls-auth-clients": "yes",
                                       NODE + ".tls-auth-ca-file": certs.path("ca.crt")}) \
            as (proxy, _):
        proxy.wait_serving()
        for cert, words in ((None, "peer did not return a certificate"),
                            ("foreign", "CN=foreign,O=Vedette tests is refused"),
                            ("expired", "CN=expired,O=Vedette tests expired on 20")):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                connect(proxy, certs.client_context(cert=cert))
            said(proxy, "client-tls-failed", words)


def test_clients_may_show_a_certificate(node, certs):
    with proxied(node.address, certs, {NODE + ".tls-auth-clients": "optional",
                                       NODE + ".tls-auth-ca-file": certs.path("ca.crt")}) \
            as (proxy, _):
        proxy.wait_serving()
        assert connect(proxy, certs.client_context(cert=None))[1] == b"+PONG\r\n"
        assert connect(proxy, certs.client_context())[1] == b"+PONG\r\n"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(proxy, certs.client_context(cert="foreign"))


def refuses(address, certs, settings, event, words):
    """The proxy does not use such a node, says why, and answers what waited as not executed."""
    with proxied(address, certs, {"hold-timeout": "1s", **settings}) as (proxy, _):
        with proxy.connect() as client:
            assert client.call("PING") == ServerError(NOT_EXECUTED)
        said(proxy, event, words)


@pytest.mark.parametrize("settings, words", [
    ({"tls-ca-cert-file": "other-ca.crt"}, "is refused: self-signed certificate in certificate chain"),
    ({"tls-server-name": "redis.example"},
     "CN=server,O=Vedette tests is for another name or address: DNS:localhost"),
])
def test_node_that_is_not_trusted(node, certs, settings, words):
    paths = {NODE + "." + key: certs.path(value) if value.endswith(".crt") else value
             for key, value in settings.items()}
    refuses(node.address, certs, paths, "node-tls-failed", words)


@pytest.mark.parametrize("cert, words", [
    ("expired", "CN=expired,O=Vedette tests expired on 20"),
    ("elsewhere", "is for another name or address: DNS:elsewhere.example"),
    ("alone", "CN=alone,O=Vedette tests is refused: self-signed certificate"),
])
def test_node_with_a_bad_certificate(certs, cert, words):
    with TlsRelay(None, certs, cert) as relay:
        refuses(relay.address, certs, {}, "node-tls-failed", words)


def test_node_that_wants_our_certificate(node, certs):
    """Which the proxy is told only behind its handshake."""
    with FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "hold-timeout": "1s", "tls": "yes",
                                       "tls-ca-cert-file": certs.path("ca.crt")}) as proxy:
        with proxy.connect() as client:
            assert client.call("PING") == ServerError(NOT_EXECUTED)
        said(proxy, "node-tls-failed", "the other side refuses: certificate required")


def test_node_without_tls(certs):
    with tempfile.TemporaryDirectory() as directory:
        node = Node(directory)
        try:
            node.start()
            refuses(node.address, certs, {"connect-timeout": "300ms"}, "node-tls-failed",
                    "no TLS handshake in time")
        finally:
            node.close()


def test_name_for_addresses(node, certs):
    """tls-server-name: the certificate is for a name, the Sentinels tell addresses."""
    with proxied(node.address, certs, {NODE + ".tls-server-name": "localhost"}) as (proxy, _):
        proxy.wait_serving()


# Certificates that change.

def serial_of(proxy, certs):
    sock = socket.create_connection(proxy.address, 10)
    with certs.client_context().wrap_socket(sock, server_hostname=tls.NAME) as secured:
        return secured.getpeercert()["serialNumber"]


@contextlib.contextmanager
def own_files(certs):
    """A certificate and key of their own, to be replaced."""
    with tempfile.TemporaryDirectory() as directory:
        def put(name):
            for kind in ("crt", "key"):
                target = os.path.join(directory, f"mine.{kind}")
                shutil.copy(certs.path(f"{name}.{kind}"), target + ".new")
                os.rename(target + ".new", target)
        put("server")
        yield put, {NODE + ".tls-cert-file": os.path.join(directory, "mine.crt"),
                    NODE + ".tls-key-file": os.path.join(directory, "mine.key")}


@pytest.mark.parametrize("how", ["seen", "sighup"])
def test_new_certificate_for_new_connections(node, certs, how):
    """limit: TLS_LOOK_MS. Those that stand go on."""
    with own_files(certs) as (put, settings), \
            proxied(node.address, certs, settings) as (proxy, _):
        proxy.wait_serving()
        old = serial_of(proxy, certs)
        with proxy.connect() as client:
            client.ok("SET", "n", 0)
            put("second")
            if how == "sighup":
                proxy.process.signal(signal.SIGHUP)
            wait_until(lambda: client.ok("INCR", "n") and serial_of(proxy, certs) != old, 10,
                       "the new certificate")
            assert client.ok("PING") == "PONG"
            loaded = proxy.entries("certificates-loaded")
            assert loaded and loaded[0]["section"] == "mymaster"


def test_bad_certificate_changes_nothing(node, certs):
    with own_files(certs) as (put, settings), \
            proxied(node.address, certs, settings) as (proxy, _):
        proxy.wait_serving()
        old = serial_of(proxy, certs)
        with open(settings[NODE + ".tls-cert-file"], "w", encoding="ascii") as cert:
            cert.write("nonsense\n")
        said(proxy, "certificates-not-loaded", "mine.crt' has no certificate that can be used")
        assert serial_of(proxy, certs) == old
        put("second")
        wait_until(lambda: serial_of(proxy, certs) != old, 10, "the new certificate")


# Checking.

def check(settings):
    arguments = ["--check", "--sentinel", "127.0.0.1:1", "--master", "mymaster"]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    return run(*arguments)


def test_check_loads_everything(certs):
    good = {NODE + ".tls-listen": "127.0.0.1:7", **certs.listener(NODE), **certs.upstream(NODE),
            **certs.upstream("sentinel")}
    code, out, err = check(good)
    assert code == 0 and "good" in out and "tls" not in err
    code, _, err = check({**good, "sentinel.tls-ca-cert-file": "/no/such.crt"})
    assert code == 2
    assert "--set sentinel.tls-ca-cert-file: bad tls-ca-cert-file: '/no/such.crt' can't be read: " \
           "No such file or directory" in err
    code, _, err = check({**good, NODE + ".tls-key-file": certs.path("client.key")})
    assert code == 2
    assert "is not that of CN=server,O=Vedette tests in '" in err
    code, _, err = check({**good, NODE + ".tls-ciphers": "NONE-SUCH"})
    assert code == 2 and "bad tls-ciphers: 'NONE-SUCH' has no cipher that there is" in err


@pytest.mark.parametrize("cert, words", [("soon", "soon,O=Vedette tests expires on 20"),
                                         ("expired", "expired,O=Vedette tests has expired on 20")])
def test_check_warns_of_expiry(certs, cert, words):
    """limit: TLS_EXPIRY_DAYS"""
    code, _, err = check({NODE + ".tls-listen": "127.0.0.1:7",
                          NODE + ".tls-cert-file": certs.path(f"{cert}.crt"),
                          NODE + ".tls-key-file": certs.path(f"{cert}.key")})
    assert code == 0 and "warning: --set service.mymaster.tls-cert-file: '" in err and words in err


# Resumption.

class TlsRelay:
    """Ends the proxy's TLS in front of a node that speaks it too (None: in front of nothing), so
    that the server's own counter tells how many sessions were resumed."""

    def __init__(self, node, certs, cert="server"):
        self._node, self._port = node, Port()
        self.address = ("127.0.0.1", self._port.number)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certs.path(f"{cert}.crt"), certs.path(f"{cert}.key"))
        self._listener = socket.create_server(self.address)
        self._threads = []
        self._open = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._port.release()

    def cut(self):
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError, EOFError), sock:
            secured = self.context.wrap_socket(sock, server_side=True)
            node = self._node.connect(60)
            self._open += [secured, node.sock]
            back = threading.Thread(target=pump, args=(node.sock, secured), daemon=True)
            back.start()
            pump(secured, node.sock)


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


def test_sessions_are_resumed(node, certs):
    with TlsRelay(node, certs) as relay, \
            proxied(relay.address, certs, {"links": "exclusive"}) as (proxy, _):
        proxy.wait_serving()
        with proxy.connect() as client:
            client.ok("PING")
        stats = relay.context.session_stats
        wait_until(lambda: stats()["accept_good"] >= 3, 10, "some connections")
        hits = stats()["hits"]
        for _ in range(5):
            with proxy.connect() as client:
                client.ok("PING")
        wait_until(lambda: stats()["hits"] >= hits + 5, 10, f"resumed sessions: {stats()}")


@pytest.mark.full
def test_client_that_does_not_begin(proxy):
    """limit: TLS_HANDSHAKE_MAX_MS"""
    with socket.create_connection(proxy.address, 20) as client:
        begun = time.monotonic()
        client.settimeout(20)
        assert client.recv(1) == b""
        assert 9 < time.monotonic() - begun < 15
    said(proxy, "client-tls-failed", "no TLS handshake in time")
