"""Rows of what was measured, and the table they make."""

import statistics

COLUMNS = (  # title, width, a row's value
    ("x direct", 8, lambda row: row.ratio),
    ("by cpu", 6, lambda row: row.by_cpu),
    ("krps", 8, lambda row: row.median("rate", 1e-3)),
    ("+-%", 5, lambda row: row.spread()),
    ("proxy us", 9, lambda row: row.median("proxy")),
    ("redis us", 9, lambda row: row.median("redis")),
    ("calls", 7, lambda row: row.calls),
    ("p50 us", 8, lambda row: row.median("p50")),
    ("p99 us", 8, lambda row: row.median("p99")),
)
NAME_WIDTH = 14
CLIENT_BOUND = 0.95  # of its processor


class Row:
    """A contender in a scenario. error: the run proves nothing, and why."""

    def __init__(self, scenario, contender, rounds=(), note="", error="", kib=None):
        self.scenario, self.contender, self.rounds = scenario, contender, list(rounds)
        self.notes = [note] if note else []
        self.error, self.kib = error, kib
        self.ratio = self.by_cpu = self.calls = None

    def median(self, key, unit=1):
        """Of all rounds; None where it was not measured."""
        values = [one[key] for one in self.rounds if one[key] is not None]
        return statistics.median(values) * unit if values else None

    def spread(self):
        """Half of the way from the slowest to the fastest round, in percent of the median."""
        rates = [one["rate"] for one in self.rounds]
        return 50 * (max(rates) - min(rates)) / statistics.median(rates) if rates else None


def text(value):
    """Three digits that mean something, and no exponent."""
    if value is None:
        return "-"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def complete(rows, earlier, noisy):
    """What rows of a scenario say beside each other; `earlier` are those of scenarios before."""
    direct = next((row for row in rows if row.contender == "direct" and row.rounds), None)
    for row in rows if direct else ():
        if row.rounds:
            row.by_cpu = direct.median("redis") / (row.median("redis") + (row.median("proxy") or 0))
    _add_notes(rows, direct, earlier, noisy)


def _add_notes(rows, direct, earlier, noisy):
    alone = {row.contender: row for row in earlier if row.scenario == "p1" and row.rounds}
    for row in rows:
        if not row.rounds:
            continue
        if row.scenario == "c1" and direct and row is not direct:
            added = [row.median(key) - direct.median(key) for key in ("p50", "p99")]
            row.notes.append(f"adds {added[0]:.1f} us, at p99 {added[1]:.1f}")
        if row.median("beside") > 0:
            row.notes.append(f"the one: {text(row.median('beside', 1e-3))} krps")
            if row.contender in alone:
                longer = row.median("p99") / alone[row.contender].median("p99")
                row.notes.append(f"p99 {longer:.1f} x alone")
        if row.median("replicas") > 0:
            row.notes.append(f"replicas {text(row.median('replicas'))} us")
        if row.median("client") > CLIENT_BOUND:
            row.notes.append("the client is the limit")
        others = max(one["others"] + one["stolen"] for one in row.rounds)
        if others > noisy:
            row.notes.append(f"noisy: others had {100 * others:.0f}% of a processor")


class Printer:
    def __init__(self, out):
        self._out = out

    def _line(self, name, cells, notes):
        cells = [cell.rjust(width) for cell, (_, width, _) in zip(cells, COLUMNS)]
        print("  ".join([name.ljust(NAME_WIDTH), *cells, notes]).rstrip(), file=self._out,
              flush=True)

    def head(self):
        self._line("contender", [title for title, _, _ in COLUMNS], "notes")

    def scenario(self, name, what, rows):
        print(f"{name}: {what}", file=self._out)
        for row in rows:
            notes = [f"INVALID: {row.error}"] if row.error else row.notes
            self._line(row.contender, [text(value(row)) for _, _, value in COLUMNS],
                       "; ".join(notes))
