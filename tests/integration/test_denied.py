"""deny-commands: what clients may not run, however they put it."""

import contextlib
import itertools

import pytest

from support.cluster import Cluster, Node
from support.proxy import Proxy, run
from support.resp import Push, ServerError, encode
from support.wait import wait_until

DENIED = ("flushall", "config|set", "debug", "lastsave", "command|count", "nosuch", "eval", "getdel")
BIG = b"x" * 300_000


def config(cluster, names, more=""):
    sentinels = "".join(f"address = {host}:{port}\n" for host, port in cluster.sentinel_addresses)
    denied = "".join(f"deny-commands = {name}\n" for name in names)
    return (f"[proxy]\nworkers = 2\nlog-level = info\n[sentinel]\n{sentinels}"
            f"[service mymaster]\nlisten = @LISTEN@\n{denied}{more}")


@contextlib.contextmanager
def denying(names, more=""):
    with Cluster(replicas=0, sentinels=1) as cluster, \
            Proxy(config=config(cluster, names, more)) as proxy:
        proxy.wait_serving()
        proxy.node = cluster.nodes[0]
        yield proxy


@pytest.fixture(name="proxy", scope="module", params=["shared", "exclusive"])
def proxy_fixture(request):
    with denying(DENIED, f"links = {request.param}\n") as proxy:
        yield proxy


def words(name):
    return ServerError(f"NOPERM this user has no permissions to run the '{name}' command")


def framed(*args):
    """A request as an array, whatever its arguments are."""
    return encode(*args)


def test_the_words_are_those_of_redis(proxy, tmp_path):
    """An ACL of a server says the same, and in a transaction does the same."""
    node = Node(str(tmp_path))
    node.start()
    try:
        with node.connect() as client:
            client.ok("ACL", "SETUSER", "default", "-flushall", "-config|set", "-debug")
            direct = conversation(client)
    finally:
        node.close()
    with proxy.connect() as client:
        assert conversation(client) == direct


def conversation(client):
    """What a client is told that tries in every way that both know."""
    said = [client.call(*request) for request in (
        ("FLUSHALL",), ("flushall", "ASYNC"), ("Config", "Set", "maxmemory", "0"),
        ("CONFIG", "GET", "maxclients"), ("debug", "sleep", "0"),
        ("MULTI",), ("SET", "k", "1"), ("FLUSHALL",), ("INCR", "k"), ("EXEC",), ("GET", "k"),
        ("MULTI",), ("CONFIG", "SET", "maxmemory", "0"), ("DISCARD",), ("PING",),
        ("WATCH", "k"), ("MULTI",), ("DEBUG", "SLEEP", "0"), ("EXEC",), ("MULTI",), ("PING",),
        ("EXEC",))]
    client.send(b"FLUSHALL\r\nconfig set maxmemory 0\r\n\"flush\\x61ll\"\r\nPING\r\n")
    said += [client.read() for _ in range(4)]
    client.send(framed("MULTI") + framed("FLUSHALL") + framed("PING") + framed("EXEC") +
                framed("PING"))
    return said + [client.read() for _ in range(5)]


def test_in_any_place_of_a_pipeline(proxy):
    """Answers come in order, and what is beside it runs."""
    with proxy.connect() as client:
        client.ok("SET", "n", 0)
        for count in (1, 2, 50, 400):
            client.send(b"".join(encode("INCR", "n") + encode("LASTSAVE") for _ in range(count)))
            before = int(proxy.node.call("GET", "n"))
            answers = [client.read() for _ in range(2 * count)]
            assert answers[1::2] == [words("lastsave")] * count
            assert answers[0::2] == list(range(answers[0], answers[0] + count))
            assert answers[0] - 1 <= before + count


@pytest.mark.parametrize("frame", [
    encode("FLUSHALL"), encode("fLuShAlL", "SYNC"), b"FLUSHALL\r\n", b"flushall\n",
    b"  flushall  \r\n", b"'flushall' async\r\n", b'"\\x66lushall"\r\n',
    b"*1\rx$8\rxFLUSHALLxx", encode("FLUSHALL", b"x" * 70_000), encode("FLUSHALL", BIG),
    encode("config", "SET", "maxmemory", BIG), b"*4\rx$6\rxCONFIGxx$3\rxsetxx" + encode(BIG)[4:] +
    b"$1\r\n1\r\n", encode("FLUSHALL\0"), encode("flushall\0abc"), encode("config\0", "set", "a", 1),
    encode("config", "set\0x", "a", 1), encode("CONFIG", "SET\0x", "a", BIG),
    encode(b"LASTSAVE\0" + BIG), encode(b"config\0" + BIG, "set", "maxmemory", 1),
    encode("CONFIG", b"SET\0" + BIG, "maxmemory", 1),
    encode("NoSuch", "x"), encode("nosuch"), encode("command", "COUNT"), encode("debug"),
    encode("debug", "nothing"), encode("eval", "return 1", 0), encode("GETDEL", "k"),
    encode("sync"), encode("PSYNC", "?", "-1"), encode("replconf", "ack", 1),
    encode("script", "debug", "yes"),
], ids=lambda frame: repr(frame[:24]))
def test_in_any_form(proxy, frame):
    """With any command denied, those behind which nobody could follow are too."""
    with proxy.connect(20) as client:
        client.ok("SET", "k", "v")
        for pieces in ([frame], [frame[:9], frame[9:]]):
            for piece in pieces:
                client.send(piece)
            reply = client.read()
            assert isinstance(reply, ServerError) and reply.code == "NOPERM", reply
        assert client.ok("GET", "k") == b"v"


def test_names_that_redis_reads_up_to_a_nul(proxy, reference):
    """Redis finds some of them, by the chance of a hash: here is one that it takes for LASTSAVE, if
    it takes any of so many. None of them gets through."""
    names = [b"lastsave\0%d" % n for n in range(3000)]
    with reference.connect() as direct, proxy.connect(20) as client:
        taken = sum(isinstance(direct.call(name), int) for name in names)
        print(f"Redis took {taken} of {len(names)} for LASTSAVE")
        for some in itertools.batched(names, 300) if hasattr(itertools, "batched") else [names[:600]]:
            assert {client_said for client_said in client.pipeline([(n,) for n in some])} == {
                words("lastsave")}


def test_what_is_beside_it_may_be_run(proxy):
    with proxy.connect() as client:
        assert client.ok("CONFIG", "GET", "maxclients")
        assert client.ok("COMMAND", "INFO", "get")
        assert client.ok("FLUSHDB") == "OK"
        assert client.ok("EVAL_RO", "return 1", 0) == 1
        assert client.ok("CONFIG", "RESETSTAT") == "OK"
        reply = client.call("config|set", "maxmemory", "0")
        assert reply.text.startswith("ERR unknown command")


def test_scripts_are_not_looked_into(proxy):
    """As README says."""
    with proxy.connect() as client:
        assert isinstance(client.ok("EVAL_RO", "return redis.call('lastsave')", 0), int)


def test_muted(proxy):
    with proxy.connect() as client:
        client.send(encode("CLIENT", "REPLY", "OFF") + encode("FLUSHALL") + encode("SET", "m", 1) +
                    encode("CLIENT", "REPLY", "ON"))
        assert client.read() == "OK"
        client.send(encode("CLIENT", "REPLY", "SKIP") + encode("FLUSHALL") + encode("GET", "m"))
        assert client.read() == b"1"


def test_while_subscribed(proxy):
    """Between messages, also where one of them is too large to be kept."""
    with proxy.connect(20) as client, proxy.connect() as other:
        client.ok("HELLO", 3)
        assert client.call("SUBSCRIBE", "c") == Push([b"subscribe", b"c", 1])
        for size in (10, 100_000, 2_000_000):
            other.send(encode("PUBLISH", "c", "y" * size) * 3)
            client.send(encode("FLUSHALL") * 5)
            answers = [client.read() for _ in range(8)]
            assert answers.count(words("flushall")) == 5
            pushes = [a for a in answers if isinstance(a, Push)]
            assert pushes == [Push([b"message", b"c", b"y" * size])] * 3
            for _ in range(3):
                assert other.read() == 1


def test_behind_a_monitor_nobody_hides(proxy):
    """What can't be followed behind MONITOR ends the connection instead of being passed on."""
    proxy.node.call("SET", "hidden", "v")
    with proxy.connect(20) as client:
        assert client.ok("MONITOR") == "OK"
        with contextlib.suppress(ConnectionError):
            client.send(encode("EVAL_RO", "return 1", 0) + encode("GETDEL", "hidden"))
        client.read_for(0.5)
    assert proxy.node.call("GET", "hidden") == b"v"


def test_before_anything_is_known():
    """Denied from the first request on, be there a primary or none."""
    with Cluster(replicas=0, sentinels=1) as cluster:
        node = cluster.nodes[0]
        node.call("SET", "k", "v")
        with Proxy(config=config(cluster, ["flushall"])) as proxy:
            with proxy.connect(20) as client:
                client.send(encode("FLUSHALL") + encode("GET", "k"))
                assert client.read() == words("flushall")
                assert client.read() == b"v"


def test_the_log_says_who(proxy):
    with proxy.connect() as client:
        client.call("FLUSHALL")
        name = f"127.0.0.1:{client.local[1]}"
        wait_until(lambda: proxy.entries("command-denied"), 5, "a line")
    entries = proxy.entries("command-denied")
    assert all(e["service"] == "mymaster" and e["client"].startswith("127.0.0.1:") for e in entries)
    assert name  # five lines a second: it may be one of those left out


def checked(tmp_path, *names):
    path = tmp_path / "v.ini"
    path.write_text("[sentinel]\naddress = 127.0.0.1:1\n[proxy]\nmax-clients = 9\n[service a]\n" +
                    "".join(f"deny-commands = {name}\n" for name in names))
    code, _, stderr = run("--config", str(path), "--check")
    return code, [line.replace(str(path), "v.ini") for line in stderr.splitlines()]


@pytest.mark.parametrize("name, code, said", [
    ("FlushAll", 0, None), ("config|set", 0, None), ("json.set", 0, None), ("ft.config|set", 0, None),
    ("flushal", 2, "error: v.ini:7: 'flushal' in 'deny-commands' is no command; did you mean "
                   "'flushall'?"),
    ("config|ste", 2, "error: v.ini:7: 'config|ste' in 'deny-commands' is no command; did you mean "
                      "'config|set'?"),
    ("config|qwertzuiop", 2, "error: v.ini:7: 'config|qwertzuiop' in 'deny-commands': config has no "
                             "such sub-command; leave it out, or deny config"),
    ("hello", 2, "error: v.ini:7: 'hello' in 'deny-commands' can't be denied, as with Redis's own "
                 "ACLs; leave it out"),
    ("qwertzuiop", 0, "warning: v.ini:7: 'qwertzuiop' in 'deny-commands' is no command that Vedette "
                      "knows; it is denied by this name, see that it is written right"),
])
def test_names_in_the_configuration(tmp_path, name, code, said):
    assert checked(tmp_path, "keys", name) == (code, [f"vedette: {said}"] if said else [])
