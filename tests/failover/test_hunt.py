"""Scenario 66, by chance: sessions of every kind at once, and fault after fault; with the reads on
the primary, and on replicas.

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


def hunt(seed, faults=None, seconds=None, shrink_for=0, replica_reads=False):
    """Fails with what reproduces it."""
    for _ in range(ATTEMPTS):
        one = Hunt(seed, faults or drawn(seed, replica_reads), None if faults else seconds,
                   replica_reads)
        try:
            one.run()
            return
        except Spoiled as spoiled:
            print(f"not judged: {spoiled}")
        except Found as found:
            print(f"found: {found}")
            shortest = shrink(one, shrink_for) if shrink_for else one.done
            name = "test_66_hunt_with_replica_reads" if replica_reads else "test_66_hunt"
            pytest.fail(f"{found}\nagain: {name} --seed {seed} --hunt-faults "
                        f"\"{' '.join(map(str, shortest))}\"")
    pytest.fail(f"Sentinel spoiled the run {ATTEMPTS} times")


def short_hunt(request, seed, seconds, replica_reads):
    """With the same faults each time; the long one draws new ones."""
    option = request.config.getoption
    seed = option("--seed") if option("--seed") is not None else seed
    hunt(seed, parse(option("--hunt-faults") or ""), seconds, replica_reads=replica_reads)


def test_66_hunt(request):
    short_hunt(request, 1, 35, False)


def test_66_hunt_with_replica_reads(request):
    short_hunt(request, 2, 20, True)


@pytest.mark.full
@pytest.mark.slow
def test_66_long_hunt(request):
    minutes = request.config.getoption("--hunt-minutes")
    over = time.monotonic() + minutes * 60
    while (left := over - time.monotonic()) > 0:
        seed = random.randrange(2**32)
        hunt(seed, seconds=min(left, RUN_SECONDS), shrink_for=SHRINK_SECONDS,
             replica_reads=seed % 2 == 1)
