"""Measures a case: the check, the interleaved timing and the memory of every contender."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from rich.console import Console

from harness import memory, timing
from harness.contenders import LOADED, Benchmark, Contender, LeftOut, Problem, Settings
from harness.records import YARDSTICK, Measurement
from pointkernels import build_info
from pointkernels._library import set_isa


@dataclass(frozen=True)
class Entry:
    """A contender with a number of threads, and what its first call showed (see `check`)."""

    settings: Settings
    contender: Contender
    status: str
    note: str
    seconds: float

    @property
    def key(self) -> str:
        """Unique within the case."""
        return f"{self.contender.name}, {self.settings.threads} threads"


def measure(
    benchmark: Benchmark,
    case: Any,
    settings: Settings,
    console: Console,
    *,
    threads: Sequence[int] = (),
    fastest: int | None = None,
    seconds: float = 1.0,
    with_memory: bool = True,
) -> list[Measurement]:
    """Check, time and weigh all contenders on one case, with all numbers of threads in the same rounds.

    Args:
        benchmark: what the case belongs to.
        case: one of its cases.
        settings: how to measure.
        console: where progress is shown.
        threads: numbers of threads; by default that of the settings.
        fastest: how many others to measure with more than the first number of threads; None for all.
        seconds: that each contender shall run for, on average.
        with_memory: whether to measure peak memory.
    """
    isa = build_info()["isa"]
    clock: timing.Clock = timing.CudaClock() if settings.device == "cuda" else timing.CpuClock()
    turn = timing.TURN if settings.device == "cpu" else 0.0
    usual = timing.Budget(seconds=seconds, most_seconds=5 * seconds, turn=turn)
    budget = timing.QUICK if settings.quick else usual
    entries: list[Entry] = []
    rows = []

    def row(own: Settings, name: str, status: str, **values: Any) -> Measurement:
        return Measurement(case.label, asdict(case), own.threads, name, status, **values)

    with console.status(f"{case.label}: making inputs") as status:
        for count in threads or (settings.threads,):
            own = replace(settings, threads=count)
            use_threads(count)
            try:
                problem = benchmark.problem(case, own)
            except LeftOut as reason:
                return [row(own, "all", "left out", note=str(reason))]
            slow = _slower_than(entries, fastest)
            for contender in problem.contenders:
                if contender.name in slow or (settings.alone and not contender.ours):
                    continue
                status.update(f"{case.label}: checking {contender.name}, {count} thread(s)")
                entries.append(Entry(own, contender, *check(contender, problem, clock, budget)))
            left_out = {**problem.left_out, **dict.fromkeys(slow, "slower than others with fewer threads")}
            rows += [row(own, name, "left out", note=reason) for name, reason in left_out.items()]
        ready = {entry.key: entry for entry in entries if entry.status == "ok"}
        status.update(f"{case.label}: timing {len(ready)} contenders")
        timed = [replace(e.contender, name=key, before=_before(e, len(threads) > 1)) for key, e in ready.items()]
        several = len(threads) > 1 and settings.device == "cpu" and ready
        yardsticks = {count: _yardstick(count) for count in threads} if several else {}
        timed += yardsticks.values()
        times = timing.interleave(timed, clock, budget, warm={entry.key: entry.seconds for entry in entries})
        found = []
        for count, yardstick in yardsticks.items():
            slower, faster = times[yardsticks[threads[0]].name], times[yardstick.name]
            gain = compared("speedup", slower, faster) if count != threads[0] else {}
            found.append(row(replace(settings, threads=count), YARDSTICK, "ok", **statistics(faster), **gain))
        for entry in entries:
            base = next((e for e in ready.values() if e.contender.ours and e.settings == entry.settings), None)
            few = next(e for e in entries if e.contender.name == entry.contender.name)
            values: dict[str, Any] = {"family": entry.contender.family, "package": entry.contender.package}
            values["note"] = entry.note
            if entry.status == "ok":
                values |= statistics(times[entry.key])
                if base is not None:
                    values |= compared("ratio", times[entry.key], times[base.key])
                if few is not entry and few.status == "ok":
                    values |= compared("speedup", times[few.key], times[entry.key])
            elif entry.status == "single call":
                once = {0: entry.seconds}
                values |= statistics(timing.Times(once, once))
                if base is not None:
                    values["ratio"] = entry.seconds / statistics(times[base.key])["median"]
            if with_memory and entry.status == "ok":
                status.update(f"{case.label}: peak memory of {entry.key}")
                reading = _memory(benchmark, case, entry.settings, entry.contender)
                values["peak_memory"] = reading.size
                if reading.size is None:
                    values["note"] = "; ".join(filter(None, [entry.note, f"memory not measured: {reading.reason}"]))
            found.append(row(entry.settings, entry.contender.name, entry.status, **values))
    set_isa(isa)
    return sorted(found + rows, key=lambda r: r.threads)


def _slower_than(entries: Sequence[Entry], fastest: int | None) -> set[str]:
    """The names of those that are not among so many fastest others of the first number of threads."""
    if not entries or fastest is None:
        return set()
    others = [e for e in entries if e.settings == entries[0].settings and not e.contender.ours]
    ranked = sorted((e for e in others if e.status in ("ok", "single call")), key=lambda e: e.seconds)
    return {e.contender.name for e in others} - {e.contender.name for e in ranked[:fastest]}


def _yardstick(threads: int) -> Contender:
    left, right, product = torch.full((3, 16, 128, 128), 0.5)

    def call() -> None:
        torch.bmm(left, right, out=product)

    return Contender(f"{YARDSTICK}, {threads} threads", call, before=partial(use_threads, threads))


def _before(entry: Entry, several: bool) -> Callable[[], None] | None:
    """What to do before each call where numbers of threads alternate."""
    own = entry.contender.before
    if not several:
        return own

    def before() -> None:
        use_threads(entry.settings.threads)
        if own is not None:
            own()

    return before


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


def statistics(times: timing.Times) -> dict[str, Any]:
    """The fields of a measurement about a contender alone."""
    spread = timing.quartiles(list(times.repeated.values()))
    return {
        "rounds": len(times.repeated),
        "median": spread.median,
        "lower": spread.lower,
        "upper": spread.upper,
        "first": timing.quartiles(list(times.first.values())).median,
    }


def compared(name: str, slower: timing.Times, faster: timing.Times) -> dict[str, float]:
    """The fields of a measurement about two: how many times longer one takes, under that name."""
    found = timing.ratio(slower.repeated, faster.repeated)
    return {
        name: found.median,
        f"{name}_lower": found.lower,
        f"{name}_upper": found.upper,
        f"first_{name}": timing.ratio(slower.first, faster.first).median,
    }


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
    libraries = _libraries(len(LOADED))
    if libraries is not None:
        libraries.limit(limits=count)


@lru_cache(maxsize=1)
def _libraries(peers: int) -> Any:
    """The libraries with threads, looked for again when more peers are loaded."""
    try:
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return ThreadpoolController()
