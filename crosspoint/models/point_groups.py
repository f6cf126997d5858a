"""Clouds as groups of neighbouring points around centres that cover them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import pointkernels


class Groups(NamedTuple):
    """The groups of B clouds."""

    centers: Tensor
    """(B, G, 3)."""
    neighborhoods: Tensor
    """(B, G, M, 3) the points of each group, nearest first, relative to its centre."""


def group_points(points: Tensor, groups: int, group_size: int, generator: torch.Generator | None = None) -> Groups:
    """Covers clouds with groups: centres by farthest point sampling, members by nearest neighbours.

    Source: Yu et al., "Point-BERT", CVPR 2022, section 3.1.

    Args:
        points: (B, N, 3).
        groups: Groups per cloud, G.
        group_size: Points per group, M.
        generator: On the CPU; draws the first centre of each cloud. None takes the first point.

    Returns:
        The groups; the centre itself is the first member of its group. Not differentiable.

    Raises:
        ValueError: If the points have another shape, or there are fewer than the groups or their members.
    """
    if points.dim() != 3 or points.shape[2] != 3:
        raise ValueError(f"points must be (B, N, 3), got {tuple(points.shape)}")
    if points.shape[1] < max(groups, group_size):
        raise ValueError(
            f"clouds must have at least {max(groups, group_size)} points for {groups} groups of {group_size}, "
            f"got {points.shape[1]}"
        )
    points = points.detach()
    start: int | Tensor = 0
    if generator is not None:
        start = torch.randint(points.shape[1], (points.shape[0],), generator=generator).to(points.device)
    chosen = pointkernels.farthest_point_sampling(points, groups, start=start)
    centers = points.gather(1, chosen.unsqueeze(2).expand(-1, -1, 3))
    members = pointkernels.knn(points, group_size, query=centers)
    return Groups(centers, pointkernels.gather_neighbors(points, members) - centers.unsqueeze(2))
