"""What the checks of the tree in Python share: their command line, and trees made for self-tests."""

import argparse
import sys
import tempfile
from pathlib import Path


def problems_of(check, files):
    """What check says of a tree made of files: {path: text or bytes}."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, data in files.items():
            write(root, path, data)
        return check(root)[0]


def write(root, path, data):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data if isinstance(data, bytes) else data.encode())


def main(check, self_test):
    """check(root) and self_test() return (problems, how much was looked at)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    problems, seen = self_test() if options.self_test else check(options.root)
    for problem in problems:
        print(problem)
    print(f"{seen} checked, {len(problems)} problems")
    sys.exit(1 if problems or seen == 0 else 0)
