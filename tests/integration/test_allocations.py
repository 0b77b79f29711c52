"""What a worker allocates for requests of sessions that are warm: nothing. Counted in a release
build, for sanitizers allocate in their own ways."""

import contextlib
import os
import shutil
import struct
import subprocess

import pytest

from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.proxy import ROOT, Proxy, is_sanitized
from support.wait import wait_until

REQUESTS = 100_000
CLIENTS = 20
WINDOWS = 4  # a burst larger than all before takes a block or a longer ring, once


class Counter:
    """The allocations of all threads but the first, as the preloaded library counts them."""

    def __init__(self, folder):
        self.path = folder / "count"
        self.path.write_bytes(bytes(8))
        self.library = folder / "count_allocations.so"
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o",
                        self.library, os.path.join(ROOT, "tests/support/count_allocations.c")],
                       check=True, timeout=60)
        self.env = {"LD_PRELOAD": str(self.library), "COUNT_ALLOCATIONS": str(self.path)}

    def read(self):
        return struct.unpack("=Q", self.path.read_bytes())[0]


@pytest.fixture(name="setup", scope="module")
def setup_fixture(release, tmp_path_factory):
    """(node, proxy, counter)"""
    counter = Counter(tmp_path_factory.mktemp("count"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VEDETTE", str(release))
        assert not is_sanitized()
        with contextlib.ExitStack() as stack:
            node = Node(str(tmp_path_factory.mktemp("node")))
            stack.callback(node.close)
            node.start()
            sentinel = stack.enter_context(FakeSentinel(node.address, epoch=1))
            proxy = stack.enter_context(Proxy([sentinel.address], {"links": "shared"},
                                              env=counter.env))
            proxy.wait_serving()
            yield node, proxy, counter


@contextlib.contextmanager
def load(proxy, command, depth):
    tool = shutil.which("redis-benchmark")
    assert tool is not None, "redis-benchmark (redis-tools) is missing"
    process = subprocess.Popen(
        [tool, "-h", proxy.address[0], "-p", str(proxy.address[1]), "-c", str(CLIENTS), "-P",
         str(depth), "-d", "64", "-r", "1000", "-n", "1000000000", "-t", command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.full
@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize("command", ["set", "get"])
def test_a_warm_worker_allocates_nothing(setup, command, depth):
    node, proxy, counter = setup
    before, allocated = node.calls(command), counter.read()
    with load(proxy, command, depth) as process:

        def reach(calls):
            wait_until(lambda: node.calls(command) >= calls, 120, f"{calls} requests")
            assert process.poll() is None

        reach(before + REQUESTS)
        warming = counter.read() - allocated
        assert warming >= CLIENTS  # it does count
        found = []
        while 0 not in found and len(found) < WINDOWS:
            calls, allocated = node.calls(command), counter.read()
            reach(calls + REQUESTS)
            found.append(counter.read() - allocated)
        print(f"{command}, depth {depth}: {warming} allocations while warming, then {found} in "
              f"{REQUESTS} requests each")
        assert found[-1] == 0
