"""What is compared: each is started on a port of its own, in front of the same Redis."""

import contextlib
import os
import re
import resource
import shutil
import socket
import typing

from support.procs import Port, Process
from support.proxy import Proxy, run
from support.wait import wait_until

# Things that not everybody can do.
TRANSACTIONS, SELECT, MESSAGES = "transactions", "select", "messages"
EVERYTHING = frozenset({TRANSACTIONS, SELECT, MESSAGES})

# Whether replicas follow the Redis.
ALONE, FOLLOWED = "alone", "followed"
BOTH = (ALONE, FOLLOWED)

HAPROXY = """
global
    nbthread 1
    maxconn {clients}
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    default-server maxconn {clients}
listen redis
    bind 127.0.0.1:{port} backlog 4096
    server redis 127.0.0.1:{redis}
"""

NUTCRACKER = """
redis:
  listen: 127.0.0.1:{port}
  redis: true
  preconnect: true
  backlog: 4096
  server_connections: 1
  servers:
    - 127.0.0.1:{redis}:1
"""


class Place:
    """Where contenders run. clients: so many have descriptors, two each."""

    def __init__(self, build, cluster, directory):
        self.build, self.directory = build, directory
        self.clients = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2
        self.redis = cluster.nodes[0].port
        self.replicas = len(cluster.nodes) - 1
        self.sentinels = cluster.sentinel_addresses


class Contender:
    """start: gives a Running for a `with`. can: of EVERYTHING. missing: why it can't be started.
    where: in scenarios without replicas (ALONE), with them (FOLLOWED), or in both."""

    def __init__(self, name, start, can=EVERYTHING, missing=None, where=(ALONE,)):
        self.name, self.start, self.can, self.missing = name, start, can, missing
        self._where = where

    def takes_part(self, replicas):
        """In a scenario with so many of them."""
        return (FOLLOWED if replicas else ALONE) in self._where


class Running:
    def __init__(self, port, pid=None):
        self.port, self.pid = port, pid


@contextlib.contextmanager
def direct(place):
    yield Running(place.redis)


class Job(typing.NamedTuple):
    """What the command line of a program is made of."""

    file: str  # its configuration; files of its own begin with that name
    port: int
    spare_port: int
    place: Place


def _program(words, config=None):
    """start() of the program that words(job) start."""
    @contextlib.contextmanager
    def start(place):
        with contextlib.ExitStack() as stack:
            port, spare = Port(), Port()
            stack.callback(port.release)
            stack.callback(spare.release)
            job = Job(os.path.join(place.directory, f"{port.number}"), port.number, spare.number,
                      place)
            if config:
                with open(job.file, "w", encoding="ascii") as out:
                    out.write(config.format(port=job.port, redis=place.redis,
                                            clients=place.clients))
            process = Process([str(word) for word in words(job)], job.file + ".log")
            stack.callback(process.kill)
            wait_until(lambda: _accepts(process, job.port), 10,
                       f"{process.argv[0]} to listen")
            yield Running(job.port, process.pid)
    return start


def _accepts(process, port):
    if not process.running():
        command = " ".join(process.argv)
        raise RuntimeError(f"{command!r} ended at once:\n{process.log()[-1000:]}")
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def vedette(**settings):
    """start() of the proxy; keys with `__` for the dot and `_` for the dash."""
    given = {key.replace("__", ".").replace("_", "-"): value for key, value in settings.items()}

    @contextlib.contextmanager
    def start(place):
        fixed = {"proxy.log-level": "notice", "proxy.max-clients": place.clients}
        with Proxy(place.sentinels, {**fixed, **given}) as proxy:
            proxy.wait_serving()
            if "read-policy" in given:
                wait_until(lambda: len(proxy.entries("replica-fit")) >= place.replicas, 30,
                           "replicas that serve")
            yield Running(proxy.address[1], proxy.process.pid)
    return start


def link_modes():
    """The values of the key `links`, the default first; none where there is no such key."""
    text = " ".join(run("--help")[1].split())
    found = re.search(r" links [^(]*\(([^;)]*); default ([^)]*)\)", text)
    if not found:
        return []
    words = re.split(r", | or ", found.group(1))
    return sorted(words, key=lambda word: word != found.group(2))


def _haproxy(job):
    return ("haproxy", "-db", "-f", job.file)


def _nutcracker(job):
    return ("nutcracker", "-c", job.file, "-v", 0, "-a", "127.0.0.1", "-s", job.spare_port,
            "-o", job.file + ".out", "-p", job.file + ".pid")


def _floor(kind):
    return lambda job: (f"{job.place.build}/tests/bench/bench_floor_{kind}", job.port,
                        job.place.redis)


def _absent(program):
    return None if shutil.which(program) else f"{program} is not installed"


READS = {"proxy__workers": 1, "read_policy": "prefer-replica", "replica_slow_start": 0}


def everybody():
    """In the order of the table. What needs a connection of its own is asked of no shared one. Of
    those that read from replicas the second also reads what is older than its own writes."""
    modes = [Contender(f"vedette-{mode}", vedette(proxy__workers=1, links=mode))
             for mode in link_modes()[1:]]
    return [
        Contender("direct", direct, where=BOTH),
        Contender("haproxy", _program(_haproxy, HAPROXY), missing=_absent("haproxy")),
        Contender("nutcracker", _program(_nutcracker, NUTCRACKER), frozenset(),
                  _absent("nutcracker")),
        Contender("floor-1:1", _program(_floor("one"))),
        Contender("floor-shared", _program(_floor("shared")), frozenset()),
        Contender("vedette", vedette(proxy__workers=1), where=BOTH),
        Contender("vedette-reads", vedette(**READS), where=(FOLLOWED,)),
        Contender("vedette-old", vedette(**READS, consistency="eventual"), where=(FOLLOWED,)),
        *modes,
        Contender("vedette-2", vedette(proxy__workers=2)),
    ]
