"""Tables of what the kernels need, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuda_gates.compiler import Usage
from cuda_gates.occupancy import occupancy


def resources(usage: Usage) -> str:
    """Registers, then stack (f) and spilled (s) bytes where there are any."""
    return (
        f"{usage.registers}"
        + (f" f{usage.stack}" if usage.stack else "")
        + (f" s{usage.spills}" if usage.spills else "")
    )


def occupied(usage: Usage) -> str:
    """Blocks on a multiprocessor, the share of its warps, and the first letter of what limits them."""
    if usage.threads is None:
        return "-"
    found = occupancy(usage, usage.threads)
    return "-" if found is None else f"{found.blocks} {found.share:.0%} {found.limit[0]}"


def table(usages: Sequence[Usage], targets: Sequence[int], title: str, cell: Callable[[Usage], str]) -> str:
    """One line a kernel, one column a target."""
    by_kernel: dict[tuple[str, str], dict[int, Usage]] = {}
    for usage in usages:
        by_kernel.setdefault((usage.source, usage.kernel), {})[usage.target] = usage
    head = ["kernel", "threads", "shared", "code", *(f"sm_{target}" for target in targets)]
    rows = [
        [
            kernel,
            str(max(usage.threads or 0 for usage in found.values()) or "-"),
            str(max(usage.shared for usage in found.values())),
            str(max(usage.code for usage in found.values())),
            *(cell(found[target]) if target in found else "-" for target in targets),
        ]
        for (_, kernel), found in sorted(by_kernel.items())
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [title] + [
        "  ".join(
            text.ljust(width) if n == 0 else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    return "\n".join(lines)
