"""Where commands land when replicas serve reads, as INFO commandstats of each node tells."""

import contextlib
import time

import pytest

from support.crowd import Crowd
from support.guarded import ALL
from support.proxy import Proxy
from support.readers import Constant, scripts
from support.replicas import Landed, ReplicaStage
from support.resp import ServerError
from support.wait import wait_until

DATA = [
    ("SET", "s", "value"), ("SET", "n", "7"), ("SETBIT", "bits", 3, 1), ("HSET", "h", "f", "v"),
    ("RPUSH", "l", 3, 1, 2), ("SADD", "set", 1, 2), ("SADD", "set2", 2), ("ZADD", "z", 1, "a"),
    ("PFADD", "hll", "a"), ("PFCOUNT", "hll"), ("XADD", "x", "1-1", "f", "v"),
    ("XGROUP", "CREATE", "x", "g", 0),
    ("GEOADD", "geo", 13.361389, 38.115556, "p"),
    ("FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\nredis.register_function{function_name='f',"
     "callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}"),
]

# What only reads, alike on every node that has the data.
READS = [
    "GET s", "MGET s n", "EXISTS s nothing", "TYPE s", "TTL s", "PTTL s", "EXPIRETIME s",
    "PEXPIRETIME s", "DUMP n", "STRLEN s", "GETRANGE s 0 1", "SUBSTR s 0 1", "LCS s s",
    "GETBIT bits 3", "BITCOUNT bits", "BITPOS bits 1", "BITFIELD_RO bits GET u4 0", "HGET h f",
    "HMGET h f", "HGETALL h", "HKEYS h", "HVALS h", "HLEN h", "HEXISTS h f", "HSTRLEN h f",
    "HRANDFIELD h", "LLEN l", "LINDEX l 0", "LRANGE l 0 -1", "LPOS l 1", "SCARD set",
    "SISMEMBER set 1", "SMISMEMBER set 1 2", "SINTER set set2", "SUNION set set2",
    "SDIFF set set2", "SINTERCARD 2 set set2", "SRANDMEMBER set2", "ZSCORE z a", "ZMSCORE z a",
    "ZCARD z", "ZCOUNT z 0 9", "ZRANGE z 0 -1", "ZREVRANGE z 0 -1", "ZRANGEBYSCORE z 0 9",
    "ZREVRANGEBYSCORE z 9 0", "ZRANK z a", "ZREVRANK z a", "ZRANGEBYLEX z - +", "ZLEXCOUNT z - +",
    "ZUNION 1 z", "ZINTER 1 z", "ZDIFF 1 z", "ZINTERCARD 1 z", "ZRANDMEMBER z", "XLEN x",
    "XRANGE x - +", "XREVRANGE x + -", "XPENDING x g", "GEOPOS geo p", "GEODIST geo p p",
    "GEOHASH geo p", "SORT_RO l", "GEORADIUS_RO geo 13 38 100 km",
    "GEORADIUSBYMEMBER_RO geo p 1 km", "GEOSEARCH geo FROMMEMBER p BYRADIUS 1 km",
]

# What must not go to a replica: it writes, or may, or means something else there.
PRIMARY = [
    "SET s value", "GETEX s", "GETDEL gone", "BITFIELD bits GET u4 0", "SORT l", "GETSET s value",
    "GEORADIUS geo 13 38 100 km", "GEORADIUSBYMEMBER geo p 1 km", "PFCOUNT hll",
    "XREADGROUP GROUP g c COUNT 1 STREAMS x 0", "EVAL return#1 0", "EVAL_RO return#1 0",
    "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", "FCALL f 1 s", "FCALL_RO f 1 s",
    "SCAN 0", "SSCAN set 0", "HSCAN h 0", "ZSCAN z 0", "TOUCH s", "OBJECT FREQ s",
    "OBJECT IDLETIME s", "OBJECT REFCOUNT s", "MEMORY USAGE s", "KEYS s", "DBSIZE", "RANDOMKEY",
    "TIME", "LASTSAVE", "PUBLISH c m", "PUBSUB CHANNELS", "INCR counter", "DEL nothing",
    "EXPIRE s 1000", "PERSIST s", "LPOP nothing", "COPY s copy REPLACE", "ECHO x",
    "BLPOP nothing 0.01", "XREAD STREAMS x 0", "OBJECT ENCODING s", "BITOP NOT not bits",
    "SUNIONSTORE into set set2", "UNLINK nothing",
    "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "FUNCTION LIST",
    "XREAD BLOCK 1 STREAMS x 0", "LATENCY HISTORY none", "COMMAND COUNT",
]

# Of these, what replicas execute because the primary tells them.
REPLICATED = ("SET", "INCR", "COPY", "PUBLISH", "PERSIST", "GETSET", "SUNIONSTORE", "EXPIRE",
              "BITOP")

# What an operator may let go there.
OPTIONAL = ["EVAL_RO return#1 0", "FCALL_RO f 1 s", "PFCOUNT hll", "KEYS s", "DBSIZE", "RANDOMKEY"]


def words_of(text):
    return [word.replace("#", " ") for word in text.split()]


def name_of(text):
    """As INFO commandstats has it: with the sub-command, where there is one."""
    words = text.lower().split()
    containers = ("object", "memory", "pubsub", "script", "function", "latency", "xinfo", "command")
    return "|".join(words[:2]) if words[0] in containers else words[0]


@pytest.fixture(name="stage", scope="module")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack)
        with stage.primary.connect() as direct:
            for words in DATA:
                direct.ok(*words)
        stage.replicated()
        yield stage


@pytest.fixture(name="reading", scope="module")
def reading_fixture(stage):
    with stage.through() as proxy:
        yield proxy


@pytest.mark.tls
@pytest.mark.parametrize("resp", [2, 3])
def test_62_reads_land_on_replicas(stage, reading, resp):
    """And are answered as the primary would."""
    with stage.primary.connect() as direct, reading.connect() as client:
        direct.ok("HELLO", resp)
        client.ok("HELLO", resp)
        landed = Landed(stage.nodes)
        for text in READS:
            mine = client.ok(*words_of(text))
            on_primary, *others = landed.of(name_of(text))
            assert on_primary == 0, f"{text} went to the primary"
            assert sum(others) == 1, f"{text} went to {others}"
            assert mine == direct.ok(*words_of(text)), text
            landed = Landed(stage.nodes)


def test_62_the_rest_lands_on_the_primary(stage, reading):
    for text in PRIMARY:
        landed = Landed(stage.nodes)
        with reading.connect() as client:  # which has no reason to be on the primary
            client.call(*words_of(text))
        assert landed.of(name_of(text))[0] == 1, f"{text} did not go to the primary"
        for found in landed.all()[1:]:
            assert name_of(text) not in found or text.split()[0] in REPLICATED, (text, found)


@pytest.mark.parametrize("before, behind", [
    ([("MULTI",)], [("EXEC",)]),
    ([("MULTI",), ("SET", "s", "value")], [("EXEC",)]),
    ([("WATCH", "n")], [("UNWATCH",)]),
    ([("HELLO", 3), ("CLIENT", "TRACKING", "ON")], []),
    ([("SET", "s", "value")], []),  # until replicas have that; they lag
], ids=["multi", "multi-write", "watch", "tracking", "write"])
def test_62_reads_that_belong_to_the_primary(stage, reading, before, behind):
    for replica in stage.replicas:
        replica.line.lag(0.5)
    with reading.connect() as client:
        for words in before:
            client.ok(*words)
        landed = Landed(stage.nodes)
        for _ in range(5):
            client.ok("GET", "s")
            client.ok("HGET", "h", "f")
        for words in behind:
            client.ok(*words)
        for command in ("get", "hget"):
            assert landed.of(command) == [5, 0, 0]
    for replica in stage.replicas:
        replica.line.lag(0)
    stage.replicated()


def test_62_what_an_operator_lets_go_there(stage):
    options = sorted({words_of(text)[0] for text in OPTIONAL} | {"EVALSHA_RO"})
    arguments = [word for name in options
                 for word in ("--set", f"service.mymaster.replica-commands={name}")]
    with stage.through(arguments=arguments) as proxy:
        for text in OPTIONAL:
            landed = Landed(stage.nodes)
            with proxy.connect() as client:
                assert not isinstance(client.call(*words_of(text)), ServerError)
            primary, *others = landed.of(name_of(text))
            assert primary == 0 and sum(others) == 1, (text, primary, others)
        # A script that only the primary has is run there; no client is told NOSCRIPT.
        with proxy.connect() as client:
            sha = client.ok("SCRIPT", "LOAD", "return 42")
            assert client.ok("EVALSHA_RO", sha, 0) == 42
        with proxy.connect() as client:
            assert client.ok("EVALSHA_RO", sha, 0) == 42
            assert client.call("EVALSHA_RO", "f" * 40, 0).code == "NOSCRIPT"


def spread(stage, settings, expected):
    """Each of the nodes that should serve has, within a tenth, as many reads as the others, from
    sessions that read as much as each other, however fast the nodes are."""
    with stage.through(settings) as proxy:
        landed = Landed(stage.nodes)
        readers = [Constant("s", b"value", count=200) for _ in range(60)]
        with Crowd(proxy.address, scripts(readers)) as crowd:
            crowd.wait_over()
            crowd.stop()
        served = landed.of("get")
        even = sum(served) / sum(expected)
        print(served)
        assert sum(served) == 12_000
        for count, share in zip(served, expected):
            assert share * even * 0.9 <= count <= share * even * 1.1, served


@pytest.mark.parametrize("policy, expected", [("any", [1, 1, 1]), ("prefer-replica", [0, 1, 1]),
                                              ("replica", [0, 1, 1]), ("primary", [1, 0, 0])])
def test_62_evenly_spread(stage, policy, expected):
    spread_of = {"read-policy": policy}
    if policy == "primary":  # nobody asks the replicas
        with Proxy([stage.sentinel.address], spread_of) as proxy:
            proxy.wait_serving()
            landed = Landed(stage.nodes)
            with proxy.connect() as client:
                for _ in range(50):
                    client.ok("GET", "s")
            assert landed.of("get") == [50, 0, 0]
        return
    spread(stage, spread_of, expected)


def test_a_session_stays_where_it_is(stage, reading):
    """While that is as good as the others."""
    for _ in range(4):
        landed = Landed(stage.nodes)
        with reading.connect() as client:
            for _ in range(50):
                client.ok("GET", "s")
        assert sorted(landed.of("get")) == [0, 0, 50]


def test_what_is_answered_is_no_burden(stage):
    """A replica that had much to do and has done it is as good as the others."""
    with stage.through({"proxy.workers": 1}) as proxy, proxy.connect() as client:
        client.pipeline([("GET", "s")] * 500)
        landed = Landed(stage.nodes)
        others = [proxy.connect() for _ in range(20)]
        for other in others:
            other.ok("STRLEN", "s")
        for other in others:
            other.close()
        assert min(landed.of("strlen")[1:]) >= 8, landed.of("strlen")


def test_the_busy_one_is_spared(stage, reading):
    """Reads go where fewer are under way: one replica works on something long."""
    slow, quick = stage.replicas
    with slow.node.connect() as direct:
        direct.send(b"*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$4\r\n0.20\r\n")
        time.sleep(0.02)
        landed = Landed([quick.node])
        clients = [reading.connect() for _ in range(20)]
        began = time.monotonic()
        for client in clients:
            client.send(b"*2\r\n$3\r\nGET\r\n$1\r\ns\r\n" * 5)
        for client in clients:
            assert [client.read() for _ in range(5)] == [b"value"] * 5
            client.close()
        took = time.monotonic() - began
        direct.read()
    print(f"{landed.of('get')[0]} of 100 reads on the quick one, {took:.3f} s")
    assert landed.of("get")[0] >= 50


def test_databases_users_and_versions(stage):
    """A replica's connections are those of the session's profile."""
    for node in stage.nodes:  # Redis replicates no users
        node.call("ACL", "SETUSER", "bob", "on", ">secret", "~b:*", "+@all")
    with stage.primary.connect() as direct:
        direct.ok("SET", "b:1", "zero")
        direct.ok("SELECT", 5)
        direct.ok("SET", "b:1", "five")
        direct.ok("HSET", "b:h", "f", "v")
    stage.replicated()
    with stage.through() as proxy, proxy.connect() as client:
        for words, value, pairs in [(("SELECT", 0), b"zero", []),
                                    (("HELLO", 3, "AUTH", "bob", "secret"), b"zero", []),
                                    (("SELECT", 5), b"five", [(b"f", b"v")]),
                                    (("HELLO", 2), b"five", [b"f", b"v"]),
                                    (("SELECT", 0), b"zero", [])]:
            client.ok(*words)
            landed = Landed(stage.nodes)
            until = time.monotonic() + 5
            while not any(landed.of("hgetall")[1:]) and time.monotonic() < until:
                assert client.ok("GET", "b:1") == value
                assert client.ok("HGETALL", "b:h") == pairs
            assert any(landed.of("hgetall")[1:]), f"no reads on replicas behind {words}"
            landed = Landed(stage.nodes)
            assert client.call("LLEN", "b:1").code == "WRONGTYPE"
            if words[0] != "SELECT":
                assert client.call("GET", "s").code == "NOPERM"
            assert landed.of("llen")[0] == 0
        assert client.ok("ACL", "WHOAMI") == b"bob"


def test_a_user_that_the_replica_does_not_know(stage):
    """The primary let the session in; what the replica lacks is no reason for an error."""
    stage.primary.call("ACL", "SETUSER", "carol", "on", ">secret", "~*", "+@all")
    with stage.through() as proxy, proxy.connect() as client:
        client.ok("AUTH", "carol", "secret")
        for _ in range(20):
            assert client.ok("GET", "s") == b"value"
        assert client.ok("ACL", "WHOAMI") == b"carol"


def reads_land(stage, client, count=5):
    landed = Landed(stage.nodes)
    for _ in range(count):
        client.ok("GET", "s")
    primary, *others = landed.of("get")
    return "primary" if primary == count else "replica" if sum(others) == count else "mixed"


def test_readonly_and_readwrite(stage):
    """A session chooses for itself, whatever the policy; RESET forgets it."""
    with stage.through({"read-policy": "primary"}, fit=()) as proxy:
        with proxy.connect() as client, proxy.connect() as other:
            assert reads_land(stage, client) == "primary"
            assert client.ok("READONLY") == "OK"
            wait_until(lambda: reads_land(stage, client) == "replica", 10, "reads on replicas")
            assert reads_land(stage, other) == "primary"
            client.ok("READWRITE")
            assert reads_land(stage, client) == "primary"
            client.ok("READONLY")
            wait_until(lambda: reads_land(stage, client) == "replica", 10, "reads on replicas")
            client.ok("SET", "n", 8)
            assert client.ok("GET", "n") == b"8"
            assert client.ok("RESET") == "RESET"
            assert reads_land(stage, client) == "primary"


@pytest.mark.full
def test_nobody_asks_replicas_that_nobody_reads_from(stage):
    """Asked for with READONLY they are, and for REPLICAS_WANTED_MS after the last such read."""
    settings = {"read-policy": "primary", "read-listen": None}
    with stage.through(settings, fit=()) as proxy, proxy.connect() as client:
        assert max(asked_in(stage, 3)) == 0
        client.ok("READONLY")
        wait_until(lambda: reads_land(stage, client) == "replica", 10, "reads on replicas")
        client.ok("READWRITE")
        assert min(asked_in(stage, 3)) > 0
        wait_until(lambda: max(asked_in(stage, 3)) == 0, 45, "the probes to end")


def asked_in(stage, seconds):
    """How often each replica was asked how far it has come."""
    landed = Landed(stage.nodes)  # which asks INFO itself
    time.sleep(seconds)
    return [asked - 1 for asked in landed.of("info")[1:]]


def test_readwrite_where_replicas_are_preferred(stage, reading):
    with reading.connect() as client:
        assert reads_land(stage, client) == "replica"
        client.ok("READWRITE")
        assert reads_land(stage, client) == "primary"
        client.ok("RESET")
        wait_until(lambda: reads_land(stage, client) == "replica", 10, "reads on replicas")


@pytest.mark.tls
def test_replica_with_none_fit():
    """An error that names the reason, and what writes goes on; then it is over by itself."""
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, replicas=1)
        stage.primary.call("SET", "s", "value")
        stage.replicated()
        with stage.through({"read-policy": "replica"}) as proxy, proxy.connect() as client:
            assert client.ok("GET", "s") == b"value"
            stage.replicas[0].node.kill()
            replies = wait_until(lambda: refused(client), 10, "an error")
            assert "o replica of 'mymaster' is fit" in replies[0].text
            assert "not executed" in replies[0].text
            print(replies[0].text)
            assert client.call("GET", "s") == replies[0]
            client.ok("SET", "s", "other")
            stage.replicas[0].node.start()
            wait_until(lambda: client.call("GET", "s") == b"other", 20, "its return", 0.1)


def refused(client):
    reply = client.call("GET", "s")
    return [reply] if isinstance(reply, ServerError) else None


def test_replica_waits_for_what_the_session_wrote(stage):
    """It is late, not unfit: no error, and not the primary."""
    with stage.through({"read-policy": "replica"}) as proxy, proxy.connect() as client:
        for replica in stage.replicas:
            replica.line.lag(0.3)
        landed = Landed(stage.nodes)
        for number in range(3):
            client.ok("SET", "late", number)
            began = time.monotonic()
            assert client.ok("GET", "late") == b"%d" % number
            assert time.monotonic() - began > 0.2
        assert landed.of("get")[0] == 0


def test_replica_without_any():
    """The Sentinels know of none at all, and wait as one may, none comes: limit: REPLICA_LACK_MS."""
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, replicas=0)
        with stage.through({"read-policy": "replica"}) as proxy, proxy.connect() as client:
            client.ok("SET", "s", 1)
            reply = client.call("GET", "s")
            assert isinstance(reply, ServerError) and "o replica" in reply.text
        with stage.through({"read-policy": "prefer-replica"}) as proxy, proxy.connect() as client:
            assert client.ok("GET", "s") == b"1"


def test_a_user_of_ours_that_a_replica_does_not_know(tmp_path):
    """ACLs are not replicated: its reads go elsewhere, and those of other users go there still."""
    def reads(user, nodes):
        """Where they land."""
        landed = Landed(nodes)
        for _ in range(8):
            with proxy.connect() as client:
                client.ok("AUTH", user, "pw")
                assert client.ok("STRLEN", "who-serves") == 0
        return [count > 0 for count in landed.of("strlen")]

    for name, text in (("users", "user alice on >pw\nuser bob on >pw\n"), ("app", "app-pw\n"),
                       ("other", "other-pw\n")):
        (tmp_path / name).write_text(text)
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, replicas=1)
        for node in stage.nodes:
            node.call("ACL", "SETUSER", "app", "on", ">app-pw", *ALL)
        stage.primary.call("ACL", "SETUSER", "other", "on", ">other-pw", *ALL)
        proxy = stack.enter_context(stage.through(
            {"user": "app", "password-file": str(tmp_path / "app"), "client-auth": "users",
             "acl-file": str(tmp_path / "users"), "read-listen": None,
             "upstream-user": f"bob other {tmp_path / 'other'}"}, fit=[]))
        wait_until(lambda: reads("alice", stage.nodes) == [False, True], 15, "reads on the replica")
        for _ in range(3):
            assert reads("bob", stage.nodes) == [True, False]
            assert reads("alice", stage.nodes) == [False, True]
        assert [e["replica"] for e in proxy.entries("replica-refuses")]
        assert not proxy.entries("replica-left")
