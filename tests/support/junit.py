"""Results of the test runners, read from the JUnit files of ctest and pytest."""

import collections
import os
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

Result = collections.namedtuple("Result", "name outcome seconds note")
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def read_junit(path, prefix=""):
    """Results of a JUnit file of ctest or pytest; none when there is no (whole) file."""
    try:
        cases = xml.etree.ElementTree.parse(path).iter("testcase")
        found = [read_case(case, prefix) for case in cases]
        return [r for r in found if r.name != prefix]  # nameless: an interrupted pytest's last
    except (OSError, xml.etree.ElementTree.ParseError):
        return []


def read_case(case, prefix):
    name = test_id(case.get("classname", ""), case.get("name", ""))
    outcome, note = PASSED, ""
    for child in case:
        if child.tag in ("failure", "error"):
            outcome, note = FAILED, child.get("message", "")
        elif child.tag == "skipped" and outcome == PASSED:
            outcome, note = SKIPPED, child.get("message", "")
    if outcome == FAILED and not note:
        note = last_line(case.findtext("system-out") or "")
    # ctest calls "not run" both what skipped itself and what could not be started.
    if case.get("status") == "notrun" and not note.startswith("SKIP_RETURN_CODE"):
        outcome = FAILED
    return Result(prefix + name, outcome, float(case.get("time") or 0), note)


def last_line(text):
    lines = text.split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def test_id(classname, name):
    """As --test takes it. pytest's class name is the dotted path of the file, and any class."""
    parts = classname.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(["tests", *parts[:end]]) + ".py"
        if os.path.isfile(os.path.join(ROOT, path)):
            return "::".join([path, *parts[end:], name])
    return name
