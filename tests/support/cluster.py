"""One primary, two replicas and three Sentinels on loopback, in a temporary directory."""

import contextlib
import os
import re
import shutil
import tempfile
import time
from datetime import datetime

from . import tls as tls_of_tests
from .procs import Port, Process, Slot
from .resp import Conn, ServerError
from .wait import wait_until

MASTER = "mymaster"
HOST = "127.0.0.1"

# Debian's redis-tools has the server under this name; which program it is, argv[0] decides.
_SERVER_UNDER_ANOTHER_NAME = "/usr/bin/redis-check-rdb"


class Timers:
    """Sentinel's timing. The short one is shortened in step, so that it does not start failovers
    of its own as a lone short down-after does."""

    def __init__(self, down_after, failover_timeout, debug):
        self.down_after = down_after
        self.failover_timeout = failover_timeout
        self.debug = debug


SHORT = Timers(1000, 5000, {"PING-PERIOD": 300, "INFO-PERIOD": 200, "PUBLISH-PERIOD": 500,
                            "MIN-LINK-RECONNECT-PERIOD": 50})
STOCK = Timers(2000, 10000, {})


# By the machine: its disk or its processor stood still for a second.
GAVE_UP = re.compile(r" (\+tilt|-failover-abort-)")
# Sentinel writes its configuration to the disk at each vote and waits for it.
TMPFS = "/dev/shm"


class Spoiled(Exception):
    """Sentinel made other failovers than the case intended: run it again, do not judge it."""


def binary(name, directory):
    """Path of redis-server or redis-sentinel, made in directory where it is not installed."""
    found = shutil.which(name)
    if found:
        return found
    link = os.path.join(directory, name)
    if not os.path.lexists(link):
        os.symlink(_SERVER_UNDER_ANOTHER_NAME, link)
    return link


class Daemon:
    """A redis-server or redis-sentinel that can be stopped and started again on its port.

    place: the netns.Place that it lives in and that connect is made from, which reaches it
    whatever becomes of the network.
    """

    def __init__(self, program, directory, host=HOST, place=None, tls=None):
        self._port = Port()
        self.place = place
        self.host = place.host if place else host
        self.port = self._port.number
        self.tls = tls or tls_of_tests.default()
        if self.tls:
            tls_of_tests.speaks(self.address, self.tls.client_context())
        self.directory = os.path.join(directory, f"{program}-{self.port}")
        os.makedirs(self.directory)
        self.config_path = os.path.join(self.directory, "config.conf")
        self.log_path = os.path.join(self.directory, "log")
        self._program = binary(program, directory)
        self.process = None
        self._password = None

    @property
    def address(self):
        return (self.host, self.port)

    def start(self, *arguments):
        with self._inside():
            self.process = Process([self._program, self.config_path, *arguments], self.log_path,
                                   cwd=self.directory)
        wait_until(lambda: self.running() and self.responds(), 15, f"start of {self.directory}")

    def responds(self):
        with self.connect(timeout=1) as conn:
            conn.call("PING")
            return True

    def running(self):
        if not self.process.running():
            raise AssertionError(f"{self.directory} ended:\n{self.process.log()[-2000:]}")
        return True

    def connect(self, timeout=5.0):
        with self._inside():
            conn = Conn(self.address, timeout)
        if self._password:
            conn.call("AUTH", self._password)
        return conn

    def _inside(self):
        return self.place.inside() if self.place else contextlib.nullcontext()

    def configure(self, lines, settings):
        """Writes the configuration; a requirepass in settings is used by connect."""
        port = self.tls.redis_lines(self.port) if self.tls else [f"port {self.port}"]
        lines = [*port, *lines, *(" ".join(setting) for setting in settings)]
        self._password = dict(s for s in settings if len(s) == 2).get("requirepass")
        with open(self.config_path, "w", encoding="ascii") as config:
            config.write("\n".join(lines) + "\n")

    def call(self, *args, timeout=5.0):
        """One command over a connection of its own; errors are raised."""
        with self.connect(timeout) as conn:
            return conn.ok(*args)

    def kill(self):
        self.process.kill()

    def terminate(self, timeout=15):
        return self.process.terminate(timeout)

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def close(self):
        if self.process:
            self.process.kill()
        tls_of_tests.speaks(self.address, None)
        self._port.release()


class Node(Daemon):
    """A Redis server."""

    def __init__(self, directory, replica_of=None, settings=(), host=HOST, place=None, tls=None):
        super().__init__("redis-server", directory, host, place, tls)
        lines = [f"bind {self.host}", f"dir {self.directory}", 'save ""',
                 "enable-debug-command yes", "repl-diskless-sync-delay 0",
                 "repl-backlog-size 64mb", "hz 50"]
        if replica_of:
            lines.append(f"replicaof {replica_of.host} {replica_of.port}")
        self.configure(lines, settings)

    def role(self):
        """None while it can't be asked; Sentinel kicks all clients of a node that it promotes."""
        with contextlib.suppress(OSError, EOFError):
            return self.call("ROLE")[0].decode()
        return None

    def info(self, section):
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def calls(self, command):
        """How often the command was executed since the start or CONFIG RESETSTAT."""
        line = self.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
        return int(re.match(r"calls=(\d+)", line).group(1))

    def commands(self):
        """{name: how often it was executed} of all commands."""
        stats = self.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(re.match(r"calls=(\d+)", line).group(1))
                for name, line in stats.items()}

    def connections(self):
        """What CLIENT LIST tells of each connection but this one, as {field: text}."""
        lines = self.call("CLIENT", "LIST").decode().splitlines()
        found = [dict(pair.split("=", 1) for pair in line.split(" ")) for line in lines]
        return [fields for fields in found if fields["cmd"] != "client|list"]

    def in_sync_with(self, primary):
        role = self.call("ROLE")
        return (role[0] == b"slave" and role[2] == primary.port and role[3] == b"connected")


_SENTINEL_LOG_LINE = re.compile(r"^\d+:X (\d+ \w+ \d+ [\d:.]+) [#*.-] (\S+)(?: (.*))?$")


class Sentinel(Daemon):
    """A Sentinel watching one master name, or several, on `at` or its own host."""

    def __init__(self, directory, monitored, timers, quorum=2, settings=(), host=HOST, place=None,
                 at=None, tls=None):
        super().__init__("redis-sentinel", directory, host, place, tls)
        self.timers = timers
        lines = [f"bind {self.host}", f"dir {self.directory}"]
        for name, port in monitored.items():
            lines += [f"sentinel monitor {name} {at or self.host} {port} {quorum}",
                      f"sentinel down-after-milliseconds {name} {timers.down_after}",
                      f"sentinel failover-timeout {name} {timers.failover_timeout}",
                      f"sentinel parallel-syncs {name} 1"]
        self.configure(lines, settings)

    def start(self, *arguments):
        super().start(*arguments)
        if self.timers.debug:  # kept in memory only: gone with every restart
            flat = [str(x) for pair in self.timers.debug.items() for x in pair]
            self.call("SENTINEL", "DEBUG", *flat)

    def fields(self, name=MASTER):
        return _fields(self.call("SENTINEL", "MASTER", name))

    def replicas(self, name=MASTER):
        return [_fields(item) for item in self.call("SENTINEL", "REPLICAS", name)]

    def sentinels(self, name=MASTER):
        return [_fields(item) for item in self.call("SENTINEL", "SENTINELS", name)]

    def primary_port(self, name=MASTER):
        return int(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[1])

    def epoch(self, name=MASTER):
        return int(self.fields(name)["config-epoch"])

    def events(self):
        """[(wall-clock time, event, text)] from the log."""
        found = []
        for line in self.process.log().splitlines():
            match = _SENTINEL_LOG_LINE.match(line)
            if match and match.group(2)[0] in "+-":
                when = datetime.strptime(match.group(1), "%d %b %Y %H:%M:%S.%f")
                found.append((when.timestamp(), match.group(2), match.group(3) or ""))
        return found

    def switched_at(self, port, since):
        """When its answer to GET-MASTER-ADDR-BY-NAME became that port, or None."""
        for when, event, text in self.events():
            if when < since:
                continue
            words = text.split()
            if event == "+switch-master" and words[-1] == str(port):
                return when
            if event == "+promoted-slave" and words[3] == str(port):
                return when
        return None

    def settled(self, node_count, sentinel_count, name=MASTER):
        """Everything known, nothing down, nothing under way."""
        master = self.fields(name)
        if master["flags"] != "master" or int(master["num-other-sentinels"]) != sentinel_count - 1:
            return False
        replicas = self.replicas(name)
        others = self.sentinels(name)
        return (len(replicas) == node_count - 1
                and all(r["flags"] == "slave" and r["master-link-status"] == "ok"
                        and r["master-port"] == master["port"] for r in replicas)
                and all(s["flags"] == "sentinel" for s in others))


def _fields(flat):
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2]))


class Cluster:
    """Started on entry and gone on exit, where Spoiled is raised, whatever the test found, if
    there were more failovers than the `intended` ones.

    alone: all other clusters of this machine are kept away. node_settings, sentinel_settings: lines
    of configuration, each a tuple of words. places: one for each node and then each Sentinel.
    tls: the tls.Certs that all of them speak TLS with.
    """

    def __init__(self, intended=0, timers=SHORT, alone=False, replicas=2, sentinels=3,
                 node_settings=(), sentinel_settings=(), name=MASTER, host=HOST,
                 places=(), tls=None):
        self.intended, self.timers, self.name, self.host = intended, timers, name, host
        self._alone, self._counts = alone, (replicas, sentinels)
        self._settings = (node_settings, sentinel_settings)
        self._places, self._tls = iter(places), tls
        self.nodes, self.sentinels = [], []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind, error, _):
        try:
            if kind:
                print(self.events_text())
            jumped = self.epoch() - self._first_epoch
            if jumped > self.intended:
                raise Spoiled(f"{jumped} failovers instead of {self.intended}") from error
        finally:
            self._stack.close()

    def _start(self):
        if self._counts[0] or self._alone:  # a lone node weighs nothing
            slot = Slot(self._alone)
            self._stack.callback(slot.release)
        self.directory = tempfile.mkdtemp(
            prefix="vedette-", dir=TMPFS if os.access(TMPFS, os.W_OK | os.X_OK) else None)
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        replicas, sentinels = self._counts
        node_settings, sentinel_settings = self._settings
        for index in range(1 + replicas):
            self._add(self.nodes, Node(self.directory, self.nodes[0] if index else None,
                                       node_settings, self.host, next(self._places, None),
                                       self._tls))
        wait_until(lambda: all(n.in_sync_with(self.nodes[0]) for n in self.nodes[1:]), 15,
                   "replicas in sync")
        for _ in range(sentinels):
            self._add(self.sentinels, Sentinel(self.directory, {self.name: self.nodes[0].port},
                                               self.timers, sentinels // 2 + 1,
                                               sentinel_settings, self.host,
                                               next(self._places, None), self.nodes[0].host,
                                               self._tls))
        self.wait_settled()
        self._first_epoch = self.epoch()

    def _add(self, group, daemon):
        self._stack.callback(daemon.close)
        daemon.start()
        group.append(daemon)

    @property
    def sentinel_addresses(self):
        return [s.address for s in self.sentinels]

    @property
    def primary(self):
        """The node that a majority of Sentinels names."""
        return self.primary_of(self.sentinels)

    def primary_of(self, sentinels):
        """The node that most of these Sentinels name."""
        ports = []
        for sentinel in sentinels:
            with contextlib.suppress(OSError, EOFError, ServerError):
                ports.append(sentinel.primary_port(self.name))
        port = max(set(ports), key=ports.count)
        return next(node for node in self.nodes if node.port == port)

    def replicas(self):
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    def wait_settled(self, timeout=40):
        """Until every Sentinel knows every replica and every other Sentinel, all are well, and the
        replicas have what the primary has."""
        wait_until(lambda: all(s.settled(len(self.nodes), len(self.sentinels), self.name)
                               for s in self.sentinels), timeout, "settled Sentinels", 0.05)
        # A replica that calls itself connected may get its first write a second later: a primary
        # that has missed its first acknowledgement sends nothing before the next one.
        replicas = len(self.nodes) - 1
        with self.primary.connect(15) as conn:
            conn.ok("PUBLISH", "replicated", "")
            have = conn.ok("WAIT", replicas, 10000)
        assert have == replicas, f"{have} of {replicas} replicas follow"

    def epoch(self):
        """The highest config-epoch that any Sentinel has."""
        return max((s.epoch(self.name) for s in self.sentinels if s.process.running()), default=0)

    def wait_primary(self, other_than, timeout=20):
        """Until a majority of Sentinels names another node, which is returned."""
        def moved():
            ports = [s.primary_port(self.name) for s in self.sentinels if s.process.running()]
            best = max(set(ports), key=ports.count)
            return best != other_than.port and ports.count(best) * 2 > len(self.sentinels)
        try:
            wait_until(moved, timeout, f"a primary other than {other_than.port}", 0.05)
        except AssertionError as error:
            if GAVE_UP.search(self.events_text()):
                raise Spoiled("Sentinel gave up a failover, or trusts no clock") from error
            raise
        return self.primary

    def failover(self, executor=0):
        """Asks one Sentinel to move the primary; does not wait. Returns the old primary."""
        old = self.primary
        sentinel = self.sentinels[executor]
        def begun():
            try:
                return sentinel.call("SENTINEL", "FAILOVER", self.name) == "OK"
            except ServerError as error:
                if error.code not in ("INPROG", "NOGOODSLAVE"):
                    raise
                return False
        wait_until(begun, 15, "SENTINEL FAILOVER", 0.1)
        return old

    def majority_at(self, port, since):
        """When the second of three (the majority-th) Sentinel began to answer that port."""
        times = sorted(t for t in (s.switched_at(port, since) for s in self.sentinels) if t)
        need = len(self.sentinels) // 2 + 1
        return times[need - 1] if len(times) >= need else None

    def restart_as_replica(self, node):
        """Brings a killed node back as a replica of the present primary, not as a rival."""
        node.start("--replicaof", f"{self.primary.host} {self.primary.port}")

    def events_text(self):
        """For a failure's report: what each Sentinel did."""
        lines = []
        for sentinel in self.sentinels:
            for when, event, text in sentinel.events():
                stamp = time.strftime("%H:%M:%S", time.localtime(when))
                lines.append(f"{stamp}.{int(when % 1 * 1000):03} {sentinel.port} {event} {text}")
        return "\n".join(sorted(lines))
