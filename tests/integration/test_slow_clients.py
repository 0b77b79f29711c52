"""Scenarios 30, 31 and 34: values of 100 MB, readers that stop and long pipelines take little memory
and nobody else's time."""

import contextlib
import statistics
import threading
import time

import pytest

from support.proxy import is_sanitized
from support.resp import encode
from support.wait import wait_until

MIB = 1 << 20
MB = 1_000_000


@pytest.fixture(name="service")
def service_fixture(request, start_service):
    """Its sanitizer, if it has one, gives back what was freed: then little is little."""
    with start_service({"stall-timeout": "10s", **getattr(request, "param", {})}, env={
            "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    }) as started:
        started.proxy.call("PING")
        yield started


def bound(mib):
    """AddressSanitizer spends some of its own for each allocation, and keeps its arenas."""
    return (mib + (48 if is_sanitized() else 0)) * MIB


class Others:
    """A client that asks one thing after the other, in a thread, and how long it took."""

    def __init__(self, service):
        self._conn = service.connect(30)
        self._took, self._over = [], threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            while not self._over.is_set():
                began = time.monotonic()
                self._conn.ok("INCR", "others")
                self._took.append(time.monotonic() - began)
                time.sleep(0.001)
        except Exception as error:  # handed to the main thread
            self._failure = error

    def during(self, seconds):
        """(p50, p99, longest) of that time, in ms."""
        self._took.clear()
        time.sleep(seconds)
        took = sorted(self._took)
        assert self._failure is None and len(took) > 50, (self._failure, len(took))
        cuts = statistics.quantiles(took, n=100)
        return [round(value * 1000, 2) for value in (cuts[49], cuts[98], took[-1])]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)
        self._conn.close()


def check_undisturbed(alone, beside):
    """What had to wait for a slow client would wait for seconds. Less than that a busy machine may
    do to one request in a hundred, but not to half of them."""
    assert beside[0] < 3 * alone[0] + 5
    assert beside[1] < 3 * alone[1] + 250


class Slow:
    """Moves a megabyte a second, reading or sending, in a thread, until it is closed."""

    def __init__(self, service, request, reads):
        self._conn = service.connect(30, rcvbuf=65536)
        self._reads, self._over, self.moved = reads, threading.Event(), 0
        self._request = memoryview(request)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        if self._reads:
            assert len(self._conn.ok("GET", "first")) == 2 * MIB
            self._conn.send(self._request)
        while not self._over.wait(0.02):
            if self._reads:
                self.moved += len(self._conn.sock.recv(20_000))
            else:
                self._conn.send(self._request[self.moved : self.moved + 20_000])
                self.moved += 20_000

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)
        self._conn.close()


def test_30_slow_ones_disturb_nobody(service):
    """A value of 100 MB is sent and read at 1 MB/s by two clients, and at full speed by a third.
    Each of them has read a large one before: the first comes on a shared connection, which waits
    for nobody."""
    service.node.call("SET", "first", "x" * (2 * MIB))
    body = (b"0123456789abcdef" * (6_250_001))[: 100 * MB]
    process = service.proxy.process
    with service.connect(60) as client:
        assert len(client.ok("GET", "first")) == 2 * MIB
        before = process.rss_peak()
        assert client.ok("SET", "large", body) == "OK"
        assert client.ok("GET", "large") == body
        assert process.rss_peak() - before < bound(16)
        with Others(service) as others:
            alone = others.during(1.5)
            with Slow(service, encode("GET", "large"), True) as reader, \
                    Slow(service, encode("SET", "other", body), False) as sender:
                beside = others.during(2.5)
                assert client.ok("SET", "large", body) == "OK"
                assert client.ok("GET", "large") == body
                assert reader.moved > MB and sender.moved > MB
        grown = process.rss_peak() - before
    print(f"p50, p99, longest alone: {alone} ms, beside slow ones: {beside} ms; "
          f"memory {grown / MIB:.1f} MiB")
    check_undisturbed(alone, beside)
    assert grown < bound(32)


@pytest.mark.parametrize("service", [{"links": "exclusive"}], indirect=True, ids=["exclusive"])
def test_31_readers_that_stop(service):
    """Twenty clients ask for 12 MB each and read nothing: each holds little, and a stalled one is
    served as soon as it reads. On shared connections each would be closed at a limit."""
    count, process = 20, service.proxy.process
    service.node.call("SET", "k", "x" * 400_000)
    with Others(service) as others, contextlib.ExitStack() as stack:
        alone, before = others.during(1), process.rss_peak()
        stalled = [stack.enter_context(service.connect(30, rcvbuf=4096)) for _ in range(count)]
        for client in stalled:
            client.send(encode("GET", "k") * 30)
        wait_until(lambda: service.node.calls("get") == 30 * count, 20, "the server to be done")
        beside = others.during(1.5)
        grown = process.rss_peak() - before
        print(f"p50, p99, longest alone: {alone} ms, beside: {beside} ms; "
              f"{grown / count / MIB:.2f} MiB each")
        check_undisturbed(alone, beside)
        assert grown < bound(count * 2)
        for _ in range(30):
            assert len(stalled[0].read()) == 400_000


def test_34_pipeline_of_100000(service):
    """Sent by one client before it reads the first reply: the memory is that of its bounds."""
    count, process = 100_000, service.proxy.process
    with service.connect(60, rcvbuf=65536) as client:
        before = process.rss_peak()
        sender = threading.Thread(target=client.send, args=(b"".join(
            encode("INCR", "n") if i % 2 else encode("ECHO", f"{i:0200}") for i in range(count)),))
        sender.start()
        time.sleep(0.5)  # it is full by then, or will be
        for i in range(count):
            assert client.read() == ((i + 1) // 2 if i % 2 else b"%0200d" % i)
        sender.join()
        grown = process.rss_peak() - before
    print(f"memory {grown / MIB:.1f} MiB")
    assert grown < bound(12)


@pytest.mark.full
@pytest.mark.slow
def test_30_value_of_512_mib(service):
    """The largest that there is, through the same few megabytes."""
    process = service.proxy.process
    body = b"x" * (512 * MIB)
    service.node.call("SET", "first", "x" * (2 * MIB))
    with service.connect(180) as client:
        assert len(client.ok("GET", "first")) == 2 * MIB
        before = process.rss_peak()
        assert client.ok("SET", "k", body) == "OK"
        assert client.ok("GET", "k") == body
        assert process.rss_peak() - before < bound(16)
