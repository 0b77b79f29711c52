"""Builds and runs the tests and adds up what all runners say; started by run.sh, which see."""

import argparse
import collections
import concurrent.futures
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from support.commands import Commands, OutOfTime, say, show_end
from support.junit import FAILED, PASSED, SKIPPED, Result, read_junit

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LABELS = ("unit", "lint", "fuzz", "integration", "failover", "exclusive", "tls", "tsan", "bare")
PYTEST_FOLDERS = {"integration": ("tests/support", "tests/integration"),
                  "failover": ("tests/failover", "tests/mutations")}
LIMIT = 27 * 60  # seconds for everything, building included; thirty minutes are allowed
LIMIT_FULL = 4 * 60 * 60
FUZZ_SECONDS = 15
FUZZ_SECONDS_FULL = 120
FAILOVER_JOBS = 3  # clusters that don't disturb each other on two processors
JOBS = min(len(os.sched_getaffinity(0)), 8)


class Run:
    """What was asked for, what was built, and the results of all runners so far."""

    def __init__(self, options):
        self.options = options
        self.full = options.full
        self.started = options.started
        self.limit = LIMIT_FULL if self.full or options.tls else LIMIT
        self.commands = Commands(ROOT, options.started, self.limit)
        self.results = []
        self.made = {}
        self.logs = os.path.join(ROOT, "build", "test-logs")
        shutil.rmtree(self.logs, ignore_errors=True)
        os.makedirs(self.logs)

    def log(self, name):
        return os.path.join(self.logs, name)

    def add(self, name, outcome, seconds=0.0, note=""):
        self.results.append(Result(name, outcome, seconds, note))

    # building

    def configure(self, preset):
        return self._once(("configure", preset), [
            "cmake", "--preset", preset, "-DBUILD_TESTING=ON"])

    def build(self, preset, targets=()):
        """True if the preset (those targets of it) could be built; a failure is a failed test."""
        what = ["--target", *targets] if targets else []
        return self.configure(preset) and self._once(("build", preset, *targets), [
            "cmake", "--build", "--preset", preset, "-j", str(JOBS), *what])

    def _once(self, key, argv):
        if key not in self.made:
            step, preset = key[:2]
            begin = time.time()
            say(f"--- {step} {preset}")
            log = self.log(f"{step}-{preset}.log")
            self._forget_other_place(preset)
            self.made[key] = self.commands.run(argv, log=log) == 0
            if not self.made[key]:
                show_end(log, 60)
                self.add(f"{step}.{preset}", FAILED, time.time() - begin, f"see {log}")
        return self.made[key]

    @staticmethod
    def _forget_other_place(preset):
        """CMake refuses a build folder that was made for a clone elsewhere."""
        folder = os.path.join(ROOT, "build", preset)
        with contextlib.suppress(OSError):
            with open(os.path.join(folder, "CMakeCache.txt"), encoding="utf-8") as cache:
                if f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in cache.read():
                    shutil.rmtree(folder)

    # runners

    def ctest(self, label, preset, *select, prefix=""):
        report = self.log(f"{label}-{preset}-ctest.xml")
        self._run(label, report, prefix, [
            *as_needed_by(preset), "ctest", "--test-dir", f"build/{preset}", *select,
            "--output-on-failure", "--timeout", "300", "-j", str(JOBS), "--output-junit", report])

    def pytest(self, label, paths, *select, preset="dev", jobs=JOBS, prefix="", env=None):
        report = self.log(f"{label}-{preset}-pytest.xml")
        env = {**environment(), "VEDETTE": os.path.join(ROOT, "build", preset, "vedette"),
               **(env or {})}
        self._run(label, report, prefix, [
            *as_needed_by(preset), sys.executable, "-m", "pytest", "-q", "--color=no",
            f"--junitxml={report}", "-n", str(jobs), *select, *paths], env, none_selected=5)

    def _run(self, label, report, prefix, argv, env=None, none_selected=0):
        """A runner that failed without a failed test is itself a failed test."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(report)
        status = None
        try:
            status = self.commands.run(argv, env=env)
        finally:
            found = read_junit(report, prefix)
            self.results += found
            self.commands.end_orphans()
        if status not in (0, none_selected) and not any(r.outcome == FAILED for r in found):
            self.add(f"{label}.runner", FAILED, 0.0, f"ended with status {status}")

    # labels

    def unit(self):
        if self.build("dev"):
            self.ctest("unit", "dev", "-L", "^unit$")

    def lint(self):
        if self.build("dev"):
            self.ctest("lint", "dev", "-L", "^lint$")

    def fuzz(self, names=None):
        names = names or fuzz_targets()
        if not names or not self.build("fuzz", names):
            return
        seconds = FUZZ_SECONDS_FULL if self.full else FUZZ_SECONDS
        say(f"\n--- fuzzing {', '.join(names)}, {seconds} seconds each")
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            try:
                self.results += pool.map(lambda name: self._fuzz_one(name, seconds), names)
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self.commands.end_running()
                raise

    def _fuzz_one(self, name, seconds):
        """From the same seed each time; --full, as tests/fuzz/run.sh, draws one."""
        begin = time.time()
        found = os.path.join(ROOT, "build", "fuzz", "corpus", name)
        os.makedirs(found, exist_ok=True)
        log = self.log(f"{name}.log")
        try:
            status = self.commands.run(
                [f"build/fuzz/tests/{name}", f"-max_total_time={seconds}", "-timeout=10",
                 f"-seed={0 if self.full else 1}",
                 "-rss_limit_mb=2048", "-print_final_stats=1",
                 f"-artifact_prefix={self.logs}/{name}-", found, *fuzz_corpora(name)],
                log=log, timeout=seconds + 120)
        except OutOfTime:
            status = 124
        if status != 0:
            show_end(log, 80)
            note = f"status {status}, see {log}"
            return Result(f"fuzz.{name}", FAILED, time.time() - begin, note)
        return Result(f"fuzz.{name}", PASSED, time.time() - begin, "")

    def integration(self):
        self._pytest_label("integration", JOBS)

    def failover(self):
        self._pytest_label("failover", FAILOVER_JOBS)

    def _pytest_label(self, label, jobs):
        paths = python_tests(label)
        if paths and self.build("dev"):
            self.pytest(label, paths, *self.marks(), jobs=jobs)

    def marks(self, *more):
        """Arguments that choose the tests for this run: those with the marks `more`."""
        wanted = [*more] if self.full else [*more, "not slow"]
        return [*(["--full"] if self.full else []),
                *(["-m", " and ".join(wanted)] if wanted else [])]

    def exclusive(self):
        """What depends on how links are used, once more without sharing them."""
        paths = python_tests("integration", "failover")
        if paths and self.build("dev"):
            self.pytest("exclusive", paths, *self.marks("exclusive"), jobs=FAILOVER_JOBS,
                        prefix="exclusive:", env={"VEDETTE_LINKS": "exclusive"})

    def tls(self):
        """Failovers once more with TLS on all three sides: those marked so, or all of them."""
        paths = ["tests/failover"]
        marks = self.marks() if self.full or self.options.tls else self.marks("tls")
        if self.build("dev"):
            self.pytest("tls", paths, *marks, jobs=FAILOVER_JOBS, prefix="tls:",
                        env={"VEDETTE_TLS": "1"})

    def tsan(self):
        units = unit_targets("net")
        if not self.build("tsan", ["vedette", *units]):
            return
        if units:
            self.ctest("tsan", "tsan", "-R", r"^unit\.net\.", prefix="tsan:")
        paths = python_tests("integration", "failover")
        if paths:
            self.pytest("tsan", paths, *self.marks("tsan"), preset="tsan", jobs=2, prefix="tsan:")

    def bare(self):
        begin = time.time()
        argv = ["sh", "tests/bare.sh", *(["--full"] if self.full else [])]
        log = self.log("bare.log")
        status = self.commands.run(argv, log=log)
        if status == 0:
            self.add("bare", PASSED, time.time() - begin)
            return
        show_end(log, 80)
        note = f"status {status}"
        self.add("bare", SKIPPED if status == 77 else FAILED, time.time() - begin, note)

    # single tests

    def named(self, name):
        """Runs every test of that name, whichever runner it belongs to. False if there is none."""
        fuzz = [t for t in fuzz_targets() if name in (t, f"fuzz.{t}", t.removeprefix("fuzz_"))]
        nodes = self.nodes(name)
        ctest = [t for t in self.ctest_names() if t == name or t.endswith("." + name)]
        if ctest and self.build("dev"):
            pattern = "|".join(re.escape(t) for t in ctest)
            self.ctest("test", "dev", "-R", f"^({pattern})$")
        if fuzz:
            self.fuzz(fuzz)
        if nodes and self.build("dev"):
            self.pytest("test", nodes, "--full", jobs=min(len(nodes), FAILOVER_JOBS))
        if name == "bare":
            self.bare()
        return bool(ctest or fuzz or nodes or name == "bare")

    def ctest_names(self):
        if not self.configure("dev"):
            return []
        listed = subprocess.run(["ctest", "--test-dir", "build/dev", "-N"], cwd=ROOT, text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, check=True,
                                timeout=60).stdout
        return re.findall(r"Test\s+#\d+: (\S+)", listed)

    def nodes(self, name=None):
        """Ids of the pytest cases of that name (function, case with parameters, file, id)."""
        paths = python_tests("integration", "failover")
        if not paths:
            return []
        argv = [sys.executable, "-m", "pytest", "-q", "--collect-only", "--full", "--color=no",
                *paths]
        listed = subprocess.run(argv, cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
                                capture_output=True, check=False, timeout=120,
                                env=environment())
        if listed.returncode not in (0, 5):
            say(listed.stdout + listed.stderr)
            self.add("pytest.collect", FAILED, 0.0, "the tests could not be read")
        # Ids count from pytest's own root, the folder of its configuration.
        ids = [i if i.startswith("tests/") else f"tests/{i}"
               for i in listed.stdout.splitlines() if "::" in i and " " not in i.split("[")[0]]
        return [i for i in ids if name is None or is_called(i, name)]

    def list(self):
        for name in self.ctest_names():
            say(name)
        for name in fuzz_targets():
            say(f"fuzz.{name}")
        for name in self.nodes():
            say(name)
        say("bare")
        return 1 if self.results else 0  # a result: something could not be listed

    # the end

    def report(self):
        count = collections.Counter(r.outcome for r in self.results)
        slowest = sorted(self.results, key=lambda r: -r.seconds)[:10]
        if slowest:
            say("\n--- the slowest tests")
            for result in slowest:
                say(f"{result.seconds:8.1f} s  {result.name}")
        for outcome in (SKIPPED, FAILED):
            if count[outcome]:
                say(f"\n--- {outcome}")
            for result in self.results:
                if result.outcome == outcome:
                    say(f"{result.name}: {' '.join(result.note.split())[:200]}")
        if not self.results:
            say("\nNothing ran.")
        say(f"\nThe run took {(time.time() - self.started) / 60:.1f} minutes.")
        skipped = f", {count[SKIPPED]} skipped" if count[SKIPPED] else ""
        say(f"{count[PASSED]} passed, {count[FAILED]} failed{skipped}")
        return 0 if count[PASSED] and not count[FAILED] else 1


# --- what there is


def environment():
    """Ours without the caller's own Redis and Vedette. Unbuffered, for tools in Python that tests
    read the output of print its pieces in another way into a buffer."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("VEDETTE", "REDIS"))}
    return {**env, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def fuzz_targets():
    return sorted(os.path.basename(p)[:-2] for p in glob.glob(f"{ROOT}/tests/fuzz/fuzz_*.c"))


def fuzz_corpora(name):
    """tests/fuzz/corpus/NAME, where NAME is that of the target without fuzz_, or of its layer."""
    plain = name.removeprefix("fuzz_")
    names = (plain, plain.split("_")[0])
    return [p for n in names if os.path.isdir(p := f"{ROOT}/tests/fuzz/corpus/{n}")]


def unit_targets(layer):
    return sorted(f"unit_{layer}_{os.path.basename(p)[:-2]}"
                  for p in glob.glob(f"{ROOT}/tests/unit/{layer}/test_*.c"))


def python_tests(*labels):
    """The folders of those labels in which there are tests."""
    return [folder for label in labels for folder in PYTEST_FOLDERS[label]
            if glob.glob(f"{ROOT}/{folder}/**/test_*.py", recursive=True)]


def is_called(node, name):
    """node: tests/label/test_file.py::test_function[parameters]"""
    path, case = node.split("::", 1)
    plain = node.split("[", 1)[0]
    file = os.path.basename(path)
    return name in (node, plain, path, file, file.removesuffix(".py"), case,
                    plain.rsplit("::", 1)[1])


def as_needed_by(preset):
    """TSan of this compiler does not know the address layouts of newer kernels: ask for a plain
    one, where that is allowed."""
    plain = ["setarch", os.uname().machine, "-R"]
    if preset != "tsan" or not shutil.which("setarch"):
        return []
    return plain if subprocess.run([*plain, "true"], capture_output=True, check=False,
                                   stdin=subprocess.DEVNULL).returncode == 0 else []


# --- the beginning


def parse(argv):
    parser = argparse.ArgumentParser(prog="tests/run.sh", add_help=False, allow_abbrev=False,
                                     usage="sh tests/run.sh --help")
    parser.add_argument("--started", type=float, required=True)
    parser.add_argument("--label", action="append", choices=LABELS)
    parser.add_argument("--test", action="append", default=[])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args(argv)


def run_all(run, options):
    for name in options.test:
        if not run.named(name):
            run.add(name, FAILED, 0.0, "no such test")
    labels = options.label or ([] if options.test else [
        label for label in LABELS if label != "bare" or options.full])
    for label in LABELS:
        if label in labels:
            say(f"\n=== {label}")
            getattr(run, label)()


def interrupted(number, _frame):
    raise KeyboardInterrupt(number)


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    run = Run(options)
    if options.list:
        return run.list()
    try:
        run_all(run, options)
    except OutOfTime:
        run.add("time-limit", FAILED, 0.0,
                f"stopped: the run took more than {run.limit // 60} minutes")
    except KeyboardInterrupt:
        run.add("interrupted", FAILED)
    run.commands.end_orphans()
    return run.report()


if __name__ == "__main__":
    sys.exit(main())
