"""Sessions whose reads are on replicas: what they may read, how they wait, and how they end."""

import contextlib
import os
import signal
import time

import pytest

from support.relay import DOWN, Rule
from support.replicas import Landed, ReplicaStage
from support.resp import ServerError, encode
from support.wait import wait_until

PASSWORDS = [("requirepass", "secret"), ("masterauth", "secret")]


@pytest.fixture(name="stage", scope="module")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, fronts=True)
        with stage.primary.connect() as direct:
            direct.ok("SET", "k", "value")
            direct.pipeline([("SET", f"k:{i}", i) for i in range(100)])
        stage.replicated()
        yield stage


@pytest.mark.parametrize("size", [5_000, 100_000, 1_500_000, 5_000_000])
def test_large_values(stage, size):
    """Among small ones, and read by others too."""
    value = os.urandom(size // 2).hex().encode()
    stage.primary.call("SET", "big", value)
    stage.replicated()
    with stage.through() as proxy:
        landed = Landed(stage.nodes)
        clients = [proxy.connect(30) for _ in range(4)]
        for _ in range(3):
            for client in clients:
                client.send(encode("GET", "big") + encode("GET", "k"))
            for client in clients:
                assert client.read() == value
                assert client.read() == b"value"
        for client in clients:
            client.close()
        assert sum(landed.of("get")[1:]) > 0


def test_60_a_reply_cut_at_any_byte(stage):
    """It is read again elsewhere, and nothing of it is given twice."""
    with stage.through() as proxy, proxy.connect() as client:
        for after in range(len(b"$5\r\nvalue\r\n") + 1):
            value = b"%05d" % after
            whole = b"$5\r\n%b\r\n" % value
            stage.primary.call("SET", f"cut:{after}", value)
            stage.replicated()
            stage.wait_fit(stage.replicas)
            rules = [replica.front.add(Rule("rst", DOWN, whole, after=after))
                     for replica in stage.replicas]
            wait_until(lambda at=after, want=value: client.ok("GET", f"cut:{at}") == want and
                       any(rule.fired.is_set() for rule in rules), 10, "a cut connection", 0)
            assert client.ok("GET", "k") == b"value"


def test_who_leaves_takes_nothing_along(stage):
    """Replies that nobody waits for any more are given to nobody."""
    with stage.through({"proxy.workers": 1}) as proxy:
        stays = [proxy.connect() for _ in range(4)]
        for number in range(30):
            leaves = proxy.connect()
            leaves.send(b"".join(encode("GET", f"k:{i}") for i in range(100)))
            for client in stays:
                client.send(b"".join(encode("GET", f"k:{i}") for i in range(20)))
            if number % 2:
                leaves.reset()
            else:
                leaves.close()
            for client in stays:
                assert [client.read() for _ in range(20)] == [b"%d" % i for i in range(20)]
        for client in stays:
            client.close()


def test_half_closed(stage):
    """All that was asked is answered, whatever node answers it, and then it is closed."""
    with stage.through() as proxy, proxy.connect() as client:
        client.send(b"".join(encode("GET", f"k:{i}") for i in range(50)) + encode("SET", "half", 1)
                    + encode("GET", "half"))
        client.half_close()
        assert client.read_frames(50) == [b"$%d\r\n%d\r\n" % (len(str(i)), i) for i in range(50)]
        assert client.read_all() == b"+OK\r\n$1\r\n1\r\n"


def behind(stage):
    """What is written from now on reaches no replica."""
    for replica in stage.replicas:
        replica.stop_sending()


def test_waiting_has_an_end(stage):
    """Where the primary serves no reads, one waits for a replica to catch up as long as others wait
    for a primary."""
    with stage.through({"read-policy": "replica", "hold-timeout": "1s",
                        "max-replica-lag": "1h"}) as proxy, proxy.connect() as client:
        behind(stage)
        client.ok("SET", "late", 1)
        began = time.monotonic()
        reply = client.call("GET", "late")
        assert isinstance(reply, ServerError) and "not executed" in reply.text, reply
        assert 0.8 < time.monotonic() - began < 5
        for replica in stage.replicas:
            replica.go_on()
        wait_until(lambda: client.call("GET", "late") == b"1", 10, "what it wrote")


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
def test_a_client_leaves_while_it_waits(stage, leave):
    with stage.through({"read-policy": "replica", "max-replica-lag": "1h",
                        "proxy.drain-timeout": "300ms"}) as proxy:
        behind(stage)
        for _ in range(5):
            client = proxy.connect()
            client.ok("SET", "late", 1)
            client.send(encode("GET", "late") * 3)
            assert client.read_for(0.05) == b""
            getattr(client, leave)()
            client.close()
        proxy.check_log()
        with proxy.connect() as other:
            assert other.ok("GET", "k") == b"value"


def test_the_proxy_ends_while_reads_wait(stage):
    with stage.through({"read-policy": "replica", "max-replica-lag": "1h",
                        "proxy.drain-timeout": "300ms"}) as proxy:
        behind(stage)
        with proxy.connect() as client:
            client.ok("SET", "late", 1)
            client.send(encode("GET", "late"))
            assert client.read_for(0.05) == b""
            proxy.process.signal(signal.SIGTERM)
            assert isinstance(client.read(), ServerError)
            assert client.closed()
            proxy.process.wait(20)


def test_passwords():
    """Of the nodes: that of the service is used for replicas too, and so is a client's own."""
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, node_settings=PASSWORDS)
        stage.primary.call("SET", "k", "value")
        stage.replicated()
        with stage.through({"password": "secret"}) as proxy, proxy.connect() as client:
            landed = Landed(stage.nodes)
            for _ in range(20):
                assert client.ok("GET", "k") == b"value"
            assert landed.of("get")[0] == 0
            for node in stage.nodes:
                node.call("ACL", "SETUSER", "dora", "on", ">hers", "~*", "+@read")
            client.ok("AUTH", "dora", "hers")
            wait_until(lambda: client.ok("STRLEN", "k") == 5 and any(landed.of("strlen")[1:]), 5,
                       "her reads on a replica")
            assert client.call("SET", "k", 1).code == "NOPERM"
