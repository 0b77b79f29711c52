"""Sentinels that die, sleep, reset or are left out; primaries moved by hand."""

import time

import pytest

from support.case import around, check_load, judged, scenario
from support.load import Load, counter
from support.oracles import ERROR, INDOUBT, NOTRUN, check_counter, check_open, errors_of, tally
from support.resp import ServerError
from support.wait import wait_until


def check_exact(load, final, may_doubt=0):
    """COUNTER, OPEN, and no error; at most so many in doubt."""
    counts = tally(load.records)
    print(counts)
    assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
    assert counts[INDOUBT] <= may_doubt
    check_counter(load.records, final)
    check_open(load.opened, load.connections)


# What another worker has under way when a refusal has the primary followed may be in doubt.
ONE_WORKER = {"proxy.workers": 1}
FOLLOWED = "the node that Sentinels name says it is its replica"


def check_moved_by_hand(proxy, load, node, follow):
    """Exact, and followed before the Sentinels noticed it, or not before."""
    load.stop()
    check_exact(load, int(node.call("GET", "c")))
    reasons = [e["reason"] for e in proxy.entries("primary-changed")]
    assert (FOLLOWED in reasons) == (follow == "yes"), reasons


@pytest.mark.parametrize("follow", ["yes", "no"])
@judged
def test_09_raw_failover(follow):
    """FAILOVER TO a replica, without Sentinel: its new role is followed before Sentinel sees it, or
    requests wait until it has elected somebody."""
    with scenario(intended=1, settings={"follow-role": follow, **ONE_WORKER}) as (cluster, proxy), \
            Load(proxy.address, 20, 4, rate=1000, workload=counter) as load:
        load.wait_acks(300)
        old = cluster.primary
        target = cluster.replicas()[0]
        old.call("FAILOVER", "TO", "127.0.0.1", target.port, "TIMEOUT", 5000)
        wait_until(lambda: target.role() == "master", 10, "the handover")
        new = target if follow == "yes" else cluster.wait_primary(old, 40)
        load.wait_acks(500)
        check_moved_by_hand(proxy, load, new, follow)
        assert new.calls("incr") > 300


@pytest.mark.parametrize("follow", ["yes", pytest.param("no", marks=pytest.mark.full)])
@pytest.mark.parametrize("first", ["promoted", "demoted"])
@judged
def test_10_replicaof_by_hand(first, follow):
    """The replica is promoted and the old primary demoted, in both orders."""
    with scenario(intended=1, settings={"follow-role": follow, **ONE_WORKER}) as (cluster, proxy), \
            Load(proxy.address, 20, 4, rate=500, workload=counter) as load:
        load.wait_acks(300)
        load.pause()
        wait_until(lambda: load.outstanding() == 0, 5, "quiet")
        old, target = cluster.primary, cluster.replicas()[0]
        with old.connect() as conn:
            conn.ok("PUBLISH", "x", "x")
            assert conn.ok("WAIT", 2, 5000) == 2
        steps = [lambda: target.call("REPLICAOF", "NO", "ONE"),
                 lambda: old.call("REPLICAOF", "127.0.0.1", target.port)]
        for step in steps if first == "promoted" else reversed(steps):
            step()
        load.resume()
        new = target if follow == "yes" else cluster.wait_primary(old, 40)
        load.wait_acks(500)
        check_moved_by_hand(proxy, load, new, follow)


@judged
def test_15_leader_dies_behind_the_promotion():
    """A replica is promoted but no Sentinel ever says so; another one becomes primary in the end.
    Nothing may be written to the orphan."""
    with scenario(intended=2, settings={"hold-timeout": "60s"}) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(200)
        for sentinel in cluster.sentinels:
            sentinel.call("SENTINEL", "SIMULATE-FAILURE", "crash-after-promotion")
        old = cluster.primary
        killed_at = time.time()
        old.kill()
        dead = wait_until(lambda: [s for s in cluster.sentinels if not s.process.running()], 20,
                          "the leader to end")
        orphan = next(n for n in cluster.nodes if n is not old and n.role() == "master")
        load.wait_outstanding(40)
        for sentinel in cluster.sentinels:
            if sentinel not in dead:
                sentinel.call("SENTINEL", "SIMULATE-FAILURE", "help")  # clears it
        samples, deadline = set(), time.monotonic() + 2
        while time.monotonic() < deadline and cluster.primary_of(
                [s for s in cluster.sentinels if s not in dead]) is old:
            samples.add(orphan.calls("rpush"))
            time.sleep(0.05)
        assert len(samples) == 1, "the orphan was written to before anyone named it"
        dead[0].start()
        new = cluster.wait_primary(old, timeout=40)
        load.wait_acks(200, timeout=40)
        load.stop(40)
        check_load(load, new, around(killed_at))


@judged
def test_17_min_replicas_to_write():
    """-NOREPLICAS in the first moments of a new primary is waited through, not shown."""
    with scenario(intended=1) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        for node in cluster.nodes:
            node.call("CONFIG", "SET", "min-replicas-to-write", 1)
        load.wait_acks(200)
        old = cluster.primary
        killed_at = time.time()
        old.kill()
        new = cluster.wait_primary(old)
        load.wait_acks(500)
        load.stop()
        check_load(load, new, around(killed_at))


@judged
def test_19_all_sentinels_gone():
    with scenario(intended=1) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(200)
        for sentinel in cluster.sentinels:
            sentinel.kill()
        deadline = time.monotonic() + 4  # longer than a view counts
        while time.monotonic() < deadline:
            load.wait_acks(50, timeout=2)
        for sentinel in cluster.sentinels:
            sentinel.start()
        cluster.wait_settled()
        cluster.failover()
        new = cluster.wait_primary(cluster.nodes[0])
        load.wait_acks(300)
        load.stop()
        check_load(load, new)


@judged
def test_20_a_sentinel_sleeps_across_the_failover():
    with scenario(intended=1) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(200)
        cluster.sentinels[2].pause()
        old = cluster.primary_of(cluster.sentinels[:2])
        killed_at = time.time()
        old.kill()
        new = wait_until(lambda: cluster.primary_of(cluster.sentinels[:2]) is not old
                         and cluster.primary_of(cluster.sentinels[:2]), 20, "a new primary")
        load.wait_acks(300)
        cluster.sentinels[2].resume()
        load.wait_acks(500)
        load.stop()
        check_load(load, new, around(killed_at))


@pytest.mark.parametrize("how", ["reset", "remove and monitor"])
@judged
def test_22_sentinel_reset(how):
    """An operator's reset during traffic interrupts nothing."""
    with scenario(intended=0) as (cluster, proxy), \
            Load(proxy.address, 10, 4, rate=500) as load:
        load.wait_acks(200)
        port = cluster.primary.port
        for sentinel in cluster.sentinels:
            if how == "reset":
                sentinel.call("SENTINEL", "RESET", "mymaster")
            else:
                sentinel.call("SENTINEL", "REMOVE", "mymaster")
                load.wait_acks(50, timeout=3)
                sentinel.call("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", port, 2)
                sentinel.call("SENTINEL", "SET", "mymaster", "down-after-milliseconds", 1000)
            load.wait_acks(100, timeout=3)
        load.wait_acks(500, timeout=5)
        load.stop()
        check_load(load, cluster.nodes[0])


@judged
def test_23_waiting_clients_hear_of_no_failover_they_did_not_need():
    """The hold of an election that comes to nothing ends by itself."""
    with scenario(intended=0) as (cluster, proxy), proxy.connect(10) as client:
        assert client.ok("SET", "k", "v") == "OK"
        for replica in cluster.replicas():
            replica.call("CONFIG", "SET", "replica-priority", 0)
        wait_until(lambda: all(r["slave-priority"] == "0" for s in cluster.sentinels
                               for r in s.replicas()), 10, "priorities known to Sentinel")
        with pytest.raises(ServerError, match="NOGOODSLAVE"):
            cluster.sentinels[0].call("SENTINEL", "FAILOVER", "mymaster")
        began = time.monotonic()
        assert client.ok("GET", "k") == b"v"
        assert time.monotonic() - began < 5
