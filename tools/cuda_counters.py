"""Count what the CUDA kernels do, without a GPU, and hold the counts to their ceilings.

    python tools/cuda_counters.py [--json counts.json]   # the table, and whether anything is above its ceiling
    python tools/cuda_counters.py --write-ceilings       # takes what is counted now as the ceilings

Every operator runs once on a small input on the emulated device (csrc/emulation/counters.h says what is counted and
how). tools/cuda_counters.json holds, for each case and kernel, launches, and the requests, sectors, wavefronts,
atomics, barriers and collectives of all of them, and the steps that the algorithm itself counts (PK_COUNT); for each
case the launches of torch's own operations around our operators, and the bytes of the tensors that both return (not of
workspaces, nor fills within an operator). Counts are exact and the same in every run; those of memory depend on the
host's compiler, so they are held only where it is the one of the file. Needs torch, the package and g++.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
CEILINGS = REPOSITORY / "tools" / "cuda_counters.json"
REGENERATE = "python tools/cuda_counters.py --write-ceilings"
# Held only with the same compiler, all others with every one.
OF_COMPILER = ("global_requests", "global_sectors", "shared_requests", "shared_wavefronts", "divergent_requests")

Counts = dict[str, dict[str, int]]  # of one case: by kernel, "" for the case as a whole


def faults(found: dict[str, Counts], allowed: dict[str, Counts], same_compiler: bool) -> list[str]:
    """What is above its ceiling, or has none, each with the two numbers."""
    wrong = []
    for case, kernels in found.items():
        for kernel, counts in kernels.items():
            where = f"{case}: {kernel}" if kernel else case
            ceilings = allowed.get(case, {}).get(kernel)
            if ceilings is None:
                wrong.append(f"{where} must have ceilings, has none ({REGENERATE})")
                continue
            wrong += [
                f"{where} must have at most {ceilings.get(name, 0)} {name.replace('_', ' ')}, has {counts[name]} "
                f"({REGENERATE} if that is argued for)"
                for name in counts
                if same_compiler or name not in OF_COMPILER
                if counts.get(name, 0) > ceilings.get(name, 0)
            ]
            pairs = (("global_sectors", "global_requests"), ("shared_wavefronts", "shared_requests"))
            wrong += [
                f"{where} must have at most {ceilings[many] / ceilings[of]:.3f} {many.replace('_', ' ')} a request, "
                f"has {counts[many] / counts[of]:.3f} ({REGENERATE} if that is argued for)"
                for many, of in pairs
                if same_compiler
                and counts.get(of)
                and ceilings.get(of)
                and counts[many] * ceilings[of] > ceilings[many] * counts[of]
            ]
    gone = [(case, kernel) for case in allowed for kernel in allowed[case] if kernel not in found.get(case, {})]
    return wrong + [
        f"{case}: {kernel or 'the case'} has ceilings, but was not counted ({REGENERATE})" for case, kernel in gone
    ]


def save(found: dict[str, Counts], compiler: str, path: Path) -> None:
    """Writes the ceilings, one kernel of a case a line."""
    lines = []
    for case, kernels in found.items():
        rows = [f"   {json.dumps(kernel)}: {json.dumps(counts)}" for kernel, counts in kernels.items()]
        lines.append(f"  {json.dumps(case)}: {{\n" + ",\n".join(rows) + "\n  }")
    path.write_text(f'{{\n "compiler": {json.dumps(compiler)},\n "cases": {{\n' + ",\n".join(lines) + "\n }\n}\n")


def load(path: Path) -> tuple[str, dict[str, Counts]]:
    """The compiler and the ceilings of a file.

    Raises:
        ValueError: it is not one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return content["compiler"], content["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a file of ceilings ({REGENERATE}), got: {error}") from error


def table(found: dict[str, Counts]) -> str:
    """One line a kernel, with sectors and wavefronts a request."""
    head = ["case", "kernel", "launches", "requests", "sectors each", "shared", "wavefronts each", "divergent"]
    rows = []
    for case, kernels in found.items():
        total = kernels[""]
        rows.append([case, f"{total['torch_launches']} launches of torch", str(total["launches"]), "", "", "", "", ""])
        for kernel, c in kernels.items():
            if not kernel:
                continue
            shared, of_global = c["shared_requests"], c["global_requests"]
            requests = [str(c["launches"]), str(of_global), _each(c["global_sectors"], of_global)]
            wavefronts = [str(shared), _each(c["shared_wavefronts"], shared)]
            rows.append(["", kernel, *requests, *wavefronts, _each(c["divergent_requests"], of_global + shared)])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)


def _each(number: int, of: int) -> str:
    return f"{number / of:.2f}" if of else ""


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    parser.add_argument("--write-ceilings", action="store_true", help="take what is counted now as the ceilings")
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from cuda_gates import counting

    reason = counting.missing()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    found, compiler = counting.count_all(), counting.compiler()
    print(table(found))
    if arguments.json is not None:
        save(found, compiler, arguments.json)
    if arguments.write_ceilings:
        save(found, compiler, CEILINGS)
        print(f"written: {CEILINGS}")
        return 0
    of, allowed = load(CEILINGS)
    if of != compiler:
        print(f"requests are not held: their ceilings are for {of}, this is {compiler}")
    wrong = faults(found, allowed, of == compiler)
    print(*(f"failed: {fault}" for fault in wrong), sep="\n", end="\n" if wrong else "")
    print(f"{len(found)} cases: {len(wrong)} counts above their ceilings")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
