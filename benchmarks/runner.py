"""Runs a benchmark: arguments, and for each case the check, the interleaved timing, the memory, the table, the file."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import environment
import memory
import records
import report
import timing
import torch
from contenders import LOADED, Benchmark, Contender, LeftOut, Problem, Settings
from records import Measurement, Run
from rich.console import Console

from pointkernels import build_info
from pointkernels._library import set_isa


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
        for threads in options.threads:
            found = measure(benchmark, case, replace(settings, threads=threads), console, with_memory=options.memory)
            measurements += found
            console.print(report.screen_table(found))
    packages = {m.package for m in measurements if m.package is not None}
    about = environment.describe(settings.device, packages, arguments)
    result = Run(benchmark.name, benchmark.title, about, (before, environment.load_average()), tuple(measurements))
    console.print(report.footer(result))
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
    parser.add_argument("--list", action="store_true", help="print the labels of the cases and end")
    parser.add_argument("--large", action="store_true", help="also the large cases, which take minutes")
    parser.add_argument("--compile", action="store_true", help="also torch.compile of the references")
    parser.add_argument("--quick", action="store_true", help="tiny cases, to see that everything works; not saved")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure peak memory")
    parser.add_argument("--output", type=Path, help="the JSON file (default: results/<benchmark>-<device>.json)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise argparse.ArgumentTypeError(f"must be numbers of at least 1, separated by commas, got {text}")
    return tuple(map(int, parts))


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
    )
    every = benchmark.cases(settings)
    cases = [case for case in every if not options.shapes or any(text in case.label for text in options.shapes)]
    if options.list or not cases:
        labels = "\n  ".join(case.label for case in every)
        if options.list:
            print(f"  {labels}")
            raise SystemExit(0)
        raise ValueError(
            f"--shapes must be parts of labels, got {' '.join(options.shapes)}; the labels are\n  {labels}"
        )
    output = options.output
    # A part of the cases must not replace the file of all of them.
    if output is None and not options.quick and not options.shapes:
        output = records.RESULTS / f"{benchmark.name}-{environment.device_slug(options.device)}.json"
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


def measure(
    benchmark: Benchmark, case: Any, settings: Settings, console: Console, *, with_memory: bool = True
) -> list[Measurement]:
    """Check, time and weigh all contenders on one case."""
    use_threads(settings.threads)
    isa = build_info()["isa"]

    def row(name: str, status: str, **values: Any) -> Measurement:
        return Measurement(case.label, asdict(case), settings.threads, name, status, **values)

    with console.status(f"{case.label}: making inputs") as status:
        try:
            problem = benchmark.problem(case, settings)
        except LeftOut as reason:
            return [row("all", "left out", note=str(reason))]
        clock: timing.Clock = timing.CudaClock() if settings.device == "cuda" else timing.CpuClock()
        budget = timing.QUICK if settings.quick else timing.Budget()
        checked = []
        for contender in problem.contenders:
            status.update(f"{case.label}: checking {contender.name}")
            checked.append((contender, *check(contender, problem, clock, budget)))
        ready = [contender for contender, outcome, _, _ in checked if outcome == "ok"]
        status.update(f"{case.label}: timing {len(ready)} contenders, {settings.threads} thread(s)")
        warm = {contender.name: seconds for contender, _, _, seconds in checked}
        times = timing.interleave(ready, clock, budget, warm=warm)
        base = next((times[contender.name] for contender in ready if contender.ours), None)
        rows = []
        for contender, outcome, note, seconds in checked:
            values: dict[str, Any] = {"family": contender.family, "package": contender.package, "note": note}
            if outcome == "ok":
                values |= statistics(times[contender.name], base)
            elif outcome == "single call":
                values |= statistics({0: seconds}, None)
                if base is not None:
                    values["ratio"] = seconds / timing.quartiles(list(base.values())).median
            if with_memory and outcome == "ok":
                status.update(f"{case.label}: peak memory of {contender.name}")
                reading = _memory(benchmark, case, settings, contender)
                values["peak_memory"] = reading.size
                if reading.size is None:
                    values["note"] = "; ".join(filter(None, [note, f"memory not measured: {reading.reason}"]))
            rows.append(row(contender.name, outcome, **values))
    set_isa(isa)
    return rows + [row(name, "left out", note=reason) for name, reason in problem.left_out.items()]


def check(contender: Contender, problem: Problem, clock: timing.Clock, budget: timing.Budget) -> tuple[str, str, float]:
    """The first call: "ok", "single call", "wrong" or "failed", a remark, and seconds."""
    try:
        if contender.before is not None:
            contender.before()
        seconds, value = clock.time(contender.call)
        verdict = problem.check(contender, contender.result(value))
        if verdict.error is None and contender.compiles and seconds > budget.slow:
            seconds, value = clock.time(contender.call)
    except Exception as error:  # a peer may fail in any way, and the others still count
        text = (str(error).splitlines() or [""])[0]
        return "failed", f"{type(error).__name__}: {text}", 0.0
    if verdict.error is not None:
        return "wrong", verdict.error, seconds
    if seconds > budget.slow and not contender.ours:
        note = f"not repeated: a call takes more than {budget.slow:g} s"
        return "single call", "; ".join(filter(None, [verdict.note, note])), seconds
    return "ok", verdict.note, seconds


def statistics(times: dict[int, float], base: dict[int, float] | None) -> dict[str, Any]:
    spread = timing.quartiles(list(times.values()))
    found: dict[str, Any] = {
        "rounds": len(times),
        "median": spread.median,
        "lower": spread.lower,
        "upper": spread.upper,
    }
    if base is not None:
        relative = timing.ratio(times, base)
        found |= {"ratio": relative.median, "ratio_lower": relative.lower, "ratio_upper": relative.upper}
    return found


def _memory(benchmark: Benchmark, case: Any, settings: Settings, contender: Contender) -> memory.Reading:
    if settings.device == "cuda":
        return memory.Reading(memory.peak_of_cuda(contender.call))
    arguments = (benchmark.module, case.label, settings, contender.name)
    return memory.peak_memory(contender_call, *arguments, preload=(benchmark.module, *sorted(LOADED)))


def contender_call(module: str, label: str, settings: Settings, name: str) -> Callable[[], Any]:
    """Build one contender's call anew; for the fresh process whose memory is measured."""
    benchmark: Benchmark = importlib.import_module(module).BENCHMARK
    case = next(case for case in benchmark.cases(settings) if case.label == label)
    use_threads(settings.threads)
    contender = next(c for c in benchmark.problem(case, settings).contenders if c.name == name)
    if contender.before is not None:
        contender.before()
    return contender.call


def use_threads(count: int) -> None:
    """Let torch, and the OpenMP and BLAS libraries that peers brought with them, use so many threads."""
    torch.set_num_threads(count)
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return
    threadpool_limits(limits=count)
