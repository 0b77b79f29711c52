"""buffer-memory: what all buffers together may hold, and who goes when it is too much."""

import contextlib

import pytest

from support.proxy import is_sanitized
from support.resp import encode
from support.wait import wait_until

MIB = 1 << 20
LIMIT = 16 * MIB


@pytest.fixture(name="service")
def service_fixture(request, start_service):
    """One each: the log says no more than five such lines a second."""
    with start_service({"proxy.buffer-memory": "16m", "hold-timeout": "60s", "stall-timeout": "30s",
                        **getattr(request, "param", {})}) as started:
        yield started


def closings(service):
    return service.proxy.entries("buffer-memory")


def go_on(honest):
    for client in honest:
        assert isinstance(client.ok("INCR", "n"), int)
        assert client.ok("SET", "mine", "x" * 100_000) == "OK"
        assert len(client.ok("GET", "mine")) == 100_000


@pytest.mark.tsan
def test_stalled_readers(service):
    """limit: buffer-memory SESSION_OUTPUT_HIGH. 60 clients that ask and never read want four times
    what there is: some of them are closed, those that read go on."""
    service.node.call("SET", "big", "x" * 400_000)
    service.proxy.call("PING")
    before, closed = service.proxy.rss(), len(closings(service))
    with contextlib.ExitStack() as stack:
        honest = [stack.enter_context(service.connect(20)) for _ in range(10)]
        go_on(honest)
        for _ in range(60):
            stalled = stack.enter_context(service.connect(20, rcvbuf=4096))
            stalled.send(encode("GET", "big") * 30)
            go_on(honest[:1])
        wait_until(lambda: len(closings(service)) > closed, 10, "somebody to be closed")
        for _ in range(5):
            go_on(honest)
        for entry in closings(service)[closed:]:
            assert int(entry["held"]) > MIB // 2 and int(entry["limit"]) == LIMIT
        if not is_sanitized():
            assert service.proxy.rss() - before < 4 * LIMIT


@pytest.mark.parametrize("service", [{"links": "exclusive"}], indirect=True, ids=["exclusive"])
def test_uploaders_that_get_no_answer(service):
    """limit: buffer-memory. Requests in flight count as well: some uploaders are closed, the rest
    are executed, and so are the small requests beside them, each once."""
    closed, count = len(closings(service)), 40
    with contextlib.ExitStack() as stack:
        honest = [stack.enter_context(service.connect(60)) for _ in range(10)]
        uploaders = [stack.enter_context(service.connect(60)) for _ in range(count)]
        for client in honest + uploaders:
            client.ok("PING")
        service.node.call("DEL", "n")
        service.node.call("CLIENT", "PAUSE", 60_000, "WRITE")
        for client in honest:
            client.send(encode("INCR", "n"))
        for client in uploaders:
            with contextlib.suppress(ConnectionError):
                client.send(encode("APPEND", client.local[1], "x" * 50_000) * 30)
        wait_until(lambda: len(closings(service)) > closed, 20, "somebody to be closed")
        service.node.call("CLIENT", "UNPAUSE")
        assert sorted(client.read() for client in honest) == list(range(1, 11))
        served = [client for client in uploaders if b":1500000\r\n" in answers(client)]
        assert 4 <= len(served) < count
        for client in served:
            assert service.node.call("STRLEN", client.local[1]) == 1_500_000


def answers(client):
    """All that comes to 30 requests, or to the end of the connection."""
    said = b""
    with contextlib.suppress(EOFError, ConnectionError):
        for _ in range(30):
            said += client.read_frame()
    return said
