"""Clients that wait, leave, read slowly or are many while there is no primary."""

import contextlib
import os
import resource
import threading
import time

import pytest

from support.case import judged, scenario
from support.oracles import ACKED, check_open, tally
from support.load import Load
from support.resp import ServerError, encode
from support.wait import wait_until

MIB = 1 << 20


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
@judged
def test_60_a_client_that_left_changes_nothing(how):
    """It may have gone elsewhere with its request: what still waits then is dropped."""
    with scenario() as (cluster, proxy), proxy.connect(20) as stays:
        stays.ok("PING")
        gone = [proxy.connect(20) for _ in range(5)]
        for client in gone:
            client.ok("PING")
        old = cluster.primary
        old.kill()
        gone.append(proxy.connect(20))  # one that never had a link
        for client in gone:
            client.send(encode("INCR", "gone") * 3)
        stays.send(encode("INCR", "stays"))
        wait_until(lambda: proxy.entries("suspect-begin"), 10, "the loss to be noticed")
        for client in gone:
            getattr(client, how)()
        new = cluster.wait_primary(old)
        assert stays.read() == 1
        assert stays.ok("GET", "gone") is None
        assert new.call("GET", "gone") is None
        if how == "half_close":
            assert all(client.closed() for client in gone)


@contextlib.contextmanager
def descriptors(wanted):
    """As many as may be had, for this process and those it starts; at least the wanted ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"needs {wanted} descriptors, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connections(node):
    return int(node.info("stats")["total_connections_received"])


@pytest.mark.parametrize("idle", [
    2000, pytest.param(9600, marks=[pytest.mark.full, pytest.mark.slow])])
def test_32_many_clients_stay(idle):
    """limit: max-clients RELEASE_PER_TURN. All stay connected. Those that wait are served soon, and
    the new primary hears of no others until they ask for something; then all at once."""
    with descriptors(2 * idle + 700):
        many_clients_stay(idle)


@judged
def many_clients_stay(idle, active=50):
    with scenario(settings={"connect-timeout": "5s", "stall-timeout": "5s"}) as (cluster, proxy), \
            contextlib.ExitStack() as stack:
        opened = [stack.enter_context(proxy.connect(60)) for _ in range(idle + active)]
        for first in range(0, len(opened), 500):  # no more than the server's backlog holds
            for client in opened[first : first + 500]:
                client.send(encode("PING"))
            for client in opened[first : first + 500]:
                assert client.read() == "PONG"
        waiting, rest = opened[:active], opened[active:]
        before = {node: connections(node) for node in cluster.nodes}
        old = cluster.primary
        old.kill()
        for client in waiting:
            client.send(encode("INCR", "n"))
        new = cluster.wait_primary(old)
        assert sorted(client.read() for client in waiting) == list(range(1, active + 1))
        # Besides: Sentinels, the other replica, and whoever asks for its role.
        came = connections(new) - before[new]
        assert came < active + 100, "those that are idle have come too"
        began = time.monotonic()
        for client in rest:
            client.send(encode("INCR", "n"))
        for client in rest:
            assert isinstance(client.read(), int)
        print(f"{came} connections to the new primary for {active} clients; {idle} others served "
              f"{time.monotonic() - began:.2f} s after they asked")
        assert new.call("GET", "n") == b"%d" % len(opened)
        assert all(client.is_open() for client in opened)


@judged
def test_30_slow_reader_across_a_planned_failover():
    """A reply begun before the move is finished, byte for byte, or its client is closed; what waits
    behind it is answered by the new primary."""
    with scenario() as (cluster, proxy), proxy.connect(40, rcvbuf=65536) as slow:
        body = os.urandom(8 * MIB).hex().encode()
        cluster.primary.call("SET", "large", body)
        slow.send(encode("GET", "large"))
        head = b"$%d\r\n" % len(body)
        assert slow.read_exactly(len(head)) == head
        old = cluster.primary
        cluster.failover()
        cluster.wait_primary(old)
        slow.send(encode("INCR", "n"))
        try:
            assert slow.read_exactly(len(body) + 2) == body + b"\r\n"
        except (EOFError, ConnectionError):
            assert proxy.entries("session-closed")
            return
        assert slow.read() == 1


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_30_large_write_across_the_failover(planned):
    """Half of it is sent when the primary goes: it runs once, or it is said not to have run."""
    with scenario() as (cluster, proxy), proxy.connect(40) as client, proxy.connect(40) as small:
        requests = {}
        for size, sender in ((900_000, small), (6 * MIB, client)):
            data = encode("SET", f"k{size}", os.urandom(size // 2).hex())
            requests[sender] = (size, data[len(data) // 2 :])
            sender.send(data[: len(data) // 2])
        old = cluster.primary
        if planned:
            cluster.failover()
        else:
            old.kill()
        new = cluster.wait_primary(old)
        for sender, (size, rest) in requests.items():
            sender.send(rest)
            reply = sender.read()
            stored = new.call("STRLEN", f"k{size}")
            if reply == "OK":
                assert stored == size
            else:
                assert size > MIB and isinstance(reply, ServerError)
                assert reply.code == "LOADING" and stored == 0
            assert sender.ok("PING") == "PONG"


@pytest.mark.tsan
@judged
def test_33_clients_come_and_go_during_the_failover():
    """Connections are opened and dropped in every state; those that stay get their own answers."""
    with scenario() as (cluster, proxy), Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(100)
        enough, failures = threading.Event(), []

        def come_and_go(number):
            try:
                while not enough.is_set():
                    with proxy.connect(20) as client:
                        client.send(encode("INCR", f"churn:{number}") * (1 + number))
                        if number % 2:
                            client.read()
                        if number % 3 == 0:
                            client.reset()
            except (OSError, EOFError) as error:
                failures.append(error)

        threads = [threading.Thread(target=come_and_go, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        old = cluster.primary
        old.kill()
        cluster.wait_primary(old)
        load.wait_acks(300)
        enough.set()
        for thread in threads:
            thread.join(20)
        load.stop()
        assert not failures
        assert tally(load.records)[ACKED] >= 400
        check_open(load.opened, load.connections)
        wait_until(lambda: proxy.fds() < 150, 15, "descriptors given back")
