"""CLIENT TRACKING across links: the client forgets what it has stored, and is told of what changes
from then on."""

import pytest

from support.case import judged, one_node, relayed, scenario, two_primaries
from support.fake_sentinel import FakeNode, FakeSentinel
from support.proxy import Proxy
from support.relay import Rule
from support.resp import Pairs, Push, encode, encode_all
from support.tracking import FORGET_ALL, changed, kill_links, switch, tracked, tracker
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

MIB = 1 << 20
KINDS = pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])


@KINDS
@judged
def test_46_tracking(planned):
    with scenario() as (cluster, proxy), tracker(proxy) as plain, \
            tracker(proxy, "BCAST", "PREFIX", "b") as broad, proxy.connect(20) as writer:
        writer.ok("SET", "k", "old")
        assert plain.call("GET", "k") == b"old"
        old = cluster.primary
        if planned:
            cluster.failover()
        else:
            old.kill()
            plain.send(encode("GET", "k"))
        new = cluster.wait_primary(old)
        assert plain.read_frame() == FORGET_ALL
        if planned:
            plain.send(encode("GET", "k"))
        assert plain.read() in (b"old", None)  # a crash may lose it
        assert broad.read_frames(2) == [FORGET_ALL] * 2
        assert writer.ok("SET", "k", "new") == "OK"
        assert plain.read() == changed("k")
        wait_until(lambda: tracked(new, "B") == 1, 5, "tracking")
        writer.ok("SET", "b1", "new")
        assert broad.read() == changed("b1")
        assert plain.call("GET", "k") == b"new"
        assert broad.call("PING") == "PONG"


@pytest.fixture(name="setup")
def setup_fixture():
    with two_primaries() as case:
        yield case


def test_46_a_link_is_had_without_being_asked(setup):
    """Nobody has to ask for what is told by pushes; and all of it is said again, as it was."""
    (old, new), sentinel, proxy = setup
    with tracker(proxy, "BCAST", "PREFIX", "a", "NOLOOP") as client:
        client.ok("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b", "PREFIX", "c")
        before = client.call("CLIENT", "TRACKINGINFO")
        kill_links(old)
        assert client.read_frames(3) == [FORGET_ALL] * 3  # see the next test
        assert client.call("CLIENT", "TRACKINGINFO") == before
        old.call("SET", "c", "1")
        assert client.read() == changed("c")
        switch(sentinel, proxy, new)
        assert client.read_frames(3) == [FORGET_ALL] * 3
        assert client.call("CLIENT", "TRACKINGINFO") == before
        old.call("SET", "a", "1")
        new.call("SET", "b", "1")
        assert client.read() == changed("b")
        assert client.is_open()


def test_46_broadcast_is_behind_what_others_read():
    """A client may store what another connection of it has read before the broadcast is on again:
    so it forgets once more when it is."""
    with relayed() as (node, relay, proxy), tracker(proxy, "BCAST") as client:
        rule = relay.add(Rule("delay", marker=b"TRACKING", seconds=0.1))
        kill_links(node)
        assert client.read_frame() == FORGET_ALL
        rule.wait()
        assert client.read_frame() == FORGET_ALL
        assert tracked(node, "B") == 1


@pytest.mark.parametrize("mode, word, told", [("OPTIN", "YES", True), ("OPTOUT", "NO", False)])
def test_46_caching_is_about_the_next_command(setup, mode, word, told):
    (old, _), _, proxy = setup
    with tracker(proxy, mode) as client:
        assert client.ok("CLIENT", "CACHING", word) == "OK"
        kill_links(old)
        assert client.read_frame() == FORGET_ALL
        assert client.call("GET", "k") is None
        assert client.call("GET", "l") is None
        old.call("MSET", "k", "1", "l", "1")
        assert client.read() == changed("k" if told else "l")
        client.ok("CLIENT", "CACHING", word)
        assert client.call("GET", "k") == b"1"  # that command came, so it is forgotten
        kill_links(old)
        assert client.read_frame() == FORGET_ALL
        client.call("GET", "m")
        client.ok("CLIENT", "CACHING", "YES" if told else "NO")
        client.call("GET", "n")
        old.call("MSET", "m", "1", "n", "1")
        assert client.read() == changed("n" if told else "m")


def test_46_caching_and_a_transaction(setup):
    """CLIENT CACHING is about all of it."""
    (old, _), _, proxy = setup
    with tracker(proxy, "OPTIN") as client:
        client.ok("CLIENT", "CACHING", "YES")
        client.ok("MULTI")
        client.ok("GET", "k")
        kill_links(old)
        assert client.read_frame() == FORGET_ALL
        client.ok("GET", "l")
        assert client.call("EXEC") == [None, None]
        old.call("SET", "l", "1")
        assert client.read() == changed("l")
        old.call("SET", "k", "1")
        assert client.read() == changed("k")


def test_46_caching_was_about_what_is_in_doubt():
    """... and not about the command behind it."""
    with relayed() as (node, relay, proxy), tracker(proxy, "OPTOUT") as client:
        client.ok("CLIENT", "CACHING", "NO")
        rule = relay.add(Rule("drop_reply", marker=encode("INCR", "n")))
        client.send(encode("INCR", "n"))
        rule.wait()
        assert client.read().code == "INDOUBT"
        assert client.read_frame() == FORGET_ALL
        client.call("GET", "k")
        node.call("SET", "k", "1")
        assert client.read() == changed("k")


def test_46_caching_and_a_request_sent_again():
    """The refusal has used up what CLIENT CACHING said."""
    script = "return redis.call('GET', KEYS[1])"
    with one_node() as (node, proxy):
        proxy.wait_serving()
        with tracker(proxy, "OPTIN") as client:
            sha = client.ok("SCRIPT", "LOAD", script)
            node.call("SCRIPT", "FLUSH")
            client.ok("CLIENT", "CACHING", "YES")
            client.send(encode("EVALSHA", sha, 1, "k"))
            assert client.read_frames(2) == [FORGET_ALL, b"_\r\n"]
            node.call("SET", "k", "1")
            assert client.read() == changed("k")


def test_46_heard_without_replies(setup):
    """CLIENT REPLY OFF keeps no push from the client."""
    (old, new), sentinel, proxy = setup
    with tracker(proxy) as client:
        client.send(encode_all([("CLIENT", "REPLY", "OFF"), ("GET", "k")]))
        wait_until(lambda: old.calls("get") == 1, 5, "the request")
        switch(sentinel, proxy, new)
        assert client.read_frame() == FORGET_ALL
        client.send(encode("GET", "l"))
        wait_until(lambda: new.calls("get") == 1, 5, "the request")
        new.call("SET", "l", "1")
        assert client.read() == changed("l")
        assert client.call("CLIENT", "REPLY", "ON") == "OK"


def test_46_never_inside_a_reply(setup):
    """Neither what the server pushes nor what is said here."""
    (old, new), sentinel, proxy = setup
    value = b"x" * (24 * MIB)
    old.call("SET", "big", value)
    with tracker(proxy, rcvbuf=4096) as client, proxy.connect() as writer:
        assert client.call("GET", "k") is None
        client.send(encode("GET", "big"))
        assert client.read_exactly(10) == b"$25165824\r"
        writer.ok("SET", "k", "1")
        switch(sentinel, proxy, new)
        writer.ok("SET", "k", "2")
        assert client.read_exactly(1 + len(value) + 2)[-4:] == b"xx\r\n"
        client.send(encode("GET", "k"))
        frames = client.read_frames(1)
        while frames[-1] != b"$1\r\n2\r\n":
            frames += client.read_frames(1)
        assert frames[-2:] == [FORGET_ALL, b"$1\r\n2\r\n"] and frames.count(FORGET_ALL) == 1
        new.call("SET", "k", "3")
        assert client.read() == changed("k")


def test_46_what_was_not_told_is_forgotten_once(setup):
    """Off is off, and nobody else hears of it."""
    (old, new), sentinel, proxy = setup
    with tracker(proxy) as client, proxy.connect() as other, tracker(proxy) as reset:
        assert client.ok("CLIENT", "TRACKING", "OFF") == "OK"
        assert reset.ok("RESET") == "RESET"
        reset.call("HELLO", 3)
        assert other.call("HELLO", 3)
        switch(sentinel, proxy, new)
        for each in (client, other, reset):
            assert each.call("PING") == "PONG"
        kill_links(new)
        for each in (client, other, reset):
            assert each.call("PING") == "PONG"


def test_46_resp2(setup):
    """There nothing is pushed; what was switched on stays on."""
    (old, new), sentinel, proxy = setup
    with proxy.connect() as client:
        assert client.ok("CLIENT", "TRACKING", "ON", "NOLOOP") == "OK"
        switch(sentinel, proxy, new)
        assert client.call("GET", "k") is None
        assert client.call("CLIENT", "TRACKINGINFO")[1] == [b"on", b"noloop"]
        assert isinstance(client.call("HELLO", 3), Pairs)
        assert client.call("GET", "k") is None
        new.call("SET", "k", "1")
        assert client.read() == changed("k")
        kill_links(new)
        assert client.read_frame() == FORGET_ALL


def test_46_profile_and_tracking(setup):
    (old, new), sentinel, proxy = setup
    with tracker(proxy) as client:
        client.ok("CLIENT", "SETNAME", "cache")
        client.ok("SELECT", 3)
        client.ok("SET", "k", "old")
        switch(sentinel, proxy, new)
        assert client.read_frame() == FORGET_ALL
        assert client.call("GET", "k") is None
        assert client.call("CLIENT", "GETNAME") == b"cache"
        with new.connect() as direct:
            direct.ok("SELECT", 3)
            direct.ok("SET", "k", "1")
        assert client.read() == changed("k")


def ended(proxy):
    return [entry["state"] for entry in proxy.entries("session-closed")]


def test_46_what_is_not_carried(setup):
    """A redirection that takes effect at EXEC: nobody has looked at the number."""
    (_, new), sentinel, proxy = setup
    with tracker(proxy) as queued, proxy.connect(20) as told:
        redirect = ("CLIENT", "TRACKING", "ON", "REDIRECT", told.ok("CLIENT", "ID"))
        assert queued.pipeline([("MULTI",), ("CLIENT", "TRACKING", "OFF"), redirect,
                                ("EXEC",)])[3] == ["OK", "OK"]
        switch(sentinel, proxy, new)
        assert queued.closed()
        assert ended(proxy) == ["client|tracking"]


def test_46_subscribed_and_tracking(setup):
    """On RESP3 one connection may do both; what CLIENT CACHING has said is not used up."""
    (old, new), sentinel, proxy = setup
    with tracker(proxy, "OPTIN") as client:
        client.send(encode("SUBSCRIBE", "news"))
        client.read()
        client.ok("CLIENT", "CACHING", "YES")
        switch(sentinel, proxy, new)
        assert client.read_frame() == FORGET_ALL
        assert client.call("GET", "k") is None
        new.call("SET", "k", "1")
        assert client.read() == changed("k")
        assert new.call("PUBLISH", "news", "1") == 1
        assert client.read() == Push([b"message", b"news", b"1"])


def test_46_redirection_switched_off_again(setup):
    (old, new), sentinel, proxy = setup
    with proxy.connect() as target, proxy.connect() as client:
        number = target.ok("CLIENT", "ID")
        client.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number)
        client.ok("CLIENT", "TRACKING", "OFF")
        switch(sentinel, proxy, new)
        assert client.call("GET", "k") is None


def test_46_refused_by_the_new_primary(setup):
    (_, new), sentinel, proxy = setup
    new.call("ACL", "SETUSER", "default", "-client|tracking")
    with tracker(proxy) as client:
        switch(sentinel, proxy, new)
        assert client.read_frame() == FORGET_ALL
        assert client.closed()
        assert ended(proxy) == ["client|tracking"]
        assert proxy.entries("tracking-refused")[0]["error"].startswith("-NOPERM")


def test_46_more_than_is_kept(setup):
    (old, new), sentinel, proxy = setup
    with tracker(proxy, "BCAST", "PREFIX", "a" * 40_000) as client, \
            tracker(proxy, "BCAST", "PREFIX", "a" * 40_000) as kept:
        client.ok("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b" * 40_000)
        switch(sentinel, proxy, new)
        assert client.closed()
        assert kept.read_frame() == FORGET_ALL
        wait_until(lambda: tracked(new, "B") == 1, 5, "tracking")


def test_46_a_push_that_overtakes_a_kept_reply():
    """A reply that is kept until it is known what to do with a refused request before it, and was
    made before the push: the client must not store it for ever."""
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    node_says = {"SET": b"-LOADING not yet\r\n", "GET": b"$1\r\nv\r\n" + push, "INCR": b":1\r\n"}
    with FakeNode(node_says) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address]) as proxy:
        proxy.wait_serving()
        with proxy.connect() as client:
            assert client.call("HELLO", 3) == "OK"
            assert client.ok("CLIENT", "TRACKING", "ON") == "OK"
            client.send(encode_all([("SET", "a", "1"), ("GET", "k"), ("INCR", "n")]))
            assert client.read_frames(5) == [push, b"-LOADING not yet\r\n", b"$1\r\nv\r\n",
                                             b":1\r\n", FORGET_ALL]
