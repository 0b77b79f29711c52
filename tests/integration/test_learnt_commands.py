"""Commands that Vedette does not know by heart: what the primary says of them decides which
connection they take, and what becomes of them when it is lost."""

import contextlib
import time

import pytest

from support.case import one_node
from support.fake_sentinel import CLOSE, NEVER, NULL_ARRAY, FakeNode, FakeSentinel, Half, array
from support.fake_sentinel import bulk
from support.proxy import Proxy
from support.wait import wait_until


def described(name, *flags, subs=()):
    """One command as COMMAND of Redis 7 tells of it."""
    words = array(*(b"+%b\r\n" % flag.encode() for flag in flags))
    return array(bulk(name), b":-2\r\n", words, b":1\r\n", b":1\r\n", b":1\r\n", array(), array(),
                 array(), array(*subs))


def listing(*commands):
    return array(described("get", "readonly", "fast"), described("set", "write"), *commands)


FOO = listing(described("FOO.GET", "readonly", "module"),
              described("foo.set", "write", "denyoom", "module"),
              described("foo.plain", "module"),
              described("foo.pop", "write", "blocking", "noscript", "module"),
              described("foo.config", subs=[described("foo.config|get", "readonly"),
                                            described("foo.config|set", "write")]))


class Node(FakeNode):
    """Knows which connection each command came on."""

    def __init__(self, commands, script=None):
        super().__init__({"COMMAND": commands, **(script or {})})
        self.came = []

    def _respond(self, client, args):
        self.came.append((args[0].decode().lower(), client))
        super()._respond(client, args)

    def connection(self, name):
        """That of the last command of this name."""
        return [client for command, client in list(self.came) if command == name][-1]

    def times(self, name):
        return len(self.requests(name.upper()))


@contextlib.contextmanager
def behind(node, settings=None, env=None):
    """The proxy, once it has learnt what the node says."""
    with FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "links": "shared", "hold-timeout": "5s",
                                       **(settings or {})}, env=env) as proxy:
        proxy.wait_serving()
        wait_until(lambda: proxy.entries("commands-learnt"), what="what the primary says")
        yield proxy


def test_56_which_connection_they_take():
    with Node(FOO) as node, behind(node) as proxy:
        assert proxy.entries("commands-learnt")[-1]["learnt"] == "5"
        with proxy.connect() as one, proxy.connect() as other:
            for client in (one, other):
                client.ok("ECHO", "x")
            shared = node.connection("echo")
            for words in (("foo.get", "k"), ("FOO.SET", "k", "v"), ("foo.pop", "k"),
                          ("foo.config", "get", "x"), ("foo.config", "SET", "x", "y")):
                assert one.call(*words) == "OK"
                assert node.connection(words[0].lower()) is not shared, words
                one.ok("ECHO", "x")
                assert node.connection("echo") is shared, f"pinned by {words}"
            one.pipeline([("foo.set", "k", "v"), ("ECHO", "x"), ("foo.get", "k"), ("ECHO", "y")])
            assert node.connection("echo") is shared
            # Neither write nor readonly, and what is not listed at all: for good.
            one.ok("foo.plain")
            one.ok("ECHO", "x")
            assert node.connection("echo") is node.connection("foo.plain")
            other.ok("foo.config", "other")
            other.ok("ECHO", "x")
            assert node.connection("echo") is node.connection("foo.config")
            assert node.connection("echo") is not shared


def test_56_configured_ones_share():
    shared = ",".join(["foo.get", "foo.set", "foo.pop", "foo.config|get", "foo.plain", "foo.new"])
    with Node(FOO) as node, behind(node, env={"VEDETTE_SHARED_COMMANDS": shared}) as proxy, \
            proxy.connect() as client:
        client.ok("ECHO", "x")
        usual = node.connection("echo")
        for words, shares in ((("foo.get", "k"), True), (("FOO.SET", "k", "v"), True),
                              (("foo.plain",), True), (("foo.new",), True),
                              (("foo.config", "get", "x"), True),
                              (("foo.config", "set", "x"), False), (("foo.pop", "k"), False)):
            client.ok(*words)
            assert (node.connection(words[0].lower()) is usual) == shares, words
        client.ok("ECHO", "x")
        assert node.connection("echo") is usual


class Once:
    """Closes instead of giving the first answer."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def __call__(self, args):
        self.asked += 1
        return CLOSE if self.asked == 1 else self.answer


LOST = [(("foo.get", "k"), "foo.get", True), (("foo.set", "k", "v"), "foo.set", False),
        (("foo.pop", "k"), "foo.pop", False), (("foo.plain", "k"), "foo.plain", False),
        (("foo.config", "get", "x"), "foo.config get", True),
        (("foo.config", "set", "x"), "foo.config set", False)]


@pytest.mark.parametrize("links", ["shared", "exclusive"])
def test_56_a_read_is_sent_again_and_a_write_is_in_doubt(links):
    script = {name.upper(): Once(bulk("done")) for _, name, _ in LOST}
    with Node(FOO, script) as node, behind(node, {"links": links}) as proxy:
        for words, name, again in LOST:
            with proxy.connect() as client:
                reply = client.call(*words)
                if again:
                    assert reply == b"done", words
                else:
                    assert reply.code == "INDOUBT", words
                assert script[name.upper()].asked == (2 if again else 1), words
                assert client.ok("PING") == "PONG"


def test_56_shared_ones_are_judged_alike():
    script = {name.upper(): Once(bulk("done")) for _, name, _ in LOST[:2]}
    with Node(FOO, script) as node, \
            behind(node, env={"VEDETTE_SHARED_COMMANDS": "foo.get,foo.set"}) as proxy, \
            proxy.connect() as client:
        assert client.call("foo.get", "k") == b"done"
        assert client.call("foo.set", "k", "v").code == "INDOUBT"
        assert node.times("foo.get") == 2 and node.times("foo.set") == 1


def test_the_server_makes_a_known_command_stricter():
    """A read is in doubt where the server says that it writes; never the other way."""
    odd = array(described("get", "write"), described("set", "readonly"),
                described("strlen", "readonly", "blocking"))
    script = {name: Once(bulk("done")) for name in ("GET", "SET", "STRLEN", "LLEN")}
    with Node(odd, script) as node, behind(node) as proxy, proxy.connect() as client:
        entry = proxy.entries("commands-learnt")[-1]
        assert (entry["learnt"], entry["stricter"], entry.level) == ("0", "2", "notice")
        assert client.call("GET", "k").code == "INDOUBT"
        assert client.call("SET", "k", "v").code == "INDOUBT"
        assert client.call("STRLEN", "k") == b"done"
        assert client.call("LLEN", "k") == b"done"
        assert [script[name].asked for name in ("GET", "SET", "STRLEN", "LLEN")] == [1, 1, 2, 2]
        assert node.connection("strlen") is not node.connection("llen")


def test_each_primary_is_asked():
    """What the last one said serves until the new one has told, and no longer."""
    tells = [False]

    def later(_):
        return listing(described("foo.get", "write")) if tells[0] else NEVER

    with Node(FOO, {"FOO.GET": Once(b"+first\r\n")}) as first, \
            Node(later, {"FOO.GET": Once(b"+second\r\n")}) as second, \
            FakeSentinel(first.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 2, "links": "shared"}) as proxy:
        wait_until(lambda: proxy.entries("commands-learnt"), what="what the primary says")
        with proxy.connect() as client:
            assert client.call("foo.get", "k") == "first"
            sentinel.switch(second.address, 2)
            wait_until(lambda: second.times("command"), what="the question to the new primary")
            assert client.call("foo.get", "k") == "second"
            assert second.times("foo.get") == 2
            wait_until(lambda: proxy.entries("commands-unread"), 15, "the end of waiting")
            tells[0] = True
            second.script["FOO.GET"] = Once(b"+third\r\n")
            wait_until(lambda: len(proxy.entries("commands-learnt")) == 2, 15, "the next try")
            wait_until(lambda: proxy.call("PING") == "PONG")
        with proxy.connect() as client:
            assert client.call("foo.get", "k").code == "INDOUBT"
            assert second.script["FOO.GET"].asked == 1


@pytest.mark.parametrize("answer", [
    b"-NOPERM this user has no permissions to run the 'command' command\r\n",
    b"-ERR unknown command 'COMMAND'\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n",
    NULL_ARRAY, b"*2000000000\r\n", b"$5000000\r\n" + b"x" * 5_000_000, CLOSE,
    Half(FOO[:200], close=True), listing(array(b"%0\r\n"))],
    ids=["refused", "renamed", "web", "ok", "null", "wide", "large", "close", "part", "broken"])
def test_an_answer_that_is_none(answer):
    """The built-in table serves, the log says so once, and nothing waits."""
    with FakeNode({"COMMAND": answer}) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"links": "shared"}) as proxy:
        proxy.wait_serving()
        told = wait_until(lambda: proxy.entries("commands-unread"), what="the log's line")
        wait_until(lambda: len(node.requests("COMMAND")) > 1, 10, "the next try")
        assert proxy.call("GET", "k") == "OK"
        assert proxy.call("foo.get", "k") == "OK"
        assert [e.level for e in proxy.entries("commands-unread")] == ["notice"], told
        assert "connection of its own" in told[0]["effect"]
        assert not proxy.entries("commands-learnt")


def test_a_long_answer():
    """As of a server with many modules: more than any other answer may be."""
    many = (described(f"filler.{i}" + "x" * 20, "write", "x" * 300) for i in range(3000))
    with Node(listing(*many, described("foo.get", "readonly"))) as node, behind(node) as proxy:
        assert len(node.script["COMMAND"]) > 1 << 20
        assert proxy.entries("commands-learnt")[-1]["learnt"] == "3001"


def test_no_answer_at_all():
    """limit: COMMANDS_TIMEOUT_MS. Nobody waits for it."""
    with FakeNode({"COMMAND": NEVER}) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address]) as proxy:
        proxy.wait_serving()
        wait_until(lambda: node.requests("COMMAND"), what="the question")
        asked = time.monotonic()
        assert proxy.call("GET", "k") == "OK"
        assert not proxy.entries("commands-unread")
        wait_until(lambda: proxy.entries("commands-unread"), 15, "the end of waiting")
        assert time.monotonic() - asked > 4
        node.script["COMMAND"] = FOO
        wait_until(lambda: proxy.entries("commands-learnt"), 10, "the next try")


def test_what_a_real_server_says():
    """All of it is known by heart, and nothing is stricter than that."""
    with one_node() as (node, proxy):
        entry = wait_until(lambda: proxy.entries("commands-learnt"), what="what Redis says")[0]
        assert int(entry["listed"]) > 200
        assert (entry["learnt"], entry["stricter"], entry.level) == ("0", "0", "info")
        assert node.calls("command") == 1
        assert not proxy.entries("commands-unread")


def test_a_real_server_refuses_it():
    acl = ("user", "vedette", "on", ">secret", "~*", "&*", "+@all", "-command")
    with one_node({"user": "vedette", "password": "secret"}, [acl]) as (_, proxy):
        proxy.wait_serving()
        entry = wait_until(lambda: proxy.entries("commands-unread"), what="the log's line")[0]
        assert entry["error"].startswith("NOPERM")
        assert proxy.call("SET", "k", "v") == "OK"
        assert proxy.call("GET", "k") == b"v"
        assert not proxy.entries("commands-learnt")


def test_56_a_renamed_command():
    """COMMAND tells its old name, so that it is unknown: it works, on a connection for good."""
    renamed = [("rename-command", "GET", "fetch"), ("rename-command", "INCR", '""')]
    with one_node({"links": "shared"}, renamed) as (node, proxy):
        wait_until(lambda: proxy.entries("commands-learnt"), what="what Redis says")
        with proxy.connect() as client, proxy.connect() as other:
            client.ok("SET", "k", "v")
            other.ok("SET", "other", "v")
            before = {c["id"] for c in node.connections()}
            assert client.call("FETCH", "k") == b"v"
            assert client.call("GET", "k").code == "ERR"
            assert client.call("INCR", "n").code == "ERR"
            assert client.call("fetch", "other") == b"v"
            own = [c for c in node.connections() if c["id"] not in before]
            assert len(own) == 1, own
            assert other.call("STRLEN", "k") == 1
        wait_until(lambda: own[0]["id"] not in {c["id"] for c in node.connections()},
                   what="the end of its connection")
