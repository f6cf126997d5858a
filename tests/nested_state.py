"""Equality of what checkpoints hold."""

from __future__ import annotations

from typing import Any

import torch


def same(first: Any, second: Any) -> bool:
    """Equality of nested state, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
