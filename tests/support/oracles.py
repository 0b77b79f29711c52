"""What must be true of the recorded outcomes and the final data. Each check raises OracleError.

An outcome is one of ACKED, INDOUBT (may have run: `-INDOUBT`, or the connection was lost),
NOTRUN (certainly did not run) and ERROR (any other error reply).
"""

from collections import Counter

ACKED, INDOUBT, NOTRUN, ERROR = "acked", "in doubt", "not run", "error"


class OracleError(AssertionError):
    """The system under test broke a promise."""


class Record:
    """One request of a client: what it carried, when, and what came back."""

    __slots__ = ("token", "sent_at", "done_at", "outcome", "reply")

    def __init__(self, token, outcome=None, sent_at=0.0, done_at=0.0, reply=None):
        self.token, self.outcome, self.reply = token, outcome, reply
        self.sent_at, self.done_at = sent_at, done_at


def classify(reply):
    """The outcome that a raw reply tells."""
    if not reply.startswith(b"-"):
        return ACKED
    if reply.startswith(b"-INDOUBT "):
        return INDOUBT
    if reply.startswith(b"-LOADING No primary available for "):
        return NOTRUN
    return ERROR


def tally(clients):
    """How many requests had each outcome, over all clients' records."""
    counts = Counter(record.outcome for records in clients for record in records)
    return {outcome: counts.get(outcome, 0) for outcome in (ACKED, INDOUBT, NOTRUN, ERROR)}


def errors_of(clients, limit=5):
    """The first few unexpected error replies, for a report."""
    return [r.reply for records in clients for r in records if r.outcome == ERROR][:limit]


def check_ledger(clients, lists, may_lose=None):
    """LEDGER: clients[i] is what client i sent, in order; lists[i] the tokens that are there now.

    Acknowledged tokens are there exactly once, those in doubt at most once, those not run never,
    nothing foreign, and all but those in doubt in the order they were sent. may_lose(record) says
    whether Redis itself may have lost that acknowledged token. Returns the lost records.
    """
    lost = []
    for index, (records, stored) in enumerate(zip(clients, lists, strict=True)):
        lost += _check_one_list(index, records, stored, may_lose)
    return lost


def _check_one_list(index, records, stored, may_lose):
    count = Counter(stored)
    doubled = [token for token, times in count.items() if times > 1]
    if doubled:
        raise OracleError(f"client {index}: executed twice: {doubled[:10]} ({len(doubled)})")
    by_token = {record.token: record for record in records}
    foreign = [token for token in stored if token not in by_token]
    if foreign:
        raise OracleError(f"client {index}: never sent: {foreign[:10]}")
    ran = [t for t in stored if by_token[t].outcome in (NOTRUN, ERROR)]
    if ran:
        raise OracleError(f"client {index}: told it did not run, but did: {ran[:10]}")
    lost = [r for r in records if r.outcome == ACKED and r.token not in count]
    bad = [r for r in lost if may_lose is None or not may_lose(r)]
    if bad:
        raise OracleError(f"client {index}: acknowledged and lost: {[r.token for r in bad[:10]]} "
                          f"({len(bad)} of {len(records)})")
    certain = [t for t in stored if by_token[t].outcome == ACKED]
    sent = [r.token for r in records if r.outcome == ACKED and r.token in count]
    if certain != sent:
        at = next(i for i, pair in enumerate(zip(certain, sent)) if pair[0] != pair[1])
        raise OracleError(f"client {index}: out of order at {at}: {certain[at:at + 5]} instead of "
                          f"{sent[at:at + 5]}")
    return lost


def check_counter(clients, final, start=0, may_lose=0):
    """COUNTER: every client INCRs one key; record.reply is the raw reply.

    Acknowledged values rise within a client and no value is given twice; the final value is at
    least the number of acknowledged (less may_lose) and at most that plus those in doubt.
    """
    seen = set()
    for index, records in enumerate(clients):
        last = start
        for record in records:
            if record.outcome != ACKED:
                continue
            value = int(record.reply[1:])
            if value <= last:
                raise OracleError(f"client {index}: {value} after {last}")
            if value in seen:
                raise OracleError(f"client {index}: {value} was given twice")
            seen.add(value)
            last = value
    counts = tally(clients)
    low = start + counts[ACKED] - may_lose
    high = start + counts[ACKED] + counts[INDOUBT]
    if not low <= final <= high:
        raise OracleError(f"counter is {final}, must be within {low}..{high} ({counts})")


def check_order(expected, frames):
    """ORDER: reply k answers request k. expected[k] is the exact frame, a set of allowed ones, or
    a function of the frame that says whether it may stand there."""
    if len(frames) != len(expected):
        raise OracleError(f"{len(frames)} replies to {len(expected)} requests")
    for index, (want, got) in enumerate(zip(expected, frames)):
        if callable(want):
            fits = want(got)
        elif isinstance(want, (set, frozenset)):
            fits = got in want
        else:
            fits = got == want
        if not fits:
            raise OracleError(f"reply {index} is {got[:100]!r}, expected {want!r:.200}")


def check_open(before, after):
    """OPEN: the same client connections, none closed. Both are lists of local addresses, None for
    a connection that was closed."""
    gone = [a for a, b in zip(before, after, strict=True) if a != b]
    if gone:
        raise OracleError(f"{len(gone)} of {len(before)} connections broke: {gone[:5]}")


def acks(clients):
    """The times of all acknowledgements, in order."""
    return sorted(r.done_at for records in clients for r in records if r.outcome == ACKED)


def longest_gap(clients):
    """BLACKOUT: the longest time without an acknowledgement."""
    times = acks(clients)
    return max((b - a for a, b in zip(times, times[1:])), default=0.0)


def first_ack_after(clients, moment):
    """Seconds from that moment to the next acknowledgement, None without one."""
    later = [t for t in acks(clients) if t >= moment]
    return later[0] - moment if later else None


def check_blackout(clients, limit):
    gap = longest_gap(clients)
    if gap > limit:
        raise OracleError(f"no acknowledgement for {gap:.3f} s, allowed are {limit:.3f}")
    return gap
