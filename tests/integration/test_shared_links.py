"""Connections that many sessions share: few of them, every reply to whom it belongs, whatever
others on the same connection say, ask for, or leave behind."""

import contextlib
import os
import random
import threading
import time

import pytest

from support.case import one_node
from support.fake_sentinel import FakeNode, FakeSentinel, bulk
from support.proxy import Proxy
from support.resp import Conn, encode
from support.wait import wait_until

KIB, MIB = 1 << 10, 1 << 20
WARM = 2  # WARM_LINKS_PER_SET


@pytest.fixture(name="setup")
def setup_fixture():
    with one_node({"links": "shared"}) as parts:
        parts[1].wait_serving()
        yield parts


@contextlib.contextmanager
def clients_of(proxy, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(proxy.connect(30)) for _ in range(count)]


def upstream(node):
    """How many connections the proxy has to the node, but for the one it asks for its role by."""
    return len([c for c in node.connections() if c["cmd"] != "role"])


def opened(node):
    return int(node.info("stats")["total_connections_received"])


def question(who, number):
    """[(request, reply)], never the same twice."""
    token = b"%d-%d-%b" % (who, number, b"x" * (number * 37 % 300))
    bulk = b"$%d\r\n%b\r\n" % (len(token), token)
    return [(encode("ECHO", token), bulk), (encode("PING", token), bulk),
            (encode("SET", f"k:{who}", token), b"+OK\r\n"),
            (encode("STRLEN", f"k:{who}"), None),
            (encode("NOSUCH" if number % 50 == 0 else "ECHO", token), None),
            (b"ECHO %d-%d\r\n" % (who, number), None)][number % 6]


class Asker:
    """Sends questions and knows the answers."""

    def __init__(self, conn, who):
        self.conn, self.who, self.number, self.owed = conn, who, 0, []

    def ask(self, count, send=True):
        data = b""
        for _ in range(count):
            request, reply = question(self.who, self.number)
            if reply is None:
                request = encode("ECHO", f"{self.who}.{self.number}")
                text = b"%d.%d" % (self.who, self.number)
                reply = b"$%d\r\n%b\r\n" % (len(text), text)
            data += request
            self.owed.append(reply)
            self.number += 1
        if send:
            self.conn.send(data)
        return data

    def check(self):
        wanted = b"".join(self.owed)
        assert self.conn.read_exactly(len(wanted)) == wanted
        self.owed.clear()


@pytest.mark.tsan
@pytest.mark.parametrize("links", ["shared", "exclusive"])
def test_few_connections_for_many_clients(links):
    """300 clients ask at once, each its own questions; alone, each of them costs a connection."""
    with one_node({"links": links, "proxy.workers": 2}) as (node, proxy), \
            clients_of(proxy, 300) as clients:
        askers = [Asker(client, who) for who, client in enumerate(clients)]
        for count in (1, 20, 5, 40):
            for asker in askers:
                asker.ask(count)
            for asker in askers:
                asker.check()
        assert all(client.is_open() for client in clients)
        if links == "shared":
            assert upstream(node) <= 2 * (1 + WARM)
        else:
            assert upstream(node) >= 300


@pytest.mark.parametrize("count", [4, 8])
def test_links_per_profile(count):
    """limit: links-per-profile LINKS_PER_PROFILE_MAX. The sessions of one profile are spread over so
    many."""
    with one_node({"links": "shared", "links-per-profile": count}) as (node, proxy), \
            clients_of(proxy, 40) as clients:
        askers = [Asker(client, who) for who, client in enumerate(clients)]
        for asker in askers:
            asker.ask(10)
        for asker in askers:
            asker.check()
        assert count <= upstream(node) <= count + WARM


def test_connections_kept_warm():
    """limit: WARM_LINKS_MAX. Transactions in forty databases, three at once in each, leave a few
    connections behind that are kept for others, but not of every database."""
    with one_node({"links": "shared"}, [("databases", "40")]) as (node, proxy), \
            clients_of(proxy, 120) as clients:
        for number, client in enumerate(clients):
            assert client.pipeline([("SELECT", number % 40), ("MULTI",), ("INCR", "n")]) == \
                ["OK", "OK", "QUEUED"]
        assert upstream(node) >= 120
        for client in clients:
            assert len(client.ok("EXEC")) == 1
        wait_until(lambda: upstream(node) <= 40 + 64, 10, "the others closed")
        assert upstream(node) > 64
        assert [client.ok("GET", "n") for client in clients] == [b"3"] * 120


@pytest.mark.full
@pytest.mark.slow
def test_connections_without_requests():
    """limit: LINK_IDLE_PING_MS LINK_IDLE_CLOSE_MS. The shared connection and the warm one are asked
    for a sign of life, and closed after five minutes; the client knows nothing of it."""
    with Witness() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "proxy.log-level": "debug",
                                       "links": "shared"}) as proxy, proxy.connect(30) as client:
        client.ok("ECHO", "plain")
        client.pipeline([("MULTI",), ("ECHO", "plain"), ("EXEC",)])
        asked = len(node.requests("PING"))
        wait_until(lambda: len(node.requests("PING")) >= asked + 2, 70, "both to be asked", 1)
        wait_until(lambda: [e for e in proxy.entries("link-closed") if e["reason"] == "idle"],
                   400, "one to be closed", 5)
        assert client.ok("ECHO", "plain") == b"plain"


@pytest.mark.tsan
def test_33_clients_that_leave(setup):
    """By FIN, RST or in the middle of a request, with hundreds of replies owed to them: nobody
    else gets one of these, and who only ends its side gets all of its own."""
    node, proxy = setup
    node.call("SET", "large", os.urandom(100 * KIB).hex())
    chance = random.Random(33)
    with clients_of(proxy, 30) as staying:
        askers = [Asker(client, who) for who, client in enumerate(staying)]
        for turn in range(12):
            leaving = [Asker(proxy.connect(30), 1000 + turn * 100 + i) for i in range(12)]
            halves = [Asker(proxy.connect(30), 9000 + turn * 100 + i) for i in range(3)]
            for asker in askers + halves:
                asker.ask(chance.randrange(1, 60))
            for asker in leaving:
                data = asker.ask(100, send=False) + encode("GET", "large") * chance.randrange(3)
                asker.conn.send(data[: chance.randrange(1, len(data))])
            for asker in askers:
                asker.ask(chance.randrange(1, 60))
            for asker in leaving:
                if chance.random() < 0.5:
                    asker.conn.reset()
                else:
                    asker.conn.close()
            for asker in halves:
                asker.conn.half_close()
                assert asker.conn.read_all() == b"".join(asker.owed)
                asker.conn.close()
            for asker in askers:
                asker.check()
        assert upstream(node) <= 1 + WARM


class Busy(FakeNode):
    """A primary that answers ECHO only once it may."""

    def __init__(self):
        super().__init__()
        self.asked, self.may = threading.Event(), threading.Event()

    def answer(self, client, args):
        if args[0].upper() == b"ECHO":
            self.asked.set()
            self.may.wait(5)
            self.may.set()
            return bulk(args[1])
        return super().answer(client, args)


def test_33_who_comes_in_the_place_of_others():
    """Clients leave while the server is busy with what they asked for; others come meanwhile, and
    get nothing but their own answers."""
    with Busy() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "links": "shared",
                                       "stall-timeout": "30s"}) as proxy:
        proxy.wait_serving()
        idle = proxy.fds()
        with clients_of(proxy, 20) as leaving:
            for who, client in enumerate(leaving):
                client.send(encode("ECHO", f"not-yours-{who}") * 10)
            assert node.asked.wait(5)
            for client in leaving:
                client.reset()
        wait_until(lambda: proxy.fds() <= idle + 2, 4, "them to be gone")
        with clients_of(proxy, 40) as clients:
            for who, client in enumerate(clients):
                client.send(encode("ECHO", f"mine-{who}") * 10)
            node.may.set()
            for who, client in enumerate(clients):
                assert [client.read() for _ in range(10)] == [b"mine-%d" % who] * 10


GARBAGE = [b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"Host: x\r\n", b"*1\r\n:1\r\n",
           b"*1\r\n$-1\r\n", b"*2147483648\r\n", b"*x\r\n", b"*1\r\n$x\r\n",
           b"*1\r\n$2147483648\r\n", b'ECHO "unbalanced\r\n', b"x" * 70 * KIB,
           b"*1\r\n$03\r\nGET\r\n"]


def words_of(address, data):
    with Conn(address, 20) as client:
        assert client.ok("ECHO", "before") == b"before"
        with contextlib.suppress(ConnectionError):  # it may be refused before its end
            client.send(data)
        return client.read_all()


def test_29_garbage_beside_others(setup):
    """Whoever breaks the protocol hears what Redis says to it and is closed; those that pipeline
    beside it notice nothing, and the connection they share stays."""
    node, proxy = setup
    with clients_of(proxy, 5) as clients:
        askers = [Asker(client, who) for who, client in enumerate(clients)]
        for asker in askers:
            asker.ask(5)
            asker.check()
        before = opened(node)
        direct = [words_of(node.address, data) for data in GARBAGE]
        direct_connections = opened(node) - before - 1
        before = opened(node)
        for data, want in zip(GARBAGE, direct):
            for asker in askers:
                asker.ask(100)
            assert words_of(proxy.address, data) == want
            for asker in askers:
                asker.ask(100)
                asker.check()
        assert direct_connections == len(GARBAGE)
        assert opened(node) - before == 1  # by which it was asked


class Witness(FakeNode):
    """A primary that remembers which connection each request came by."""

    def __init__(self):
        super().__init__()
        self.by = {}

    def answer(self, client, args):
        if len(args) == 2 and args[0].upper() == b"ECHO":
            word = args[1].strip(b"'\"")
            number = client.state.setdefault("number", self.accepted)
            self.by[number] = self.by.get(number, b"") + word[:1]
            return bulk(word)
        return super().answer(client, args)


ODD = [b"*2\r\n$4\r\nECHO..$3\r\nodd..", b"*2\r\n$4\r\nECHO\r\n$3\r\nodd\n\n", b'ECHO "odd"\r\n', b"ECHO 'odd'\r\n", b"ECHO  odd\r\n",
       b"ECHO\todd\r\n", b" ECHO odd\r\n", b"ECHO odd \r\n", b"ECHO odd\n",
       b"ECHO " + b"o" * 2 * KIB + b"\r\n"]


@pytest.mark.parametrize("data", ODD, ids=lambda data: str(data[:24]))
def test_what_may_be_read_in_two_ways_is_sent_alone(data):
    """limit: SHARED_INLINE_MAX. A frame that another server might see the end of elsewhere never travels with others', nor
    does anything of others travel on its connection afterwards."""
    with Witness() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"proxy.workers": 1, "links": "shared"}) as proxy:
        proxy.wait_serving()
        with clients_of(proxy, 4) as clients:
            for _ in range(3):
                for client in clients[1:]:
                    client.send(encode("ECHO", "plain") * 20)
                clients[0].send(encode("ECHO", "plain") + data + encode("ECHO", "plain"))
                assert clients[0].read() == b"plain"
                assert clients[0].read()[:1] == b"o"
                assert clients[0].read() == b"plain"
                for client in clients[1:]:
                    assert [client.read() for _ in range(20)] == [b"plain"] * 20
                for client in clients:
                    assert client.pipeline([("WATCH", "k"), ("ECHO", "plain"), ("UNWATCH",)])[1] \
                        == b"plain"
        # The connection may have carried others' before it, each when it was idle.
        carried = list(node.by.values())
        assert sum(said.count(b"o") for said in carried) == 3
        assert sum(said.endswith(b"o") for said in carried) == 3, carried


def compare_and_set(conn, key, times):
    for _ in range(times):
        while True:
            conn.ok("WATCH", key)
            value = int(conn.ok("GET", key) or 0)
            replies = conn.pipeline([("MULTI",), ("SET", key, value + 1), ("EXEC",)])
            if replies[2] is not None:
                assert replies == ["OK", "QUEUED", ["OK"]]
                break


def in_threads(work, count):
    """Runs work(i) for each i at once."""
    failures = []

    def run(number):
        try:
            work(number)
        except Exception as error:  # told below
            failures.append(error)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[:3]


@pytest.mark.tsan
def test_transactions_of_many_at_once(setup):
    """limit: WARM_LINKS_PER_SET. 50 sessions raise one number by WATCH, GET, MULTI, SET, EXEC: none is lost, and afterwards
    few connections are left."""
    node, proxy = setup
    with clients_of(proxy, 50) as clients:
        in_threads(lambda i: compare_and_set(clients[i], "n", 4), 50)
        assert node.call("GET", "n") == b"200"
        wait_until(lambda: upstream(node) <= 1 + WARM, 10, "leases given back")
        assert [client.ok("ECHO", i) for i, client in enumerate(clients)] == \
            [b"%d" % i for i in range(50)]


def test_transactions_in_a_row_cost_no_connection(setup):
    node, proxy = setup
    with clients_of(proxy, 5) as clients:
        for client in clients:
            compare_and_set(client, "n", 2)
        before = opened(node)
        for client in clients:
            compare_and_set(client, "n", 10)
            client.pipeline([("MULTI",), ("INCR", "m"), ("EXEC",)])
            client.pipeline([("WATCH", "m"), ("UNWATCH",), ("MULTI",), ("DISCARD",)])
            client.pipeline([("LPUSH", "l", 1), ("BLPOP", "l", 0)])
        assert opened(node) - before == 1  # by which it is asked
        assert node.call("GET", "n") == b"60"


def test_blocked_sessions_keep_nobody_waiting(setup):
    """50 wait for an element, 50 others work on the connection they share; then each of the first
    gets one, and a connection less for each."""
    node, proxy = setup
    with clients_of(proxy, 50) as blocked, clients_of(proxy, 50) as busy:
        for number, client in enumerate(blocked):
            client.send(encode("PING") + encode("BLPOP", f"queue:{number}", 0))
        wait_until(lambda: int(node.info("clients")["blocked_clients"]) == 50, 10, "50 to block")
        worst = 0.0
        for _ in range(20):
            began = time.monotonic()
            for client in busy:
                client.send(encode("INCR", "n") * 5)
            for client in busy:
                client.read_frames(5)
            worst = max(worst, time.monotonic() - began)
        assert node.call("GET", "n") == b"5000"
        assert worst < 2
        for number, client in enumerate(busy):
            client.ok("RPUSH", f"queue:{number}", number)
        for number, client in enumerate(blocked):
            assert client.read() == "PONG"
            assert client.read() == [b"queue:%d" % number, b"%d" % number]
        wait_until(lambda: upstream(node) <= 1 + WARM, 10, "leases given back")


PINNING = [("CLIENT", "ID"), ("CLIENT", "TRACKING", "ON"), ("CLIENT", "NO-EVICT", "ON"),
           ("CLIENT", "INFO"), ("DEBUG", "OBJECT", "k")]


@pytest.mark.parametrize("words", PINNING, ids=lambda words: " ".join(words))
def test_what_belongs_to_a_connection_keeps_it(setup, words):
    """Until RESET, after which nothing of it is left to others."""
    node, proxy = setup
    with clients_of(proxy, 10) as clients:
        assert [client.ok("SET", "k", "v") for client in clients] == ["OK"] * 10
        base = upstream(node)
        for client in clients[:5]:
            client.ok("HELLO", 3)
            client.ok(*words)
        pinned = upstream(node)
        assert pinned >= 5
        for client in clients:
            assert client.ok("ECHO", "x") == b"x"
        assert upstream(node) == pinned
        for client in clients[:5]:
            assert client.ok("RESET") == "RESET"
            assert client.ok("ECHO", "x") == b"x"
        wait_until(lambda: upstream(node) <= base + 1 + WARM, 10, "their connections closed")
        for client in clients:
            assert client.ok("WATCH", "k") == "OK"
        watching = [c["flags"] for c in node.connections() if c["cmd"] == "watch"]
        assert len(watching) == 10 and not any(f in flags for flags in watching for f in "te")


def test_client_id_stays_the_same(setup):
    _, proxy = setup
    with clients_of(proxy, 10) as clients:
        ids = [client.ok("CLIENT", "ID") for client in clients]
        assert len(set(ids)) == 10
        for _ in range(3):
            for client in clients:
                client.pipeline([("INCR", "n"), ("MULTI",), ("INCR", "n"), ("EXEC",)])
        assert [client.ok("CLIENT", "ID") for client in clients] == ids
        # ... and means that session to others.
        clients[1].send(encode("BLPOP", "nothing", 0))
        wait_until(lambda: clients[2].ok("CLIENT", "UNBLOCK", ids[1]) == 1, 5, "it to be blocked")
        assert clients[1].read() is None


def test_unknown_commands(setup):
    """One that the server knows may do anything to its connection; one that it does not, nothing."""
    node, proxy = setup
    with clients_of(proxy, 20) as clients:
        for client in clients:
            client.ok("PING")
        for client in clients:
            assert client.call("NOSUCH", "x").text.startswith("ERR unknown command")
        wait_until(lambda: upstream(node) <= 1 + WARM, 10, "their connections given back")


def test_tracking_tells_only_who_asked(setup):
    """A push goes to the session that tracks; those that share a connection never see one."""
    node, proxy = setup
    with clients_of(proxy, 6) as clients:
        for client in clients:
            client.ok("HELLO", 3)
            client.ok("SET", "t", "1")
        for client in clients[:2]:
            client.ok("CLIENT", "TRACKING", "ON")
            assert client.ok("GET", "t") == b"1"
        assert clients[2].ok("GET", "t") == b"1"
        node.call("SET", "t", "2")
        for client in clients[:2]:
            assert client.read() == [b"invalidate", [b"t"]]
        for client in clients[2:]:
            assert client.read_for(0.05) == b""
            assert client.ok("GET", "t") == b"2"


def link_of(node, name):
    """Connections to the node whose last command was that."""
    return [c["id"] for c in node.connections() if c["cmd"] == name]


def test_large_replies_are_taken_alone(setup):
    """limit: SHARED_REPLY_MAX SMALL_REPLIES_MIN. A session that got one of more than a mebibyte
    has a connection to itself until a thousand in a row were small."""
    node, proxy = setup
    node.call("SET", "large", b"x" * (MIB + 1))
    node.call("SET", "fits", b"x" * (MIB - 100))
    with clients_of(proxy, 2) as (reader, other):
        other.ok("PING")
        base = upstream(node)
        assert len(reader.ok("GET", "fits")) == MIB - 100
        reader.ok("TIME")
        other.ok("LASTSAVE")
        assert not link_of(node, "time")  # the other's came by the same
        assert len(reader.ok("GET", "large")) == MIB + 1
        for number in range(1000):
            assert reader.ok("DBSIZE") == 2
            other.ok("LASTSAVE")
            if number in (0, 500, 998):
                assert link_of(node, "dbsize") and upstream(node) == base + 1
        reader.ok("TIME")
        other.ok("LASTSAVE")
        assert not link_of(node, "time")


def test_large_requests_are_sent_alone(setup):
    """limit: REQUEST_BUFFER_MAX. Somebody who takes a minute for one keeps nobody waiting."""
    node, proxy = setup
    with clients_of(proxy, 10) as clients:
        request = encode("SET", "large", b"x" * 200 * KIB)
        for client in clients[:5]:
            client.send(request[: 150 * KIB])
        for _ in range(20):
            for client in clients[5:]:
                client.send(encode("INCR", "n") * 10)
            for client in clients[5:]:
                client.read_frames(10)
        assert node.call("GET", "n") == b"1000"
        for client in clients[:5]:
            client.send(request[150 * KIB :])
            assert client.read() == "OK"
            assert client.ok("ECHO", "x") == b"x"
        wait_until(lambda: upstream(node) <= 1 + WARM, 10, "leases given back")


def test_31_reader_that_stops():
    """limit: client-output-limit. The reader of a shared connection who stops reading is closed when
    too much waits for it; what comes for it later is dropped, and others get theirs."""
    with one_node({"links": "shared", "client-output-limit": "4m", "stall-timeout": "10s"}) as \
            (node, proxy):
        node.call("SET", "k", "x" * 400_000)
        with clients_of(proxy, 5) as clients, proxy.connect(30, rcvbuf=4096) as stalled:
            askers = [Asker(client, who) for who, client in enumerate(clients)]
            for asker in askers:
                asker.ask(10)
                asker.check()
            before = opened(node)
            stalled.send(encode("GET", "k") * 200)
            for _ in range(200):
                for asker in askers:
                    asker.ask(5)
                for asker in askers:
                    asker.check()
            wait_until(lambda: proxy.entries("client-output-limit"), 10, "it to be closed")
            got = stalled.read_all(20)
            assert len(got) < 20 * MIB
            assert (b"$400000\r\n" + b"x" * 400_000 + b"\r\n").startswith(got[:400_011])
            for asker in askers:
                asker.ask(50)
                asker.check()
            assert opened(node) - before == 1  # the link stayed
