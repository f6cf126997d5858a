"""The results of a run, and their JSON files."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
# Matrix products in cache, which share nothing but the cores: how much faster threads make these is what they can give.
YARDSTICK = "torch.bmm (the machine)"


@dataclass(frozen=True)
class Measurement:
    """One contender on one case.

    Times are seconds, memory is bytes. `ratio` is its time over that of pointkernels, from the rounds of the same
    interleaved run that both took part in; `speedup` is its time with the run's first number of threads over that with
    these, likewise. Those are of calls back to back; `first`, and what begins so, are of the first call of each turn.
    What was not measured is None, and `note` says why.
    """

    case: str
    parameters: dict[str, Any]
    threads: int
    contender: str
    status: str  # "ok", "single call", "wrong", "failed" or "left out"
    family: str | None = None
    package: str | None = None
    rounds: int = 0
    median: float | None = None
    lower: float | None = None
    upper: float | None = None
    first: float | None = None
    ratio: float | None = None
    ratio_lower: float | None = None
    ratio_upper: float | None = None
    first_ratio: float | None = None
    speedup: float | None = None
    speedup_lower: float | None = None
    speedup_upper: float | None = None
    first_speedup: float | None = None
    peak_memory: int | None = None
    note: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is pointkernels."""
        return self.contender.split(" ")[0] == "pointkernels"

    @property
    def yardstick(self) -> bool:
        """Whether it tells what the machine can do, rather than another way to the result."""
        return self.contender == YARDSTICK


@dataclass(frozen=True)
class Run:
    """Everything a benchmark found, and what it was made with."""

    benchmark: str
    title: str
    environment: dict[str, Any]
    load_average: tuple[float | None, float | None]  # before and after
    measurements: tuple[Measurement, ...]


def save(run: Run, path: Path) -> None:
    """Write a run as JSON, a measurement a line; the file is either the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    text = _dumps({**asdict(run), "measurements": []}, indent=1)
    rows = ",\n".join(f"  {_dumps(_measured(row))}" for row in run.measurements)
    partial.write_text(text.removesuffix("[]\n}") + f"[\n{rows}\n ]\n}}\n")
    partial.replace(path)


def _dumps(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def _measured(row: Measurement) -> dict[str, Any]:
    """The fields that say something; `load` gives the others their defaults."""
    return {field.name: value for field in fields(row) if (value := getattr(row, field.name)) != field.default}


def slug(name: str) -> str:
    """The name of hardware as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def updated(old: Run, new: Run) -> Run:
    """The old run with the cases of the new one in the place of its own; says in its command that it was made so."""
    measured = {row.case for row in new.measurements}
    rows = list(new.measurements)
    merged: list[Measurement] = []
    for row in old.measurements:
        if row.case not in measured:
            merged.append(row)
        elif any(r.case == row.case for r in rows):
            merged += [r for r in rows if r.case == row.case]
            rows = [r for r in rows if r.case != row.case]
    about = dict(new.environment)
    about["versions"] = {**old.environment["versions"], **about["versions"]}
    about["command"] = f"{old.environment['command']} && {about['command']}"
    return Run(old.benchmark, old.title, about, new.load_average, tuple(merged + rows))


def load(path: Path) -> Run:
    """Read a run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a result of these benchmarks.
    """
    if not path.is_file():
        raise FileNotFoundError(f"a result must be a JSON file of the benchmarks, got {path}, which is not there")
    try:
        content = json.loads(path.read_text())
        known = {field.name for field in fields(Measurement)}
        measurements = tuple(
            Measurement(**{key: value for key, value in row.items() if key in known})
            for row in content.pop("measurements")
        )
        content["load_average"] = tuple(content["load_average"])
        return Run(measurements=measurements, **content)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a result must be a JSON file of the benchmarks, got {path}: {error}") from error
