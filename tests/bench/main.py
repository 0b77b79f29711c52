"""Compares the proxy with others on one machine; started by run.sh, which see."""

import argparse
import contextlib
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from support import tls
from support.cluster import Cluster, Timers
from support.resp import encode

from . import contenders, scenarios, table
from .gauge import CallCounter, Machine, cpu_ns, pin

CALM = Timers(60000, 180000, {})  # a busy processor is no failover
IDLE_CONNECTIONS = 5000
NOISY = 0.05  # of a processor, by processes that are not ours


class Invalid(Exception):
    """A run that proves nothing: a wrong reply, a lost connection."""


class Bench:
    """A Redis, and those that take part in scenarios of that kind."""

    def __init__(self, options, stack, where, replicas=0):
        self.options = options
        self.stack = stack
        self.machine = Machine({options.client_cpu, *options.server_cpus})
        self.calls = CallCounter()
        self.running = {}
        secured = where == contenders.TLS_BOTH
        settings = (("maxclients", "20000"), ("tcp-backlog", "4096"), ("hz", "10"),
                    *((("tls-auth-clients", "no"),) if secured else ()))
        self.cluster = stack.enter_context(
            Cluster(replicas=replicas, sentinels=1, timers=CALM, node_settings=settings,
                    tls=tls.certs() if secured else None))
        self.redis = self.cluster.nodes[0]
        for node in self.cluster.nodes:
            pin(node.process.pid, options.server_cpus)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-bench-"))
        self.place = contenders.Place(options.build, self.cluster, directory)

    def start(self, contender, stack):
        running = stack.enter_context(contender.start(self.place))
        pin(running.pid, self.options.server_cpus)
        return running

    def start_all(self, chosen):
        for contender in chosen:
            self.running[contender.name] = self.start(contender, self.stack)

    def fill(self, scenario):
        """The keys that the load asks for, with the values that it expects."""
        padding = b"x" * (scenario.size - 8)
        with self.redis.connect(60) as conn:
            conn.ok("FLUSHALL")
            for database in range(scenario.databases):
                conn.ok("SELECT", database)
                for number in range(scenario.keys):
                    conn.ok("SET", f"key:{number:08}", b"%08d" % number + padding)

    def once(self, scenario, contender, seconds, count_calls=False):
        """One run: a dictionary of what was measured."""
        running = self.running[contender.name]
        words = [f"{key}={value}" for key, value in scenario.load.items()]
        words += [f"port={running.port}", f"seconds={seconds}", f"warmup={min(0.2, seconds / 2)}",
                  f"tls={int(running.tls)}"]
        with contextlib.ExitStack() as stack:
            counter = None
            if count_calls:
                counter = stack.enter_context(self.calls.attached(running.pid))
            child = stack.enter_context(subprocess.Popen(
                ["timeout", str(int(seconds) + 60), f"{self.options.build}/tests/bench/bench_load",
                 *words], stdout=subprocess.PIPE, text=True))
            self._expect(child, "begin")
            if counter:
                counter.begin()
            before = self._costs(running.pid)
            self._expect(child, "end")
            after = self._costs(running.pid)
            calls = counter.end() if counter else None
            found = self._result(child.stdout.readline())
        proxy, redis, replicas, used, stolen = (b - a for a, b in zip(before, after))
        everything = max(1, found["answered"] + found["beside"])
        others = used - found["busy"] * found["seconds"] - (proxy + redis + replicas) / 1e9
        return {"rate": found["answered"] / found["seconds"],
                "beside": found["beside"] / found["seconds"],
                "p50": found["p50_us"], "p99": found["p99_us"], "client": found["busy"],
                "proxy": proxy / 1e3 / everything if running.pid else None,
                "redis": redis / 1e3 / everything, "replicas": replicas / 1e3 / everything,
                "others": max(0, others) / found["seconds"], "stolen": stolen / found["seconds"],
                "calls": calls / everything if calls is not None else None}

    def _costs(self, pid):
        primary, *replicas = (cpu_ns(node.process.pid) for node in self.cluster.nodes)
        return (cpu_ns(pid), primary, sum(replicas), *self.machine.seconds())

    def _expect(self, child, word):
        line = child.stdout.readline()
        if line.strip() != word:
            self._result(line)
            raise Invalid(f"the load said {line!r} instead of {word!r}")

    @staticmethod
    def _result(line):
        if not line:
            raise Invalid("the load ended without a result, or took too long")
        found = json.loads(line)
        if "error" in found:
            raise Invalid(found["error"])
        return found

    def compare(self, scenario, chosen):
        """One row for each contender, direct first."""
        self.fill(scenario)
        rounds = {contender.name: [] for contender in chosen}
        errors = {}
        able = [c for c in chosen if scenario.needs <= c.can]
        for _ in range(self.options.rounds):
            for contender in able:
                if contender.name not in errors:
                    try:
                        rounds[contender.name].append(
                            self.once(scenario, contender, self.options.seconds))
                    except Invalid as error:
                        errors[contender.name] = str(error)
        rows = []
        for contender in chosen:
            if contender not in able:
                rows.append(table.Row(scenario.name, contender.name, note="can't"))
            elif contender.name in errors:
                rows.append(table.Row(scenario.name, contender.name,
                                      error=errors[contender.name]))
            else:
                rows.append(self._row(scenario, contender, rounds))
        return rows

    def _row(self, scenario, contender, rounds):
        row = table.Row(scenario.name, contender.name, rounds=rounds[contender.name])
        pairs = zip(row.rounds, rounds["direct"])
        row.ratio = statistics.median(mine["rate"] / theirs["rate"] for mine, theirs in pairs)
        if contender.name != "direct" and self.calls.works:
            with contextlib.suppress(Invalid):
                row.calls = self.once(scenario, contender, min(0.5, self.options.seconds),
                                      count_calls=True)["calls"]
        return row

    def idle(self, chosen):
        """Of a process of its own, as one that served before has memory to spare."""
        count = min(IDLE_CONNECTIONS, self.place.clients)
        for contender in chosen:
            if contender.name == "direct":
                continue
            with contextlib.ExitStack() as stack:
                running = self.start(contender, stack)
                before = _resident(running.pid)
                for _ in range(count):
                    _one_get(stack, running.port)
                each = (_resident(running.pid) - before) / count / 1024
            yield table.Row(scenarios.IDLE, contender.name, kib=each,
                            note=f"{each:.2f} KiB a client")


def _resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _one_get(stack, port):
    conn = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
    conn.sendall(encode("GET", "nothing"))
    assert conn.recv(64) == b"$-1\r\n"


def choose(names, wanted, what):
    for name in wanted or ():
        if name not in names:
            sys.exit(f"bench: there is no {what} {name!r}; there are: {', '.join(names)}")
    return [name for name in names if not wanted or name in wanted]


def chosen_contenders(options):
    found = {contender.name: contender for contender in contenders.everybody()}
    wanted = options.contender and {"direct", *options.contender}  # all else is compared with it
    chosen = [found[name] for name in choose(found, wanted, "contender")]
    for contender in chosen:
        if contender.missing:
            print(f"without {contender.name}: {contender.missing}")
    return [contender for contender in chosen if not contender.missing]


def chosen_scenarios(options):
    found = {s.name: s for s in scenarios.SCENARIOS}
    names = choose([*found, scenarios.IDLE], options.scenario, "scenario")
    if options.quick and not options.scenario:
        names = [name for name in names if name == scenarios.IDLE or found[name].quick]
    return [found[name] for name in names if name in found], scenarios.IDLE in names


def parse(arguments):
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenario", action="append")
    parser.add_argument("--contender", action="append")
    parser.add_argument("--json")
    parser.add_argument("--client-cpu", type=int, default=cpus[0])
    parser.add_argument("--server-cpus", default=str(cpus[-1]))
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    options.server_cpus = {int(number) for number in options.server_cpus.split(",")}
    wrong = {options.client_cpu, *options.server_cpus} - set(cpus)
    if wrong or options.client_cpu in options.server_cpus:
        sys.exit("bench: the client and the servers need different processors of those there are: "
                 + ", ".join(map(str, cpus)))
    return options


def facts(options):
    sha = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         check=False)
    return {"commit": sha.stdout.strip() or "unknown", "kernel": platform.release(),
            "rounds": options.rounds, "seconds": options.seconds,
            "client_cpu": options.client_cpu, "server_cpus": sorted(options.server_cpus)}


def measure(options, printer):
    """All rows."""
    work, with_idle = chosen_scenarios(options)
    chosen = chosen_contenders(options)
    rows = []
    with contextlib.ExitStack() as stack:
        benches = {}

        def bench_of(where, replicas, present):
            if where not in benches:
                benches[where] = Bench(options, stack, where, replicas)
                benches[where].start_all(present)
            return benches[where]

        if not CallCounter().works:
            print("without the column calls: perf can't count system calls here")
        printer.head()
        for scenario in work:
            present = [c for c in chosen if c.takes_part(scenario.where)]
            found = bench_of(scenario.where, scenario.replicas, present).compare(scenario, present)
            table.complete(found, rows, NOISY)
            printer.scenario(scenario.name, scenario.what, found)
            rows += found
        if with_idle:
            present = [c for c in chosen if c.takes_part(contenders.ALONE)]
            found = list(bench_of(contenders.ALONE, 0, []).idle(present))
            printer.scenario(scenarios.IDLE, scenarios.IDLE_WHAT, found)
            rows += found
    return rows


def main():
    options = parse(sys.argv[1:])
    os.sched_setaffinity(0, {options.client_cpu})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    machine = Machine({options.client_cpu, *options.server_cpus})
    begun = time.time()
    at_begin = machine.state()
    print("begin:", at_begin)
    rows = measure(options, table.Printer(sys.stdout))
    at_end = machine.state()
    print("end:  ", at_end)
    print(f"{time.time() - begun:.0f} seconds")
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump({**facts(options), "begin": at_begin, "end": at_end,
                       "rows": [vars(row) for row in rows]}, file, indent=1)
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
