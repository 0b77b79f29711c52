"""Scenario 66, by chance: sessions of every kind at once, and fault after fault.

  --hunt-minutes N   hunts for so long, each run ten minutes at most
  --seed N           the run that a failure names
  --hunt-faults "kill:0.1 cut:0.7"   with these faults instead of those it draws
"""

import random
import time

import pytest

from hunt.faults import drawn, parse
from hunt.run import Found, Hunt, shrink
from support.cluster import Spoiled

RUN_SECONDS = 600
SHRINK_SECONDS = 900
ATTEMPTS = 3


def hunt(seed, faults=None, seconds=None, shrink_for=0):
    """Fails with what reproduces it."""
    for _ in range(ATTEMPTS):
        one = Hunt(seed, faults or drawn(seed), None if faults else seconds)
        try:
            one.run()
            return
        except Spoiled as spoiled:
            print(f"not judged: {spoiled}")
        except Found as found:
            print(f"found: {found}")
            shortest = shrink(one, shrink_for) if shrink_for else one.done
            pytest.fail(f"{found}\nagain: --seed {seed} --hunt-faults "
                        f"\"{' '.join(map(str, shortest))}\"")
    pytest.fail(f"Sentinel spoiled the run {ATTEMPTS} times")


def test_66_hunt(request):
    """A minute of it, with the same faults each time; the long one draws new ones."""
    option = request.config.getoption
    seed = option("--seed") if option("--seed") is not None else 1
    hunt(seed, parse(option("--hunt-faults") or ""), 35)


@pytest.mark.full
@pytest.mark.slow
def test_66_long_hunt(request):
    minutes = request.config.getoption("--hunt-minutes")
    over = time.monotonic() + minutes * 60
    while (left := over - time.monotonic()) > 0:
        hunt(random.randrange(2**32), seconds=min(left, RUN_SECONDS), shrink_for=SHRINK_SECONDS)
