"""Scripts of sessions that read what they know: their own writes, and numbers that only rise."""

import random
import time

from .resp import ServerError

MOVE = "return redis.call('SET', KEYS[1], ARGV[1])"


class OwnKey:
    """Writes rising numbers to its own keys, in every way there is, and reads them. `stale`: (read,
    acknowledged before that, seconds since) of each read that was older than its own last write.

    quiet: it pauses for up to so long between some of its reads, else it reads at once. rounds: how
    many writes, None: without end. doubts: a write may be in doubt.
    """

    WAYS = ("plain", "pipelined", "transaction", "script", "moved")

    def __init__(self, number, quiet=0.0, rounds=None, ways=WAYS, doubts=False):
        self.number, self.quiet, self.rounds, self.ways = number, quiet, rounds, ways
        self.rng = random.Random(number)
        self.may_doubt = doubts
        self.writing = True  # settable: while False it only reads what it has written last
        self.pairs = 0
        self.stale = []
        self.doubts = []  # when
        self._now = {}    # key -> (least, most, when): the number that it has

    def script(self):
        if self.number % 2:
            yield [("HELLO", 3)]
        written = 0
        read = None
        while self.rounds is None or written < self.rounds:
            if not self.writing:
                if read:
                    self._judge(read, (yield [read])[0])
                yield 0.01
                continue
            written += 1
            way = self.rng.choice(self.ways)
            read = ("GET", f"own:{self.number}")
            if way == "moved":
                read = ("LINDEX", f"moved:{self.number}", -1)
            replies = yield self._write(way, written, read)
            self._written(read, written, replies)
            if way == "pipelined":
                self._judge(read, replies[-1])
            for _ in range(self.rng.randint(1, 3)):
                if self.quiet and self.rng.random() < 0.3:
                    yield self.rng.random() * self.quiet
                self._judge(read, (yield [read])[0])

    def _write(self, way, value, read):
        key = read[1]
        if way == "pipelined":
            return [("SET", key, value), read]
        if way == "transaction":
            return [("MULTI",), ("SET", key, value), ("EXEC",)]
        if way == "script":
            return [("EVAL", MOVE, 1, key, value)]
        if way == "moved":
            source = f"from:{self.number}"
            return [("DEL", source), ("RPUSH", source, value),
                    ("BLMOVE", source, key, "LEFT", "RIGHT", 0)]
        return [("SET", key, value)]

    def _written(self, read, value, replies):
        errors = [r for r in replies if isinstance(r, ServerError)]
        other = [e for e in errors if e.code != "INDOUBT" or not self.may_doubt]
        assert not other, f"session {self.number} was answered {replies}"
        self.pairs += 1
        least = value
        # At its time-out, and where it is in doubt, a blocked command is answered nil.
        if errors or (self.may_doubt and replies[-1] is None):
            self.doubts.append(time.time())
            least = self._now.get(read, (0,))[0]
        self._now[read] = (least, value, time.monotonic())

    def _judge(self, read, reply):
        assert not isinstance(reply, ServerError), f"session {self.number} read {reply}"
        got = int(reply or 0)
        least, most, when = self._now[read]
        assert got <= most, f"session {self.number} reads {got}, has written {most} at most"
        if got < least:
            self.stale.append((got, least, round(time.monotonic() - when, 3)))
        else:  # seen once, it is there
            self._now[read] = (got, most, when)


class Rising:
    """Reads a number that only rises; `back`: (read, earlier read)."""

    def __init__(self, key, quiet=0.0):
        self.key, self.quiet = key, quiet
        self.reads, self.back = 0, []
        self._last = 0

    def script(self):
        while True:
            reply = (yield [("GET", self.key)])[0]
            assert not isinstance(reply, ServerError), f"{self.key} was answered {reply}"
            got = int(reply or 0)
            self.reads += 1
            if got < self._last:
                self.back.append((got, self._last))
            self._last = got
            if self.quiet:
                yield self.quiet


class Constant:
    """Reads what never changes, and gets nothing else. count: so often, None: without end."""

    def __init__(self, key, value, quiet=0.0, resp3=False, count=None):
        self.key, self.value, self.quiet, self.resp3 = key, value, quiet, resp3
        self.count, self.reads = count, 0

    def script(self):
        if self.resp3:
            yield [("HELLO", 3)]
        while self.reads != self.count:
            reply = (yield [("GET", self.key)])[0]
            assert reply == self.value, f"{self.key} was read as {reply!r}"
            self.reads += 1
            if self.quiet:
                yield self.quiet


def scripts(talkers):
    return [talker.script() for talker in talkers]
