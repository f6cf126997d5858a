"""Padded batches as the operators want them: rows of one matrix, and which rows are a cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels import _checks


def rows(points: Tensor) -> Tensor:
    """(B, N, D) as contiguous (B * N, D), float16 and bfloat16 widened to float32."""
    if points.dtype in (torch.float16, torch.bfloat16):
        points = points.float()
    return points.reshape(-1, points.shape[-1]).contiguous()


def extents(lengths: Tensor | None, name: str, points: Tensor, points_name: str) -> Tensor | None:
    """First row and number of rows of each cloud of a padded (B, N, D) batch; None when every row counts."""
    if lengths is None:
        return None
    batch, count = points.shape[0], points.shape[1]
    _checks.check_integers(lengths, name, (batch,), points, points_name)
    _checks.check_range(lengths, name, 0, count, f"lie in [0, {count}]")
    first = torch.arange(batch, device=points.device) * count
    return torch.stack([first, lengths], dim=1)
