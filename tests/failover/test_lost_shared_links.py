"""What a lost connection means to the many sessions that shared it: to each what its own requests
say, as if it had been alone."""

import contextlib

import pytest

from support.case import around, check_load, judged, scenario
from support.fake_sentinel import NEVER, FakeNode, FakeSentinel, bulk
from support.load import Load
from support.oracles import INDOUBT
from support.proxy import Proxy
from support.resp import ServerError, encode
from support.wait import wait_until

IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")
REFUSED = b"-READONLY You can't write against a read only replica.\r\n"


@contextlib.contextmanager
def scripted(script, count):
    """(node, clients): a primary that answers as the script says, and so many sessions on one
    connection to it."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(FakeNode(script))
        sentinel = stack.enter_context(FakeSentinel(node.address, epoch=1))
        proxy = stack.enter_context(Proxy([sentinel.address], {
            "proxy.workers": 1, "links": "shared", "stall-timeout": "30s"}))
        proxy.wait_serving()
        yield node, [stack.enter_context(proxy.connect(20)) for _ in range(count)]


def received(node, name, count):
    wait_until(lambda: len(node.requests(name)) >= count, 10, f"{count} of {name}")
    assert len(node.requests(name)) == count


@pytest.mark.tls
@pytest.mark.tsan
def test_each_session_is_judged_alone():
    """All had requests in flight: reads are sent again, writes are in doubt, each said to the one
    that sent it; a read before a write of the same session is in doubt with it."""
    with scripted({"GET": NEVER, "INCR": NEVER}, 60) as (node, clients):
        readers, writers, both = clients[:20], clients[20:40], clients[40:]
        for client in readers:
            client.send(encode("GET", f"r:{client.local[1]}") * 3)
        for client in writers:
            client.send(encode("INCR", "n") * 2)
        for client in both:
            client.send(encode("GET", "before") + encode("INCR", "n") +
                        encode("GET", f"r:{client.local[1]}"))
        received(node, "GET", 20 * 3 + 20 * 2)
        received(node, "INCR", 20 * 2 + 20)
        node.script.update({"GET": lambda args: bulk(args[1]), "INCR": b":7\r\n"})
        node.disconnect_all()
        for client in readers:
            assert client.read_frames(3) == [bulk(f"r:{client.local[1]}")] * 3
        for client in writers:
            assert [client.read(), client.read()] == [IN_DOUBT] * 2
        for client in both:
            assert [client.read() for _ in range(3)] == \
                [IN_DOUBT, IN_DOUBT, b"r:%d" % client.local[1]]
        received(node, "GET", 100 + 20 * 3 + 20)
        received(node, "INCR", 60)
        for client in clients:
            assert client.ok("INCR", "n") == 7 and client.is_open()


def test_orphans_are_never_sent_again():
    """Those that left before the connection was lost are owed nothing, and nothing of theirs is
    asked again; who is still there is served."""
    with scripted({"GET": NEVER, "INCR": NEVER}, 30) as (node, clients):
        gone, here = clients[:20], clients[20:]
        for client in clients:
            client.send(encode("GET", "k") + encode("INCR", "n"))
        received(node, "GET", 30)
        received(node, "INCR", 30)
        for number, client in enumerate(gone):
            if number % 2:
                client.reset()
            else:
                client.close()
        here[0].send(encode("ECHO", "behind all of them"))
        received(node, "ECHO", 1)
        for client in here:
            client.send(encode("GET", "last"))
        received(node, "GET", 40)
        node.script.update({"GET": bulk("v"), "INCR": b":7\r\n", "ECHO": bulk("e")})
        node.disconnect_all()
        for client in here:
            assert [client.read(), client.read()] == [IN_DOUBT] * 2
        assert here[0].read() == b"e"
        assert [client.read() for client in here] == [b"v"] * 10
        received(node, "INCR", 30)
        # Those who closed by FIN may be asked for, as they may read still; those by RST not.
        assert len(node.requests("GET")) <= 40 + 10 + 10


def test_refused_writes_of_one_wait_and_others_read():
    """What one session asked behind a refused write waits with it, in order; the connection is the
    others' to use."""
    with scripted({"SET": REFUSED, "GET": bulk("v")}, 20) as (node, clients):
        refused, others = clients[0], clients[1:]
        refused.send(encode("GET", "k") + encode("SET", "k", 1) + encode("GET", "k") +
                     encode("SET", "k", 2) + encode("GET", "k"))
        wait_until(lambda: len(node.requests("SET")) > 4, 10, "it to be tried again")
        for _ in range(20):
            for client in others:
                client.send(encode("GET", "k") * 5)
            for client in others:
                assert client.read_frames(5) == [bulk("v")] * 5
        assert refused.read() == b"v"
        assert refused.read_for(0.1) == b""
        node.script["SET"] = lambda args: b"+%b\r\n" % args[2]
        assert [refused.read() for _ in range(4)] == ["1", b"v", "2", b"v"]
        assert refused.ok("SET", "k", 3) == "3"


def test_refused_write_before_one_that_was_taken():
    """Sent again, they would change places: they are given as the server said it. Only what was
    refused behind them waits."""
    with scripted({"SET": REFUSED, "INCR": b":1\r\n"}, 2) as (node, (client, other)):
        client.send(encode("SET", "k", 1) + encode("INCR", "n") + encode("SET", "k", 2))
        assert [client.read(), client.read()] == [ServerError(REFUSED[1:-2].decode()), 1]
        assert client.read_for(0.1) == b""
        assert other.ok("INCR", "n") == 1
        node.script["SET"] = lambda args: b"+%b\r\n" % args[2]
        assert client.read() == "2"
        assert len(node.requests("INCR")) == 2
        assert [args[2] for args in node.requests("SET")].count(b"1") == 1


@pytest.mark.tls
@pytest.mark.tsan
@judged
def test_crash_under_a_hundred_clients():
    """LEDGER, OPEN; in doubt is no more than what was in flight."""
    with scenario(settings={"links": "shared"}) as (cluster, proxy), \
            Load(proxy.address, 100, 4, rate=2000) as load:
        load.wait_acks(1000)
        old = cluster.primary
        old.kill()
        crashed = max(record.done_at for records in load.records for record in records)
        new = cluster.wait_primary(old)
        load.wait_acks(1000)
        load.stop()
        counts = check_load(load, new, around(crashed))
        print(counts)
        assert counts[INDOUBT] <= 100 * 4


USERS = ("alice", "bob")


@judged
def test_everybody_is_who_he_was():
    """Users, databases, protocols and names of forty sessions across a move, on connections that
    were made anew; and WAIT knows nothing of what the old primary's replicas had."""
    settings = [("user", user, "on", f">{user}-secret", "~*", "&*", "+@all") for user in USERS]
    with scenario(settings={"links": "shared"}, node_settings=settings) as (cluster, proxy), \
            contextlib.ExitStack() as stack:
        clients = []
        for number in range(40):
            client = stack.enter_context(proxy.connect(30))
            resp, user, database = 2 + number % 2, USERS[number // 2 % 2], number // 4 % 2
            client.ok("HELLO", resp, "AUTH", user, f"{user}-secret", "SETNAME", f"name-{number}")
            assert client.ok("SELECT", database) == "OK"
            assert client.ok("SET", f"k:{number}", database) == "OK"
            clients.append(client)
        assert clients[0].ok("WAIT", 2, 5000) == 2
        old = cluster.failover()
        cluster.wait_primary(old)
        wait_until(lambda: len(proxy.entries("primary-changed")) == 2, 20, "the switch")
        for number, client in enumerate(clients):
            replies = client.pipeline([("WAIT", 1, 0), ("ACL", "WHOAMI"), ("GET", f"k:{number}"),
                                       ("CLIENT", "GETNAME")])
            assert replies == [0, USERS[number // 2 % 2].encode(), b"%d" % (number // 4 % 2),
                               b"name-%d" % number]
            client.send(encode("GET", "missing"))
            assert client.read_frame() == (b"_\r\n" if number % 2 else b"$-1\r\n")
        cluster.wait_settled()
        assert clients[0].ok("SET", "k:0", "again") == "OK"
        assert clients[0].ok("WAIT", 1, 5000) >= 1
        assert all(client.is_open() for client in clients)
