"""The page as a whole."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from crosspoint.engine.atomic import replacing
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.evaluation.results import FOLDER, read_results
from crosspoint.reporting.charts import write_losses, write_throughput
from crosspoint.reporting.markup import fold, paragraph, picture, section, table
from crosspoint.reporting.published import PAPER, published
from crosspoint.reporting.tasks import TASKS, describe, headline, percent, value_at

_CHARTS = "report"  # folder of the page's own charts, in each run's folder
_SUMMARY = (
    ("data.dataset", "data"),
    ("data.num_points", "points per cloud"),
    ("data.image_size", "image side, pixels"),
    ("model.encoder", "cloud encoder"),
    ("model.k", "neighbours"),
    ("optimisation.epochs", "epochs"),
    ("optimisation.batch_size", "batch"),
    ("seed", "seed"),
)


def write_page(runs: Sequence[Path], output: Path) -> None:
    """Writes the page, atomically, and its charts into the runs' folders.

    Args:
        runs: Folders of runs: of pre-trainings, or of evaluations alone.
        output: Where to write the page.

    Raises:
        FileNotFoundError: If a folder is not there or holds neither a log nor results.
        ValueError: If a file in it is damaged.
        OSError: If something cannot be written.
    """
    for run in runs:
        if not run.is_dir():
            raise FileNotFoundError(f"a run must be a folder, got no folder {run}")
        if not (run / LOG_NAME).exists() and not (run / FOLDER).is_dir():
            raise FileNotFoundError(f"a run must hold a log or results, got neither {LOG_NAME} nor {FOLDER} in {run}")
    results = {run: _results(run) for run in runs}
    names = _names(runs)
    content = [section("Overview", "overview", _overview(results, names), _comparison(results, names), level=2)]
    content += [_run_section(run, f"run-{number}", names[run], results[run]) for number, run in enumerate(runs)]
    links = [("overview", "Overview"), *((f"run-{number}", names[run]) for number, run in enumerate(runs))]
    page = Template(resources.files("crosspoint.reporting").joinpath("page.html").read_text()).substitute(
        title=escape(f"CrossPoint: {', '.join(names.values())}"),
        subtitle=escape(f"Made on {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by python -m crosspoint.report."),
        navigation="".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in links),
        content="\n".join(content),
    )
    with replacing(output, "the page") as file:
        file.write(page.encode())


def _names(runs: Sequence[Path]) -> dict[Path, str]:
    """Short names: the folders' own, or their paths where these do not tell them apart."""
    short = {run: run.resolve().name for run in runs}
    return short if len(set(short.values())) == len(runs) else {run: str(run) for run in runs}


def _results(run: Path) -> dict[str, dict[str, Any]]:
    return {task: read_results(run / FOLDER, task) for task in TASKS}


def _overview(results: Mapping[Path, Mapping[str, Mapping[str, Any]]], names: Mapping[Path, str]) -> str:
    """Every headline number, a table for each run, pre-trained beside random."""
    tables: list[str] = []
    for run, tasks in results.items():
        rows: list[list[str]] = []
        for task, entries in tasks.items():
            for dataset, entry in entries.items():
                rows.append([f"{TASKS[task]}: {dataset}"])
                rows += [[measure, *_values(entry, keys)] for measure, keys in headline(task, entry)]
        if rows:
            numbers = table(["", "random", "pre-trained", "change"], rows)
            tables.append(section(f"Run {names[run]}", f"overview-{len(tables)}", numbers))
    if not tables:
        return ""
    note = "Percent. Both encoders have the same architecture, protocol and clouds; random is the pre-training's start."
    return paragraph(note, "faint") + "\n".join(tables)


def _values(entry: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, str, str]:
    encoders = entry["encoders"]
    trained = next((encoders[key] for key in ("last", "official", "best") if key in encoders), None)
    random = encoders.get("random")
    first = "–" if random is None else percent(value_at(random, keys))
    if trained is None:
        return first, "–", "–"
    second = percent(value_at(trained, keys))
    return first, second, "–" if random is None else f"{100 * (value_at(trained, keys) - value_at(random, keys)):+.1f}"


def _comparison(results: Mapping[Path, Mapping[str, Mapping[str, Any]]], names: Mapping[Path, str]) -> str:
    """Measured numbers beside the paper's."""
    rows: list[list[str]] = []
    for task, title in TASKS.items():
        for dataset in sorted({name.removesuffix("-official") for tasks in results.values() for name in tasks[task]}):
            paper = [number for number in published(task, dataset) if number.source == PAPER]
            if not paper:
                continue
            rows.append([f"{title}: {dataset}"])
            rows += [[f"published: {number.method}", number.measure, f"{number.value:g}"] for number in paper]
            rows += [
                [_measured(names[run], name, entry), measure, value]
                for run, tasks in results.items()
                for name, entry in tasks[task].items()
                if name.removesuffix("-official") == dataset
                for measure, keys in headline(task, entry)
                for value in [_values(entry, keys)[1]]
            ]
    if not rows:
        return ""
    note = (
        "Lines marked published are the CrossPoint paper's, from full training on full data; none of them was measured "
        "here. Measured lines come from the settings given below and are comparable only where these are the same."
    )
    return section(
        "Beside the paper",
        "paper",
        paragraph(note, "faint"),
        table(["method or run", "measure", "%"], rows, text_columns=2),
    )


def _measured(run: str, name: str, entry: Mapping[str, Any]) -> str:
    """Where a measured number comes from; other data can lie in the layout of a well-known dataset."""
    root = entry["settings"]["data"]["root"]
    parts = [f"measured: {run}", *([f"on {Path(root).name}"] if root else [])]
    return " ".join(parts) + (", official protocol" if name.endswith("-official") else "")


def _run_section(run: Path, identifier: str, name: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [_pretraining(run, identifier)]
    for task, title in TASKS.items():
        for dataset, entry in results[task].items():
            body = describe(task, dataset, entry, run / FOLDER)
            parts.append(section(f"{title}: {dataset}", f"{identifier}-{task}-{dataset}", body))
    return section(name, identifier, *parts, level=2)


def _pretraining(run: Path, identifier: str) -> str:
    """Settings, curves and throughput, where the folder holds a pre-training."""
    settings = _settings(run)
    records = read_log(run / LOG_NAME)
    content = []
    if settings:
        rows = [[label, str(settings[key])] for key, label in _SUMMARY if key in settings]
        everything = [[key, str(value)] for key, value in sorted(settings.items())]
        content.append(table(["setting", "value"], rows, text_columns=2))
        content.append(fold("All settings", table(["setting", "value"], everything, text_columns=2)))
    if records:
        last, speeds = records[-1], [record["objects_per_second"] for record in records]
        median = statistics.median(speeds)
        quartiles = statistics.quantiles(speeds, n=4) if len(speeds) > 1 else [median, median, median]
        content.append(
            paragraph(
                f"{last['step']} steps done, loss {last['loss']:.3f} at the last. Throughput: median {median:.1f} "
                f"objects per second, quartiles {quartiles[0]:.1f} and {quartiles[2]:.1f}, data loading included."
            )
        )
        content.append(picture(write_losses(run / _CHARTS / "losses.png", records), "Loss of the pre-training."))
        content.append(
            picture(
                write_throughput(run / _CHARTS / "throughput.png", records), "Objects per second of the pre-training."
            )
        )
    return section("Pre-training", f"{identifier}-pretraining", *content)


def _settings(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be a complete settings file, got damaged JSON") from error
    return dict(content)
