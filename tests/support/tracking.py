"""CLIENT TRACKING: what is pushed, who tracks, and a client with a cache."""

import contextlib
import threading

from .resp import Pairs, Push, ServerError
from .wait import wait_until

FORGET_ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"
FORGET_ALL_MESSAGE = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n"
CHANNEL = "__redis__:invalidate"


def changed(*keys):
    return Push([b"invalidate", [key.encode() for key in keys]])


def changed_message(*keys):
    return [b"message", CHANNEL.encode(), [key.encode() for key in keys]]


@contextlib.contextmanager
def tracker(proxy, *options, rcvbuf=None):
    with proxy.connect(20, rcvbuf=rcvbuf) as client:
        assert isinstance(client.call("HELLO", 3), Pairs)
        assert client.ok("CLIENT", "TRACKING", "ON", *options) == "OK"
        yield client


def switch(sentinel, proxy, node, epoch=2):
    sentinel.switch(node.address, epoch)
    wait_until(lambda: len(proxy.entries("primary-changed")) == epoch, 5, "the switch")


def kill_links(node):
    node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def connections(node, flag):
    """The numbers of that node's connections that have this flag."""
    return [int(c["id"]) for c in node.connections() if flag in c["flags"]]


def tracked(node, flag="t"):
    """How many connections of that node have CLIENT TRACKING on."""
    return len(connections(node, flag))


class CachingClient:
    """As clients with a cache are made: what one connection has read is kept until another one is
    told that it has changed. What is told while an answer is on its way counts for it, too."""

    def __init__(self, proxy, *options, resp=2, between=lambda: None):
        self.told_of = 0
        self.hits = 0
        self._lock = threading.Lock()
        self._cache = {}     # by key: its value, and when it was asked for
        self._asked = {}     # keys whose answers are on their way, unless told of since
        self.hears = proxy.connect(60)
        between()
        self.reads = proxy.connect(60)
        if resp == 3:
            self.hears.ok("HELLO", 3)
        number = self.hears.ok("CLIENT", "ID")
        if resp == 2:
            assert self.hears.ok("SUBSCRIBE", CHANNEL) == [b"subscribe", CHANNEL.encode(), 1]
        assert self.reads.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number, *options) == "OK"
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self.failure = None
        self._closing = False
        self._thread.start()

    def _hear(self):
        try:
            while True:
                keys = self.hears.read(timeout=600)[-1]
                with self._lock:
                    self.told_of += 1
                    for key in [*self._cache, *self._asked] if keys is None else keys:
                        self._cache.pop(key, None)
                        self._asked.pop(key, None)
        except Exception as error:  # told by close
            if not self._closing:
                self.failure = error

    def get(self, key):
        with self._lock:
            if key in self._cache:
                self.hits += 1
                return self._cache[key]
            self._asked[key] = True
        value = self.reads.ok("GET", key)
        with self._lock:
            if self._asked.pop(key, None):
                self._cache[key] = value
        return value

    def cached(self):
        with self._lock:
            return dict(self._cache)

    def stale(self, node):
        """What is cached and is not so, once all is told that was to be: a fence tells."""
        assert self.failure is None, self.failure
        fence = b"fence"
        self.get(fence)
        node.call("INCR", fence)
        wait_until(lambda: fence not in self.cached(), 20, "the fence")
        kept = self.cached()
        return {key: (value, node.call("GET", key)) for key, value in kept.items()
                if value != node.call("GET", key)}

    def close(self):
        self._closing = True
        self.hears.sock.shutdown(2)
        self._thread.join(10)
        self.hears.close()
        self.reads.close()


class Readers(threading.Thread):
    """Reads keys of that number of caching clients, at random, until it is told to stop."""

    def __init__(self, client, keys, rng):
        super().__init__(daemon=True)
        self._client, self._keys, self._rng = client, keys, rng
        self.reads, self.failure = 0, None
        self.enough = threading.Event()

    def run(self):
        try:
            while not self.enough.wait(0.002):
                self._client.get(self._rng.choice(self._keys))
                self.reads += 1
        except Exception as error:
            self.failure = error


class Writer(threading.Thread):
    """Changes keys at random; what is in doubt is all the same to it."""

    def __init__(self, proxy, keys, rng):
        super().__init__(daemon=True)
        self._conn, self._keys, self._rng = proxy.connect(60), keys, rng
        self.writes, self.failure = 0, None
        self.enough = threading.Event()

    def run(self):
        try:
            while not self.enough.wait(0.005):
                reply = self._conn.call("INCR", self._rng.choice(self._keys))
                if isinstance(reply, ServerError) and reply.code != "INDOUBT":
                    raise reply
                self.writes += 1
        except Exception as error:
            self.failure = error
        finally:
            self._conn.close()
