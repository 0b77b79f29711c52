#!/usr/bin/env python3
"""Checks what lies in the tree: only files that have a place there, text that ends its lines well,
no paths of a developer's machine, no mention of documents that are not part of it.

Looks at the files that git tracks; where there is no git, at all but what it would ignore.

usage: tree.py [--root DIR]     checks the tree (default: the one this file is in)
       tree.py --self-test      proves on bad trees that each rule can fail
"""
import re
import subprocess
import tempfile
from pathlib import Path

import frame

SIZE_MAX = 256 * 1024

# What git would ignore.
UNTRACKED = {".git", "build", "__pycache__", ".pytest_cache"}

# Where a file may lie: the whole path has to match one of these.
PLACES = [re.compile(p) for p in (
    r"CMakeLists\.txt|CMakePresets\.json|LICENSE|README\.md",
    r"\.clang-format|\.clang-tidy|\.gitignore|\.gitattributes|\.git-blame-ignore-revs",
    r"\.(ci|github)/.+",
    r"(proxy|proxy/(base|resp|net)|sentinel|config)/\w+\.(c|h|def)",
    r"tests/[\w/]+\.(c|h|py|sh|ini|conf|patch|cmake)",
    r"tests/([\w/]+/)?CMakeLists\.txt",
    r"tests/fuzz/corpus/\w+/[\w.-]+",
    r"tests/failover/real_programs/node/(\w+\.js|package(-lock)?\.json)",
    r"examples/[\w./-]+\.(ini|sh|py|yaml|yml|json|service|socket|conf|txt|md)",
)]

CORPUS = re.compile(r"tests/fuzz/corpus/.+")

# A path that only exists for somebody.
MACHINE_PATH = re.compile(r"(?<![\w./~-])(/(?:home|root|Users|work|workspace|mnt|media)/[\w.-]+|"
                          r"[A-Z]:\\\\?[A-Za-z]\w+)")
# Capitals: a document of this house, not one of the world's readme.md.
DOCUMENT = re.compile(r"\b([A-Z][A-Z_-]+\.md)\b")


def tracked(root):
    """Paths relative to root."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"]
    try:
        if (root / ".git").exists():
            out = subprocess.run(command, check=True, capture_output=True).stdout.decode()
            return sorted(path for path in out.split("\0") if path and (root / path).exists())
    except FileNotFoundError:
        pass  # no git on this machine
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*")
                  if p.is_file() and UNTRACKED.isdisjoint(p.relative_to(root).parts))


def check_text(path, text, names, problems):
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}: "
        if line != line.rstrip() and not path.endswith(".patch"):  # there ' ' is an empty line
            problems.append(where + "white space at the line's end")
        if "\t" in line and path.endswith((".c", ".h", ".def", ".py", ".yaml", ".yml")):
            problems.append(where + "a tab")
        for match in MACHINE_PATH.finditer(line):
            problems.append(where + f"a path of one machine: {match.group(1)}")
        for match in DOCUMENT.finditer(line):
            if match.group(1) not in names:
                problems.append(where + f"a document that is not here: {match.group(1)}")
    if text and not text.endswith("\n"):
        problems.append(f"{path}:1: the last line has no end")


def check_file(root, path, names, problems):
    file = root / path
    if not any(place.fullmatch(path) for place in PLACES):
        problems.append(f"{path}:1: no file of this kind has a place here")
    if file.is_symlink():
        problems.append(f"{path}:1: a symbolic link")
        return
    data = file.read_bytes()
    if len(data) > SIZE_MAX:
        problems.append(f"{path}:1: larger than {SIZE_MAX} bytes")
    script = data.startswith(b"#!")
    if file.stat().st_mode & 0o111 and not script:
        problems.append(f"{path}:1: executable, and no script")
    if CORPUS.fullmatch(path):
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        problems.append(f"{path}:1: not text")
        return
    # This file and what it looks for are the one exception.
    if path != "tests/lint/tree.py":
        check_text(path, text, names, problems)


def check(root):
    """All problems of the tree, and how many files were looked at."""
    paths, problems = tracked(root), []
    names = {Path(path).name for path in paths} | {"README.md"}
    for path in paths:
        check_file(root, path, names, problems)
    return problems, len(paths)


GOOD = {
    "README.md": b"# x\n",
    "proxy/base/a.c": b"/* /dev/null, /etc/vedette, /run/secrets, a/ro" b"ot/b, README.md */\n",
    "tests/unit/base/test_a.c": b"int x;\n",
    "tests/fuzz/corpus/a/b": b"\0\xff \t",
    "examples/kubernetes/sidecar.yaml": b"a: b\n",
    "tests/run.sh": b"#!/bin/sh\n\texit 0\n",
}

# One more file, and what must be said of it.
BAD = [
    ("notes.txt", b"x\n", "has a place"),
    ("src/a.c", b"int x;\n", "has a place"),
    ("proxy/a.orig", b"x\n", "has a place"),
    ("proxy/a.cpp", b"x\n", "has a place"),
    ("tests/unit/core", b"x\n", "has a place"),
    ("proxy/a.c", b"int x; \n", "white space"),
    ("proxy/a.c", b"int x;\r\n", "white space"),
    ("proxy/a.c", b"\tint x;\n", "a tab"),
    ("proxy/a.c", b"int x;", "no end"),
    ("proxy/a.c", b"char x[] = \"\xff\";\n", "not text"),
    ("proxy/a.c", b"\0\n", "not text"),
    ("proxy/a.c", b"/*" + b" x\n" * SIZE_MAX + b"*/\n", "larger than"),
    ("tests/a.py", b"# see /home/someone/notes\n", "one machine"),
    ("tests/a.sh", b"cd /home/ci/build\n", "one machine"),
    ("tests/a.sh", b"cd C:\\Users\\x\n", "one machine"),
    ("proxy/a.c", b"/* see PLAN.md */\n", "not here"),
]


def check_tree(change):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, data in GOOD.items():
            frame.write(root, path, data)
        change(root)
        return check(root)[0]


def self_test():
    cases = [(lambda root, p=path, d=data: frame.write(root, p, d), f"{path} {data[:40]}", said)
             for path, data, said in BAD]
    cases.append((lambda root: (root / "proxy/base/a.c").chmod(0o755), "chmod", "executable"))
    cases.append((lambda root: (root / "proxy/b.c").symlink_to("base/a.c"), "link", "symbolic"))
    failures = [f"the good tree: {problem}" for problem in check_tree(lambda root: None)]
    for change, what, said in cases:
        problems = check_tree(change)
        if len(problems) != 1 or said not in problems[0]:
            failures.append(f"{what}: wanted one '{said}', got {problems}")
    return failures, len(cases) + 1


if __name__ == "__main__":
    frame.main(check, self_test)
