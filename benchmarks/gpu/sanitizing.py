"""The part "sanitizer": every operator at small shapes under compute-sanitizer, one tool at a time."""

from __future__ import annotations

import sys
import time
from typing import Any

from gpu import sanitizer
from gpu.context import BENCHMARKS, Context
from gpu.findings import Finding
from gpu.processes import Finished

CLOUDS = 3  # hard inputs of exercise.py; each of them is slow under the tools
# What a tool needs at least to come to its end is not known beforehand; with less than this it is not begun.
LEAST = 20.0


def application(device: str) -> list[str]:
    """The program that is watched."""
    return [
        sys.executable, str(BENCHMARKS / "gpu" / "exercise.py"), "--device", device, "--clouds", str(CLOUDS)
    ]  # fmt: skip


def judged(done: Finished) -> dict[str, Any]:
    """What one tool found."""
    verdict = sanitizer.read(done.output)
    status, note = verdict.status, verdict.note
    if done.code is None:
        status = "timed out"
    elif done.code != 0 and status == "ok":
        status, note = "failed", f"the program ended with code {done.code}"
    return {"status": status, "note": note, "errors": list(verdict.ours[:50]), "others": verdict.others}


def check_with_sanitizer(context: Context, seconds: float) -> Finding:
    """Every operator under memcheck and racecheck, then under the other tools if time is left.

    One at a time: several instrumented processes share the GPU badly, and none of them might end. The first two get
    half of the time each at most, the others what is left.
    """
    started = time.monotonic()
    program = sanitizer.find()
    if context.dry_run:
        commands = tuple(
            " ".join(sanitizer.command(program or "compute-sanitizer", tool, application("cuda")))
            for tool in sanitizer.TOOLS
        )
        done = context.run("exercise", application("cpu"), seconds)
        status = "dry run" if done.code == 0 else "failed"
        return Finding("sanitizer", status, done.seconds, "", commands, {}, done.tail)
    if program is None:
        return Finding("sanitizer", "unavailable", note="there is no compute-sanitizer")
    found: dict[str, dict[str, Any]] = {}
    lines, logs = [], []
    for number, tool in enumerate(sanitizer.TOOLS):
        left = seconds - (time.monotonic() - started)
        if left < min(LEAST, seconds / 4):
            found[tool] = {"status": "skipped", "note": "no time was left", "errors": [], "others": 0}
            continue
        command = sanitizer.command(program, tool, application("cuda"))
        lines.append(" ".join(command))
        done = context.run(tool, command, left / 2 if number == 0 else left, **sanitizer.environment(tool))
        found[tool] = judged(done)
        context.keep("sanitizer", found)
        if found[tool]["status"] != "ok":
            logs.append(f"{tool}:\n{done.tail}")
    statuses = [outcome["status"] for outcome in found.values()]
    # The first tool always runs, so that "ok" never stands for nothing.
    overall = next((status for status in ("failed", "timed out", "unavailable") if status in statuses), "ok")
    note = "; ".join(f"{tool}: {outcome['note']}" for tool, outcome in found.items() if outcome["note"])
    return Finding("sanitizer", overall, time.monotonic() - started, note, tuple(lines), found, "\n\n".join(logs))
