"""Clients, proxy, Sentinels and nodes on ::1."""

import socket

import pytest

from support.case import check_load, crash_under_load, held_as_announced, judged
from support.cluster import Cluster, Node
from support.fake_sentinel import FakeSentinel
from support.load import Load
from support.procs import why_no_ipv6
from support.proxy import Proxy, joined
from support.wait import wait_until

pytestmark = pytest.mark.skipif(why_no_ipv6() is not None, reason=str(why_no_ipv6()))
HOST = "::1"


@judged
def test_a_crash():
    with Cluster(1, host=HOST) as cluster, \
            Proxy(cluster.sentinel_addresses, host=HOST) as proxy:
        proxy.wait_serving()
        old, new = crash_under_load(cluster, proxy, 20)
        changes = proxy.entries("primary-changed")
        assert [e["new"] for e in changes] == [joined(n.address) for n in (old, new)]


@judged
def test_a_planned_failover():
    """Announced by events whose addresses are full of colons."""
    with Cluster(1, host=HOST) as cluster, \
            Proxy(cluster.sentinel_addresses[:1], host=HOST) as proxy:
        proxy.wait_serving()
        wait_until(lambda: len(proxy.entries("sentinel-up")) == 3, what="the learnt Sentinels")
        with Load(proxy.address, 20, 4, rate=500) as load:
            load.wait_acks(200)
            old = cluster.failover()
            new = cluster.wait_primary(old)
            load.wait_acks(300)
            load.stop()
            check_load(load, new)
        assert held_as_announced(proxy)


def test_one_address_however_it_is_written(tmp_path):
    """Brackets or none, zeros or none: a Sentinel's spelling makes no other primary, and clients of
    one family do not reach a listener of the other."""
    node = Node(str(tmp_path), host=HOST)
    try:
        node.start()
        with FakeSentinel(("0:0:0:0:0:0:0:1", node.port), epoch=1) as one, \
                FakeSentinel(("::0001", node.port), epoch=1) as two, \
                Proxy([one.address, two.address], host=HOST) as proxy:
            proxy.wait_serving()
            assert proxy.primaries()[0]["sentinels"] == "2/2"
            assert proxy.call("SET", "k", "v") == "OK"
            assert node.call("GET", "k") == b"v"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", proxy.address[1]), 5)
    finally:
        node.close()
