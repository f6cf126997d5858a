"""Inputs that begin one element into their memory, of every operator: contiguous, but aligned to one element only.

Under the sanitizers (tests/emulation/test_sanitizers.py), wider loads of the CUDA kernels from such places are errors.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from clouds import offset_by_one_element
from operator_calls import CALLS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class OffsetInputs(TorchDispatchMode):
    """Gives each of our operators its tensors one element into their memory."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "pointkernels" and not func._schema.is_mutable:
            args = tuple(self.offset(a) if isinstance(a, Tensor) and a.dim() > 0 and a.numel() > 0 else a for a in args)
        return func(*args, **(kwargs or {}))

    def offset(self, tensor: Tensor) -> Tensor:
        self.moved += 1
        return offset_by_one_element(tensor)


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_aligned_inputs(name: str, device: str) -> None:
    expected = CALLS[name](device)
    mode = OffsetInputs()
    with mode:
        actual = CALLS[name](device)
    assert mode.moved > 0
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)
