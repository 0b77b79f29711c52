"""Proves that a run is invalid when any reply is not the right one; started by run.sh."""

import json
import subprocess
import sys

from support.fake_sentinel import CLOSE, NEVER, FakeServer, bulk

SIZE = 16
LOAD = ("connections=3", "depth=4", "keys=20", f"size={SIZE}", "warmup=0.05", "seconds=0.2")


def value(key):
    return key.removeprefix(b"key:") + b"x" * (SIZE - 8)


def right(args):
    return bulk(value(args[1]))


def right_for(times):
    """So many answers, then none."""
    left = iter(range(times))
    return lambda args: NEVER if next(left, None) is None else right(args)


# What GET is answered, and what must be said of it.
CASES = (
    (right, "answered"),
    (lambda args: bulk(value(b"key:00000019")), "a wrong reply"),
    (lambda args: bulk(value(args[1]) + b"x"), "a wrong reply"),
    (lambda args: bulk(value(args[1])[:-1]), "a wrong reply"),
    (lambda args: b"$-1\r\n", "a wrong reply"),
    (lambda args: b"+OK\r\n", "a wrong reply"),
    (lambda args: b"-LOADING later\r\n", "a wrong reply"),
    (lambda args: right(args) * 2, "wrong reply|a reply too many"),
    (lambda args: right(args)[:-1], "a wrong reply"),
    (lambda args: NEVER, "never answered"),
    (right_for(1000), "never came"),
    (lambda args: CLOSE, "closed a connection"),
)


def said(build, answer):
    with FakeServer({"GET": answer}) as server:
        done = subprocess.run([f"{build}/tests/bench/bench_load", f"port={server.port}", *LOAD],
                              capture_output=True, text=True, timeout=90, check=False)
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        return found["error"] if done.returncode != 0 else "an error, and a good end"
    return "answered" if found["answered"] > 100 and done.returncode == 0 else str(found)


def main():
    build = sys.argv[sys.argv.index("--build") + 1]
    failures = 0
    for number, (answer, wanted) in enumerate(CASES):
        found = said(build, answer)
        if not any(words in found for words in wanted.split("|")):
            failures += 1
            print(f"case {number}: wanted {wanted!r}, got {found!r}")
    print(f"{len(CASES)} checked, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
