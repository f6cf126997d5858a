"""EdgeConv in operators of torch that have every derivative: for forward mode, and for derivatives of its gradient.

Which edge wins comes from the operators; what is left is smooth but for the bend of LeakyReLU. With one layer there is
no tensor of the edges' channels here either. With two there is one, (R, K, H) and (R, K, O).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pointkernels._registration import differentiable
from pointkernels._transforms import one_by_one
from pointkernels.ops.gather import weighted_rows
from pointkernels.ops.linear import rows_times, times_vector

__all__ = [
    "backward_operator",
    "gradient_of",
    "of_clouds",
    "of_clouds_gradient",
    "one_layer",
    "one_layer_gradient",
    "two_layers",
    "two_layers_gradient",
    "with_found",
]

_Given = tuple[Tensor | None, Tensor | None]

# Arguments as in csrc/library.cpp, then what the operators have found.


def one_layer(
    nodes: Tensor, neighbors: Tensor, cloud_size: int, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None,
    var: Tensor | None, eps: float, negative_slope: float, slot: Tensor,
) -> Tensor:  # fmt: skip
    """The output of `edge_conv`."""
    valid = neighbors >= 0
    has_edges = valid.any(dim=1, keepdim=True)
    u, v = nodes.chunk(2, dim=1)
    v = torch.where(has_edges, v, 0)  # a row without edges may hold anything
    if mean is None or var is None:
        weights, out_edges = valid.to(nodes.dtype), valid.sum(dim=1, keepdim=True)
        count = out_edges.sum().clamp(min=1)
        ends = weighted_rows(u.contiguous(), neighbors, weights, cloud_size, cloud_size)
        mean = (ends + out_edges * v).sum(dim=0) / count
        squares = weighted_rows((u - mean).square(), neighbors, weights, cloud_size, cloud_size)
        var = (squares + 2 * v * (ends - out_edges * mean) + out_edges * v.square()).sum(dim=0) / count
    winner = _ends(neighbors, cloud_size).gather(1, torch.where(has_edges, slot.long(), 0))
    return _normalised(u.gather(0, winner) + v, has_edges, bn_weight, bn_bias, mean, var, eps, negative_slope)


def two_layers(
    nodes: Tensor, neighbors: Tensor, cloud_size: int, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None,
    var: Tensor | None, eps: float, negative_slope: float, weight: Tensor, center: Tensor, bn_weight2: Tensor,
    bn_bias2: Tensor, mean2: Tensor | None, var2: Tensor | None, eps2: float, negative_slope2: float, slot: Tensor,
) -> Tensor:  # fmt: skip
    """The output of `edge_conv_two_layer`."""
    valid = (neighbors >= 0)[..., None]
    has_edges = valid.any(dim=1)
    u, v = nodes.chunk(2, dim=1)
    h = torch.where(valid, u[_ends(neighbors, cloud_size)] + v[:, None], 0)
    if mean is None or var is None:
        mean, var = _statistics(h, valid)
    first = _normalised(h, valid, bn_weight, bn_bias, mean, var, eps, negative_slope) - center
    h = rows_times(first.flatten(0, 1).contiguous(), weight).unflatten(0, neighbors.shape)
    if mean2 is None or var2 is None:
        mean2, var2 = _statistics(h, valid)
    won = h.gather(1, torch.where(has_edges, slot, 0).long()[:, None])[:, 0]
    return _normalised(won, has_edges, bn_weight2, bn_bias2, mean2, var2, eps2, negative_slope2)


def of_clouds(
    x: Tensor, weight: Tensor, neighbors: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None,
    var: Tensor | None, eps: float, negative_slope: float, slot: Tensor, shift: Tensor, used: Tensor,
) -> Tensor:  # fmt: skip
    """The output of `_edge_conv_of_clouds`."""
    batch, count, channels = x.shape
    difference, center = weight.chunk(2, dim=1)
    centered = torch.where(used[:, None], x.reshape(-1, channels) - shift, 0)
    nodes = rows_times(centered, torch.cat([difference, center - difference]))
    moved = None if mean is None else mean - times_vector(center, shift)
    output = one_layer(
        nodes, neighbors.flatten(0, 1), count, bn_weight, bn_bias, moved, var, eps, negative_slope, slot.flatten(0, 1)
    )
    return output.reshape(batch, count, weight.shape[0])


def _ends(neighbors: Tensor, cloud_size: int) -> Tensor:
    """(R, K): the row that each edge leads to, some row for -1."""
    row = torch.arange(neighbors.shape[0], device=neighbors.device)
    return (row // max(cloud_size, 1) * cloud_size)[:, None] + neighbors.clamp(min=0)


def _statistics(h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    count = valid.sum().clamp(min=1)
    mean = torch.where(valid, h, 0).sum(dim=(0, 1)) / count
    return mean, torch.where(valid, h - mean, 0).square().sum(dim=(0, 1)) / count


def _normalised(
    h: Tensor, there: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor, var: Tensor, eps: float, slope: float
) -> Tensor:
    """BatchNorm and LeakyReLU, 0 where there is no edge."""
    z = bn_weight * torch.rsqrt(var + eps) * (torch.where(there, h, mean) - mean) + bn_bias
    return torch.where(there, torch.where(z > 0, z, slope * z), 0)


def gradient_of(output: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """The gradient of a formula, which has all derivatives, too."""
    pulled: tuple[Tensor, ...] = torch.func.vjp(output, *inputs)[1](grad)
    return pulled


# For the backward operators: their outputs by the formulas, and the functions by which these depend on what varies.


def one_layer_gradient(arguments: Sequence[Any]) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[int, ...]]:
    """That of `_edge_conv_backward`, as a function of the arguments at the places that come with it."""
    _, _, neighbors, cloud_size, *_, slot, gathered, eps, slope = arguments

    def gradient(grad: Tensor, nodes: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor, var: Tensor) -> Any:
        def output(nodes: Tensor, bn_weight: Tensor, bn_bias: Tensor) -> Tensor:
            given: _Given = (mean, var) if gathered is None else (None, None)
            return one_layer(nodes, neighbors, cloud_size, bn_weight, bn_bias, *given, eps, slope, slot)

        return gradient_of(output, (nodes, bn_weight, bn_bias), grad)

    return gradient, (0, 1, 6, 7, 8, 9)


def of_clouds_gradient(arguments: Sequence[Any]) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[int, ...]]:
    """The same for `_edge_conv_of_clouds_backward`."""
    _, _, _, for_x, neighbors, *_, slot, shift, used, constant, eps, slope = arguments

    def gradient(
        grad: Tensor, x: Tensor, weight: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor, var: Tensor
    ) -> Any:
        # The operator has taken the shift off the mean that it was given; in the weight that counts.
        given = mean + times_vector(weight.detach().chunk(2, dim=1)[1], shift) if constant else None

        def output(x: Tensor, weight: Tensor, bn_weight: Tensor, bn_bias: Tensor) -> Tensor:
            return of_clouds(
                x, weight, neighbors, bn_weight, bn_bias, given, var if constant else None, eps, slope, slot, shift,
                used,
            )  # fmt: skip

        of_x, *others = gradient_of(output, (x, weight, bn_weight, bn_bias), grad)
        return (of_x if for_x else of_x.new_empty(0), *others)

    return gradient, (0, 1, 2, 5, 6, 7, 8)


def two_layers_gradient(arguments: Sequence[Any]) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[int, ...]]:
    """The same for `_edge_conv_two_layer_backward`."""
    _, _, neighbors, cloud_size, *_ = arguments
    eps, slope, center, eps2, slope2, slot, constant, constant2 = (
        arguments[n] for n in (10, 11, 13, 18, 19, 22, 23, 24)
    )

    def gradient(
        grad: Tensor, nodes: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor, var: Tensor, weight: Tensor,
        bn_weight2: Tensor, bn_bias2: Tensor, mean2: Tensor, var2: Tensor,
    ) -> Any:  # fmt: skip
        def output(
            nodes: Tensor, bn_weight: Tensor, bn_bias: Tensor, weight: Tensor, bn_weight2: Tensor, bn_bias2: Tensor
        ) -> Tensor:
            given: _Given = (mean, var) if constant else (None, None)
            given2: _Given = (mean2, var2) if constant2 else (None, None)
            return two_layers(
                nodes, neighbors, cloud_size, bn_weight, bn_bias, *given, eps, slope, weight, center, bn_weight2,
                bn_bias2, *given2, eps2, slope2, slot,
            )  # fmt: skip

        return gradient_of(output, (nodes, bn_weight, bn_bias, weight, bn_weight2, bn_bias2), grad)

    return gradient, (0, 1, 6, 7, 8, 9, 12, 14, 15, 16, 17)


def with_found(output: Callable[..., Tensor], *places: int) -> Callable[..., Tensor]:
    """A formula as `differentiable` takes it: the operator's outputs at these places become its last arguments."""
    return lambda *arguments: output(*arguments[:-1], *(arguments[-1][place] for place in places))


_Gradient = Callable[[Sequence[Any]], tuple[Callable[..., tuple[Tensor, ...]], tuple[int, ...]]]


def backward_operator(operator: str, gradient: _Gradient) -> Callable[..., Any]:
    """Register the derivatives of a backward operator, and return the function to call it by."""

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*(value if isinstance(value, Tensor) else None for value in inputs))
        ctx.others = [None if isinstance(value, Tensor) else value for value in inputs]

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        arguments = [
            other if saved is None else saved for saved, other in zip(ctx.saved_tensors, ctx.others, strict=True)
        ]
        function, places = gradient(arguments)
        pulled: list[Tensor | None] = [None] * len(arguments)
        pull = torch.func.vjp(function, *(arguments[place] for place in places))[1]
        for place, grad in zip(places, pull(grads), strict=True):
            pulled[place] = grad
        return tuple(pulled)

    def formula(*given: Any) -> tuple[Tensor, ...]:
        *arguments, _ = given  # what the operator has found
        function, places = gradient(arguments)
        return function(*(arguments[place] for place in places))

    call: Callable[..., Any] = differentiable(
        operator,
        backward,
        setup_context,
        formula=formula,
        vmap=lambda *arguments: one_by_one(call)(*arguments),
    )
    return call
