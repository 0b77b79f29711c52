"""Scenario 66: fault after fault under every kind of load, for minutes."""

import random
import threading
import time

import pytest

from support.case import judged, scenario
from support.load import Load, counter, stored_lists
from support.oracles import (ACKED, ERROR, INDOUBT, NOTRUN, check_ledger, check_open, errors_of,
                             tally)
from support.proxy import is_sanitized
from support.resp import encode

MIB = 1 << 20


class Faults:
    """Random faults, one after the other; each ends with a settled cluster."""

    KINDS = ("planned", "planned", "kill", "stop", "sleep", "short sleep", "term", "links")

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.crashes = []  # when Redis itself may have lost what it had just acknowledged
        self.done = []

    def one(self):
        kind = self.rng.choice(self.KINDS)
        self.done.append(kind)
        old = self.cluster.primary
        if kind != "planned":
            self.crashes.append(time.time())
        getattr(self, kind.replace(" ", "_"))(old)
        self.cluster.wait_settled(60)

    def planned(self, old):
        self.cluster.failover(self.rng.randrange(3))
        self.cluster.wait_primary(old)

    def kill(self, old):
        old.kill()
        self.cluster.wait_primary(old)
        self.cluster.restart_as_replica(old)

    def term(self, old):
        old.terminate()
        self.cluster.wait_primary(old)
        self.cluster.restart_as_replica(old)

    def stop(self, old):
        old.pause()
        self.cluster.wait_primary(old)
        old.resume()

    def sleep(self, old):
        with old.connect() as conn:
            conn.send(encode("DEBUG", "SLEEP", "4"))
            self.cluster.wait_primary(old)

    def short_sleep(self, old):
        old.call("DEBUG", "SLEEP", "0.5")

    def links(self, old):
        old.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def transactions(proxy, enough, failures):
    """MULTI and EXEC all the time: its two keys rise together."""
    try:
        with proxy.connect(60) as client:
            while not enough.is_set():
                replies = client.pipeline([("MULTI",), ("INCR", "t:a"), ("INCR", "t:b"),
                                           ("EXEC",)])
                last = replies[-1]
                if isinstance(last, list):
                    assert last[0] == last[1], last
                else:
                    assert last.code in ("EXECABORT", "INDOUBT"), replies
                time.sleep(0.01)
    except Exception as error:  # handed to the main thread
        failures.append(error)


def reads(proxy, enough, failures):
    """A pipeline of reads never fails and keeps its order."""
    try:
        with proxy.connect(60) as client:
            number = 0
            while not enough.is_set():
                replies = client.pipeline([("ECHO", number + i) for i in range(20)] +
                                          [("GET", "none")])
                assert replies == [b"%d" % (number + i) for i in range(20)] + [None], replies
                number += 20
                time.sleep(0.005)
    except Exception as error:  # handed to the main thread
        failures.append(error)


def pops(proxy, enough, failures):
    """BLPOP answers an element or nil, never an error."""
    try:
        with proxy.connect(60) as client:
            while not enough.is_set():
                reply = client.call("BLPOP", "queue", "0.2")
                assert reply is None or reply[0] == b"queue", reply
    except Exception as error:  # handed to the main thread
        failures.append(error)


def soak(seconds, seed):
    with scenario(intended=10**6, settings={"hold-timeout": "60s"}) as (cluster, proxy), \
            Load(proxy.address, 8, 8, rate=800) as ledger_load, \
            Load(proxy.address, 8, 8, rate=800, workload=counter) as counter_load:
        enough, failures = threading.Event(), []
        threads = [threading.Thread(target=work, args=(proxy, enough, failures))
                   for work in (transactions, reads, reads, pops, pops)]
        for thread in threads:
            thread.start()
        faults = Faults(cluster, seed)
        before, until = None, time.monotonic() + seconds
        while time.monotonic() < until and not failures:
            faults.one()
            ledger_load.wait_acks(200)
            counter_load.wait_acks(200)
            proxy.check_log()
            before = before or proxy.rss()
        enough.set()
        for thread in threads:
            thread.join(70)
        ledger_load.stop(70)
        counter_load.stop(70)
        print(f"seed {seed}: {faults.done}")
        assert not failures, failures
        assert proxy.rss() - before < (40 + (300 if is_sanitized() else 0)) * MIB
        judge(cluster, faults, ledger_load, counter_load)


def judge(cluster, faults, ledger_load, counter_load):
    def may_lose(record):
        return any(-0.1 <= record.done_at - crash <= 0.2 for crash in faults.crashes)

    node = cluster.primary
    for load in (ledger_load, counter_load):
        counts = tally(load.records)
        print(counts)
        assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
        assert counts[ACKED] > 0
        check_open(load.opened, load.connections)
    lost = check_ledger(ledger_load.records, stored_lists(node, 8), may_lose)
    print(f"{len(lost)} lost by Redis itself")
    check_final(counter_load.records, int(node.call("GET", "c")), may_lose)
    a, b = (int(value or 0) for value in node.call("MGET", "t:a", "t:b"))
    assert a == b


def check_final(clients, final, may_lose):
    """COUNTER's bounds, where crashes may have taken the last values."""
    counts = tally(clients)
    left_out = sum(1 for records in clients for r in records if r.outcome == ACKED and may_lose(r))
    assert counts[ACKED] - left_out <= final <= counts[ACKED] + counts[INDOUBT]


@judged
def test_66_soak_short():
    soak(180, 1)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_66_soak(seed):
    soak(200, seed)
