"""Servers that say what a test wants: a scripted RESP server, and a Sentinel made of it."""

import collections
import contextlib
import itertools
import selectors
import socket
import ssl
import threading

from . import tls
from .procs import Port

NEVER = object()  # take the request, answer nothing
CLOSE = object()  # close instead of answering
NULL_ARRAY = b"*-1\r\n"
OK = b"+OK\r\n"


class Half:
    """Sends the first part of a reply and then nothing more, or closes."""

    def __init__(self, data, close=False):
        self.data, self.close = data, close


def bulk(value):
    value = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(*items):
    return b"*%d\r\n" % len(items) + b"".join(items)


def bulks(*values):
    return array(*(bulk(v) for v in values))


def parse_request(buf):
    """([arguments], bytes used) of one whole request, or None. Inline requests too."""
    if buf[:1] != b"*":
        line = buf.find(b"\n")
        return (bytes(buf[:line]).split(), line + 1) if line >= 0 else None
    line = buf.find(b"\r\n")
    if line < 0:
        return None
    args, pos = [], line + 2
    for _ in range(int(buf[1:line])):
        end = buf.find(b"\r\n", pos)
        if end < 0:
            return None
        size = int(buf[pos + 1 : end])
        pos = end + 2
        if len(buf) < pos + size + 2:
            return None
        args.append(bytes(buf[pos : pos + size]))
        pos += size + 2
    return args, pos


class _Client:
    def __init__(self, sock):
        self.sock = sock
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.mute = False
        self.closing = False
        self.channels = set()
        self.held = collections.deque()
        self.state = {}  # for handlers


class FakeServer:
    """Answers each command by `answer(client, args)`: bytes, NEVER, CLOSE or a Half.

    `script[NAME]` (upper case; "NAME SUB" is looked up first) overrides it: one of those values, or
    a function of args. All requests are kept in `seen`.
    """

    def __init__(self, script=None, port=None, host="127.0.0.1"):
        self._port = port or Port()
        self.port = self._port.number
        self.address = (host, self.port)
        self._tls = tls.default()
        tls.speaks(self.address, self._tls and self._tls.client_context())
        self.script = dict(script or {})
        self.seen = []
        self.accepted = 0
        self._clients = {}
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._running = True
        self._thread = threading.Thread(target=self._loop, name="fake", daemon=True)
        self._listener = None

    def __enter__(self):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(self.address)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._running = False
        self._poke()
        self._thread.join(10)
        for client in list(self._clients.values()):
            client.sock.close()
        self._listener.close()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()
        tls.speaks(self.address, None)
        self._port.release()

    def answer(self, client, args):
        """What a request without a script gets; subclasses know better."""
        del client
        return b"-ERR unknown command '%b'\r\n" % args[0]

    def requests(self, name):
        """The arguments of every request of that name so far."""
        with self._lock:
            return [args for args in self.seen if args[0].upper() == name.encode()]

    def disconnect_all(self):
        with self._lock:
            for client in self._clients.values():
                client.closing = True
                client.outbox.clear()
        self._poke()

    def later(self, client, seconds, data):
        """Sends this to the client after so long, in the order of the calls; what is answered at
        once comes before."""
        def send():
            with self._lock:
                client.outbox += client.held.popleft()
            self._poke()
        client.held.append(data)
        threading.Timer(seconds, send).start()

    def publish(self, channel, payload):
        """An event to every connection subscribed to it, by name or by a pattern."""
        name = channel.encode()
        with self._lock:
            for client in self._clients.values():
                if name in client.channels:
                    client.outbox += bulks("message", name, payload)
                elif b"*" in client.channels:
                    client.outbox += bulks("pmessage", "*", name, payload)
        self._poke()

    def subscribers(self):
        with self._lock:
            return sum(1 for c in self._clients.values() if c.channels)

    def _poke(self):
        with contextlib.suppress(OSError):
            self._wake_w.send(b"x")

    def _loop(self):
        while self._running:
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._wake_r:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_r.recv(4096)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            with self._lock:
                for client in list(self._clients.values()):
                    self._write(client)

    def _accept(self):
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self.accepted += 1
        sock.setblocking(False)
        if self._tls:
            sock = self._tls.server_context().wrap_socket(sock, server_side=True,
                                                          do_handshake_on_connect=False)
        client = _Client(sock)
        with self._lock:
            self._clients[sock] = client
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _read(self, client):
        try:
            data = client.sock.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.inbox += data
        with self._lock:
            while not client.closing and (parsed := parse_request(client.inbox)):
                args, used = parsed
                del client.inbox[:used]
                if args:
                    self.seen.append(args)
                    self._respond(client, args)

    def _respond(self, client, args):
        words = [a.decode("latin-1").upper() for a in args[:2]]
        scripted = self.script.get(" ".join(words), self.script.get(words[0]))
        reply = self.answer(client, args) if scripted is None else scripted
        if callable(reply):
            reply = reply(args)
        if reply is NEVER or client.mute:
            return
        if reply is CLOSE:
            client.closing = True
        elif isinstance(reply, Half):
            client.outbox += reply.data
            client.mute = True
            client.closing = reply.close
        else:
            client.outbox += reply

    def _write(self, client):
        try:
            while client.outbox:
                del client.outbox[: client.sock.send(client.outbox)]
        except (BlockingIOError, ssl.SSLWantWriteError):
            return
        except OSError:
            client.closing = True
        if client.closing:
            self._drop(client)

    def _drop(self, client):
        with self._lock:
            self._clients.pop(client.sock, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.sock)
        client.sock.close()


_IDS = itertools.count(1)


class FakeSentinel(FakeServer):
    """A Sentinel with an opinion: `primary` (host, port), `epoch`, `flags`, the addresses of its
    `others`, all settable while it runs."""

    def __init__(self, primary=None, epoch=0, name="mymaster", others=(), script=None,
                 password=None, down_after=1000, **server):
        super().__init__(script, **server)
        self.primary, self.epoch, self.name = primary, epoch, name
        self.others = list(others)
        self.replicas = []
        self.flags = "master"
        self.down_after = down_after
        self.password = password
        self.id = f"{next(_IDS):040x}"

    def switch(self, primary, epoch):
        """As a failover seen by a follower: the new address at once, then the event."""
        with self._lock:
            old, self.primary, self.epoch = self.primary, primary, epoch
        self.publish("+switch-master", f"{self.name} {old[0]} {old[1]} {primary[0]} {primary[1]}")

    def answer(self, client, args):
        command = args[0].upper()
        if command in (b"AUTH", b"HELLO"):
            return self._auth(client, args)
        if self.password and not client.state.get("authenticated"):
            return b"-NOAUTH Authentication required.\r\n"
        if command == b"PING":
            return bulks("pong", "") if client.channels else b"+PONG\r\n"
        if command in (b"SUBSCRIBE", b"PSUBSCRIBE"):
            return self._subscribe(client, args)
        if command == b"SENTINEL":
            return self._sentinel(args)
        if command == b"ROLE":
            return array(bulk("sentinel"), bulks(self.name))
        if command == b"CLIENT":
            return OK
        return super().answer(client, args)

    def _auth(self, client, args):
        if args[0].upper() == b"HELLO":
            return b"-ERR unknown command 'HELLO'\r\n"
        if self.password is None:
            return (b"-ERR AUTH <password> called without any password configured for the default "
                    b"user. Are you sure your configuration is correct?\r\n")
        if args[-1].decode() != self.password:
            return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        client.state["authenticated"] = True
        return OK

    def _subscribe(self, client, args):
        out = []
        for channel in args[1:]:
            client.channels.add(channel)
            out.append(array(bulk(args[0].lower()), bulk(channel),
                             b":%d\r\n" % len(client.channels)))
        return b"".join(out)

    def _sentinel(self, args):
        what = args[1].upper()
        if what == b"MYID":
            return bulk(self.id)
        known = len(args) > 2 and args[2].decode() == self.name and self.primary
        if what == b"GET-MASTER-ADDR-BY-NAME":
            return bulks(*self.primary) if known else NULL_ARRAY
        if not known:
            return b"-ERR No such master with that name\r\n"
        if what == b"MASTER":
            return self._master()
        if what in (b"REPLICAS", b"SLAVES"):
            return array(*(self._replica(r) for r in self.replicas))
        if what == b"SENTINELS":
            return array(*(bulks("name", o.id, "ip", o.address[0], "port", o.address[1],
                                 "runid", o.id, "flags", "sentinel") for o in self.others))
        return b"-ERR unknown subcommand\r\n"

    def _master(self):
        host, port = self.primary
        return bulks("name", self.name, "ip", host, "port", port, "runid", "f" * 40,
                     "flags", self.flags, "num-slaves", len(self.replicas),
                     "num-other-sentinels", len(self.others), "quorum", 1,
                     "failover-timeout", 5000, "parallel-syncs", 1,
                     "down-after-milliseconds", self.down_after, "config-epoch", self.epoch,
                     "role-reported", "master")

    def _replica(self, address):
        host, port = address
        master_host, master_port = self.primary
        return bulks("name", f"{host}:{port}", "ip", host, "port", port, "flags", "slave",
                     "role-reported", "slave", "master-link-status", "ok",
                     "master-host", master_host, "master-port", master_port,
                     "slave-priority", 100, "slave-repl-offset", 1)


class FakeNode(FakeServer):
    """A primary that answers ROLE and PING and, to anything else, +OK."""

    def answer(self, client, args):
        command = args[0].upper()
        if command == b"ROLE":
            return array(bulk("master"), b":0\r\n", b"*0\r\n")
        if command == b"PING":
            return b"+PONG\r\n"
        if command == b"CLIENT" and len(args) > 1 and args[1].upper() == b"ID":
            return b":1\r\n"
        if command == b"COMMAND":
            return b"*0\r\n"
        return OK
