"""Everything that a GPU machine has to tell, in one command: build, tests, compute-sanitizer, constants, times.

python benchmarks/gpu_report.py --help

Needs neither a network nor anything beyond Python, torch and the CUDA toolkit to start with; what is missing is named
and the rest goes on. This process imports no torch: every part runs in processes of its own, with a time limit.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu import context as shared
from gpu import markdown, parts
from gpu.context import ROOT, Context, missing
from gpu.findings import FAULTS, Finding, Report, earlier, write
from gpu.parts import BUILD, FIRST, PARTS, SECOND
from harness.records import slug

RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
SECONDS = 330.0  # the whole command, the build included
LEAST = 5.0  # with less than this no part is begun
DRY_SECONDS = 900.0  # a CPU may be slow, and it compiles


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; the options of workers are for this program itself."""
    names = [BUILD.name, *(part.name for part in PARTS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", nargs="+", choices=names, default=[], help="parts to leave out")
    parser.add_argument("--only", nargs="+", choices=names, help="leave out all parts but these")
    parser.add_argument("--second", action="store_true", help=f"only {', '.join(part.name for part in SECOND)}")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the report (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help=f"for the whole command ({SECONDS:g}; a dry run {DRY_SECONDS:g})")
    parser.add_argument("--dry-run", action="store_true", help="without a GPU: small shapes on the CPU, nothing built")
    parser.add_argument(
        "--worker", choices=("kernels", "operators", "compiled", "training", "once"), help=argparse.SUPPRESS
    )
    parser.add_argument("--worker-output", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker-device", choices=("cpu", "cuda"), help=argparse.SUPPRESS)
    parser.add_argument("--worker-seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--worker-machine", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only is not None and options.second:
        parser.error("--second and --only must not be given both, got both")
    if options.only is None and (options.second or not options.dry_run):
        chosen = SECOND if options.second else (BUILD, *FIRST)
        options.only = [part.name for part in chosen if part.name not in options.skip]
    if options.seconds is None:
        options.seconds = DRY_SECONDS if options.dry_run else SECONDS
    if options.only is not None:
        options.skip = [name for name in names if name not in options.only]
    if not options.seconds > 0:
        parser.error(f"--seconds must be positive, got {options.seconds:g}")
    if options.output.exists() and not options.output.is_dir():
        parser.error(f"--output must be a folder, got {options.output}")
    return options


def gpu() -> dict[str, str]:
    """What nvidia-smi says of the first GPU; empty where there is none."""
    fields = ("name", "compute_cap", "driver_version", "memory.total", "clocks.max.sm", "clocks.max.memory")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return gpu_of_torch()
    return dict(zip(fields, (value.strip() for value in line.split(",")), strict=False))


def gpu_of_torch() -> dict[str, str]:
    """Name and capability of the GPU by another process; empty where it finds none."""
    code = "import torch; print(torch.cuda.get_device_name(), *torch.cuda.get_device_capability(), sep=chr(10))"
    try:
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        name, major, minor = printed.stdout.splitlines()[-3:]
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {"name": name, "compute_cap": f"{major}.{minor}"}


def commit() -> str:
    """The commit of the checkout, if it is one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def environment(arguments: list[str], device: dict[str, str]) -> dict[str, Any]:
    """What the report is made with."""
    needs = {*shared.BUILD_NEEDS, *shared.TEST_NEEDS, *shared.TRAINING_NEEDS}
    return {
        "GPU": ", ".join(device.values()),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "not installed": ", ".join(missing(sorted(needs))),
        "command": " ".join(["python benchmarks/gpu_report.py", *arguments]),
    }


def run_parts(options: argparse.Namespace, context: Context, save: Any) -> None:
    """All parts in turn; `save` is called with what each of them found."""

    def attempt(part: parts.Part, seconds: float) -> Finding:
        print(f"{part.name}: up to {seconds:.0f} s ...", flush=True)
        started = time.monotonic()
        try:
            found = part.run(context, seconds)
        except Exception:  # a mistake in one part must not cost the others
            log = traceback.format_exc()
            note = log.splitlines()[-1]
            found = Finding(part.name, "failed", time.monotonic() - started, note, log=log)
        print(
            f"{part.name}: {found.status} after {found.seconds:.0f} s{': ' if found.note else ''}{found.note[:500]}",
            flush=True,
        )
        if found.status in FAULTS and found.log:
            print("\n".join(f"    {line}" for line in found.log.splitlines()[-15:]))
        save(found)
        return found

    deadline = time.monotonic() + options.seconds
    wanted = [part for part in PARTS if part.name not in options.skip]
    if BUILD.name in options.skip:
        save(Finding(BUILD.name, "skipped"))
    elif attempt(BUILD, min(BUILD.seconds, options.seconds)).status in FAULTS:
        # They would test and time another build, or none.
        for part in PARTS:
            save(Finding(part.name, "skipped", note="the build failed" if part in wanted else ""))
        return
    left = deadline - time.monotonic()
    shares = min(left / max(sum(part.seconds for part in wanted), 1.0), 1.0)
    for part in PARTS:
        if part not in wanted:
            save(Finding(part.name, "skipped"))
            continue
        # Everything that is not kept for the parts behind it.
        behind = sum(other.seconds for other in wanted[wanted.index(part) + 1 :]) * shares
        left = deadline - time.monotonic() - behind
        if left < LEAST * shares:
            save(Finding(part.name, "skipped", note="no time was left"))
            continue
        attempt(part, left)


def main(arguments: list[str]) -> int:
    """Runs the report and returns its exit status: 1 when anything failed."""
    options = parse_arguments(arguments)
    if options.worker is not None:
        from gpu.worker import Task, work  # with torch

        return work(
            Task(
                options.worker,
                options.worker_device,
                options.worker_output,
                options.worker_seconds,
                options.worker_machine,
            )
        )
    device = {} if options.dry_run else gpu()
    if not device and not options.dry_run:
        print("nvidia-smi or torch must find a GPU, found none (--dry-run needs none)", file=sys.stderr)
        return 1
    name = "dry-run" if options.dry_run else slug(device["name"])
    # What an earlier call has found stays, and its constants serve this call's floors.
    report = Report(environment(arguments, device), earlier(options.output / f"{name}.json"))
    made = f"{report.environment['date']} {report.environment['commit']}"
    found_now: list[Finding] = []

    def save(found: Finding) -> None:
        found_now.append(found)
        report.add(replace(found, made=made))
        write(options.output / f"{name}.json", report.as_json())
        try:
            write(options.output / f"{name}.md", markdown.render(report))
        except Exception:  # the numbers are safe, and the next parts still count
            traceback.print_exc()

    where = options.output.resolve()
    print(f"results go into {where / name}.json and .md after every part, cases into {where / name}-parts", flush=True)
    with tempfile.TemporaryDirectory() as work:
        kept = where / f"{name}-parts"
        run_parts(options, Context(options.dry_run, Path(work), report, device.get("compute_cap"), kept), save)
    print(f"\n{(where / f'{name}.md').read_text()}\nsaved in {where / name}.json and .md")
    return int(any(found.status in FAULTS for found in found_now))


if __name__ == "__main__":
    # An exit, unlike the end that the signal would bring, stops the processes that were started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
