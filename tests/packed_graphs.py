"""Packed clouds, an MLP on every edge of their graphs, and the check of a fused layer against it."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

BATCH = torch.tensor([0] * 10 + [2] * 11 + [5] * 3)  # ids may be left out


def features() -> Tensor:
    return torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def lists(x: Tensor, k: int) -> list[list[int]]:
    """The k nearest rows of the same cloud, by (distance, index)."""
    distances = (x[:, None] - x).square().sum(2).masked_fill(BATCH[:, None] != BATCH, torch.inf)
    sizes = (BATCH[:, None] == BATCH).sum(1)
    order = distances.argsort(dim=1, stable=True)
    return [order[i, : min(k, int(sizes[i]))].tolist() for i in range(len(x))]


def every_edge(mlp: nn.Module, x: Tensor, neighbors: list[list[int]]) -> Tensor:
    """The MLP on all edges at once, as BatchNorm wants them, then the maximum over each row's edges."""
    row = torch.tensor([i for i, found in enumerate(neighbors) for _ in found])
    col = torch.tensor([j for found in neighbors for j in found])
    edges = mlp(torch.cat([x[row], x[col] - x[row]], dim=1))
    return torch.stack([edges[row == i].amax(0) if found else edges.new_zeros(edges.shape[1])
                        for i, found in enumerate(neighbors)])  # fmt: skip


def check_trains_like(usual: nn.Module, fused: Any, *, over_knn: bool) -> None:
    """Three steps, then evaluation, of the twin `fused.from_mlp` makes and of the MLP on every edge."""
    neighbors = lists(features(), 4)
    if not over_knn:  # uneven, with a row that is nobody's target
        neighbors = [found[: i % 4] for i, found in enumerate(neighbors)]
    edge_index = torch.tensor([[j, i] for i, found in enumerate(neighbors) for j in found]).t()
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1])]
    argument = BATCH if over_knn else edge_index
    more = [4] if over_knn else []
    layer = fused.from_mlp(usual, *more)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (layer, usual)]
    for _ in range(3):
        grads = []
        for optimizer, run in zip(
            optimizers, (lambda x: layer(x, argument), lambda x: every_edge(usual, x, neighbors)), strict=True
        ):
            x = features().requires_grad_()
            optimizer.zero_grad()
            output = run(x)
            output.square().mean().backward()
            optimizer.step()
            grads.append((output.detach(), x.grad))
        torch.testing.assert_close(grads[0], grads[1])
    layer.eval()
    usual.eval()
    expected = every_edge(usual, features(), neighbors)
    torch.testing.assert_close(layer(features(), argument), expected)
    torch.testing.assert_close(fused.from_mlp(usual, *more)(features(), argument), expected)


def torch_geometric_layers() -> ModuleType:
    """torch_geometric.nn, or the test is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch_geometric's own, at import
        layers: ModuleType = pytest.importorskip(
            "torch_geometric.nn", reason="torch_geometric is not installed (pip install '.[test]')"
        )
    return layers
