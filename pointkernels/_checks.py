"""Argument checks. Every message states the rule, then what came."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from pointkernels import _transforms
from pointkernels._library import build_info

_Result = TypeVar("_Result")

_HAS_CUDA = bool(build_info()["cuda"])
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_dense(tensor: Tensor, name: str, shape: str) -> None:
    """A tensor whose elements all lie in memory; `shape` says what it is expected to be."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor of shape {shape}, got {type(tensor).__name__}")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {tensor.layout}")
    if tensor.is_nested:
        raise TypeError(f"{name} must be a dense tensor, got a nested one")


def check_floating(tensor: Tensor, name: str, shape: str) -> None:
    """Rank and dtype of a floating tensor; `shape` is for example "(B, N, D)", whose letters give the rank."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_nested:
        check_dense(tensor, name, shape)  # only to say what is wrong: small clouds feel every call
    if tensor.dim() != shape.count(",") + 1:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if tensor.dtype not in FLOATING:
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
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {tensor.layout}")
    if tensor.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {tensor.dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if tensor.device != other.device:
        raise ValueError(f"{name} must be on the device of {other_name}, {other.device}, got {tensor.device}")


def sizes_as_int64(sizes: Tensor, name: str, shape: tuple[int, ...], other: Tensor, other_name: str) -> Tensor:
    """A checked tensor of lengths or numbers of clouds, int32 or int64, as int64."""
    if isinstance(sizes, Tensor) and sizes.dtype == torch.int32:
        sizes = sizes.long()
    check_integers(sizes, name, shape, other, other_name)
    return sizes


def check_channels(features: Tensor, name: str, shape: str, channels: int) -> None:
    """A floating tensor whose last dimension has the channels that a layer was made for."""
    check_floating(features, name, shape)
    if features.shape[-1] != channels:
        raise ValueError(f"{name} must have {channels} channels in the last dimension, got {tuple(features.shape)}")


def check_rank(tensor: Tensor, name: str, shape: str) -> None:
    """An int64 tensor whose rank must be known before its shape is looked at."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be an int64 tensor, got {type(tensor).__name__}")
    if tensor.dim() != shape.count(",") + 1:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")


def at_least_one(number: Any, name: str) -> int:
    """A positive int."""
    if type(number) is not int:
        number = whole_number(number, name)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number  # type: ignore[no-any-return]


def whole_number(number: Any, name: str) -> int:
    """An int from an int, an integer of numpy, or an integer tensor (), whose device is waited for."""
    if isinstance(number, torch.SymInt):
        return number  # type: ignore[return-value]
    fits = not isinstance(number, bool)
    if isinstance(number, Tensor):
        fits = number.dim() == 0 and number.dtype != torch.bool and not number.is_meta
    if fits:
        try:
            return operator.index(number)
        except TypeError:
            pass
    raise TypeError(f"{name} must be an int, got {_kind(number)}")


def real_number(number: Any, name: str) -> float:
    """A number from a number, one of numpy, or a tensor (), whose device is waited for."""
    if type(number) in (float, int) or isinstance(number, (torch.SymInt, torch.SymFloat)):
        return number  # type: ignore[no-any-return]
    dtype = getattr(number, "dtype", None)
    if isinstance(number, Tensor):
        fits = number.dim() == 0 and dtype != torch.bool and not number.is_complex() and not number.is_meta
    elif dtype is not None:
        fits = getattr(number, "ndim", None) == 0 and getattr(dtype, "kind", "") in "iuf"
    else:
        fits = isinstance(number, (int, float)) and not isinstance(number, bool)  # their subclasses
    if not fits:
        raise TypeError(f"{name} must be a number, got {_kind(number)}")
    return float(number)


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"a tensor {tuple(value.shape)} of {value.dtype}{' on meta' if value.is_meta else ''}"


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
