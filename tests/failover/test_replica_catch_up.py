"""A client that has written leaves the primary again, and never waits long for that."""

import contextlib
import time

import pytest

from support.replicas import Landed, ReplicaStage
from support.wait import wait_until


@pytest.fixture(name="stage", scope="module")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        yield ReplicaStage(stack)


def test_what_shows_nothing_does_not_send_back(stage):
    """A client that says PING or SELECT before each read reads from replicas all the same."""
    with stage.through() as proxy, proxy.connect() as client:
        client.ok("GET", "k")
        landed = Landed(stage.nodes)
        for _ in range(50):
            assert client.ok("PING") == "PONG"
            client.ok("SELECT", 0)
            client.ok("GET", "k")
        assert landed.of("get")[0] == 0


def test_nobody_waits_long(stage):
    """limit: CATCH_UP_MAX_MS. The replicas have what the client wrote, not what it has read since,
    and stand still: its reads go to the primary after a moment."""
    with stage.through() as proxy, proxy.connect() as client, proxy.connect() as other:
        client.ok("SET", "k", "mine")
        wait_until(lambda: reads_on_replica(stage, client), 10, "a read on a replica")
        for replica in stage.replicas:
            replica.stop_sending()
        other.ok("SET", "k", "newer")
        assert client.ok("DBSIZE") > 0  # on the primary, where it has seen that now
        landed = Landed(stage.nodes)
        began = time.monotonic()
        for _ in range(100):
            assert client.ok("GET", "k") == b"newer"
        took = time.monotonic() - began
        print(f"100 reads in {took * 1000:.0f} ms, {landed.of('get')}")
        assert landed.of("get") == [100, 0, 0]
        assert took < 5
        for replica in stage.replicas:
            replica.go_on()


def reads_on_replica(stage, client):
    landed = Landed(stage.nodes)
    assert client.ok("GET", "k") == b"mine"
    return landed.of("get")[0] == 0
