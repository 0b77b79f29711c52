"""Many raw client connections in one thread, pipelining at a given rate and recording everything.

Clients never reconnect: a connection that breaks stays broken and its unanswered requests are in
doubt.
"""

import selectors
import socket
import ssl
import threading
import time
from collections import deque

from . import tls
from .oracles import ACKED, INDOUBT, Record, classify
from .resp import INCOMPLETE, encode, frame_end
from .wait import wait_until


def ledger(client, number):
    """RPUSH of a unique token to the client's own list."""
    token = f"{client}-{number}"
    return encode("RPUSH", f"led:{client}", token), token


def counter(client, number):
    """INCR of the one key `c`."""
    return b"*2\r\n$4\r\nINCR\r\n$1\r\nc\r\n", f"{client}-{number}"


class _Client:
    def __init__(self, index, address, greeting):
        self.index = index
        self.sock = socket.create_connection(address, 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrapped(self.sock, address)
        for request in greeting:
            self.sock.sendall(encode(*request))
            if self.sock.recv(4096)[:1] in (b"-", b""):
                raise AssertionError(f"greeting {request} failed")
        self.sock.setblocking(False)
        self.local = self.sock.getsockname()
        self.records = []
        self.pending = deque()
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.watched = selectors.EVENT_READ
        self.closed = False


class Load:
    """`clients` connections, each with up to `depth` unanswered requests, together at most `rate`
    requests a second (0: as fast as answers come)."""

    TURN = 0.004

    def __init__(self, address, clients=20, depth=8, rate=2000, workload=ledger, greeting=(),
                 limit=None):
        self._workload, self._depth, self._rate = workload, depth, rate
        self._limit = limit  # requests a client sends at most
        self._clients = [_Client(i, address, greeting) for i in range(clients)]
        self.opened = [c.local for c in self._clients]
        self._selector = selectors.DefaultSelector()
        for client in self._clients:
            self._selector.register(client.sock, client.watched, client)
        self._issuing = True
        self._running = True
        self._failure = None
        self._next = 0
        self.acked = 0
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._running = False
        self._thread.join(30)
        for client in self._clients:
            client.sock.close()
        self._selector.close()

    @property
    def records(self):
        return [client.records for client in self._clients]

    @property
    def connections(self):
        """Local addresses of the connections that are still up, None for the others."""
        return [None if c.closed else c.local for c in self._clients]

    def pause(self):
        """No new requests; answers are still read."""
        self._issuing = False

    def resume(self):
        self._issuing = True

    def outstanding(self):
        return sum(len(c.pending) for c in self._clients)

    def wait_acks(self, count, timeout=30):
        """Until that many more requests were acknowledged."""
        goal = self.acked + count
        wait_until(lambda: self._check() and self.acked >= goal, timeout,
                   f"{count} more acknowledgements")

    def wait_outstanding(self, count, timeout=30):
        wait_until(lambda: self._check() and self.outstanding() >= count, timeout,
                   f"{count} requests without an answer")

    def drain(self, timeout=30):
        """Stops sending and waits for every answer that is owed."""
        self.pause()
        wait_until(lambda: self._check() and self.outstanding() == 0, timeout,
                   f"answers to {self.outstanding()} requests")

    def stop(self, timeout=30):
        """drain, and the thread ends."""
        self.drain(timeout)
        self._running = False
        self._thread.join(10)
        self._check()

    def _check(self):
        if self._failure:
            raise AssertionError("the load stopped") from self._failure
        return True

    def _run(self):
        try:
            budget, last = 0.0, time.monotonic()
            while self._running:
                for key, mask in self._selector.select(self.TURN):
                    self._serve(key.data, mask)
                now = time.monotonic()
                if self._rate:
                    # A stalled system does not save up for a burst.
                    budget = min(budget + (now - last) * self._rate,
                                 max(self._rate * 0.05, len(self._clients)))
                else:
                    budget = float("inf")
                last = now
                if self._issuing:
                    budget = self._issue(budget)
        except Exception as error:  # shown by the waiting test
            self._failure = error

    def _issue(self, budget):
        """Shares the budget out, each time beginning behind the client served last."""
        idle = 0
        while budget >= 1 and idle < len(self._clients):
            client = self._clients[self._next]
            self._next = (self._next + 1) % len(self._clients)
            room = self._depth - len(client.pending)
            share = int(min(room, max(1, budget / len(self._clients)), budget))
            sent = self._send_some(client, share) if share > 0 and not client.closed else 0
            budget -= sent
            idle = 0 if sent else idle + 1
        for client in self._clients:
            if client.outbox:
                self._write(client)
        return budget

    def _send_some(self, client, count):
        now = time.time()
        if self._limit is not None:
            count = min(count, self._limit - len(client.records))
        for _ in range(max(count, 0)):
            data, token = self._workload(client.index, len(client.records))
            record = Record(token, sent_at=now)
            client.records.append(record)
            client.pending.append(record)
            client.outbox += data
        return max(count, 0)

    def _serve(self, client, mask):
        if mask & selectors.EVENT_WRITE:
            self._write(client)
        if mask & selectors.EVENT_READ and not client.closed:
            self._read(client)

    def _write(self, client):
        try:
            del client.outbox[: client.sock.send(client.outbox)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._lost(client)
            return
        want = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        if want != client.watched and not client.closed:
            client.watched = want
            self._selector.modify(client.sock, want, client)

    def _read(self, client):
        try:
            data = client.sock.recv(1 << 16)
            while isinstance(client.sock, ssl.SSLSocket) and client.sock.pending():
                data += client.sock.recv(client.sock.pending())  # of which select would not tell
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost(client)
            return
        now = time.time()
        inbox = client.inbox
        inbox += data
        pos = 0
        while pos < len(inbox) and (end := frame_end(inbox, pos)) != INCOMPLETE:
            self._answered(client, bytes(inbox[pos:end]), now)
            pos = end
        del inbox[:pos]

    def _answered(self, client, reply, now):
        if not client.pending:
            raise AssertionError(f"a reply nobody asked for: {reply[:100]!r}")
        record = client.pending.popleft()
        record.reply, record.done_at = reply, now
        record.outcome = classify(reply)
        if record.outcome == ACKED:
            self.acked += 1

    def _lost(self, client):
        client.closed = True
        client.outbox.clear()
        self._selector.unregister(client.sock)
        now = time.time()
        for record in client.pending:
            record.outcome, record.done_at, record.reply = INDOUBT, now, b""
        client.pending.clear()


def stored_lists(node, clients):
    """What the ledgers of that many clients hold on a node, as text tokens."""
    with node.connect(30) as conn:
        return [[t.decode() for t in conn.ok("LRANGE", f"led:{i}", 0, -1)]
                for i in range(clients)]
