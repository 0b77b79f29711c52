"""Each patch beside this file takes one rule out of the proxy and names a test that must then fail:
a test that nothing can make fail proves nothing."""

import os
import re
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PATCHES = sorted(name for name in os.listdir(HERE) if name.endswith(".patch"))
SOURCES = ("CMakeLists.txt", "CMakePresets.json", "proxy", "config", "sentinel", "tests")


def patch(tree, name, *options):
    return subprocess.run(["patch", "-p0", "--no-backup-if-mismatch", "-F0", *options,
                           "-i", os.path.join(HERE, name)],
                          cwd=tree, capture_output=True, text=True, check=False)


def header(name, field):
    with open(os.path.join(HERE, name), encoding="ascii") as file:
        return re.search(f"^{field}: (.*)$", file.read(), re.M).group(1)


@pytest.mark.parametrize("name", PATCHES)
def test_applies(name):
    """A patch that no longer fits takes no rule out: make it anew."""
    assert header(name, "Rule")
    path, function = header(name, "Test").split("::")
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        assert f"def {function}(" in file.read()
    done = patch(ROOT, name, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(name="tree", scope="module")
def tree_fixture(tmp_path_factory):
    tree = tmp_path_factory.mktemp("mutant")
    for name in SOURCES:
        source = os.path.join(ROOT, name)
        copy = shutil.copytree if os.path.isdir(source) else shutil.copy2
        copy(source, tree / name)
    subprocess.run(["cmake", "--preset", "release", "-DBUILD_TESTING=OFF"], cwd=tree, check=True,
                   capture_output=True)
    return tree


def run(tree, test):
    subprocess.run(["cmake", "--build", "--preset", "release"], cwd=tree, check=True,
                   capture_output=True)
    env = dict(os.environ, VEDETTE=str(tree / "build" / "release" / "vedette"))
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", test],
                          cwd=ROOT, env=env, capture_output=True, text=True, check=False,
                          timeout=300)


@pytest.mark.full
@pytest.mark.parametrize("name", PATCHES)
def test_is_caught(tree, name):
    assert patch(tree, name).returncode == 0
    try:
        done = run(tree, header(name, "Test"))
    finally:
        assert patch(tree, name, "-R").returncode == 0
    assert done.returncode == 1, f"{header(name, 'Rule')}: not noticed\n{done.stdout[-3000:]}"


@pytest.mark.full
@pytest.mark.parametrize("test", sorted({header(name, "Test") for name in PATCHES}))
def test_holds_without(tree, test):
    """The same build with the rule in passes: it is the patch that the tests notice."""
    done = run(tree, test)
    assert done.returncode == 0, done.stdout[-3000:]
