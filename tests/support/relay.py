"""A TCP relay that breaks connections on demand, to the byte.

A `Rule` waits for a marker in one direction and then does one thing, once. Everything before the
marker (greetings, probes, other connections) passes untouched, so a test can aim at one request.
"""

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections import deque

from . import tls
from .procs import Port

UP, DOWN = "up", "down"  # client to server, server to client
_CHUNK = 1 << 18
_BACKLOG = 1 << 20
_CRUMB_PAUSE = 0.00002  # the reader is awake by then, and takes the byte alone


class Rule:
    """Once `marker` (empty: the first byte of a connection) begins in `direction`, `after` more
    bytes (counted from the marker's first) pass, and then `action` happens:

    rst, fin        both sides are closed, with RST or FIN
    rst_server, fin_server, rst_client, fin_client
                    one side is closed at once, the other once it closes itself
    half_close      FIN to the far side of this direction, the other direction goes on
    blackhole       nothing passes any more either way, nothing is closed
    drop_reply      (UP) nothing of the answer passes; both are reset once `reply` bytes of it came
    delay           this direction stands still for `seconds`
    trickle         from here on one byte per `seconds`
    then            nothing happens, but the rule `then` begins at once in its direction, here

    size: instead of a marker, any piece that has so many bytes and was sent at once, as TLS records
    are.
    """

    def __init__(self, action, direction=UP, marker=b"", after=0, reply=1, seconds=0.0, size=None,
                 then=None):
        self.action, self.direction, self.marker = action, direction, marker
        self.after, self.reply, self.seconds = after, reply, seconds
        self.size, self.then = size, then
        self.fired = threading.Event()
        self._taken = False

    def wait(self, timeout=10.0):
        assert self.fired.wait(timeout), f"the relay saw no {self.marker[:60]!r}"


class _Side:
    """One socket of a pair and what waits to be written to it."""

    def __init__(self, sock):
        self.sock = sock
        self.out = bytearray()
        self.eof_in = False    # the peer sent FIN
        self.fin_out = False   # FIN is owed to the peer once out is empty
        self.fin_sent = False

    def secure(self, context, **options):
        """Speaks TLS from now on, for whoever is behind the relay."""
        self.sock = context.wrap_socket(self.sock, do_handshake_on_connect=False, **options)
        if not options.get("server_side"):
            self._now(self.sock.do_handshake)

    def receive(self):
        """None: nothing now."""
        return self._now(self.sock.recv, _CHUNK)

    def send(self, data):
        return self._now(self.sock.send, data)

    @staticmethod
    def _now(call, *words):
        try:
            return call(*words)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None


class _Pair:
    def __init__(self, client, server):
        self.side = {UP: _Side(server), DOWN: _Side(client)}  # keyed by the direction it receives
        self.tail = {UP: b"", DOWN: b""}     # end of what passed, for markers cut in two
        self.armed = {}                      # direction -> [rule, bytes left]
        self.still_until = {UP: 0.0, DOWN: 0.0}
        self.trickle = {UP: None, DOWN: None}
        self.blackhole = False
        self.swallow = None                  # rule of drop_reply
        self.swallowed = 0
        self.late = deque()                  # (when it came, bytes; none: the end), while there is lag
        self.connected = False
        self.dead = False


def _other(direction):
    return DOWN if direction == UP else UP


class Relay:
    """Listens on loopback and connects each client to `target`, in a thread of its own.

    crumbs: what the server says is passed on byte by byte, each a packet of its own. rcvbuf: how much
    the kernel takes from a client while the relay does not.

    In front of what speaks TLS it passes that as it comes; but if all tests are run over TLS, it
    speaks TLS to both sides itself, so that rules hold for what is said, unless opens is False.
    """

    def __init__(self, target=None, crumbs=False, rcvbuf=None, opens=True):
        self.crumbs, self._rcvbuf = crumbs, rcvbuf
        self._port = Port()
        self.address = ("127.0.0.1", self._port.number)
        self.port = self._port.number
        self.target = target
        self._context = tls.context_of(target)
        tls.speaks(self.address, self._context)
        self._opens = tls.default() if self._context and opens else None  # whom it shows to be
        self.accepted = 0
        self.passed = {UP: 0, DOWN: 0}
        self._rules = []
        self._pairs = []
        self._jobs = []
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, "wake")
        self._listener = None
        self._deaf = []
        self._frozen = False
        self._lag = 0.0
        self._running = True
        self._thread = threading.Thread(target=self._loop, name="relay", daemon=True)

    def __enter__(self):
        self._listen()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._running = False
        self._wake()
        self._thread.join(10)
        for pair in self._pairs:
            for side in pair.side.values():
                side.sock.close()
        self.stop_listening_now()
        while self._deaf:
            self._deaf.pop().close()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()
        tls.speaks(self.address, None)
        self._port.release()

    def add(self, rule):
        """Arms a rule; it fires at most once, on the first connection that shows the marker."""
        with self._lock:
            self._rules.append(rule)
        self._wake()
        return rule

    def cut_all(self, rst=True):
        """Closes every connection now."""
        self._do(lambda: [self._cut(pair, rst) for pair in list(self._pairs)])

    def refuse(self, on=True):
        """Connections are refused (the port is closed) until refuse(False)."""
        self._do(self.stop_listening_now if on else self._listen)

    def deafen(self, on=True):
        """New connections are neither taken nor refused until deafen(False); the others go on."""
        self._do(self._stop_answering if on else self._listen_again)

    def freeze(self, on=True):
        """Nothing passes on any connection, new ones too; nothing is closed."""
        def job():
            self._frozen = on
            for pair in self._pairs:
                pair.blackhole = on
                self._watch(pair)
        self._do(job)

    def lag(self, seconds):
        """What the server says takes so long from now on, in its order; what is on its way too."""
        def job():
            self._lag = seconds
        self._do(job)

    def mute(self):
        """Of what the server says nothing passes any more on the connections there are."""
        def job():
            for pair in self._pairs:
                pair.swallow = Rule("drop_reply", reply=float("inf"))
        self._do(job)

    def connections(self):
        with self._lock:
            return len(self._pairs)

    def _do(self, job):
        done = threading.Event()
        with self._lock:
            self._jobs.append((job, done))
        self._wake()
        assert done.wait(60), "the relay's thread is stuck"  # it shares one lock with all others

    def _wake(self):
        with contextlib.suppress(OSError):
            self._wake_w.send(b"x")

    def _listen(self):
        if self._listener:
            return
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._rcvbuf:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._rcvbuf)
        self._listener.bind(self.address)
        self._listener.listen(512)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, "listener")

    def _stop_answering(self):
        """Nobody accepts, and the queue of those who wait for it is full."""
        self.stop_listening_now()
        self._deaf = [socket.socket()]
        self._deaf[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._deaf[0].bind(self.address)
        self._deaf[0].listen(0)
        for _ in range(2):  # one more than it asks for
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._deaf.append(filler)

    def _listen_again(self):
        while self._deaf:
            self._deaf.pop().close()
        self._listen()

    def stop_listening_now(self):
        if self._listener:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    # The thread.

    def _loop(self):
        while self._running:
            for key, mask in self._selector.select(self._pause()):
                if key.data == "wake":
                    with contextlib.suppress(BlockingIOError):
                        self._wake_r.recv(4096)
                elif key.data == "listener":
                    self._accept()
                else:
                    self._ready(*key.data, mask)
            with self._lock:
                jobs, self._jobs = self._jobs, []
            for job, done in jobs:
                job()
                done.set()
            self._tick()

    def _pause(self):
        waits = [pair.still_until[d] for pair in self._pairs for d in (UP, DOWN)
                 if pair.still_until[d]]
        waits += [pair.late[0][0] + self._lag for pair in self._pairs if pair.late]
        if not waits:
            return 5.0
        return max(0.0, min(waits) - time.monotonic())

    def _tick(self):
        now = time.monotonic()
        for pair in list(self._pairs):
            for direction in (UP, DOWN):
                if pair.still_until[direction] and pair.still_until[direction] <= now:
                    pair.still_until[direction] = 0.0
                    self._flush(pair, direction)
            while pair.late and pair.late[0][0] + self._lag <= now and not pair.dead:
                self._arrive(pair, DOWN, pair.late.popleft()[1])

    def _accept(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.accepted += 1
        client.setblocking(False)
        server = socket.socket()
        server.setblocking(False)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(self.target)
        pair = _Pair(client, server)
        if self._opens:
            pair.side[DOWN].secure(self._opens.server_context(), server_side=True)
        pair.blackhole = self._frozen
        with self._lock:
            self._pairs.append(pair)
        self._watch(pair)

    def _watch(self, pair):
        """Registers both sockets for what they can use now."""
        if pair.dead:
            return
        for direction in (UP, DOWN):
            receiver = pair.side[direction]
            mask = 0
            waiting = receiver.out and not pair.still_until[direction] and not pair.blackhole
            if waiting or (direction == UP and not pair.connected):
                mask |= selectors.EVENT_WRITE
            # Reading from this socket feeds the other direction.
            feeds = _other(direction)
            full = len(pair.side[feeds].out) > _BACKLOG
            if not receiver.eof_in and not full and not pair.blackhole \
                    and (direction == DOWN or pair.connected):
                mask |= selectors.EVENT_READ
            self._set_mask(receiver.sock, mask, (pair, direction))

    def _set_mask(self, sock, mask, data):
        if sock.fileno() < 0:
            return
        try:
            key = self._selector.get_key(sock)
        except KeyError:
            key = None
        if not mask:
            if key:
                self._selector.unregister(sock)
        elif not key:
            self._selector.register(sock, mask, data)
        elif key.events != mask:
            self._selector.modify(sock, mask, data)

    def _ready(self, pair, direction, mask):
        if pair.dead:
            return
        side = pair.side[direction]
        if mask & selectors.EVENT_WRITE:
            if direction == UP and not pair.connected:
                if side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._cut(pair, rst=True)
                    return
                self._connected(pair)
            if not pair.dead:
                self._flush(pair, direction)
        if mask & selectors.EVENT_READ and not pair.dead and not pair.blackhole:
            self._read(pair, direction)
        self._watch(pair)

    def _connected(self, pair):
        pair.connected = True
        if self._opens:
            side = pair.side[UP]
            self._set_mask(side.sock, 0, None)
            try:
                side.secure(self._context, server_hostname=tls.NAME)
            except OSError:
                self._cut(pair, rst=True)

    def _read(self, pair, direction):
        """From the socket that receives `direction`: its bytes travel the other way."""
        source = pair.side[direction]
        travel = _other(direction)
        try:
            data = source.receive()
        except OSError:
            self._cut(pair, rst=True)
            return
        if data is None:
            return
        if not data:
            source.eof_in = True
        if travel == DOWN and (self._lag or pair.late):
            pair.late.append((time.monotonic(), data))
            return
        self._arrive(pair, travel, data)

    def _arrive(self, pair, travel, data):
        if not data:
            pair.side[travel].fin_out = True
            self._flush(pair, travel)
            return
        if travel == DOWN and pair.swallow:
            pair.swallowed += len(data)
            if pair.swallowed >= pair.swallow.reply:
                self._cut(pair, rst=True)
                pair.swallow.fired.set()
            return
        self._pass(pair, travel, data)

    def _pass(self, pair, direction, data):
        """Lets data through as far as the rules allow."""
        rule, cut_at = self._match(pair, direction, data)
        if rule:
            pair.side[direction].out += data[:cut_at]
            self.passed[direction] += cut_at
            self._fire(pair, rule, data[cut_at:])
            return
        self.passed[direction] += len(data)
        pair.side[direction].out += data
        self._flush(pair, direction)

    def _match(self, pair, direction, data):
        """(rule, how many of these bytes still pass) if a rule's byte lies within data."""
        armed = pair.armed.get(direction)
        if not armed:
            armed = self._arm(pair, direction, data)
            if not armed:
                return None, 0
        rule, left = armed
        if left <= len(data):
            del pair.armed[direction]
            return rule, left
        armed[1] -= len(data)
        return None, 0

    def _arm(self, pair, direction, data):
        with self._lock:
            rules = [r for r in self._rules if r.direction == direction and not r._taken]
        if not rules:
            return None
        tail = pair.tail[direction]
        window = tail + data
        pair.tail[direction] = window[-256:]
        for rule in rules:
            at = len(tail) if rule.size else window.find(rule.marker)
            if at < 0 or at + max(len(rule.marker), 1) <= len(tail) \
                    or rule.size not in (None, len(data)):
                continue
            rule._taken = True
            # A marker that began in an earlier piece has let that part through already.
            pair.armed[direction] = [rule, max(0, at + rule.after - len(tail))]
            return pair.armed[direction]
        return None

    def _fire(self, pair, rule, rest):
        direction, action = rule.direction, rule.action
        self._flush(pair, direction)
        if action in ("rst", "fin"):
            self._drain(pair, direction)
            self._cut(pair, rst=action == "rst")
        elif action.endswith(("_server", "_client")):
            self._drain(pair, direction)
            self._close_one(pair, UP if action.endswith("server") else DOWN,
                            action.startswith("rst"))
        elif action == "then":
            pair.armed[rule.then.direction] = [rule.then, rule.then.after]
            pair.side[direction].out += rest
            self._flush(pair, direction)
        elif action == "half_close":
            pair.side[direction].fin_out = True
            self._flush(pair, direction)
        elif action == "blackhole":
            pair.blackhole = True
        elif action == "drop_reply":
            pair.swallow = rule
            pair.side[direction].out += rest
            self._flush(pair, direction)
            return  # fired when the reply came
        elif action == "delay":
            pair.side[direction].out += rest
            pair.still_until[direction] = time.monotonic() + rule.seconds
        elif action == "trickle":
            pair.side[direction].out += rest
            pair.trickle[direction] = rule.seconds
            self._flush(pair, direction)
        else:
            raise ValueError(action)
        rule.fired.set()

    def _drain(self, pair, direction):
        """What may still pass is handed to the kernel before the cut."""
        side = pair.side[direction]
        if side.out:
            side.sock.setblocking(True)
            side.sock.settimeout(5)
            with contextlib.suppress(OSError):
                side.sock.sendall(side.out)
            side.out.clear()
            side.sock.setblocking(False)

    def _flush(self, pair, direction):
        side = pair.side[direction]
        if pair.dead or pair.still_until[direction] or pair.blackhole:
            return
        if direction == UP and not pair.connected:
            return
        while side.out:
            crumbs = self.crumbs and direction == DOWN
            step = 1 if pair.trickle[direction] or crumbs else len(side.out)
            try:
                sent = side.send(memoryview(side.out)[:step])
            except OSError:
                self._cut(pair, rst=True)
                return
            if sent is None:
                break
            del side.out[:sent]
            if crumbs:
                time.sleep(_CRUMB_PAUSE)
            if pair.trickle[direction]:
                pair.still_until[direction] = time.monotonic() + pair.trickle[direction]
                break
        if side.fin_out and not side.out and not side.fin_sent:
            side.fin_sent = True
            with contextlib.suppress(OSError):
                socket.socket.shutdown(side.sock, socket.SHUT_WR)
            if pair.side[_other(direction)].fin_sent:
                self._cut(pair, rst=False)
                return
        self._watch(pair)

    def _close_one(self, pair, direction, rst):
        """Closes the socket that receives `direction`; the other stays until its peer closes."""
        side = pair.side[direction]
        self._set_mask(side.sock, 0, None)
        if rst:
            side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        side.sock.close()
        pair.blackhole = True
        self._set_mask(pair.side[_other(direction)].sock, 0, None)

    def _cut(self, pair, rst):
        if pair.dead:
            return
        pair.dead = True
        for side in pair.side.values():
            if side.sock.fileno() >= 0:
                self._set_mask(side.sock, 0, None)
                if rst:
                    with contextlib.suppress(OSError):
                        side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             b"\1\0\0\0\0\0\0\0")
                side.sock.close()
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
