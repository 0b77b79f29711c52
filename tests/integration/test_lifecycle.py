"""Start before anything else exists, stop without breaking what runs, Sentinels that lie."""

import re
import signal
import time

import pytest

from support.cluster import SHORT, Cluster, Node, Sentinel
from support.fake_sentinel import CLOSE, NEVER, NULL_ARRAY, FakeNode, FakeSentinel, Half
from support.procs import Port, Process
from support.proxy import Proxy
from support.resp import ServerError, encode
from support.wait import wait_until

NOT_EXECUTED = ServerError(
    "LOADING No primary available for 'mymaster'; the command was not executed")


@pytest.fixture(name="node")
def node_fixture(tmp_path):
    node = Node(str(tmp_path))
    node.start()
    yield node
    node.close()


def test_start_before_sentinel_and_redis(tmp_path):
    """Nobody is there: it listens and lets requests wait; when all have come, it serves them."""
    node = Node(str(tmp_path))
    sentinel = Sentinel(str(tmp_path), {"mymaster": node.port}, SHORT, quorum=1)
    try:
        with Proxy([sentinel.address], {"hold-timeout": "20s"}) as proxy:
            with proxy.connect(30) as client:
                client.send(encode("SET", "k", "v") + encode("GET", "k"))
                assert client.read_for(0.5) == b""
                sentinel.start()
                assert client.read_for(0.5) == b""
                node.start()
                assert client.read() == "OK"
                assert client.read() == b"v"
    finally:
        sentinel.close()
        node.close()


def test_without_any_sentinel_requests_fail_in_time():
    port = Port()
    with Proxy([("127.0.0.1", port.number)], {"hold-timeout": "500ms"}) as proxy:
        with proxy.connect() as client:
            for _ in range(2):
                began = time.monotonic()
                assert client.call("INCR", "n") == NOT_EXECUTED
                assert 0.3 < time.monotonic() - began < 3
            assert client.is_open()
        assert proxy.entries(), "it says why it can't serve"
    port.release()


def test_the_very_first_request_waits_too():
    """One that comes before the workers have heard anything of the service."""
    with FakeSentinel(None) as sentinel:
        for _ in range(15):
            proxy = Proxy([sentinel.address], {"hold-timeout": "20s", "proxy.workers": 8})
            proxy.process = Process(proxy.argv, proxy.log_path, proxy.env)
            try:
                first = wait_until(lambda p=proxy: p.connect(), 10, "the listener", 0)
                clients = [first] + [proxy.connect() for _ in range(7)]
                for client in clients:
                    client.send(encode("INCR", "n"))
                for client in clients:
                    assert client.read_for(0.01) == b""
                    client.close()
                proxy.stop()
            finally:
                proxy.discard()


def test_all_sentinels_gone_changes_nothing(start_service):
    with start_service({"hold-timeout": "3s"}) as service:
        with service.connect() as client:
            service.cluster.sentinels[0].kill()
            deadline = time.monotonic() + 4.5  # longer than a view counts
            while time.monotonic() < deadline:
                assert isinstance(client.ok("INCR", "n"), int)
                time.sleep(0.01)
            service.cluster.sentinels[0].start()
            assert isinstance(client.ok("INCR", "n"), int)


def test_64_sigterm_ends_idle_sessions(start_service):
    with start_service() as service:
        clients = [service.connect() for _ in range(5)]
        for client in clients:
            client.ok("PING")
        began = time.monotonic()
        service.proxy.stop()
        assert time.monotonic() - began < 5
        for client in clients:
            assert client.closed()
            client.close()


@pytest.mark.tsan
def test_64_sigterm_finishes_what_is_in_flight(start_service):
    with start_service({"proxy.drain-timeout": "15s"}) as service:
        with service.connect(20) as slow, service.connect(20) as pipelined:
            slow.ok("PING")
            pipelined.ok("PING")
            service.node.process.pause()
            slow.send(encode("INCR", "a"))
            pipelined.send(encode("INCR", "n") * 200)
            time.sleep(0.1)  # the requests are on their way to a server that stands still
            service.proxy.process.signal(signal.SIGTERM)
            time.sleep(0.2)
            assert service.proxy.process.running()
            service.node.process.resume()
            assert slow.read() == 1
            assert [pipelined.read() for _ in range(200)] == list(range(1, 201))
            assert slow.closed() and pipelined.closed()
        assert service.proxy.process.wait(10) == 0
        service.proxy.check_log()


def test_64_sigterm_ends_blocked_clients(start_service):
    """At the drain's deadline a blocked client gets its nil; no element is lost."""
    with start_service({"proxy.drain-timeout": "1s"}) as service:
        with service.connect(20) as blocked:
            blocked.send(encode("BLPOP", "list", "0"))
            wait_until(lambda: int(service.node.info("clients")["blocked_clients"]) == 1, 5,
                       "the client to be blocked")
            service.proxy.process.signal(signal.SIGTERM)
            assert blocked.read_all() == b"*-1\r\n"
        assert service.proxy.process.wait(10) == 0
        service.node.call("RPUSH", "list", "x")
        assert service.node.call("LLEN", "list") == 1


@pytest.mark.tsan
def test_64_sigterm_while_requests_wait():
    with FakeSentinel(None) as sentinel, \
            Proxy([sentinel.address], {"proxy.drain-timeout": "1s"}) as proxy:
        with proxy.connect(20) as client:
            client.send(encode("INCR", "n"))
            client.read_for(0.2)
            proxy.process.signal(signal.SIGTERM)
            assert client.read() == NOT_EXECUTED
            assert client.closed()
        assert proxy.process.wait(10) == 0


@pytest.mark.tsan
def test_second_sigterm_ends_at_once(start_service):
    with start_service({"proxy.drain-timeout": "60s"}) as service:
        with service.connect(20) as blocked:
            blocked.send(encode("BLPOP", "list", "0"))
            wait_until(lambda: int(service.node.info("clients")["blocked_clients"]) == 1, 5,
                       "the client to be blocked")
            service.proxy.process.signal(signal.SIGTERM)
            time.sleep(0.3)
            assert service.proxy.process.running()
            began = time.monotonic()
            service.proxy.process.signal(signal.SIGTERM)
            service.proxy.process.wait(10)
            assert time.monotonic() - began < 3
            blocked.read_all()
        service.proxy.check_log()


def test_drain_delay_goes_on_accepting(start_service):
    with start_service({"proxy.drain-delay": "2s"}) as service:
        service.proxy.process.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert service.proxy.call("PING") == "PONG"
        began = time.monotonic()
        assert service.proxy.process.wait(10) == 0
        assert time.monotonic() - began > 0.5


def test_wrong_sentinel_password(tmp_path, node):
    """Said once, not once a second; the other Sentinel is used."""
    bad = Sentinel(str(tmp_path / "bad"), {"mymaster": node.port}, SHORT, 1,
                   settings=[("requirepass", "real-sentinel-pw")])
    with FakeSentinel(node.address, epoch=1, password="given-pw-99") as good:
        try:
            bad.start()
            with Proxy([bad.address, good.address], {"proxy.log-level": "debug"},
                       sentinel_settings={"password": "given-pw-99"}) as proxy:
                proxy.wait_serving()
                time.sleep(3)  # several polls
                log = proxy.log()
                assert "given-pw-99" not in log and "real-sentinel-pw" not in log
                about = [line for line in log.splitlines() if f":{bad.port} " in line]
                assert len(about) == 1 and "WRONGPASS" in about[0], about
                assert proxy.call("SET", "k", "v") == "OK"
        finally:
            bad.close()


def test_sentinel_password_file(tmp_path, node):
    secret = tmp_path / "secret"
    secret.write_text("pw-in-a-file\n")
    with FakeSentinel(node.address, epoch=1, password="pw-in-a-file") as sentinel:
        with Proxy([sentinel.address],
                   sentinel_settings={"password-file": str(secret)}) as proxy:
            proxy.wait_serving()
            assert "pw-in-a-file" not in proxy.log()


def test_secrets_are_never_logged(tmp_path):
    """Every secret that passes through at the most talkative level: none is in the log."""
    del tmp_path
    with Cluster(replicas=0, sentinels=1, node_settings=[("requirepass", "node-secret-1")],
                 sentinel_settings=[("sentinel auth-pass mymaster", "node-secret-1"),
                                    ("requirepass", "sentinel-secret-2")]) as cluster:
        with Proxy(cluster.sentinel_addresses, {"password": "node-secret-1",
                                                "proxy.log-level": "debug"},
                   sentinel_settings={"password": "sentinel-secret-2"}) as proxy:
            proxy.wait_serving()
            with proxy.connect() as client:
                client.ok("ACL", "SETUSER", "bob", "on", ">bob-secret-3", "~*", "+@all")
                client.ok("AUTH", "bob", "bob-secret-3")
                client.call("AUTH", "bob", "wrong-secret-4")
                client.ok("HELLO", 3, "AUTH", "bob", "bob-secret-3")
                client.ok("SET", "k", "value-secret-5")
                client.call("NOSUCH", "arg-secret-6")
                client.send(b"*1\r\n$-1\r\nAUTH secret-7")
                client.read_all()
            log = proxy.log()
            assert "secret" not in log, re.findall(r".*secret.*", log)[:3]


LIES = {
    "null": {"SENTINEL GET-MASTER-ADDR-BY-NAME": NULL_ARRAY},
    "error": {"SENTINEL": b"-ERR something is wrong\r\n"},
    "garbage": {"SENTINEL": b"\x00\xff garbage\r\n"},
    "not RESP": {"SENTINEL": b"HTTP/1.1 400 Bad Request\r\n\r\n"},
    "never": {"SENTINEL": NEVER},
    "never anything": {"PING": NEVER, "SENTINEL": NEVER, "SUBSCRIBE": NEVER, "PSUBSCRIBE": NEVER},
    "close": {"SENTINEL": CLOSE},
    "half": {"SENTINEL GET-MASTER-ADDR-BY-NAME": Half(b"*2\r\n$9\r\n127.0")},
    "half and close": {"SENTINEL MASTER": Half(b"*40\r\n$4\r\nname\r\n", close=True)},
    "huge array": {"SENTINEL": b"*2147483647\r\n"},
    "huge bulk": {"SENTINEL": b"$536870912\r\n" + b"x" * 1000},
    "deep": {"SENTINEL": b"*1\r\n" * 10000},
    "wrong types": {"SENTINEL MASTER": b":5\r\n", "SENTINEL GET-MASTER-ADDR-BY-NAME": b"+OK\r\n"},
    "bad port": {"SENTINEL GET-MASTER-ADDR-BY-NAME": b"*2\r\n$9\r\n127.0.0.1\r\n$6\r\n999999\r\n"},
    "bad address": {"SENTINEL GET-MASTER-ADDR-BY-NAME": b"*2\r\n$3\r\n...\r\n$4\r\n6379\r\n"},
    "bad epoch": {"SENTINEL MASTER":
                  b"*2\r\n$12\r\nconfig-epoch\r\n$20\r\n-9223372036854775809\r\n"},
    "odd fields": {"SENTINEL MASTER": b"*3\r\n$4\r\nname\r\n$1\r\nx\r\n$5\r\nflags\r\n"},
    "too many answers": {"SENTINEL MYID": b"+a\r\n+b\r\n+c\r\n+d\r\n"},
    "push": {"SENTINEL": b">2\r\n+a\r\n+b\r\n"},
}


@pytest.mark.parametrize("lie", LIES)
def test_21_one_sentinel_misbehaves(node, lie):
    """The other one is believed, soon; nothing crashes, no memory is spent."""
    with FakeSentinel(("127.0.0.1", 1), epoch=0, script=LIES[lie]) as bad, \
            FakeSentinel(node.address, epoch=1) as good, \
            Proxy([bad.address, good.address], {"hold-timeout": "10s"}) as proxy:
        with proxy.connect(15) as client:
            assert client.call("SET", "k", "v") == "OK"
            began = time.monotonic()
            while time.monotonic() - began < 1.2:
                assert isinstance(client.call("INCR", "n"), int)
                time.sleep(0.005)
        assert proxy.rss() < 300 << 20


@pytest.mark.parametrize("lie", LIES)
def test_21_the_only_sentinel_misbehaves_and_recovers(node, lie):
    with FakeSentinel(node.address, epoch=1, script=LIES[lie]) as sentinel, \
            Proxy([sentinel.address], {"hold-timeout": "15s"}) as proxy:
        with proxy.connect(20) as client:
            client.send(encode("SET", "k", "v"))
            assert client.read_for(0.4) == b""
            sentinel.script.clear()
            sentinel.disconnect_all()
            assert client.read() == "OK"


@pytest.mark.tsan
def test_garbage_events(node):
    """Events of other masters, broken ones, a lying one: none moves a client away."""
    with FakeSentinel(node.address, epoch=1) as sentinel, FakeNode() as other, \
            Proxy([sentinel.address]) as proxy, proxy.connect() as client:
        client.ok("SET", "k", "v")
        wait_until(lambda: sentinel.subscribers() > 0, 5, "a subscription")
        for channel, text in (("+switch-master", ""), ("+switch-master", "mymaster"),
                              ("+switch-master", "other 127.0.0.1 1 127.0.0.1 2"),
                              ("+switch-master", f"mymaster x y 127.0.0.1 {other.port}"),
                              ("+switch-master", "mymaster " * 500),
                              ("+selected-slave", "slave"), ("+sdown", "\0\1\2"),
                              ("+odown", "master other 127.0.0.1 1"),
                              ("-failover-abort-no-good-slave", "master mymaster 127.0.0.1 1"),
                              ("+no-such-event", "x")):
            sentinel.publish(channel, text)
            assert client.call("GET", "k", timeout=5) == b"v"
        assert not other.requests("GET")


def test_stale_sentinel_drags_nobody_back(node):
    """One of three Sentinels names an old address with an older epoch, for ever."""
    with FakeNode() as old:
        with FakeSentinel(old.address, epoch=3) as stale, \
                FakeSentinel(node.address, epoch=4) as one, \
                FakeSentinel(node.address, epoch=4) as two:
            with Proxy([stale.address, one.address, two.address]) as proxy:
                with proxy.connect() as client:
                    assert client.ok("SET", "k", "v") == "OK"
                    stale.publish("+switch-master",
                                  f"mymaster 127.0.0.1 {node.port} 127.0.0.1 {old.port}")
                    for _ in range(100):
                        assert client.call("GET", "k") == b"v"
                        time.sleep(0.01)
            assert not old.requests("GET") and not old.requests("SET")


def test_switch_told_by_event_only_needs_role(node, tmp_path):
    """The new address is adopted only when the node there says it is a master."""
    replica = Node(str(tmp_path / "r"), replica_of=node)
    try:
        replica.start()
        wait_until(lambda: replica.in_sync_with(node), 10, "a replica in sync")
        with FakeSentinel(node.address, epoch=1) as sentinel, \
                Proxy([sentinel.address], {"hold-timeout": "10s"}) as proxy, \
                proxy.connect(20) as client:
            client.ok("SET", "k", "1")
            wait_until(lambda: sentinel.subscribers() > 0, 5, "a subscription")
            sentinel.switch(replica.address, 2)
            client.send(encode("SET", "k", "2"))
            client.read_for(0.5)
            assert replica.role() == "slave"
            replica.call("REPLICAOF", "NO", "ONE")
            wait_until(lambda: client.call("CONFIG", "GET", "port")[1] ==
                       b"%d" % replica.port, 10, "the switch")
    finally:
        replica.close()
