"""Options, marks and what all Python tests share: `--full` runs the long cases too."""

import os
import subprocess

import pytest

from support import tls
from support.proxy import ROOT


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also run the cases marked full")
    parser.addoption("--seed", type=int, help="of the hunt: what a failed one printed")
    parser.addoption("--hunt-faults", help="of the hunt: these instead of those it draws")
    parser.addoption("--hunt-minutes", type=float, default=10, help="of the long hunt")


def pytest_collection_modifyitems(config, items):
    for item in items:
        folder = os.path.basename(os.path.dirname(str(item.path)))
        if folder in ("integration", "failover"):
            item.add_marker(getattr(pytest.mark, folder))
    marks = ([] if config.getoption("--full") else ["full"]) + (["plain"] if tls.default() else [])
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """The proxy as it is installed, without sanitizers."""
    build = tmp_path_factory.mktemp("release")
    for words in (["-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                   "-DVEDETTE_HARDEN=ON", "-DBUILD_TESTING=OFF"], ["--build", build]):
        subprocess.run(["cmake", *words], check=True, capture_output=True)
    return build / "vedette"
