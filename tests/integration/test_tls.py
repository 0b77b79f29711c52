"""TLS to one node and from clients: what is refused and in which words, certificates that change
while connections stand, and sessions that are resumed."""

import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import struct
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
FORGED = b"\x17\x03\x03\x00\x20" + b"\xff" * 32
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


class RawTls:
    """A client that has its TLS in its own hands, and sends pieces of what that makes."""

    def __init__(self, address, context, piece=1 << 16):
        self.sock = socket.create_connection(address, 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in, self._out, self._piece = ssl.MemoryBIO(), ssl.MemoryBIO(), piece
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=tls.NAME)
        self._do(self._tls.do_handshake)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _flush(self, behind=b""):
        data = self._out.read() + behind
        for at in range(0, len(data), self._piece):
            self.sock.sendall(data[at : at + self._piece])

    def _do(self, call, *words):
        while True:
            try:
                done = call(*words)
                self._flush()
                return done
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(1 << 16)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def send(self, data):
        self._do(self._tls.write, data)

    def end(self, behind=b""):
        """Says that nothing more will be; sends `behind` as it is."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush(behind)

    def read(self, n):
        data = b""
        while len(data) < n:
            data += self._do(self._tls.read, n - len(data))
        return data

    def read_all(self):
        """To the end, of which the peer has to tell."""
        data = []
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while True:
                data.append(self._do(self._tls.read, 1 << 16))
        return b"".join(data)


def said(proxy, event, words):
    """Waits until a line of that event has those words."""
    wait_until(lambda: any(words in entry.get("error", entry.get("reason", ""))
                           for entry in proxy.entries(event)), 10,
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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_end_of_tls_gets_all_answers(proxy, certs, version):
    """close_notify without FIN: the client says nothing more, and waits."""
    with RawTls(proxy.address, certs.client_context(version=version)) as client:
        client.send(encode("ECHO", "y" * 100_000) * 20 + encode("INCR", f"end:{version}"))
        client.end()
        said = client.read_all()
        assert said[:9] == b"$100000\r\n"
        assert said.count(b"y") == 2_000_000 and said.endswith(b"\r\n:1\r\n")
    assert proxy.call("GET", f"end:{version}") == b"1"


def test_what_follows_the_end_of_tls_is_nothing(proxy, certs):
    """Neither what is encrypted behind it, nor what is not."""
    context = certs.client_context(version=ssl.TLSVersion.TLSv1_3)
    with RawTls(proxy.address, context) as client, RawTls(proxy.address, context) as other:
        other.send(encode("ECHO", "x"))
        client.send(encode("INCR", "before"))
        client.end(encode("INCR", "behind") + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert client.read_all() == b":1\r\n"
    assert proxy.call("GET", "behind") is None


def test_bytes_of_a_connection_one_by_one(proxy, certs):
    """The handshake too: each takes part in a record, no record in a byte."""
    with RawTls(proxy.address, certs.client_context(), piece=1) as client:
        client.send(encode("ECHO", "crumbs"))
        assert client.read(12) == b"$6\r\ncrumbs\r\n"


def test_small_records(proxy, certs):
    """max_fragment_length: records of 512 bytes, which are one part of a write each."""
    host, port = proxy.address
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-maxfraglen", "512", "-quiet",
             "-CAfile", certs.path("ca.crt")]
    proxy.call("SET", "fragments", "f" * 200_000)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as client:
        client.stdin.write(encode("GET", "fragments") + encode("QUIT"))
        client.stdin.flush()
        said = client.stdout.read()
    assert said == b"$200000\r\n" + b"f" * 200_000 + b"\r\n+OK\r\n"


def test_keys_are_renewed(proxy, certs):
    """KeyUpdate, asked for both ways in the midst of requests."""
    host, port = proxy.address
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-CAfile",
             certs.path("ca.crt")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as client:
        for number in range(20):
            client.stdin.write(b"ECHO answer-%d\r\n" % number)
            client.stdin.flush()
            while b"answer-%d" % number not in (line := client.stdout.readline()):
                assert line, "the connection ended"
            client.stdin.write(b"K\n")  # a line of that alone is for s_client
            client.stdin.flush()
            while b"KEYUPDATE" not in (line := client.stdout.readline()):
                assert line, "the connection ended"
        client.stdin.write(b"QUIT\r\n")
        client.stdin.flush()
        client.communicate(timeout=20)
    assert proxy.call("PING") == "PONG"


def test_keys_renewed_for_ever(node, certs):
    """By a client that says nothing else."""
    with proxied(node.address, certs) as (proxy, _):
        host, port = proxy.address
        words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-CAfile",
                 certs.path("ca.crt")]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as client, \
                contextlib.suppress(BrokenPipeError):
            for _ in range(40):
                client.stdin.write(b"K\n")
                client.stdin.flush()
                while b"KEYUPDATE" not in (line := client.stdout.readline()) and line:
                    pass
        said(proxy, "client-tls-failed", "the other side sends message after message, and no data")
        assert proxy.call("PING") == "PONG"


def test_nothing_before_the_handshake_is_over(proxy, certs):
    """Early data, which might be somebody's copy, is not taken: tickets say so."""
    with tempfile.TemporaryDirectory() as directory:
        host, port = proxy.address
        ticket = os.path.join(directory, "ticket")
        words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-CAfile",
                 certs.path("ca.crt")]
        subprocess.run([*words, "-quiet", "-sess_out", ticket], input=b"QUIT\r\n", check=True,
                       capture_output=True, timeout=20)
        told = subprocess.run(["openssl", "sess_id", "-in", ticket, "-noout", "-text"], check=True,
                              capture_output=True, timeout=20).stdout
        assert b"Max Early Data: 0" in told, told
        early = os.path.join(directory, "early")
        with open(early, "wb") as file:
            file.write(encode("INCR", "early"))
        tried = subprocess.run([*words, "-sess_in", ticket, "-early_data", early],
                               input=b"QUIT\r\n", check=False, capture_output=True, timeout=20)
        assert b"Reused, TLSv1.3" in tried.stdout, tried.stdout
    assert proxy.call("GET", "early") is None


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
        socket.socket.sendall(client.sock, FORGED)
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


def test_client_that_has_left_is_named(node, certs):
    """What fails in a handshake is looked at when its socket may know of no peer any more."""
    with proxied(node.address, certs) as (proxy, _):
        for _ in range(8):
            with socket.create_connection(proxy.address, 5) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with pytest.raises(ssl.SSLCertVerificationError):
                    certs.client_context(ca="other-ca").wrap_socket(client,
                                                                    server_hostname=tls.NAME)
        failed = wait_until(lambda: proxy.entries("client-tls-failed"), 5, "a failed handshake")
        assert all(entry["client"].startswith("127.0.0.1:") for entry in failed), failed


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


def told_once(proxy, relay, words):
    """However often it is tried."""
    said(proxy, "node-tls-failed", words)
    tried = relay.context.session_stats()["accept"]
    wait_until(lambda: relay.context.session_stats()["accept"] >= tried + 8, 20, "more attempts")
    assert len(proxy.entries("node-tls-failed")) == 1, proxy.entries("node-tls-failed")


def test_replica_with_a_bad_certificate(node, certs):
    with TlsRelay(None, certs, "expired") as relay, \
            proxied(node.address, certs, {"read-policy": "any"}) as (proxy, sentinel):
        sentinel.replicas = [relay.address]
        told_once(proxy, relay, "CN=expired,O=Vedette tests expired on 20")
        assert proxy.call("PING") == "PONG"


def test_next_primary_with_a_bad_certificate(node, certs):
    """While the one before it answers."""
    with TlsRelay(None, certs, "expired") as relay, \
            proxied(node.address, certs) as (proxy, sentinel):
        proxy.wait_serving()
        sentinel.switch(relay.address, epoch=2)
        told_once(proxy, relay, "CN=expired,O=Vedette tests expired on 20")


def test_garbage_from_the_node(node, certs):
    """It costs the connections, and no client notices."""
    with TlsRelay(node, certs) as relay, proxied(relay.address, certs) as (proxy, _):
        proxy.wait_serving()
        with proxy.connect() as client:
            client.ok("SET", "garbage", "1")
            relay.garble()
            said(proxy, "link-tls-failed", "bad record mac")
            assert client.call("GET", "garbage") == b"1"


def test_node_that_wants_our_certificate(node, certs):
    """Which the proxy is told only behind its handshake."""
    with FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "hold-timeout": "1s", "tls": "yes",
                                       "tls-ca-cert-file": certs.path("ca.crt")}) as proxy:
        with proxy.connect() as client:
            assert client.call("PING") == ServerError(NOT_EXECUTED)
        said(proxy, "node-tls-failed", "the other side refuses: certificate required")


@pytest.mark.parametrize("cert, words", [
    ("expired", "CN=expired,O=Vedette tests expired on 20"),
    ("elsewhere", "is for another name or address: DNS:elsewhere.example"),
    ("alone", "CN=alone,O=Vedette tests is refused: self-signed certificate"),
    ("foreign", "CN=foreign,O=Vedette tests is refused: unable to get local issuer certificate"),
    (None, "no TLS handshake in time"),
])
def test_sentinel_that_is_not_trusted(certs, cert, words):
    """None: it speaks no TLS. It is not asked, and why is said."""
    with contextlib.ExitStack() as stack:
        address = (stack.enter_context(TlsRelay(None, certs, cert)) if cert
                   else stack.enter_context(Silent())).address
        proxy = stack.enter_context(Proxy(
            [address], {"proxy.workers": 1, "hold-timeout": "1s", **certs.upstream("sentinel")}))
        with proxy.connect() as client:
            assert client.call("PING") == ServerError(NOT_EXECUTED)
        said(proxy, "sentinel-unreachable", words)


class Silent:
    """Accepts, and never says anything."""

    def __init__(self):
        self._port = Port()
        self.address = ("127.0.0.1", self._port.number)
        self._listener = socket.create_server(self.address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._port.release()


def test_node_with_tls_that_is_not_asked_for_it(node):
    """tls = yes was forgotten."""
    with FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "hold-timeout": "1s"}) as proxy:
        with proxy.connect() as client:
            assert client.call("PING") == ServerError(NOT_EXECUTED)
        said(proxy, "node-tls-failed", "if it speaks TLS, set tls = yes")


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


@contextlib.contextmanager
def linked_files(certs):
    """The same, as Kubernetes gives a secret: links through a directory that is replaced whole."""
    with tempfile.TemporaryDirectory() as directory:
        def put(name):
            data = os.path.join(directory, name)
            os.mkdir(data)
            for kind in ("crt", "key"):
                shutil.copy(certs.path(f"{name}.{kind}"), os.path.join(data, f"tls.{kind}"))
            os.symlink(name, os.path.join(directory, "..data_tmp"))
            os.rename(os.path.join(directory, "..data_tmp"), os.path.join(directory, "..data"))
        put("server")
        for kind in ("crt", "key"):
            os.symlink(f"..data/tls.{kind}", os.path.join(directory, f"tls.{kind}"))
        yield put, {NODE + ".tls-cert-file": os.path.join(directory, "tls.crt"),
                    NODE + ".tls-key-file": os.path.join(directory, "tls.key")}


@pytest.mark.parametrize("how", ["seen", "sighup", "linked"])
def test_new_certificate_for_new_connections(node, certs, how):
    """limit: TLS_LOOK_MS. Those that stand go on."""
    with (linked_files if how == "linked" else own_files)(certs) as (put, settings), \
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
            assert not proxy.entries("certificates-not-loaded")


@pytest.mark.tsan
def test_clients_come_while_files_are_loaded(node, certs):
    """New ones and those that resume, on all workers, and links of their own: none is refused."""
    with own_files(certs) as (put, settings), proxied(node.address, certs, {
            **settings, "proxy.workers": 4, "links": "exclusive"}) as (proxy, _):
        proxy.wait_serving()
        failures, context, over = [], certs.client_context(), threading.Event()

        def client():
            session = None
            try:
                while not over.is_set():
                    with Resumable(proxy.address, context, session) as one:
                        session = one.session()
            except (OSError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        for turn in range(8):
            put(("second", "server")[turn % 2])
            proxy.process.signal(signal.SIGHUP)
            wait_until(lambda turn=turn: len(proxy.entries("certificates-loaded")) > 2 * turn, 20,
                       "the files to be loaded")
        over.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert not proxy.entries("certificates-not-loaded")


def test_tickets_of_before_are_void(node, certs):
    """Whoever was trusted by the old files shows anew who it is."""
    with tempfile.TemporaryDirectory() as directory:
        trusted = os.path.join(directory, "trusted.crt")
        shutil.copy(certs.path("ca.crt"), trusted)
        with proxied(node.address, certs, {NODE + ".tls-auth-clients": "yes",
                                           NODE + ".tls-auth-ca-file": trusted}) as (proxy, _):
            proxy.wait_serving()
            context = certs.client_context()
            with Resumable(proxy.address, context) as first:
                session = first.session()
            with Resumable(proxy.address, context, session) as again:
                assert again.sock.session_reused
                session = again.session()
            shutil.copy(certs.path("other-ca.crt"), trusted + ".new")
            os.rename(trusted + ".new", trusted)
            wait_until(lambda: proxy.entries("certificates-loaded"), 10, "the other authority")
            with pytest.raises((ssl.SSLError, ConnectionError)), \
                    Resumable(proxy.address, context, session) as refused:
                refused.session()
            said(proxy, "client-tls-failed", "is refused: self-signed certificate in")


class Resumable:
    def __init__(self, address, context, session=None):
        self.sock = context.wrap_socket(socket.create_connection(address, 10),
                                        server_hostname=tls.NAME, session=session)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def session(self):
        """What to go on with the next time; it comes with the first answer."""
        self.sock.sendall(encode("PING"))
        assert self.sock.recv(100) == b"+PONG\r\n"
        return self.sock.session


def test_key_before_its_certificate(node, certs):
    """Replaced one after the other: nothing is used before they fit."""
    with own_files(certs) as (_, settings), proxied(node.address, certs, settings) as (proxy, _):
        proxy.wait_serving()
        old = serial_of(proxy, certs)
        paths = {kind: settings[f"{NODE}.tls-{word}-file"]
                 for kind, word in (("crt", "cert"), ("key", "key"))}
        shutil.copy(certs.path("second.key"), paths["key"])
        said(proxy, "certificates-not-loaded", "is not that of CN=server,O=Vedette tests in '")
        assert serial_of(proxy, certs) == old
        shutil.copy(certs.path("second.crt"), paths["crt"])
        wait_until(lambda: serial_of(proxy, certs) != old, 10, "the new certificate")


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

    def garble(self):
        """Sends each of those that are connected a record that nobody has made."""
        for sock in self._open[::2]:
            with contextlib.suppress(OSError):  # it has ended
                socket.socket.sendall(sock, FORGED)

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
            with node.sock:
                exchange(secured, node.sock)


def exchange(one, other):
    """Until one of them ends. In one thread: OpenSSL's connections are not for two at once."""
    while True:
        ready = [s for s in (one, other) if s.pending()] or select.select([one, other], [], [])[0]
        for sock in ready:
            data = came(sock)
            if data == b"":
                return
            (other if sock is one else one).sendall(data or b"")


def came(sock):
    """What has, b"" at the end, or None: it was a session ticket."""
    sock.setblocking(False)
    try:
        return sock.recv(1 << 16)
    except ssl.SSLWantReadError:
        return None
    finally:
        sock.setblocking(True)


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
    """handshake-timeout, as it is unless set."""
    with socket.create_connection(proxy.address, 20) as client:
        begun = time.monotonic()
        client.settimeout(20)
        assert client.recv(1) == b""
        assert 9 < time.monotonic() - begun < 15
    said(proxy, "client-tls-failed", "no TLS handshake in time")
