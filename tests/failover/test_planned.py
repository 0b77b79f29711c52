"""SENTINEL FAILOVER under full load: no error, no lost write; and the proof that this is no
matter of course."""

import time

import pytest

from support.case import check_load, judged, scenario
from support.cluster import SHORT, STOCK
from support.load import Load, stored_lists
from support.oracles import (ACKED, ERROR, INDOUBT, NOTRUN, acks, check_ledger, check_open,
                             errors_of, tally)

CLIENTS, DEPTH, RATE = 20, 16, 7000
LEAST_RATE = 5000


def move_primary(cluster, load, executor):
    """One planned failover with a second of full load before it. Returns the new primary."""
    load.wait_acks(RATE)
    asked_at = time.time()
    old = cluster.failover(executor)
    new = cluster.wait_primary(old)
    # The old primary goes on acknowledging what will be thrown away: let it have the chance.
    load.wait_acks(RATE)
    before = [t for t in acks(load.records) if asked_at - 1 <= t < asked_at]
    assert len(before) >= LEAST_RATE, f"only {len(before)} writes in the second before"
    return new


def planned(moves, executor, timers=SHORT):
    with scenario(intended=moves, timers=timers, alone=True) as (cluster, proxy), \
            Load(proxy.address, CLIENTS, DEPTH, RATE) as load:
        for move in range(moves):
            if move:
                cluster.wait_settled()
            new = move_primary(cluster, load, executor)
        load.stop()
        counts = check_load(load, new)
        print(counts)
        assert counts[INDOUBT] == 0, "in doubt although nothing was running at the promotion"


@pytest.mark.parametrize("executor", range(3))
@judged
def test_06_planned_failover(executor):
    planned(1, executor)


@pytest.mark.full
@judged
def test_06_planned_failover_stock_timers():
    planned(1, 0, STOCK)


@judged
def test_06_without_hold_writes_are_lost():
    """The same with the hold switched off: the test above is able to fail."""
    with scenario(alone=True, settings={"hold-on-failover": "no"}) as (cluster, proxy), \
            Load(proxy.address, CLIENTS, DEPTH, RATE) as load:
        new = move_primary(cluster, load, 0)
        load.stop()
        check_open(load.opened, load.connections)
        counts = tally(load.records)
        assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
        lost = check_ledger(load.records, stored_lists(new, CLIENTS), lambda record: True)
        print(f"{len(lost)} of {counts[ACKED]} acknowledged writes lost")
        assert lost, "no write was lost without the hold: the oracle would not notice"


@pytest.mark.tsan
@pytest.mark.parametrize("executor", range(3))
@judged
def test_08_planned_failover_twice(executor):
    planned(2, executor)
