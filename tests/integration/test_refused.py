"""The primary refuses writes for a while (-NOREPLICAS): what is done with clients that wait for it."""

import os
import time

import pytest

from support.fake_sentinel import FakeSentinel
from support.cluster import Node
from support.proxy import Proxy
from support.resp import encode
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

MIB = 1 << 20


@pytest.fixture(name="setup")
def setup_fixture(tmp_path):
    """(node, proxy): a primary without replicas that wants one for every write."""
    node = Node(str(tmp_path))
    try:
        node.start()
        with FakeSentinel(node.address, epoch=1) as sentinel, \
                Proxy([sentinel.address], {"hold-timeout": "8s", "proxy.workers": 1}) as proxy:
            proxy.wait_serving()
            node.call("CONFIG", "SET", "min-replicas-to-write", 1)
            proxy.sentinel = sentinel
            yield node, proxy
    finally:
        node.close()


def cpu_share(pid, seconds=1.0):
    """How much of one processor the process uses over a moment."""
    def used():
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def wait_refused(proxy):
    wait_until(lambda: proxy.entries("request-refused"), 5, "a refusal")


def test_clients_that_leave_while_refused_cost_nothing(setup):
    node, proxy = setup
    clients = [proxy.connect() for _ in range(30)]
    for client in clients:
        client.send(encode("INCR", "n"))
    wait_refused(proxy)
    for client in clients:
        client.half_close()
    assert cpu_share(proxy.process.pid) < 0.4
    node.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert sorted(client.read() for client in clients) == list(range(1, 31))
    for client in clients:
        assert client.closed()
        client.close()


def test_a_client_that_goes_on_sending_is_held_back(setup):
    """A part of a request is here already when the one before it is refused."""
    _, proxy = setup
    with proxy.connect() as client:
        whole = encode("SET", "k", b"x" * 50_000)
        client.send(encode("INCR", "n") + whole[:1000])
        wait_refused(proxy)
        before = proxy.rss()
        client.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            client.send(whole[1000:] + whole * 4000)
        assert proxy.rss() - before < 30 * MIB


def test_a_blocking_command_that_is_taken_lets_the_others_go_on(setup):
    node, proxy = setup
    with proxy.connect() as blocked, proxy.connect() as writer:
        blocked.send(encode("BLPOP", "empty", "0"))
        wait_refused(proxy)
        writer.send(encode("INCR", "n"))
        wait_until(lambda: len(proxy.entries("request-refused")) > 1 or
                   node.calls("incr") > 0, 5, "the second refusal")
        node.call("CONFIG", "SET", "min-replicas-to-write", 0)
        began = time.monotonic()
        assert writer.read() == 1
        assert time.monotonic() - began < 3
        node.call("RPUSH", "empty", "x")
        assert blocked.read() == [b"empty", b"x"]


def test_a_client_that_left_before_the_failover_began(setup, tmp_path_factory):
    """It may have asked elsewhere since: what it waited for is not done on the new primary."""
    old, proxy = setup
    new = Node(str(tmp_path_factory.mktemp("new")))
    try:
        new.start()
        with proxy.connect() as client:
            client.send(encode("INCR", "n"))
            wait_refused(proxy)
        with proxy.connect() as other:
            other.send(encode("INCR", "m"))
            time.sleep(0.3)  # the proxy sees at its own time that the first one left
            proxy.sentinel.publish("+try-failover", f"master mymaster 127.0.0.1 {old.port}")
            wait_until(lambda: proxy.entries("hold-begin"), 5, "the hold")
            proxy.sentinel.switch(new.address, 2)
            assert other.read() == 1
        time.sleep(0.3)
        assert new.call("GET", "n") is None
    finally:
        new.close()
