"""Features of neighbours, one by one or as a weighted sum, with a deterministic gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pointkernels import _batch, _checks
from pointkernels._registration import differentiable, fake_kernel, float32_under_autocast
from pointkernels._transforms import product_rule
from pointkernels.ops import mapped
from pointkernels.ops.reverse_graph import reverse_graph

__all__ = ["gather_neighbors", "gather_weighted", "gathered_rows", "weighted_rows"]


def gather_neighbors(features: Tensor, neighbors: Tensor) -> Tensor:
    """The features of the neighbours of each query ("grouping" in PointNet++, `knn_gather` in PyTorch3D).

    The gradient adds the edges of each point in a fixed order, without atomics: same bits in every run.

    Args:
        features: (B, N, C) float16, bfloat16, float32 or float64.
        neighbors: (B, M, K) int64 indices into the points of the same cloud, -1 for none.

    Returns:
        (B, M, K, C) in the dtype of the features, zeros where the neighbour is -1. Differentiable any number of times
        in features.

    Raises:
        TypeError: features that are not floating, neighbours that are not int64.
        ValueError: wrong shapes or devices, neighbours out of range.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> pointkernels.gather_neighbors(features, torch.tensor([[[1, -1]]]))
        tensor([[[[3., 4.],
                  [0., 0.]]]])
    """
    queries, count = _check(features, neighbors)
    lists = neighbors.flatten(0, 1).contiguous()
    gathered: Tensor = _checks.neighbors_checked_by(
        lambda: gathered_rows(_batch.rows(features), lists, queries, count), lists, count
    )
    return gathered.view(*neighbors.shape, features.shape[2]).to(features.dtype)


def gather_weighted(features: Tensor, neighbors: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of the features of the neighbours of each query, without a (B, M, K, C) tensor.

    Args:
        features: (B, N, C) float16, bfloat16 (both computed in float32), float32 or float64.
        neighbors: (B, M, K) int64 indices into the points of the same cloud, -1 for none.
        weights: (B, M, K) in the dtype of the features.

    Returns:
        (B, M, C) in the dtype of the features. Differentiable any number of times in features and weights.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes, neighbours that are not int64.
        ValueError: wrong shapes or devices, neighbours out of range.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> pointkernels.gather_weighted(features, torch.tensor([[[0, 1]]]), torch.tensor([[[0.5, 0.5]]]))
        tensor([[[2., 3.]]])
    """
    queries, count = _check(features, neighbors)
    _checks.check_floating(weights, "weights", "(B, M, K)")
    _checks.check_like(weights, "weights", features, "features")
    if weights.shape != neighbors.shape:
        raise ValueError(
            f"weights must have the shape of neighbors, {tuple(neighbors.shape)}, got {tuple(weights.shape)}"
        )
    lists = neighbors.flatten(0, 1).contiguous()
    sums: Tensor = _checks.neighbors_checked_by(
        lambda: weighted_rows(_batch.rows(features), lists, _batch.rows(weights), queries, count), lists, count
    )
    return sums.view(*neighbors.shape[:2], features.shape[2]).to(features.dtype)


def _check(features: Tensor, neighbors: Tensor) -> tuple[int, int]:
    """Query rows of a cloud, rows of a cloud."""
    _checks.check_floating(features, "features", "(B, N, C)")
    if not isinstance(neighbors, Tensor) or neighbors.dim() != 3:
        shape = tuple(neighbors.shape) if isinstance(neighbors, Tensor) else type(neighbors).__name__
        raise ValueError(f"neighbors must have shape (B, M, K), got {shape}")
    _, queries, k = neighbors.shape
    _checks.check_integers(neighbors, "neighbors", (features.shape[0], queries, k), features, "features")
    count = features.shape[1]
    return queries, count


@fake_kernel("pointkernels::gather_neighbors")
def _fake_gather(features: Tensor, neighbors: Tensor, query_size: int, cloud_size: int) -> Tensor:
    return features.new_empty(neighbors.shape[0], neighbors.shape[1], features.shape[1])


@fake_kernel("pointkernels::gather_weighted")
def _fake_weighted(features: Tensor, neighbors: Tensor, weights: Tensor, query_size: int, cloud_size: int) -> Tensor:
    return features.new_empty(neighbors.shape[0], features.shape[1])


@fake_kernel("pointkernels::_sum_over_edges")
def _fake_sum(grad: Tensor, weights: Tensor | None, offsets: Tensor, edges: Tensor, edges_per_row: int) -> Tensor:
    return grad.new_empty(offsets.shape[0] - 1, grad.shape[1])


@fake_kernel("pointkernels::_edge_products")
def _fake_products(grad: Tensor, features: Tensor, neighbors: Tensor, query_size: int, cloud_size: int) -> Tensor:
    return grad.new_empty(neighbors.shape)


def _setup_gather(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, neighbors, ctx.query_size, ctx.cloud_size = inputs
    ctx.rows = features.shape[0]
    ctx.save_for_backward(neighbors)


def _gather_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (neighbors,) = ctx.saved_tensors
    offsets, edges = reverse_graph(neighbors, ctx.query_size, ctx.cloud_size, ctx.rows)
    flat = grad.reshape(neighbors.numel(), grad.shape[2]).contiguous()
    return _sum_over_edges(flat, None, offsets, edges, 1), None, None, None


def _gather_jvp(inputs: Sequence[Any], _: Sequence[Tensor], tangents: Sequence[Tensor | None]) -> Tensor | None:
    return None if tangents[0] is None else gathered_rows(tangents[0], *inputs[1:])


def _setup_weighted(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, neighbors, weights, ctx.query_size, ctx.cloud_size = inputs
    ctx.save_for_backward(features, neighbors, weights)


def _weighted_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    features, neighbors, weights = ctx.saved_tensors
    grad = grad.contiguous()
    grad_features = grad_weights = None
    if ctx.needs_input_grad[0]:
        offsets, edges = reverse_graph(neighbors, ctx.query_size, ctx.cloud_size, features.shape[0])
        grad_features = _sum_over_edges(grad, weights, offsets, edges, max(neighbors.shape[1], 1))
    if ctx.needs_input_grad[2]:
        grad_weights = _edge_products(grad, features, neighbors, ctx.query_size, ctx.cloud_size)
    return grad_features, None, grad_weights, None, None


def _setup_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, weights, offsets, edges, ctx.edges_per_row = inputs
    ctx.save_for_backward(grad, weights, offsets, edges)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    summands, weights, offsets, edges = ctx.saved_tensors
    grad = grad.contiguous()
    targets = mapped.targets_of_edges(offsets, edges).view(summands.shape[0], ctx.edges_per_row)
    sizes = (summands.shape[0], grad.shape[0])
    grad_summands = grad_weights = None
    if ctx.needs_input_grad[0]:
        of_edges = grad.new_ones(targets.shape) if weights is None else weights.reshape(targets.shape)
        grad_summands = weighted_rows(grad, targets, of_edges.contiguous(), *sizes)
    if ctx.needs_input_grad[1]:
        grad_weights = _edge_products(summands, grad, targets, *sizes).view(weights.shape)
    return grad_summands, grad_weights, None, None, None


def _setup_products(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, features, neighbors, ctx.query_size, ctx.cloud_size = inputs
    ctx.save_for_backward(grad, features, neighbors)


def _products_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    queries, features, neighbors = ctx.saved_tensors
    sizes, grad = (ctx.query_size, ctx.cloud_size), grad.contiguous()
    grad_queries = grad_features = None
    if ctx.needs_input_grad[0]:
        grad_queries = weighted_rows(features, neighbors, grad, *sizes)
    if ctx.needs_input_grad[1]:
        graph = reverse_graph(neighbors, *sizes, features.shape[0])
        grad_features = _sum_over_edges(queries, grad, *graph, max(neighbors.shape[1], 1))
    return grad_queries, grad_features, None, None, None


gathered_rows: Callable[..., Any] = differentiable(
    "pointkernels::gather_neighbors",
    _gather_backward,
    _setup_gather,
    jvp=_gather_jvp,
    vmap=lambda *arguments: mapped.gather(gathered_rows, *arguments),
)
weighted_rows: Callable[..., Any] = differentiable(
    "pointkernels::gather_weighted",
    _weighted_backward,
    _setup_weighted,
    jvp=lambda *arguments: product_rule(weighted_rows, (0, 2), *arguments),
    vmap=lambda *arguments: mapped.weighted(weighted_rows, *arguments),
)
_sum_over_edges: Callable[..., Any] = differentiable(
    "pointkernels::_sum_over_edges",
    _sum_backward,
    _setup_sum,
    jvp=lambda *arguments: product_rule(_sum_over_edges, (0, 1), *arguments),
    vmap=lambda *arguments: mapped.sum_over_edges(_sum_over_edges, *arguments),
)
_edge_products: Callable[..., Any] = differentiable(
    "pointkernels::_edge_products",
    _products_backward,
    _setup_products,
    jvp=lambda *arguments: product_rule(_edge_products, (0, 1), *arguments),
    vmap=lambda *arguments: mapped.edge_products(_edge_products, *arguments),
)
for _operator in ("gather_neighbors", "gather_weighted"):
    float32_under_autocast(f"pointkernels::{_operator}")
