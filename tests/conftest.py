"""Options and marks for all Python tests: `--full` runs the long cases too."""

import os

import pytest


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also run the cases marked full")


def pytest_collection_modifyitems(config, items):
    for item in items:
        folder = os.path.basename(os.path.dirname(str(item.path)))
        if folder in ("integration", "failover"):
            item.add_marker(getattr(pytest.mark, folder))
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
