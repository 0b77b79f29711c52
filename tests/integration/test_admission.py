"""Who may connect: by address, and how many from one."""

import contextlib
import socket

import pytest

from support.procs import Port
from support.resp import Conn, ServerError
from support.wait import wait_until

FULL = ServerError("ERR max number of clients reached")


def refusals(service, reason):
    return [e for e in service.proxy.entries("client-refused") if e["reason"] == reason]


def served(address, **options):
    """A client, if there is a place for it."""
    client = Conn(address, **options)
    if client.call("PING") == "PONG":
        return client
    client.close()
    return None


@contextlib.contextmanager
def ports(count):
    taken = [Port() for _ in range(count)]
    try:
        yield [port.number for port in taken]
    finally:
        for port in taken:
            port.release()


def test_allow(start_service, tmp_path):
    """Others are closed without a word, on every listener but unix sockets."""
    path = str(tmp_path / "vedette.sock")
    with ports(2) as (reads, six), start_service(
            {"allow": "127.0.0.0/30", "read-listen": f"127.0.0.1:{reads}"},
            arguments=("--listen", f"unix:{path}", "--listen", f"[::1]:{six}")) as service:
        places = [service.proxy.address, ("127.0.0.1", reads)]
        for place in places:
            with Conn(place, source="127.0.0.2") as client:
                assert client.ok("PING") == "PONG"
        with Conn(path) as client:
            assert client.ok("PING") == "PONG"
        names = []
        for place, source in [(p, "127.0.0.4") for p in places] + [(("::1", six), None)]:
            with Conn(place, source=source) as client:
                names.append((client.local[0], client.local[1]))
                assert client.closed()
        wait_until(lambda: len(refusals(service, "allow")) == 3, 5, "three refusals")
        said = [e["client"].rsplit(":", 1) for e in refusals(service, "allow")]
        assert [(host.strip("[]"), int(port)) for host, port in said] == names


def test_refusals_do_not_fill_the_log(start_service):
    with start_service({"allow": "127.0.0.1"}) as service:
        for _ in range(50):
            with Conn(service.proxy.address, source="127.0.0.2") as client:
                assert client.closed()
        assert 5 <= len(refusals(service, "allow")) <= 25


@pytest.mark.tsan
def test_max_clients_per_address(start_service, tmp_path):
    """limit: max-clients-per-address. The words are those of Redis for max-clients; others have
    their places, and a place is free again when a client has left."""
    path = str(tmp_path / "vedette.sock")
    with start_service({"proxy.max-clients-per-address": 3},
                       arguments=("--listen", f"unix:{path}")) as service, \
            contextlib.ExitStack() as stack:
        address = service.proxy.address

        def place(source):
            return stack.enter_context(
                wait_until(lambda: served(address, source=source), 10, "a place"))
        clients = [place("127.0.0.2") for _ in range(3)]
        for _ in range(2):
            with Conn(address, source="127.0.0.2") as client:
                assert client.read() == FULL
                assert client.closed()
        others = [place(f"127.0.0.{n}") for n in range(3, 9)]
        others += [stack.enter_context(Conn(path)) for _ in range(5)]
        clients.pop().close()
        clients.append(place("127.0.0.2"))
        for client in clients + others:
            assert client.ok("PING") == "PONG"
        refused = refusals(service, "max-clients-per-address")
        assert refused and all(e["limit"] == "3" for e in refused)
        assert refused[0]["client"].startswith("127.0.0.2:")


def test_places_are_given_back_however_clients_leave(start_service):
    """limit: max-clients-per-address. Reset, refused, in the middle of a request, before TLS."""
    with start_service({"proxy.max-clients-per-address": 2, "allow": "127.0.0.0/24"}) as service:
        for turn in range(40):
            client = Conn(service.proxy.address, source="127.0.0.2")
            if turn % 3 == 0:
                client.send(b"*1\r\n$4\r\nPI")
            if turn % 2 == 0:
                client.reset()
            client.close()
        client = wait_until(lambda: served(service.proxy.address, source="127.0.0.2"), 10, "a place")
        client.close()


def test_a_client_of_no_address(start_service):
    """It is gone before it is looked at."""
    with start_service({"allow": "127.0.0.1"}) as service:
        for _ in range(20):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.connect(service.proxy.address)
        assert service.proxy.call("PING") == "PONG"
