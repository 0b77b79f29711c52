"""Each oracle passes what is right and fails each wrong it is there for."""

import pytest

from support import oracles
from support.oracles import ACKED, ERROR, INDOUBT, NOTRUN, OracleError, Record


def ledger(*outcomes):
    return [Record(f"t{i}", outcome, sent_at=i, done_at=i + 0.5)
            for i, outcome in enumerate(outcomes)]


def test_classify():
    assert oracles.classify(b":1\r\n") == ACKED
    assert oracles.classify(b"-INDOUBT The primary was lost after\r\n") == INDOUBT
    assert oracles.classify(b"-LOADING No primary available for 'm'; the\r\n") == NOTRUN
    assert oracles.classify(b"-LOADING Redis is loading the dataset in memory\r\n") == ERROR
    assert oracles.classify(b"-READONLY You can't write\r\n") == ERROR


def test_tally_counts_all_clients():
    counts = oracles.tally([ledger(ACKED, INDOUBT), ledger(ACKED, NOTRUN, ERROR)])
    assert counts == {ACKED: 2, INDOUBT: 1, NOTRUN: 1, ERROR: 1}


@pytest.mark.parametrize("stored", [["t0", "t2", "t4"], ["t0", "t1", "t2", "t4"],
                                    ["t0", "t2", "t4", "t1"]])
def test_ledger_passes(stored):
    records = ledger(ACKED, INDOUBT, ACKED, NOTRUN, ACKED)
    assert oracles.check_ledger([records], [stored]) == []


@pytest.mark.parametrize("stored, why", [
    (["t0", "t2"], "lost"),
    (["t0", "t2", "t2", "t4"], "twice"),
    (["t0", "t1", "t1", "t2", "t4"], "twice"),
    (["t0", "t2", "t3", "t4"], "did not run"),
    (["t0", "t4", "t2"], "order"),
    (["t0", "t2", "t4", "x"], "never sent"),
])
def test_ledger_fails(stored, why):
    records = ledger(ACKED, INDOUBT, ACKED, NOTRUN, ACKED)
    with pytest.raises(OracleError, match=why):
        oracles.check_ledger([records], [stored])


def test_ledger_looks_at_every_client():
    good, bad = ledger(ACKED), ledger(ACKED)
    with pytest.raises(OracleError, match="client 1"):
        oracles.check_ledger([good, bad], [["t0"], []])


def test_ledger_tells_what_redis_itself_lost():
    records = ledger(ACKED, ACKED, ACKED)
    lost = oracles.check_ledger([records], [["t0", "t1"]], lambda r: r.done_at >= 2)
    assert [r.token for r in lost] == ["t2"]
    with pytest.raises(OracleError, match="lost"):
        oracles.check_ledger([records], [["t0", "t2"]], lambda r: r.done_at >= 2)


def counts(*values):
    return [Record(str(i), *((INDOUBT,) if v is None else (ACKED, 0, 0, b":%d\r\n" % v)))
            for i, v in enumerate(values)]


@pytest.mark.parametrize("final", [3, 4])
def test_counter_passes(final):
    oracles.check_counter([counts(1, 3), counts(None, 4 if final == 4 else 2)], final)


@pytest.mark.parametrize("clients, final, why", [
    ([counts(1, 2, 3)], 2, "within 3..3"),
    ([counts(1, 2, 3)], 4, "within 3..3"),
    ([counts(1, None)], 3, "within 1..2"),
    ([counts(1, 3, 2)], 3, "after"),
    ([counts(1, 2), counts(2, 3)], 4, "given twice"),
])
def test_counter_fails(clients, final, why):
    with pytest.raises(OracleError, match=why):
        oracles.check_counter(clients, final)


def test_order():
    oracles.check_order([b":1\r\n", {b"+a\r\n", b"+b\r\n"}, lambda f: f[:1] == b"-"],
                        [b":1\r\n", b"+b\r\n", b"-ERR\r\n"])


@pytest.mark.parametrize("frames", [[b"+a\r\n"], [b"+b\r\n", b"+a\r\n"],
                                    [b"+a\r\n", b"+b\r\n", b"+c\r\n"]])
def test_order_fails(frames):
    with pytest.raises(OracleError):
        oracles.check_order([b"+a\r\n", {b"+b\r\n"}], frames)


def test_order_fails_by_function():
    with pytest.raises(OracleError):
        oracles.check_order([lambda f: f[:1] == b"-"], [b"+OK\r\n"])


def test_open():
    oracles.check_open([("h", 1), ("h", 2)], [("h", 1), ("h", 2)])
    with pytest.raises(OracleError, match="1 of 2"):
        oracles.check_open([("h", 1), ("h", 2)], [("h", 1), None])
    with pytest.raises(OracleError):
        oracles.check_open([("h", 1)], [("h", 3)])


def test_blackout():
    records = [Record("a", ACKED, 0, 1.0), Record("b", ACKED, 0, 1.5),
               Record("c", INDOUBT, 0, 2.0), Record("d", ACKED, 0, 3.0)]
    assert oracles.longest_gap([records[::2], records[1::2]]) == 1.5
    assert oracles.first_ack_after([records], 1.75) == 1.25
    assert oracles.first_ack_after([records], 4) is None
    oracles.check_blackout([records], 1.6)
    with pytest.raises(OracleError):
        oracles.check_blackout([records], 1.4)
