"""The examples that are no configuration files: what they start is taken by this proxy."""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from support.proxy import ROOT, environment, executable, run

UNIT = os.path.join(ROOT, "examples", "vedette.service")
POD = os.path.join(ROOT, "examples", "container.yaml")
CONFIG = os.path.join(ROOT, "examples", "production.ini")


def unit_lines():
    with open(UNIT, encoding="ascii") as file:
        return [line.rstrip("\n").split("=", 1) for line in file
                if "=" in line and not line.startswith(("#", "["))]


def test_unit_is_one_that_systemd_knows(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    with open(UNIT, encoding="ascii") as file:
        text = file.read().replace("/usr/bin/vedette", executable())
    (tmp_path / "vedette.service").write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                           str(tmp_path / "vedette.service")], capture_output=True, text=True,
                          check=False, timeout=60)
    about = [line for line in done.stderr.splitlines() if "vedette.service" in line]
    assert about == [] and done.returncode == 0, done.stderr


def test_what_the_unit_runs():
    commands = [words for name, words in unit_lines() if name in ("ExecStartPre", "ExecStart")]
    assert len(commands) == 2
    for command in commands:
        words = [CONFIG if w.endswith("vedette.ini") else w for w in shlex.split(command)[1:]]
        code, _, err = run(*words, *([] if "--check" in words else ["--check"]))
        assert code == 0, err


def test_limits_of_the_unit_are_enough():
    """With the descriptors that it grants, the default of max-clients stands."""
    limit = dict(unit_lines())["LimitNOFILE"]
    done = subprocess.run(["prlimit", f"--nofile={limit}:{limit}", executable(), "--sentinel",
                           "127.0.0.1:1", "--check"], env=environment(), capture_output=True,
                          text=True, check=False, timeout=20)
    if "Operation not permitted" in done.stderr:
        pytest.skip("the limit can't be raised here")
    assert done.returncode == 0 and done.stderr == ""


def test_what_the_pod_runs(tmp_path):
    with open(POD, encoding="ascii") as file:
        words = re.findall(r"^ +- (--\S+)$", file.read(), re.M)
    assert len(words) >= 6
    secret = tmp_path / "password"
    secret.write_text("a-password\n")
    words = [re.sub(r"/run/secrets/\S+", str(secret), word) for word in words]
    code, _, err = run(*words, "--check")
    assert code == 0, err
