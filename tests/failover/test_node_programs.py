"""ioredis and BullMQ as they are published, at work while the primary moves and dies. Their
versions are locked in real_programs/node, and fetched for the run where there are Node.js, npm and
a registry; else these tests are skipped."""

import contextlib
import json
import os
import shutil
import subprocess
from collections import Counter

import pytest

from support.case import judged, move, scenario
from support.procs import Process
from support.wait import wait_until

pytestmark = pytest.mark.plain("the programs are set up without TLS")
KINDS = pytest.mark.parametrize("kill", [False, True], ids=["planned", "crash"])
SOURCE = os.path.join(os.path.dirname(__file__), "real_programs", "node")
FETCH = 60  # seconds
JOBS = 120
WINDOW = 0.5  # around a crash: what was asked or done there, Redis may forget or do again
HUNG = 0.15  # before a crash, so that something of everybody is in doubt

# npm's words for a lock that is wrong, which is a fault of ours and not of the network.
LOCK_IS_WRONG = ("EUSAGE", "EINTEGRITY", "EJSONPARSE")


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of the programs with their libraries."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("node") / "programs"
    shutil.copytree(SOURCE, folder)
    npm = ["npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund",
           "--prefer-offline", "--fetch-retries=0", f"--fetch-timeout={FETCH * 1000 // 3}"]
    try:
        ran = subprocess.run(npm, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=FETCH, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the libraries could not be fetched within {FETCH} s")
    if ran.returncode:
        assert not any(f"code {code}" in ran.stderr for code in LOCK_IS_WRONG), ran.stderr
        why = [line for line in ran.stderr.splitlines() if "npm error" in line][:2]
        pytest.skip(f"the libraries could not be fetched: {'; '.join(why)}")
    return folder


class Program:
    """What it says, as a list of records: what, when (at), and more."""

    def __init__(self, script, folder, directory, proxy):
        self._log = directory / "program.log"
        self._read, self._said = 0, []
        env = {**os.environ, "PROXY_PORT": str(proxy.address[1]), "JOBS": str(JOBS),
               "NO_COLOR": "1"}
        self.process = Process(["node", script], str(self._log), env, str(folder))

    def said(self):
        new = self._log.read_bytes()[self._read:]
        whole = new[:new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            assert line.startswith(b"{"), new[:4000].decode()
            self._said.append(json.loads(line))
        return self._said

    def of(self, what, **fields):
        return [r for r in self.said()
                if r["what"] == what and all(r.get(k) == v for k, v in fields.items())]

    def well(self):
        assert not self.of("failure"), self.of("failure")
        assert self.process.running(), "it ended by itself"
        return True

    def stop(self):
        """It is asked to end, and says its last."""
        self.well()
        assert self.process.terminate(15) == 0
        assert self.of("end") and not self.of("failure"), self.of("failure")


@contextlib.contextmanager
def program(script, folder, directory, proxy):
    running = Program(script, folder, directory, proxy)
    try:
        yield running
    finally:
        running.process.kill()


def near(record, crash):
    return crash is not None and abs(record["at"] - crash) < WINDOW


def check_connections(running, opened):
    """All that was done, was done on the connections that the program began with."""
    assert len(running.of("opened")) == opened, "it connected anew"
    assert not running.of("closed"), "connections were closed"


@KINDS
@judged
def test_ioredis(programs, kill, tmp_path):
    """Counters, pipelines, transactions, a list that is popped from, a subscriber."""
    work = ["count", "pipeline", "multi", "push", "publish"]
    with scenario(settings={"hold-timeout": "60s"}) as (cluster, proxy), \
            program("ioredis_at_work.js", programs, tmp_path, proxy) as running:

        def more(than=0):
            return running.well() and all(
                len([r for r in running.of(*what) if r["at"] > than]) > 20
                for what in [("popped",), ("heard",)]) and all(
                len([r for r in running.of("acked", of=of) if r["at"] > than]) > 20 for of in work)
        wait_until(more, 30, "all at work", 0.1)
        opened = len(running.of("opened"))
        crash = move(cluster, kill, HUNG)
        moved = running.said()[-1]["at"]
        wait_until(lambda: more(moved), 30, "all at work again", 0.1)
        running.stop()
        check_connections(running, opened)
        assert opened == 8
        check_counters(running, cluster.primary, kill, crash)
        check_list(running, cluster.primary, kill, crash)
        heard = [r["n"] for r in running.of("heard")]
        assert heard == sorted(set(heard)), "each message once, in order"


def check_counters(running, primary, kill, crash):
    for of, twin in [("count", "count"), ("pipeline", "pipeline"), ("multi", "twin")]:
        acked, doubts = running.of("acked", of=of), len(running.of("doubt", of=of))
        certain = sum(not near(record, crash) for record in acked)
        value = int(primary.call("GET", of))
        print(f"{of}: {value}, acknowledged {len(acked)}, in doubt {doubts}")
        assert value == int(primary.call("GET", twin))
        assert certain <= value <= len(acked) + doubts
        assert kill or not doubts


def check_list(running, primary, kill, crash):
    """What was pushed is popped once or is still there; a crash may take the last moment back."""
    left = [int(n) for n in primary.call("LRANGE", "list", 0, -1)]
    popped = running.of("popped")
    there = Counter([record["n"] for record in popped] + left)
    pushed = {r["n"]: r for r in running.of("acked", of="push")}
    maybe = {r["n"] for r in running.of("doubt", of="push")}
    lost = [n for n, r in pushed.items() if not there[n] and not near(r, crash)]
    excused = {r["n"] for r in popped if near(r, crash)}
    twice = [n for n, times in there.items() if times > 1 and n not in excused]
    print(f"list: pushed {len(pushed)}, in doubt {len(maybe)}, popped {len(popped)}, {there[0]}")
    assert not lost, f"pushed and never popped: {lost}"
    assert not twice, f"popped more than once: {twice}"
    assert set(there) <= set(pushed) | maybe
    assert kill or not maybe


@KINDS
@judged
def test_bullmq(programs, kill, tmp_path):
    """A queue, its worker and a listener to its events. BullMQ promises each job at least once:
    what its worker was told is in doubt is done again, and so is what nobody finished (stalled)."""
    with scenario(settings={"hold-timeout": "60s"}) as (cluster, proxy), \
            program("bullmq_at_work.js", programs, tmp_path, proxy) as running:
        wait_until(lambda: running.well() and len(running.of("completed")) >= 10, 30, "the first")
        opened = len(running.of("opened"))
        crash = move(cluster, kill, HUNG)

        def all_there():
            running.well()
            done = {r["n"] for r in running.of("completed")}
            return running.of("added") and all(r["n"] in done or near(r, crash)
                                               for r in running.of("acked"))
        wait_until(all_there, 60, "all jobs to be done", 0.2)
        last = running.of("completed")[-1]["n"]
        wait_until(lambda: [r for r in running.of("heard") if r["n"] == last], 20, "its event")
        running.stop()
        check_connections(running, opened)
        check_jobs(running, kill, crash)


def check_jobs(running, kill, crash):
    acked = {r["n"] for r in running.of("acked")}
    doubtful = {r["n"] for r in running.of("doubt", of="add")}
    told = running.of("doubt", of="worker")
    processed, completed = running.of("processed"), running.of("completed")
    again = {n for n, times in Counter(r["n"] for r in processed).items() if times > 1}
    twice = {n for n, times in Counter(r["n"] for r in completed).items() if times > 1}
    stalled, failed = ({r["n"] for r in running.of(what)} for what in ("stalled", "failed"))
    lately = {r["n"] for r in processed + completed if near(r, crash)}
    print(f"asked {len(acked)}, in doubt {len(doubtful)}; worker told of {len(told)} in doubt; "
          f"processed more than once {len(again)}, completed {len(twice)}; stalled {len(stalled)}, "
          f"failed {len(failed)}, near the crash {len(lately)}; "
          f"errors {Counter(r['error'] for r in running.of('error'))}")
    assert len(acked) + len(doubtful) == JOBS
    assert {r["n"] for r in processed} <= acked | doubtful
    assert all(r["value"] == 2 * r["n"] for r in completed + running.of("heard"))
    assert again <= stalled | failed | lately, again - stalled - failed - lately
    assert twice <= stalled | failed | lately, twice - stalled - failed - lately
    if not kill:
        assert not doubtful | again | stalled | failed and not told and not running.of("error")
