"""Sentinels that other proxies stumble over: one that announces nowhere, and one that answers for
several services."""

import contextlib
import time

import pytest

from support.cluster import SHORT, Node, Sentinel
from support.fake_sentinel import FakeNode, FakeSentinel
from support.procs import Port
from support.proxy import Proxy, joined
from support.resp import Conn
from support.wait import wait_until

NOWHERE = ["0.0.0.0", "", "::", "0:0:0:0:0:0:0:0", "?"]


@pytest.mark.parametrize("host", NOWHERE)
def test_a_sentinel_that_announces_nowhere_has_no_opinion(host):
    """Not even with the highest epoch: 0.0.0.0 would be whoever listens on this machine."""
    with FakeNode() as node, FakeNode() as trap, \
            FakeSentinel(node.address, epoch=1) as one, FakeSentinel(node.address, epoch=1) as two, \
            FakeSentinel((host, trap.port), epoch=9) as odd:
        odd.replicas = [(host, trap.port)]
        with Proxy([s.address for s in (odd, one, two)]) as proxy:
            wait_until(lambda: proxy.call("SET", "k", "v") == "OK", what="a primary")
            changed = proxy.entries("primary-changed")
            assert [(e["new"], e["epoch"]) for e in changed] == [(joined(node.address), "1")]
            odd.publish("+switch-master", f"mymaster {node.address[0]} {node.port} {host} {trap.port}")
            odd.publish("+slave", f"slave {host}:{trap.port} {host} {trap.port} @ mymaster "
                                  f"{node.address[0]} {node.port}")
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                assert proxy.call("SET", "k", "v") == "OK"
            assert trap.accepted == 0
            assert len(proxy.entries("primary-changed")) == 1


@pytest.mark.parametrize("host", NOWHERE)
def test_nowhere_from_all_of_them(host):
    """The primary stays: there is nothing else to go to."""
    with FakeNode() as node, FakeNode() as trap, FakeSentinel(node.address, epoch=1) as sentinel:
        with Proxy([sentinel.address]) as proxy:
            wait_until(lambda: proxy.call("SET", "k", "v") == "OK", what="a primary")
            sentinel.switch((host, trap.port), 2)
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                assert proxy.call("SET", "k", "v") == "OK"
            assert trap.accepted == 0
            with FakeNode() as new:
                sentinel.switch(new.address, 3)
                wait_until(lambda: proxy.call("PING") == "PONG" and new.requests("PING"), 5,
                           "the next opinion")
                assert [e["new"] for e in proxy.primaries(2)][1:] == [joined(new.address)]


@contextlib.contextmanager
def two_services(sentinel):
    """(proxy, {name: address}) for the services alpha and beta."""
    port = Port()
    try:
        config = (f"[proxy]\nworkers = 2\n[sentinel]\naddress = {joined(sentinel.address)}\n"
                  f"[service alpha]\nlisten = @LISTEN@\n"
                  f"[service beta]\nlisten = 127.0.0.1:{port.number}\n")
        with Proxy(config=config) as proxy:
            yield proxy, {"alpha": proxy.address, "beta": ("127.0.0.1", port.number)}
    finally:
        port.release()


@pytest.mark.tsan
def test_one_sentinel_for_two_services(tmp_path):
    """One set of connections serves both, and a failover of the one is nothing to the other."""
    nodes = {name: Node(str(tmp_path)) for name in ("alpha", "beta")}
    replica = Node(str(tmp_path), replica_of=nodes["alpha"])
    sentinel = Sentinel(str(tmp_path), {n: node.port for n, node in nodes.items()}, SHORT, 1)
    daemons = (*nodes.values(), replica, sentinel)
    try:
        for daemon in daemons:
            daemon.start()
        wait_until(lambda: replica.in_sync_with(nodes["alpha"]), 15, "the replica")
        wait_until(lambda: [r for r in sentinel.replicas("alpha")
                            if r["master-link-status"] == "ok"], 15, "Sentinel to see it")
        with two_services(sentinel) as (proxy, at), \
                Conn(at["alpha"]) as alpha, Conn(at["beta"]) as beta:
            wait_until(lambda: alpha.call("PING") == beta.call("PING") == "PONG", what="both")
            clients = wait_until(lambda: subscribed(sentinel), what="the subscription")
            assert len(clients) == 2, clients
            sentinel.call("SENTINEL", "FAILOVER", "alpha")
            longest, deadline = 0.0, time.monotonic() + 30
            while time.monotonic() < deadline and replica.role() != "master":
                began = time.monotonic()
                assert isinstance(beta.ok("INCR", "n"), int)
                longest = max(longest, time.monotonic() - began)
            wait_until(lambda: len(proxy.entries("primary-changed")) == 3, 10, "the switch")
            assert alpha.ok("SET", "k", "v") == "OK"
            assert replica.call("GET", "k") == b"v"
            assert longest < 1, "the other service waited too"
            assert {e["service"] for e in proxy.entries("hold-begin")} == {"alpha"}
            assert proxy.entries("primary-changed")[-1]["service"] == "alpha"
    finally:
        for daemon in daemons:
            daemon.close()


def subscribed(sentinel):
    """The connections that Sentinel has from others, if one of them is subscribed."""
    with sentinel.connect() as conn:
        own = conn.ok("CLIENT", "ID")
        lines = conn.ok("CLIENT", "LIST").decode().splitlines()
    fields = [dict(word.split("=", 1) for word in line.split()) for line in lines]
    others = [f for f in fields if f["id"] != str(own)]
    return others if any(f["sub"] != "0" for f in others) else None
