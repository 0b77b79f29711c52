"""Consumers of a stream, blocked most of the time, while its primary is moved again and again."""

import threading
import time

import pytest

from support.case import judged, scenario
from support.resp import ServerError
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

CONSUMERS = 4  # two of each protocol


class Part(threading.Thread):
    """One client that does its step until it is told to stop; what it trips over is in `failure`."""

    def __init__(self, proxy, protocol, stop):
        super().__init__(daemon=True)
        self.conn = proxy.connect(40)
        if protocol == 3:
            self.conn.call("HELLO", 3)
        self.stop, self.failure = stop, None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure


class Producer(Part):
    def __init__(self, proxy, protocol, stop):
        super().__init__(proxy, protocol, stop)
        self.added = []

    def step(self):
        reply = self.conn.call("XADD", "s", "*", "n", len(self.added))
        if not isinstance(reply, ServerError):
            self.added.append(reply)
        else:
            assert reply.code == "INDOUBT", reply
        time.sleep(0.01)


class Consumer(Part):
    def __init__(self, proxy, protocol, stop, number):
        super().__init__(proxy, protocol, stop)
        self.name, self.seen, self.acked, self.nils = f"c{number}", [], set(), 0

    def step(self):
        reply = self.conn.ok("XREADGROUP", "GROUP", "g", self.name, "COUNT", 3, "BLOCK", 400,
                             "STREAMS", "s", ">")
        if reply is None:
            self.nils += 1
            return
        for identity, _ in reply[0][1]:
            self.seen.append(identity)
            answer = self.conn.call("XACK", "s", "g", identity)
            if answer == 1:
                self.acked.add(identity)
            else:
                assert isinstance(answer, ServerError) and answer.code == "INDOUBT", answer


def pending(node):
    return {entry[0] for entry in node.call("XPENDING", "s", "g", "-", "+", 100000)}


@pytest.mark.parametrize("failovers", [
    1, pytest.param(3, marks=[pytest.mark.full, pytest.mark.slow])])
def test_43_consumers_of_a_stream(failovers):
    """What was added is acknowledged by a consumer or pending for one; nothing that a consumer has
    acknowledged comes again; nobody hears an error."""
    consume(failovers)


@judged
def consume(failovers):
    with scenario(intended=failovers) as (cluster, proxy):
        proxy.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        wait_until(lambda: all(r.call("EXISTS", "s") for r in cluster.replicas()), 5, "replicas")
        stop_adding, stop = threading.Event(), threading.Event()
        producers = [Producer(proxy, protocol, stop_adding) for protocol in (2, 3)]
        consumers = [Consumer(proxy, 2 + i % 2, stop, i) for i in range(CONSUMERS)]
        parts = producers + consumers
        for part in parts:
            part.start()
        for _ in range(failovers):
            before = len(producers[0].added)
            old = cluster.primary
            cluster.failover()
            new = cluster.wait_primary(old)
            wait_until(lambda b=before: len(producers[0].added) > b + 20
                       or producers[0].failure, 15, "the load")
            cluster.wait_settled()
        stop_adding.set()
        for part in producers:
            part.join(40)
        added = {identity for part in producers for identity in part.added}

        def done():
            return added <= set().union(*(c.acked for c in consumers)) | pending(new)
        wait_until(lambda: done() or any(p.failure for p in parts), 15, "all to be consumed")
        stop.set()
        for part in consumers:
            part.join(40)
        assert [p.failure for p in parts] == [None] * len(parts)
        assert done(), "added, and neither acknowledged nor pending"
        seen = [identity for c in consumers for identity in c.seen]
        twice = {i for i in seen if seen.count(i) > 1}
        acked = set().union(*(c.acked for c in consumers))
        assert not twice & acked, "processed again after XACK"
        print(f"{len(added)} added, {len(acked)} acknowledged, {len(pending(new))} pending, "
              f"{sum(c.nils for c in consumers)} nils")
        assert all(part.conn.is_open() for part in parts)
