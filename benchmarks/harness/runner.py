"""Runs a benchmark: arguments, and for each case the measurement, the table and the file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from harness import environment, records, tables
from harness.contenders import Benchmark, Settings
from harness.measuring import measure
from harness.records import Measurement, Run
from pointkernels import build_info


def run(benchmark: Benchmark, arguments: list[str] | None = None) -> int:
    """Run a benchmark from the command line.

    Returns:
        0, or 1 when a contender gave a wrong result or pointkernels failed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(benchmark)
    options = parser.parse_args(arguments)
    try:
        settings, cases, output = _plan(benchmark, options)
    except ValueError as error:
        parser.error(str(error))
    console = Console(stderr=False)
    before = environment.load_average()
    measurements: list[Measurement] = []
    for case in cases:
        found = measure(
            benchmark,
            case,
            settings,
            console,
            threads=options.threads,
            fastest=options.fastest,
            seconds=options.seconds,
            with_memory=options.memory and _is_chosen(case, options.memory_shapes),
        )
        measurements += found
        for count in dict.fromkeys(row.threads for row in found):
            console.print(tables.screen_table([row for row in found if row.threads == count]))
    packages = {m.package for m in measurements if m.package is not None}
    about = environment.describe(settings.device, packages, arguments)
    title = f"{benchmark.title}, pointkernels alone" if settings.alone else benchmark.title
    result = Run(benchmark.name, title, about, (before, environment.load_average()), tuple(measurements))
    if options.update is not None:
        result = records.updated(records.load(options.update), result)
    console.print(tables.footer(result))
    if output is not None:
        records.save(result, output)
        console.print(f"saved in {output}")
    return int(any(m.status == "wrong" or (m.ours and m.status == "failed") for m in measurements))


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=benchmark.title)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure (default: cpu)")
    parser.add_argument("--threads", type=_counts, default=(1,), help="CPU threads, as in 1,2 (default: 1)")
    parser.add_argument("--isa", type=_names, default=(), help="instruction sets of pointkernels, as in avx2,avx512")
    parser.add_argument("--shapes", nargs="+", default=[], help="only cases whose label contains one of these texts")
    parser.add_argument("--alone", action="store_true", help="pointkernels without the others")
    parser.add_argument("--list", action="store_true", help="print the labels of the cases and end")
    parser.add_argument("--large", action="store_true", help="also the large cases, which take minutes")
    parser.add_argument("--compile", action="store_true", help="also torch.compile of the references")
    parser.add_argument("--quick", action="store_true", help="tiny cases, to see that everything works; not saved")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure peak memory")
    parser.add_argument("--memory-shapes", nargs="+", default=[], help="peak memory of these cases only, as --shapes")
    parser.add_argument("--seconds", type=_seconds, default=1.0, help="of each contender on a case, on average")
    parser.add_argument(
        "--fastest",
        type=int,
        help="only so many others with more than one number of threads: the fastest with the first",
    )
    parser.add_argument("--output", type=Path, help="the JSON file (default: results/<benchmark>-<device>.json)")
    parser.add_argument("--update", type=Path, help="a JSON file whose other cases are taken over into this one")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise argparse.ArgumentTypeError(f"must be numbers of at least 1, separated by commas, got {text}")
    return tuple(map(int, parts))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return seconds


def _is_chosen(case: Any, texts: Sequence[str]) -> bool:
    return not texts or any(text in case.label for text in texts)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _plan(benchmark: Benchmark, options: argparse.Namespace) -> tuple[Settings, Sequence[Any], Path | None]:
    """Settings, cases and output file of the options; everything that can be wrong with them is found here."""
    if options.device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("--device cuda must have a CUDA device, got none (torch.cuda.is_available() is False)")
        if not build_info()["cuda"]:
            raise ValueError("--device cuda must have a build of pointkernels with CUDA, got one without")
    for isa in options.isa:
        if isa not in build_info()["isas_usable"]:
            raise ValueError(f"--isa must name some of {', '.join(build_info()['isas_usable'])}, got {isa}")
    settings = Settings(
        device=options.device,
        isas=options.isa,
        quick=options.quick,
        large=options.large,
        compiled=options.compile,
        alone=options.alone,
    )
    every = benchmark.cases(settings)
    cases = [case for case in every if _is_chosen(case, options.shapes)]
    if options.list or not cases:
        labels = "\n  ".join(case.label for case in every)
        if options.list:
            print(f"  {labels}")
            raise SystemExit(0)
        raise ValueError(
            f"--shapes must be parts of labels, got {' '.join(options.shapes)}; the labels are\n  {labels}"
        )
    if options.update is not None:
        try:
            records.load(options.update)
        except FileNotFoundError as error:
            raise ValueError(f"--update: {error}") from error
    output = options.output
    # A part of the cases must not replace the file of all of them.
    if output is None and not options.quick and not options.shapes:
        name = f"{benchmark.name}-alone" if options.alone else benchmark.name
        output = records.RESULTS / f"{name}-{environment.device_slug(options.device)}.json"
    if options.no_save or output is None:
        return settings, cases, None
    if output.is_dir():
        raise ValueError(f"--output must be a file, got the folder {output}")
    try:  # now rather than after the measurements
        output.parent.mkdir(parents=True, exist_ok=True)
        output.with_suffix(".partial").touch()
        output.with_suffix(".partial").unlink()
    except OSError as error:
        raise ValueError(f"--output must be a file that can be written, got {output}: {error.strerror}") from error
    return settings, cases, output
