"""A torch_geometric classifier with its `DynamicEdgeConv` layers exchanged: equal outputs, measured speed-up.

    pip install torch_geometric
    python examples/pyg_dynamic_edge_conv.py [--points 1024] [--clouds 8] [--repeats 5]

Needs no pyg-lib: `enable()` lets torch_geometric's own layers run, which are the ones compared with.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric import nn as pyg

import pointkernels
from pointkernels.compat.torch_geometric import enable


class Classifier(nn.Module):
    """Two EdgeConv layers over dynamic graphs, in torch_geometric's terms."""

    def __init__(self, k: int = 20, num_classes: int = 40) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(2 * 3, 64), nn.BatchNorm1d(64), nn.ReLU())
        second = nn.Sequential(nn.Linear(2 * 64, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.conv1 = pyg.DynamicEdgeConv(first, k)
        self.conv2 = pyg.DynamicEdgeConv(second, k)
        self.linear = nn.Linear(128, num_classes)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """Class scores (B, num_classes) of packed clouds (N, 3)."""
        x = self.conv2(self.conv1(x, batch), batch)
        return self.linear(pyg.global_max_pool(x, batch))


def exchange(model: nn.Module) -> nn.Module:
    """Put our layers, with the same weights, in the place of torch_geometric's."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, pyg.DynamicEdgeConv):
            setattr(model, name, pointkernels.nn.DynamicEdgeConv.from_mlp(layer.nn, layer.k))
    return model


def train_step(model: nn.Module, points: Tensor, batch: Tensor, labels: Tensor) -> Tensor:
    """The class scores, after a forward and a backward pass."""
    model.zero_grad()
    scores: Tensor = model(points, batch)
    F.cross_entropy(scores, labels).backward()
    return scores.detach()


def main(arguments: list[str] | None = None) -> float:
    """Compare both models and return how many times faster a training step has become."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--clouds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)

    enable()
    torch.manual_seed(0)
    points = torch.randn(options.clouds * options.points, 3)
    batch = torch.arange(options.clouds).repeat_interleave(options.points)
    labels = torch.randint(0, 40, (options.clouds,))

    usual = Classifier()
    exchanged = exchange(copy.deepcopy(usual))
    # Compared in float64, where rounding cannot make the two choose different neighbours of learned features.
    usual_exact, exact = copy.deepcopy(usual).double(), exchange(copy.deepcopy(usual).double())
    expected = train_step(usual_exact, points.double(), batch, labels)
    scores = train_step(exact, points.double(), batch, labels)
    torch.testing.assert_close(scores, expected)
    print(f"largest difference of the scores: {float((scores - expected).abs().max()):.1e}")

    times: dict[str, list[float]] = {"torch_geometric": [], "pointkernels": []}
    for repeat in range(options.repeats + 1):
        for name, model in (("torch_geometric", usual), ("pointkernels", exchanged)):
            start = time.perf_counter()
            train_step(model, points, batch, labels)
            if repeat > 0:  # the first is to warm up
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["torch_geometric"] / medians["pointkernels"]
    print(
        f"a training step of {options.clouds} x {options.points} points on {torch.get_num_threads()} CPU threads: "
        + ", ".join(f"{seconds:.3f} s {name}" for name, seconds in medians.items())
        + f", {ratio:.1f} times faster"
    )
    return ratio


if __name__ == "__main__":
    main()
