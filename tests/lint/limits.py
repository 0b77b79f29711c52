#!/usr/bin/env python3
"""Checks that every bound is reached by a test: each #define of proxy/base/limits.h, and each number
and size of config/config_keys.def, is named below tests/ by a mark `limit: NAME NAME ...`, which
stands with the test that reaches it, or used by a unit test. A mark of no bound is a mistake too.

usage: limits.py [--root DIR]     checks the tree (default: the one this file is in)
       limits.py --self-test      proves on bad trees that each rule can fail
"""
import re

import frame

LIMITS = "proxy/base/limits.h"
KEYS = "config/config_keys.def"

DEFINE = re.compile(r"^#define (\w+)[ \t]+\S", re.MULTILINE)
KEY = re.compile(r'^KEY\(\w+, "([\w-]+)", (?:COUNT|SIZE),', re.MULTILINE)
# Up to the end of the sentence, or of the line.
MARK = re.compile(r"\blimit: ([\w -]+)")
NAME = re.compile(r"[A-Za-z][\w-]+")


def marks(root):
    """{name: file} of all marks."""
    found = {}
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix in (".py", ".c") and path.parent.name != "lint":
            for match in MARK.finditer(path.read_text(encoding="utf-8")):
                for name in NAME.findall(match.group(1)):
                    found.setdefault(name, path.relative_to(root).as_posix())
    return found


def used(root):
    """Every word of the unit tests' code."""
    texts = (path.read_text(encoding="utf-8") for path in (root / "tests/unit").rglob("*.c"))
    return {word for text in texts for word in re.findall(r"\w+", text)}


def check(root):
    """All problems of the tree, and how many bounds there are."""
    bounds = {}
    for path, pattern in ((LIMITS, DEFINE), (KEYS, KEY)):
        for name in pattern.findall((root / path).read_text(encoding="utf-8")):
            bounds[name] = path
    marked, words = marks(root), used(root)
    problems = [f"{path}: {name}: no test says `limit: {name}`"
                for name, path in bounds.items()
                if name not in marked and not (path == LIMITS and name in words)]
    problems += [f"{path}: `limit: {name}`: there is no such bound"
                 for name, path in marked.items() if name not in bounds]
    return problems, len(bounds)


GOOD = {
    LIMITS: "#ifndef GUARD\n#define GUARD\n\n#define A_MAX 5 /* why */\n#define B_LOW (1u << 3)\n"
            "#define USED 1\n",
    KEYS: '/* KEY(section, ...) */\nKEY(proxy, "workers", COUNT, workers, "1", 0, 0, 0,\n    "x")\n'
          'KEY(service, "listen", ADDRS, listen, NULL, 0, 0, 0, "x")\n',
    "tests/unit/a.c": "/* limit: A_MAX B_LOW */ int x = USED;\n",
    "tests/integration/test_a.py": '"""limit: workers. As many as there are."""\n',
}

# A file in the place of the good one, and what must be said.
BAD = [
    (LIMITS, GOOD[LIMITS] + "#define NEW_MAX 7\n", "NEW_MAX: no test"),
    (KEYS, GOOD[KEYS] + 'KEY(proxy, "new", SIZE, n, "1", 0, 0, 0, "x")\n', "new: no test"),
    ("tests/unit/a.c", "/* limit: A_MAX */ int x = USED;\n", "B_LOW: no test"),
    ("tests/unit/a.c", "/* limit: A_MAX B_LOW */\n", "USED: no test"),
    ("tests/integration/test_a.py", "workers = 2\n", "workers: no test"),
    ("tests/unit/b.c", "/* limit: GONE */\n", "no such bound"),
]


def self_test():
    failures = []
    for path, text, said in [(LIMITS, GOOD[LIMITS], None), *BAD]:
        problems = frame.problems_of(check, {**GOOD, path: text})
        if [said in problem for problem in problems if said] != [True] * bool(said):
            failures.append(f"{path}: wanted {said}, got {problems}")
    return failures, len(BAD) + 1


if __name__ == "__main__":
    frame.main(check, self_test)
