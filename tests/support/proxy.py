"""The proxy as a child process: started, observed through its log, stopped and judged."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

from . import tls as tls_of_tests
from .procs import Port, Process
from .resp import Conn, ServerError
from .wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZER = re.compile(r"ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer"
                       r"|runtime error:|CHECK failed|SUMMARY: \w+Sanitizer")


def executable():
    """The binary under test: VEDETTE, or the dev preset's."""
    path = os.environ.get("VEDETTE") or os.path.join(ROOT, "build", "dev", "vedette")
    path = os.path.abspath(path)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"no proxy at {path}; build it or set VEDETTE")
    return path


def environment():
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("VEDETTE", "REDIS_SENTINEL"))}
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", f"suppressions={ROOT}/tests/support/tsan.conf")
    return env


def is_sanitized():
    """Whether the binary carries a sanitizer that spends memory of its own."""
    with open(executable(), "rb") as binary:
        return re.search(rb"__[at]san_init", binary.read()) is not None


def run(*arguments, env=None, timeout=20):
    """Runs the proxy to its end: (exit code, stdout, stderr)."""
    full = environment()
    full.update(env or {})
    done = subprocess.run([executable(), *arguments], env=full, timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def joined(address):
    """host:port, a v6 host in brackets, as it is configured and logged."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Entry(dict):
    """One log line: its pairs; `level` and `event` as attributes."""

    @property
    def level(self):
        return self.get("level")

    @property
    def event(self):
        return self.get("event")


def parse_line(line):
    """The pairs of a logfmt line; an Entry without event where it is none."""
    entry = Entry()
    try:
        for word in shlex.split(line, posix=True):
            key, sep, value = word.partition("=")
            if sep:
                entry[key] = value
    except ValueError:
        pass
    return entry


class Proxy:
    """One service on one port by default.

    sentinels: (host, port) pairs. settings: {"proxy.workers": 2, "service.mymaster.hold-timeout":
    "5s"} become --set; keys without a section are the service's. config: text of a file to use
    instead of flags, @LISTEN@ in it stands for the address. wrapper: words before the command.
    VEDETTE_LINKS in the environment of the tests is the default of `links` for those without config.
    tls: the tls.Certs with which it listens, speaks to nodes, and to those Sentinels that speak TLS.
    """

    def __init__(self, sentinels=(), settings=None, master="mymaster", config=None, arguments=(),
                 env=None, sentinel_settings=None, wrapper=(), host="127.0.0.1", tls=None):
        self._port = Port()
        self.address = (host, self._port.number)
        self.directory = tempfile.mkdtemp(prefix="vedette-proxy-")
        self.log_path = os.path.join(self.directory, "log")
        self.env = environment()
        if config is None and "VEDETTE_LINKS" in os.environ:
            self.env["VEDETTE_LINKS"] = os.environ["VEDETTE_LINKS"]
        if os.geteuid() != 0:  # else its descriptors could not be counted
            self.env["VEDETTE_PROXY_CORE_DUMPS"] = "yes"
        self.env.update(env or {})
        self.argv = [*wrapper, executable()]
        if config is not None:
            path = os.path.join(self.directory, "vedette.ini")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config.replace("@LISTEN@", joined(self.address)))
            self.argv += ["--config", path]
        else:
            for sentinel in sentinels:
                self.argv += ["--sentinel", joined(sentinel)]
            self.argv += ["--master", master]
        merged = {"proxy.workers": 2, "proxy.log-level": "info"} if config is None else {}
        tls = tls or (tls_of_tests.default() if config is None else None)
        if tls:
            merged.update(self._with_tls(tls, f"service.{master}", sentinels))
        elif config is None:
            self.argv += ["--listen", joined(self.address)]
        merged.update({f"sentinel.{k}": v for k, v in (sentinel_settings or {}).items()})
        for key, value in (settings or {}).items():
            merged[key if "." in key else f"service.{master}.{key}"] = value
        for key, value in merged.items():
            self.argv += ["--set", f"{key}={value}"]
        self.argv += list(arguments)
        self.process = None

    def _with_tls(self, tls, service, sentinels):
        tls_of_tests.speaks(self.address, tls.client_context())
        settings = {f"{service}.tls-listen": joined(self.address), **tls.listener(service),
                    **tls.upstream(service)}
        if any(tls_of_tests.context_of(tuple(at)) for at in sentinels):
            settings.update(tls.upstream("sentinel"))
        return settings

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
            else:
                print("--- the proxy's log ends:\n" + self.log()[-6000:])
        finally:
            self.discard()

    def start(self):
        self.process = Process(self.argv, self.log_path, self.env)
        wait_until(self._accepts, 15, "the proxy's listening socket")

    def _accepts(self):
        if not self.process.running():
            raise AssertionError(f"the proxy ended at once:\n{self.log()}")
        with self.connect():
            return True

    def wait_serving(self, timeout=15):
        """Until a PING goes through to a primary."""
        def answered():
            with self.connect(2) as conn:
                return conn.call("PING", timeout=2) is not None
        wait_until(answered, timeout, f"a primary behind the proxy\n{self.log()}")
        return self

    def connect(self, timeout=10.0, **options):
        return Conn(self.address, timeout, **options)

    def call(self, *args, timeout=10.0):
        with self.connect(timeout) as conn:
            reply = conn.call(*args)
            if isinstance(reply, ServerError):
                raise reply
            return reply

    def log(self):
        try:
            with open(self.log_path, "rb") as log:
                return log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def entries(self, event=None):
        """Log lines as Entry, all or those of one event."""
        parsed = (parse_line(line) for line in self.log().splitlines())
        return [e for e in parsed if e.event and (event is None or e.event == event)]

    def primaries(self, count=1):
        """What the log tells of so many primaries: one may serve before it does."""
        wait_until(lambda: len(self.entries("primary-changed")) >= count, 5, "primary-changed")
        return self.entries("primary-changed")

    def check_log(self):
        """No sanitizer report and no failed CHECK so far."""
        match = SANITIZER.search(self.log())
        assert not match, f"{match.group(0)}:\n{self.log()[-6000:]}"

    def stop(self, timeout=30):
        """SIGTERM; it must end by itself, with 0, and without a sanitizer's report."""
        self.process.resume()
        self.process.signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.check_log()
            raise AssertionError(f"did not end within {timeout} s of SIGTERM:\n"
                                 f"{self.log()[-3000:]}") from None
        self.check_log()
        assert code == 0, f"exit code {code}:\n{self.log()[-6000:]}"

    def discard(self):
        """Whatever happened before: gone, with everything it left."""
        if self.process and self.process.running():
            self.process.kill()
        keep = os.environ.get("VEDETTE_KEEP_LOGS")
        if keep and os.path.exists(self.log_path):
            os.makedirs(keep, exist_ok=True)
            shutil.copy(self.log_path, os.path.join(keep, f"{time.time():.3f}.log"))
        shutil.rmtree(self.directory, ignore_errors=True)
        tls_of_tests.speaks(self.address, None)
        self._port.release()

    def rss(self):
        return self.process.rss()

    def fds(self):
        return self.process.fds()
