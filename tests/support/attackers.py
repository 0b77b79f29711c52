"""Clients that do no more than hold on: slow openers, who send a byte of a first request now and then,
and slow readers, who ask for far more than they read. Whoever is closed comes again. A program of its
own: python3 attackers.py PORT OPENERS READERS; it prints `ready` once all have come, and goes on
until it is killed.
"""

import itertools
import random
import socket
import sys
import time

TICK = 0.001
OPENER_PAUSE, READER_PAUSE = 2.0, 1.0  # between two bytes, and between two reads
FIRST = b"*2\r\n$4\r\nECHO\r\n$60000\r\n"
ASK = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 30


def connect(port, rcvbuf=None):
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


class Opener:
    pause = OPENER_PAUSE

    def __init__(self, port):
        self._port = port
        self._begin()
        self._wait = random.randrange(5)  # so that they do not end all together

    def _begin(self):
        self._sock, self._at = connect(self._port), 0

    def act(self):
        if self._wait > 0:
            self._wait -= 1
            return
        try:
            self._sock.send(FIRST[self._at:self._at + 1] or b"x")
            self._at += 1
            if self._sock.recv(1) == b"":
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            self._begin()


class Reader:
    pause = READER_PAUSE

    def __init__(self, port):
        self._port = port
        self._begin()

    def _begin(self):
        self._sock = connect(self._port, rcvbuf=4096)
        self._sock.send(ASK)

    def act(self):
        try:
            if self._sock.recv(100) == b"":
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            self._begin()


def run(crowd):
    """Each acts once in its pause, a few in each tick."""
    turns = itertools.cycle(crowd)
    share = len(crowd) * TICK / crowd[0].pause
    owed = 0.0
    while True:
        owed += share
        while owed >= 1:
            next(turns).act()
            owed -= 1
        yield


def main(port, openers, readers):
    crowds = [[kind(port) for _ in range(count)]
              for kind, count in ((Opener, openers), (Reader, readers)) if count]
    runs = [run(crowd) for crowd in crowds]
    print("ready", flush=True)
    while True:
        began = time.monotonic()
        for one in runs:
            next(one)
        time.sleep(max(0.0, began + TICK - time.monotonic()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
