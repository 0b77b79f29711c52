"""Replies stay paired with their requests, byte for byte, whatever happens upstream."""

import time

import pytest

from support.case import judged, scenario
from support.oracles import check_order
from support.resp import encode
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

COMMANDS = 1000


def mixed(count):
    """[(request, expected reply)] of one client: values, lists, errors, nulls and large replies.
    The reply to a write that may be in doubt is a function."""
    steps, counter = [], [0]
    for i in range(count // 8):
        name = f"k{i}"
        value = (f"value-{i}-" * (1 + i % 50)).encode()
        written = b"$%d\r\n%b\r\n" % (len(value), value)
        steps += [
            (("ECHO", i), b"$%d\r\n%d\r\n" % (len(str(i)), i)),
            (("SET", name, value), or_in_doubt(b"+OK\r\n")),
            (("GET", name), either(written, b"$-1\r\n")),
            (("INCR", "n"), rising(counter)),
            (("GET", "missing"), b"$-1\r\n"),
            (("LPUSH", name, "x"), or_in_doubt(wrongtype, b":1\r\n")),
            (("ECHO", value), written),
            (("NOSUCH",), lambda frame: frame.startswith(b"-ERR unknown command")),
        ]
    return steps


def in_doubt(frame):
    return frame.startswith(b"-INDOUBT ")


def wrongtype(frame):
    return frame.startswith(b"-WRONGTYPE ")


def either(*wanted):
    """One of these, or in doubt: a read may be that when a write behind it is."""
    return lambda frame: in_doubt(frame) or any(w(frame) if callable(w) else frame == w
                                                for w in wanted)


def or_in_doubt(*wanted):
    return either(*wanted)


def rising(last):
    """An integer above the one before, or in doubt."""
    def fits(frame):
        if in_doubt(frame):
            return True
        value = int(frame[1:]) if frame[:1] == b":" else -1
        fine = value > last[0]
        last[0] = value
        return fine
    return fits


@pytest.mark.parametrize("kind", ["planned", "crash"])
@judged
def test_24_order_across_the_failover(kind):
    with scenario() as (cluster, proxy), proxy.connect(timeout=30) as client:
        steps = mixed(COMMANDS)
        old = cluster.primary
        began = time.monotonic()
        for index, (request, _) in enumerate(steps):
            if index == COMMANDS // 4:
                if kind == "planned":
                    cluster.failover()
                else:
                    old.kill()
            client.send(encode(*request))
            # A thousand requests over two seconds: some before, some within, some behind.
            pace = began + index * 0.002
            if pace > time.monotonic():
                time.sleep(pace - time.monotonic())
        frames = client.read_frames(len(steps))
        check_order([want for _, want in steps], frames)
        doubtful = sum(map(in_doubt, frames))
        print(f"{kind}: {doubtful} in doubt")
        assert doubtful == 0 if kind == "planned" else doubtful < 200
        assert client.ok("PING") == "PONG"
        wait_until(lambda: cluster.primary is not old, 20, "the failover")
