"""Compile every CUDA source for every target, warnings as errors, and hold each kernel to its budget and rules.

    python tools/compile_cuda.py [--targets 75 90] [--json usage.json] [csrc/cuda/knn.cu ...]
    python tools/compile_cuda.py --write-budget

The compiled code is not kept: this tells without a GPU whether the CUDA code compiles, what its kernels need
(tools/cuda_budget.json says what they may need, and --write-budget writes it anew), whether the instructions that
matter are there (tools/cuda_gates/rules.py), and how many blocks run at a time. Where torch is installed, the operator
files beside the kernels are checked as well. Needs only Python and the CUDA toolkit; without nvcc it says so and
succeeds. Without nvdisasm (`pip install nvidia-cuda-nvdisasm`) the instructions are not looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from cuda_gates import budget, tables, toolkit
from cuda_gates.compiler import Compiler, Outcome, Usage, torch_include_folder

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = REPOSITORY / "csrc" / "cuda"
# Measuring programs of the benchmarks: they must compile, but have no budget. Two targets see all of their code.
PROGRAMS = REPOSITORY / "benchmarks" / "machine"
PROGRAM_TARGETS = (75, 90)
TARGETS = (75, 80, 86, 89, 90, 100, 120)
BUDGET = REPOSITORY / "tools" / "cuda_budget.json"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="CUDA sources; all of csrc/cuda when none is named")
    parser.add_argument(
        "--targets", nargs="+", type=int, default=list(TARGETS), help="compute capabilities, 75 for 7.5"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--write-budget", action="store_true", help="take what the kernels need now as their budget")
    arguments = parser.parse_args()
    if arguments.write_budget and (arguments.sources or arguments.targets != list(TARGETS)):
        parser.error("--write-budget must be of all sources and targets, got a part of them")
    return arguments


def compile_all(compiler: Compiler, sources: list[Path], targets: list[int], everything: bool) -> list[Outcome]:
    """Every source for every target; and, of everything, the operator files and the benchmarks' programs."""
    torch_include = torch_include_folder() if everything else None
    if everything and torch_include is None:
        print("skipped: operator files, since torch is not installed")
    programs = replace(compiler, nvdisasm=None)  # not held to the rules of the operators' kernels
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        running = [
            pool.submit(compiler.kernels, source, target, target == targets[0])
            # The largest first, so that no processor is left with one of them at the end.
            for source in sorted(sources, key=lambda path: -path.stat().st_size)
            for target in targets
        ]
        if everything:
            running += [
                pool.submit(programs.kernels, source, target, target == PROGRAM_TARGETS[0])
                for source in sorted(PROGRAMS.glob("*.cu"))
                for target in PROGRAM_TARGETS
                if target in targets
            ]
        if torch_include is not None:
            running += [
                pool.submit(compiler.binding, torch_include, source) for source in sorted(SOURCES.glob("*_binding.cpp"))
            ]
        return [future.result() for future in running]


def check_budget(usages: list[Usage], nvcc_version: str, everything: bool) -> list[str]:
    """What the kernels need beyond their budgets."""
    committed = budget.load(BUDGET)
    faults = [fault for usage in usages for fault in committed.excesses(usage)]
    faults += committed.unused(usages) if everything else []
    if committed.nvcc == nvcc_version:
        return faults
    print(f"not held against the budget: it is for nvcc {committed.nvcc}, this is {nvcc_version}")
    for fault in faults:
        print(f"  {fault}")
    return []


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    arguments = parse_arguments()
    nvcc = toolkit.find_nvcc()
    if nvcc is None:
        print("skipped: no nvcc")
        return 0
    started = time.monotonic()
    root = toolkit.toolkit_root(nvcc)
    compiler = Compiler(nvcc, root, toolkit.find_nvdisasm(root))
    if compiler.nvdisasm is None:
        print("skipped: rules on instructions, since there is no nvdisasm (pip install nvidia-cuda-nvdisasm)")
    supported = toolkit.supported_targets(nvcc)
    targets = [target for target in arguments.targets if target in supported]
    for target in sorted(set(arguments.targets) - set(targets)):
        print(f"skipped: sm_{target}, which {root} does not know")
    if not targets:
        return 0

    everything = not arguments.sources
    sources = arguments.sources or sorted(SOURCES.glob("*.cu"))
    outcomes = compile_all(compiler, sources, targets, everything)
    failures = [outcome for outcome in outcomes if not outcome.succeeded]
    budgeted = {source.name for source in sources}
    usages = [usage for outcome in outcomes for usage in outcome.usages if usage.source in budgeted]
    print(tables.table(
        usages, targets, "registers, f: stack bytes, s: spilled bytes, a thread; shared: static bytes a block",
        tables.resources,
    ))  # fmt: skip
    print(tables.table(
        usages, targets, "\nblocks on a multiprocessor and share of its warps; the first letter of what admits no more",
        tables.occupied,
    ))  # fmt: skip
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(usage) for usage in usages], indent=1) + "\n")

    faults = [fault for outcome in outcomes for fault in outcome.broken_rules]
    faults += [
        f"{usage.source}: {usage.kernel} must have __launch_bounds__, has none"
        for usage in usages
        if usage.threads is None and usage.target == targets[0]
    ]
    version = toolkit.nvcc_version(nvcc)
    if not arguments.write_budget:
        faults += check_budget(usages, version, everything and not failures and targets == list(TARGETS))
    elif not failures:
        budget.save(budget.of(usages, version), BUDGET)
        print(f"written: {BUDGET}")
    for outcome in failures:
        print(f"\nfailed: {outcome.what}\n{outcome.output}")
    for fault in faults:
        print(f"failed: {fault}")
    what = f"{len(sources)} sources for {len(targets)} targets, {len(outcomes)} compiler calls"
    print(
        f"{what}: {len(failures)} failed; {len(faults)} kernels beyond budgets and rules; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if failures or faults else 0


if __name__ == "__main__":
    sys.exit(main())
