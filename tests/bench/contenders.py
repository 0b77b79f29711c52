"""What is compared: each is started on a port of its own, in front of the same Redis."""

import contextlib
import os
import re
import resource
import shutil
import socket
import typing

from support import tls
from support.procs import Port, Process
from support.proxy import Proxy, run
from support.wait import wait_until

# Things that not everybody can do.
TRANSACTIONS, SELECT, MESSAGES = "transactions", "select", "messages"
EVERYTHING = frozenset({TRANSACTIONS, SELECT, MESSAGES})

# Whether replicas follow the Redis; or TLS of clients only, or to Redis too, which then speaks no
# other.
ALONE, FOLLOWED, TLS_CLIENTS, TLS_BOTH = "alone", "followed", "tls-clients", "tls-both"
EVERYWHERE = (ALONE, FOLLOWED, TLS_CLIENTS, TLS_BOTH)

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
    bind 127.0.0.1:{port} backlog 4096{of_clients}
    server redis 127.0.0.1:{redis}{to_redis}
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
        self.tls = cluster.nodes[0].tls
        self.clients = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2
        self.redis = cluster.nodes[0].port
        self.replicas = len(cluster.nodes) - 1
        self.sentinels = cluster.sentinel_addresses


class Contender:
    """start: gives a Running for a `with`. can: of EVERYTHING. missing: why it can't be started.
    where: in which kinds of scenarios, of EVERYWHERE."""

    def __init__(self, name, start, can=EVERYTHING, missing=None, where=(ALONE,)):
        self.name, self.start, self.can, self.missing = name, start, can, missing
        self._where = where

    def takes_part(self, where):
        return where in self._where


class Running:
    """tls: clients have to speak it."""

    def __init__(self, port, pid=None, tls=False):
        self.port, self.pid, self.tls = port, pid, tls


@contextlib.contextmanager
def direct(place):
    yield Running(place.redis, tls=place.tls is not None)


class Job(typing.NamedTuple):
    """What the command line of a program is made of."""

    file: str  # its configuration; files of its own begin with that name
    port: int
    spare_port: int
    place: Place


def _program(words, config=None, with_tls=False):
    """start() of the program that words(job) start. with_tls: clients speak it, and to Redis it is
    spoken where Redis does."""
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
                                            clients=place.clients,
                                            of_clients=_of_clients(job) if with_tls else "",
                                            to_redis=_to_redis(place)))
            process = Process([str(word) for word in words(job)], job.file + ".log")
            stack.callback(process.kill)
            wait_until(lambda: _accepts(process, job.port), 10,
                       f"{process.argv[0]} to listen")
            yield Running(job.port, process.pid, with_tls)
    return start


def _of_clients(job):
    """HAProxy's words, and the file with both the certificate and its key."""
    with open(job.file + ".pem", "wb") as pem:
        for kind in ("crt", "key"):
            with open(tls.certs().path(f"server.{kind}"), "rb") as part:
                pem.write(part.read())
    return f" ssl crt {job.file}.pem"


def _to_redis(place):
    return f" ssl verify required ca-file {place.tls.path('ca.crt')}" if place.tls else ""


def _accepts(process, port):
    if not process.running():
        command = " ".join(process.argv)
        raise RuntimeError(f"{command!r} ended at once:\n{process.log()[-1000:]}")
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def vedette(with_tls=False, **settings):
    """start() of the proxy; keys with `__` for the dot and `_` for the dash. with_tls: as above."""
    given = {key.replace("__", ".").replace("_", "-"): value for key, value in settings.items()}

    @contextlib.contextmanager
    def start(place):
        fixed = {"proxy.log-level": "notice", "proxy.max-clients": place.clients}
        if with_tls:
            fixed["tls"] = "yes" if place.tls else "no"
        certs = tls.certs() if with_tls else None
        with Proxy(place.sentinels, {**fixed, **given}, tls=certs) as proxy:
            proxy.wait_serving()
            if "read-policy" in given:
                wait_until(lambda: len(proxy.entries("replica-fit")) >= place.replicas, 30,
                           "replicas that serve")
            yield Running(proxy.address[1], proxy.process.pid, with_tls)
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
        Contender("direct", direct, where=EVERYWHERE),
        Contender("haproxy", _program(_haproxy, HAPROXY), missing=_absent("haproxy")),
        Contender("haproxy-tls", _program(_haproxy, HAPROXY, True), missing=_absent("haproxy"),
                  where=(TLS_CLIENTS, TLS_BOTH)),
        Contender("nutcracker", _program(_nutcracker, NUTCRACKER), frozenset(),
                  _absent("nutcracker")),
        Contender("floor-1:1", _program(_floor("one"))),
        Contender("floor-shared", _program(_floor("shared")), frozenset()),
        Contender("vedette", vedette(proxy__workers=1), where=(ALONE, FOLLOWED)),
        Contender("vedette-tls", vedette(True, proxy__workers=1), where=(TLS_CLIENTS, TLS_BOTH)),
        Contender("vedette-reads", vedette(**READS), where=(FOLLOWED,)),
        Contender("vedette-old", vedette(**READS, consistency="eventual"), where=(FOLLOWED,)),
        *modes,
        Contender("vedette-2", vedette(proxy__workers=2)),
    ]
