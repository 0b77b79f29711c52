"""Scenario 65 and max-clients: what can run out or be refused, said clearly, survived, no spin."""

import os
import resource
import time

import pytest

from support.cluster import Cluster, Node
from support.fake_sentinel import FakeSentinel
from support.proxy import Proxy
from support.resp import ServerError, encode
from support.wait import wait_until

MAX_CLIENTS = ServerError("ERR max number of clients reached")


def cpu_share(process, seconds=1.0):
    """How much of one processor the process uses over a moment."""
    def used():
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def served(service):
    """A client, if there is a place for it."""
    client = service.connect()
    if client.call("PING") == "PONG":
        return client
    client.close()
    return None


def test_max_clients(start_service):
    """limit: max-clients. The words are those of Redis."""
    with start_service({"proxy.max-clients": 10}) as service:
        # The connections that found it serving may not be forgotten yet.
        clients = [wait_until(lambda: served(service), 10, "a place") for _ in range(10)]
        with service.connect() as refused:
            assert refused.read() == MAX_CLIENTS
            assert refused.closed()
        for client in clients:
            assert client.ok("PING") == "PONG"
        clients.pop().close()
        clients.append(wait_until(lambda: served(service), 10, "a place for another client"))
        for client in clients:
            client.close()


def test_65_few_descriptors_allowed(tmp_path):
    """limit: FDS_RESERVED. A hard limit below what max-clients needs: it says so, with the arithmetic, and keeps to what
    it can hold."""
    script = tmp_path / "limited.sh"
    script.write_text('ulimit -n 400 && exec "$@"\n')
    with Cluster(replicas=0, sentinels=1) as cluster, \
            Proxy(cluster.sentinel_addresses, wrapper=["/bin/sh", str(script)]) as proxy:
        proxy.wait_serving()
        assert "max-clients lowered" in proxy.log() and "400" in proxy.log()
        clients = [proxy.connect() for _ in range(200)]
        for client in clients:
            client.send(encode("PING"))
        replies = [client.read_all(timeout=0.2) if i > 100 else client.read()
                   for i, client in enumerate(clients)]
        served = replies.count("PONG")
        assert 20 <= served <= 100
        assert replies[served] == MAX_CLIENTS
        for client in clients[:served]:
            assert client.ok("SET", "k", "v") == "OK"
        for client in clients:
            client.close()


def test_65_descriptors_run_out(start_service):
    """limit: ACCEPT_PAUSE_MS. No descriptor is left for another connection: those that have one go
    on, nothing spins, and the waiting clients are served when there are some again."""
    with start_service() as service:
        first = [service.connect(20) for _ in range(10)]
        for client in first:
            assert client.ok("SET", "k", "v") == "OK"
        pid = service.proxy.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (service.proxy.fds() + 5, before[1]))
        more = [service.connect(20) for _ in range(40)]
        for client in more:
            client.send(encode("INCR", "n"))
        assert cpu_share(service.proxy.process) < 0.5
        for client in first:
            assert client.ok("GET", "k") == b"v"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        answers = [client.read() for client in more]
        assert all(isinstance(a, int) or a == MAX_CLIENTS for a in answers), answers
        assert service.proxy.call("GET", "k") == b"v"
        for client in first + more:
            client.close()


def test_65_upstream_maxclients(start_service):
    """The server refuses further connections: what needs one waits, shared links go on, and when
    there is room again everything is answered."""
    with start_service({"hold-timeout": "20s"}) as service:
        with service.connect(30) as busy:
            busy.ok("INCR", "n")
            now = int(service.node.info("clients")["connected_clients"])
            keep = service.node.connect()
            keep.ok("CONFIG", "SET", "maxclients", now + 3)
            blockers = [service.connect(30) for _ in range(12)]
            for client in blockers:
                client.send(encode("BLPOP", "list", "0"))
            wait_until(lambda: int(keep_info(keep)["rejected_connections"]) > 0, 10, "a refusal")
            for _ in range(50):
                assert isinstance(busy.ok("INCR", "n"), int)
            assert cpu_share(service.proxy.process) < 0.5
            keep.ok("CONFIG", "SET", "maxclients", 1000)
            wait_until(lambda: int(keep_info(keep, "clients")["blocked_clients"]) == 12, 15,
                       "all to be blocked")
            keep.ok("RPUSH", "list", *range(12))
            answers = sorted(client.read()[1] for client in blockers)
            assert answers == sorted(b"%d" % i for i in range(12))
            for client in [keep, *blockers]:
                client.close()


def keep_info(conn, section="stats"):
    text = conn.ok("INFO", section).decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def test_65_wrong_upstream_password(tmp_path):
    """The proxy's own password is refused: clients get an error in time, the log says why without
    saying the password, and it recovers when the server's password is set right."""
    node = Node(str(tmp_path), settings=[("requirepass", "right-one-42")])
    try:
        node.start()
        with FakeSentinel(node.address, epoch=1) as sentinel, \
                Proxy([sentinel.address],
                      {"password": "right-one-42", "hold-timeout": "1s"}) as proxy:
            with proxy.connect() as client:
                assert client.ok("SET", "k", "v") == "OK"
            with node.connect() as direct, proxy.connect(10) as client:
                direct.ok("CONFIG", "SET", "requirepass", "changed-77")
                direct.ok("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                began = time.monotonic()
                reply = client.call("GET", "k")
                assert isinstance(reply, ServerError), reply
                assert reply.code in ("LOADING", "NOAUTH", "WRONGPASS")
                assert time.monotonic() - began < 5
                assert cpu_share(proxy.process) < 0.5
                direct.ok("CONFIG", "SET", "requirepass", "right-one-42")
                wait_until(lambda: client.call("GET", "k") == b"v", 15, "recovery", 0.2)
            log = proxy.log()
            assert "right-one-42" not in log and "changed-77" not in log
            assert "WRONGPASS" in log
    finally:
        node.close()


@pytest.mark.tsan
@pytest.mark.parametrize("clients", [1000])
def test_many_clients(service, clients):
    """All at once, each with a request, and all its connections are given back."""
    opened = [service.connect(30) for _ in range(clients)]
    for number, client in enumerate(opened):
        client.send(encode("ECHO", number))
    for number, client in enumerate(opened):
        assert client.read() == b"%d" % number
    for client in opened:
        client.close()
    wait_until(lambda: int(service.node.info("clients")["connected_clients"]) < 200, 15,
               "connections given back")
