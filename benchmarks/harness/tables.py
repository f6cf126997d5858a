"""Tables of results: on the screen while a benchmark runs, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.records import Measurement, Run

SUMMARY = ("case", "threads", "pointkernels ms", "fastest other", "ms", "ratio (quartiles)", "of first calls")


def duration(seconds: float | None) -> str:
    """Milliseconds with three digits."""
    return "" if seconds is None else _digits(seconds * 1e3)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def megabytes(size: int | None) -> str:
    """MB (10^6 bytes) with one decimal."""
    return "" if size is None else f"{size / 1e6:.1f}"


def times(row: Measurement) -> str:
    """Median and quartiles in milliseconds."""
    spread = f" ({duration(row.lower)} to {duration(row.upper)})" if row.rounds > 1 else ""
    return f"{duration(row.median)}{spread}"


def ratios(row: Measurement) -> str:
    """How many times longer than pointkernels, with the spread."""
    if row.ratio is None:
        return ""
    if row.ratio_lower is None or row.ratio_upper is None:
        return f"~{_digits(row.ratio)}x"
    return f"{_digits(row.ratio)}x ({_digits(row.ratio_lower)} to {_digits(row.ratio_upper)})"


def first_ratios(row: Measurement) -> str:
    """The same for the first calls of turns."""
    return "" if row.first_ratio is None else f"{_digits(row.first_ratio)}x"


def speedups(row: Measurement) -> str:
    """How many times faster than with the first number of threads, with the spread; then that of first calls."""
    if row.speedup is None:
        return ""
    first = f", first {row.first_speedup:.2f}x" if row.first_speedup is not None else ""
    return f"{row.speedup:.2f}x ({row.speedup_lower:.2f} to {row.speedup_upper:.2f}){first}"


def best_of_families(rows: Iterable[Measurement]) -> list[Measurement]:
    """Of contenders that differ in a setting only, the fastest on each case; and all that went wrong."""
    rows = list(rows)
    fastest: dict[tuple[str, int, str], Measurement] = {}
    for row in rows:
        if row.family is not None and row.median is not None:
            key = (row.case, row.threads, row.family)
            fastest[key] = min(fastest.get(key, row), row, key=lambda r: r.median or 0.0)
    return [r for r in rows if r.median is None or r.family is None or fastest[r.case, r.threads, r.family] is r]


def screen_table(rows: Sequence[Measurement]) -> Group:
    """The table of one case."""
    first = rows[0]
    table = Table(title=f"{first.case}, {first.threads} thread(s)", title_justify="left", title_style="bold")
    for column in ("contender", "ms: median (quartiles)", "time / pointkernels", "first ms", "peak MB", "remarks"):
        left = column in ("contender", "remarks")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in best_of_families(r for r in rows if r.status != "left out"):
        fault = row.status in ("wrong", "failed")
        note = "; ".join(filter(None, [speedups(row) and f"{speedups(row)} the speed of fewer threads", row.note]))
        remarks = Text(f"{row.status.upper()}: {note}" if fault else note, style="bold red" if fault else "dim")
        cells = times(row), ratios(row), duration(row.first), megabytes(row.peak_memory)
        table.add_row(row.contender, *cells, remarks)
    reasons = [f"  {r.contender}: {r.note}" for r in rows if r.status == "left out" and r.note != "not installed"]
    return Group(table, Text("\n".join(reasons), style="dim")) if reasons else Group(table)


def absent(run: Run) -> list[str]:
    """Contenders that are not installed."""
    return sorted({r.contender for r in run.measurements if r.status == "left out" and r.note == "not installed"})


def provenance(run: Run) -> str:
    """One paragraph: hardware, versions, commit, date, load."""
    about = run.environment
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    isa = f" ({about['isa']})" if about["device"] == "cpu" else f", host {about['cpu']}"
    revision, _, changes = (about["commit"] or "unknown").partition("+")
    text = f"{about['device_name']}{isa}, {about['cpus']} CPUs; {versions}; commit {revision[:12]}"
    text += " with changes" if changes else ""
    before, after = run.load_average
    if before is not None and after is not None:
        text += f"; {about['date']}; load average {before:g} before and {after:g} after"
        if before > 0.5:  # what runs before the benchmark starts is not the benchmark
            text += " (the machine was doing other work: trust the ratios, not the times)"
    return text + "."


def footer(run: Run) -> Text:
    """What stands below all tables on the screen."""
    lines = [provenance(run)]
    if absent(run):
        lines.append("not installed: " + ", ".join(absent(run)))
    faults = [m for m in run.measurements if m.status in ("wrong", "failed")]
    lines += [f"{m.status.upper()}: {m.contender} on {m.case}: {m.note}" for m in faults]
    return Text("\n".join(lines), style="bold red" if faults else "")


def markdown(run: Run) -> str:
    """The tables of a run: ours beside the fastest other, then every contender's median."""
    rows = [r for r in best_of_families(run.measurements) if r.median is not None]
    cases = list(dict.fromkeys((r.case, r.threads) for r in rows))
    names = list(dict.fromkeys(_column(r) for r in rows))
    lines = [f"## {run.title}", "", provenance(run), f"`{run.environment['command']}`", ""]
    if not all(row.ours or row.yardstick for row in rows):
        body = [_summary(*case, [r for r in rows if (r.case, r.threads) == case]) for case in cases]
        lines += _table(SUMMARY, body)
    tables = {
        "Median milliseconds": _time_cell,
        f"Times faster than with {cases[0][1] if cases else 1} thread(s), in the same rounds": speedups,
        "Peak memory of a call, MB": _memory_cell,
    }
    for title, cell in tables.items():
        cells = {(r.case, r.threads, _column(r)): cell(r) for r in rows}
        if any(cells.values()):
            body = [[c, str(t), *(cells.get((c, t, name), "") for name in names)] for c, t in cases]
            body = [line for line in body if any(line[2:])]
            lines += ["", f"{title}:", "", *_table(["case", "threads", *names], body)]
    if absent(run):
        lines += ["", "Not installed: " + ", ".join(absent(run)) + "."]
    faults = [m for m in run.measurements if m.status in ("wrong", "failed")]
    lines += [f"\n**{m.status}**: {m.contender} on {m.case}: {m.note}" for m in faults]
    return "\n".join(lines) + "\n"


def _column(row: Measurement) -> str:
    return row.family or row.contender


def _time_cell(row: Measurement) -> str:
    return duration(row.median)


def _memory_cell(row: Measurement) -> str:
    return megabytes(row.peak_memory)


def _summary(case: str, threads: int, rows: Sequence[Measurement]) -> list[str]:
    ours = next((r for r in rows if r.ours), None)
    others = [r for r in rows if not r.ours and not r.yardstick and r.median is not None]
    others.sort(key=lambda r: r.median or 0.0)
    cells = [case, str(threads), times(ours) if ours is not None else ""]
    if not others:
        return cells + [""] * 4
    return [*cells, others[0].contender, times(others[0]), ratios(others[0]), first_ratios(others[0])]


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in body]
