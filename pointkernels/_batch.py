"""Padded batches as the operators want them: rows of one matrix, and which rows are a cloud."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointkernels import _checks


def rows(points: Tensor) -> Tensor:
    """(B, N, D) as contiguous (B * N, D), float16 and bfloat16 widened to float32."""
    if points.dtype in (torch.float16, torch.bfloat16):
        points = points.float()
    return points.flatten(0, 1).contiguous()


def extents(lengths: Tensor | None, name: str, points: Tensor, points_name: str) -> Tensor | None:
    """First row and number of rows of each cloud of a padded (B, N, D) batch; None when every row counts."""
    if lengths is None:
        return None
    batch, count = points.shape[0], points.shape[1]
    lengths = _checks.sizes_as_int64(lengths, name, (batch,), points, points_name)
    _checks.check_range(lengths, name, 0, count, "lie in [0, {}]", count)
    first = torch.arange(batch, device=points.device) * count
    return torch.stack([first, lengths], dim=1)


def check_search(
    points: Tensor, k: Any, query: Tensor | None, query_lengths: Tensor | None, include_self: bool
) -> tuple[int, int, int]:
    """The checks that every neighbour search makes; number of clouds, of queries in each, and k as an int."""
    _checks.check_floating(points, "points", "(B, N, D)")
    k = _checks.at_least_one(k, "k")
    batch, queries, dims = points.shape
    if dims < 1:
        raise ValueError(f"points must have at least one coordinate, got shape {tuple(points.shape)}")
    if query is None:
        if query_lengths is not None:
            raise ValueError("query_lengths must come with a query, got query=None")
        return batch, queries, k
    _checks.check_floating(query, "query", "(B, M, D)")
    _checks.check_like(query, "query", points, "points")
    if query.shape[0] != batch or query.shape[2] != dims:
        raise ValueError(
            f"query must have as many clouds and coordinates as points, {tuple(points.shape)}, got {tuple(query.shape)}"
        )
    if not include_self:
        raise ValueError("include_self=False must come without a query, got a query")
    return batch, query.shape[1], k
