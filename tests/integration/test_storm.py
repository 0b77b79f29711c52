"""Ten thousand connections a second: accepting them is the main thread's work, and so is hearing of
a failover. The one must not keep the other waiting."""

import contextlib
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

from support.fake_sentinel import FakeNode, FakeSentinel
from support.proxy import Proxy
from support.resp import encode
from support.wait import wait_until

# Connects at that rate and resets at once; tells how many connections a second it came to.
CONNECTOR = """
import socket, sys, time
rate, seconds, port = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
began, done = time.monotonic(), 0
while (now := time.monotonic() - began) < seconds:
    while done < now * rate:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
            s.connect(("127.0.0.1", port))
        done += 1
    time.sleep(0.001)
print(done / now)
"""


def when(entry):
    stamp = datetime.strptime(entry["ts"], "%Y-%m-%dT%H:%M:%S.%fZ")
    return stamp.replace(tzinfo=timezone.utc).timestamp()


def reactions(sentinel, proxy, node, seconds):
    """How long after each announcement the proxy held, and a client's request with it, in ms."""
    begun = len(proxy.entries("hold-begin"))
    address = f"master mymaster {node.address[0]} {node.address[1]}"
    over, delays = time.monotonic() + seconds, []
    with proxy.connect(20) as client:
        while time.monotonic() < over:
            assert client.ok("PING") == "PONG"
            announced = time.time()
            sentinel.publish("+try-failover", address)
            begun += 1
            wait_until(lambda n=begun: len(proxy.entries("hold-begin")) == n, 5, "a hold", 0.005)
            delays.append((when(proxy.entries("hold-begin")[-1]) - announced) * 1000)
            client.send(encode("PING"))
            assert client.read_for(0.45) == b""  # and no more changes a second than are logged
            sentinel.publish("-failover-abort-not-elected", address)
            assert client.read() == "PONG"
    return delays


@pytest.mark.full
def test_a_failover_is_heard_while_clients_storm_in():
    """limit: ACCEPTS_PER_TURN. The median of the delay grows by less than 10 ms."""
    with FakeNode() as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address]) as proxy, contextlib.ExitStack() as stack:
        proxy.wait_serving()
        wait_until(lambda: sentinel.subscribers() > 0, 10, "a subscription")
        calm = reactions(sentinel, proxy, node, 6)
        storm = [stack.enter_context(subprocess.Popen(
            [sys.executable, "-c", CONNECTOR, "5000", "7", str(proxy.address[1])],
            stdout=subprocess.PIPE)) for _ in range(2)]
        time.sleep(0.5)  # they have begun
        stormy = reactions(sentinel, proxy, node, 6)
        rate = sum(float(process.communicate(timeout=20)[0]) for process in storm)
        print(f"{rate:.0f} connections a second: held after {statistics.median(stormy):.1f} ms, at "
              f"most {max(stormy):.1f} ms of {len(stormy)}; without them "
              f"{statistics.median(calm):.1f} ms, at most {max(calm):.1f} ms of {len(calm)}")
        assert rate > 2000, "too few to tell"
        assert statistics.median(stormy) < statistics.median(calm) + 10
        assert not proxy.entries("client-refused")
