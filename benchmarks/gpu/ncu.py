"""The part "ncu": what the hardware counts in the hottest kernels, by Nsight Compute, where it is installed."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from typing import Any

from gpu.context import BENCHMARKS, Context, finding
from gpu.findings import Finding
from gpu.names import short_name

METRICS = {
    "gpu__time_duration.sum": "us",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue slots busy %",
    "smsp__inst_executed.sum": "instructions",
    "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio": "sectors a load",
    "l1tex__t_sector_hit_rate.pct": "L1 hits %",
    "lts__t_sector_hit_rate.pct": "L2 hits %",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": "stalled for memory",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": "stalled at barriers",
}
# To the unit of the table.
_SCALES = {"nsecond": 1e-3, "ns": 1e-3, "usecond": 1.0, "us": 1.0, "msecond": 1e3, "ms": 1e3}
LAUNCHES = 40  # that are counted at most; each runs several times
NOT_ALLOWED = "ERR_NVGPUCTRPERM"


def find() -> str | None:
    """The program, where there is one."""
    return shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")


def read(output: str) -> list[dict[str, Any]]:
    """The kernels of our own in what `ncu --csv` printed, in order, each with the metrics that are there."""
    lines = output.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    kernels: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(line for line in lines[first:] if line.startswith('"')):
        metric, value = row.get("Metric Name") or "", (row.get("Metric Value") or "").replace(",", "")
        if metric not in METRICS or "pointkernels" not in (row.get("Kernel Name") or ""):
            continue
        kernel = kernels.setdefault(row["ID"], {"name": short_name(row["Kernel Name"])})
        try:
            kernel[metric] = float(value) * _SCALES.get(row.get("Metric Unit") or "", 1.0)
        except ValueError:
            continue  # "n/a": this GPU does not count it
    return list(kernels.values())


def counters(context: Context, seconds: float) -> Finding:
    """One call of the operators that networks spend their time in."""
    program = find()
    output = context.work / "once.json"
    output.unlink(missing_ok=True)
    device = "cpu" if context.dry_run else "cuda"
    worker = [
        sys.executable, str(BENCHMARKS / "gpu_report.py"), "--worker", "once", "--worker-output", str(output),
        "--worker-device", device, "--worker-machine", json.dumps({}), "--worker-seconds", f"{seconds:.0f}",
    ]  # fmt: skip
    command = [program or "ncu", "--csv", "--metrics", ",".join(METRICS), "--target-processes", "all"]
    command += ["--kernel-name-base", "demangled", "--kernel-name", "regex:pointkernels"]
    command += ["--launch-count", str(LAUNCHES), *worker]
    if context.dry_run:
        done = context.run("once", worker, seconds)
        return Finding(
            "ncu", "dry run" if done.code == 0 else "failed", done.seconds, "", (" ".join(command),), {}, done.tail
        )
    if program is None:
        return Finding("ncu", "unavailable", note="there is no ncu")
    done = context.run("ncu", command, seconds)
    if NOT_ALLOWED in done.output:
        note = "counters are for administrators on this machine"
        return Finding("ncu", "unavailable", done.seconds, note, (" ".join(command),))
    kernels = read(done.output)
    return finding(
        "ncu",
        done,
        done.code == 0 and bool(kernels),
        "" if kernels else "no kernel was counted",
        command,
        kernels=kernels,
    )
