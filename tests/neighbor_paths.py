"""What tests of the ways to search neighbours on the CPU share; each instruction set in turn is the fixture `isa`."""

from __future__ import annotations

import torch
from torch import Tensor

import pointkernels
from pointkernels._library import set_knn_path


def search(path: str, points: Tensor, k: int, **options: Tensor | bool | None) -> tuple[Tensor, Tensor]:
    """Distances and indices of kNN by one path."""
    set_knn_path(path)
    try:
        return pointkernels.knn(points, k, return_distance=True, **options)
    finally:
        set_knn_path("auto")


def assert_equal(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """The same indices, and the same distances to the last bit."""
    assert torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0, equal_nan=True)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
