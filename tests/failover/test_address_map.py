"""Nodes and Sentinels that are reached by other addresses than those they are announced by."""

import contextlib

import pytest

from support.case import check_load, crash_under_load, held_as_announced, judged
from support.cluster import Cluster, Node
from support.fake_sentinel import FakeNode, FakeSentinel
from support.load import Load, counter
from support.oracles import check_counter
from support.proxy import Proxy
from support.relay import Relay
from support.wait import wait_until

pytestmark = pytest.mark.plain("its configuration is a file without TLS")


def text(address):
    return "{}:{}".format(*address)


def map_file(sentinels, mapping, settings=""):
    """A configuration with these Sentinels and an address-map."""
    lines = ["[proxy]", "workers = 2", "log-level = info", "[sentinel]"]
    lines += [f"address = {text(s)}" for s in sentinels]
    lines += [f"address-map = {announced} {reachable}" for announced, reachable in mapping]
    return "\n".join([*lines, "[service mymaster]", "listen = @LISTEN@", settings, ""])


@judged
def test_a_crash_behind_a_map():
    """Each node is reached through a relay; the announced addresses are never connected to."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(1))
        relays = {n.port: stack.enter_context(Relay(n.address)) for n in cluster.nodes}
        mapping = [(text(n.address), text(relays[n.port].address)) for n in cluster.nodes]
        proxy = stack.enter_context(Proxy(config=map_file(cluster.sentinel_addresses, mapping)))
        proxy.wait_serving()
        assert len(proxy.entries("address-map")) == len(mapping)
        old, new = crash_under_load(cluster, proxy, 20)
        changes = proxy.entries("primary-changed")
        assert [e["new"] for e in changes] == [text(relays[n.port].address) for n in (old, new)]
        names = {text(n.address) for n in cluster.nodes}
        assert not [e for e in proxy.entries() if names & set(e.values())
                    and e.event != "address-map"]


@judged
def test_a_planned_failover_behind_a_map():
    """The leader's announcement, the failover's flags and ROLE speak of addresses that are mapped
    too: nothing is lost, and the hold begins before the promotion."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(1))
        relays = {n.port: stack.enter_context(Relay(n.address)) for n in cluster.nodes}
        mapping = [(text(n.address), text(relays[n.port].address)) for n in cluster.nodes]
        proxy = stack.enter_context(Proxy(config=map_file(cluster.sentinel_addresses, mapping)))
        proxy.wait_serving()
        with Load(proxy.address, 20, 4, rate=500) as load:
            load.wait_acks(200)
            old = cluster.failover()
            new = cluster.wait_primary(old)
            load.wait_acks(300)
            load.stop()
            check_load(load, new)
        assert held_as_announced(proxy)


@judged
def test_a_hand_over_is_followed_behind_a_map():
    """The demoted primary tells whom it follows by an address that has to be mapped as well."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(1))
        relays = {n.port: stack.enter_context(Relay(n.address)) for n in cluster.nodes}
        mapping = [(text(n.address), text(relays[n.port].address)) for n in cluster.nodes]
        proxy = stack.enter_context(Proxy(config=map_file(cluster.sentinel_addresses, mapping)))
        proxy.wait_serving()
        with Load(proxy.address, 10, 4, rate=500, workload=counter) as load:
            load.wait_acks(200)
            target = cluster.replicas()[0]
            cluster.primary.call("FAILOVER", "TO", "127.0.0.1", target.port, "TIMEOUT", 5000)
            wait_until(lambda: target.role() == "master", 10, "the handover")
            load.wait_acks(300)
            load.stop()
            check_counter(load.records, int(target.call("GET", "c")))
        assert proxy.entries("primary-changed")[1]["reason"] == (
            "the node that Sentinels name says it is its replica")


@pytest.mark.parametrize("announced", ["redis-1", "192.0.2.7"])
def test_hosts_that_lead_nowhere(announced, tmp_path):
    """A container's name and address, announced by Sentinels that are announced so themselves."""
    node = Node(str(tmp_path))
    try:
        node.start()
        with FakeSentinel((announced, node.port), epoch=1) as other, \
                FakeSentinel((announced, node.port), epoch=1) as known:
            reached, other.address = other.address, (announced, other.port)
            known.others = [other]
            with Proxy(config=map_file([known.address], [(announced, "127.0.0.1")])) as proxy:
                proxy.wait_serving()
                assert proxy.call("SET", "k", announced) == "OK"
                wait_until(lambda: other.accepted > 0, what="the learnt Sentinel")
                assert node.call("GET", "k") == announced.encode()
            other.address = reached
    finally:
        node.close()


def test_comparison_is_of_mapped_addresses():
    """Two Sentinels that see one primary under two addresses agree."""
    with FakeNode() as node, FakeSentinel(("192.0.2.1", 6379), epoch=1) as one, \
            FakeSentinel(("192.0.2.2", 6379), epoch=1) as two:
        mapping = [("192.0.2.1:6379", text(node.address)), ("192.0.2.2:6379", text(node.address))]
        with Proxy(config=map_file([one.address, two.address], mapping)) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            assert proxy.primaries()[0]["sentinels"] == "2/2"
