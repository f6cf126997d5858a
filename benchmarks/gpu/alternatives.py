"""The part that times prototypes of kernels side by side (machine/alternatives.cu), so that a design can be chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from gpu import programs
from gpu.context import Context
from gpu.findings import Finding

# No launch of these prototypes can be shorter, and none may take longer, at any size that is timed.
LEAST_SECONDS, MOST_SECONDS = 5e-7, 1.0


def faults(cases: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with the cases, a sentence each."""
    found = []
    for case in cases:
        label = f"{case['name']} of {case['group']}"
        seconds = case.get("seconds")
        if case["status"] in ("wrong", "failed"):
            found.append(f"{label}: {case['status']}")
        elif case["status"] == "ok" and not is_time(seconds):
            found.append(f"{label} must take {LEAST_SECONDS:g} to {MOST_SECONDS:g} s, got {seconds}")
    return found


def is_time(seconds: Any) -> bool:
    """Whether a launch may have taken so long."""
    is_number = isinstance(seconds, (int, float)) and math.isfinite(seconds)
    return is_number and LEAST_SECONDS <= seconds <= MOST_SECONDS


def alternatives(context: Context, seconds: float) -> Finding:
    """Compiles and runs the program; a dry run only compiles it, and only where nvcc is."""
    program = context.work / "alternatives"
    command = programs.compile_command("alternatives", program, context.capability)
    line = (" ".join(command),)
    if programs.nvcc() is None:
        if context.dry_run:
            return Finding("alternatives", "dry run", note="not compiled: there is no nvcc", commands=line)
        return Finding("alternatives", "unavailable", note="there is no nvcc", commands=line)
    started = time.monotonic()
    done = context.run("alternatives-build", command, seconds)
    if context.dry_run and done.code == 0:
        return Finding("alternatives", "dry run", done.seconds, "compiled, not run", line)
    if done.code == 0:
        done = context.run("alternatives", [str(program)], seconds - (time.monotonic() - started))
    found = programs.read(done.output) if done.code == 0 else {}
    cases = found.get("cases", [])
    wrong = faults(cases)
    # A time that cannot be is not passed on.
    kept = [{name: value for name, value in case.items() if name != "seconds" or is_time(value)} for case in cases]
    ok = done.code == 0 and bool(cases) and not wrong
    status = "timed out" if done.code is None else "ok" if ok else "failed"
    return Finding(
        "alternatives", status, time.monotonic() - started, "; ".join(wrong), line,
        {**found, "cases": kept} if cases else {}, "" if ok else done.tail,
    )  # fmt: skip


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Of a table: group, name, microseconds, and how many times the fastest of the group."""
    cases = found.get("cases", [])
    fastest: dict[str, float] = {}
    for case in cases:
        if "seconds" in case:
            fastest[case["group"]] = min(case["seconds"], fastest.get(case["group"], math.inf))
    return [
        [
            case["group"],
            case["name"],
            f"{case['seconds'] * 1e6:.1f}" if "seconds" in case else case["status"],
            f"{case['seconds'] / fastest[case['group']]:.2f}x" if "seconds" in case else "",
        ]
        for case in cases
    ]
