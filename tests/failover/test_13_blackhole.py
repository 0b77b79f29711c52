"""Networks that lose everything without a word: no RST, no FIN, no ICMP. Every node and Sentinel
has a network of its own; the proxy and its clients share another."""

import contextlib
import time

import pytest

from support import sockets
from support.case import around, check_load, judged
from support.cluster import Cluster
from support.load import Load, counter
from support.netns import Network, why_no_network
from support.oracles import (ERROR, INDOUBT, NOTRUN, acks, check_counter, check_open, errors_of,
                             first_ack_after, tally)
from support.proxy import Proxy
from support.wait import wait_until

pytestmark = pytest.mark.skipif(why_no_network() is not None, reason=str(why_no_network()))

MEMBERS = 6  # three nodes and three Sentinels


@contextlib.contextmanager
def far_apart(intended=0, guests=0, settings=None):
    """(network, cluster, proxy): the proxy and the test are in the first place, guests may come
    from the last ones."""
    with Network(1 + MEMBERS + guests) as network, \
            Cluster(intended, places=network.places[1:], node_settings=[("protected-mode", "no")]
                    ) as cluster, \
            Proxy(cluster.sentinel_addresses, {"proxy.log-level": "debug", **(settings or {})},
                  host=network.places[0].host) as proxy:
        proxy.wait_serving()
        yield network, cluster, proxy


def established(node):
    """How many TCP connections from here to the node are not closed or still being opened: the
    kernel's view, of sockets that their process has closed too."""
    host, port = node.address
    raw = bytes(int(part) for part in reversed(host.split(".")))
    remote = f"{raw.hex().upper()}:{port:04X}"
    with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[2] == remote and row[3] not in ("02", "06", "07"))


def check_exact(load, final):
    """COUNTER and OPEN, no error. Returns the tally."""
    counts = tally(load.records)
    print(counts)
    assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
    check_counter(load.records, final)
    check_open(load.opened, load.connections)
    return counts


@judged
def test_13_the_primary_is_unplugged():
    """A failover like another; when the old primary is plugged in again, nothing of what it still
    gets changes anything, and no socket is kept for the kernel's quarter of an hour."""
    with far_apart(intended=1) as (network, cluster, proxy), \
            Load(proxy.address, 20, 4, rate=1000) as load:
        load.wait_acks(500)
        old = cluster.primary
        unplugged_at = time.time()
        network.unplug(old.place)
        new = cluster.wait_primary(old)
        load.wait_acks(500)
        wait_until(lambda: established(old) == 0, 10, "the end of connections to the lost node")
        network.unplug(old.place, False)
        wait_until(lambda: old.role() == "slave", 20, "the old primary as a replica")
        cluster.wait_settled()
        load.wait_acks(100)
        load.stop()
        counts = check_load(load, new, around(unplugged_at))
        print(counts)
        assert counts[INDOUBT] <= 20 * 4
        majority = cluster.majority_at(new.port, unplugged_at)
        assert first_ack_after(load.records, majority) < 0.5


@pytest.mark.parametrize("lost", ["both ways", "replies"])
@judged
def test_13_the_proxy_alone_is_cut_off(lost):
    """The Sentinels see nothing wrong and move nothing: requests wait for the network. What was
    under way is in doubt once its connection is given up, and has run once at most."""
    with far_apart() as (network, cluster, proxy), \
            Load(proxy.address, 20, 4, rate=1000, workload=counter) as load:
        load.wait_acks(500)
        primary, here = cluster.primary, network.places[0]
        assert established(primary) >= 2
        network.lose(primary.place, here)
        if lost == "both ways":
            network.lose(here, primary.place)
        cut_at = time.monotonic()
        wait_until(lambda: established(primary) == 0, 10, "the end of the cut connections")
        given_up = time.monotonic() - cut_at
        print(f"given up after {given_up:.1f} s")
        before = load.acked
        wait_until(lambda: time.monotonic() > cut_at + 5, 6, "the end of the outage")
        assert load.acked == before
        network.heal()
        healed_at = time.time()
        load.wait_acks(500, timeout=15)
        load.stop()
        final = int(primary.call("GET", "c"))
        counts = check_exact(load, final)
        print(f"first answer {first_ack_after(load.records, healed_at):.2f} s later")
        assert 0 < counts[INDOUBT] <= 20 * 4
        if lost == "replies":  # all that was sent arrived
            assert final == len(acks(load.records)) + counts[INDOUBT]


@judged
def test_13_a_moment_without_network():
    """Shorter than anything is given up for: nobody sees more than time."""
    with far_apart() as (network, cluster, proxy), \
            Load(proxy.address, 20, 4, rate=1000, workload=counter) as load:
        load.wait_acks(500)
        network.cut(network.places[0], cluster.primary.place)
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        network.heal()
        load.wait_acks(500)
        load.stop()
        counts = check_exact(load, int(cluster.primary.call("GET", "c")))
        assert counts[INDOUBT] == 0


@judged
def test_13_alone_with_the_old_primary():
    """On the wrong side of a divided network the old primary goes on; when the sides find each
    other, the proxy is on the new one without an error, and nothing it says from then on is lost.
    """
    with far_apart(intended=1) as (network, cluster, proxy):
        here, old = network.places[0], cluster.primary
        inside = [here, old.place]
        with Load(proxy.address, 20, 4, rate=1000) as load:
            load.wait_acks(300)
            for place in network.places[1:]:
                if place not in inside:
                    network.cut(here, place)
                    network.cut(old.place, place)
            new = cluster.wait_primary(old)
            load.wait_acks(300)
            network.heal()
            healed_at = time.time()
            changed = wait_until(lambda: len(proxy.entries("primary-changed")) > 1, 15,
                                 "the new primary")
            assert changed and time.time() - healed_at < 5
            switched_at = time.time()
            cluster.wait_settled()
            load.wait_acks(500)
            load.stop()
            counts = check_load(load, new, lambda record: record.done_at < switched_at)
            print(counts)
            assert counts["lost"] > 0, "the network was not divided"


@judged
def test_13_a_sentinel_is_cut_off():
    """It is missed, once; a failover without it is as any other; it comes back."""
    with far_apart(intended=1) as (network, cluster, proxy), \
            Load(proxy.address, 20, 4, rate=1000) as load:
        load.wait_acks(300)
        lost = cluster.sentinels[0]
        network.cut(network.places[0], lost.place)
        wait_until(lambda: proxy.entries("sentinel-down"), 10, "the Sentinel to be missed")
        old = cluster.failover(executor=1)
        new = cluster.wait_primary(old)
        load.wait_acks(500)
        load.stop()
        counts = check_load(load, new)
        print(counts)
        assert counts["lost"] == counts[INDOUBT] == 0
        assert len(proxy.entries("sentinel-unreachable")) <= 1
        network.heal()
        wait_until(lambda: len(proxy.entries("sentinel-up")) == 4, 10, "the Sentinel again")


@pytest.mark.skipif(sockets.why_not() is not None, reason=str(sockets.why_not()))
def test_13_a_client_is_cut_off():
    """It goes the way of all that are silent for long, and takes no element that is pushed after
    that. Keepalive's ten minutes are cut short from outside."""
    with far_apart(guests=1) as (network, cluster, proxy):
        primary, guest = cluster.primary, network.places[-1]
        with guest.inside():
            client = proxy.connect()
        with client:
            client.ok("SET", "k", "v")
            client.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n")
            wait_until(lambda: blocked(primary) == 1, what="the blocked client")
            network.cut(network.places[0], guest)
            with sockets.connected(proxy.process.pid) as found:
                sock, = [s for s in found if s.getpeername() == client.local]
                for option, value in (("idle", 1), ("interval", 1), ("count", 2)):
                    sock.setsockopt(*sockets.OPTIONS[option], value)
            wait_until(lambda: blocked(primary) == 0, 20, "the end of the blocked client")
            assert primary.call("RPUSH", "q", "kept") == 1
            assert proxy.call("LPOP", "q") == b"kept"


def blocked(node):
    return int(node.info("clients")["blocked_clients"])
