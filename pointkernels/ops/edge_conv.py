"""The fused EdgeConv layer of DGCNN: no tensor of B * N * K * C elements, forward or backward.

An edge's convolution splits into node products: with W = [W1 W2], W [x_j - x_i, x_i] = u_j + v_i for u = W1 x and
v = (W2 - W1) x, so K times fewer multiplications are needed. BatchNorm and LeakyReLU are monotone in each channel, so
the maximum over neighbours is taken of u_j alone (the minimum where BatchNorm's weight is negative), and BatchNorm's
statistics and gradient over all edges are sums over nodes and their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels._registration import (
    as_dtype,
    without_autocast,
)
from pointkernels.ops.edge_conv_operators import Results, ResultsOfClouds, edge_conv_of_clouds, edge_conv_of_nodes
from pointkernels.ops.edge_conv_synchronized import edge_conv_synchronized
from pointkernels.ops.linear import centered, linear, times_vector
from pointkernels.ops.running_statistics import update_running_statistics

__all__ = ["edge_conv"]

# Devices where one operator does the node products, too.
_OF_CLOUDS = frozenset({"cpu"})


class _Batch(NamedTuple):
    """The layer's output, and the statistics of the batch."""

    output: Tensor
    mean: Tensor
    moved: Tensor
    """What has been taken off the mean."""
    var: Tensor
    edges: Tensor


def edge_conv(
    features: Tensor,
    neighbors: Tensor,
    weight: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    training: bool,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    negative_slope: float = 0.2,
    process_group: Any = None,
) -> Tensor:
    """One EdgeConv layer (Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", 2019).

    max over j in neighbors(i) of LeakyReLU(BatchNorm(weight [x_j - x_i, x_i])), exact in training mode: BatchNorm takes
    its statistics over all edges of the batch, and the gradient goes through them. Computed in float32 (float64 for
    float64 features) whatever the dtype and under autocast. Features far from the origin lose no precision: one common
    vector is subtracted from all of them first, which BatchNorm cancels.

    Args:
        features: (B, N, C) float16, bfloat16, float32 or float64.
        neighbors: (B, N, K) int64 indices into the points of the same cloud, -1 for none.
        weight: (C', 2 C), the 1x1 convolution; the first half applies to x_j - x_i, the second to x_i.
        bn_weight: (C',) weight of BatchNorm.
        bn_bias: (C',) bias of BatchNorm.
        running_mean: (C',), or None to keep no running statistics. Updated in place when training.
        running_var: (C',), or None. Updated in place when training.
        training: normalise by the statistics of this batch rather than the running ones.
        momentum: weight of this batch in the running statistics, a number or a tensor ().
        eps: added to the variance.
        negative_slope: slope of LeakyReLU below zero, at least 0.
        process_group: in training, the processes of torch.distributed over whose edges BatchNorm takes its statistics,
            each with as many clouds as it likes; all of them must call, forward and backward. None: this process alone.

    Returns:
        (B, N, C') in the dtype of the features; zeros for a point without neighbours. Differentiable any number of
        times in features, weight, bn_weight and bn_bias.

    Raises:
        TypeError: dtypes other than those above.
        ValueError: wrong shapes or devices, neighbours out of range, a negative slope, no running statistics in
            evaluation, or a single edge in training.

    Example:
        >>> features = torch.randn(2, 100, 8)
        >>> neighbors = pointkernels.knn(features, 20)
        >>> weight, one, zero = torch.randn(16, 16), torch.ones(16), torch.zeros(16)
        >>> pointkernels.edge_conv(features, neighbors, weight, one, zero, None, None, training=True).shape
        torch.Size([2, 100, 16])
    """
    _check(features, neighbors, weight, bn_weight, bn_bias, running_mean, running_var, training, negative_slope)
    if training and process_group is None and neighbors.numel() == 1:
        raise ValueError("training must see more than one edge to have a variance, got one")
    compute = torch.float64 if features.dtype == torch.float64 else torch.float32
    if process_group is not None and training:
        _checks.check_neighbors(neighbors, features.shape[1])
        with without_autocast(features.device.type):
            x, matrix, scale, bias = (as_dtype(part, compute) for part in (features, weight, bn_weight, bn_bias))
            output, mean, var, edges = edge_conv_synchronized(
                x, matrix, neighbors, scale, bias, eps, negative_slope, process_group
            )
            if running_mean is not None and running_var is not None:
                update_running_statistics(running_mean, running_var, mean, torch.zeros_like(mean), var, edges, momentum)
        return as_dtype(output, features.dtype)
    operator: Callable[..., _Batch] = _of_clouds if features.device.type in _OF_CLOUDS else _of_node_products
    given_mean, given_var = (None, None) if training else (running_mean, running_var)
    with without_autocast(features.device.type):
        inputs: tuple[Any, ...] = as_dtype(features, compute), as_dtype(weight, compute), neighbors.contiguous()
        vectors = [None if v is None else as_dtype(v, compute) for v in (bn_weight, bn_bias, given_mean, given_var)]
        batch = _checks.neighbors_checked_by(
            lambda: operator(*inputs, *vectors, eps, negative_slope), neighbors, features.shape[1]
        )
        if training and running_mean is not None and running_var is not None:
            update_running_statistics(
                running_mean, running_var, batch.mean, batch.moved, batch.var, batch.edges, momentum
            )
    return as_dtype(batch.output, features.dtype)


def _of_clouds(features: Tensor, weight: Tensor, *arguments: Any) -> _Batch:
    found = ResultsOfClouds(*edge_conv_of_clouds(features.contiguous(), weight.contiguous(), *arguments))
    return _Batch(found.output, found.mean, found.moved, found.var, found.edges)


def _of_node_products(
    features: Tensor, weight: Tensor, neighbors: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None,
    *arguments: Any,
) -> _Batch:  # fmt: skip
    """As `_of_clouds`, with operators of their own for the mean and the node products."""
    batch, count, channels = features.shape
    lists, x = neighbors.flatten(0, 1), features.reshape(-1, channels)
    used = torch.ops.pointkernels._used_rows(lists, count)
    difference, center = weight.chunk(2, dim=1)
    x, shift = centered(x, used)
    moved = times_vector(center, shift)  # what the shift takes off every pre-activation
    nodes = linear(x, torch.cat([difference, center - difference]))
    given = None if mean is None else mean - moved
    found = Results(*edge_conv_of_nodes(nodes, lists, count, bn_weight, bn_bias, given, *arguments))
    return _Batch(found.output.view(batch, count, weight.shape[0]), found.mean, moved, found.var, found.edges)


def _check(
    features: Tensor,
    neighbors: Tensor,
    weight: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    negative_slope: float,
) -> None:
    _checks.check_floating(features, "features", "(B, N, C)")
    _checks.check_floating(weight, "weight", "(C', 2 C)")
    batch, count, channels = features.shape
    if weight.shape[1] != 2 * channels:
        raise ValueError(
            f"weight must have shape (C', {2 * channels}) for {channels} channels, got {tuple(weight.shape)}"
        )
    vectors = {"bn_weight": bn_weight, "bn_bias": bn_bias, "running_mean": running_mean, "running_var": running_var}
    for name, vector in vectors.items():
        if vector is None:
            continue
        _checks.check_floating(vector, name, "(C')")
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{name} must have shape ({weight.shape[0]},), got {tuple(vector.shape)}")
    for name, tensor in {"weight": weight, **vectors}.items():
        if tensor is not None and tensor.device != features.device:
            raise ValueError(f"{name} must be on the device of features, {features.device}, got {tensor.device}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must both be tensors or both None, got one of each")
    if not training and running_mean is None:
        raise ValueError("running_mean and running_var must be given unless training, got None")
    _checks.check_rank(neighbors, "neighbors", "(B, N, K)")
    _checks.check_integers(neighbors, "neighbors", (batch, count, neighbors.shape[2]), features, "features")
    _checks.at_least_one(neighbors.shape[2], "the number of neighbours")
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must be at least 0, got {negative_slope}")
