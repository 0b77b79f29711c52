"""Waiting for a condition instead of sleeping."""

import time


def wait_until(condition, timeout=10.0, what="condition", interval=0.02):
    """Calls condition until it returns something true, which is returned. An OSError, EOFError or
    TimeoutError inside counts as not yet."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, EOFError, TimeoutError) as error:
            last = error
        if time.monotonic() > deadline:
            hint = f" (last: {last!r})" if last else ""
            raise AssertionError(f"{what}: not within {timeout} s{hint}")
        time.sleep(interval)
