"""The endpoint that only reads: one replica serves each of its sessions, and nothing is written."""

import contextlib
import socket

import pytest

from support import tls
from support.crowd import Crowd
from support.procs import Port
from support.proxy import joined
from support.readers import Constant, scripts
from support.replicas import Landed, ReplicaStage, moved_about
from support.resp import Conn, Push, ServerError, encode
from support.wait import wait_until

READONLY = ServerError("READONLY You can't write against a read only replica.")
ABORTED = ServerError("EXECABORT Transaction discarded because of previous errors.")
ONLY_HERE = {"read-policy": "primary"}  # for the other endpoint

WRITES = [
    ("SET", "k", "written"), ("INCR", "counter"), ("GETEX", "k"), ("GETEX", "k", "EX", 9),
    ("DEL", "k"), ("SORT", "l"), ("GEORADIUS", "geo", 13, 38, 100, "km"),
    ("BITFIELD", "bits", "GET", "u4", 0), ("EVAL", "return redis.call('SET', 'k', 'x')", 0),
    ("EVALSHA", "f" * 40, 0), ("FCALL", "f", 0), ("BLPOP", "l", 0), ("FLUSHALL",),
    ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">"), ("SUNIONSTORE", "into", "set"),
    ("NO.SUCH.COMMAND", "k"), ("RENAME", "k", "other"), ("LPOP", "nothing"),
    ("MIGRATE", "127.0.0.1", 1, "k", 0, 10),
]
READS = [("GET", "k"), ("TYPE", "k"), ("EXISTS", "k"), ("LRANGE", "l", 0, -1), ("SORT_RO", "l"),
         ("KEYS", "k"), ("DBSIZE",), ("SCAN", 0), ("OBJECT", "ENCODING", "k"),
         ("PFCOUNT", "nothing"),
         ("EVAL_RO", "return redis.call('GET', 'k')", 0), ("INFO", "server"), ("ECHO", "x"),
         ("PING",), ("XREAD", "STREAMS", "x", "0"), ("TOUCH", "k")]


@pytest.fixture(name="stage")
def stage_fixture():
    with made() as stage:
        yield stage


@contextlib.contextmanager
def made(**options):
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, **options)
        with stage.primary.connect() as direct:
            direct.ok("SET", "k", "value")
            direct.ok("RPUSH", "l", 1)
        stage.replicated()
        yield stage


@pytest.fixture(name="quiet", scope="module")
def quiet_fixture():
    """Nodes that no test here harms, and the proxy."""
    with made() as stage, stage.through(ONLY_HERE, fit=()):
        wait_until(lambda: home(stage), 10, "a replica that serves")
        yield stage


def reader(stage, **options):
    return Conn(stage.proxy.read_address, 20, **options)


def home(stage, client=None):
    """The replica that serves this session, or a new one; None where it is none of them."""
    landed = Landed(stage.nodes)
    with contextlib.nullcontext(client) if client else reader(stage) as asked:
        asked.call("STRLEN", "who-serves")  # an error: nobody
    found = [i for i, count in enumerate(landed.of("strlen")) if count]
    return stage.replicas[found[0] - 1] if found and found[0] else None


def test_all_of_a_session_is_served_by_one_replica(quiet):
    for _ in range(4):
        with reader(quiet) as client:
            landed = Landed(quiet.nodes)
            for words in READS:
                reply = client.call(*words)
                assert not isinstance(reply, ServerError), (words, reply)
            served = [{name: n for name, n in found.items()
                       if name in ("get", "type", "exists", "lrange", "sort_ro", "keys", "dbsize",
                                   "scan", "eval_ro", "xread", "touch")} for found in landed.all()]
            assert served[0] == {}, "the primary served some of it"
            assert sorted(map(len, served)) == [0, 0, 11], served


def test_its_sessions_are_spread_evenly(quiet):
    landed = Landed(quiet.nodes)
    readers = [Constant("k", b"value", count=200) for _ in range(40)]
    with Crowd(quiet.proxy.read_address, scripts(readers)) as crowd:
        crowd.wait_over()
        crowd.stop()
    primary, *others = landed.of("get")
    assert primary == 0
    assert min(others) > 0.45 * sum(others), others


@pytest.mark.parametrize("words", WRITES, ids=lambda words: "-".join(map(str, words[:2])))
@pytest.mark.parametrize("resp", [2, 3])
def test_writes_are_refused_and_go_nowhere(quiet, words, resp):
    landed = Landed(quiet.nodes)
    with reader(quiet) as client:
        client.ok("HELLO", resp)
        assert client.call(*words) == READONLY
        replies = client.pipeline([("GET", "k"), words, ("GET", "k")])
        assert replies == [b"value", READONLY, b"value"]
    name = words[0].lower()
    for found in landed.all():
        assert name not in found, found


def test_a_transaction_of_reads(quiet):
    with reader(quiet) as client:
        landed = Landed(quiet.nodes)
        assert client.pipeline([("MULTI",), ("GET", "k"), ("LLEN", "l"), ("EXEC",)]) == \
            ["OK", "QUEUED", "QUEUED", [b"value", 1]]
        assert client.ok("WATCH", "k") == "OK"
        assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])[-1] == [b"value"]
        assert landed.of("exec")[0] == 0


@pytest.mark.parametrize("write", [("SET", "k", "written"), ("EVAL", "return 1", 0)])
def test_a_transaction_with_a_write(quiet, write):
    landed = Landed(quiet.nodes)
    with reader(quiet) as client:
        for _ in range(2):
            assert client.pipeline([("MULTI",), ("GET", "k"), write, ("LLEN", "l"), ("EXEC",)]) == \
                ["OK", "QUEUED", READONLY, "QUEUED", ABORTED]
        assert client.ok("GET", "k") == b"value"
        assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])[-1] == [b"value"]
        assert client.pipeline([("MULTI",), write, ("DISCARD",)]) == ["OK", READONLY, "OK"]
        assert client.pipeline([("MULTI",), ("LLEN", "l"), ("EXEC",)])[-1] == [1]
    assert not [found for found in landed.all() if write[0].lower() in found]


@pytest.mark.parametrize("resp", [2, 3])
def test_messages(quiet, resp):
    """What is published on the primary reaches a subscriber here."""
    with reader(quiet) as client:
        client.ok("HELLO", resp)
        client.send(encode("SUBSCRIBE", "c"))
        assert client.read() == [b"subscribe", b"c", 1]
        quiet.proxy.call("PUBLISH", "c", "message")
        message = client.read()
        assert message == [b"message", b"c", b"message"]
        assert isinstance(message, Push) == (resp == 3)
        client.send(encode("UNSUBSCRIBE", "c"))
        assert client.read() == [b"unsubscribe", b"c", 0]
        assert client.ok("GET", "k") == b"value"


def test_blocking_reads(quiet):
    with reader(quiet) as client:
        client.send(encode("XREAD", "BLOCK", 0, "STREAMS", "blocks", "$"))
        wait_until(lambda: any(n.info("clients")["blocked_clients"] != "0"
                               for n in quiet.nodes[1:]), 5, "it blocks on a replica")
        quiet.proxy.call("XADD", "blocks", "1-1", "f", "v")
        assert client.read() == [[b"blocks", [[b"1-1", [b"f", b"v"]]]]]


def test_users_and_databases(quiet):
    for node in quiet.nodes:
        node.call("ACL", "SETUSER", "bob", "on", ">secret", "~b:*", "+@all")
    with quiet.primary.connect() as direct:
        direct.ok("SELECT", 3)
        direct.ok("SET", "b:k", "three")
    quiet.replicated()
    with reader(quiet) as client:
        client.ok("HELLO", 3, "AUTH", "bob", "secret", "SETNAME", "reads")
        client.ok("SELECT", 3)
        assert client.ok("GET", "b:k") == b"three"
        assert client.ok("CLIENT", "GETNAME") == b"reads"
        assert client.call("GET", "k").code == "NOPERM"
        assert client.call("SET", "b:k", "written") == READONLY
        assert client.call("AUTH", "bob", "wrong").code == "WRONGPASS"


def test_a_replica_that_was_promoted_a_moment_ago(stage):
    """It would execute a write now: it is not given any."""
    with stage.through(ONLY_HERE, fit=()):
        wait_until(lambda: home(stage), 10, "a replica that serves")
        clients = [reader(stage) for _ in range(8)]
        for client in clients:
            client.ok("GET", "k")
        for replica in stage.replicas:
            replica.node.call("REPLICAOF", "NO", "ONE")
        for client in clients:
            client.send(encode("SET", "k", "written") + encode("EVAL", "return 1", 0))
        for client in clients:
            assert [client.read(), client.read()] == [READONLY, READONLY]
            client.close()
        for node in stage.nodes:
            assert node.call("GET", "k") == b"value"
            assert node.calls("eval") == 0


def test_the_last_replica_lets_nobody_new_in(stage):
    """Who is connected to it stays in; what may write is not sent to it all the same."""
    settings = {**ONLY_HERE, "links": "exclusive", "proxy.workers": 1}
    with stage.through(settings, fit=()) as proxy, reader(stage) as client:
        wait_until(lambda: home(stage), 10, "a replica that serves")
        shut = home(stage, client)
        other, = (replica.node for replica in stage.replicas if replica is not shut)
        other.kill()
        wait_until(lambda: proxy.entries("replica-unfit"), 10, "the other one to be known as down")
        with shut.node.connect() as direct, reader(stage) as newcomer:
            direct.ok("ACL", "SETUSER", "default", ">secret")
            assert newcomer.call("GET", "k").code == "NOAUTH"
            assert client.call("SET", "k", "written") == READONLY
            assert b"errorstat_READONLY" not in direct.ok("INFO", "errorstats")
            assert client.ok("GET", "k") == b"value"


@pytest.mark.tls
@pytest.mark.parametrize("how", ["killed", "stopped", "promoted"])
def test_a_session_moves_when_its_replica_goes(stage, how):
    """With all that belongs to it, and without a word."""
    with stage.through(ONLY_HERE, fit=()) as proxy:
        wait_until(lambda: home(stage), 10, "a replica that serves")
        stage.primary.call("SELECT", 0)
        with stage.primary.connect() as direct:
            direct.ok("SELECT", 2)
            direct.ok("SET", "k", "two")
        stage.replicated()
        with reader(stage) as client, reader(stage) as subscriber:
            client.ok("CLIENT", "SETNAME", "moves")
            client.ok("SELECT", 2)
            assert client.ok("GET", "k") == b"two"
            gone = home(stage, client)
            # Until there is a subscriber on that replica.
            subscriber.send(encode("SUBSCRIBE", "c"))
            assert subscriber.read() == [b"subscribe", b"c", 1]
            on = next(r for r in stage.replicas
                      if r.node.call("PUBSUB", "NUMSUB", "c")[1] == 1)
            other = next(r for r in stage.replicas if r is not gone)
            if how == "stopped":
                gone.node.pause()  # before they can be answered, or there is no reason to move
            client.send(encode("GET", "k") * 10)
            {"killed": gone.node.kill, "stopped": gone.node.pause,
             "promoted": lambda: gone.node.call("REPLICAOF", "NO", "ONE")}[how]()
            for _ in range(10):
                assert client.read() == b"two"
            gone.node.resume()  # and can be asked
            wait_until(lambda: home(stage, client) is other, 10, "the move")
            assert client.ok("CLIENT", "GETNAME") == b"moves"
            assert client.ok("GET", "k") == b"two"
            if on is gone:
                wait_until(lambda: other.node.call("PUBSUB", "NUMSUB", "c")[1] == 1, 10,
                           "the subscription")
            proxy.call("PUBLISH", "c", "message")
            assert subscriber.read() == [b"message", b"c", b"message"]
            assert client.is_open() and subscriber.is_open()
        assert not [e for e in proxy.entries() if e.level in ("warning", "error")
                    and "session" in (e.event or "")]


def test_tls_beside_the_plain_one(stage):
    """read-tls-listen is the same, through the loss of a replica."""
    certs, port = tls.certs(), Port()
    address = ("127.0.0.1", port.number)
    tls.speaks(address, certs.client_context())
    settings = {**ONLY_HERE, "read-tls-listen": joined(address),
                **certs.listener("service.mymaster")}
    with stage.through(settings, fit=()) as proxy:
        wait_until(lambda: home(stage), 10, "a replica that serves")
        with Conn(address, 20) as secured, reader(stage) as plain:
            for client in (secured, plain):
                assert client.ok("GET", "k") == b"value"
                assert client.pipeline([("SET", "k", "written"), ("GET", "k")]) == \
                    [READONLY, b"value"]
            gone = home(stage, secured)
            gone.node.kill()
            wait_until(lambda: home(stage, secured) not in (None, gone), 10, "another replica")
            assert secured.ok("GET", "k") == plain.ok("GET", "k") == b"value"
        with socket.create_connection(address, 5) as client:
            client.sendall(encode("PING"))
            assert client.recv(200) == b"-ERR This port takes TLS connections only\r\n"
        listening = [e for e in proxy.entries("listening") if e["address"] == joined(address)]
        assert [(e["for"], e["tls"]) for e in listening] == [("reads", "yes")]
    port.release()


@pytest.mark.parametrize("policy", ["prefer-replica", "replica"])
def test_with_none_fit(stage, policy):
    with stage.through({**ONLY_HERE, "read-listen-policy": policy}, fit=()) as proxy, \
            reader(stage) as client:
        wait_until(lambda: home(stage), 10, "a replica that serves")
        assert client.ok("GET", "k") == b"value"
        for replica in stage.replicas:
            replica.node.kill()
        if policy == "prefer-replica":
            landed = Landed([stage.primary])
            wait_until(lambda: client.ok("GET", "k") == b"value" and landed.of("get") != [0], 10,
                       "reads on the primary")
        else:
            wait_until(lambda: isinstance(client.call("GET", "k"), ServerError), 10, "an error")
            assert "o replica of 'mymaster' is fit" in client.call("GET", "k").text
        assert client.call("SET", "k", "written") == READONLY
        last = client.pipeline([("MULTI",), ("SET", "k", "written"), ("EXEC",)])[-1]
        assert last == ABORTED if policy == "prefer-replica" else isinstance(last, ServerError)
        assert proxy.call("GET", "k") == b"value"
        for replica in stage.replicas:
            replica.node.start()
        wait_until(lambda: home(stage, client), 20, "its way back to a replica", 0.1)
        assert client.ok("GET", "k") == b"value"


def test_its_name_behind_the_end_of_its_replica(stage):
    """With a link of its own the name is the server's business: that of another replica then."""
    with stage.through(ONLY_HERE, fit=()), reader(stage) as client:
        wait_until(lambda: home(stage), 10, "a replica that serves")
        assert client.ok("CLIENT", "ID") > 0
        gone = home(stage, client)
        gone.node.kill()
        assert client.ok("CLIENT", "SETNAME", "again") == "OK"
        assert client.ok("CLIENT", "GETNAME") == b"again"
        assert home(stage, client) not in (None, gone)


def test_one_that_watches_stays(stage):
    """On the primary too, where it was served while no replica was fit."""
    with stage.through({**ONLY_HERE, "read-listen-policy": "prefer-replica"}, fit=()) as proxy, \
            reader(stage) as client:
        for replica in stage.replicas:
            replica.node.kill()
        wait_until(lambda: not isinstance(client.call("GET", "k"), ServerError), 10,
                   "reads on the primary")
        assert client.ok("WATCH", "k") == "OK"
        for replica in stage.replicas:
            replica.node.start()
        wait_until(lambda: home(stage), 20, "a replica that serves", 0.1)
        assert client.ok("GET", "k") == b"value"
        assert home(stage, client) is None, "the primary"
        assert proxy.call("SET", "k", "changed") == "OK"
        stage.replicated()
        assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)]) == ["OK", "QUEUED", None]
        wait_until(lambda: home(stage, client), 5, "its way back to a replica", 0.1)
        assert client.ok("GET", "k") == b"changed"


def test_moved_sessions_never_read_older_values():
    """Of the two replicas one lags, and the connections to one or the other break."""
    with made(fronts=True) as stage, stage.through(ONLY_HERE, fit=()):
        wait_until(lambda: home(stage), 10, "a replica that serves")
        stage.primary.call("SET", "clock", 0)
        stage.replicas[1].line.lag(0.4)
        back, _ = moved_about(stage, stage.proxy.read_address)
        assert not back, back[:10]
