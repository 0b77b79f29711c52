"""Faults drawn by chance, one after the other, each done with a settled cluster behind it."""

import contextlib
import random
import threading
import time

from support.cluster import Node, Spoiled
from support.resp import Conn, ServerError
from support.wait import wait_until

# A Sentinel whose clock jumped, as it stood still or had no turn, looks on for 30 s (TILT), and then
# may find no good replica at its first attempt.
MOVE_SECONDS = 90
HOLD_GRACE = 0.05  # seconds, the default of hold-grace


class Fault:
    """What was done: a kind and a number in 0..1 that fixes all that is left to choose."""

    def __init__(self, kind, chance):
        self.kind, self.chance = kind, round(chance, 3)

    def __str__(self):
        return f"{self.kind}:{self.chance}"


def parse(text):
    """A list written as `kill:0.2 planned:0.7`."""
    return [Fault(kind, float(chance)) for kind, _, chance in
            (word.partition(":") for word in text.split())]


def drawn(seed, replica_reads=False):
    """Without end, and always the same."""
    rng = random.Random(seed)
    kinds = KINDS + REPLICA_KINDS if replica_reads else KINDS
    while True:
        yield Fault(rng.choice(kinds), rng.random())


class Pulse(threading.Thread):
    """How long a node takes to answer, by the way that the proxy takes to it; until it is gone."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self._conn = Conn(address, 30)
        self.slowest = 0.0
        self.start()

    def run(self):
        with contextlib.suppress(OSError, EOFError, ServerError), self._conn as conn:
            while True:
                begun = time.monotonic()
                try:
                    conn.ok("PING")
                finally:
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                time.sleep(0.005)


class Faults:
    """Does them to a cluster whose nodes the proxy reaches through `relays` (by port)."""

    def __init__(self, cluster, relays):
        self.cluster, self.relays = cluster, relays
        self.crashes = []   # (begin, end) in which Redis itself may lose what it acknowledged
        self.intended = 0   # failovers
        self.times = []     # when each fault began
        self.moved_by_hand = False
        self.slow = []      # those with answers later than the proxy believes at a failover

    def do(self, fault):
        self.times.append(time.time())
        getattr(self, "_" + fault.kind)(fault.chance)
        self.cluster.wait_settled(60)

    def may_lose(self, when):
        """Whether Redis may have lost what it acknowledged then."""
        return any(begin - 0.2 <= when <= end + 0.2 for begin, end in self.crashes)

    def between(self, begun, ended):
        """Whether Redis may have lost what was done some time between the two."""
        return any(begin - 0.2 <= ended and begun <= end + 0.2 for begin, end in self.crashes)

    def crashed(self, since):
        """Whether Redis may have lost what it acknowledged from then on, or just before."""
        return any(end + 0.2 >= since for _, end in self.crashes)

    def _moved(self, old):
        self.intended += 1
        try:
            return self.cluster.wait_primary(old, MOVE_SECONDS)
        except AssertionError as error:
            raise Spoiled(f"Sentinel made no failover in {MOVE_SECONDS} s") from error

    def _sentinel(self, chance):
        return self.cluster.sentinels[int(chance * 1000) % len(self.cluster.sentinels)]

    def _ended(self, end):
        """The primary, by a call on it."""
        old = self.cluster.primary
        begin = time.time()
        end(old)
        self.crashes.append((begin, time.time()))
        self._moved(old)
        self.cluster.restart_as_replica(old)

    def _kill(self, _):
        self._ended(Node.kill)

    def _term(self, _):
        self._ended(Node.terminate)

    def _stop(self, chance):
        """It wakes before it is known that there is another, or behind that."""
        old = self.cluster.primary
        begin = time.time()
        old.pause()
        self.crashes.append((begin, time.time()))
        self._moved(old)
        time.sleep(chance)
        old.resume()

    def _hiccup(self, chance):
        node = self.cluster.primary
        node.pause()
        time.sleep(0.05 + chance * 0.55)
        node.resume()

    def _sleep(self, chance):
        self.cluster.primary.call("DEBUG", "SLEEP", f"{0.05 + chance * 0.55:.2f}")

    def _planned(self, chance):
        """Asked for again when it is called off, as by a Sentinel that looked on for a while."""
        old = self.cluster.primary
        pulse = Pulse(self.relays[old.port].address)
        over = time.monotonic() + MOVE_SECONDS
        self.intended += 1
        while True:
            try:
                self.cluster.failover(int(chance * 1000) % 3)
                self.cluster.wait_primary(old, 15)
                if pulse.slowest > HOLD_GRACE:
                    self.slow.append(self.times[-1])
                return
            except (AssertionError, Spoiled) as error:
                if time.monotonic() > over:
                    raise Spoiled(f"Sentinel made no failover in {MOVE_SECONDS} s") from error

    @contextlib.contextmanager
    def _by_hand(self):
        """Sentinel makes a failover of its own of what is done here, to whichever replica it likes,
        which may be far behind the one that serves."""
        self.moved_by_hand = True
        window = [time.time(), float("inf")]
        self.crashes.append(window)
        old = self.cluster.primary
        yield old
        self._moved(old)
        window[1] = time.time()

    def _raw(self, chance):
        """FAILOVER, without Sentinel."""
        target = self.cluster.replicas()[int(chance * 1000) % 2]
        with self._by_hand() as old:
            old.call("FAILOVER", "TO", target.host, target.port, "TIMEOUT", 5000)
            wait_until(lambda: target.role() == "master", 10, "the handover")

    def _replicaof(self, chance):
        """By hand, while writes are paused."""
        target = self.cluster.replicas()[int(chance * 1000) % 2]
        with self._by_hand() as old, old.connect(10) as conn:
            conn.ok("CLIENT", "PAUSE", 2000, "WRITE")
            wait_until(lambda: conn.ok("ROLE")[1] == target.call("ROLE")[4], 5, "all replicated")
            target.call("REPLICAOF", "NO", "ONE")
            conn.ok("REPLICAOF", target.host, target.port)

    def _restart(self, _):
        """Faster than Sentinel notices; what was acknowledged is in its file."""
        node = self.cluster.primary
        node.kill()
        node.start()

    def _links(self, _):
        self.cluster.primary.call("CLIENT", "KILL", "TYPE", "normal")

    def _cut(self, chance):
        self.relays[self.cluster.primary.port].cut_all(rst=chance < 0.5)

    def _unreachable(self, chance):
        """From the proxy only."""
        relay = self.relays[self.cluster.primary.port]
        relay.refuse()
        relay.cut_all()
        time.sleep(chance * 2)
        relay.refuse(False)

    def _delay(self, chance):
        relay = self.relays[self.cluster.primary.port]
        relay.freeze()
        time.sleep(0.02 + chance * 0.4)
        relay.freeze(False)

    def _sentinel_kill(self, chance):
        sentinel = self._sentinel(chance)
        sentinel.kill()
        time.sleep(chance)
        sentinel.start()

    def _sentinel_stop(self, chance):
        sentinel = self._sentinel(chance)
        sentinel.pause()
        time.sleep(0.5 + chance)
        sentinel.resume()

    def _kill_with_two_sentinels(self, chance):
        sentinel = self._sentinel(chance)
        sentinel.pause()
        try:
            old = self.cluster.primary
            begin = time.time()
            old.kill()
            self.crashes.append((begin, time.time()))
            self.intended += 1
            wait_until(lambda: self._others_name_another(sentinel, old), MOVE_SECONDS,
                       "a failover by two")
        finally:
            sentinel.resume()
        self.cluster.restart_as_replica(old)

    def _others_name_another(self, sentinel, old):
        try:
            return all(s.primary_port() != old.port
                       for s in self.cluster.sentinels if s is not sentinel)
        except ServerError:
            return False


    def _replica(self, chance):
        return self.cluster.replicas()[int(chance * 1000) % 2]

    def _replica_kill(self, chance):
        node = self._replica(chance)
        node.kill()
        time.sleep(chance / 2)
        self.cluster.restart_as_replica(node)

    def _replica_stop(self, chance):
        """It wakes with reads and the stream of writes before it."""
        node = self._replica(chance)
        for _ in range(5):
            node.pause()
            time.sleep(0.02 + chance * 0.4)
            node.resume()
            time.sleep(0.05)

    def _replica_sleep(self, chance):
        self._replica(chance).call("DEBUG", "SLEEP", f"{0.05 + chance * 0.55:.2f}")

    def _replica_links(self, chance):
        self._replica(chance).call("CLIENT", "KILL", "TYPE", "normal")

    def _replica_cut(self, chance):
        self.relays[self._replica(chance).port].cut_all(rst=chance < 0.5)

    def _replica_delay(self, chance):
        relay = self.relays[self._replica(chance).port]
        relay.freeze()
        time.sleep(0.02 + chance)
        relay.freeze(False)

    def _replicas_lost(self, _):
        """All of them, for a moment: nothing but the primary is left to read from."""
        nodes = self.cluster.replicas()
        for node in nodes:
            node.pause()
        time.sleep(0.5)
        for node in nodes:
            node.resume()


KINDS = ("kill", "term", "stop", "planned", "planned", "raw", "replicaof", "restart", "hiccup",
         "sleep", "links", "cut", "unreachable", "delay", "sentinel_kill", "sentinel_stop",
         "kill_with_two_sentinels")

# These say something only where replicas serve reads.
REPLICA_KINDS = ("replica_kill", "replica_stop", "replica_stop", "replica_sleep", "replica_links",
                 "replica_cut", "replica_delay", "replicas_lost")

# How many answers may be in doubt after a fault that gives no reason for doubt; after a failover by
# SENTINEL those to commands that ran across the promotion, of some 170 that are under way, unless
# the node was slower than hold-grace even to PING.
DOUBTS_MAX = {"planned": 40, "hiccup": 0, "sleep": 0, "delay": 0, "sentinel_kill": 0,
              "sentinel_stop": 0, **dict.fromkeys(REPLICA_KINDS, 0)}
