"""Commands of the test run: each in its own process group, none longer than the run may take."""

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def say(text=""):
    print(text, flush=True)


class OutOfTime(Exception):
    """The whole run has used up its time."""


class Commands:
    """Runs commands in one folder, until `limit` seconds after `started`."""

    def __init__(self, folder, started, limit):
        self.folder = folder
        self.deadline = started + limit
        self.running = set()
        # What a dying test leaves behind becomes our child, so that we know it and can end it.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def left(self):
        return self.deadline - time.time()

    def run(self, argv, log=None, env=None, timeout=None):
        """The exit status. Output goes to the file log, else to ours."""
        if self.left() <= 0:
            raise OutOfTime
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(open(log, "wb")) if log else None
            child = subprocess.Popen(argv, cwd=self.folder, env=env, stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            self.running.add(child)
            try:
                return child.wait(min(timeout or self.left(), self.left()))
            except subprocess.TimeoutExpired:
                if self.left() <= 0:
                    raise OutOfTime from None
                say(f"stopped after {timeout} seconds: {' '.join(argv)}")
                return 124
            finally:
                end_group(child)
                self.running.discard(child)

    def end_running(self):
        for child in list(self.running):
            end_group(child)

    def end_orphans(self):
        """Ends processes that outlived the test that started them; none of ours may run."""
        for _ in range(50):
            orphans = children_of(os.getpid())
            if not orphans:
                return
            for pid, name in orphans:
                say(f"left behind by a test, now ended: {name} (pid {pid})")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def end_group(child):
    """Ends a child and its process group: first by an interrupt, which lets pytest clean up and
    write its report."""
    for number, patience in ((signal.SIGINT, 10), (signal.SIGKILL, 10)):
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)


def children_of(parent):
    """[(pid, name)]; those that have ended already are reaped on the way."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            with open(path, encoding="utf-8", errors="replace") as stat:
                pid, rest = stat.read().split(" (", 1)
            name, fields = rest.rsplit(") ", 1)
            state, ppid = fields.split()[:2]
            if int(ppid) == parent and state == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(int(pid), os.WNOHANG)
            elif int(ppid) == parent:
                found.append((int(pid), name))
    return found


def show_end(log, lines):
    """The last lines of a log, and where it is."""
    with contextlib.suppress(OSError):
        with open(log, encoding="utf-8", errors="replace") as text:
            say("".join(text.readlines()[-lines:]))
    say(f"(the whole log: {log})")
