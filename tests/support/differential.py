"""The same stream of bytes to two servers, in lockstep; where their answers differ, the shortest
stream that makes them differ."""

import re
import select
import time

from .resp import Conn, encode
from .streams import MARK, Maker

_MARKED = b"$%d\r\n%b\r\n" % (len(MARK), MARK)
PATIENCE = 20.0  # for what must come
SETTLED = 0.05
BLOCKED = 0.3  # for the end of what blocks, which most of the time is for a hundredth
HASTE = 1.0  # the same while a difference that was seen is made smaller


def _sorted(confirmations):
    """UNSUBSCRIBE without names goes through a hash table."""
    return b"".join(sorted(re.findall(rb"\r\n(\w+\r\n\$\d+\r\n(?s:.*?)\r\n):\d+",
                                      confirmations.group(0))))


# All that two servers may answer differently: numbers and times of their own, and of a client.
_VOLATILE = [
    (re.compile(rb"\$2\r\nid\r\n:\d+\r\n"), b"(the id in HELLO)"),
    (re.compile(rb"(\$8\r\nvolatile\r\n):\d+\r\n"), rb"\1(CLIENT ID)"),
    (re.compile(rb"\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d+\r\n"), b"(TIME)"),
    (re.compile(rb"([*>]3\r\n\$\d+\r\n[ps]?unsubscribe\r\n"
                rb"\$\d+\r\n(?:(?!\r\n:)[\s\S])*\r\n:\d+\r\n){2,}"), _sorted),
    (re.compile(rb"[$=]\d+\r\n(txt:)?id=\d+ addr=\S+ laddr=\S+ fd=\d+ (name=\S*) age=\d+ idle=\d+ "
                rb"(flags=\S+ db=\d+ sub=\d+ psub=\d+).*? multi=(\S+) [^\r\n]* (user=\S+) "
                rb"redir=(\S+) (resp=\d)\n\r\n"), rb"(CLIENT INFO \2 \3 \4 \5 \6 \7)"),
]


def normal(said):
    for pattern, instead in _VOLATILE:
        said = pattern.sub(instead, said)
    if b"+RESET\r\n" in said:  # behind it Redis 7.0 keeps what CLIENT NO-EVICT said, 7.2 does not
        said = said.replace(b"flags=e ", b"flags=N ")
    return said


_LIMIT = re.compile(rb"-ERR Protocol error: unauthenticated (multi)?bulk length\r\n$")
_ANY_ERROR = re.compile(rb"(-ERR Protocol error: [^\r]*|\+OK)\r\n$")


def without_limit(direct, proxied):
    """Redis refuses large requests before AUTH as soon as it sees their size, the proxy only when
    it has them whole and the server refuses them, or when something else is wrong with them. QUIT,
    which the server does not see, is not refused."""
    if _LIMIT.search(direct[0]):
        said = _LIMIT.sub(b"", direct[0])
        if proxied[0] != said:
            proxied = (_ANY_ERROR.sub(b"", proxied[0]), "any")
        return [(said, "any"), (proxied[0], "any")]
    return [direct, proxied]


class Side:
    """A client of one of the servers. Sends without waiting for room and reads what there is."""

    def __init__(self, address, patience):
        self.conn = Conn(address, patience)
        self.patience = patience
        self.sock = self.conn.sock
        self.sock.setblocking(False)
        self.said = bytearray()
        self.closed = False

    def read(self, seconds=0.0):
        """Reads what is there or comes next; False when nothing came within that time."""
        if self.closed or not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            got = self.sock.recv(1 << 20)
        except ConnectionError:
            got = b""
        self.closed = not got
        self.said += got
        return True

    def send(self, data):
        deadline = time.monotonic() + self.patience
        while data and not self.closed:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(data)} bytes are not taken") from None
                select.select([self.sock], [self.sock], [], 1)
                self.read()
            except (BrokenPipeError, ConnectionResetError):
                return

    def marked(self):
        return self.said.endswith(_MARKED)

    def leave(self):
        try:
            self.conn.half_close()
        except OSError:
            pass

    def read_to_end(self):
        deadline = time.monotonic() + self.patience
        while not self.closed:
            if not self.read(0.5) and time.monotonic() > deadline:
                raise TimeoutError(f"not closed; last {bytes(self.said[-200:])!r}")


class Twins:
    """Two servers that ought to answer alike: `node` itself, and another one behind `address`,
    whose Redis is `behind`."""

    RESET = (("FLUSHALL",), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"))

    def __init__(self, node, behind, address):
        self._addresses = node.address, address
        self._nodes = node, behind
        self._controls = [node.connect(PATIENCE), behind.connect(PATIENCE)]

    def close(self):
        for control in self._controls:
            control.close()

    def _overcome(self):
        """How many clients were closed that had yet to AUTH and were owed too much at once, which
        depends on how much Redis reads at once."""
        return sum(node.process.log().count("overcoming of output buffer limits")
                   for node in self._nodes)

    def _forget(self):
        for control in self._controls:
            control.send(b"".join(encode(*command) for command in self.RESET))
        for control in self._controls:
            control.read_frames(len(self.RESET))

    def _settle(self, direct, size, may_block):
        """Until Redis has said all it will: in one thread it reads 16 KiB of a client a turn."""
        control = self._controls[0]
        begun = time.monotonic()
        while True:
            for _ in range(size // 16384 + 2):
                free = b"blocked_clients:0\r" in control.call("INFO", "clients")
            while direct.read():
                pass
            waited = time.monotonic() - begun
            if direct.closed or direct.marked() or waited > BLOCKED:
                break
            if free and (not may_block or waited > SETTLED):
                break  # one whose bytes come late is not blocked yet
        control.call("PING")  # the answer to INFO may have gone out first
        while direct.read():
            pass

    def play(self, stream, patience=PATIENCE):
        """What both said, with how it ended: [(bytes, state), (bytes, state)]."""
        self._forget()
        overcome = self._overcome()
        direct, proxied = sides = [Side(address, patience) for address in self._addresses]
        try:
            pieces = stream.pieces()
            for piece in pieces:
                for side in sides:
                    side.send(piece)
                if 1 < len(pieces) < 8:
                    time.sleep(0.0003)
            states = ["left", "left"]
            if not stream.leaves:
                self._settle(direct, sum(map(len, pieces)), stream.may_block)
                states = self._compare_open(direct, proxied, stream.silent)
            for side in sides:
                side.leave()
            for side in sides:
                side.read_to_end()
            answers = without_limit(*((normal(bytes(side.said)), state)
                                      for side, state in zip(sides, states)))
            if answers[0] != answers[1] and self._overcome() > overcome:
                return [answers[0]] * 2
            return answers
        finally:
            for side in sides:
                side.conn.close()

    @staticmethod
    def _compare_open(direct, proxied, silent):
        """The states of both before the client leaves; the second has time to catch up."""
        deadline = time.monotonic() + proxied.patience
        want = normal(bytes(direct.said))
        if _LIMIT.search(want):
            silent, want = True, _LIMIT.sub(b"", want)
        while time.monotonic() < deadline and not proxied.closed and (
                (direct.closed and not silent) or normal(bytes(proxied.said)) != want):
            if direct.marked() and proxied.marked():
                break
            proxied.read(0.05)
        if silent:
            return ["any", "any"]
        return ["closed" if side.closed else "open" for side in (direct, proxied)]

    def differ(self, stream):
        """Whether the answers differ; also if one does not come."""
        try:
            first, second = self.play(stream, HASTE)
        except TimeoutError:
            return True
        return first != second


def shortest(stream, differ, seconds=30.0):
    """A stream with as little in it as makes `differ` true still."""
    deadline = time.monotonic() + seconds

    def try_(**changes):
        nonlocal stream
        other = stream.with_(**changes)
        if time.monotonic() < deadline and differ(other):
            stream = other
            return True
        return False

    def thin(items, put):
        """Leaves out half of the items, a quarter ... as long as that goes."""
        step = max(len(items) // 2, 1)
        while step:
            at = 0
            while at < len(items):
                less = items[:at] + items[at + step :]
                if put(less):
                    items = less
                else:
                    at += step
            step //= 2
        return items

    try_(cuts=[])
    try_(leaves=False)
    thin(stream.chunks, lambda chunks: try_(chunks=chunks))
    for index in range(len(stream.chunks) if stream.wild else 0):
        if len(stream.chunks[index]) > 1000:
            continue  # a shorter line is another case

        def put(part, i=index):
            return try_(chunks=stream.chunks[:i] + [part] + stream.chunks[i + 1 :])
        thin(stream.chunks[index], put)
    return stream


def _shown(data, most=1500):
    return repr(data) if len(data) <= most else f"{data[:most // 2]!r} ... {data[-most // 2:]!r}"


def first_difference(twins, seeds, secured=False, until=None):
    """None, or the account of the first seed whose stream is answered differently. until: a time
    at which to stop. Also returns how many streams were played."""
    played = 0
    for seed in seeds:
        if until is not None and time.monotonic() > until:
            break
        stream = Maker(seed, secured).stream()
        played += 1
        try:
            answers = twins.play(stream)
        except TimeoutError as error:
            return f"seed {seed}: {error!r}\n{_shown(b''.join(stream.chunks))}", played
        if answers[0] != answers[1]:
            return account(twins, stream, answers), played
    return None, played


def account(twins, stream, answers):
    """What a person needs who has to find out why."""
    lines = [f"the stream of seed {stream.seed} is answered differently",
             f"again: VEDETTE_STREAM={stream.seed}"]
    try:
        if twins.differ(stream):
            stream = shortest(stream, twins.differ)
            answers = twins.play(stream, HASTE)
        else:
            lines.append("but not when it was played again: a race")
    except TimeoutError as error:
        lines.append(repr(error))
    lines += [f"sent: {_shown(b''.join(stream.chunks))}",
              f"cut at {stream.cuts[:20]}, " + ("then left" if stream.leaves else "then stayed"),
              f"Redis: {_shown(answers[0][0])}, {answers[0][1]}",
              f"proxy: {_shown(answers[1][0])}, {answers[1][1]}"]
    return "\n".join(lines)

