"""Which replicas are fit to serve reads, as the log tells: found by asking them, not by what the
Sentinels remember."""

import contextlib
import threading
import time

import pytest

from support.fake_sentinel import NEVER, OK, FakeNode, FakeSentinel, bulk
from support.proxy import Proxy, joined
from support.replicas import SETTINGS, ReplicaStage
from support.wait import wait_until

HISTORY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(name="stage")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        yield ReplicaStage(stack)


class Told:
    """What the log of a proxy tells of replicas, from where it was read last."""

    def __init__(self, proxy):
        self._proxy, self._read = proxy, 0

    def _lines(self):
        return [e for e in self._proxy.entries()
                if e.event in ("replica-fit", "replica-unfit")][self._read:]

    def news(self, count, timeout=15):
        """The next lines, at least so many: (event, port, reason or None, the entry) of each, by
        port."""
        wait_until(lambda: len(self._lines()) >= count, timeout,
                   f"{count} lines on replicas\n{self._proxy.log()}")
        lines = self._lines()
        self._read += len(lines)
        return sorted(((e.event, int(e["replica"].rsplit(":")[-1]), e.get("reason"), e)
                       for e in lines), key=lambda line: line[1])

    def one(self, replica, reason=None, timeout=15):
        """The next line is of this replica: unfit for that reason, or fit."""
        (event, port, why, entry), = self.news(1, timeout)
        assert (event, port, why) == ("replica-unfit" if reason else "replica-fit", replica.node.port,
                                      reason)
        return entry

    def nothing(self, seconds):
        """No line for so long."""
        time.sleep(seconds)
        assert not self._lines()

    def wait_fit(self, replicas, timeout=30):
        """Until these were found fit, whatever is told before that. What is told then is read."""
        ports = {r.node.port for r in replicas}
        found = {}

        def fit():
            found.update({port: event for event, port, *_ in self.news(0)})
            return all(found.get(port) == "replica-fit" for port in ports)
        wait_until(fit, timeout, f"{ports} fit\n{self._proxy.log()}")


@contextlib.contextmanager
def reading(stage, **settings):
    """(proxy, what its log tells), once both replicas are fit."""
    words = []
    for replica in stage.replicas:
        words += ["--set", "sentinel.address-map="
                  f"{joined(replica.line.address)} {joined(stage.address)}"]
    merged = {**SETTINGS, **{k.replace("_", "-"): v for k, v in settings.items()}}
    with Proxy([stage.sentinel.address], merged, arguments=words) as proxy:
        proxy.wait_serving()
        told = Told(proxy)
        assert ([line[:2] for line in told.news(2)]
                == sorted([("replica-fit", r.node.port) for r in stage.replicas],
                          key=lambda line: line[1]))
        yield proxy, told


def test_stopped_killed_and_back(stage):
    one, other = stage.replicas
    with reading(stage, replica_slow_start="3s") as (_, told):
        one.node.pause()
        told.one(one, "no answer", 3)
        one.node.resume()
        assert told.one(one)["starts"] == "slowly"
        other.node.kill()
        told.one(other, "no connection", 3)
        other.node.start()
        told.one(other)


def test_promoted_and_priority_zero(stage):
    one, other = stage.replicas
    with reading(stage) as (_, told):
        one.node.call("REPLICAOF", "NO", "ONE")
        told.one(one, "a master", 3)
        other.node.call("CONFIG", "SET", "replica-priority", "0")
        told.one(other, "replica-priority 0")
        other.node.call("CONFIG", "SET", "replica-priority", "100")
        told.one(other)
    other.node.call("CONFIG", "SET", "replica-priority", "0")
    one.node.call("REPLICAOF", one.line.address[0], str(one.line.port))
    one.wait_follows()
    with reading(stage, replica_priority_zero="yes") as (_, told):
        told.nothing(1.5)  # longer than INFO takes to be asked again


def test_too_far_behind(stage):
    """Its connection stays and its answers come; only what it has applied stands still."""
    one, other = stage.replicas
    with reading(stage, max_replica_lag="500ms") as (_, told), stage.primary.connect() as direct:
        one.stop_sending()
        told.nothing(1)  # as long as nothing is written it has everything
        enough = threading.Event()

        def write():
            while not enough.wait(0.01):
                direct.ok("INCR", "writes")
        thread = threading.Thread(target=write)
        thread.start()
        try:
            assert int(told.one(one, "too far behind")["lag-ms"]) > 500
            one.go_on()
            assert int(told.one(one)["lag-ms"]) <= 500
        finally:
            enough.set()
            thread.join()
        other.wait_follows()


def test_full_resync(stage):
    """While it waits for new data a node serves its old data, and is not asked for it; others do
    not follow the history of the primary any more either, though they have not noticed."""
    one, other = stage.replicas
    with reading(stage) as (_, told):
        stage.primary.call("CONFIG", "SET", "repl-diskless-sync-delay", "1")
        one.node.call("REPLICAOF", other.node.host, str(other.node.port))
        told.one(one, "replica of another node", 3)
        stage.primary.call("DEBUG", "CHANGE-REPL-ID")
        told.one(other, "the primary's history began anew", 3)
        one.node.call("REPLICAOF", one.line.address[0], str(one.line.port))
        stage.primary.call("CLIENT", "KILL", "TYPE", "replica")
        told.wait_fit(stage.replicas)


@pytest.mark.parametrize("go_on", ["yes", "no"])
def test_lost_primary(stage, go_on):
    """Replicas that were fit when it was lost stay so within max-replica-lag."""
    with reading(stage, reads_during_failover=go_on, max_replica_lag="2s") as (_, told):
        lost = time.time()
        stage.primary.kill()
        lines = told.news(2)
        reason = "too far behind" if go_on == "yes" else "not connected to the primary"
        assert [line[:3:2] for line in lines] == [("replica-unfit", reason)] * 2
        if go_on == "yes":
            assert time.time() - lost >= 1.9
            assert all(2000 < int(line[3]["lag-ms"]) for line in lines)


class Scripted(FakeNode):
    """A node that says what it is told to say of its replication and its zone, and stores what is
    SET. What asks it for INFO are the rounds."""

    def __init__(self, primary=None, zone=""):
        super().__init__()
        self.primary, self.zone = primary, zone
        self.offset, self.stored = 100, {}
        self.slow = 0  # a round's ROLE is answered after so many seconds with what was true before
        self.rounds = 0  # so many were asked

    def role(self):
        if self.primary is None:
            return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*0\r\n" % self.offset
        return (b"*5\r\n$5\r\nslave\r\n" + bulk(self.primary[0]) +
                b":%d\r\n$9\r\nconnected\r\n:%d\r\n" % (self.primary[1], self.offset))

    def info(self):
        return bulk(f"# Server\r\navailability_zone:{self.zone}\r\n# Persistence\r\nloading:0\r\n"
                    f"# Replication\r\nslave_priority:100\r\nmaster_replid:{HISTORY}\r\n")

    def answer(self, client, args):
        command = args[0].upper()
        if command == b"SET":
            self.stored[args[1]] = args[2]
            self.offset += 10
            return OK
        if command == b"GET":
            return bulk(self.stored[args[1]])
        if command not in (b"ROLE", b"INFO"):
            return super().answer(client, args)
        said = self.role() if command == b"ROLE" else self.info()
        client.state["rounds"] = client.state.get("rounds") or command == b"INFO"
        if not self.slow or not client.state["rounds"]:
            return said
        self.later(client, self.slow, said)
        self.rounds += command == b"ROLE"
        return NEVER


@contextlib.contextmanager
def scripted(zones, settings):
    """(primary, replicas, proxy, what its log tells)."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Scripted())
        replicas = [stack.enter_context(Scripted(primary.address, zone)) for zone in zones]
        sentinel = stack.enter_context(FakeSentinel(primary.address, epoch=1))
        sentinel.replicas = [r.address for r in replicas]
        proxy = stack.enter_context(Proxy([sentinel.address], {**SETTINGS, **settings}))
        yield primary, replicas, proxy, Told(proxy)


@pytest.mark.parametrize("settings, near", [
    ({"zone": "eu-1b"}, [False, True]),
    ({"zone": "eu-1"}, [False, False]),
    ({"prefer": "127.0.0.0/8"}, [True, True]),
    ({"prefer": "10.0.0.0/8", "zone": "eu-1a"}, [True, False]),
])
def test_near(settings, near):
    """Redis 7.0 knows no zones: nodes that are scripted to tell theirs, as Valkey 8 does."""
    with scripted(("eu-1a", "eu-1b"), settings) as (_, replicas, _, told):
        lines = told.news(2)
        assert all(event == "replica-fit" for event, *_ in lines)
        found = {port: entry.get("near") == "yes" for _, port, _, entry in lines}
        assert [found[r.port] for r in replicas] == near


def test_57_write_while_a_round_is_under_way():
    """The primary has told its offset, the answer is on its way, and then it executes a write: a
    replica that has caught up with that round does not have the write."""
    with scripted(("",), {}) as (primary, (replica,), proxy, told), proxy.connect() as conn:
        told.news(1)
        primary.slow = 0.2  # less than stall-timeout
        for number in range(5):
            value = str(number).encode()
            conn.ok("SET", "key", b"before")
            replica.stored, replica.offset = dict(primary.stored), primary.offset
            wait_until(lambda: asks(proxy, replica), what="reads on the replica")
            wait_round(primary, 1)
            conn.ok("SET", "key", value)
            wait_round(primary, 2)  # that one, and another, are answered
            assert conn.ok("GET", "key") == value


def wait_round(primary, more):
    """Until the primary was asked so many times more, a moment ago."""
    rounds = primary.rounds + more
    wait_until(lambda: primary.rounds >= rounds, what="a round", interval=0.002)


def asks(proxy, replica):
    """A new session's read is served by the replica."""
    before = len(replica.requests("GET"))
    with proxy.connect() as conn:
        conn.ok("GET", "key")
    return len(replica.requests("GET")) > before
