"""Draws time against the number of points from a result of knn_bench.py.

python benchmarks/figure.py                 # results/knn-cpu.json into results/knn-cpu.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
from records import RESULTS, load
from report import best_of_families

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(source: Path, target: Path) -> None:
    """One line a contender over the single surface clouds of three coordinates and 20 neighbours, per query point."""
    run = load(source)
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in best_of_families(run.measurements):
        case = row.parameters
        if row.median is None or row.threads != 1:
            continue
        if [case[name] for name in ("kind", "batch", "channels", "k")] != ["surface", 1, 3, 20]:
            continue
        lines.setdefault(row.family or row.contender, []).append((case["points"], row.median / case["points"] * 1e9))
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, line in lines.items():
        width = 2.5 if name.startswith("pointkernels") else 1
        axes.loglog(*zip(*sorted(line), strict=True), label=name, marker="o", linewidth=width, markersize=3)
    axes.set(xlabel="points of a cloud (surface, D = 3, k = 20)", ylabel="nanoseconds per point, one thread")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(target, dpi=110)


def main() -> int:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", type=Path, default=RESULTS / "knn-cpu.json")
    options = parser.parse_args()
    draw(options.source, options.source.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
