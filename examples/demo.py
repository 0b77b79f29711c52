#!/usr/bin/env python3
"""Runs clients through a crash and a planned failover and says what became of every write.

usage: demo.py PROXY_PORT SENTINEL_PORT...      (all on 127.0.0.1; quickstart.sh --demo starts it)

Ten connections, several requests in flight on each, RPUSH numbers that are never used twice and
keep a ledger of the answers. When a failover is over, the ledger is compared with the lists that
the primary holds. Exit status: 0 every promise was kept, 1 one was broken, 2 the demo itself failed.
"""

import collections
import os
import selectors
import signal
import socket
import sys
import threading
import time

MASTER = "mymaster"
CLIENTS = 10
DEPTH = 4  # requests in flight on each connection
TICK = 0.002  # seconds
TURNS = 4  # a client sends every TURNS ticks: at most CLIENTS * DEPTH / (TICK * TURNS) a second
TRIES = 3  # a failover that Sentinel followed with another one is run again, not judged


class DemoError(Exception):
    """The demo can't go on; says why."""


# --- speaking to Redis and Sentinel


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Node:
    """A blocking connection for one question at a time; an error answer is a DemoError."""

    def __init__(self, port, timeout=2.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.reader = self.socket.makefile("rb")

    def ask(self, *words):
        self.socket.sendall(encode(*words))
        return self._reply()

    def _reply(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise DemoError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        return rest.decode()

    def close(self):
        self.reader.close()
        self.socket.close()


def ask(port, *words):
    node = Node(port)
    try:
        return node.ask(*words)
    finally:
        node.close()


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def wait_for(what, seconds, condition):
    """The first true value of condition(), tried often. Failing connections are just not yet."""
    end = time.monotonic() + seconds
    why = ""
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (OSError, DemoError) as error:
            why = f" ({error})"
        time.sleep(0.1)
    raise DemoError(f"{what} did not happen within {seconds} seconds{why}")


class Sentinels:
    """Knows since when two Sentinels have named the same primary."""

    def __init__(self, ports):
        self.ports = ports
        self.views = {}
        self.history = []  # (time, port of the primary)
        self.lock = threading.Lock()
        for port in ports:
            threading.Thread(target=self._watch, args=(port,), daemon=True).start()
        wait_for("an answer of the Sentinels", 10, lambda: self.history)

    def _watch(self, port):
        while True:
            try:
                node = Node(port)
                while True:
                    answer = node.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
                    self._seen(port, int(answer[1]) if answer else 0)
                    time.sleep(0.005)
            except (OSError, DemoError):
                time.sleep(0.1)

    def _seen(self, port, primary):
        with self.lock:
            self.views[port] = primary
            agreed = list(self.views.values()).count(primary) > len(self.ports) // 2
            if agreed and (not self.history or self.history[-1][1] != primary):
                self.history.append((time.monotonic(), primary))

    def primary(self):
        with self.lock:
            return self.history[-1][1]

    def since(self):
        with self.lock:
            return self.history[-1][0]

    def epoch(self):
        return max(int(pairs(ask(p, "SENTINEL", "MASTER", MASTER))["config-epoch"])
                   for p in self.ports)

    def at_rest(self):
        """All Sentinels see two healthy replicas of the primary and no failover."""
        primary = self.primary()
        for port in self.ports:
            if "failover_in_progress" in pairs(ask(port, "SENTINEL", "MASTER", MASTER))["flags"]:
                return False
            replicas = [pairs(r) for r in ask(port, "SENTINEL", "REPLICAS", MASTER)]
            if len([r for r in replicas if fit(r, primary)]) != 2:
                return False
        return True


def fit(replica, primary):
    return (replica.get("flags") == "slave" and replica.get("role-reported") == "slave"
            and replica.get("master-link-status") == "ok"
            and replica.get("master-port") == str(primary))


# --- the clients

ACKNOWLEDGED, IN_DOUBT, REFUSED, UNKNOWN = "acknowledged", "in doubt", "refused", "unknown"


class Client:
    """One connection and the ledger of what became of each number it sent."""

    def __init__(self, name, load):
        self.name = name
        self.load = load
        self.key = None
        self.socket = None
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.load.port), 5)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.unsent = b""
        self.waiting = collections.deque()
        self.load.selector.register(self.socket, selectors.EVENT_READ, self)

    def begin(self, phase):
        self.key = f"demo:{phase}:{self.name}"
        self.ledger = []  # number -> what became of it
        self.reconnects = 0
        self.errors = []

    def send(self):
        while len(self.waiting) < DEPTH:
            self.waiting.append(len(self.ledger))
            self.unsent += encode("RPUSH", self.key, len(self.ledger))
            self.ledger.append(None)
        self.flush()

    def flush(self):
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        except OSError as error:
            self.lost(error)

    def read(self):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(error)
            return
        if not data:
            self.lost("closed by the other side")
            return
        *lines, self.received = (self.received + data).split(b"\r\n")
        for line in lines:
            self.answer(line)

    def answer(self, line):
        if not self.waiting:
            raise DemoError(f"an answer nobody waits for: {line!r}")
        number = self.waiting.popleft()
        if line[:1] == b":":
            self.ledger[number] = ACKNOWLEDGED
            self.load.acknowledged_now()
        elif line.startswith(b"-INDOUBT"):
            self.ledger[number] = IN_DOUBT
        else:
            self.ledger[number] = REFUSED
            self.errors.append(line.decode(errors="replace"))

    def lost(self, why):
        """A client must never get here: connects again and counts it."""
        self.reconnects += 1
        self.errors.append(f"connection lost: {why}")
        for number in self.waiting:
            self.ledger[number] = UNKNOWN
        self.waiting.clear()
        self.load.selector.unregister(self.socket)
        self.socket.close()
        self.socket = None

    def reconnect(self):
        try:
            self.connect()
        except OSError:
            self.socket = None  # the next tick tries again


class Load(threading.Thread):
    """All clients in one thread. begin() lets them send, end() waits until all is answered."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.sending = False
        self.phase = None
        self.failure = None
        self.last = None
        self.gap = (0.0, 0.0, 0.0)
        self.turn = 0
        self.clients = [Client(n, self) for n in range(CLIENTS)]
        self.start()

    def begin(self, phase):
        for client in self.clients:
            client.begin(phase)
        self.last = None
        self.gap = (0.0, 0.0, 0.0)
        self.sending = True

    def end(self):
        """What was never answered stays None in the ledgers."""
        self.sending = False
        time.sleep(0.1)  # for the turn in which they may still be sending
        end = time.monotonic() + 60
        while any(c.waiting for c in self.clients) and time.monotonic() < end:
            self.check()
            time.sleep(0.02)

    def check(self):
        if self.failure:
            raise DemoError(self.failure)

    def acknowledged_now(self):
        now = time.monotonic()
        if self.last is not None and now - self.last > self.gap[0]:
            self.gap = (now - self.last, self.last, now)
        self.last = now

    def run(self):
        due = time.monotonic()
        try:
            while True:
                for key, _ in self.selector.select(max(0.0, due - time.monotonic())):
                    key.data.read()
                if time.monotonic() >= due:
                    due = time.monotonic() + TICK
                    self.tick()
        except Exception as error:  # a thread's end must not be silent
            self.failure = f"the clients ended: {error!r}"

    def tick(self):
        self.turn = (self.turn + 1) % TURNS
        for client in self.clients[self.turn::TURNS]:
            if client.socket is None:
                client.reconnect()
            elif self.sending:
                client.send()
            elif client.unsent:
                client.flush()


# --- judging


class Result:
    """What one failover did to the requests, found by comparing ledgers with lists."""

    def __init__(self, name, load, primary, failovers):
        self.name = name
        self.failovers = failovers
        self.gap = load.gap
        self.count = collections.Counter()
        self.lost = self.doubled = self.reordered = self.ghosts = self.executed_in_doubt = 0
        self.reconnects = sum(c.reconnects for c in load.clients)
        self.errors = collections.Counter(e for c in load.clients for e in c.errors)
        for client in load.clients:
            self._compare(client, [int(n) for n in ask(primary, "LRANGE", client.key, 0, -1)])

    def _compare(self, client, held):
        times = collections.Counter(held)
        self.doubled += sum(1 for n in times.values() if n > 1)
        for number, fate in enumerate(client.ledger):
            self.count[fate] += 1
            if fate == ACKNOWLEDGED and number not in times:
                self.lost += 1
            elif fate == REFUSED and number in times:
                self.ghosts += 1
            elif fate == IN_DOUBT and number in times:
                self.executed_in_doubt += 1
        acknowledged = [n for n in held if client.ledger[n] == ACKNOWLEDGED]
        self.reordered += sum(1 for a, b in zip(acknowledged, acknowledged[1:]) if a > b)

    def broken(self, may_lose):
        """The promises that were broken, in words."""
        faults = [
            (self.doubled, "writes were executed twice"),
            (self.reordered, "writes of one connection were executed out of order"),
            (self.ghosts, "writes were executed although an error said they were not"),
            (self.reconnects, "connections were lost"),
            (self.count[REFUSED], "requests failed with an error other than -INDOUBT"),
            (self.count[None], "requests were never answered"),
            (0 if may_lose else self.lost, "acknowledged writes were lost"),
        ]
        return [f"{self.name}: {number} {words}" for number, words in faults if number]


class Story:
    """Prints what happens, with the seconds since the beginning of the failover's load."""

    def __init__(self, title):
        self.begin = time.monotonic()
        print(f"\n{title}\n", flush=True)

    def tell(self, text, when=None):
        seconds = (time.monotonic() if when is None else when) - self.begin
        print(f"{seconds:9.3f} s  {text}", flush=True)


# --- the two failovers


def kill_primary(sentinels, story):
    port = sentinels.primary()
    info = ask(port, "INFO", "server")
    pid = int(next(line for line in info.splitlines() if line.startswith("process_id:"))[11:])
    before = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    story.tell(f"kill -9 of the primary (port {port}, pid {pid})", before)


def ask_failover(sentinels, story):
    leader = sentinels.ports[0]
    before = time.monotonic()
    wait_for("SENTINEL FAILOVER", 30,
             lambda: ask(leader, "SENTINEL", "FAILOVER", MASTER) == "OK")
    story.tell(f"SENTINEL FAILOVER on the Sentinel of port {leader}; the primary is "
               f"port {sentinels.primary()}", before)


def old_primary_is_replica(port, primary):
    role = ask(port, "ROLE")
    return role[0] == "slave" and int(role[2]) == primary and role[3] == "connected"


def tell_gap(story, load, named, primary):
    gap, begin, end = load.gap
    later = f", {(end - named) * 1000:.0f} ms later" if end >= named else ""
    for when, text in sorted([
            (begin, f"the longest gap between two acknowledgements begins ({gap:.3f} s)"),
            (named, f"two Sentinels name the new primary, port {primary}"),
            (end, f"the gap ends{later}")]):
        story.tell(text, when)


def run_failover(name, sentinels, load, provoke):
    """One failover under load; provoke(sentinels, story) makes it happen."""
    story = Story(f"--- {name}: {CLIENTS} connections, up to {DEPTH} requests in flight on each")
    old, epoch = sentinels.primary(), sentinels.epoch()
    load.begin(f"{name}:{epoch}")
    story.tell("the clients begin to write")
    time.sleep(3)
    load.check()
    provoke(sentinels, story)
    provoked = time.monotonic()
    wait_for("a new primary", 60, lambda: sentinels.primary() != old)
    named, primary = sentinels.since(), sentinels.primary()
    try:
        wait_for("a write acknowledged after the failover", 60,
                 lambda: load.last and load.last > max(named, provoked))
    except DemoError as error:
        story.tell(str(error))
    tell_gap(story, load, named, primary)
    story.tell("waiting until the old primary is a replica of the new one; the clients write on")
    wait_for("the return of the old primary as a replica", 60,
             lambda: old_primary_is_replica(old, sentinels.primary()))
    time.sleep(1)
    load.end()
    load.check()
    story.tell("the clients have stopped; comparing their ledgers with the primary's lists")
    return Result(name, load, sentinels.primary(), sentinels.epoch() - epoch)


def judged_failover(name, sentinels, load, provoke):
    """As run_failover, again when Sentinel made more failovers than it was made to. What it loses
    by that is not the proxy's doing, but any other broken promise is told of every run."""
    faults = []
    for _ in range(TRIES):
        wait_for("two healthy replicas", 60, sentinels.at_rest)
        result = run_failover(name, sentinels, load, provoke)
        settled = result.failovers == 1
        faults += result.broken(may_lose=name == "crash" or not settled)
        if settled or faults:
            return result, faults
        print(f"\nSentinel made {result.failovers} failovers where one was asked for, and "
              f"{result.lost} acknowledged writes were lost in them: not judged, once more.")
    faults.append(f"{name}: Sentinel made more failovers than asked for {TRIES} times; not judged")
    return result, faults


def table(results):
    rows = [
        ("requests", lambda r: sum(r.count.values())),
        ("acknowledged", lambda r: r.count[ACKNOWLEDGED]),
        ("  of these lost", lambda r: r.lost),
        ("in doubt (-INDOUBT)", lambda r: r.count[IN_DOUBT]),
        ("  of these executed", lambda r: r.executed_in_doubt),
        ("other errors", lambda r: r.count[REFUSED]),
        ("executed twice", lambda r: r.doubled),
        ("never answered", lambda r: r.count[None] + r.count[UNKNOWN]),
        ("reconnects", lambda r: r.reconnects),
        ("failovers in Sentinel", lambda r: r.failovers),
        ("longest gap", lambda r: f"{r.gap[0]:.3f} s"),
    ]
    print("\n" + " " * 24 + "".join(f"{r.name:>12}" for r in results))
    for title, value in rows:
        print(f"{title:24}" + "".join(f"{value(r):>12}" for r in results))
    for result in results:
        for error, number in result.errors.most_common(5):
            print(f"{result.name}: {number} x {error}")
    lost = sum(r.lost for r in results if r.name == "crash")
    if lost:
        print(f"\nThe {lost} writes lost in the crash had not reached a replica when the primary "
              "died:\nRedis acknowledges before it replicates, and no proxy can change that.")


def main(argv):
    if len(argv) < 3 or not all(word.isdigit() for word in argv[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    ports = [int(word) for word in argv[1:]]
    try:
        sentinels = Sentinels(ports[1:])
        load = Load(ports[0])
        results, faults = [], []
        for name, provoke in (("crash", kill_primary), ("planned", ask_failover)):
            result, broken = judged_failover(name, sentinels, load, provoke)
            results.append(result)
            faults += broken
    except (OSError, DemoError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    table(results)
    print("\n" + "\n".join(f"BROKEN: {fault}" for fault in faults) if faults
          else "\nEvery promise was kept.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
