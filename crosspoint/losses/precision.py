"""The precision that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """The values in float32 where they are float16 or bfloat16, and as they are otherwise."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
