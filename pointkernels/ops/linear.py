"""Products of many rows with a small matrix.

They are in the precision of their inputs. Torch's own may round float32 factors to TF32 (`allow_tf32`,
`set_float32_matmul_precision`), and then winners and neighbours change; so nothing here is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels._registration import differentiable, fake_kernel
from pointkernels._transforms import product_rule
from pointkernels.ops import mapped

__all__ = ["centered", "linear", "rows_times", "times_vector"]

_DEVICES = frozenset({"cpu", "cuda"})
# Devices with an operator that takes the mean off.
_CENTERING = frozenset({"cpu"})


def linear(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same linear map for every point, as `torch.nn.functional.linear`.

    Made for what networks on points do: as many rows as there are points, with some tens to hundreds of channels. There
    it is two to three times faster on AMD processors than MKL. CPU and CUDA give the same bits, whatever torch is told
    about TF32. On other devices, for other dtypes than float32 and float64, and under autocast it is torch's own.

    Args:
        features: (..., C).
        weight: (C', C) in the dtype of the features.
        bias: (C',), or None.

    Returns:
        (..., C'). On CPU and CUDA differentiable any number of times.

    Raises:
        TypeError: features or weight that are no dense tensors, or of different dtypes outside of autocast.

    Example:
        >>> features = torch.ones(2, 5, 3)
        >>> pointkernels.linear(features, torch.ones(4, 3)).shape
        torch.Size([2, 5, 4])
    """
    if not isinstance(features, Tensor) or features.layout is not torch.strided or features.is_nested:
        _checks.check_dense(features, "features", "(..., C)")
    if not isinstance(weight, Tensor) or weight.layout is not torch.strided:
        _checks.check_dense(weight, "weight", "(C', C)")
    device = features.device.type
    own = device in _DEVICES and features.dtype == weight.dtype and not torch.is_autocast_enabled(device)
    if not own or features.dtype not in (torch.float32, torch.float64):
        if features.dtype != weight.dtype and not torch.is_autocast_enabled(device):
            raise TypeError(f"weight must have the dtype of features, {features.dtype}, got {weight.dtype}")
        return torch.nn.functional.linear(features, weight, bias)
    rows = features.reshape(-1, features.shape[-1]).contiguous()
    product: Tensor = rows_times(rows, weight.contiguous())
    product = product.view(*features.shape[:-1], weight.shape[0])
    return product if bias is None else product + bias


def times_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    """The product (R) of a small matrix (R, C) and a vector (C)."""
    return (matrix * vector).sum(dim=1)


def centered(x: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that are used less their mean, zeros for the others, and the mean.

    Padding may hold anything, NaN included, and must reach neither statistics nor a weight's gradient.

    Args:
        x: (R, C) float32 or float64.
        used: (R,) bool.

    Returns:
        (R, C), and (C,), a constant, with 0 where the mean is not finite. On the CPU the gradient of the first goes on
        as it is: that of rows that are not used must be 0.
    """
    if x.device.type in _CENTERING:
        rows, mean = _center_rows(x.contiguous(), used)
        return rows, mean
    x = torch.where(used[:, None], x, 0)
    mean = (x.detach().sum(dim=0) / used.sum().clamp(min=1)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return x - mean, mean


@fake_kernel("pointkernels::_linear")
def _fake(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@fake_kernel("pointkernels::_linear_backward")
def _fake_backward(grad: Tensor, x: Tensor, weight: Tensor, for_x: bool, for_weight: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x) if for_x else x.new_empty(0), torch.empty_like(weight) if for_weight else x.new_empty(0)


@fake_kernel("pointkernels::_center_rows")
def _fake_center_rows(x: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[1])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    for_x, for_weight = ctx.needs_input_grad
    grad_x, grad_weight = _linear_backward(grad.contiguous(), x, weight, for_x, for_weight)
    return grad_x if for_x else None, grad_weight if for_weight else None


def _setup_centered(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward_of_centered(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, None]:
    return grad, None


def _jvp_of_centered(
    inputs: Sequence[Any], _: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor | None, None]:
    return None if tangents[0] is None else torch.where(inputs[1][:, None], tangents[0], 0), None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.for_x, ctx.for_weight = inputs[3:]


def _backward_of_backward(ctx: Any, of_x: Tensor, of_weight: Tensor) -> tuple[Tensor | None, ...]:
    grad, x, weight = ctx.saved_tensors
    grad_grad = grad_x = grad_weight = None
    if ctx.for_x:
        of_x = of_x.contiguous()
        grad_grad = rows_times(of_x, weight)
        if ctx.needs_input_grad[2]:
            grad_weight = _linear_backward(grad, of_x, weight, False, True)[1]
    if ctx.for_weight:
        of_weight = of_weight.contiguous()
        of_grad = rows_times(x, of_weight)
        grad_grad = of_grad if grad_grad is None else grad_grad + of_grad
        if ctx.needs_input_grad[1]:
            grad_x = _linear_backward(grad, x, of_weight, True, False)[0]
    return grad_grad, grad_x, grad_weight, None, None


def _jvp_of_backward(
    inputs: Sequence[Any], outputs: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    grad, x, weight, for_x, for_weight = inputs
    of_grad, of_x, of_weight, *_ = tangents
    pushed_x, pushed_weight = (torch.zeros_like(output) for output in outputs)
    if of_grad is not None:
        pushed_x, pushed_weight = _linear_backward(of_grad, x, weight, for_x, for_weight)
    if for_x and of_weight is not None:
        pushed_x = pushed_x + _linear_backward(grad, x, of_weight, True, False)[0]
    if for_weight and of_x is not None:
        pushed_weight = pushed_weight + _linear_backward(grad, of_x, weight, False, True)[1]
    return pushed_x, pushed_weight


rows_times: Callable[..., Any] = differentiable(
    "pointkernels::_linear",
    _backward,
    _setup_context,
    jvp=lambda *arguments: product_rule(rows_times, (0, 1), *arguments),
    vmap=lambda *arguments: mapped.linear(rows_times, *arguments),
)
_center_rows: Callable[..., Any] = differentiable(
    "pointkernels::_center_rows",
    _backward_of_centered,
    _setup_centered,
    jvp=_jvp_of_centered,
    vmap=lambda *arguments: mapped.center_rows(_center_rows, *arguments),
)
_linear_backward: Callable[..., Any] = differentiable(
    "pointkernels::_linear_backward",
    _backward_of_backward,
    _setup_backward,
    jvp=_jvp_of_backward,
    vmap=lambda *arguments: mapped.linear_backward(_linear_backward, *arguments),
)
