"""Places with a network of their own, joined by a router that can lose packets without a word.

Each `Place` is a network namespace. None has a name and all configuration lives inside them, so
nothing of this machine's own network is touched, and the kernel removes them with their last user,
also when a test run is killed.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _checked(result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, check=False,
                          pass_fds=[int(w.rpartition("/")[2]) for w in words
                                    if w.startswith("/proc/self/fd/")])
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.decode().strip()}")


class Place:
    """A network namespace with a loopback; `host` is its address for the others."""

    def __init__(self, host=None):
        self.host = host
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _checked(_LIBC.unshare(_CLONE_NEWNET))
            try:
                self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
                _ip("link", "set", "lo", "up")
            finally:
                _checked(_LIBC.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    @property
    def path(self):
        """How `ip` is told of it."""
        return f"/proc/self/fd/{self._fd}"

    @contextlib.contextmanager
    def inside(self):
        """What this thread opens and starts meanwhile, sockets, threads and processes, is there
        and stays there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _checked(_LIBC.setns(self._fd, _CLONE_NEWNET))
            try:
                yield self
            finally:
                _checked(_LIBC.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    def close(self):
        os.close(self._fd)


class Network:
    """`count` places around a router. Each reaches each other one until they are cut off; the
    test's own thread is in the first of them."""

    def __init__(self, count):
        self._stack = contextlib.ExitStack()
        self._count = count
        self._cuts = set()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._router = stack.enter_context(contextlib.closing(Place()))
            self.places = [self._join(stack, index) for index in range(self._count)]
            with self._router.inside(), open("/proc/sys/net/ipv4/ip_forward", "w",
                                             encoding="ascii") as forward:
                forward.write("1")
            stack.enter_context(self.places[0].inside())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _join(self, stack, index):
        place = Place(f"10.7.{index + 1}.2")
        stack.callback(place.close)
        near, far = f"10.7.{index + 1}.1", f"to{index}"
        with self._router.inside():
            _ip("link", "add", far, "type", "veth", "peer", "name", "eth0", "netns", place.path)
            _ip("address", "add", f"{near}/24", "dev", far)
            _ip("link", "set", far, "up")
        with place.inside():
            _ip("address", "add", f"{place.host}/24", "dev", "eth0")
            _ip("link", "set", "eth0", "up")
            _ip("route", "add", "default", "via", near)
        return place

    def unplug(self, place, on=True):
        """Takes the place's interface down, or up again."""
        with place.inside():
            _ip("link", "set", "eth0", "down" if on else "up")
            if not on:
                _ip("route", "replace", "default", "via", place.host[:-1] + "1")

    def lose(self, source, target):
        """From now on the router swallows what the one sends to the other; nobody is told."""
        with self._router.inside():
            _ip("rule", "add", "from", source.host, "to", target.host, "blackhole")
        self._cuts.add((source, target))

    def cut(self, one, other):
        """lose, both ways."""
        self.lose(one, other)
        self.lose(other, one)

    def heal(self):
        """Everything that lose and cut did is over."""
        with self._router.inside():
            while self._cuts:
                source, target = self._cuts.pop()
                _ip("rule", "del", "from", source.host, "to", target.host, "blackhole")


@functools.cache
def why_no_network():
    """None where a Network can be made, else the reason."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no `ip` here (Debian: iproute2)"
    try:
        with Network(2) as network:
            network.cut(*network.places)
            network.heal()
        return None
    except OSError as error:
        return f"no network namespaces here: {error}"
