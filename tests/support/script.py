"""Small conversations of several clients with a server, written down as the bytes that came back.

Run against Redis and against the proxy, the two transcripts must be equal.
"""

import contextlib
import re

from .resp import Conn, encode
from .wait import wait_until

# What differs between two servers, or two moments, without meaning.
_VOLATILE = [
    (re.compile(rb"\$2\r\nid\r\n:\d+"), b"$2\r\nid\r\n:ID"),
    (re.compile(rb"^\+\d+\.\d+ \[(\d+) [^\]]+\]"), rb"+TIME [\1 ADDRESS]"),
]


class Raw(bytes):
    """Bytes to send as they are, instead of a command."""


class Say:
    """Client `who` sends something and reads `replies` frames."""

    def __init__(self, who, what, replies=1):
        self.who, self.what, self.replies = who, what, replies


class Read:
    """Client `who` reads that many frames more."""

    def __init__(self, who, replies=1):
        self.who, self.replies = who, replies


class Quiet:
    """Client `who` gets nothing for a moment."""

    def __init__(self, who, seconds=0.15):
        self.who, self.seconds = who, seconds


class Ends:
    """Client `who` gets these last bytes, whatever they are, and is closed."""

    def __init__(self, who):
        self.who = who


class Leaves:
    """Client `who` closes its side."""

    def __init__(self, who):
        self.who = who


class Until:
    """Waits for a condition on the node that executes the commands."""

    def __init__(self, condition):
        self.condition = condition


def blocked(count=1):
    """Until that many clients are blocked."""
    return Until(lambda node: int(node.info("clients")["blocked_clients"]) == count)


def say(*words, replies=1):
    """The step of the one client `a`: words as in redis-cli without quotes."""
    return Say("a", words[0].split() if len(words) == 1 else words, replies)


def normal(frame):
    for pattern, instead in _VOLATILE:
        frame = pattern.sub(instead, frame)
    return frame


def transcript(address, node, steps, chop=None, timeout=5):
    """Plays the steps; [(who, bytes)] of everything received. chop: sends in pieces of that many
    bytes."""
    said = []
    with contextlib.ExitStack() as stack:
        clients = {}

        def client(who):
            if who not in clients:
                clients[who] = stack.enter_context(Conn(address, timeout))
            return clients[who]

        for step in steps:
            if isinstance(step, Until):
                wait_until(lambda check=step.condition: check(node), what="the script's condition")
                continue
            conn = client(step.who)
            if isinstance(step, Say):
                data = step.what if isinstance(step.what, Raw) else encode(*step.what)
                for at in range(0, len(data), chop or len(data) or 1):
                    conn.send(data[at : at + (chop or len(data))])
            if isinstance(step, (Say, Read)):
                for _ in range(step.replies):
                    said.append((step.who, normal(read_frame(conn, said))))
            elif isinstance(step, Quiet):
                said.append((step.who, conn.read_for(step.seconds)))
            elif isinstance(step, Ends):
                said.append((step.who, conn.read_all()))
                conn.close()
                del clients[step.who]
            elif isinstance(step, Leaves):
                conn.close()
                del clients[step.who]
    return said


def read_frame(conn, said):
    try:
        return conn.read_frame()
    except (TimeoutError, EOFError, ConnectionError) as error:
        raise AssertionError(f"{error!r} after {said}") from error
