"""CLIENT TRACKING with REDIRECT: what one connection tracks is told to another one. Both live on
when the primary changes and when one of their links is lost."""

import contextlib
import random

import pytest

from support.case import judged, relayed, scenario, two_primaries
from support.relay import Rule
from support.resp import Pairs, Push, ServerError, encode, encode_all
from support.tracking import (
    CHANNEL, FORGET_ALL, FORGET_ALL_MESSAGE, CachingClient, Readers, Writer, changed,
    changed_message, connections, switch, tracked)
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

KINDS = pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
KEYS = [b"k%d" % n for n in range(20)]
PAIRS = 4
WAIT_MS = 5000  # REDIRECT_WAIT_MS


def placed(proxy, extra):
    """Makes both placements: a client goes to the worker with fewer of them, in turn."""
    def maybe():
        if len(extra) * 2 < PAIRS:
            extra.append(proxy.connect(60))
    return maybe


@KINDS
@judged
def test_46_redirect(planned):
    """No cached value is stale without that having been told, and no connection breaks."""
    rng = random.Random(46)
    with contextlib.ExitStack() as stack:
        cluster, proxy = stack.enter_context(scenario(settings={"proxy.workers": 2}))
        extra, clients = [], []
        for n in range(PAIRS):
            client = CachingClient(proxy, *(["BCAST"] if n == 3 else []), resp=2 + n % 2,
                                   between=placed(proxy, extra))
            stack.callback(client.close)
            clients.append(client)
        opened = [(c.hears.local, c.reads.local) for c in clients]
        work = [Writer(proxy, KEYS, rng)] + [Readers(c, KEYS, rng) for c in clients]
        for each in work:
            each.start()
        wait_until(lambda: all(c.told_of > 5 and c.hits > 5 for c in clients), 20, "the caches")
        old = cluster.primary
        before = work[0].writes
        if planned:
            cluster.failover()
        else:
            old.kill()
        new = cluster.wait_primary(old)
        wait_until(lambda: work[0].writes > before + 200, 20, "writes behind it")
        for each in work:
            each.enough.set()
        for each in work:
            each.join(30)
            assert each.failure is None, each.failure
        for client in clients:
            assert client.stale(new) == {}
        assert [(c.hears.local, c.reads.local) for c in clients] == opened
        assert proxy.entries("session-closed") == []


@pytest.fixture(name="setup")
def setup_fixture():
    with two_primaries({"proxy.workers": 2}) as case:
        yield case


@contextlib.contextmanager
def pair(proxy, *options, reads=2, hears=2, channel=CHANNEL, apart=True):
    """(what tracks, what is told, its number); on one worker each, or on the same."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(proxy.connect(20))
        if not apart:
            stack.enter_context(proxy.connect(20))
        client = stack.enter_context(proxy.connect(WAIT_MS / 1250))  # nobody waits to no end
        assert target.ok("HELLO", hears) and client.ok("HELLO", reads)
        number = target.ok("CLIENT", "ID")
        if channel:
            target.ok("SUBSCRIBE", channel)
        assert client.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number, *options) == "OK"
        yield client, target, number


def told_of(target, hears, *keys):
    return target.read() == (changed(*keys) if hears == 3 else changed_message(*keys))


def forgets(target, hears=2):
    """It has been told already, before anything that was read since."""
    frame = target.read_frame(timeout=0.001)
    return frame == (FORGET_ALL if hears == 3 else FORGET_ALL_MESSAGE)


def drain(target, hears=2):
    """Told any number of times: nothing but that it has to forget."""
    words = FORGET_ALL if hears == 3 else FORGET_ALL_MESSAGE
    got = target.read_for(0.05)
    assert got == words * (len(got) // len(words))


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
@pytest.mark.parametrize("reads, hears, channel", [(2, 2, CHANNEL), (3, 2, "other"), (2, 3, None),
                                                   (3, 3, None)])
def test_46_redirect_through_two_switches(setup, reads, hears, channel, apart):
    nodes, sentinel, proxy = setup
    with pair(proxy, reads=reads, hears=hears, channel=channel, apart=apart) as (client, target, _), \
            proxy.connect() as writer:
        for epoch in (2, 3):
            client.call("GET", "k")
            writer.ok("SET", "k", epoch)
            assert told_of(target, hears, "k")
            switch(sentinel, proxy, nodes[(epoch + 1) % 2], epoch)
            client.call("GET", "k")
            assert forgets(target, hears)
            drain(target, hears)
            writer.ok("SET", "k", "again")
            assert told_of(target, hears, "k")
        assert client.is_open() and target.is_open()
        assert proxy.entries("session-closed") == []


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
def test_46_redirect_and_one_link_lost(setup, apart):
    """Whichever of the two it is; nobody has to ask for anything."""
    (node, _), _, proxy = setup
    with pair(proxy, apart=apart) as (client, target, _):
        for flag in "Pt" * 3:
            client.call("GET", "k")
            node.call("CLIENT", "KILL", "ID", connections(node, flag)[0])
            assert target.read_frame() == FORGET_ALL_MESSAGE
            wait_until(lambda: sound(node), 5, "the redirection")
            client.call("GET", "k")
            drain(target)
            node.call("SET", "k", "1")
            assert told_of(target, 2, "k")


def sound(node):
    """One connection tracks, and redirects to one that listens."""
    redirected = [int(c["redir"]) for c in node.connections() if "t" in c["flags"]]
    return redirected and redirected == connections(node, "P")


def test_46_redirect_is_said_as_it_was(setup):
    """Prefixes add up and may not be said twice on one connection; CLIENT CACHING is kept."""
    nodes, sentinel, proxy = setup
    with pair(proxy, "BCAST", "PREFIX", "a") as (broad, target, number), \
            pair(proxy, "OPTIN") as (choosy, other, _):
        broad.ok("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "REDIRECT", "REDIRECT", number)
        choosy.ok("CLIENT", "CACHING", "YES")
        before = broad.call("CLIENT", "TRACKINGINFO")[5]
        for lost in connections(nodes[0], "P"):
            nodes[0].call("CLIENT", "KILL", "ID", lost)
        for conn in (target, other):
            assert conn.read_frame() == FORGET_ALL_MESSAGE
        assert choosy.call("GET", "k") is None
        assert choosy.call("GET", "l") is None
        assert broad.call("CLIENT", "TRACKINGINFO")[5] == before == [b"REDIRECT", b"a"]
        drain(target)
        drain(other)
        nodes[0].call("MSET", "k", "1", "l", "1", "a1", "1")
        assert told_of(target, 2, "a1")
        assert told_of(other, 2, "k")
        choosy.ok("CLIENT", "CACHING", "YES")
        switch(sentinel, proxy, nodes[1])
        assert choosy.call("GET", "m") is None
        assert broad.call("CLIENT", "TRACKINGINFO")[5] == before
        drain(target)
        drain(other)
        nodes[1].call("MSET", "l", "1", "m", "1", "REDIRECT", "1", "k", "1")
        assert told_of(target, 2, "REDIRECT")
        assert told_of(other, 2, "m")


def test_46_redirect_to_itself(setup):
    nodes, sentinel, proxy = setup
    with proxy.connect(20) as client:
        number = client.ok("CLIENT", "ID")
        assert client.ok("CLIENT", "TRACKING", "ON", "BCAST", "REDIRECT", number) == "OK"
        client.ok("SUBSCRIBE", "any")
        nodes[0].call("SET", "k", "1")
        assert told_of(client, 2, "k")
        switch(sentinel, proxy, nodes[1])
        assert client.read_frame() == FORGET_ALL_MESSAGE
        wait_until(lambda: tracked(nodes[1], "B") == 1 and connections(nodes[1], "P"), 5, "it")
        drain(client)
        nodes[1].call("SET", "k", "1")
        assert told_of(client, 2, "k")


@pytest.mark.parametrize("reads", [2, 3])
def test_46_redirect_to_one_that_has_left(setup, reads):
    """As in Redis: it goes on, nobody is told, and on RESP3 that is said instead."""
    nodes, sentinel, proxy = setup
    broken = Push([b"tracking-redir-broken"])
    with pair(proxy, "OPTIN", reads=reads) as (client, target, number):
        broken.append(number)
        target.close()
        wait_until(lambda: not connections(nodes[0], "P"), 5, "its end")
        for node in (nodes[0], nodes[1]):
            if node is nodes[1]:
                switch(sentinel, proxy, node)
                if reads == 3:
                    assert client.read() == broken
            assert client.ok("CLIENT", "CACHING", "YES") == "OK"
            assert client.call("GET", "k") is None
            node.call("SET", "k", "1")
            if reads == 3:
                assert client.read() == broken
            assert client.call("PING") == "PONG"
        error = client.call("CLIENT", "TRACKING", "ON", "OPTIN", "REDIRECT", number)
        assert error == ServerError("ERR The client ID you want redirect to does not exist")
        assert client.ok("CLIENT", "TRACKING", "OFF") == "OK"
        assert proxy.entries("session-closed") == []


def test_46_redirect_to_one_that_is_not_ours(setup):
    """A connection made directly to a primary that is the primary no longer."""
    nodes, sentinel, proxy = setup
    with nodes[0].connect() as direct, proxy.connect(20) as client:
        client.ok("HELLO", 3)
        # A number that no connection of the other node is going to have.
        number = wait_until(lambda: far(direct), 5, "a number")
        direct.ok("SUBSCRIBE", CHANNEL)
        assert client.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number) == "OK"
        client.call("GET", "k")
        nodes[0].call("SET", "k", "1")
        assert told_of(direct, 2, "k")
        switch(sentinel, proxy, nodes[1])
        assert client.read() == Push([b"tracking-redir-broken", number])
        assert client.call("GET", "k") is None
        nodes[1].call("SET", "k", "1")
        assert client.read() == Push([b"tracking-redir-broken", number])


def far(direct):
    return direct.ok("CLIENT", "ID")


def told(proxy, number):
    """A connection whose CLIENT ID is that number, others before it having another one."""
    conns = []
    while True:
        conns.append(proxy.connect(20))
        found = conns[-1].ok("CLIENT", "ID")
        assert found <= number
        if found == number:
            return conns


def test_46_redirect_by_a_number_told_before(setup):
    """It is the one that was told it last, on whatever server; and whoever redirects to somebody
    goes on redirecting to them."""
    nodes, sentinel, proxy = setup
    with contextlib.ExitStack() as stack:
        for _ in range(30):  # the other node's numbers are lower
            nodes[0].call("PING")
        client, target, number = stack.enter_context(pair(proxy))
        switch(sentinel, proxy, nodes[1])
        late = stack.enter_context(proxy.connect(20))
        assert late.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number) == "OK"
        late.call("GET", "late")
        client.call("GET", "k")
        drain(target)
        nodes[1].call("SET", "late", "1")
        assert told_of(target, 2, "late")
        conns = told(proxy, number)  # it is another's now
        for conn in conns:
            stack.callback(conn.close)
        conns[-1].ok("SUBSCRIBE", CHANNEL)
        new = stack.enter_context(proxy.connect(20))
        assert new.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number) == "OK"
        new.call("GET", "new")
        nodes[1].call("MSET", "k", "1", "new", "1")
        assert told_of(target, 2, "k")
        assert told_of(conns[-1], 2, "new")
        switch(sentinel, proxy, nodes[0], 3)
        client.call("GET", "k")
        new.call("GET", "new")
        drain(target)
        drain(conns[-1])
        nodes[0].call("MSET", "k", "2", "new", "2")
        assert told_of(target, 2, "k")
        assert told_of(conns[-1], 2, "new")


def test_46_redirect_switched_off(setup):
    """Off, to itself, RESET: the target hears no more of it."""
    nodes, sentinel, proxy = setup
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair(proxy, reads=3)) for _ in range(3)]
        (off, _, _), (own, _, _), (reset, _, _) = pairs
        assert off.ok("CLIENT", "TRACKING", "OFF") == "OK"
        assert own.ok("CLIENT", "TRACKING", "ON") == "OK"
        assert reset.ok("RESET") == "RESET"
        switch(sentinel, proxy, nodes[1])
        assert own.read_frame() == FORGET_ALL
        for client, target, _ in pairs:
            assert client.call("GET", "k") is None
        nodes[1].call("SET", "k", "1")
        assert own.read() == changed("k")
        for client, target, _ in pairs:
            assert client.call("PING") == "PONG" and target.is_open()
        assert [target.read_for(0.05) for _, target, _ in pairs] == [b""] * 3


def test_46_redirect_and_a_transaction(setup):
    """One that is open goes on, whichever link is lost, and what it reads is tracked."""
    nodes, sentinel, proxy = setup
    with pair(proxy) as (client, target, _):
        client.ok("MULTI")
        client.ok("GET", "k")
        nodes[0].call("CLIENT", "KILL", "ID", connections(nodes[0], "P")[0])
        assert target.read_frame() == FORGET_ALL_MESSAGE
        wait_until(lambda: connections(nodes[0], "P"), 5, "the subscription")
        assert client.pipeline([("GET", "l"), ("EXEC",)]) == ["QUEUED", [None, None]]
        assert client.call("GET", "l") is None
        assert forgets(target)
        nodes[0].call("SET", "l", "1")
        assert told_of(target, 2, "l")
        client.ok("MULTI")
        client.ok("GET", "m")
        switch(sentinel, proxy, nodes[1])
        assert client.call("EXEC") == [None]
        drain(target)
        nodes[1].call("SET", "m", "1")
        assert told_of(target, 2, "m")


def test_46_redirect_asked_for_before_the_subscription(setup):
    """The target has a link as soon as it is one, and hears once it listens."""
    nodes, sentinel, proxy = setup
    with pair(proxy, channel=None) as (client, target, number):
        switch(sentinel, proxy, nodes[1])
        client.call("GET", "k")
        target.ok("SUBSCRIBE", CHANNEL)
        nodes[1].call("SET", "k", "1")
        assert told_of(target, 2, "k")
        with proxy.connect(20) as idle, proxy.connect(20) as late:
            other = idle.ok("CLIENT", "ID")
            switch(sentinel, proxy, nodes[0], 3)
            assert late.ok("CLIENT", "TRACKING", "ON", "REDIRECT", other) == "OK"
            idle.ok("SUBSCRIBE", CHANNEL)
            late.call("GET", "l")
            nodes[0].call("SET", "l", "1")
            assert told_of(idle, 2, "l")
        assert number


def test_46_redirect_is_refused_as_ever(setup):
    """The server judges, and what was said before stays."""
    nodes, sentinel, proxy = setup
    with pair(proxy, "BCAST", "PREFIX", "a") as (client, target, number):
        for options in (["PREFIX", "b"], ["BCAST", "PREFIX", "ab"], ["OPTIN", "OPTOUT"]):
            reply = client.call("CLIENT", "TRACKING", "ON", "REDIRECT", number, *options)
            assert isinstance(reply, ServerError) and reply.code in ("ERR", "Prefix"), reply
        replies = client.pipeline([("SET", "c1", "1"), ("CLIENT", "TRACKING", "OFF"),
                                   ("CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST",
                                    "PREFIX", "a"), ("GET", "c1")])
        assert replies == ["OK", "OK", "OK", b"1"]
        client.send(encode_all([("CLIENT", "REPLY", "SKIP"),
                                ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c", "REDIRECT",
                                 number), ("PING",)]))
        assert client.read() == "PONG"
        switch(sentinel, proxy, nodes[1])
        assert sorted(client.call("CLIENT", "TRACKINGINFO")[5]) == [b"a", b"c"]
        drain(target)


def test_46_redirect_never_inside_a_reply(setup):
    nodes, sentinel, proxy = setup
    size = 24 << 20
    nodes[0].call("SET", "big", b"x" * size)
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(proxy.connect(30, rcvbuf=4096))
        client = stack.enter_context(proxy.connect(30))
        assert isinstance(target.call("HELLO", 3), Pairs)
        number = target.ok("CLIENT", "ID")
        client.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number)
        client.call("GET", "k")
        target.send(encode("GET", "big"))
        assert target.read_exactly(11) == b"$25165824\r\n"
        nodes[0].call("CLIENT", "KILL", "ID", connections(nodes[0], "t")[0])
        assert client.call("GET", "k") is None
        assert target.read_exactly(size + 2, timeout=60)[-3:] == b"x\r\n"
        assert target.read_frame() == FORGET_ALL
        nodes[0].call("SET", "k", "1")
        assert told_of(target, 3, "k")


def test_46_redirect_to_one_without_a_link(setup):
    """The target's user is unknown to the new primary: who redirects to it waits for a while, and
    goes on with the redirection broken; limit: REDIRECT_WAIT_MS."""
    nodes, sentinel, proxy = setup
    nodes[0].call("ACL", "SETUSER", "hearer", "on", ">secret", "~*", "&*", "+@all")
    with contextlib.ExitStack() as stack:
        target, client = (stack.enter_context(proxy.connect(20)) for _ in range(2))
        target.ok("HELLO", 3, "AUTH", "hearer", "secret")
        client.ok("HELLO", 3)
        number = target.ok("CLIENT", "ID")
        client.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number)
        switch(sentinel, proxy, nodes[1])
        with pytest.raises(TimeoutError):
            client.call("GET", "k", timeout=WAIT_MS / 2000)
        broken = Push([b"tracking-redir-broken", number])
        assert client.read() == broken
        assert client.read() is None
        nodes[1].call("SET", "k", "1")
        assert client.read() == broken
        # Once it is there, it is told.
        nodes[1].call("ACL", "SETUSER", "hearer", "on", ">secret", "~*", "&*", "+@all")
        assert target.read_frame() == FORGET_ALL
        target.ok("AUTH", "hearer", "secret")
        assert target.read_frame() == FORGET_ALL
        client.call("GET", "k")
        nodes[1].call("SET", "k", "2")
        assert told_of(target, 3, "k")


def test_46_redirect_accepted_without_an_answer():
    """CLIENT TRACKING may be said again, with the number that the target has by then."""
    with relayed({"proxy.workers": 2}) as (node, relay, proxy), proxy.connect(20) as target, \
            proxy.connect(20) as client:
        number = target.ok("CLIENT", "ID")
        target.ok("SUBSCRIBE", CHANNEL)
        rule = relay.add(Rule("drop_reply", marker=encode("REDIRECT")[4:]))
        client.send(encode("CLIENT", "TRACKING", "ON", "REDIRECT", number))
        rule.wait()
        assert client.read() == "OK"
        client.call("GET", "k")
        drain(target)
        node.call("SET", "k", "1")
        assert told_of(target, 2, "k")
