"""Many sessions in one thread, each of which follows a script of its own.

A script is a generator. It yields a list of commands, which leave in one write, and is given their
replies; or a number of seconds to be quiet for. An exception in it is what it found.
"""

import heapq
import selectors
import socket
import ssl
import threading
import time

from . import tls
from .resp import INCOMPLETE, decode, encode_all, frame_end
from .wait import wait_until


class _Session:
    def __init__(self, index, address, script):
        self.index, self.script = index, script
        self.sock = socket.create_connection(address, 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrapped(self.sock, address)
        self.local = self.sock.getsockname()
        self.inbox = bytearray()
        self.replies = []
        self.owed = 0
        self.sent_at = 0.0
        self.over = False


class Crowd:
    """scripts: one for each session. Connections never begin anew: one that is closed is a failure
    of its session."""

    def __init__(self, address, scripts):
        self._sessions = [_Session(i, address, script) for i, script in enumerate(scripts)]
        self._selector = selectors.DefaultSelector()
        for session in self._sessions:
            session.sock.setblocking(False)
            self._selector.register(session.sock, selectors.EVENT_READ, session)
        self._quiet = [(0.0, s.index, s) for s in self._sessions]  # (until, ...), a heap
        self._ending = False
        self._running = True
        self._failure = None
        self.exchanges = 0
        self.slowest = 0.0  # seconds that an answer took; settable
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._running = False
        self._thread.join(30)
        for session in self._sessions:
            session.sock.close()
        self._selector.close()

    def wait_exchanges(self, count, timeout=30):
        """Until so many more were answered."""
        goal = self.exchanges + count
        wait_until(lambda: self._check() and self.exchanges >= goal, timeout,
                   f"{count} more exchanges")

    def wait_over(self, timeout=60):
        """Until all scripts have come to their ends."""
        wait_until(lambda: self._check() and all(s.over for s in self._sessions), timeout,
                   "the ends of all scripts")

    def run_for(self, seconds):
        """So long, or until a script fails."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._check():
            time.sleep(min(0.05, max(0.0, until - time.monotonic())))

    def stop(self, timeout=30):
        """All that was asked is answered, and no script goes on."""
        self._ending = True
        wait_until(lambda: self._check() and not any(s.owed for s in self._sessions), timeout,
                   "the answers that are owed")
        self._running = False
        self._thread.join(10)
        self._check()

    def _check(self):
        if self._failure:
            raise AssertionError(f"a session failed: {self._failure}") from self._failure
        return True

    def _run(self):
        try:
            while self._running:
                for key, _ in self._selector.select(self._pause()):
                    self._read(key.data)
                now = time.monotonic()
                while self._quiet and self._quiet[0][0] <= now and not self._ending:
                    self._go_on(heapq.heappop(self._quiet)[2], None)
        except Exception as error:  # shown by the waiting test
            self._failure = error

    def _pause(self):
        if not self._quiet or self._ending:
            return 0.02
        return min(0.02, max(0.0, self._quiet[0][0] - time.monotonic()))

    def _go_on(self, session, given):
        try:
            what = session.script.send(given)
        except StopIteration:
            session.over = True
            return
        if self._ending:  # the last replies were judged; what it would say now is not said
            return
        if isinstance(what, (int, float)):
            heapq.heappush(self._quiet, (time.monotonic() + what, session.index, session))
            return
        session.owed = len(what)
        session.sent_at = time.monotonic()
        data = encode_all(what)
        if session.sock.send(data) != len(data):
            raise AssertionError("a script said more than a socket takes")

    def _read(self, session):
        try:
            data = session.sock.recv(1 << 16)
        except ssl.SSLWantReadError:
            return  # part of a record, or no answer
        except ConnectionError:
            data = b""
        if not data:
            raise AssertionError(f"session {session.index} was closed, {session.owed} answers "
                                 "owed")
        session.inbox += data
        pos = 0
        while pos < len(session.inbox) and (end := frame_end(session.inbox, pos)) != INCOMPLETE:
            session.replies.append(decode(session.inbox[pos:end]))
            pos = end
        del session.inbox[:pos]
        if len(session.replies) > session.owed:
            raise AssertionError(f"session {session.index}: nobody asked for {session.replies}")
        if session.owed and len(session.replies) == session.owed:
            replies, session.replies, session.owed = session.replies, [], 0
            self.slowest = max(self.slowest, time.monotonic() - session.sent_at)
            self.exchanges += 1
            self._go_on(session, replies)
