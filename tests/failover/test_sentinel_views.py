"""Sentinels whose views differ, or that count anew; hosts that are announced by name."""

import contextlib
import time

import pytest

from support.case import around, check_load, held_as_announced, judged, scenario
from support.cluster import Cluster
from support.fake_sentinel import FakeNode, FakeSentinel
from support.load import Load
from support.netns import Network, why_no_network
from support.oracles import check_blackout
from support.proxy import Proxy
from support.wait import wait_until


@pytest.mark.parametrize("epoch", [pytest.param(0, marks=pytest.mark.full), 99])
@judged
def test_20_a_wrong_view_for_ever(epoch):
    """A fourth Sentinel names the first primary for ever, with the lowest epoch or the highest, in
    a crash, when the old primary returns as a rival, and in a planned failover."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(2))
        old = cluster.primary
        wrong = stack.enter_context(FakeSentinel(old.address, epoch=epoch))
        proxy = stack.enter_context(Proxy([*cluster.sentinel_addresses, wrong.address]))
        proxy.wait_serving()
        load = stack.enter_context(Load(proxy.address, 10, 4, rate=500))
        load.wait_acks(200)
        killed_at = time.time()
        old.kill()
        new = cluster.wait_primary(old)
        load.wait_acks(300)
        old.start()  # what it acknowledges as a rival would be lost, and be missed at the end
        wait_until(lambda: old.role() == "slave", 30, "demotion of the old primary", 0.1)
        cluster.wait_settled()
        cluster.failover()
        last = cluster.wait_primary(new)
        load.wait_acks(300)
        load.stop()
        check_load(load, last, around(killed_at))
        # Sentinel's own time, and two seconds in which the higher epoch might win the others.
        check_blackout(load.records, 7)


@pytest.mark.skipif(why_no_network() is not None, reason=str(why_no_network()))
@judged
def test_20_a_sentinel_that_is_cut_off():
    """Only the proxy reaches one Sentinel: that calls a primary down which is well, and names one
    that is gone. When the network is back it learns better."""
    with Network(3) as network:
        here, main, island = network.places
        with Cluster(1, places=[main] * 5 + [island],
                     node_settings=[("protected-mode", "no")]) as cluster, \
                Proxy(cluster.sentinel_addresses, host=here.host) as proxy:
            lone = cluster.sentinels[2]
            proxy.wait_serving()
            with Load(proxy.address, 10, 4, rate=500) as load:
                load.wait_acks(200)
                network.cut(main, island)
                wait_until(lambda: "s_down" in lone.fields()["flags"], 15, "its complaint")
                old = cluster.primary
                old.call("DEBUG", "SLEEP", "0.5")  # a suspicion; its word is no objection
                wait_until(lambda: proxy.entries("suspect-end"), 5, "the end of the suspicion")
                load.wait_acks(200)
                killed_at = time.time()
                old.kill()
                new = cluster.wait_primary(old)
                load.wait_acks(500)
                assert lone.primary_port() == old.port
                network.heal()
                wait_until(lambda: lone.primary_port() == new.port, 40, "it to learn")
                load.wait_acks(200)
                load.stop()
                check_load(load, new, around(killed_at))
                check_blackout(load.records, 3.5)
            assert len(proxy.entries("primary-changed")) == 2
            assert proxy.entries("primary-changed")[1]["sentinels"] == "2/3"


@judged
def test_18_failover_during_a_resync():
    """The replicas of a new primary are busy copying a big dataset from it when it dies. The leader
    of the first failover still waits for them; the higher epoch wins. What was written to the
    second primary nobody else has yet, and Redis may lose it."""
    slow = [("rdb-key-save-delay 300",), ("repl-backlog-size 16kb",)]
    with scenario(intended=2, node_settings=slow) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=300) as load:
        first = cluster.primary
        with first.connect(30) as conn:
            conn.pipeline([("SET", f"filler:{i}", "x" * 50) for i in range(20000)])
        load.wait_acks(100)
        moved_at = time.time()
        cluster.failover()
        second = cluster.wait_primary(first)
        load.wait_acks(100)
        with second.connect(15) as conn:
            conn.ok("DEBUG", "CHANGE-REPL-ID")
            conn.ok("CLIENT", "KILL", "TYPE", "replica")
            wait_until(lambda: conn.ok("INFO", "persistence").find(
                b"rdb_bgsave_in_progress:1") > 0, 15, "the copying")
        load.wait_acks(50)
        second.kill()
        third = cluster.wait_primary(second, timeout=40)
        load.wait_acks(200, timeout=40)
        load.stop()
        assert cluster.epoch() == 2
        assert proxy.entries("primary-changed")[-1]["epoch"] == "2"
        counts = check_load(load, third, lambda record: record.done_at >= moved_at)
        print(counts)


@pytest.mark.full
@judged
def test_22_epochs_counted_anew():
    """All Sentinels forget the service and are told of it again: their epochs begin at 0. Ten
    seconds later that is accepted, and the next failover is as lossless as any."""
    with scenario(intended=2) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=300) as load:
        load.wait_acks(200)
        old = cluster.failover()
        new = cluster.wait_primary(old)
        cluster.wait_settled()
        for sentinel in cluster.sentinels:
            sentinel.call("SENTINEL", "REMOVE", "mymaster")
        load.wait_acks(100)
        for sentinel in cluster.sentinels:
            sentinel.call("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", new.port, 2)
            sentinel.call("SENTINEL", "SET", "mymaster", "down-after-milliseconds", 1000)
        began = time.monotonic()
        wait_until(lambda: proxy.entries("epoch-changed"), 20, "the new count")
        assert 9 < time.monotonic() - began
        assert proxy.entries("epoch-changed")[0]["epoch"] == "0"
        cluster.wait_settled()
        cluster.failover()
        last = cluster.wait_primary(new)
        load.wait_acks(300)
        load.stop()
        check_load(load, last)
        assert [e["old"] for e in proxy.entries("primary-changed")][1:] == [
            f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}"]


@pytest.mark.parametrize("announced", ["mixed", "names"])
@judged
def test_23_hosts_announced_by_name(announced):
    """The monitored primary by name and the others by name too, or by number as Sentinel finds
    them: a planned failover is recognized and held for, a crash is survived."""
    crash = announced == "names"  # else Sentinel lists each node twice, and never settles
    by_name = [("replica-announce-ip localhost",)] if announced == "names" else []
    with scenario(intended=1 + crash, host="localhost", node_settings=by_name,
                  sentinel_settings=[("sentinel resolve-hostnames yes",),
                                     ("sentinel announce-hostnames yes",)]) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(200)
        old = cluster.failover()
        new = cluster.wait_primary(old)
        load.wait_acks(300)
        killed_at = 0
        if crash:
            cluster.wait_settled()
            old, killed_at = new, time.time()
            old.kill()
            new = cluster.wait_primary(old)
            load.wait_acks(300)
        load.stop()
        check_load(load, new, around(killed_at))
        assert held_as_announced(proxy)
        hosts = [e["new"].split(":")[0] for e in proxy.entries("primary-changed")]
        assert hosts == (["localhost"] * 3 if crash else ["localhost", "127.0.0.1"])


def test_15_a_candidate_nobody_has_announced():
    """A replica that says master, whatever events name it: not before a Sentinel answers it."""
    with FakeNode() as old, FakeNode() as orphan, FakeSentinel(old.address, epoch=1) as one, \
            FakeSentinel(old.address, epoch=1) as two:
        one.replicas = two.replicas = [orphan.address]
        with Proxy([one.address, two.address], {"hold-timeout": "1s"}) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            wait_until(lambda: one.subscribers(), what="a subscription")
            where = f"{orphan.address[0]} {orphan.port} @ mymaster {old.address[0]} {old.port}"
            for event in ("+selected-slave", "+failover-state-wait-promotion", "+promoted-slave"):
                one.publish(event, f"slave {joined_words(orphan)} {where}")
            wait_until(lambda: orphan.requests("ROLE"), what="a look at the candidate")
            old.disconnect_all()
            old.script["ROLE"] = b"*5\r\n$5\r\nslave\r\n$1\r\n?\r\n:1\r\n$4\r\nnone\r\n:1\r\n"
            with proxy.connect(5) as client:
                assert client.call("SET", "k", "v").code == "LOADING"
            assert not orphan.requests("SET")
            one.switch(orphan.address, 2)
            two.switch(orphan.address, 2)
            wait_until(lambda: proxy.call("SET", "k", "v") == "OK", 5, "the switch")
            assert orphan.requests("SET")


def joined_words(server):
    return f"{server.address[0]}:{server.port}"
