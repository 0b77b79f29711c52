"""What a run costs and what disturbs it: processor time, system calls, memory, other processes."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """Processor time of all threads so far; 0 for no process."""
    total = 0
    for task in tasks(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total


def tasks(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")] if pid else []


def pin(pid, cpus):
    """All threads there are; those to come inherit it."""
    for task in tasks(pid):
        os.sched_setaffinity(task, cpus)


class Machine:
    """Processor seconds used and stolen on those processors, by whomever."""

    def __init__(self, cpus):
        self._names = {f"cpu{number}" for number in cpus}

    def seconds(self):
        """(used, stolen) so far."""
        used = stolen = 0
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *ticks = line.split()
                if name in self._names:
                    user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
                    used += user + nice + system + irq + softirq
                    stolen += steal
        return used / _TICK, stolen / _TICK

    def state(self, pause=0.5):
        """How busy it is before we do anything: words for the reader."""
        used, stolen = self.seconds()
        time.sleep(pause)
        used_now, stolen_now = self.seconds()
        load = " ".join(f"{value:.2f}" for value in os.getloadavg())
        return (f"load average {load}; now busy {(used_now - used) / pause:.2f} processors, "
                f"stolen {(stolen_now - stolen) / pause:.2f}")


class CallCounter:
    """System calls of a process between two moments, counted by perf; works is False without it."""

    def __init__(self):
        self.works = self._counts_anything()

    @staticmethod
    def _counts_anything():
        if not shutil.which("perf"):
            return False
        words = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"]
        done = subprocess.run(words, capture_output=True, check=False)
        return done.returncode == 0 and b"not " not in done.stderr

    @contextlib.contextmanager
    def attached(self, pid):
        """Gives an object with begin() and end(); end() returns the count."""
        with tempfile.TemporaryDirectory(prefix="vedette-perf-") as folder:
            attached = _Attached(pid, folder)
            try:
                yield attached
            finally:
                attached.close()


class _Attached:
    def __init__(self, pid, folder):
        self._control = os.path.join(folder, "control")
        self._answers = os.path.join(folder, "answers")
        self._output = os.path.join(folder, "output")
        os.mkfifo(self._control)
        os.mkfifo(self._answers)
        # Both ends open here, so that neither side waits for the other to open.
        self._to = os.open(self._control, os.O_RDWR)
        self._from = os.open(self._answers, os.O_RDWR)
        self._perf = subprocess.Popen(
            ["perf", "stat", "-x,", "-o", self._output, "-e", "raw_syscalls:sys_enter",
             "--delay", "-1", "--control", f"fifo:{self._control},{self._answers}",
             "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def begin(self):
        self._say(b"enable\n")

    def end(self):
        self._say(b"disable\n")
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait(10)
        with open(self._output, encoding="ascii") as file:
            return sum(int(line.split(",")[0]) for line in file if "sys_enter" in line)

    def close(self):
        self._perf.kill()
        self._perf.wait()
        os.close(self._to)
        os.close(self._from)

    def _say(self, word):
        os.write(self._to, word)
        if not select.select([self._from], [], [], 10)[0]:
            raise TimeoutError(f"perf did not {word.decode().strip()} counting")
        os.read(self._from, 16)
