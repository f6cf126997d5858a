"""Predict from their machine code how long the CUDA kernels take on an H200, without one, and hold what they cost.

    python tools/predict.py [--json predictions.json] [--details]   # the table, and what is above its ceiling
    python tools/predict.py --write-ceilings                        # takes what is found now as the ceilings

A kernel's time is what its instructions need: those of each part of its source (tools/prediction/kernels says how
often a warp runs it) at four a cycle, "least", and at the 2.4 that such code usually reaches, "usual"; or what the
busiest pipe, the memory, or a chain of waits needs, if that is more. An operator is its kernels, a gap for each launch,
those of torch among them, and the bytes that torch's operations move. Absolute times are good to a factor of 1.7,
changes of one kernel to a tenth: no result, and never published as one. tools/cuda_predictions.json holds ceilings on
the instructions of a run of each part, for one version of nvcc, and no launch may be predicted to take more than 50 ms.
Needs nvcc, nvdisasm, and the package with torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "benchmarks"))  # whose floors a prediction is compared with

from cuda_gates import budget, toolkit  # noqa: E402
from cuda_gates.compiler import NVCC_FLAGS, Usage  # noqa: E402
from cuda_gates.occupancy import occupancy  # noqa: E402
from gpu.floors import ASSUMED  # noqa: E402
from prediction import launches, machine, machine_code, regions  # noqa: E402
from prediction.launches import Launch, Time  # noqa: E402
from prediction.operators import Operator, operators  # noqa: E402

SOURCES = REPOSITORY / "csrc" / "cuda"
CEILINGS = REPOSITORY / "tools" / "cuda_predictions.json"
COUNTERS = REPOSITORY / "tools" / "cuda_counters.json"
BUDGET = REPOSITORY / "tools" / "cuda_budget.json"
REGENERATE = "python tools/predict.py --write-ceilings"
TARGET = 90
LONGEST_LAUNCH = 50e-3  # s: a GPU runs nothing else meanwhile, and one with a display ends what takes seconds

Code = dict[tuple[str, str], tuple[machine_code.Instruction, ...]]  # by source and kernel
Slots = dict[str, dict[str, float]]  # instructions a run, by kernel and part


def disassemble(nvcc: str, nvdisasm: str, root: Path, sources: set[str]) -> Code:
    """The machine code of all kernels of some sources."""

    def one(source: str) -> Code:
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / "out.cubin"
            flags = [flag for flag in NVCC_FLAGS if flag not in ("-Xptxas", "-v")]
            command = [nvcc, *flags, f"-arch=sm_{TARGET}", "-cubin", "-o", str(cubin), str(SOURCES / source)]
            subprocess.run(command, check=True)
            found = machine_code.disassemble(nvdisasm, cubin)
        names = toolkit.demangle(list(found), root)
        return {(source, name): code for name, code in zip(names, found.values(), strict=True)}

    with ThreadPoolExecutor(max_workers=2) as pool:
        return {kernel: code for found in pool.map(one, sorted(sources)) for kernel, code in found.items()}


def resident_blocks(launch: Launch, committed: budget.Budget) -> int:
    """Blocks on a multiprocessor at a time, by the kernel's budget."""
    entry = Usage(launch.source, launch.kernel, TARGET, 0, 0, 0, 0, 0, launch.threads)
    numbers = {what: committed.allowed(entry, what) or 0 for what in ("registers", "shared")}
    usage = Usage(launch.source, launch.kernel, TARGET, numbers["registers"], 0, 0, numbers["shared"], 0, None)
    found = occupancy(usage, launch.threads, launch.dynamic_shared)
    return max(found.blocks, 1) if found is not None else 1


@dataclass(frozen=True)
class Prediction:
    """Of an operator: seconds at the two rates, launches of all kinds, and each kernel's time."""

    operator: Operator
    least: float
    usual: float
    launched: int
    kernels: list[tuple[Launch, Time, list[regions.Part]]]

    @property
    def longest(self) -> tuple[float, str]:
        """The launch that is predicted to take longest."""
        return max((time.usual / launch.times, launch.kernel) for launch, time, _ in self.kernels)


def predict(operator: Operator, code: Code, committed: budget.Budget, counted: dict[str, Any]) -> Prediction:
    """`counted` are the cases of the counters' file."""
    kernels = []
    for launch in operator.launches:
        instructions = code.get((launch.source, launch.kernel))
        if instructions is None:
            raise ValueError(f"{operator.name} must have the kernel {launch.kernel} of {launch.source}, found none")
        parts = regions.count(instructions, SOURCES / launch.source, launch.root)
        kernels.append((launch, launches.time(launch, parts, resident_blocks(launch, committed)), parts))
    around = operator.around
    if isinstance(around, str):
        around = counted[around][""]["torch_launches"] + counted[around][""]["memsets"]
    launched = sum(launch.times for launch in operator.launches) + around
    between = (launched - 1) * machine.NODE_GAP + operator.torch_bytes / machine.COPY_BANDWIDTH
    least = sum(time.least for _, time, _ in kernels) + between
    usual = sum(time.usual for _, time, _ in kernels) + between
    return Prediction(operator, least, usual, launched, kernels)


def slots(predictions: list[Prediction]) -> Slots:
    """Instructions a run of each part of each kernel; they do not depend on the case."""
    return {
        launch.kernel: {part.region.name: round(part.slots, 2) for part in parts}
        for prediction in predictions
        for launch, _, parts in prediction.kernels
    }


def faults(found: Slots, allowed: Slots) -> list[str]:
    """Parts that cost more instructions than they may, or have no ceiling, and ceilings of what is gone."""
    wrong = []
    for kernel, parts in found.items():
        for part, number in parts.items():
            most = allowed.get(kernel, {}).get(part)
            if most is None:
                wrong.append(f"{kernel}: {part} must have a ceiling, has none ({REGENERATE})")
            elif number > most:
                wrong.append(
                    f"{kernel}: {part} must take at most {most:g} instructions, takes {number:g} "
                    f"({REGENERATE} if that is argued for)"
                )
    gone = [(k, p) for k in allowed for p in allowed[k] if p not in found.get(k, {})]
    return wrong + [f"{kernel}: {part} has a ceiling, but is not there ({REGENERATE})" for kernel, part in gone]


def too_long(predictions: list[Prediction]) -> list[str]:
    """Launches that are predicted to take longer than they may."""
    return [
        f"{p.operator.name}: a launch must be predicted to take at most {LONGEST_LAUNCH * 1e3:g} ms, "
        f"{p.longest[1]} takes {p.longest[0] * 1e3:.1f} ms"
        for p in predictions
        if p.longest[0] > LONGEST_LAUNCH
    ]


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def table(predictions: list[Prediction]) -> str:
    """One line an operator."""
    head = ["operator", "least", "usual", "launches", "kernels alone", "longest", "floor", "usual/floor"]
    rows = []
    for p in predictions:
        alone = [sum(getattr(time, rate) for _, time, _ in p.kernels) for rate in ("least", "usual")]
        rows.append([
            p.operator.name, _shown(p.least), _shown(p.usual), str(p.launched), " / ".join(map(_shown, alone)),
            _shown(p.longest[0]), _shown(p.operator.floor.seconds), f"{p.usual / p.operator.floor.seconds:.1f}",
        ])  # fmt: skip
    return _aligned([head, *rows])


def details(predictions: list[Prediction]) -> str:
    """One line a part of each kernel of each operator."""
    rows = [["operator", "kernel, part", "usual", "limit", "instructions a run", "runs a warp"]]
    for p in predictions:
        rows.append([p.operator.name, "", _shown(p.usual), "", "", ""])
        for launch, time, parts in p.kernels:
            rows.append(["", launch.kernel, _shown(time.usual), time.limit, "", ""])
            rows += [["", f"  {part.region.name}", "", "", f"{part.slots:.1f}", f"{part.runs:.4g}"] for part in parts]
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def load(path: Path) -> tuple[str, Slots]:
    """The version of nvcc and the ceilings of a file.

    Raises:
        ValueError: it is not one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return content["nvcc"], content["instructions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a file of ceilings ({REGENERATE}), got: {error}") from error


def save(found: Slots, nvcc: str, path: Path) -> None:
    """Writes the ceilings, one kernel a line."""
    lines = [f"  {json.dumps(kernel)}: {json.dumps(found[kernel])}" for kernel in sorted(found)]
    path.write_text(f'{{\n "nvcc": {json.dumps(nvcc)},\n "instructions": {{\n' + ",\n".join(lines) + "\n }\n}\n")


def missing() -> tuple[str, str, Path] | str:
    """nvcc, nvdisasm and the toolkit's folder, or why there is nothing to predict from."""
    nvcc = toolkit.find_nvcc()
    if nvcc is None:
        return "no nvcc"
    root = toolkit.toolkit_root(nvcc)
    nvdisasm = toolkit.find_nvdisasm(root)
    if nvdisasm is None:
        return "no nvdisasm (pip install nvidia-cuda-nvdisasm)"
    if TARGET not in toolkit.supported_targets(nvcc):
        return f"{root} does not know sm_{TARGET}"
    return nvcc, nvdisasm, root


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the predictions to this file")
    parser.add_argument("--only", help="operators whose name begins so")
    parser.add_argument("--details", action="store_true", help="also show the parts of every kernel")
    parser.add_argument("--write-ceilings", action="store_true", help="take what is found now as the ceilings")
    arguments = parser.parse_args()
    tools = missing()
    if isinstance(tools, str):
        print(f"skipped: {tools}")
        return 0
    nvcc, nvdisasm, root = tools
    counted = json.loads(COUNTERS.read_text())["cases"]
    wanted = [operator for operator in operators(ASSUMED) if operator.name.startswith(arguments.only or "")]
    if not wanted:
        parser.error(f"--only must begin one of {', '.join(o.name for o in operators(ASSUMED))}")
    code = disassemble(nvcc, nvdisasm, root, {launch.source for o in wanted for launch in o.launches})
    committed = budget.load(BUDGET)
    predictions = [predict(operator, code, committed, counted) for operator in wanted]
    print(table(predictions))
    if arguments.details:
        print(details(predictions))
    if arguments.json is not None:
        of_operators = {
            p.operator.name: {"least": p.least, "usual": p.usual, "launches": p.launched, "longest": p.longest[0]}
            for p in predictions
        }
        arguments.json.write_text(json.dumps({"predicted": of_operators}, indent=1) + "\n")
    found, version = slots(predictions), toolkit.nvcc_version(nvcc)
    if arguments.write_ceilings and not arguments.only:
        save(found, version, CEILINGS)
        print(f"written: {CEILINGS}")
        return 0
    of, allowed = load(CEILINGS)
    if arguments.only:
        allowed = {kernel: parts for kernel, parts in allowed.items() if kernel in found}
    wrong = too_long(predictions) + (faults(found, allowed) if of == version else [])
    if of != version:
        print(f"instructions are not held: their ceilings are for nvcc {of}, this is {version}")
    print(*(f"failed: {fault}" for fault in wrong), sep="\n", end="\n" if wrong else "")
    print(f"{len(predictions)} operators: {len(wrong)} above their ceilings; predicted, not measured")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
