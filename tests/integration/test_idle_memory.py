"""What a connection costs that has sent nothing. Measured on a release build: sanitizers keep far
more than the program asks for."""

import contextlib
import os
import re
import resource
import socket
import subprocess

import pytest

from support import tls
from support.cluster import Cluster
from support.procs import Port
from support.proxy import Proxy
from support.wait import wait_until

BYTES_MAX = 1024
TLS_BYTES_MAX = {"shared": 20 << 10, "exclusive": 40 << 10}


def resident(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
def test_32_connections_that_sent_nothing(release, workers):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(9800, (hard - 300) // 2)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        port = Port()
        stack.callback(port.release)
        process = stack.enter_context(subprocess.Popen(
            [release, "--sentinel", "127.0.0.1:1", "--listen", f"127.0.0.1:{port.number}",
             "--set", f"proxy.workers={workers}"], stderr=subprocess.DEVNULL))
        stack.callback(process.terminate)

        def connect():
            return stack.enter_context(socket.create_connection(("127.0.0.1", port.number)))

        wait_until(connect, 10, "the listener")
        before, held = resident(process), descriptors(process)
        for _ in range(count):
            connect()
        wait_until(lambda: descriptors(process) >= held + count, 10, "all to be accepted")
        each = (resident(process) - before) / count
        print(f"{count} connections, {workers} workers: {each:.0f} bytes each")
        assert each <= BYTES_MAX


@pytest.mark.full
@pytest.mark.parametrize("links", TLS_BYTES_MAX)
def test_quiet_connections_with_tls(release, monkeypatch, links):
    """Each has asked once. OpenSSL's buffers are given back, those of their links too."""
    monkeypatch.setenv("VEDETTE", str(release))
    certs, count = tls.certs(), 300
    with Cluster(replicas=0, sentinels=1, tls=certs) as cluster, \
            Proxy(cluster.sentinel_addresses, {"links": links, "proxy.workers": 1},
                  tls=certs) as proxy, contextlib.ExitStack() as stack:
        proxy.wait_serving()

        def connect():
            stack.enter_context(proxy.connect(30)).ok("PING")

        for _ in range(20):
            connect()
        before = resident(proxy.process)
        for _ in range(count):
            connect()
        each = (resident(proxy.process) - before) / count
        print(f"links = {links}: {each:.0f} bytes each")
        assert each <= TLS_BYTES_MAX[links]
