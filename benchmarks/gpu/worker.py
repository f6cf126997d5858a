"""The parts that measure in a process of their own, so that an error of the device ends that process and no other.

What was found is written after every case. A process that the device has failed ends with BROKEN, and the next one goes
on behind the case that broke it.
"""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu import kernels, training
from gpu.cases import cases, hottest
from gpu.findings import write
from gpu.operators import measure, plan

BROKEN = 3  # exit code of a process that cannot go on


@dataclass(frozen=True)
class Task:
    """What the report asks of a worker.

    Attributes:
        part: "kernels", "operators", "compiled", "training", or "once": one call of each case that the hardware counts.
        device: "cuda", or "cpu" in a dry run.
        output: JSON file; what it holds already is not measured again.
        seconds: no case is begun after this time.
        machine: the machine's constants.
    """

    part: str
    device: str
    output: Path
    seconds: float
    machine: dict[str, Any]


def warm_up(device: str, seconds: float = 1.0) -> None:
    """Brings the clocks of a GPU up: an idle one runs at a fraction of its speed."""
    if device != "cuda":
        return
    matrix = torch.rand(4096, 4096, device=device)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        matrix @ matrix
        torch.cuda.synchronize()


def release() -> None:
    """Gives the memory of a case back; a reference that did not fit leaves little for the next one."""
    gc.collect()
    torch.cuda.empty_cache()


def device_works(device: str) -> bool:
    """False after an error that no later call of this process gets over."""
    try:
        if device == "cuda":
            torch.cuda.synchronize()
            torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


def work(task: Task) -> int:
    """Runs a part and returns the exit code of the process."""
    started = time.monotonic()
    found: dict[str, Any] = {"cases": []}
    if task.output.exists():
        found = json.loads(task.output.read_text())
    warm_up(task.device)
    measuring = plan(task.device, compiled=task.part == "compiled")
    every: list[tuple[str, Callable[[], dict[str, Any]]]]
    if task.part == "training":
        every = [("training step", lambda: training.measure(measuring))]
    elif task.part == "once":
        every = [
            (timed.label, lambda timed=timed: kernels.once(timed, measuring))  # type: ignore[misc]
            for timed in hottest(task.device != "cuda")
        ]
    elif task.part == "kernels":
        every = [
            (timed.label, lambda timed=timed: kernels.measure(timed, measuring))  # type: ignore[misc]
            for timed in cases(task.device != "cuda")
        ]
    else:
        every = [
            (timed.label, lambda timed=timed: measure(timed, measuring, task.machine))  # type: ignore[misc]
            for timed in cases(task.device != "cuda")
        ]
    known = {case["case"] for case in found["cases"]}
    for label, call in every:
        if label in known:
            continue
        if time.monotonic() - started > task.seconds:
            found["cases"].append({"case": label, "rows": [], "note": "no time was left"})
            continue
        print(f"{time.monotonic() - started:6.1f} s: {label}", flush=True)
        # Should the process die in it, the next one must not try it again.
        begun = {"case": label, "rows": [], "error": "the process ended in this case"}
        write(task.output, json.dumps({**found, "cases": [*found["cases"], begun]}))
        try:
            outcome = {"case": label, **call()}
        except Exception as error:
            traceback.print_exc()
            outcome = {**begun, "error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        found["cases"].append(outcome)
        write(task.output, json.dumps(found))
        if outcome.get("unusable") or not device_works(task.device):
            return BROKEN
        if task.device == "cuda":
            release()
    write(task.output, json.dumps(found))
    return 0
