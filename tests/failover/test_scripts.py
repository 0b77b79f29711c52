"""EVALSHA finds its script on a new primary, which replication does not give it."""

import contextlib
import hashlib
import time

import pytest
import redis

from support.case import failed_over, judged, one_node, scenario, two_primaries
from support.fake_sentinel import CLOSE, NEVER, FakeNode, FakeSentinel, bulk
from support.proxy import Proxy
from support.relay import DOWN, Rule
from support.resp import ServerError, encode, encode_all
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

RAISE = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
NOSCRIPT = ServerError("NOSCRIPT No matching script. Please use EVAL.")
KINDS = pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])


def sha(body):
    return hashlib.sha1(body.encode()).hexdigest()


def has(node, *bodies):
    return node.call("SCRIPT", "EXISTS", *map(sha, bodies))


def switch(sentinel, proxy, node, epoch=2):
    sentinel.switch(node.address, epoch)
    wait_until(lambda: len(proxy.entries("primary-changed")) == epoch, 5, "the switch")


@contextlib.contextmanager
def clients(proxy, count):
    """On different workers, as they are handed out in turn."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(proxy.connect(20)) for _ in range(count)]
        for client in found:
            client.ok("PING")
        yield found


@KINDS
@judged
def test_49_evalsha(planned):
    """Each body that a client has loaded or run is there, for all clients, in and outside of
    transactions; nothing runs twice."""
    seen = RAISE + " -- seen in EVAL"
    with scenario() as (cluster, proxy), clients(proxy, 4) as found:
        first, second, third, fourth = found
        assert first.ok("SCRIPT", "LOAD", RAISE) == sha(RAISE).encode()
        assert second.ok("EVAL", seen, 1, "n", 1) == 1
        assert third.ok("MULTI") == "OK"
        new = failed_over(cluster, planned)
        assert first.ok("EVALSHA", sha(seen), 1, "a", 5) == 5
        assert second.pipeline([("EVALSHA", sha(RAISE), 1, "b", 1), ("INCR", "b"),
                                ("EVALSHA", sha(RAISE), 1, "b", 1)]) == [1, 2, 3]
        assert fourth.pipeline([("MULTI",), ("EVALSHA", sha(RAISE).upper(), 1, "c", 1),
                                ("EVALSHA", sha(seen), 1, "c", 1), ("EXEC",)])[3] == [1, 2]
        assert new.call("MGET", "a", "b", "c") == [b"5", b"3", b"2"]
        assert has(new, RAISE, seen) == [1, 1]


@pytest.mark.plain("redis-py is set up without TLS")
@KINDS
@judged
def test_49_redis_py_register_script(planned):
    with scenario() as (cluster, proxy):
        host, port = proxy.address
        client = redis.Redis(host=host, port=port, socket_timeout=20)
        raised = client.register_script(RAISE)
        assert raised(keys=["n"], args=[1]) == 1
        wait_until(lambda: all(r.call("GET", "n") for r in cluster.replicas()), 5, "replicas")
        new = failed_over(cluster, planned)
        assert raised(keys=["n"], args=[1]) == 2
        pipe = client.pipeline(transaction=True)
        raised(keys=["n"], args=[1], client=pipe)
        assert pipe.execute()[-1] == 3
        assert new.call("GET", "n") == b"3"
        client.close()


@KINDS
@judged
def test_50_functions(planned):
    """Redis replicates them."""
    library = "#!lua name=l\nredis.register_function('raise', function(keys, args) " \
              "return redis.call('INCRBY', keys[1], args[1]) end)"
    with scenario() as (cluster, proxy), proxy.connect(20) as client:
        assert client.ok("FUNCTION", "LOAD", library) == b"l"
        assert client.ok("FCALL", "raise", 1, "n", 1) == 1
        wait_until(lambda: all(r.call("GET", "n") for r in cluster.replicas()), 5, "replicas")
        new = failed_over(cluster, planned)
        assert client.ok("FCALL", "raise", 1, "n", 1) == 2
        assert client.pipeline([("MULTI",), ("FCALL", "raise", 1, "n", 1), ("EXEC",)])[2] == [3]
        assert new.call("GET", "n") == b"3"


def test_flush_is_for_all():
    with two_primaries() as ((old, new), sentinel, proxy), clients(proxy, 2) as (first, second):
        first.ok("SCRIPT", "LOAD", RAISE)
        second.ok("EVAL", RAISE + "--", 1, "n", 1)
        assert second.ok("SCRIPT", "FLUSH") == "OK"
        assert has(old, RAISE) == [0]
        second.ok("EVAL", RAISE + "---", 1, "n", 1)
        switch(sentinel, proxy, new)
        for client in (first, second):
            assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == NOSCRIPT
            assert client.call("EVALSHA", sha(RAISE + "--"), 1, "n", 1) == NOSCRIPT
        assert has(new, RAISE, RAISE + "--", RAISE + "---") == [0, 0, 1]
        assert new.call("GET", "n") is None


def test_without_the_cache():
    with two_primaries({"script-cache": "no"}) as ((_, new), sentinel, proxy), \
            proxy.connect() as client:
        client.ok("SCRIPT", "LOAD", RAISE)
        switch(sentinel, proxy, new)
        assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == NOSCRIPT
        assert has(new, RAISE) == [0]


def test_the_oldest_are_forgotten():
    """limit: script-cache-memory. Those only run before those loaded; 16 KiB hold some sixty."""
    with two_primaries({"script-cache-memory": "16k"}) as ((_, new), sentinel, proxy), \
            proxy.connect() as client:
        client.ok("SCRIPT", "LOAD", RAISE)
        bodies = [f"return {i}" for i in range(100)]
        assert client.pipeline([("EVAL", body, 0) for body in bodies]) == list(range(100))
        switch(sentinel, proxy, new)
        client.ok("PING")
        there = has(new, *bodies)
        kept = sum(there)
        assert there == [0] * (100 - kept) + [1] * kept and 40 < kept < 64
        assert has(new, RAISE) == [1]


def test_many_are_loaded_in_time():
    """The four megabytes of the default: all of them before the first request is answered."""
    with two_primaries() as ((_, new), sentinel, proxy), proxy.connect(20) as client:
        bodies = [f"return {i} -- {'x' * 1000}" for i in range(3000)]
        for at in range(0, 3000, 100):
            client.pipeline([("SCRIPT", "LOAD", body) for body in bodies[at:at + 100]])
        switch(sentinel, proxy, new)
        assert client.pipeline([("MULTI",), ("EVALSHA", sha(bodies[-1]), 0), ("EXEC",)])[2] \
            == [2999]
        assert all(has(new, *bodies))
        wait_until(lambda: proxy.entries("scripts-loaded"), 5, "the log")
        entry = proxy.entries("scripts-loaded")[0]
        print(f"{entry['scripts']} scripts in {entry['ms']} ms")


def users(node, **rules):
    for name, rule in rules.items():
        node.call("ACL", "SETUSER", name, "reset", "on", f">{name}", "~*", *rule.split())


def test_who_may_not_bring_a_script_brings_none():
    """What a server has refused is loaded for nobody."""
    with two_primaries() as ((old, new), sentinel, proxy), clients(proxy, 2) as (bob, eve):
        for node in (old, new):
            users(node, bob="+@all", eve="+@all -eval -script")
        bob.ok("AUTH", "bob", "bob")
        eve.ok("AUTH", "eve", "eve")
        bob.ok("SCRIPT", "LOAD", RAISE)
        evil = RAISE + " -- by eve"
        assert eve.call("SCRIPT", "LOAD", evil).code == "NOPERM"
        assert eve.call("EVAL", evil, 1, "n", 1).code == "NOPERM"
        switch(sentinel, proxy, new)
        assert eve.call("EVALSHA", sha(RAISE), 1, "n", 1) == 1
        assert eve.call("EVALSHA", sha(evil), 1, "n", 1) == NOSCRIPT
        assert has(new, RAISE, evil) == [1, 0]


def test_loaded_as_a_client_where_the_proxy_may_not():
    """As one that has proved its password to this worker, if it may."""
    with two_primaries({"proxy.workers": 1}) as ((old, new), sentinel, proxy), \
            clients(proxy, 2) as (bob, eve):
        for node in (old, new):
            users(node, bob="+@all", eve="+@all -script")
            node.call("ACL", "SETUSER", "default", "-script")
        eve.ok("AUTH", "eve", "eve")
        bob.ok("AUTH", "bob", "bob")
        bob.ok("SCRIPT", "LOAD", RAISE)
        switch(sentinel, proxy, new)
        assert eve.pipeline([("MULTI",), ("EVALSHA", sha(RAISE), 1, "n", 1), ("EXEC",)])[2] == [1]
        assert not proxy.entries("scripts-not-loaded")


@pytest.mark.parametrize("refused, tried", [(3, True), (4, False)])
def test_users_that_are_tried(refused, tried):
    """limit: SCRIPTS_LOAD_USERS_MAX. The proxy's own and four of its clients."""
    with two_primaries({"proxy.workers": 1}) as ((old, new), sentinel, proxy), \
            clients(proxy, refused + 1) as found:
        names = [f"user{i}" for i in range(refused + 1)]
        for node in (old, new):
            users(node, **{name: "+@all -script|load" for name in names[:-1]})
            users(node, **{names[-1]: "+@all"})
            node.call("ACL", "SETUSER", "default", "-script|load")
        for client, name in zip(found, names):
            client.ok("AUTH", name, name)
        found[-1].ok("SCRIPT", "LOAD", RAISE)
        switch(sentinel, proxy, new)
        found[0].ok("PING")
        assert bool(has(new, RAISE)[0]) == tried


def test_nobody_may_load():
    """It is said once, and everything else goes on."""
    with two_primaries() as ((old, new), sentinel, proxy), proxy.connect() as client:
        client.ok("EVAL", RAISE, 1, "n", 1)
        for node in (old, new):
            node.call("ACL", "SETUSER", "default", "-script|load", "-script|exists")
        switch(sentinel, proxy, new)
        assert client.call("INCR", "n") == 1
        assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == NOSCRIPT
        told, = proxy.entries("scripts-not-loaded")
        assert told["error"].startswith("NOPERM") and told["level"] == "warning"


@contextlib.contextmanager
def odd_primary(answer):
    """(sentinel, new, proxy): a script is known, and the next primary answers SCRIPT so."""
    with one_node() as (node, _), FakeNode({"SCRIPT": answer, "INCR": b":7\r\n"}) as new, \
            FakeSentinel(node.address, epoch=1) as sentinel, Proxy([sentinel.address]) as proxy:
        proxy.wait_serving()
        with proxy.connect() as client:
            client.ok("SCRIPT", "LOAD", RAISE)
        yield sentinel, new, proxy


def test_loading_takes_too_long():
    """limit: SCRIPTS_LOAD_MAX_MS. Requests go on without."""
    with odd_primary(NEVER) as (sentinel, new, proxy), proxy.connect() as client:
        switch(sentinel, proxy, new)
        began = time.monotonic()
        assert client.call("INCR", "n") == 7
        assert 0.8 < time.monotonic() - began < 5
        wait_until(lambda: proxy.entries("scripts-not-loaded"), 5, "the warning")


@pytest.mark.parametrize("answer", [bulk(b"x" * (9 << 20)), b"nonsense\r\n", CLOSE],
                         ids=["large", "odd", "close"])
def test_a_server_that_answers_oddly(answer):
    """limit: SCRIPTS_ANSWER_MAX. Requests go on without."""
    with odd_primary(answer) as (sentinel, new, proxy), proxy.connect() as client:
        switch(sentinel, proxy, new)
        assert client.call("INCR", "n") == 7
        wait_until(lambda: proxy.entries("scripts-not-loaded"), 5, "the warning")


# A server that has lost a script without a switch: restarted, flushed behind the proxy's back.


@pytest.fixture(name="one")
def one_fixture():
    with one_node() as (node, proxy):
        proxy.wait_serving()
        yield node, proxy


def test_a_lost_script_is_loaded_again(one):
    node, proxy = one
    with proxy.connect() as client:
        client.ok("EVAL", RAISE, 1, "n", 1)
        for i in range(2, 5):
            node.call("SCRIPT", "FLUSH")
            assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == i
        assert client.call("EVALSHA", sha(RAISE + " "), 1, "n", 1) == NOSCRIPT
        assert node.call("GET", "n") == b"4"
        assert node.calls("script|load") == 3


def test_a_pipeline_of_lost_scripts(one):
    """All of it goes back where nothing behind the first did more than read."""
    node, proxy = one
    bodies = [RAISE + "-" * i for i in range(2, 7)]
    with proxy.connect() as client:
        for body in bodies:
            client.ok("SCRIPT", "LOAD", body)
        node.call("SCRIPT", "FLUSH")
        requests = []
        for i in range(20):
            requests += [("EVALSHA", sha(bodies[i % 5]), 1, "n", 1), ("GET", "n")]
        want = []
        for i in range(1, 21):
            want += [i, b"%d" % i]
        assert client.pipeline(requests) == want
        assert node.calls("script|load") == 10


@pytest.mark.parametrize("count, healed", [(16, True), (17, False)])
def test_a_pipeline_of_many_lost_scripts(one, count, healed):
    """limit: HEALED_SCRIPTS_MAX. Different ones at once."""
    node, proxy = one
    bodies = [RAISE + "-" * i for i in range(2, 2 + count)]
    with proxy.connect() as client:
        client.pipeline([("SCRIPT", "LOAD", body) for body in bodies])
        node.call("SCRIPT", "FLUSH")
        replies = client.pipeline([("EVALSHA", sha(body), 1, "n", 1) for body in bodies])
        assert replies == (list(range(1, count + 1)) if healed else [NOSCRIPT] * count)


def test_what_ran_behind_it_is_not_overtaken(one):
    """A write behind the NOSCRIPT has run: the words are given as they are, nothing runs twice."""
    node, proxy = one
    with proxy.connect() as client:
        client.ok("SCRIPT", "LOAD", RAISE)
        node.call("SCRIPT", "FLUSH")
        assert client.pipeline([("EVALSHA", sha(RAISE), 1, "n", 1), ("INCR", "n"), ("GET", "n")]) \
            == [NOSCRIPT, 1, b"1"]
        assert node.call("GET", "n") == b"1"
        assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == 2


def test_words_of_a_script_are_no_proof(one):
    """It wrote, and says what the server would have said."""
    node, proxy = one
    forged = "redis.call('INCR', KEYS[1]) " \
             "return redis.error_reply('NOSCRIPT No matching script. Please use EVAL.')"
    with proxy.connect() as client, proxy.connect() as other:
        # Only what was answered without an error is remembered.
        assert client.ok("SCRIPT", "LOAD", forged) == sha(forged).encode()
        for i in range(1, 4):
            assert client.call("EVALSHA", sha(forged), 1, "n") == NOSCRIPT
            assert node.call("GET", "n") == b"%d" % i
        node.call("SCRIPT", "FLUSH")
        assert client.call("EVALSHA", sha(forged), 1, "n") == NOSCRIPT  # loaded again, run once
        assert node.call("GET", "n") == b"4"
        assert other.call("EVALSHA", sha(forged), 1, "n") == NOSCRIPT
        assert node.call("GET", "n") == b"5"


def test_many_clients_miss_it_at_once(one):
    """Each runs once; none is told."""
    node, proxy = one
    with clients(proxy, 20) as found:
        found[0].ok("SCRIPT", "LOAD", RAISE)
        node.call("SCRIPT", "FLUSH")
        node.pause()
        for client in found:
            client.send(encode("EVALSHA", sha(RAISE), 1, "n", 1))
        node.resume()
        assert sorted(client.read() for client in found) == list(range(1, 21))
        assert node.call("GET", "n") == b"20"


def test_loaded_for_all_while_one_asks():
    """The hold ends and scripts are loaded, before a client's NOSCRIPT is made good."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        client = stack.enter_context(stage.proxy.connect(20))
        client.ok("SCRIPT", "LOAD", RAISE)
        stage.old.call("SCRIPT", "FLUSH")
        late = stage.relay.add(Rule("delay", marker=b"EXISTS", seconds=1))
        client.send(encode("EVALSHA", sha(RAISE), 1, "n", 1))
        late.wait()
        stage.announce()
        stage.abort()
        wait_until(lambda: has(stage.old, RAISE) == [1], 5, "loading")
        assert client.read() == 1
        assert stage.old.call("GET", "n") == b"1"


def test_one_hears_late_that_it_was_missing():
    """Another client has it loaded between the answer and its arrival."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, **{"links": "exclusive", "stall-timeout": "10s"})
        late, other = (stack.enter_context(stage.proxy.connect(20)) for _ in range(2))
        for client in (late, other):  # of different workers
            client.ok("SCRIPT", "LOAD", RAISE)
        stage.old.call("SCRIPT", "FLUSH")
        delayed = stage.relay.add(Rule("delay", DOWN, marker=b"-NOSCRIPT", seconds=1))
        late.send(encode("EVALSHA", sha(RAISE), 1, "n", 1))
        delayed.wait()
        assert other.ok("EVALSHA", sha(RAISE), 1, "n", 1) == 1
        assert late.read() == 2
        assert stage.old.call("GET", "n") == b"2"


def test_lost_by_a_restart(one):
    """What waited for the primary finds it, in a transaction too."""
    node, proxy = one
    with proxy.connect(20) as client:
        client.ok("SCRIPT", "LOAD", RAISE)
        node.kill()
        client.send(encode_all([("MULTI",), ("EVALSHA", sha(RAISE), 1, "n", 1), ("EXEC",)]))
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        node.start()
        assert [client.read() for _ in range(3)] == ["OK", "QUEUED", [1]]


def test_lost_by_a_restart_that_takes_long(one):
    """limit: SCRIPTS_RETRY_MS. A server says master as it loads its data, and takes no script
    before it has. Then all clients, of all workers, find theirs."""
    node, proxy = one
    with node.connect() as direct:
        direct.pipeline([("SET", f"filler:{i}", i) for i in range(2000)])
        direct.ok("SAVE")
    with clients(proxy, 8) as found:
        found[0].ok("SCRIPT", "LOAD", RAISE)
        node.kill()
        wait_until(lambda: proxy.entries("suspect-begin"), 5, "suspicion")
        for client in found:
            client.send(encode("EVALSHA", sha(RAISE), 1, "n", 1))
        node.start("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        assert node.info("persistence")["loading"] == "1", "the case needs a slow start"
        replies = [client.read() for client in found]
        assert not [reply for reply in replies if isinstance(reply, ServerError)]
        assert sorted(replies) == list(range(1, 9))
        assert not proxy.entries("scripts-not-loaded")


def test_not_loaded_again_for_who_may_not_load(one):
    """It is loaded as the user who runs it: the words are given as they are."""
    node, proxy = one
    with proxy.connect(20) as client:
        client.ok("SCRIPT", "LOAD", RAISE)
        node.call("SCRIPT", "FLUSH")
        node.call("ACL", "SETUSER", "default", "-script|load")
        assert client.call("EVALSHA", sha(RAISE), 1, "n", 1) == NOSCRIPT
        assert client.call("GET", "n") is None
