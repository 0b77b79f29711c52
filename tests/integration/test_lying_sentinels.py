"""Sentinels that are stale, lie, change who they are, or are several behind one name."""

import contextlib
import subprocess
import time

import pytest

from support.cluster import Node
from support.fake_sentinel import CLOSE, FakeNode, FakeSentinel, Half
from support.procs import Port
from support.proxy import Proxy, joined
from support.wait import wait_until


def changes(proxy):
    return [(e["new"], e["epoch"]) for e in proxy.entries("primary-changed")]


def goes_on(proxy, seconds):
    """Requests are answered at once for that long."""
    with proxy.connect() as client:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert client.call("SET", "k", "v", timeout=5) == "OK"
            time.sleep(0.01)


@contextlib.contextmanager
def sentinels(count, *args, **kwargs):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FakeSentinel(*args, **kwargs)) for _ in range(count)]


def test_a_stale_answer_behind_a_fresh_event():
    """It publishes the new address and goes on answering the old one, as long as it likes: what it
    published is a hint and no more, and once the others agree it does not drag anybody back."""
    with FakeNode() as old, FakeNode() as new, sentinels(3, old.address, epoch=1) as three:
        with Proxy([s.address for s in three]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            wait_until(lambda: all(s.subscribers() for s in three), what="subscriptions")
            event = f"mymaster {old.address[0]} {old.port} {new.address[0]} {new.port}"
            three[0].publish("+switch-master", event)
            goes_on(proxy, 0.5)
            assert len(changes(proxy)) == 1
            three[1].switch(new.address, 2)
            three[2].switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
            for _ in range(5):
                three[0].publish("+switch-master", event)
                goes_on(proxy, 0.2)
            assert changes(proxy) == [(joined(old.address), "1"), (joined(new.address), "2")]
            assert not [e for e in proxy.entries("suspect-begin")], "nothing was ever in doubt"


@pytest.mark.parametrize("claim", ["master", "slave",
                                   pytest.param("nobody", marks=pytest.mark.full)])
def test_one_of_three_lies_with_the_highest_epoch(claim):
    """A start, a suspicion and a switch beside it: the other two are believed in all three."""
    port = Port()
    with FakeNode() as old, FakeNode() as new, FakeNode() as false, \
            FakeSentinel(old.address, epoch=1) as one, FakeSentinel(old.address, epoch=1) as two, \
            FakeSentinel(old.address, epoch=1) as liar:
        if claim == "slave":
            false.script["ROLE"] = (b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
                                    b"$9\r\nconnected\r\n:1\r\n" % old.port)
        if claim != "master":
            liar.primary, liar.epoch = false.address, 99
        if claim == "nobody":
            liar.primary = ("127.0.0.1", port.number)
        with Proxy([s.address for s in (liar, one, two)]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            assert changes(proxy) == [(joined(old.address), "1")]
            liar.primary, liar.epoch = (false.address if claim != "nobody" else liar.primary), 99
            goes_on(proxy, 1)

            # The primary's word ends a suspicion although the liar objects: not at once, but
            # before a request has waited too long.
            if claim == "nobody":
                old.script["GET"] = b"-READONLY You can't write against a read only replica.\r\n"
                with proxy.connect(20) as client:
                    client.send(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
                    wait_until(lambda: proxy.entries("suspect-begin"), what="the suspicion")
                    del old.script["GET"]
                    assert client.read() == "OK"
                ended = proxy.entries("suspect-end")
                assert int(ended[0]["ms"]) < 11000

            one.switch(new.address, 2)
            two.switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
            assert changes(proxy)[1] == (joined(new.address), "2")
            goes_on(proxy, 0.5)
            assert not false.requests("SET")
    port.release()


def test_a_minority_that_is_cut_off():
    """Two of five see nothing of a failover, say so for ever, and call the new primary's
    predecessor well: nobody goes back, and when they have learnt it nothing happens."""
    with FakeNode() as old, FakeNode() as new, sentinels(5, old.address, epoch=1) as five:
        with Proxy([s.address for s in five]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            for sentinel in five[:3]:
                sentinel.switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
            goes_on(proxy, 2)
            for sentinel in five[2:]:
                sentinel.switch(new.address, 2)
            goes_on(proxy, 1)
            assert changes(proxy)[1:] == [(joined(new.address), "2")]
            assert proxy.entries("primary-changed")[1]["sentinels"] == "3/5"


@pytest.mark.parametrize("learn", ["yes", "no"])
def test_one_brings_others_that_say_the_same(learn):
    """One of three, and four that only it tells of, name a node of their own: they are the majority,
    unless those that are not listed have no say."""
    with FakeNode() as good, FakeNode() as false, \
            sentinels(2, good.address, epoch=1) as honest, \
            sentinels(5, false.address, epoch=1) as gang:
        gang[0].others = gang[1:] + honest
        with Proxy([s.address for s in honest + gang[:1]],
                   sentinel_settings={"learn": learn}) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            if learn == "yes":
                wait_until(lambda: changes(proxy)[-1:] == [(joined(false.address), "1")], 10,
                           f"the majority to be believed\n{proxy.log()}")
            else:
                goes_on(proxy, 2.5)  # more than two polls
                assert changes(proxy) == [(joined(good.address), "1")]
                assert not false.requests("SET")
                assert not any(s.requests("SENTINEL") for s in gang[1:])


def test_one_sentinel_by_two_addresses_has_one_say():
    """What three addresses say counts once where they are one Sentinel."""
    with FakeNode() as old, FakeNode() as new, sentinels(3, old.address, epoch=1) as twins, \
            sentinels(2, old.address, epoch=1) as others:
        for twin in twins:
            twin.id = twins[0].id
        with Proxy([s.address for s in twins + others]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            for twin in twins:
                twin.switch(new.address, 2)
            goes_on(proxy, 1)
            assert len(changes(proxy)) == 1
            others[0].switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
            assert proxy.entries("primary-changed")[1]["sentinels"] == "2/3"


def test_a_sentinel_that_was_installed_anew():
    """The address stays, the id does not: it is one Sentinel before and behind, and has one say."""
    with FakeNode() as old, FakeNode() as new, sentinels(3, old.address, epoch=1) as three:
        with Proxy([s.address for s in three]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            before, three[2].id = three[2].id, "f" * 40
            three[2].disconnect_all()
            wait_until(lambda: [e for e in proxy.entries("sentinel-up")
                                if e["id"] == three[2].id], what="the new one")
            assert [e["id"] for e in proxy.entries("sentinel-down")] == [before]
            three[0].switch(new.address, 2)
            three[1].switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
            assert proxy.entries("primary-changed")[1]["sentinels"] == "2/3"


@pytest.mark.parametrize("breaks", [CLOSE, Half(b""), Half(b"*2\r\n$9\r\n"), b"\0garbage\r\n"],
                         ids=["closes", "never answers", "half", "garbage"])
def test_a_sentinel_that_tells_only_who_it_is(breaks):
    """Each connection gets as far as its id and not further: the log says so once, and one that
    recovers is used again."""
    with FakeNode() as node, FakeNode() as new, FakeSentinel(node.address, epoch=1) as well, \
            FakeSentinel(node.address, epoch=1,
                         script={"SENTINEL GET-MASTER-ADDR-BY-NAME": breaks}) as ill:
        with Proxy([ill.address, well.address]) as proxy:
            wait_until(lambda: proxy.call("PING") == "PONG", what="a primary")
            goes_on(proxy, 1.5)
            about = [e for e in proxy.entries() if e.get("sentinel") == joined(ill.address)]
            assert len(about) <= 2, about
            assert ill.accepted < 25, "it is tried again at once, over and over"
            ill.script.clear()
            wait_until(lambda: [e for e in proxy.entries("sentinel-up")
                                if e["sentinel"] == joined(ill.address)], what="its recovery")
            well.switch(new.address, 2)
            goes_on(proxy, 0.3)
            assert len(changes(proxy)) == 1, "one of two is no majority"
            ill.switch(new.address, 2)
            wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")


HOSTS = "127.0.0.1 localhost\n127.0.0.2 sentinels\n127.0.0.3 sentinels\n127.0.0.4 sentinels\n" \
        "127.0.0.5 node\n"


def with_hosts(path):
    """The words before a command that is to find this /etc/hosts."""
    return ["unshare", "-m", "sh", "-c", f"mount --bind {path} /etc/hosts && exec \"$@\"", "sh"]


def why_not():
    """None where with_hosts works."""
    done = subprocess.run([*with_hosts("/etc/hosts"), "true"], capture_output=True, check=False)
    return done.stderr.decode().strip() if done.returncode else None


@pytest.mark.skipif(why_not() is not None, reason=f"no names of its own: {why_not()}")
def test_a_name_with_several_addresses_is_several_sentinels(tmp_path):
    """As a headless service names all of its pods: each has its say, and a majority is one of
    them all. The primary is announced by a name too."""
    hosts, port = tmp_path / "hosts", Port()
    hosts.write_text(HOSTS)
    node, new = Node(str(tmp_path), host="127.0.0.5"), Node(str(tmp_path), host="127.0.0.5")
    with contextlib.ExitStack() as stack:
        for daemon in (node, new):
            stack.callback(daemon.close)
            daemon.start()
        three = [stack.enter_context(FakeSentinel(("node", node.port), epoch=1, port=port,
                                                  host=f"127.0.0.{i}")) for i in (2, 3, 4)]
        proxy = stack.enter_context(Proxy(
            [("sentinels", port.number)], wrapper=with_hosts(hosts)))
        proxy.wait_serving()
        wait_until(lambda: len(proxy.entries("sentinel-up")) == 3, what="all three")
        # One of them says the same in numbers.
        three[0].switch(("127.0.0.5", new.port), 2)
        goes_on(proxy, 0.5)
        assert len(changes(proxy)) == 1, "one of three"
        three[1].switch(("node", new.port), 2)
        wait_until(lambda: len(changes(proxy)) == 2, 5, "the switch")
        assert proxy.entries("primary-changed")[1]["sentinels"] == "2/3"
        assert proxy.call("CONFIG", "GET", "port")[1] == b"%d" % new.port
