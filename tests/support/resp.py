"""RESP2 and RESP3 at the level of bytes: encode requests, frame and decode replies, raw client.

`frame_end` finds where a reply ends without changing anything, so that a test can compare replies
byte by byte; `decode` turns a frame into Python values.
"""

import socket
import ssl
import time

from . import tls

INCOMPLETE = -1


class ProtocolError(Exception):
    """The bytes are no RESP."""


class ServerError(Exception):
    """An error reply. Compares equal to another with the same text."""

    @property
    def text(self):
        return self.args[0]

    @property
    def code(self):
        return self.args[0].split(" ", 1)[0]

    def __eq__(self, other):
        return isinstance(other, ServerError) and self.args == other.args

    def __hash__(self):
        return hash(self.args)


class Simple(str):
    """A simple string (`+OK`), told apart from a bulk string, which is bytes."""


class Push(list):
    """A RESP3 push frame."""


class Pairs(list):
    """A RESP3 map, as a list of (key, value): keys need not be hashable and order is kept."""

    def get(self, key, default=None):
        return next((v for k, v in self if k == key), default)


def encode(*args):
    """A request as an array of bulk strings; str, int and float arguments are written as text."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, (bytes, bytearray, memoryview)):
            arg = str(arg).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(out)


def encode_all(commands):
    """Several requests back to back."""
    return b"".join(encode(*command) for command in commands)


_LINE = frozenset(b"+-:_,#(")
_BULK = frozenset(b"$=!")
_MANY = {ord("*"): 1, ord("%"): 2, ord("~"): 1, ord(">"): 1, ord("|"): 2}


def frame_end(buf, pos=0):
    """Index just past the reply that starts at pos, or INCOMPLETE. Attributes (`|`) belong to the
    reply behind them."""
    todo = 1
    while todo:
        line = buf.find(b"\r\n", pos)
        if line < 0:
            return INCOMPLETE
        kind = buf[pos]
        if kind in _LINE:
            pos = line + 2
            todo -= 1
        elif kind in _BULK:
            size = int(buf[pos + 1 : line])
            pos = line + 2 + (size + 2 if size >= 0 else 0)
            if pos > len(buf):
                return INCOMPLETE
            todo -= 1
        elif kind in _MANY:
            count = int(buf[pos + 1 : line])
            pos = line + 2
            todo += max(count, 0) * _MANY[kind] - (0 if kind == ord("|") else 1)
        else:
            raise ProtocolError(f"unexpected byte {bytes(buf[pos:pos + 20])!r}")
    return pos


def _decode(buf, pos):
    line = buf.index(b"\r\n", pos)
    kind, text, pos = chr(buf[pos]), bytes(buf[pos + 1 : line]), line + 2
    if kind == "+":
        return Simple(text.decode("latin-1")), pos
    if kind == "-":
        return ServerError(text.decode("latin-1")), pos
    if kind in ":(":
        return int(text), pos
    if kind == ",":
        return float(text), pos
    if kind == "#":
        return text == b"t", pos
    if kind == "_":
        return None, pos
    size = int(text)
    if size < 0:
        return None, pos
    if kind in "$=!":
        body = bytes(buf[pos : pos + size])
        return (ServerError(body.decode("latin-1")) if kind == "!" else body), pos + size + 2
    if kind == "|":
        for _ in range(size * 2):
            _, pos = _decode(buf, pos)
        return _decode(buf, pos)
    if kind == "%":
        pairs = Pairs()
        for _ in range(size):
            key, pos = _decode(buf, pos)
            value, pos = _decode(buf, pos)
            pairs.append((key, value))
        return pairs, pos
    items = Push() if kind == ">" else []
    for _ in range(size):
        item, pos = _decode(buf, pos)
        items.append(item)
    return items, pos


def decode(frame):
    """The value of one whole reply. Null is None, errors are ServerError values."""
    value, end = _decode(frame, 0)
    if end != len(frame):
        raise ProtocolError(f"{len(frame) - end} bytes behind the reply")
    return value


class Conn:
    """A blocking client that adds nothing of its own: no reconnect, no retry.

    source: the address that it connects from. begin: pieces said before anything else, TLS too."""

    def __init__(self, address, timeout=10.0, rcvbuf=None, source=None, begin=()):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.timeout = timeout
        self.sock.settimeout(timeout)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(address)
            for piece in begin:
                self.sock.sendall(piece)
            self.sock = tls.wrapped(self.sock, address)
        except BaseException:
            self.sock.close()
            raise
        self._buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    @property
    def local(self):
        return self.sock.getsockname()

    def send(self, data):
        self.sock.sendall(data)

    def half_close(self):
        # Of a TLS socket too, which would end TLS in both directions.
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no reply in time; have {bytes(self._buf[:200])!r}")
        self.sock.settimeout(left)
        data = self.sock.recv(1 << 18)
        if not data:
            raise EOFError(f"closed by the peer; have {bytes(self._buf[:200])!r}")
        self._buf += data

    def begun(self):
        """Whether part of a reply has come that is not read."""
        return bool(self._buf)

    def read_frame(self, timeout=None):
        """The bytes of the next reply, exactly as they came."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        need = 1
        while True:
            if len(self._buf) >= need:
                end = frame_end(self._buf) if self._buf else INCOMPLETE
                if end != INCOMPLETE:
                    frame = bytes(self._buf[:end])
                    del self._buf[:end]
                    return frame
                need = max(len(self._buf) + 1, self._bulk_need())
            self._fill(deadline)

    def _bulk_need(self):
        """A large bulk reply is not framed again for each piece that comes in."""
        line = self._buf.find(b"\r\n", 0, 32)
        if line < 0 or self._buf[0] != ord("$"):
            return 0
        return line + 4 + int(self._buf[1:line])

    def read_frames(self, count, timeout=None):
        return [self.read_frame(timeout) for _ in range(count)]

    def read(self, timeout=None):
        return decode(self.read_frame(timeout))

    def read_exactly(self, size, timeout=None):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while len(self._buf) < size:
            self._fill(deadline)
        data = bytes(self._buf[:size])
        del self._buf[:size]
        return data

    def read_all(self, timeout=None):
        """Everything until the peer closes; a reset counts as the end."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self._fill(deadline)
        except (EOFError, ConnectionError):
            data = bytes(self._buf)
            self._buf.clear()
            return data

    def read_for(self, seconds):
        """Whatever comes within that time."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._fill(deadline)
        except (TimeoutError, EOFError, ConnectionError):
            data = bytes(self._buf)
            self._buf.clear()
            return data

    def call(self, *args, timeout=None):
        """One request, its reply as a value (errors too, as ServerError)."""
        self.send(encode(*args))
        return self.read(timeout)

    def ok(self, *args, timeout=None):
        """As call, but an error reply is raised."""
        reply = self.call(*args, timeout=timeout)
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def pipeline(self, commands, timeout=None):
        """All requests in one write, then all replies."""
        self.send(encode_all(commands))
        return [self.read(timeout) for _ in commands]

    def closed(self, timeout=5.0):
        """True if the peer closes within that time without sending anything more."""
        try:
            self._fill(time.monotonic() + timeout)
        except EOFError:
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return False

    def is_open(self):
        """True if the peer has neither closed nor sent anything unasked."""
        if isinstance(self.sock, ssl.SSLSocket):
            return self._tls_is_open()
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.sock.setblocking(True)

    def _tls_is_open(self):
        self.sock.setblocking(False)
        try:
            self._buf += self.sock.recv(1 << 16)
            return False
        except ssl.SSLWantReadError:
            return not self._buf
        except OSError:
            return False
        finally:
            self.sock.setblocking(True)
