"""5,000 clients that are slow to begin and 1,000 that do not read, beside 50 honest ones: what these
wait, and what it costs in memory."""

import contextlib
import glob
import json
import os
import statistics
import subprocess
import sys

import pytest

from support.cluster import Cluster
from support.proxy import ROOT, Proxy
from support.wait import wait_until

OPENERS, READERS = 5000, 1000
MIB = 1 << 20
EACH = 8192  # what one of them may cost in memory
WINDOWS = 7
CPUS = sorted(os.sched_getaffinity(0))
OURS, THEIRS = CPUS[-1], CPUS[0]  # Redis and the proxy have one to themselves, if there are two


@pytest.fixture(name="load", scope="module")
def load_fixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("load") / "load"
    sources = glob.glob(os.path.join(ROOT, "tests/bench/load*.c"))
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{ROOT}", "-o", path, *sources,
                    "-lssl", "-lcrypto"],
                   check=True, timeout=60)
    return path


def p99(load, proxy):
    """Of 50 clients that ask one thing after the other, in microseconds."""
    done = subprocess.run(["taskset", "-c", str(THEIRS), load, f"port={proxy.address[1]}", "connections=50", "depth=1",
                           "mix=set", "size=64", "keys=1000", "seconds=2", "warmup=0.3"],
                          check=True, capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "error" not in found, found
    return found["p99_us"]


@contextlib.contextmanager
def attackers(proxy):
    """They have all come, and take nothing from honest clients but what these leave."""
    command = ["taskset", "-c", str(THEIRS), "chrt", "--idle", "0", sys.executable,
               os.path.join(ROOT, "tests/support/attackers.py"), str(proxy.address[1]),
               str(OPENERS), str(READERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()


@pytest.fixture(name="placed")
def placed_fixture():
    os.sched_setaffinity(0, {OURS})
    yield
    os.sched_setaffinity(0, CPUS)


@pytest.mark.full
@pytest.mark.usefixtures("placed")
def test_slow_openers_and_slow_readers(release, load, monkeypatch):
    """Not a quarter more for the slowest hundredth than without them in the same run, and little
    memory: who has begun holds what it has sent, and the kernel what the readers leave."""
    monkeypatch.setenv("VEDETTE", str(release))
    with Cluster(replicas=0, sentinels=1) as cluster, \
            Proxy(cluster.sentinel_addresses,
                  {"proxy.workers": 1, "proxy.max-clients": 7000, "stall-timeout": "5s"}) as proxy:
        proxy.wait_serving()
        proxy.call("SET", "big", "x" * 10_000)
        calm = [p99(load, proxy) for _ in range(WINDOWS)]
        before, most = proxy.rss(), 0
        with attackers(proxy):
            # The first are closed, and come again.
            wait_until(lambda: proxy.entries("frame-timeout"), 30, "an opener to be closed")
            busy = []
            for _ in range(WINDOWS):
                busy.append(p99(load, proxy))
                most = max(most, proxy.rss() - before)
        calm += [p99(load, proxy) for _ in range(WINDOWS)]
        print(f"p99 {statistics.median(calm):.0f} us without them {[round(t) for t in calm]}, "
              f"{statistics.median(busy):.0f} us with them {[round(t) for t in busy]}; "
              f"{most / MIB:.0f} MiB more")
        assert statistics.median(busy) < 1.25 * statistics.median(calm)
        assert most < (OPENERS + READERS) * EACH
