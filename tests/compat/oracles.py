"""Clouds for the faces of other libraries, and what neighbours are, in plain torch and float64."""

from __future__ import annotations

import torch
from torch import Tensor


def random_clouds() -> dict[str, Tensor]:
    """(2, 24, 3) float64: distances without near ties, which every way to compute them ranks alike; and hard ones.

    Hard clouds are on a lattice, whose distances are exact in every dtype: ties are real ties.
    """
    generator = torch.Generator().manual_seed(0)
    lattice = torch.cartesian_prod(torch.arange(2.0), torch.arange(3.0), torch.arange(4.0)).double()
    return {
        "random": torch.randn(2, 24, 3, generator=generator, dtype=torch.float64),
        "lattice": lattice.expand(2, -1, -1).contiguous(),
        "duplicates": torch.randint(0, 2, (2, 24, 3), generator=generator).double(),
        "identical": torch.ones(2, 24, 3, dtype=torch.float64),
        "far": torch.randint(-200_000, 200_000, (2, 24, 3), generator=generator).double(),
    }


CLOUDS = random_clouds()


def squares(points: Tensor, query: Tensor, norm: int = 2) -> Tensor:
    """(M, N): squared distances, or sums of absolute differences."""
    difference = query[:, None] - points[None]
    return difference.square().sum(2) if norm == 2 else difference.abs().sum(2)


def nearest(points: Tensor, query: Tensor, k: int, norm: int = 2) -> tuple[Tensor, Tensor]:
    """Distances and indices (M, min(k, N)) by (distance, index)."""
    distances = squares(points, query, norm)
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return distances.gather(1, order), order


def within(points: Tensor, query: Tensor, radius: float) -> list[list[int]]:
    """For each query, the points strictly within a radius, in index order."""
    return [row.nonzero().flatten().tolist() for row in squares(points, query) < radius * radius]


def farthest(points: Tensor, count: int, start: int = 0) -> list[int]:
    """Greedy farthest points, the lowest index of equals, none twice."""
    chosen = [start] if count > 0 else []
    smallest = torch.full((len(points),), torch.inf, dtype=points.dtype)
    while len(chosen) < count:
        smallest = torch.minimum(smallest, squares(points, points[chosen[-1:]])[0])
        smallest[chosen] = -1
        chosen.append(int((smallest == smallest.max()).nonzero()[0]))
    return chosen
