"""Times every operator: as it is called, and its work on the device alone, by replaying a CUDA graph of the call.

The buffers rotate: every call of a contender works on another copy of the inputs, and the clock writes over the L2
cache in between, so that nothing is faster than it would be on fresh data.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from harness import timing
from harness.contenders import Contender, LeftOut, Problem, Settings
from harness.measuring import check

from gpu.cases import Timed

COPIES = 3
GRAPH = " [graph]"
BUDGET = timing.Budget(rounds=9, seconds=0.15, most_seconds=1.0, most_rounds=60, slow=2.0, warm_up=0.05)
# A call of ours that takes longer than this is measured with fewer samples.
LONGEST = 2.0
PACKAGES = ("pointkernels", "torch")
# What can be captured besides our operators. Others wait for the device, and a capture that fails leaves torch's
# allocator and random numbers unusable for the rest of the process.
CAPTURABLE = (
    "torch cdist+topk",
    "torch matmul+topk (DGCNN)",
    "torch.compile matmul+topk",
    "Conv2d+BatchNorm2d+max (DGCNN)",
    "torch.compile of it",
)


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        settings: device, and whether references are compiled.
        clock: times a call.
        budget: how long.
        copies: of the inputs of a case.
        graphs: whether calls are also captured and replayed.
    """

    settings: Settings
    clock: timing.Clock
    budget: timing.Budget = BUDGET
    copies: int = COPIES
    graphs: bool = True


def plan(device: str, compiled: bool) -> Plan:
    """On a GPU as the report wants it; on a CPU as quickly as it goes."""
    settings = Settings(device=device, compiled=compiled)
    if device == "cuda":
        return Plan(settings, timing.CudaClock())
    return Plan(settings, timing.CpuClock(), timing.QUICK, copies=2, graphs=False)


@contextmanager
def full_float32() -> Any:
    """Convolutions of cuDNN in float32, not in the TF32 that torch allows them; results are compared in it."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def rotated(contenders: Sequence[Contender]) -> Contender:
    """One contender that takes the inputs of several in turns."""
    calls = itertools.cycle([contender.call for contender in contenders])
    return replace(contenders[0], call=lambda: next(calls)())


def captured(contender: Contender, calls: Sequence[Callable[[], Any]]) -> Contender:
    """The contender as CUDA graphs, one for each copy of the inputs, replayed in turns.

    Raises:
        RuntimeError: a call cannot be captured.
    """
    graphs = []
    for call in calls:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graphs.append(graph)
    turns = itertools.cycle(graphs)
    return replace(contender, name=contender.name + GRAPH, call=lambda: next(turns).replay())


def shortened(timed: Timed, settings: Settings, clock: timing.Clock) -> tuple[Timed, float]:
    """The case with fewer samples where one call would take too long, and how many times fewer they are.

    Every sample costs the same, so a short run tells the time of a long one.
    """
    samples = getattr(timed.case, "samples", None)
    if samples is None or samples <= 1000:
        return timed, 1.0
    probe = replace(timed.case, samples=samples // 100)
    call = timed.benchmark.problem(probe, settings).contenders[0].call
    call()
    seconds = clock.time(call)[0] * 100
    if seconds <= LONGEST:
        return timed, 1.0
    fewer = max(int(samples * LONGEST / seconds / 4), 100)
    return replace(timed, case=replace(timed.case, samples=fewer)), samples / fewer


def problems(timed: Timed, plan: Plan) -> list[Problem]:
    """The case with copies of its inputs."""
    return [timed.benchmark.problem(timed.case, plan.settings) for _ in range(plan.copies)]


def measure(timed: Timed, plan: Plan, machine: dict[str, Any]) -> dict[str, Any]:
    """One case: rows of contenders with the times of a call and of the device, and the floor."""
    started = time.perf_counter()
    full, scale = shortened(timed, plan.settings, plan.clock)
    floor = timed.floor(machine)
    result: dict[str, Any] = {
        "case": timed.label, "floor": floor.seconds, "floor_by": floor.limit, "target": timed.target, "rows": [],
    }  # fmt: skip
    try:
        copies = problems(full, plan)
    except LeftOut as reason:
        return {**result, "note": str(reason)}
    if scale > 1:
        result["note"] = f"timed with {full.case.samples} samples, times {scale:.3g}"
    ready, rows = [], {}
    for number, first in enumerate(copies[0].contenders):
        if first.package not in PACKAGES or (plan.settings.compiled and not first.ours and not first.compiles):
            continue
        # Each copy of a compiled contender would be compiled anew.
        turns = [copy.contenders[number] for copy in (copies[:1] if first.compiles else copies)]
        contender = rotated(turns)
        with full_float32():
            status, note, seconds = check(contender, copies[0], plan.clock, plan.budget)
        row = rows[first.name] = {"contender": first.name, "ours": first.ours, "status": status, "note": note}
        if status == "single call":
            row["call"] = [seconds * scale] * 3
        elif status == "ok":
            ready.append(contender)
            if plan.graphs and (first.ours or first.name in CAPTURABLE):
                try:
                    ready.append(captured(contender, [turn.call for turn in turns]))
                except RuntimeError as error:
                    text = f"cannot be captured in a CUDA graph: {(str(error).splitlines() or [''])[0]}"
                    row |= {"status": "failed", "note": "; ".join(filter(None, [note, text]))}
                    # This process cannot measure any more, see above.
                    return {**result, "rows": list(rows.values()), "unusable": True}
    for reason in (f"{name}: {text}" for name, text in copies[0].left_out.items() if name.startswith("torch ")):
        result["note"] = "; ".join(filter(None, [result.get("note", ""), reason]))
    for name, times in timing.interleave(ready, plan.clock, plan.budget).items():
        spread = timing.quartiles([seconds * scale for seconds in times.first.values()])
        kind = "device" if name.endswith(GRAPH) else "call"
        rows[name.removesuffix(GRAPH)][kind] = [spread.lower, spread.median, spread.upper]
    result["rows"] = list(rows.values())
    result["seconds"] = time.perf_counter() - started
    return result
