"""Child processes that never outlive the test run, free ports, and the machine's slots."""

import ctypes
import fcntl
import os
import random
import signal
import socket
import subprocess
import tempfile
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_SHARED = os.path.join(tempfile.gettempdir(), f"vedette-tests-{os.getuid()}")


def _lock_file(name):
    os.makedirs(_SHARED, exist_ok=True)
    return os.open(os.path.join(_SHARED, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(name):
    fd = _lock_file(name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:
        os.close(fd)
        return None


class Port:
    """A free loopback port that no other test run on this machine takes while it is held."""

    def __init__(self):
        while True:
            # Below the range from which the kernel gives ports to outgoing connections.
            number = random.randint(11000, 31000)
            self._fd = _try_lock(f"port-{number}")
            if self._fd is None:
                continue
            if self.is_free(number):
                self.number = number
                return
            self.release()

    @staticmethod
    def is_free(number):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
                return True
            except OSError:
                return False

    def release(self):
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def why_no_ipv6():
    """None where ::1 can be listened on, else the reason."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return None
    except OSError as error:
        return f"no IPv6 here: {error}"


class Slot:
    """One of three places for a cluster; alone takes all three, for cases at full speed."""

    COUNT = 3

    def __init__(self, alone=False):
        self._fds = []
        gate = _lock_file("slot-gate")
        try:
            # The gate keeps a case that wants to be alone from waiting for ever behind small ones.
            fcntl.flock(gate, fcntl.LOCK_EX)
            want = self.COUNT if alone else 1
            taken = set()
            while len(self._fds) < want:
                for number in set(range(self.COUNT)) - taken:
                    fd = _try_lock(f"slot-{number}")
                    if fd is not None:
                        self._fds.append(fd)
                        taken.add(number)
                        break
                else:
                    time.sleep(0.05)
        finally:
            os.close(gate)

    def release(self):
        for fd in self._fds:
            os.close(fd)
        self._fds = []


def _die_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Process:
    """A child with its output in a file. It is killed when this process ends, however it ends.

    Start it from the main thread only: the kernel ties a child to the thread that made it.
    """

    def __init__(self, argv, log_path, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.argv = argv
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self._child = subprocess.Popen(
                argv, stdin=stdin, stdout=log, stderr=log, env=env, cwd=cwd,
                preexec_fn=_die_with_parent)

    @property
    def pid(self):
        return self._child.pid

    @property
    def stdin(self):
        return self._child.stdin

    def running(self):
        return self._child.poll() is None

    def signal(self, number):
        if self.running():
            self._child.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and reaped."""
        self.signal(signal.SIGKILL)
        return self._child.wait(10)

    def wait(self, timeout):
        """The exit code; subprocess.TimeoutExpired when it does not end in time."""
        return self._child.wait(timeout)

    def terminate(self, timeout=10):
        """SIGTERM and wait; kill -9 if that takes too long."""
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def rss(self):
        """Resident memory in bytes."""
        return self._status("VmRSS")

    def rss_peak(self):
        return self._status("VmHWM")

    def _status(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise OSError(f"no {field}")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))
