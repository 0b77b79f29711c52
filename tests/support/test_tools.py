"""The tools that the scenarios rest on do what they say, against a real Redis."""

import os
import signal
import subprocess
import sys
import time

import pytest

from support import relay as relays
from support.cluster import Node
from support.crowd import Crowd
from support.fake_sentinel import CLOSE, NEVER, FakeNode, FakeSentinel, Half
from support.load import Load, counter, stored_lists
from support.oracles import ACKED, INDOUBT, check_counter, check_ledger, tally
from support.proxy import parse_line
from support.relay import DOWN, Relay, Rule
from support.resp import (INCOMPLETE, Conn, Pairs, Push, ServerError, Simple, decode, encode,
                          frame_end)
from support.wait import wait_until


@pytest.fixture(name="node", scope="module")
def node_fixture(tmp_path_factory):
    node = Node(str(tmp_path_factory.mktemp("node")))
    node.start()
    yield node
    node.close()


@pytest.fixture(name="relay")
def relay_fixture(node):
    node.call("FLUSHALL")
    with Relay(node.address) as relay:
        yield relay


@pytest.mark.parametrize("frame, value", [
    (b"+OK\r\n", Simple("OK")),
    (b"-ERR no\r\n", ServerError("ERR no")),
    (b":-7\r\n", -7),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", [[1], b"x"]),
    (b"%1\r\n+k\r\n,1.5\r\n", Pairs([("k", 1.5)])),
    (b">2\r\n+a\r\n#t\r\n", Push(["a", True])),
    (b"|1\r\n+k\r\n+v\r\n:5\r\n", 5),
])
def test_frames_are_found_at_every_cut(frame, value):
    assert decode(frame) == value
    assert frame_end(frame + b"+more\r\n") == len(frame)
    for cut in range(len(frame)):
        assert frame_end(frame[:cut]) == INCOMPLETE


def test_client_and_large_values(node):
    body = os.urandom(5_000_000)
    with node.connect() as conn:
        assert conn.call("SET", "big", body) == "OK"
        assert conn.call("GET", "big") == body
        assert conn.is_open()
        assert conn.call("QUIT") == "OK"
        assert conn.closed()


def test_load_records_every_answer(node):
    node.call("FLUSHALL")
    with Load(node.address, clients=4, depth=4, rate=0, limit=200) as load:
        load.wait_acks(800)
        load.stop()
        assert load.connections == load.opened
        assert check_ledger(load.records, stored_lists(node, 4)) == []


def test_load_keeps_to_its_rate(node):
    with Load(node.address, clients=4, rate=500) as load:
        began = time.monotonic()
        load.wait_acks(500)
        assert 0.7 < time.monotonic() - began < 3


def test_load_uses_all_clients_at_a_low_rate(node):
    with Load(node.address, clients=20, rate=500) as load:
        load.wait_acks(200)
        load.stop()
        assert min(len(records) for records in load.records) >= 5


def test_load_sees_a_lost_connection(relay, node):
    with Load(relay.address, clients=2, rate=200, workload=counter) as load:
        load.wait_acks(20)
        relay.freeze()
        load.wait_outstanding(3)
        relay.cut_all()
        wait_until(lambda: load.connections == [None, None], what="both connections lost")
        load.drain()
        assert tally(load.records)[INDOUBT] >= 3
        check_counter(load.records, int(node.call("GET", "c")))


def test_relay_passes_everything(relay):
    body = os.urandom(3_000_000)
    with Conn(relay.address) as conn:
        assert conn.ok("SET", "k", body) == "OK"
        assert conn.ok("GET", "k") == body
    wait_until(lambda: relay.connections() == 0, what="the pair gone")


@pytest.mark.parametrize("after", [0, 1, 20, 26, 27])
@pytest.mark.parametrize("action", ["rst", "fin"])
def test_relay_cuts_after_a_byte(relay, node, after, action):
    request = encode("INCR", "cut-here")
    assert len(request) == 28
    rule = relay.add(Rule(action, marker=request, after=after))
    with Conn(relay.address) as conn:
        conn.ok("PING")
        conn.send(request)
        rule.wait()
        assert conn.closed()
    assert node.call("GET", "cut-here") is None


def test_relay_lets_the_last_byte_through(relay, node):
    request = encode("INCR", "cut-here")
    relay.add(Rule("rst", marker=request, after=len(request)))
    with Conn(relay.address) as conn:
        conn.ok("PING")  # a reset before Redis has accepted takes the request with it
        conn.send(request)
        conn.read_all()
    wait_until(lambda: node.call("GET", "cut-here") == b"1", what="the INCR")


def test_relay_finds_a_marker_in_pieces(relay, node):
    request = encode("INCR", "pieces")
    rule = relay.add(Rule("rst", marker=request, after=len(request) - 1))
    with Conn(relay.address) as conn:
        for byte in request[:-1]:
            conn.send(bytes([byte]))
            time.sleep(0.001)
        assert not rule.fired.is_set()
        conn.send(request[-1:])
        rule.wait()
    assert node.call("GET", "pieces") is None


def test_relay_drops_the_reply_only(relay, node):
    request = encode("INCR", "drop")
    rule = relay.add(Rule("drop_reply", marker=request, after=len(request)))
    with Conn(relay.address) as conn:
        conn.send(request)
        assert conn.read_all() == b""
    rule.wait()
    assert node.call("GET", "drop") == b"1"


def test_relay_cuts_a_reply(relay, node):
    node.call("SET", "v", "marked-value")
    relay.add(Rule("fin", DOWN, marker=b"marked", after=3))
    with Conn(relay.address) as conn:
        conn.send(encode("GET", "v"))
        assert conn.read_all() == b"$12\r\nmar"


def test_relay_delays_and_trickles(relay):
    relay.add(Rule("delay", DOWN, marker=b"+PONG", seconds=0.3))
    with Conn(relay.address) as conn:
        began = time.monotonic()
        conn.ok("PING")
        assert time.monotonic() - began >= 0.29
    relay.add(Rule("trickle", DOWN, marker=b"+PONG", seconds=0.02))
    with Conn(relay.address) as conn:
        began = time.monotonic()
        conn.ok("PING")
        assert time.monotonic() - began >= 0.1


def test_relay_half_close(relay):
    request = encode("PING")
    relay.add(Rule("half_close", marker=request, after=len(request)))
    with Conn(relay.address) as conn:
        conn.send(request)
        assert conn.read_all() == b"+PONG\r\n"


def test_relay_refuses_and_freezes(relay):
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        Conn(relay.address)
    relay.refuse(False)
    with Conn(relay.address) as conn:
        relay.freeze()
        conn.send(encode("PING"))
        assert conn.read_for(0.2) == b""
        relay.freeze(False)
        assert conn.read() == "PONG"


@pytest.mark.parametrize("action", ["rst_server", "fin_client"])
def test_relay_closes_one_side(relay, node, action):
    del node
    request = encode("PING")
    rule = relay.add(Rule(action, marker=request, after=len(request)))
    with Conn(relay.address) as conn:
        conn.send(request)
        rule.wait()
        assert conn.closed(0.3) == (action == "fin_client")


def test_relays_know_both_directions():
    assert relays.UP != relays.DOWN


def test_fake_sentinel_answers_like_one():
    with FakeSentinel(("127.0.0.1", 7), epoch=3, password="pw") as fake, \
            Conn(fake.address) as conn:
        assert conn.call("PING").code == "NOAUTH"
        assert conn.call("AUTH", "no").code == "WRONGPASS"
        assert conn.call("AUTH", "pw") == "OK"
        get = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        assert conn.call(*get) == [b"127.0.0.1", b"7"]
        assert conn.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "other") is None
        fields = conn.call("SENTINEL", "MASTER", "mymaster")
        assert fields[fields.index(b"config-epoch") + 1] == b"3"
        with Conn(fake.address) as other:
            other.call("AUTH", "pw")
            assert other.call("SUBSCRIBE", "+switch-master") == [b"subscribe", b"+switch-master", 1]
            fake.switch(("127.0.0.1", 8), 4)
            assert other.read() == [b"message", b"+switch-master",
                                    b"mymaster 127.0.0.1 7 127.0.0.1 8"]
        assert conn.call(*get) == [b"127.0.0.1", b"8"]
        assert len(fake.requests("AUTH")) == 3


def test_fake_server_misbehaves_on_demand():
    with FakeNode(script={"GET": NEVER, "SET": CLOSE, "INCR": Half(b":1"),
                          "CLIENT ID": b":9\r\n"}) as fake:
        with Conn(fake.address) as conn:
            assert conn.call("CLIENT", "ID") == 9
            assert conn.call("CLIENT", "SETNAME", "x") == "OK"
            conn.send(encode("GET", "k"))
            assert conn.read_for(0.1) == b""
            conn.send(encode("INCR", "k"))
            assert conn.read_for(0.1) == b":1"
        with Conn(fake.address) as conn:
            conn.send(encode("SET", "k", "v"))
            assert conn.closed()


def test_log_lines():
    entry = parse_line('ts=1 level=notice event=primary-changed service="a b" x=1')
    assert (entry.level, entry.event) == ("notice", "primary-changed")
    assert entry["service"] == "a b"
    assert parse_line('not "a log line').event is None


def test_children_die_with_the_test_run(tmp_path):
    """A run that is killed leaves nothing behind."""
    script = ("import sys, time; sys.path.insert(0, sys.argv[1])\n"
              "from support.cluster import Node\n"
              "node = Node(sys.argv[2]); node.start(); print(node.process.pid, flush=True)\n"
              "time.sleep(60)\n")
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with subprocess.Popen([sys.executable, "-c", script, tests, str(tmp_path)],
                          stdout=subprocess.PIPE) as run:
        pid = int(run.stdout.readline())
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), what="Redis gone")


def _is_zombie(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_outcomes_are_told_apart(node):
    with Load(node.address, clients=1, rate=0, limit=3) as load:
        load.wait_acks(3)
        load.stop()
        assert tally(load.records)[ACKED] == 3


def counting(key, count, seen):
    for number in range(1, count + 1):
        seen.append((yield [("INCR", key), ("GET", key)]))
        assert seen[-1] == [number, b"%d" % number]
        yield 0.001


def test_a_crowd_follows_its_scripts(node):
    node.call("FLUSHALL")
    seen = [[] for _ in range(5)]
    with Crowd(node.address, [counting(f"c{i}", 20, seen[i]) for i in range(5)]) as crowd:
        crowd.wait_over()
        crowd.stop()
        assert [len(s) for s in seen] == [20] * 5
        assert crowd.exchanges == 100 and 0 < crowd.slowest < 5


def test_a_crowd_tells_what_its_scripts_find(node):
    node.call("FLUSHALL")
    with Crowd(node.address, [counting("same", 1000, []) for _ in range(2)]) as crowd:
        with pytest.raises(AssertionError, match="a session failed"):
            crowd.wait_over()


def test_a_crowd_notices_that_a_session_is_closed(relay):
    with Crowd(relay.address, [counting("k", 10**6, [])]) as crowd:
        crowd.wait_exchanges(5)
        relay.cut_all()
        with pytest.raises(AssertionError, match="was closed"):
            crowd.wait_exchanges(10**6)


def test_relay_lags(relay):
    with Conn(relay.address) as conn:
        conn.ok("PING")
        relay.lag(0.3)
        began = time.monotonic()
        assert conn.pipeline([("ECHO", i) for i in range(50)]) == [b"%d" % i for i in range(50)]
        assert 0.3 <= time.monotonic() - began < 2
        conn.send(encode("ECHO", "on its way"))
        relay.lag(60)
        assert conn.read_for(0.5) == b""
        relay.lag(0)
        assert conn.read() == b"on its way"
