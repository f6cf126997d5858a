"""The committed budget of each kernel: what it may need on each target.

A number is a ceiling. Registers are rounded up to a multiple of 8, the unit in which they are handed out, so within a
budget occupancy cannot change; code is rounded up to 4 KiB with a tenth to spare; stack, spills and shared memory are
exact. The budget holds for one version of nvcc, since another one allocates registers otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuda_gates.compiler import Usage

# For each number of a budget: what it allows a kernel that needs so much now.
ALLOWANCES: dict[str, Callable[[int], int]] = {
    "registers": lambda used: -(-used // 8) * 8,
    "stack": lambda used: used,
    "spills": lambda used: used,
    "shared": lambda used: used,
    "code": lambda used: -(-used * 11 // (10 * 4096)) * 4096,
}
UNITS = {"registers": "registers a thread"} | {
    name: f"bytes of {what}"
    for name, what in {
        "stack": "stack a thread",
        "spills": "spilled registers a thread",
        "shared": "static shared memory a block",
        "code": "machine code",
    }.items()
}
REGENERATE = "python tools/compile_cuda.py --write-budget"

# A number for all targets, or one for each, by their names.
Entry = dict[str, "int | dict[str, int]"]


@dataclass(frozen=True)
class Budget:
    """The budgets by source and kernel, and the version of nvcc that they hold for."""

    nvcc: str
    kernels: dict[str, dict[str, Entry]]

    def allowed(self, usage: Usage, what: str) -> int | None:
        """A kernel's ceiling of registers, stack and so on, on a target; None where there is none."""
        number = self.kernels.get(usage.source, {}).get(usage.kernel, {}).get(what)
        return number.get(str(usage.target)) if isinstance(number, dict) else number

    def excesses(self, usage: Usage) -> list[str]:
        """What a kernel needs beyond its budget, each with the two numbers."""
        where = f"{usage.source}: {usage.kernel} for sm_{usage.target}"
        faults = []
        for what, unit in UNITS.items():
            allowed, used = self.allowed(usage, what), getattr(usage, what)
            if allowed is None:
                faults.append(f"{where} must have a budget of {unit}, has none and needs {used}")
            elif used > allowed:
                faults.append(f"{where} must need at most {allowed} {unit}, needs {used}")
        return faults

    def unused(self, usages: Iterable[Usage]) -> list[str]:
        """Budgets of kernels that are no more; `usages` must be of all sources."""
        there = {(usage.source, usage.kernel) for usage in usages}
        return [
            f"{source}: {kernel} has a budget, but there is no such kernel"
            for source, kernels in self.kernels.items()
            for kernel in kernels
            if (source, kernel) not in there
        ]


def load(path: Path) -> Budget:
    """Reads the budget file.

    Raises:
        ValueError: it is not one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return Budget(content["nvcc"], content["kernels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a budget file ({REGENERATE}), got: {error}") from error


def of(usages: Iterable[Usage], nvcc: str) -> Budget:
    """The budget that fits what the kernels need now."""
    needs: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for usage in sorted(usages, key=lambda usage: (usage.source, usage.kernel, usage.target)):
        entry = needs.setdefault(usage.source, {}).setdefault(usage.kernel, {})
        for what, allowance in ALLOWANCES.items():
            entry.setdefault(what, {})[str(usage.target)] = allowance(getattr(usage, what))
    kernels: dict[str, dict[str, Entry]] = {
        source: {
            kernel: {
                what: next(iter(numbers.values())) if len(set(numbers.values())) == 1 else numbers
                for what, numbers in entry.items()
            }
            for kernel, entry in entries.items()
        }
        for source, entries in needs.items()
    }
    return Budget(nvcc, kernels)


def save(budget: Budget, path: Path) -> None:
    """Writes the budget file, one kernel a line, so that a change of one is one line of a diff."""
    lines = [f'{{\n "nvcc": {json.dumps(budget.nvcc)},\n "kernels": {{']
    sources = list(budget.kernels.items())
    for n, (source, kernels) in enumerate(sources):
        entries = [f"   {json.dumps(kernel)}: {json.dumps(entry)}" for kernel, entry in kernels.items()]
        lines += [f"  {json.dumps(source)}: {{", ",\n".join(entries), "  }" + ("," if n + 1 < len(sources) else "")]
    path.write_text("\n".join([*lines, " }\n}\n"]))
