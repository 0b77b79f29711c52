"""What a session has on its link, and what becomes of it when the link is another."""

import threading

import pytest

from support.case import two_primaries
from support.resp import ServerError
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

MIB = 1 << 20


@pytest.fixture(name="setup")
def setup_fixture():
    with two_primaries() as case:
        for node in case[0]:
            node.call("CONFIG", "SET", "busy-reply-threshold", 50)
        yield case


def kill_links(node):
    node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_watch_while_a_large_reply_ends_on_the_old_primary(setup):
    """The reply may end where it began; the watch can't be had on the new primary."""
    (old, new), sentinel, proxy = setup
    value = b"x" * (24 * MIB)
    old.call("SET", "big", value)
    with proxy.connect(rcvbuf=4096) as client:
        assert client.call("WATCH", "k") == "OK"
        client.send(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
        assert client.read_exactly(10) == b"$25165824\r"
        sentinel.switch(new.address, 2)
        wait_until(lambda: len(proxy.entries("primary-changed")) == 2, 5, "the switch")
        new.call("SET", "k", "by another")
        assert client.read_exactly(1 + len(value) + 2)[-4:] == b"xx\r\n"
        assert client.call("MULTI") == "OK"
        client.call("SET", "k", "mine")
        assert client.call("EXEC") is None
        assert new.call("GET", "k") == b"by another"


def test_idle_sessions_have_not_waited(setup):
    """What is told of a switch is the switch's: not that each of them once waited for its link."""
    (old, new), sentinel, proxy = setup
    clients = [proxy.connect() for _ in range(20)]
    for client in clients:
        assert client.call("PING") == "PONG"
    sentinel.switch(new.address, 2)
    # It is logged before each worker knows of it: what comes in between does wait.
    wait_until(lambda: len(proxy.entries("primary-changed")) == 2, 5, "the switch")
    wait_until(lambda: "ping" not in {c["cmd"] for c in old.connections()}, 5,
               "the workers to have left the old primary")
    for client in clients:
        assert client.call("SET", "k", "v") == "OK"
        client.close()
    assert new.call("GET", "k") == b"v"
    assert not [e for e in proxy.entries("requests-released")
                if e["generation"] == "2" and int(e["waited"])]  # at the start somebody may wait


def test_exec_without_multi_leaves_the_watch(setup):
    (node, _), _, proxy = setup
    with proxy.connect() as client:
        assert client.call("WATCH", "k") == "OK"
        assert isinstance(client.call("EXEC"), ServerError)
        kill_links(node)
        node.call("SET", "k", "by another")
        assert client.call("MULTI") == "OK"
        client.call("SET", "k", "mine")
        assert client.call("EXEC") is None


def test_database_while_the_server_is_busy(setup):
    """A script keeps SELECT from being answered for a while: no reason to give the session up."""
    (node, _), _, proxy = setup
    with proxy.connect() as client, node.connect() as runner:
        client.ok("SELECT", 3)
        client.ok("SET", "k", "v")
        kill_links(node)
        with node.connect() as runner:
            runner.send(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
            wait_until(lambda: is_busy(node), 5, "a busy server")
            stop = threading.Timer(0.5, node.call, ["SCRIPT", "KILL"])
            stop.start()
            reply = client.call("GET", "k")
            stop.join()
        if isinstance(reply, ServerError):
            assert reply.code == "BUSY"
        wait_until(lambda: client.call("GET", "k") == b"v", 5, "the session's database")


def is_busy(node):
    with node.connect() as conn:
        reply = conn.call("PING")
        return isinstance(reply, ServerError) and reply.code == "BUSY"


def test_wait_is_never_answered_nil(setup):
    """The server ends it as it ends blocked clients; it waits for the new primary, where no replica
    is known to have what was written on the old one."""
    (node, other), sentinel, proxy = setup
    with proxy.connect() as client:
        client.ok("SET", "k", "v")
        client.send(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n")
        wait_until(lambda: node.info("clients")["blocked_clients"] == "1", 5, "WAIT to block")
        node.call("REPLICAOF", "127.0.0.1", other.port)
        wait_until(lambda: node.info("clients")["blocked_clients"] == "0", 5, "WAIT to end")
        sentinel.switch(other.address, 2)
        assert client.read() == 0
