"""Connections that end at any byte of what a Sentinel or a node says."""

import contextlib
import time

import pytest

from support import tls
from support.case import judged, relayed
from support.cluster import MASTER, Cluster
from support.load import Load
from support.oracles import ERROR, INDOUBT, NOTRUN, check_open, errors_of, tally
from support.proxy import Proxy
from support.relay import DOWN, Relay, Rule
from support.resp import ServerError, encode
from support.wait import wait_until

IN_DOUBT = ServerError("INDOUBT The primary was lost after the command was sent; it may or may not "
                       "have been, or may still be, executed")
EXEC_IN_DOUBT = ServerError("INDOUBT The primary was lost after EXEC was sent; the transaction may "
                            "or may not have been, or may still be, executed")
WAYS = 12  # addresses by which the proxy knows the one Sentinel: so many are cut at a time
SENTINEL_SETTINGS = {"connect-timeout": "5s", "poll-interval": "2s"}


def how(after):
    return "fin" if after % 2 else "rst"


@contextlib.contextmanager
def behind_relays(count, **options):
    """(cluster, relays, proxy): a pair of nodes, and a Sentinel that has `count` addresses."""
    with Cluster(intended=1, replicas=1, sentinels=1) as cluster, \
            contextlib.ExitStack() as stack:
        ways = [stack.enter_context(Relay(cluster.sentinels[0].address, **options))
                for _ in range(count)]
        with Proxy([way.address for way in ways], sentinel_settings=SENTINEL_SETTINGS) as proxy:
            proxy.wait_serving()
            yield cluster, ways, proxy


def exchange(sentinel):
    """How many bytes a Sentinel says when it is asked for the first time, and in the answers to
    the SUBSCRIBE."""
    questions = [("MYID",), ("GET-MASTER-ADDR-BY-NAME", MASTER), ("MASTER", MASTER),
                 ("SENTINELS", MASTER), ("REPLICAS", MASTER)]
    with sentinel.connect() as conn:
        conn.send(b"".join(encode("SENTINEL", *question) for question in questions))
        return [len(frame) for frame in conn.read_frames(len(questions))]


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def check_calm(process):
    """Nothing turns in a circle."""
    before, begun = cpu_seconds(process), time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 1, what="a second")
    used = (cpu_seconds(process) - before) / (time.monotonic() - begun)
    assert used < 0.3, f"{used:.0%} of a processor, doing nothing"


def cut_sentinels(step):
    """Each connection to the Sentinel ends behind another byte, during a failover."""
    with behind_relays(WAYS) as (cluster, ways, proxy), \
            Load(proxy.address, 4, 2, rate=200) as load:
        sentinel = cluster.sentinels[0]
        first = b"$40\r\n" + sentinel.call("SENTINEL", "MYID")
        sizes = exchange(sentinel)
        head, total = sum(sizes[:2]), sum(sizes)
        answers = [*range(head + 2), *range(head + 2, total, step)]
        confirmations = [*range(45), *range(45, 700, step)]
        rules = []
        for number, after in enumerate(answers):
            rules.append(ways[number % WAYS].add(Rule(how(after), DOWN, first, after)))
        for number, after in enumerate(confirmations):
            rules.append(ways[number % WAYS].add(
                Rule(how(after), DOWN, b"*3\r\n$9\r\nsubscribe\r\n", after)))
        load.wait_acks(50)
        for way in ways:
            way.cut_all()
        old = cluster.failover()
        new = cluster.wait_primary(old)
        wait_until(lambda: all(rule.fired.is_set() for rule in rules), 180, "every cut")
        wait_until(lambda: all(way.connections() >= 2 for way in ways), 10, "all connections")
        with proxy.connect() as client:
            assert client.ok("CONFIG", "GET", tls.port_key())[1] == b"%d" % new.port
        load.wait_acks(100)
        load.stop()
        check_open(load.opened, load.connections)
        counts = tally(load.records)
        assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
        check_calm(proxy.process)
        print(len(rules), "cuts", counts)


@judged
def test_sentinel_cut_at_every_byte():
    """Every byte of the first answers, and some of the rest."""
    cut_sentinels(step=23)


@pytest.mark.full
@judged
def test_sentinel_cut_at_really_every_byte():
    cut_sentinels(step=1)


def test_sentinel_that_ends_each_connection():
    """In the middle of its lists, when it has said who is primary: it is of use, and not asked
    without end."""
    with behind_relays(1) as (_, (way,), proxy):
        for _ in range(1000):
            way.add(Rule("fin", DOWN, b"config-epoch", 400))
        way.cut_all()
        begun, before, lines = time.monotonic(), way.accepted, len(proxy.entries())
        wait_until(lambda: time.monotonic() - begun > 3, what="three seconds")
        assert proxy.call("PING") == "PONG"
        assert 5 < way.accepted - before < 50  # the first ones come quickly, then two a second
        assert len(proxy.entries()) - lines < 50


@pytest.mark.tls
@judged
def test_sentinel_in_crumbs():
    """Everything a Sentinel says comes byte by byte: a planned failover is as any other."""
    with behind_relays(1, crumbs=True) as (cluster, _, proxy), \
            Load(proxy.address, 4, 2, rate=200) as load:
        load.wait_acks(50)
        wait_until(lambda: cluster.sentinels[0].call("CLIENT", "LIST", "TYPE", "PUBSUB"), 10,
                   "the subscription")
        new = cluster.wait_primary(cluster.failover())
        load.wait_acks(50)
        load.stop()
        assert proxy.entries("hold-begin"), "the announcement was not understood"
        check_open(load.opened, load.connections)
        counts = tally(load.records)
        assert counts[ERROR] == counts[NOTRUN] == counts[INDOUBT] == 0, errors_of(load.records)
        with proxy.connect() as client:
            assert client.ok("CONFIG", "GET", tls.port_key())[1] == b"%d" % new.port


@pytest.fixture(name="setup", scope="module")
def setup_fixture():
    # A second worker's link, opened for a client that came before the last one had left, would take
    # a rule and have nothing to say.
    with relayed({"proxy.workers": 1}) as parts:
        yield parts


def token(name, after):
    """A value that is said in one reply only."""
    return f"{name}-{after:03}".encode()


def cuts(relay, name, reply):
    """For each byte of a reply, which reply(token) gives: (token, length of what passes, whether
    it is all of it), with the relay ready to cut there."""
    length = len(reply(token(name, 0)))
    for after in range(length + 1):
        value = token(name, after)
        rule = relay.add(Rule(how(after), DOWN, reply(value), after))
        # The marker has to be seen whole before it is known to be one.
        yield value, after == length
        rule.wait()


def test_greeting_cut_at_every_byte(setup):
    """The link is opened again until it stands; and the answers behind the greeting are asked for
    again."""
    _, relay, proxy = setup
    for after in range(60):
        rule = relay.add(Rule(how(after), DOWN, after=after))
        with proxy.connect() as client:
            assert client.call("PING") == "PONG"
            assert client.call("ECHO", "x" * 60) == b"x" * 60
        rule.wait()


def test_read_cut_at_every_byte(setup):
    node, relay, proxy = setup
    with proxy.connect() as client:
        for value, _ in cuts(relay, "get", lambda v: b"$7\r\n%b\r\n" % v):
            node.call("SET", "r", value)
            assert client.call("GET", "r") == value


def test_several_values_cut_at_every_byte(setup):
    node, relay, proxy = setup
    with proxy.connect() as client:
        for value, _ in cuts(relay, "mge", lambda v: b"*3\r\n$7\r\n%b\r\n$-1\r\n$7\r\n%b\r\n"
                             % (v, v)):
            node.call("SET", "r", value)
            assert client.call("MGET", "r", "nothing", "r") == [value, None, value]


def test_write_cut_at_every_byte(setup):
    """GETSET tells and changes: in doubt but for the last byte, and never run again."""
    node, relay, proxy = setup
    with proxy.connect() as client:
        for value, whole in cuts(relay, "gst", lambda v: b"$7\r\n%b\r\n" % v):
            node.call("SET", "w", value)
            before = node.calls("getset")
            assert client.call("GETSET", "w", "new") == (value if whole else IN_DOUBT)
            assert client.call("GET", "w") == b"new"
            assert node.calls("getset") == before + 1


@pytest.mark.tls
def test_exec_cut_at_every_byte(setup):
    node, relay, proxy = setup
    with proxy.connect() as client:
        for value, whole in cuts(relay, "exe", lambda v: b"*2\r\n:1\r\n$7\r\n%b\r\n" % v):
            node.call("DEL", "n")
            node.call("SET", "r", value)
            replies = client.pipeline([("MULTI",), ("INCR", "n"), ("GET", "r"), ("EXEC",)])
            assert replies[:3] == ["OK", "QUEUED", "QUEUED"]
            assert replies[3] == ([1, value] if whole else EXEC_IN_DOUBT)
            assert client.call("GET", "n") == b"1"  # not in MULTI any more


def test_pop_cut_at_every_byte(setup):
    """Nil, as at its time-out, and a log line: the element is gone."""
    node, relay, proxy = setup
    with proxy.connect() as client:
        for value, whole in cuts(relay, "pop", lambda v: b"*2\r\n$1\r\nq\r\n$7\r\n%b\r\n" % v):
            client.send(encode("BLPOP", "q", 0))
            wait_until(lambda: int(node.info("clients")["blocked_clients"]) == 1,
                       what="the blocked client")
            node.call("RPUSH", "q", value)
            assert client.read() == ([b"q", value] if whole else None)
            assert client.call("LLEN", "q") == 0
        wait_until(lambda: proxy.entries("blocking-in-doubt"), what="a line in the log")


def test_message_cut_at_every_byte(setup):
    """A subscriber hears of it or not, and in either case of what comes then."""
    node, relay, proxy = setup
    said = 0

    def hears():
        nonlocal said
        said += 1  # some may go to the connection that has just ended
        node.call("PUBLISH", "ch", said)
        while client.read(0.2)[2] != b"%d" % said:
            pass
        return True

    with proxy.connect() as client:
        client.ok("SUBSCRIBE", "ch")
        for value, whole in cuts(relay, "msg",
                                 lambda v: b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$7\r\n%b\r\n" % v):
            wait_until(lambda v=value: node.call("PUBLISH", "ch", v) == 1, what="one that listens")
            if whole:
                assert client.read() == [b"message", b"ch", value]
            wait_until(hears, what="one that listens")


def test_script_error_cut_at_every_byte(setup):
    """A script may have changed much before it failed."""
    node, relay, proxy = setup
    script = "redis.call('INCR', 'scripts') return redis.error_reply('ERR ' .. ARGV[1])"
    node.call("DEL", "scripts")
    with proxy.connect() as client:
        for value, whole in cuts(relay, "evl", lambda v: b"-ERR %b\r\n" % v):
            before = int(node.call("GET", "scripts") or 0)
            reply = client.call("EVAL", script, 0, value)
            assert reply == (ServerError(f"ERR {value.decode()}") if whole else IN_DOUBT)
            assert client.call("GET", "scripts") == b"%d" % (before + 1)


@pytest.mark.tls
def test_forged_refusal_cut_at_every_byte(setup):
    """A script says READONLY behind its write. Even where the connection ends before the node
    could be asked whether that is so, it does not run again."""
    node, relay, proxy = setup
    script = "redis.call('INCR', 'forged') return redis.error_reply('READONLY ' .. ARGV[1])"
    node.call("DEL", "forged")
    with proxy.connect() as client:
        for value, whole in cuts(relay, "frg", lambda v: b"-READONLY %b\r\n" % v):
            before = int(node.call("GET", "forged") or 0)
            reply = client.call("EVAL", script, 0, value)
            forwarded = ServerError(f"READONLY {value.decode()}")
            assert reply == IN_DOUBT or whole and reply == forwarded, (value, reply)
            assert client.call("GET", "forged") == b"%d" % (before + 1)
