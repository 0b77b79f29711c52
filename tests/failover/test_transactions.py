"""Transactions, blocked clients and subscribers when the primary changes."""

import threading

import pytest
import redis

from support.case import failed_over, judged, relayed, scenario
from support.relay import Rule
from support.resp import ServerError, encode
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

IN_DOUBT = ServerError("INDOUBT The primary was lost after EXEC was sent; the transaction may or "
                       "may not have been, or may still be, executed")
KINDS = pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])


@pytest.mark.tls
@KINDS
@judged
def test_38_multi_without_watch(planned):
    """Nothing of it has run: it goes on at the new primary and runs there, once; what was refused
    when it was queued is refused again."""
    with scenario() as (cluster, proxy), proxy.connect(20) as client, \
            proxy.connect(20) as faulty:
        assert client.ok("MULTI") == "OK"
        assert client.ok("INCR", "n") == "QUEUED"
        assert faulty.pipeline([("MULTI",), ("INCR", "f")]) == ["OK", "QUEUED"]
        assert faulty.call("NONE").text.startswith("ERR unknown command")
        new = failed_over(cluster, planned)
        assert client.ok("INCR", "m") == "QUEUED"
        assert client.call("EXEC") == [1, 1]
        assert faulty.call("EXEC") == ServerError(
            "EXECABORT Transaction discarded because of previous errors.")
        assert new.call("MGET", "n", "m", "f") == [b"1", b"1", None]
        assert client.pipeline([("MULTI",), ("INCR", "o"), ("EXEC",)]) == ["OK", "QUEUED", [1]]


@KINDS
@judged
def test_39_watch(planned):
    """As if a watched key had changed."""
    with scenario() as (cluster, proxy), proxy.connect(20) as early, proxy.connect(20) as late:
        assert early.ok("WATCH", "n") == "OK"
        assert early.pipeline([("MULTI",), ("INCR", "n")]) == ["OK", "QUEUED"]
        assert late.ok("WATCH", "n") == "OK"
        new = failed_over(cluster, planned)
        assert early.call("EXEC") is None
        assert late.pipeline([("MULTI",), ("INCR", "n"), ("EXEC",)]) == ["OK", "QUEUED", None]
        assert new.call("GET", "n") is None
        for client in (early, late):
            assert client.pipeline([("WATCH", "n"), ("MULTI",), ("INCR", "m"), ("EXEC",)])[3] \
                is not None
        assert new.call("GET", "m") == b"2"


class Raiser(threading.Thread):
    """A redis-py client that raises one key by WATCH and EXEC, and notes each raise in a list."""

    def __init__(self, proxy, number, enough):
        super().__init__()
        self.proxy, self.number, self.enough = proxy, number, enough
        self.done, self.doubted, self.failure = [], [], None

    def run(self):
        host, port = self.proxy.address
        try:
            with redis.Redis(host, port, socket_timeout=20) as client, client.pipeline() as pipe:
                while not self.enough.is_set():
                    self.raise_once(pipe, f"{self.number}:{len(self.done) + len(self.doubted)}")
        except Exception as error:  # handed to the main thread
            self.failure = error

    def raise_once(self, pipe, token):
        while not self.enough.is_set():
            try:
                pipe.watch("n")
                value = int(pipe.get("n") or 0)
                pipe.multi()
                pipe.set("n", value + 1)
                pipe.rpush("raises", token)
                pipe.execute()
                self.done.append(token)
                return
            except redis.WatchError:
                continue
            except redis.ResponseError as error:
                if str(error) != IN_DOUBT.text:
                    raise
                self.doubted.append(token)
                return
            finally:
                pipe.reset()


@pytest.mark.plain("redis-py is set up without TLS")
@KINDS
@judged
def test_39_compare_and_set_loop(planned):
    """Eight clients raise one key across the failover: the sum is exact, each raise that was
    acknowledged counts once, each in doubt once or not at all."""
    with scenario() as (cluster, proxy):
        enough = threading.Event()
        raisers = [Raiser(proxy, number, enough) for number in range(8)]

        def count():
            return sum(len(r.done) for r in raisers)

        for raiser in raisers:
            raiser.start()
        try:
            wait_until(lambda: count() > 100 or any(r.failure for r in raisers), 10, "raises")
            new = failed_over(cluster, planned)
            goal = count() + 100
            wait_until(lambda: count() > goal or any(r.failure for r in raisers), 20, "more")
        finally:
            enough.set()
            for raiser in raisers:
                raiser.join(30)
        assert [r.failure for r in raisers] == [None] * 8
        raises = [token.decode() for token in new.call("LRANGE", "raises", 0, -1)]
        done = {token for r in raisers for token in r.done}
        doubted = {token for r in raisers for token in r.doubted}
        print(f"{len(done)} done, {len(doubted)} in doubt, {len(done - set(raises))} lost")
        assert int(new.call("GET", "n")) == len(raises) == len(set(raises))
        assert set(raises) <= done | doubted
        # A crash may lose what was acknowledged before it was replicated: one of each client.
        assert len(done - set(raises)) <= (0 if planned else 8)


@pytest.mark.tls
@judged
def test_40_exec_at_the_moment_of_the_crash():
    """Both keys of the block or none, never twice; said to be in doubt at most."""
    with scenario() as (cluster, proxy):
        clients = [proxy.connect(20) for _ in range(20)]
        for client in clients:
            client.ok("PING")
        block = [("MULTI",), ("INCR", "a"), ("INCR", "b"), ("EXEC",)]
        old = cluster.primary
        old.pause()  # everything lies in its socket when it dies
        for client in clients:
            client.send(b"".join(encode(*command) for command in block))
        wait_until(lambda: cluster.wait_primary(old) is not old, 20, "the failover")
        old.kill()
        new = cluster.primary
        done = doubts = 0
        for client in clients:
            replies = [client.read() for _ in block]
            assert replies[:3] in (["OK", "QUEUED", "QUEUED"],), replies
            assert isinstance(replies[3], list) or replies[3] == IN_DOUBT
            done += isinstance(replies[3], list)
            doubts += replies[3] == IN_DOUBT
            assert client.ok("PING") == "PONG"
            client.close()
        a, b = (int(value or 0) for value in new.call("MGET", "a", "b"))
        assert a == b and done <= a <= done + doubts


@pytest.mark.parametrize("refused", ["INCR", "EXEC"])
@judged
def test_41_demotion_between_multi_and_exec(refused):
    """By FAILOVER, without Sentinel, which kills no connection: a refusal that a demoted node gives
    in a transaction, or to its EXEC, is not seen; it runs once, on the new primary."""
    with scenario() as (cluster, proxy), proxy.connect(20) as begun, proxy.connect(20) as whole:
        assert begun.pipeline([("MULTI",), ("INCR", "n")]) == ["OK", "QUEUED"]
        whole.ok("PING")
        target = cluster.replicas()[0]
        cluster.primary.call("FAILOVER", "TO", "127.0.0.1", target.port, "TIMEOUT", 5000)
        wait_until(lambda: target.role() == "master", 10, "the handover")
        want = [1]
        if refused == "INCR":
            assert begun.ok("INCR", "n") == "QUEUED"
            want = [1, 2]
        assert begun.call("EXEC") == want
        assert whole.pipeline([("MULTI",), ("INCR", "n"), ("EXEC",)])[2] == [len(want) + 1]
        assert target.call("GET", "n") == str(len(want) + 1).encode()


@KINDS
@judged
def test_42_blocked_client(planned):
    """Blocked across the failover: nil, or what is pushed afterwards; no element is lost that was
    not popped."""
    with scenario() as (cluster, proxy), proxy.connect(30) as waiting, proxy.connect(20) as other:
        waiting.send(encode("BLPOP", "list", "0"))
        wait_until(lambda: cluster.primary.info("clients")["blocked_clients"] == "1", 5, "a block")
        new = failed_over(cluster, planned)
        assert other.ok("RPUSH", "list", "x") == 1
        reply = waiting.read()
        assert reply in (None, [b"list", b"x"])
        assert new.call("LLEN", "list") == (1 if reply is None else 0)
        assert waiting.is_open()
        if reply is None:
            assert waiting.ok("BLPOP", "list", "0") == [b"list", b"x"]


@judged
def test_42_blocked_client_that_waited_here():
    """Sent while there was no primary: it blocks on the new one, and its own time runs on."""
    with scenario() as (cluster, proxy), proxy.connect(30) as endless, proxy.connect(30) as short:
        endless.ok("PING")
        short.ok("PING")
        old = cluster.primary
        old.kill()
        endless.send(encode("BLPOP", "list", "0"))
        short.send(encode("BLPOP", "none", "0.5"))
        assert short.read() is None
        new = cluster.wait_primary(old)
        wait_until(lambda: new.info("clients")["blocked_clients"] == "1", 10, "a block")
        new.call("RPUSH", "list", "x")
        assert endless.read() == [b"list", b"x"]


@pytest.mark.parametrize("end", ["DISCARD", "EXEC"])
def test_watch_ends_with_its_transaction(end):
    """Of a whole WATCH ... DISCARD that was sent and not answered nothing is sent again: no later
    transaction fails for the sake of a key that is watched no more."""
    with relayed() as (node, relay, proxy), proxy.connect(20) as client:
        client.ok("CLIENT", "ID")  # all of it travels at once on a connection of its own
        rule = relay.add(Rule("drop_reply", marker=encode(end), after=len(encode(end))))
        replies = client.pipeline([("WATCH", "k"), ("MULTI",), ("GET", "k"), (end,)])
        rule.wait()
        assert replies == ["OK", "OK", "QUEUED", "OK" if end == "DISCARD" else IN_DOUBT]
        node.call("SET", "k", "of another")
        assert client.pipeline([("MULTI",), ("INCR", "n"), ("EXEC",)])[2] == [1]
