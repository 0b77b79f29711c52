"""The proxy's own password, changed while it is in use: at the server first, in its file first, and
a file that can't be used."""

import contextlib
import os
import signal

import pytest

from support.fake_sentinel import FakeNode, FakeSentinel
from support.guarded import Guarded
from support.load import Load
from support.oracles import ACKED, check_open, tally
from support.proxy import Proxy
from support.resp import encode_all
from support.wait import wait_until


class Rotation(Guarded):
    """The proxy is `app`, whose password is `one` at first."""

    database = 0

    def check_fresh_links(self):
        """Of databases that no client was in before: their connections are new ones."""
        self.database += 1
        with self.proxy.connect(20) as client:
            assert client.pipeline([("SELECT", self.database), ("WATCH", "k"), ("ACL", "WHOAMI"),
                                    ("UNWATCH",), ("ACL", "WHOAMI")]) == \
                ["OK", "OK", b"app", "OK", b"app"]


@pytest.fixture(name="rotation")
def rotation_fixture():
    with contextlib.ExitStack() as stack:
        yield Rotation(stack)


def work(client, number):
    """A third of it needs connections of its own."""
    return (b"*2\r\n$4\r\nINCR\r\n$1\r\nc\r\n" if number % 3 else
            b"*3\r\n$5\r\nBLPOP\r\n$4\r\nnone\r\n$4\r\n0.01\r\n"), f"{client}-{number}"


@pytest.mark.parametrize("order", ["file", "server", "two lines"])
@pytest.mark.parametrize("links", ["shared", "exclusive"])
def test_nobody_notices(order, links):
    """limit: SECRETS_LOOK_MS. The file first: it has the new one alone, and the server follows. The
    server first: it lets both in for a while. Two lines: the server takes one at a time."""
    with contextlib.ExitStack() as stack:
        rotation = Rotation(stack, settings={"links": links})
        load = stack.enter_context(Load(rotation.proxy.address, 10, 4, rate=300, workload=work))
        load.wait_acks(100)
        if order == "file":
            rotation.write("app", "two")
            rotation.wait_event("password-loaded")
            rotation.check_fresh_links()
            rotation.serve("app", "two")
        elif order == "server":
            rotation.serve("app", "one", "two")
            rotation.check_fresh_links()
            rotation.write("app", "two")
            rotation.wait_event("password-loaded")
            rotation.serve("app", "two")
        else:
            rotation.write("app", "two", "one")
            rotation.wait_event("password-loaded")
            rotation.check_fresh_links()
            rotation.serve("app", "two")
            rotation.check_fresh_links()
            rotation.write("app", "two")
            rotation.wait_event("password-loaded", 2)
        rotation.check_fresh_links()
        load.wait_acks(200)
        load.stop()
        check_open(load.opened, load.connections)
        counts = tally(load.records)
        assert counts[ACKED] > 300 and sum(counts.values()) == counts[ACKED], counts
        assert not rotation.proxy.entries("link-refused")
        assert not rotation.proxy.entries("node-auth-failed")


def test_server_first_and_at_once(rotation):
    """It takes the old one no more before the file has the new one: whoever needs a new connection
    waits for the file, the others go on."""
    with rotation.proxy.connect(30) as old, rotation.proxy.connect(30) as fresh:
        assert old.ok("INCR", "n") == 1
        rotation.serve("app", "two")
        fresh.send(encode_all([("SELECT", 3), ("SET", "k", "v"), ("ACL", "WHOAMI")]))
        wait_until(lambda: rotation.proxy.entries("link-refused"), 10, "the refusal")
        assert old.ok("INCR", "n") == 2
        rotation.write("app", "two")
        assert [fresh.read(20) for _ in range(3)] == ["OK", "OK", b"app"]
        assert old.ok("INCR", "n") == 3


def test_password_that_changes_while_it_is_on_its_way(tmp_path):
    """The server takes the new one only, and the file has it, when the old one arrives that a new
    connection had said: it is no refusal that anybody has to hear of."""
    path = tmp_path / "password"
    path.write_text("one\n")
    good = [b"one"]

    def auth(args):
        if args[-1] == b"one" and armed:
            armed.clear()
            good[0] = b"two"
            path.write_text("two\n")
            proxy.process.signal(signal.SIGHUP)
            wait_until(lambda: proxy.entries("password-loaded"), 10, "the new one", 0.002)
        return b"+OK\r\n" if args[-1] == good[0] else b"-WRONGPASS no\r\n"

    armed = []
    with FakeNode({"AUTH": auth}) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "password-file": str(path)}) as proxy:
        proxy.wait_serving()
        armed.append(True)
        with proxy.connect() as client:
            assert client.pipeline([("SELECT", 3), ("SET", "k", "v")]) == ["OK"] * 2
        assert not armed and node.requests("AUTH")[-1][-1] == b"one"
        assert [args[-1] for args in node.requests("AUTH")[-2:]] == [b"two", b"one"]
        assert not proxy.entries("link-refused") and not proxy.entries("node-auth-failed")


def test_probes_come_in_again():
    """Those that the server has refused meanwhile say the new one on new connections."""
    with contextlib.ExitStack() as stack:
        rotation = Rotation(stack, settings={"read-policy": "any"})
        rotation.serve("app", "two")
        rotation.admin.ok("CLIENT", "KILL", "USER", "app")
        rotation.wait_event("node-auth-failed")
        wait_until(lambda: ("default", "role") in rotation.connections(), 10, "a probe outside")
        rotation.write("app", "two")
        wait_until(lambda: {user for user, _ in rotation.connections()} == {"app"}, 15,
                   "all of them inside")
        assert [c for c in rotation.connections() if c[1] in ("role", "info")]


def test_sighup_loads_it(rotation):
    rotation.serve("app", "one", "two")
    rotation.write("app", "two")
    rotation.proxy.process.signal(signal.SIGHUP)
    rotation.wait_event("password-loaded")
    rotation.serve("app", "two")
    rotation.check_fresh_links()


@pytest.mark.parametrize("lines, words", [
    ([], "it is empty"), (["", "x"], "its first line is empty"),
    (["x", "y", "z"], "it has more than two lines"), (["a\0b"], "it has a NUL byte"),
    (None, "it can't be read: No such file or directory")])
def test_file_that_can_not_be_used(rotation, lines, words):
    """One line says so and names it; the one from before goes on; the next good file is taken."""
    if lines is None:
        os.remove(rotation.path("app"))
    else:
        rotation.write("app", *lines)
    rotation.wait_event("password-not-loaded")
    entry, = rotation.proxy.entries("password-not-loaded")
    assert (entry["file"], entry["error"], entry.level) == (rotation.path("app"), words, "error")
    rotation.check_fresh_links()
    rotation.serve("app", "one", "two")
    rotation.write("app", "two")
    rotation.wait_event("password-loaded")
    rotation.serve("app", "two")
    rotation.check_fresh_links()
    assert len(rotation.proxy.entries("password-not-loaded")) == 1
