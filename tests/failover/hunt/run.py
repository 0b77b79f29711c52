"""One hunt: a cluster, the proxy, the crowd and a list of faults; what they found, as text."""

import contextlib
import time

from support.cluster import Cluster, Spoiled
from support.load import Load, counter, stored_lists
from support.oracles import (ACKED, ERROR, INDOUBT, NOTRUN, OracleError, check_ledger, check_open,
                             errors_of, tally)
from support.proxy import Proxy, joined
from support.relay import Relay
from support.wait import wait_until

from .faults import DOUBTS_MAX, Faults
from .talkers import CROWD, Pipelines

USER = ("ACL", "SETUSER", "hunter", "on", ">secret", "~*", "&*", "+@all")
# A node that is killed and started at once has all that it acknowledged.
DURABLE = [("appendonly", "yes"), ("appendfsync", "no"), ("user", "hunter", "on", ">secret", "~*",
                                                         "&*", "+@all")]
SETTINGS = {"hold-timeout": "120s"}
READS = {"read-policy": "prefer-replica", "replica-slow-start": "0"}


class Found(Exception):
    """A promise was broken; `faults` are those that were done by then."""

    def __init__(self, what, faults):
        super().__init__(what)
        self.faults = faults


class Hunt:
    """until: seconds after which no other fault is begun, None: as many as are given.
    replica_reads: replicas serve reads."""

    def __init__(self, seed, faults, until=None, replica_reads=False):
        self.seed, self._given, self._until = seed, faults, until
        self.replica_reads = replica_reads
        self.done = []

    def run(self):
        """Raises Found, or Spoiled if Sentinel made failovers of its own."""
        try:
            with Cluster(10**6, node_settings=DURABLE) as cluster, \
                    contextlib.ExitStack() as stack:
                relays = {n.port: stack.enter_context(Relay(n.address)) for n in cluster.nodes}
                proxy = stack.enter_context(self._proxy(cluster, relays))
                proxy.wait_serving()
                faults, first = Faults(cluster, relays), cluster.epoch()
                try:
                    self._hunt(cluster, proxy, faults)
                    print(f"failovers {cluster.epoch() - first}, asked for {faults.intended}")
                except AssertionError as error:
                    unasked = cluster.epoch() - first - faults.intended
                    if unasked > 0:
                        raise Spoiled(f"{unasked} failovers that nobody asked for; "
                                      f"{error}") from error
                    raise
        except Spoiled:
            raise
        except Exception as error:
            raise Found(f"{type(error).__name__}: {error}", self.done) from error

    def _proxy(self, cluster, relays):
        words = []
        for node in cluster.nodes:
            words += ["--set", "sentinel.address-map="
                      f"{joined(node.address)} {joined(relays[node.port].address)}"]
        settings = {**SETTINGS, **(READS if self.replica_reads else {})}
        return Proxy(cluster.sentinel_addresses, settings, arguments=words)

    def _hunt(self, cluster, proxy, faults):
        with Load(proxy.address, 6, 6, rate=400) as ledger_load, \
                Load(proxy.address, 4, 4, rate=200, workload=counter) as counter_load:
            loads = (ledger_load, counter_load)
            crowd = [kind(proxy, faults, number, self.seed)
                     for kind, count in CROWD.items() for number in range(count)]
            for talker in crowd:
                talker.start()
            try:
                self._do_faults(proxy, faults, loads, crowd)
            finally:
                for talker in crowd:
                    talker.enough.set()
            for talker in crowd:
                talker.join(160)
            for load in loads:
                load.stop(130)
            doubts = self._tell(faults, loads, crowd)
            proxy.check_log()
            check(cluster, faults, loads, crowd)
            check_doubts(doubts, faults)

    def _do_faults(self, proxy, faults, loads, crowd):
        wait_until(lambda: all(t.rounds > 0 or t.failure for t in crowd), 30, "the crowd to talk")
        over = None if self._until is None else time.monotonic() + self._until
        for fault in self._given:
            if over is not None and time.monotonic() > over:
                return
            self.done.append(fault)
            faults.do(fault)
            for load in loads:
                load.wait_acks(50, 130)
            # Answers in doubt stand behind that to a read which is asked again.
            pipelines = [(t, t.rounds) for t in crowd if isinstance(t, Pipelines)]
            wait_until(lambda p=pipelines: all(t.rounds > n or t.failure for t, n in p), 130,
                       "every pipeline to be answered")
            proxy.check_log()
            failed = next((t for t in crowd if t.failure), None)
            if failed:
                raise AssertionError(f"{failed.name}: {failed.failure}") from failed.failure

    def _tell(self, faults, loads, crowd):
        """-INDOUBT for each fault: between its beginning and that of the next."""
        doubts = [when for talker in crowd for when in talker.doubts]
        doubts += [r.done_at for load in loads for records in load.records for r in records
                   if r.outcome == INDOUBT]
        ends = [*faults.times[1:], float("inf")]
        counts = [(fault, sum(begin <= d < end for d in doubts))
                  for fault, begin, end in zip(self.done, faults.times, ends)]
        told = [f"{fault} {count}" for fault, count in counts]
        rounds = {}
        for talker in crowd:
            kind = type(talker).__name__
            rounds[kind] = rounds.get(kind, 0) + talker.rounds
        print(f"seed {self.seed}; in doubt after each fault: {', '.join(told)}")
        print(f"rounds {rounds}, begun anew "
              f"{ {t.name: t.reconnects for t in crowd if t.reconnects} }")
        return counts


def check(cluster, faults, loads, crowd):
    """LEDGER, COUNTER, OPEN, and each session's own."""
    failures = [f"{t.name}: {t.failure}" for t in crowd if t.failure]
    assert not failures, failures
    stuck = [t.name for t in crowd if t.is_alive()]
    assert not stuck, f"they wait for an answer: {stuck}"
    node = cluster.primary
    ledger_load, counter_load = loads
    for load in loads:
        counts = tally(load.records)
        print(counts)
        check_open(load.opened, load.connections)
        assert counts[NOTRUN] == 0
        assert not errors_of(load.records) or refusals_only(load.records, faults), \
            errors_of(load.records)
    check_ledger(ledger_load.records, stored_lists(node, 6),
                 lambda record: faults.may_lose(record.done_at))
    check_sum(counter_load.records, int(node.call("GET", "c")), faults)
    for talker in crowd:
        try:
            talker.check(node)
        except AssertionError as error:
            raise OracleError(f"{talker.name}: {error}") from error
    check_queue(crowd, node, faults)


def refusals_only(clients, faults):
    """Where a primary is demoted by hand, a refusal that has something in doubt behind it is given
    in its own words: what was refused can't be sent again behind that."""
    for records in clients:
        doubtful = False
        for record in reversed(records):
            doubtful = doubtful or record.outcome == INDOUBT
            refused = record.reply.startswith(b"-READONLY ") and doubtful and faults.moved_by_hand
            if record.outcome == ERROR and not refused:
                return False
    return True


def check_doubts(counts, faults):
    many = [f"{fault} {n}" for (fault, n), begun in zip(counts, faults.times)
            if n > DOUBTS_MAX.get(fault.kind, n) and begun not in faults.slow]
    assert not many, f"in doubt without a reason: {many}"


def check_sum(clients, final, faults):
    counts = tally(clients)
    low = sum(r.outcome == ACKED and not faults.may_lose(r.done_at)
              for records in clients for r in records)
    assert low <= final <= counts[ACKED] + counts[INDOUBT], (low, final, counts)


def check_queue(crowd, node, faults):
    """What was pushed was popped once or is there; a crash may take back either."""
    pushed, doubtful = {}, 0
    popped = {}
    for talker in crowd:
        if type(talker).__name__ == "Queue":
            pushed.update({token: when for when, token in talker.acked})
            doubtful += len(talker.doubts)
        elif type(talker).__name__ == "Pops":
            for when, token in talker.acked:
                popped.setdefault(token, []).append(when)
    twice = {t: w for t, w in popped.items()
             if len(w) > 1 and not any(faults.may_lose(when) for when in w)}
    assert not twice, f"popped twice: {list(twice)[:5]}"
    there = {token.decode() for token in node.call("LRANGE", "queue", 0, -1)}
    both = [t for t in there if t in popped and not any(map(faults.may_lose, popped[t]))]
    assert not both, f"popped and still there: {both[:5]}"
    assert len(set(popped) - set(pushed)) <= doubtful, "popped and never pushed"


def shrink(hunt, seconds):
    """The shortest list of its faults that still fails, by doing halves and parts of it again for
    so long."""
    faults, parts, over = hunt.done, 2, time.monotonic() + seconds
    while len(faults) > 1 and time.monotonic() < over:
        size = -(-len(faults) // parts)
        for at in range(0, len(faults), size):
            rest = faults[:at] + faults[at + size :]
            if rest and fails(hunt, rest):
                faults, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(faults):
                break
            parts = min(parts * 2, len(faults))
    return faults


def fails(hunt, faults):
    try:
        Hunt(hunt.seed, faults, replica_reads=hunt.replica_reads).run()
    except Found:
        return True
    except Spoiled:
        pass
    return False
