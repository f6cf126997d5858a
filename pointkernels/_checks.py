"""Argument checks. Every message states the rule, then what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from pointkernels import _transforms
from pointkernels._library import build_info

_Result = TypeVar("_Result")

_HAS_CUDA = bool(build_info()["cuda"])


def check_floating(tensor: Tensor, name: str, shape: str) -> None:
    """Rank and dtype of a floating tensor; `shape` is for example "(B, N, D)", whose letters give the rank."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor of shape {shape}, got {type(tensor).__name__}")
    if tensor.dim() != len(shape.split(",")):
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {tensor.dtype}")
    if tensor.is_cuda and not _HAS_CUDA:
        raise RuntimeError(
            f"{name} is on {tensor.device}, but this build of pointkernels is for CPU only; reinstall it with a CUDA "
            "toolkit and a torch that has CUDA"
        )


def check_like(tensor: Tensor, name: str, other: Tensor, other_name: str) -> None:
    """Two tensors on one device with one dtype."""
    if tensor.device != other.device:
        raise ValueError(f"{name} must be on the device of {other_name}, {other.device}, got {tensor.device}")
    if tensor.dtype != other.dtype:
        raise TypeError(f"{name} must have the dtype of {other_name}, {other.dtype}, got {tensor.dtype}")


def check_integers(tensor: Tensor, name: str, shape: tuple[int, ...], other: Tensor, other_name: str) -> None:
    """An int64 tensor of a known shape on the device of another one."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be an int64 tensor, got {type(tensor).__name__}")
    if tensor.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {tensor.dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if tensor.device != other.device:
        raise ValueError(f"{name} must be on the device of {other_name}, {other.device}, got {tensor.device}")


def check_at_least_one(number: int, name: str) -> None:
    """A positive int."""
    if isinstance(number, bool) or not isinstance(number, (int, torch.SymInt)):
        raise TypeError(f"{name} must be an int, got {type(number).__name__}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")


def check_neighbors(neighbors: Tensor, count: int) -> None:
    """Indices into `count` points, or -1."""
    check_range(neighbors, "neighbors", -1, count - 1, "be -1 or lie in [0, {})", count)


def neighbors_checked_by(operator: Callable[[], _Result], neighbors: Tensor, count: int) -> _Result:
    """Call an operator that checks neighbours itself, on every device, so that they are not looked at twice.

    Raises:
        ValueError: it refused, on a CPU, and a neighbour is out of range.
    """
    if torch.compiler.is_compiling():
        return operator()
    try:
        return operator()
    except RuntimeError:
        if neighbors.device.type == "cpu":
            check_neighbors(neighbors, count)
        raise


def check_range(values: Tensor, name: str, low: int, high: int | Tensor, rule: str, number: int | None = None) -> None:
    """All of `values` in [low, high]; `rule` says so in words, with {} for the number.

    A number that is a size must not be written out before something is wrong: torch.compile would take it as fixed.
    Values on a CPU are looked at here. On another device that would stop the stream, so the check runs there and fails
    as a device-side assertion; while torch.compile traces, it is left to the operator.
    """
    if torch.compiler.is_compiling():
        return
    # Under torch.vmap all samples are looked at together.
    values, mapped = _transforms.innermost(values)
    if isinstance(high, Tensor):
        high, mapped_high = _transforms.innermost(high)
        if mapped or mapped_high:
            return  # the two may be of different shapes; the operator looks at each sample
    if values.device.type == "cpu" and isinstance(high, int) and values.numel() > 0:
        least, most = values.aminmax()  # several times faster than to look at every value for itself
        if low <= least.item() and most.item() <= high:
            return
    good = (values >= low) & (values <= high)
    rule = rule.format(number)
    if values.is_cuda:
        torch._assert_async(good.all(), f"{name} must {rule}")
    elif values.device.type == "cpu" and not bool(good.all()):
        raise ValueError(f"{name} must {rule}, got {values[~good][0].item()}")
