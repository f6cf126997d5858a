"""Which kernels a call of an operator launches, and what each takes: the profiler of torch, once for each case.

The part "operators" tells how long a layer takes; this one, of how many launches it is made, which of them takes what,
and how much of the time lies between them.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from harness.contenders import LeftOut
from torch.profiler import ProfilerActivity, profile

from gpu.cases import Timed
from gpu.names import short_name
from gpu.operators import Plan, shortened

CALLS = 5
# What the device does, in the categories of the profiler's trace.
ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")


def read(events: Iterable[dict[str, Any]], calls: int) -> dict[str, Any]:
    """The launches of one call, from the events of a trace of several.

    Args:
        events: as in the "traceEvents" of a Chrome trace.
        calls: how many were traced, all alike.

    Returns:
        launches of a call, microseconds on the device, and a row for each launch in the order of the call. Where calls
        differ in the number of launches, rows are of each kernel, with how often it was launched.
    """
    found = sorted((e for e in events if e.get("cat") in ON_DEVICE), key=lambda e: e["ts"])
    total = sum(float(e["dur"]) for e in found) / calls
    summary = {"launches": len(found) / calls, "microseconds": total}
    count = len(found) // calls
    turns = [found[n * count : (n + 1) * count] for n in range(calls)]
    alike = len(found) % calls == 0 and len({tuple(e["name"] for e in turn) for turn in turns}) == 1
    if alike:
        groups: Sequence[Sequence[dict[str, Any]]] = list(zip(*turns, strict=True))
    else:
        names = dict.fromkeys(e["name"] for e in found)
        groups = [[e for e in found if e["name"] == name] for name in names]
    return {**summary, "kernels": [_row(group, calls) for group in groups]}


def _row(events: Sequence[dict[str, Any]], calls: int) -> dict[str, Any]:
    arguments = events[0].get("args", {})
    shared = arguments.get("shared memory")
    return {
        "name": short_name(events[0]["name"]),
        "times": len(events) / calls,
        "microseconds": statistics.median(float(e["dur"]) for e in events),
        "grid": arguments.get("grid"),
        "block": arguments.get("block"),
        "registers": arguments.get("registers per thread"),
        "shared": shared,
    }


def measure(timed: Timed, plan: Plan) -> dict[str, Any]:
    """One case of our operator; on a CPU the profiler runs, too, and finds no launches."""
    result: dict[str, Any] = {"case": timed.label, "rows": []}
    full, scale = shortened(timed, plan.settings, plan.clock)
    try:
        problem = timed.benchmark.problem(full.case, plan.settings)
    except LeftOut as reason:
        return {**result, "note": str(reason)}
    call = next(contender.call for contender in problem.contenders if contender.ours)
    on_gpu = plan.settings.device == "cuda"
    for _ in range(2):
        call()
    activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        for _ in range(CALLS):
            call()
        if on_gpu:
            torch.cuda.synchronize()
    note = f"with {full.case.samples} samples, not scaled" if scale > 1 else ""
    return {**result, **read(trace_of(profiler), CALLS), "note": note}


def once(timed: Timed, plan: Plan) -> dict[str, Any]:
    """One call of our operator, for a program that watches from outside."""
    problem = timed.benchmark.problem(timed.case, plan.settings)
    next(contender.call for contender in problem.contenders if contender.ours)()
    if plan.settings.device == "cuda":
        torch.cuda.synchronize()
    return {"case": timed.label, "rows": []}


def trace_of(profiler: Any) -> list[dict[str, Any]]:
    """The events of a trace, by way of the file that the profiler writes: its own objects lack grids and registers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events
