"""Scripts whose transcript through the proxy must be, byte for byte, that of Redis itself."""

import pytest

from support.script import Ends, Leaves, Quiet, Raw, Read, Say, Until, blocked, say, transcript
from support.wait import wait_until

pytestmark = pytest.mark.exclusive


@pytest.fixture(name="same")
def same_fixture(service, reference):
    """Plays steps on both and compares."""
    def same(steps, **options):
        for node in (service.node, reference):
            node.call("FLUSHALL")
            node.call("SCRIPT", "FLUSH")
        direct = transcript(reference.address, reference, steps, **options)
        proxied = transcript(service.proxy.address, service.node, steps, **options)
        assert proxied == direct
        return direct
    return same


BASIC = {
    "values": [say("SET k v"), say("GET k"), say("GET none"), say("SET", "bin", b"\0\r\n\xff"),
               say("GET bin"), say("SET", "", ""), say("GET", ""), say("STRLEN bin"),
               say("APPEND k more"), say("GETRANGE k 0 -1"), say("GETDEL k"), say("EXISTS k")],
    "many": [say("MSET a 1 b 2 c 3"), say("MGET a none c"), say("DEL a b"), say("DBSIZE"),
             say("KEYS *"), say("SCAN 0"), say("RANDOMKEY"), say("TYPE c"), say("RENAME c d")],
    "structures": [say("LPUSH l a b c"), say("LRANGE l 0 -1"), say("HSET h f v g w"),
                   say("HGETALL h"), say("SADD s m"), say("SMEMBERS s"), say("ZADD z 1 a 2.5 b"),
                   say("ZRANGE z 0 -1 WITHSCORES"), say("XADD x 1-1 f v"), say("XRANGE x - +"),
                   say("PFADD p a b"), say("PFCOUNT p"), say("GEOADD g 13 38 P"),
                   say("GEOPOS g P none"), say("SETBIT bits 7 1"), say("BITCOUNT bits"),
                   say("OBJECT ENCODING l"), say("LPOP l 2"), say("SORT s ALPHA")],
    "errors": [say("NOSUCH"), say("NOSUCH", "a", "b" * 200), say("GET"), say("SET k"),
               say("LPUSH k a"), say("INCR k"), say("SET k v XX GET NONSENSE"), say("GET k k"),
               say("CONFIG"), say("CONFIG NOSUCH"), say("OBJECT NOSUCH k"), say("SELECT"),
               say("SELECT x"), say("SELECT 99"), say("SELECT -1"), say("CLUSTER INFO"),
               say("READONLY x"), say("REPLICAOF"), say("DEBUG"), say("WAIT"), say("XADD x 0-0 f v")],
    "case": [say("set K v"), say("gEt K"), say("GeT k"), say("client setname Low"),
             say("CLIENT getname"), say("sElEcT 3"), say("get K"), say("select 0")],
    "server": [say("PING"), say("PING", "hello there"), say("PING a b"), say("ECHO x"),
               say("COMMAND COUNT"), say("COMMAND INFO get nosuch"), say("CONFIG GET maxmemory"),
               say("LASTSAVE x"), say("TIME x"), say("MEMORY USAGE none"), say("SLOWLOG RESET"),
               say("DEBUG SLEEP 0"), say("OBJECT HELP"), say("LOLWUT VERSION 99 1")],
    "scripts": [say("EVAL", "return {1,'two',{3,{4}},false,redis.status_reply('S')}", "0"),
                say("EVAL", "return redis.error_reply('MY own')", "0"),
                say("EVAL", "return redis.call('SET',KEYS[1],ARGV[1])", "1", "k", "v"),
                say("EVALSHA", "f" * 40, "0"), say("SCRIPT", "LOAD", "return 5"),
                say("EVALSHA 4ca238f611c9d0ae4e9a75a5dbac22aedc1e44cf 0"),
                say("SCRIPT EXISTS 4ca238f611c9d0ae4e9a75a5dbac22aedc1e44cf f"),
                say("EVAL", "return redis.call('NOSUCH')", "0"),
                say("EVAL_RO", "return redis.call('GET',KEYS[1])", "1", "k"),
                say("EVAL", "return", "x"), say("SCRIPT KILL"), say("FUNCTION KILL"),
                say("FUNCTION LIST"), say("FCALL nosuch 0")],
    "forged refusals": [say("EVAL", "return redis.error_reply('READONLY forged')", "0"),
                        say("EVAL", "return redis.error_reply('LOADING forged')", "0"),
                        say("EVAL", "return redis.error_reply('INDOUBT forged')", "0"),
                        say("EVAL", "return redis.error_reply('MASTERDOWN forged')", "0"),
                        say("EVAL", "return redis.error_reply('NOREPLICAS forged')", "0"),
                        say("PING")],
}

TRANSACTIONS = {
    "exec": [say("MULTI"), say("SET k v"), say("INCR n"), say("GET k"), say("EXEC"), say("GET n")],
    "empty": [say("MULTI"), say("EXEC"), say("MULTI"), say("DISCARD")],
    "discard": [say("MULTI"), say("SET k v"), say("DISCARD"), say("GET k"), say("EXEC"),
                say("DISCARD")],
    "errors": [say("MULTI"), say("NOSUCH"), say("SET k v"), say("EXEC"), say("GET k"),
               say("MULTI"), say("MULTI"), say("SET k"), say("EXEC"), say("MULTI"),
               say("LPUSH k a"), say("INCR k"), say("LPUSH k b"), say("EXEC"), say("LRANGE k 0 -1"),
               say("EXEC"), say("EXEC x"), say("MULTI x"), say("DISCARD x"), say("UNWATCH x")],
    "watch": [say("SET k 1"), say("WATCH k"), say("GET k"), say("MULTI"), say("SET k 2"),
              say("EXEC"), say("WATCH k"), Say("b", ("SET", "k", "3")), say("MULTI"),
              say("SET k 4"), say("EXEC"), say("GET k"), say("WATCH k j"), say("UNWATCH"),
              Say("b", ("SET", "k", "5")), say("MULTI"), say("SET k 6"), say("EXEC"), say("GET k"),
              say("UNWATCH"), say("WATCH")],
    "watch inside": [say("MULTI"), say("WATCH k"), say("UNWATCH"), say("SET k v"), say("EXEC")],
    "watch and leave": [say("WATCH k"), Leaves("a"), Say("b", ("SET", "k", "1")),
                        say("MULTI"), say("GET k"), say("EXEC")],
    "state inside": [say("MULTI"), say("SELECT 3"), say("SET k v"), say("EXEC"), say("GET k"),
                     say("SELECT 0"), say("GET k"), say("MULTI"), say("CLIENT SETNAME inside"),
                     say("PING"), say("EXEC"), say("CLIENT GETNAME")],
    "hello inside": [say("HSET h f v"), say("MULTI"), say("HELLO 3"), say("HGETALL h"),
                     say("EXEC"), say("HGETALL h"), say("HELLO 2"), say("HGETALL h")],
    "blocking inside": [say("MULTI"), say("BLPOP none 0"), say("XREAD BLOCK 0 STREAMS x $"),
                        say("WAIT 5 0"), say("EXEC"), say("PING")],
    "pipelined": [Say("a", Raw(b"MULTI\r\nSET k v\r\nINCR n\r\nEXEC\r\nGET k\r\nMULTI\r\nDISCARD"
                               b"\r\nINCR n\r\n"), 8)],
    "pubsub inside": [Say("b", ("SUBSCRIBE", "ch")), say("MULTI"), say("PUBLISH ch hello"),
                      say("PUBLISH none x"), say("EXEC"), Read("b")],
    "reset inside": [say("MULTI"), say("SET k v"), say("RESET"), say("GET k"), say("EXEC")],
    "script inside": [say("MULTI"), say("EVAL", "return redis.call('INCR','n')", "0"),
                      say("EXEC"), say("GET n")],
    "quit inside": [say("MULTI"), say("SET k v"), say("QUIT"), Ends("a"),
                    Say("b", ("GET", "k"))],
    "ends alone": [say("EXEC"), say("DISCARD"), say("UNWATCH"), say("MULTI"), say("EXEC"),
                   say("EXEC"), say("MULTI"), say("DISCARD"), say("DISCARD"), say("PING")],
    "user inside": [say("ACL SETUSER bob on >pw ~b:* &* +@all"), say("MULTI"), say("SET a 1"),
                    say("AUTH bob pw"), say("SET b:1 x"), say("AUTH bob wrong"), say("AUTH x"),
                    say("ACL WHOAMI"), say("EXEC"), say("ACL WHOAMI"), say("GET b:1"),
                    say("GET a"), say("RESET"), say("ACL WHOAMI"), say("ACL DELUSER bob")],
    "profile inside": [say("MULTI"), say("SELECT 4"), say("SELECT 99"), say("SELECT x"),
                       say("SET k four"), say("HELLO 3 SETNAME me"), say("HELLO 9"),
                       say("CLIENT GETNAME"), say("GET none"), say("EXEC"), say("GET none"),
                       say("GET k"), say("CLIENT GETNAME"), say("SELECT 0"), say("GET k"),
                       say("MULTI"), say("SELECT 4"), say("NOSUCH"), say("EXEC"), say("GET k"),
                       say("MULTI"), say("SELECT 4"), say("DISCARD"), say("GET k"),
                       say("WATCH k"), say("MULTI"), say("SELECT 4"), Say("b", ("SET", "k", "0")),
                       say("EXEC"), say("GET k")],
    "profile inside, pipelined": [Say("a", Raw(b"MULTI\r\nSELECT 4\r\nSET k v\r\nEXEC\r\n"
                                               b"GET k\r\nMULTI\r\nSELECT 0\r\nDISCARD\r\n"
                                               b"GET k\r\nSELECT 0\r\nGET k\r\n"), 11)],
    "subscribing inside": [say("MULTI"), say("SUBSCRIBE ch"), say("GET k"), say("EXEC"),
                           say("PING"), say("GET k"), say("UNSUBSCRIBE ch"), say("GET k")],
}

BLOCKING = {
    "blpop waits": [Say("b", ("BLPOP", "l", "0"), 0), blocked(), say("RPUSH l x y"), Read("b"),
                    say("LRANGE l 0 -1"), Say("b", ("BLPOP", "l", "0")), Say("b", ("PING",))],
    "times out": [say("BLPOP l 0.05"), say("BRPOP l m 0.05"), say("BLMOVE a b LEFT RIGHT 0.05"),
                  say("BRPOPLPUSH a b 1"), say("BZPOPMIN z 0.05"), say("BLMPOP 0.05 1 l LEFT"),
                  say("BZMPOP 0.05 1 z MIN"), say("XREAD BLOCK 50 STREAMS x $")],
    "others": [Say("b", ("BRPOP", "l", "m", "0"), 0), Say("c", ("BZPOPMAX", "z", "0"), 0),
               Say("d", ("XREAD", "BLOCK", "0", "STREAMS", "x", "$"), 0),
               Say("e", ("BLMOVE", "q", "r", "LEFT", "RIGHT", "0"), 0), blocked(4),
               say("LPUSH m 1"), Read("b"), say("ZADD z 1 a"), Read("c"), say("XADD x 5-0 f v"),
               Read("d"), say("RPUSH q item"), Read("e"), say("LRANGE r 0 -1")],
    "pipelined behind": [Say("b", Raw(b"BLPOP l 0\r\nPING behind\r\nGET k\r\n"), 0), blocked(),
                         say("SET k v"), say("RPUSH l x"), Read("b", 3)],
    "errors": [say("BLPOP l"), say("BLPOP l x"), say("BLPOP l -1"), say("SET l v"),
               say("BLPOP l 0"), say("XREADGROUP GROUP g c BLOCK 10 STREAMS x >")],
    "leaving while blocked": [Say("b", ("BLPOP", "l", "0"), 0), blocked(), Leaves("b"),
                              blocked(0), say("RPUSH l x"), say("LLEN l")],
    "leaving while blocked, with more behind": [
        Say("b", Raw(b"BLPOP l 0\r\nSELECT 1\r\n"), 0), blocked(), Leaves("b"), blocked(0),
        say("RPUSH l x"), say("LLEN l")],
    "fifo": [Say("b", ("BLPOP", "l", "0"), 0), blocked(1), Say("c", ("BLPOP", "l", "0"), 0),
             blocked(2), say("RPUSH l 1 2"), Read("b"), Read("c")],
    "unblocked by another": [Say("b", ("BLPOP", "l", "0"), 0), blocked(),
                             say("CLIENT UNBLOCK 999999999"), say("RPUSH l x"), Read("b")],
}

PUBSUB = {
    "subscribe": [Say("s", ("SUBSCRIBE", "a", "b"), 2), say("PUBLISH a hello"), Read("s"),
                  say("PUBLISH b there"), Read("s"), say("PUBLISH c nobody"),
                  Say("s", ("UNSUBSCRIBE", "a")), say("PUBLISH a gone"), Quiet("s"),
                  Say("s", ("UNSUBSCRIBE",)), Say("s", ("GET", "k")), say("PUBLISH b gone")],
    "patterns": [Say("s", ("PSUBSCRIBE", "n.*", "m?")), Read("s"), Say("s", ("SUBSCRIBE", "n.x")),
                 say("PUBLISH n.x both"), Read("s", 2), Say("s", ("PUNSUBSCRIBE", "n.*")),
                 say("PUBLISH n.x one"), Read("s"), Say("s", ("PUNSUBSCRIBE",)),
                 Say("s", ("UNSUBSCRIBE",)), Say("s", ("PING",))],
    "nothing held": [say("UNSUBSCRIBE"), say("PUNSUBSCRIBE"), say("UNSUBSCRIBE x y", replies=2),
                     say("PING"), say("SUBSCRIBE"), say("SUNSUBSCRIBE"), say("GET k")],
    "twice": [say("SUBSCRIBE a a b a", replies=4), say("UNSUBSCRIBE b b", replies=2),
              say("UNSUBSCRIBE a"), say("PING")],
    "context": [say("SUBSCRIBE a"), say("GET k"), say("PING"), say("PING", "with text"),
                say("SET k v"), say("MULTI"), say("SUBSCRIBE b"), say("HELLO 3"), say("NOSUCH"),
                say("UNSUBSCRIBE a"), say("UNSUBSCRIBE b"), say("GET k")],
    "quit": [say("SUBSCRIBE a"), say("QUIT"), Ends("a")],
    "reset": [say("SUBSCRIBE a"), say("PSUBSCRIBE p*"), say("RESET"), say("GET k"),
              Say("b", ("PUBLISH", "a", "x")), Say("b", ("PUBSUB", "NUMSUB", "a")), Quiet("a")],
    "resp3": [Say("s", ("HELLO", "3")), Say("s", ("SUBSCRIBE", "a", "b"), 2), say("SET k v"),
              Say("s", ("GET", "k")), Say("s", ("PING",)), say("PUBLISH a x"), Read("s"),
              Say("s", ("INCR", "n")), Say("s", ("UNSUBSCRIBE", "a")), Say("s", ("GET", "k")),
              Say("s", ("UNSUBSCRIBE",)), Say("s", ("GET", "n"))],
    "sharded": [Say("s", ("SSUBSCRIBE", "a")), say("SPUBLISH a x"), Read("s"),
                Say("s", ("SUNSUBSCRIBE", "a")), say("SPUBLISH a x"), say("PUBSUB SHARDCHANNELS")],
    "leaving": [Say("s", ("SUBSCRIBE", "a")), say("PUBSUB NUMSUB a"), Leaves("s"),
                Until(lambda node: node.call("PUBSUB", "NUMSUB", "a") == [b"a", 0]),
                say("PUBLISH a x")],
    "pipelined": [Say("s", Raw(b"SET k v\r\nSUBSCRIBE a b\r\nUNSUBSCRIBE a b\r\nGET k\r\n"), 6)],
    "keyspace": [say("CONFIG SET notify-keyspace-events KEA"),
                 Say("s", ("PSUBSCRIBE", "__key*__:*")), say("SET k v"), Read("s", 2),
                 say("CONFIG", "SET", "notify-keyspace-events", "")],
}

SESSION = {
    "select": [say("SET k zero"), say("SELECT 4"), say("GET k"), say("SET k four"),
               say("SELECT 0"), say("GET k"), say("SELECT 15"), say("SELECT 16"), say("GET k"),
               say("SELECT 4"), say("GET k"), say("SELECT 04"), say("SELECT +4"), say("GET k"),
               say("SWAPDB 0 4"), say("GET k")],
    "select pipelined": [Say("a", Raw(b"SET a 0\r\nSELECT 1\r\nSET b 1\r\nSELECT 0\r\nGET a\r\n"
                                      b"GET b\r\nSELECT 77\r\nGET a\r\nSELECT 1\r\nGET b\r\n"),
                             10)],
    "name": [say("CLIENT GETNAME"), say("CLIENT SETNAME me"), say("CLIENT GETNAME"),
             say("CLIENT", "SETNAME", "with space"), say("CLIENT SETNAME"), say("CLIENT GETNAME x"),
             say("CLIENT", "SETNAME", ""), say("CLIENT GETNAME")],
    "hello": [say("HELLO"), say("HELLO 3"), say("HELLO"), say("HSET h f v"), say("HGETALL h"),
              say("GET none"), say("ZADD z 1.5 m"), say("ZSCORE z m"), say("HELLO 2"),
              say("HGETALL h"), say("HELLO 4"), say("HELLO 1"), say("HELLO x"), say("HGETALL h"),
              say("HELLO 3 SETNAME named"), say("CLIENT GETNAME"), say("HELLO 3 AUTH x"),
              say("HELLO 2 AUTH nosuch pw"), say("HELLO 3 NONSENSE"), say("GET none")],
    "auth": [say("AUTH pw"), say("AUTH default pw"), say("AUTH nosuch pw"), say("AUTH"),
             say("AUTH a b c"), say("ACL WHOAMI"), say("PING")],
    "users": [say("ACL SETUSER bob on >pw ~b:* &* +@all -flushall"),
              Say("b", ("AUTH", "bob", "pw")), Say("b", ("ACL", "WHOAMI")),
              Say("b", ("SET", "b:1", "x")), Say("b", ("SET", "a", "x")),
              Say("b", ("FLUSHALL",)), say("ACL WHOAMI"), Say("b", ("AUTH", "bob", "wrong")),
              Say("b", ("ACL", "WHOAMI")), Say("c", ("HELLO", "3", "AUTH", "bob", "pw")),
              Say("c", ("GET", "b:1")), Say("c", ("GET", "a")), Say("b", ("RESET",)),
              Say("b", ("ACL", "WHOAMI")), say("ACL DELUSER bob")],
    "reset": [say("SELECT 5"), say("CLIENT SETNAME me"), say("HELLO 3"), say("RESET"),
              say("GET none"), say("CLIENT GETNAME"), say("SET k v"), say("SELECT 0"),
              say("GET k"), say("RESET x")],
    "quit": [say("SET k v"), say("QUIT"), Ends("a")],
    "quit pipelined": [Say("a", Raw(b"SET k v\r\nGET k\r\nQUIT\r\nSET k w\r\n"), 0), Ends("a"),
                       Say("b", ("GET", "k"))],
    "replies off": [Say("a", ("CLIENT", "REPLY", "OFF"), 0), Say("a", ("INCR", "n"), 0),
                    Say("a", ("NOSUCH",), 0), say("CLIENT REPLY ON"), say("GET n"),
                    Say("a", ("CLIENT", "REPLY", "SKIP"), 0), Say("a", ("INCR", "n"), 0),
                    say("INCR n"), say("CLIENT REPLY x"), say("CLIENT REPLY")],
    "replies off and a transaction": [Say("a", Raw(b"CLIENT REPLY OFF\r\nMULTI\r\nINCR n\r\nEXEC"
                                                   b"\r\nBLPOP none 0.01\r\nCLIENT REPLY ON\r\n"
                                                   b"GET n\r\n"), 2)],
    "tracking": [say("HELLO 3"), say("CLIENT TRACKING ON"), say("SET k v"), say("GET k"),
                 Say("b", ("SET", "k", "w")), Read("a"), say("GET k"), say("CLIENT TRACKING OFF")],
    "no evict": [say("CLIENT NO-EVICT ON"), say("GET k"), say("CLIENT NO-EVICT x")],
    "wait": [say("SET k v"), say("WAIT 0 0"), say("WAIT 1 50"), say("WAIT x 0"), say("PING")],
    "unknown": [say("NOSUCH a b"), say("GET k"), say("NOSUCH"), say("SET k v"), say("GET k")],
    "dump": [say("SET k v"), say("DUMP k"), say("RESTORE k 0 x"), say("COPY k j"), say("GET j")],
}

ALL = {f"{area}: {name}": steps
       for area, scripts in (("basic", BASIC), ("transactions", TRANSACTIONS),
                             ("blocking", BLOCKING), ("pubsub", PUBSUB), ("session", SESSION))
       for name, steps in scripts.items()}


@pytest.mark.parametrize("name", ALL)
def test_same(same, name):
    same(ALL[name])


@pytest.mark.parametrize("name", [n for n in ALL if n.startswith(("basic", "transactions"))])
def test_same_byte_by_byte(same, name):
    same(ALL[name], chop=1)


def test_monitor(service):
    """Lines come as the server writes them, among them those of the proxy's own commands."""
    with service.connect() as watching, service.connect() as client:
        assert watching.ok("MONITOR") == "OK"
        for word in ("first", "second\n"):
            client.ok("SET", "k", word)
            want = word.replace("\n", "\\n")
            wait_until(lambda w=want: watching.read().endswith(f' "SET" "k" "{w}"'), 5, word)
        assert watching.is_open() or watching.read()


@pytest.mark.parametrize("command", ["EVAL", "SET", "GET"])
def test_differences_are_seen(service, reference, command):
    """The comparison itself: other data, another transcript."""
    reference.call("SET", "differs", "here")
    service.node.call("SET", "differs", "there")
    steps = {"EVAL": say("EVAL", "return redis.call('GET','differs')", "0"),
             "SET": say("SET differs again GET"), "GET": say("GET differs")}[command]
    assert transcript(reference.address, reference, [steps]) != \
        transcript(service.proxy.address, service.node, [steps])


def test_52_scan(service):
    """A walk through 100,000 keys finds each of them, whatever others do on the same connection."""
    service.node.call("FLUSHALL")
    service.node.call("DEBUG", "POPULATE", 100_000)
    with service.connect(30) as client, service.connect(30) as other:
        found, cursor = set(), b"0"
        while True:
            cursor, keys = client.call("SCAN", cursor, "COUNT", 1000)
            assert other.ok("GET", "key:1") == b"value:1"
            found.update(keys)
            if cursor == b"0":
                break
    assert found == {b"key:%d" % number for number in range(100_000)}
    service.node.call("FLUSHALL")
