"""One session of each kind: what it says all the time, and what must be true of the answers."""

import random
import threading
import time

from support.resp import Push, ServerError, encode_all
from support.tracking import CHANNEL

DOUBT = "INDOUBT"
RETAIN_MAX = 1 << 20
REFUSED = ("LOADING", "READONLY", "MASTERDOWN")
WAIT = 150  # seconds for an answer: longer than any hold


class Broken(AssertionError):
    """A promise to this session was broken."""


class Talker(threading.Thread):
    """Talks until it is told to stop; `failure` is what it found.

    closes: its connection may be closed where a reply has been begun whose rest can't come, and it
    begins anew.
    """

    closes = False
    pause = 0.01

    def __init__(self, proxy, faults, number, seed):
        super().__init__(name=f"{type(self).__name__}-{number}", daemon=True)
        self.number = number
        self.rng = random.Random(f"{seed}-{self.name}")
        self.doubts = []      # when something was in doubt
        self.acked = []       # (when, what)
        self.rounds = 0
        self.reconnects = 0
        self.failure = None
        self._proxy, self.faults = proxy, faults
        self.enough = threading.Event()
        self.conn = None

    def run(self):
        try:
            self.begin()
            while not self.enough.is_set():
                try:
                    self.step()
                except (EOFError, ConnectionError):
                    if not self.closes or not self.conn.begun():
                        raise Broken("the connection was closed") from None
                    self.reconnects += 1
                    self.begin()
                self.rounds += 1
                self.enough.wait(self.pause)
        except Exception as error:  # told by check
            self.failure = error
        finally:
            if self.conn:
                self.conn.close()

    def begin(self):
        if self.conn:
            self.conn.close()
        self.conn = self._proxy.connect(WAIT)
        self.greet()

    def greet(self):
        """What it says first on a connection."""

    def step(self):
        raise NotImplementedError

    def check(self, node):
        """Behind the end: what the node has now."""

    def doubt(self):
        self.doubts.append(time.time())

    def answer(self, reply, *allowed):
        """None where it is in doubt; an error of no other code may come."""
        if isinstance(reply, ServerError):
            if reply.code == DOUBT:
                self.doubt()
                return None
            if reply.code not in allowed:
                raise Broken(f"error {reply.text!r}")
        return reply

    def ack(self, what):
        self.acked.append((time.time(), what))

    def check_count(self, found):
        """How often it ran, against what was said of that."""
        low = sum(1 for when, _ in self.acked if not self.faults.may_lose(when))
        high = len(self.acked) + len(self.doubts)
        if not low <= found <= high:
            raise Broken(f"it ran {found} times, acknowledged {len(self.acked)} "
                         f"({low} of them for certain), in doubt {len(self.doubts)}")

    def check_alive(self):
        """What comes unasked has come behind the last fault, too."""
        if not self.acked or self.acked[-1][0] < self.faults.times[-1]:
            raise Broken(f"nothing came behind the last fault; {len(self.acked)} before")

    def check_rises(self, value):
        if self.acked and value <= self.acked[-1][1] and not self.faults.crashed(self.acked[-1][0]):
            raise Broken(f"{value} behind {self.acked[-1][1]}")


class Transactions(Talker):
    """Two numbers of its own rise together, or not at all."""

    def step(self):
        a, b = f"tx:a:{self.number}", f"tx:b:{self.number}"
        if self.rng.random() < 0.5:
            last = self.conn.pipeline([("MULTI",), ("INCR", a), ("INCR", b), ("EXEC",)])[-1]
        else:
            for words in (("MULTI",), ("INCR", a), ("INCR", b)):
                reply = self.conn.call(*words)
                if reply not in ("OK", "QUEUED"):
                    raise Broken(f"{words}: {reply}")
            last = self.conn.call("EXEC")
        last = self.answer(last, "EXECABORT")
        if isinstance(last, list):
            if last[0] != last[1]:
                raise Broken(f"not both: {last}")
            self.ack(last[0])

    def check(self, node):
        a, b = (int(v or 0) for v in node.call("MGET", f"tx:a:{self.number}",
                                               f"tx:b:{self.number}"))
        if a != b:
            raise Broken(f"{a} and {b}")
        self.check_count(a)


class Watchers(Talker):
    """Compare and set, alone on its key: EXEC fails for nobody's sake but a failover's."""

    def step(self):
        key = f"watch:{self.number}"
        if self.answer(self.conn.call("WATCH", key)) is None:
            return
        value = int(self.answer(self.conn.call("GET", key)) or 0)
        last = self.conn.pipeline([("MULTI",), ("SET", key, value + 1), ("EXEC",)])[-1]
        if self.answer(last, "EXECABORT") == ["OK"]:
            self.ack(value + 1)

    def check(self, node):
        self.check_count(int(node.call("GET", f"watch:{self.number}") or 0))


class Pipelines(Talker):
    """ORDER: every reply is that of its request."""

    def step(self):
        tokens = [f"{self.name}-{self.rounds}-{i}" for i in range(12)]
        key = f"pipe:{self.number}"
        commands = []
        for token in tokens:
            commands += [("ECHO", token), ("SET", key, token), ("GET", key)]
        replies = self.conn.pipeline(commands)
        held = None  # what the key has for certain
        for i, token in enumerate(tokens):
            echoed, done, got = replies[3 * i : 3 * i + 3]
            if self.answer(echoed) not in (None, token.encode()):
                raise Broken(f"ECHO {token} was answered {echoed!r}")
            held = token if self.answer(done) == "OK" else None
            if self.answer(got) is not None and held and got != token.encode():
                raise Broken(f"GET behind SET {token} was answered {got!r}")
            if isinstance(got, bytes) and not got.startswith(f"{self.name}-".encode()):
                raise Broken(f"{got!r} is another's")


class Owners(Talker):
    """Writes rising numbers to a key of its own and reads it again and again: never less than was
    acknowledged, and never less than it has read."""

    def greet(self):
        self.writes = []  # (number, when it was sent, when it was answered), acknowledged or not
        self.seen = 0

    def step(self):
        key, number = f"own:{self.number}", self.rounds + 1
        sent = time.time()
        done = self.answer(self.conn.call("SET", key, number)) is not None
        self.writes.append((number, sent, time.time()))
        if done:
            self.ack(number)
        for _ in range(self.rng.randrange(5)):
            self.enough.wait(self.rng.choice((0, 0, 0.01, 0.1)))
            reply = self.conn.call("GET", key)
            if self.answer(reply) is reply:  # not in doubt
                self.judge(int(reply or 0))

    def judge(self, got):
        least = next((n for when, n in reversed(self.acked) if not self.faults.may_lose(when)), 0)
        if got < least:
            raise Broken(f"it reads {got} and has written {least}")
        if got < self.seen and not self._lost(self.seen):
            raise Broken(f"it reads {got} and has read {self.seen}")
        self.seen = got

    def _lost(self, number):
        """Whether a crash may have undone it, if it was done at all."""
        _, sent, answered = self.writes[number - 1]
        return self.faults.between(sent, answered)

    def check(self, node):
        self.judge(int(node.call("GET", f"own:{self.number}") or 0))


class Queue(Talker):
    """Pushes tokens; BLPOP of others takes each at most once."""

    def step(self):
        token = f"{self.number}-{self.rounds}"
        reply = self.answer(self.conn.call("RPUSH", "queue", token))
        if reply is not None:
            self.ack(token)


class Pops(Talker):
    pause = 0

    def step(self):
        wait = self.rng.choice(("0.1", "0.4"))
        reply = self.answer(self.conn.call("BLPOP", "queue", wait))
        if reply is not None:
            if reply[0] != b"queue":
                raise Broken(f"popped {reply}")
            self.ack(reply[1].decode())


class Stream(Talker):
    """XADD and, as a group of its own, XREADGROUP BLOCK and XACK: all that was added is there."""

    def greet(self):
        self.conn.call("XGROUP", "CREATE", f"stream:{self.number}", "g", "$", "MKSTREAM")

    def step(self):
        key, token = f"stream:{self.number}", f"{self.number}-{self.rounds}"
        if self.answer(self.conn.call("XADD", key, "*", "t", token)) is not None:
            self.ack(token)
        reply = self.answer(self.conn.call("XREADGROUP", "GROUP", "g", "c", "COUNT", 5, "BLOCK",
                                           200, "STREAMS", key, ">"), "NOGROUP")
        if isinstance(reply, ServerError):
            self.greet()  # its creation may be among what a crash took back
        elif reply is not None:
            for entry, fields in reply[0][1]:
                if not fields[1].startswith(b"%d-" % self.number):
                    raise Broken(f"{fields} is another's")
                self.answer(self.conn.call("XACK", key, "g", entry), "NOGROUP")

    def check(self, node):
        there = {fields[1].decode() for _, fields in
                 node.call("XRANGE", f"stream:{self.number}", "-", "+")}
        lost = [w for when, w in self.acked if w not in there and not self.faults.may_lose(when)]
        if lost:
            raise Broken(f"acknowledged and not there: {lost[:5]} ({len(lost)})")
        if len(there) != node.call("XLEN", f"stream:{self.number}"):
            raise Broken("a token is there twice")


class Scripts(Talker):
    """EVALSHA of what was loaded once, and goes along to each primary: never twice."""

    SCRIPT = "return redis.call('INCR', KEYS[1])"

    def greet(self):
        self.sha = self.conn.ok("SCRIPT", "LOAD", self.SCRIPT)

    def step(self):
        key = f"script:{self.number}"
        reply = self.conn.call("EVALSHA", self.sha, 1, key)
        # A script may have said that itself, and its node is no longer there to be asked.
        if isinstance(reply, ServerError) and reply.code == "READONLY" and \
                self.faults.moved_by_hand:
            return
        reply = self.answer(reply)
        if reply is not None:
            self.check_rises(reply)
            self.ack(reply)

    def check(self, node):
        self.check_count(int(node.call("GET", f"script:{self.number}") or 0))


class Large(Talker):
    """Values of hundreds of KiB, each of one letter; larger ones than are kept, too."""

    closes = True
    pause = 0.05

    def step(self):
        key, letter = f"large:{self.number}", chr(97 + self.rounds % 26)
        size = self.rng.choice((70_000, 300_000, 1_500_000))
        begun = time.time()
        reply = self.conn.call("SET", key, letter * size)
        if size > RETAIN_MAX and isinstance(reply, ServerError) and reply.code in REFUSED:
            return  # it was not kept, to be sent again
        self.answer(reply)
        got = self.answer(self.conn.call("GET", key))
        if got is not None and got != got[:1] * len(got):
            raise Broken(f"a value of several letters: {len(got)} bytes")
        if got is not None and reply == "OK" and got != letter.encode() * size \
                and not self.faults.crashed(begun):
            raise Broken(f"GET gave {got[:1]!r} x {len(got)} behind SET {letter!r} x {size}")


class Users(Talker):
    """An ACL user in a database of its own, in RESP3 or RESP2."""

    def greet(self):
        self.resp = 2 + self.number % 2
        self.conn.ok("HELLO", self.resp, "AUTH", "hunter", "secret")
        self.conn.ok("SELECT", 3 + self.number)

    def step(self):
        kind, who, raised = (("HGETALL", "nothing"), ("ACL", "WHOAMI"),
                             ("INCR", f"user:{self.number}"))
        replies = self.conn.pipeline([kind, who, raised])
        if self.answer(replies[0]) is not None and \
                type(replies[0]).__name__ != ("Pairs" if self.resp == 3 else "list"):
            raise Broken(f"RESP{self.resp}, and {replies[0]!r}")
        if self.answer(replies[1]) not in (None, b"hunter"):
            raise Broken(f"I am {replies[1]!r}")
        reply = self.answer(replies[2])
        if reply is not None:
            self.check_rises(reply)
            self.ack(reply)

    def check(self, node):
        with node.connect(10) as direct:
            direct.ok("SELECT", 3 + self.number)
            self.check_count(int(direct.ok("GET", f"user:{self.number}") or 0))


class Publishers(Talker):
    def step(self):
        if self.answer(self.conn.call("PUBLISH", "channel:1", f"{self.rounds:08}")) is not None:
            self.ack(self.rounds)


class Subscribers(Talker):
    """Messages rise, none comes twice, and no confirmation but its own."""

    pause = 0
    last = b""

    def greet(self):
        if self.number % 2:
            self.conn.ok("HELLO", 3)
        self.last, self.owed = b"", [b"subscribe", b"psubscribe"]
        self.conn.send(encode_all([("SUBSCRIBE", "channel:1"), ("PSUBSCRIBE", "nothing*")]))

    def step(self):
        try:
            reply = self.conn.read(timeout=0.5)
        except TimeoutError:
            return
        if isinstance(reply, Push) != bool(self.number % 2):
            raise Broken(f"RESP{2 + self.number % 2}, and {reply!r}")
        if self.owed and reply[0] == self.owed[0]:
            self.owed.pop(0)
            return
        if list(reply[:2]) != [b"message", b"channel:1"]:
            raise Broken(f"not asked for: {reply!r}")
        if reply[2] <= self.last:
            raise Broken(f"message {reply[2]} behind {self.last}")
        self.last = reply[2]
        self.ack(reply[2])

    def check(self, node):
        self.check_alive()


class Monitors(Talker):
    """Sees commands of others, and is told OK once."""

    closes = True  # a line with a large value may have been begun
    pause = 0

    def greet(self):
        self.conn.ok("MONITOR")

    def step(self):
        try:
            line = self.conn.read(timeout=0.5)
        except TimeoutError:
            return
        if not isinstance(line, str) or " [" not in line:
            raise Broken(f"not a line of MONITOR: {line!r}")
        self.ack(None)

    def check(self, node):
        self.check_alive()


class Trackers(Talker):
    """What it has cached is told of when it changes."""

    patience = 10
    hears = None  # the connection that is told

    def greet(self):
        self.conn.ok("HELLO", 3)
        self.conn.ok("CLIENT", "TRACKING", "ON")
        self.hears = self.conn

    def step(self):
        key = f"track:{self.name}"
        value = self._value(self.conn, "GET", key)
        with self._proxy.connect(WAIT) as other:
            if self.answer(other.call("INCR", key)) is None:
                return
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            try:
                if self.is_told(self.hears.read(timeout=0.2), key):
                    self.ack(value)
                    return
            except TimeoutError:
                continue
        raise Broken(f"{key} was {value!r}, has changed, and it was not told of")

    @staticmethod
    def is_told(push, key):
        return isinstance(push, Push) and push[0] == b"invalidate" and \
            (push[1] is None or key.encode() in push[1])

    def _value(self, conn, *words):
        reply = conn.call(*words)
        while isinstance(reply, Push):
            reply = conn.read()
        return self.answer(reply)


class Redirects(Trackers):
    """The same, told to another connection."""

    def greet(self):
        self.hears = self._proxy.connect(WAIT)
        number = self.hears.ok("CLIENT", "ID")
        self.hears.ok("SUBSCRIBE", CHANNEL)
        self.conn.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number)

    def run(self):
        super().run()
        if self.hears:
            self.hears.close()

    @staticmethod
    def is_told(push, key):
        if push[:2] != [b"message", CHANNEL.encode()]:
            raise Broken(f"not asked for: {push!r}")
        return push[2] is None or key.encode() in push[2]


class Silent(Talker):
    """CLIENT REPLY OFF, SKIP and ON: only what is to be answered is."""


    def step(self):
        token = f"{self.number}-{self.rounds}"
        if self.rng.random() < 0.5:
            self.conn.send(encode_all([("CLIENT", "REPLY", "SKIP"), ("SET", "silent", token)]))
        else:
            self.conn.send(encode_all([("CLIENT", "REPLY", "OFF"), ("INCR", "silent:n"),
                                  ("ECHO", "never seen"), ("CLIENT", "REPLY", "ON")]))
            reply = self.conn.read()
            if reply != "OK":
                raise Broken(f"CLIENT REPLY ON was answered {reply!r}")
        if self.answer(self.conn.call("ECHO", token)) not in (None, token.encode()):
            raise Broken(f"ECHO {token} was answered something else")


CROWD = {Transactions: 3, Watchers: 2, Pipelines: 3, Owners: 4, Queue: 1, Pops: 3, Stream: 2,
         Scripts: 2, Large: 1, Users: 4, Publishers: 1, Subscribers: 2, Monitors: 1, Trackers: 1,
         Redirects: 2, Silent: 1}
