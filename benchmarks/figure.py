"""Draws time against the number of points from a result of knn_bench.py or fps_bench.py.

python benchmarks/figure.py                 # results/knn-cpu.json and fps-cpu.json into .png files beside them
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
from harness.records import RESULTS, load
from harness.tables import best_of_families

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(source: Path, target: Path) -> None:
    """One line a contender over surfaces: kNN of single clouds per query point, sampling per cloud and sample."""
    run = load(source)
    knn = run.benchmark == "knn"
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in best_of_families(run.measurements):
        case = row.parameters
        if row.median is None or row.threads != 1 or row.yardstick or case["kind"] != "surface":
            continue
        if knn:
            if [case[name] for name in ("batch", "channels", "k")] != [1, 3, 20]:
                continue
            units = case["points"]
        else:
            units = case["batch"] * case["samples"]
        lines.setdefault(row.family or row.contender, []).append((case["points"], row.median / units * 1e9))
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, line in lines.items():
        width = 2.5 if name.startswith("pointkernels") else 1
        axes.loglog(*zip(*sorted(line), strict=True), label=name, marker="o", linewidth=width, markersize=3)
    what, unit = ("D = 3, k = 20", "point") if knn else ("512 to 16,384 samples", "sample")
    axes.set(xlabel=f"points of a cloud (surface, {what})", ylabel=f"nanoseconds per {unit}, one thread")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(target, dpi=110)


def main() -> int:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="*", type=Path, default=[RESULTS / "knn-cpu.json", RESULTS / "fps-cpu.json"])
    for source in parser.parse_args().sources:
        draw(source, source.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
