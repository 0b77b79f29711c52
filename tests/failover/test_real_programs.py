"""Programs as they are installed, not one line of them changed, at work while the primary moves and
dies: all of their work is done, once, but for what they were told is in doubt and for what Redis
itself loses in a crash."""

import contextlib
import importlib.util
import os
import re
import sys
import threading
import time
from collections import Counter

import pytest
import redis

from support.case import judged, move, scenario
from support.procs import Process
from support.wait import wait_until

pytestmark = pytest.mark.plain("the programs are set up without TLS")
KINDS = pytest.mark.parametrize("kill", [False, True], ids=["planned", "crash"])
HOLDS = pytest.mark.parametrize("kill, hold", [(False, "60s"), (True, "60s"), (True, "700ms")],
                                ids=["planned", "crash", "crash with a short hold"])
JOBS = 120
WINDOW = 0.5  # around a crash: what was asked or done there, Redis may forget or do again

TASKS = """
import os, time
from celery import Celery
URL = os.environ["PROXY_URL"]
app = Celery("tasks", broker=URL + "/0", backend=URL + "/1")
app.conf.worker_hijack_root_logger = False

def mark(number):
    with open(os.environ["DONE_FILE"], "a") as done:
        done.write("%d %f\\n" % (number, time.time()))
    return number * 2

marked = app.task(mark, name="mark")
"""

RQ_TASKS = """
import os, time

def mark(number):
    with open(os.environ["DONE_FILE"], "a") as done:
        done.write("%d %f\\n" % (number, time.time()))
    return number * 2
"""


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None,
                              reason=f"python3-{module} is not installed")


class Work:
    """Numbers handed to a program and what became of them."""

    def __init__(self, directory):
        self.done_file = directory / "done"
        self.done_file.touch()
        self.asked = {}   # number -> when its submission was acknowledged
        self.doubtful = set()
        self.refused = set()  # certainly not done

    def done(self):
        """number -> when it was done, each time."""
        found = {}
        for line in self.done_file.read_text().splitlines():
            number, when = line.split()
            found.setdefault(int(number), []).append(float(when))
        return found

    def submit(self, enqueue, numbers, pause=0.04):
        """Each number, noting what the library says of it."""
        for number in numbers:
            try:
                enqueue(number)
                self.asked[number] = time.time()
            except redis.exceptions.ResponseError as error:
                assert str(error).startswith("INDOUBT"), error
                self.doubtful.add(number)
            except redis.exceptions.BusyLoadingError as error:
                assert str(error).endswith("the command was not executed"), error
                self.refused.add(number)
            time.sleep(pause)

    def check(self, crash, dropped=0):
        """All is done once; crash: when Redis may have lost some, or that they are done. dropped:
        how many the program itself may have lost."""
        def near(times):
            return crash is not None and any(abs(when - crash) < WINDOW for when in times)

        done = self.done()
        lost = [n for n, when in self.asked.items() if n not in done and not near([when])]
        twice = [n for n, times in done.items() if len(times) > 1 and not near(times)]
        print(f"asked {len(self.asked)}, in doubt {len(self.doubtful)}, done {len(done)}, "
              f"times {Counter(len(times) for times in done.values())}")
        assert len(self.asked) + len(self.doubtful) + len(self.refused) == JOBS
        assert len(lost) <= dropped, f"asked and never done: {lost}"
        assert not twice, f"done more than once: {twice}"
        assert set(done) <= set(self.asked) | self.doubtful


class Program:
    """Runs until it is no longer needed. One that was told INDOUBT may end for that, and is started
    again, as it would be by what looks after it."""

    def __init__(self, argv, directory, env):
        self._argv, self._directory, self._env = argv, str(directory), env
        self._log = directory / "program.log"
        self.process = None
        self.starts = 0
        self.start()

    def start(self):
        self.starts += 1
        self.process = Process(self._argv, str(self._log), self._env, self._directory)

    def log(self):
        return self._log.read_text()

    def tend(self):
        if not self.process.running():
            assert self.log().count("ResponseError: INDOUBT") >= self.starts, "it ended by itself"
            self.start()


@contextlib.contextmanager
def program(argv, directory, proxy, work):
    env = {**os.environ, "PROXY_URL": url(proxy), "DONE_FILE": str(work.done_file),
           "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1", "C_FORCE_ROOT": "1",
           "LC_ALL": "C.UTF-8"}
    running = Program(argv, directory, env)
    try:
        yield running
        running.tend()
    except BaseException:
        print(f"--- {argv}\n{running.log()[-4000:]}")
        raise
    finally:
        running.process.terminate(20)


def url(proxy):
    return f"redis://{proxy.address[0]}:{proxy.address[1]}"


def while_moving(cluster, kill, work, enqueue):
    """Submits from a thread while the primary moves."""
    thread = threading.Thread(target=work.submit, args=(enqueue, range(JOBS)))
    thread.start()
    try:
        wait_until(lambda: len(work.done()) >= 10, 60, "the first ten")
        return move(cluster, kill)
    finally:
        thread.join(120)


def wait_done(work, crash, running, dropped=lambda: 0):
    def all_there():
        running.tend()
        done = work.done()
        missing = [n for n, when in work.asked.items()
                   if n not in done and not (crash and abs(when - crash) < WINDOW)]
        return len(missing) <= dropped() and max(work.asked) in done
    wait_until(all_there, 60, "all to be done", 0.2)


def dropped_by_celery(running):
    """How many tasks the worker has popped and then had in its memory only, when it ended or began
    anew and forgot them. It does so without a proxy, too, whatever it is that fails there."""
    entries = re.split(r"^\[", running.log(), flags=re.MULTILINE)
    # To note them as popped was refused with LOADING or is in doubt.
    unnoted = sum("self.qos.append(message" in entry and
                  ("BusyLoadingError" in entry or "ResponseError: INDOUBT" in entry)
                  for entry in entries)
    # While another request failed, the answer of the BRPOP lay unread on its connection: a worker
    # that ends for INDOUBT, or gives up its connections for LOADING, never reads it.
    unread = running.starts - 1 + sum("Connection to broker lost" in entry for entry in entries)
    return unnoted + unread


@needs("celery")
@HOLDS
@judged
def test_celery_worker(kill, hold, tmp_path):
    """A worker with its results; the producer waits for each. LOADING, where there is no primary
    for longer than requests are held, is a lost connection to Celery: both make a new one and try
    again. INDOUBT ends a worker that was about to note what it had popped."""
    (tmp_path / "tasks.py").write_text(TASKS)
    work = Work(tmp_path)
    with scenario(settings={"hold-timeout": hold}) as (cluster, proxy):
        argv = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "2", "--pool",
                "threads", "--loglevel", "INFO"]
        with program(argv, tmp_path, proxy, work) as running, celery_app(proxy) as (app, results):

            def enqueue(number):
                results[number] = app.send_task("mark", (number,))
            crash = while_moving(cluster, kill, work, enqueue)

            def dropped_by_all():
                """Also what a BRPOP that was in doubt had popped: the worker was told nil."""
                return dropped_by_celery(running) + len(proxy.entries("blocking-in-doubt"))
            wait_done(work, crash, running, dropped_by_all)
            got = {n: results[n].get(timeout=30) for n in work.asked
                   if n in work.done() and not (crash and near_crash(work, n, crash))}
            assert got == {n: n * 2 for n in got} and len(got) > JOBS / 2
            dropped = dropped_by_all()
            print(f"dropped: {dropped}")
        assert running.starts == 1 or kill and "ResponseError: INDOUBT" in running.log()
        assert ("BusyLoadingError" in running.log()) == (hold != "60s")
        assert not work.refused
        assert kill or not dropped
        work.check(crash, dropped)


def near_crash(work, number, crash):
    return any(abs(when - crash) < 2 * WINDOW
               for when in [work.asked[number], *work.done()[number]])


@contextlib.contextmanager
def celery_app(proxy):
    from celery import Celery  # noqa: PLC0415  not installed everywhere
    app = Celery("tasks", broker=url(proxy) + "/0", backend=url(proxy) + "/1")
    results = {}
    try:
        yield app, results
    finally:
        for result in results.values():
            # Or it unsubscribes when it is collected, in whatever thread that is, and tries for 20
            # seconds to reach a proxy that is gone.
            result.backend = None
        app.close()


@needs("rq")
@HOLDS
@judged
def test_rq_worker(kill, hold, tmp_path):
    """A worker ends when a command of its own is in doubt, which a crash may do to it; a planned
    failover never does. LOADING, where there is no primary for longer than requests are held, is
    to rq as if there were no server, and it goes on; who submits is told that it was not done."""
    from rq import Queue  # noqa: PLC0415  not installed everywhere
    (tmp_path / "rq_tasks.py").write_text(RQ_TASKS)
    work = Work(tmp_path)
    with scenario(settings={"hold-timeout": hold}) as (cluster, proxy):
        argv = [sys.executable, "-m", "rq.cli", "worker", "--url", url(proxy), "--worker-class",
                "rq.SimpleWorker"]
        with program(argv, tmp_path, proxy, work) as running, \
                redis.Redis(port=proxy.address[1]) as connection:
            queue = Queue(connection=connection)
            jobs = {}

            def enqueue(number):
                jobs[number] = queue.enqueue("rq_tasks.mark", number)
            crash = while_moving(cluster, kill, work, enqueue)
            wait_done(work, crash, running)
            last = max(n for n in work.asked if n in work.done())
            wait_until(lambda: jobs[last].result == last * 2, 20, "its result")
        assert kill or running.starts == 1
        assert bool(work.refused) == (hold != "60s")
        work.check(crash)


@KINDS
@judged
def test_redis_py(kill):
    """A subscriber, and pipelines with WATCH, by the library's own loop."""
    with scenario(settings={"hold-timeout": "60s"}) as (cluster, proxy):
        enough, failures, doubts, counted, heard = threading.Event(), [], [], [], []

        def guarded(work):
            def run():
                with redis.Redis(port=proxy.address[1]) as client:
                    try:
                        while not enough.is_set():
                            work(client)
                    except Exception as error:  # told below
                        failures.append(error)
            return threading.Thread(target=run)

        def raise_it(client):
            def change(pipe):
                value = int(pipe.get("n") or 0)
                pipe.multi()
                pipe.set("n", value + 1)
                pipe.incr("m")
            try:
                client.transaction(change, "n")
                counted.append(time.time())
            except redis.exceptions.ResponseError as error:
                assert str(error).startswith(("INDOUBT", "Command # 1")), error
                doubts.append(error)
            time.sleep(0.01)

        def publish(client):
            client.publish("channel", len(counted))
            time.sleep(0.01)

        def listen(client):
            with client.pubsub(ignore_subscribe_messages=True) as messages:
                messages.subscribe("channel")
                while not enough.is_set():
                    message = messages.get_message(timeout=0.5)
                    if message:
                        heard.append((time.time(), message["data"]))

        threads = [guarded(w) for w in (raise_it, raise_it, raise_it, publish, listen)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(counted) > 50 and len(heard) > 20, 30, "all at work")
            crash = move(cluster, kill)
            moved = time.time()
            goal = len(counted) + 50
            wait_until(lambda: failures or len(counted) > goal and heard[-1][0] > moved, 30,
                       "all at work again")
        finally:
            enough.set()
            for thread in threads:
                thread.join(90)
        if kill:
            failures = [e for e in failures if not str(e).startswith("INDOUBT")]
        assert not failures, failures
        n, m = (int(v) for v in cluster.primary.call("MGET", "n", "m"))
        certain = sum(not crash or abs(when - crash) > WINDOW for when in counted)
        print(f"{n}: acknowledged {len(counted)}, in doubt {len(doubts)}")
        assert n == m and certain <= n <= len(counted) + len(doubts)
        assert kill or not doubts
