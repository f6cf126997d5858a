"""Point-cloud functions of PyTorch3D: neighbours, balls, farthest point sampling, Chamfer distance.

Change `from pytorch3d.ops import knn_points, ...` (and `from pytorch3d.loss import chamfer_distance`) to
`from pointkernels.compat.pytorch3d import ...`: same arguments, defaults, shapes, padding and gradients. What differs:

- any k, any cloud size, float16 to float64, on CPU and CUDA; ties go to the lower index on both;
- `knn_points` is always sorted, so `version` and `return_sorted` change nothing, and gradients are deterministic;
- `sample_farthest_points` computes float64 clouds in float64 and returns points in the dtype that came;
- no call waits for the GPU, except for a tensor `K`, whose largest entry is a shape.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels.compat._l1 import nearest_in_l1
from pointkernels.ops.ball_query import ball_query as _ball_query
from pointkernels.ops.farthest_point_sampling import farthest_point_sampling
from pointkernels.ops.gather import gather_neighbors
from pointkernels.ops.knn import knn

__all__ = ["ball_query", "chamfer_distance", "knn_gather", "knn_points", "sample_farthest_points"]


class _KNN(NamedTuple):
    """Squared distances (N, P1, K), indices (N, P1, K), and the neighbours (N, P1, K, D) or None."""

    dists: Tensor
    idx: Tensor
    knn: Tensor | None


def knn_points(
    p1: Tensor,
    p2: Tensor,
    lengths1: Tensor | None = None,
    lengths2: Tensor | None = None,
    norm: int = 2,
    K: int = 1,  # noqa: N803  (the peer's name)
    version: int = -1,
    return_nn: bool = False,
    return_sorted: bool = True,
) -> _KNN:
    """The K nearest points of p2 for each point of p1.

    Args:
        p1: (N, P1, D) queries.
        p2: (N, P2, D) points.
        lengths1: (N,) number of points of each cloud of p1, or None for P1.
        lengths2: (N,) likewise for p2.
        norm: 2 for squared Euclidean distances, 1 for the sum of absolute differences (in plain torch, by chunks).
        K: number of neighbours.
        version: ignored.
        return_nn: also return the neighbours themselves.
        return_sorted: ignored; the result is sorted.

    Returns:
        The named tuple (dists, idx, knn). As in PyTorch3D, both distance and index are 0 where a cloud has fewer than K
        points and past the length of p1. Differentiable any number of times in p1 and p2.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: wrong shapes, devices or lengths, K below 1, another norm.

    Example:
        >>> p = torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> pointkernels.compat.pytorch3d.knn_points(p, p, K=2).dists
        tensor([[[0., 1.],
                 [0., 1.],
                 [0., 4.]]])
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm}")
    search = _nearest_in_l1 if norm == 1 else _nearest_in_l2
    dists, idx = search(p1, p2, lengths1, lengths2, K)
    neighbors = gather_neighbors(p2, idx) if return_nn else None
    missing = idx < 0
    return _KNN(dists.masked_fill(missing, 0.0), idx.masked_fill(missing, 0), neighbors)


def knn_gather(x: Tensor, idx: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The features of the neighbours that `knn_points` found.

    Args:
        x: (N, M, U) features.
        idx: (N, L, K) indices into the M rows.
        lengths: (N,) number of rows of each cloud, or None for M.

    Returns:
        (N, L, K, U), zeros in column k where a cloud has no more than k rows. Differentiable any number of times in x,
        if it is floating.

    Raises:
        TypeError: idx is not int64.
        ValueError: wrong shapes, devices or lengths, idx out of range.

    Example:
        >>> x = torch.tensor([[[1.0], [2.0]]])
        >>> pointkernels.compat.pytorch3d.knn_gather(x, torch.tensor([[[1, 0]]])).flatten()
        tensor([2., 1.])
    """
    if not isinstance(idx, Tensor) or idx.dim() != 3:
        raise ValueError(f"idx must have shape (N, L, K), got {_shape(idx)}")
    if lengths is not None:
        lengths = _checks.sizes_as_int64(lengths, "lengths", (x.shape[0],), x, "x")
        idx = idx.masked_fill(torch.arange(idx.shape[2], device=idx.device) >= lengths[:, None, None], -1)
    if isinstance(x, Tensor) and not x.is_floating_point() and x.dim() == 3:
        # Integers beyond 2^53 would not survive as floating numbers; they have no gradient either.
        cloud = torch.arange(x.shape[0], device=x.device)[:, None, None]
        return torch.where((idx >= 0)[..., None], x[cloud, idx.clamp(min=0)], 0)
    return gather_neighbors(x, idx)


def ball_query(
    p1: Tensor,
    p2: Tensor,
    lengths1: Tensor | None = None,
    lengths2: Tensor | None = None,
    K: int = 500,  # noqa: N803
    radius: float = 0.2,
    return_nn: bool = True,
    skip_points_outside_cube: bool = False,
) -> _KNN:
    """The first K points of p2, in index order, strictly within a radius of each point of p1.

    Args:
        p1: (N, P1, D) queries.
        p2: (N, P2, D) points.
        lengths1: (N,) number of points of each cloud of p1, or None for P1.
        lengths2: (N,) likewise for p2.
        K: most neighbours of a query.
        radius: at least 0.
        return_nn: also return the neighbours themselves.
        skip_points_outside_cube: ignored; in PyTorch3D it changes the speed only.

    Returns:
        The named tuple (dists, idx, knn): squared distances, 0 past the neighbours found; indices, -1 there;
        neighbours, zeros there, or None. Differentiable any number of times in p1 and p2.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: wrong shapes, devices or lengths, K below 1, a negative radius.

    Example:
        >>> p = torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> pointkernels.compat.pytorch3d.ball_query(p, p, K=2, radius=1.5).idx
        tensor([[[ 0,  1],
                 [ 0,  1],
                 [ 2, -1]]])
    """
    dists, idx = _ball_query(p2, radius, K, query=p1, lengths=lengths2, query_lengths=lengths1, return_distance=True)
    neighbors = gather_neighbors(p2, idx) if return_nn else None
    return _KNN(dists.masked_fill(idx < 0, 0.0), idx, neighbors)


def sample_farthest_points(
    points: Tensor,
    lengths: Tensor | None = None,
    K: int | list[int] | Tensor = 50,  # noqa: N803
    random_start_point: bool = False,
) -> tuple[Tensor, Tensor]:
    """Farthest point sampling, with a number of samples for each cloud if wanted.

    Args:
        points: (N, P, D).
        lengths: (N,) number of points of each cloud, or None for P.
        K: number of samples: one for all clouds, or a list or (N,) tensor.
        random_start_point: start at a random point (of torch's generator) rather than at the first.

    Returns:
        Points (N, max K, D), zeros past a cloud's samples, differentiable any number of times; and their indices (N,
        max K), -1 there.

    Raises:
        TypeError: points that are not floating, or another kind of K.
        ValueError: wrong shapes, devices or lengths, K below 1.

    Example:
        >>> points = torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> pointkernels.compat.pytorch3d.sample_farthest_points(points, K=2)[1]
        tensor([[0, 2]])
    """
    _checks.check_floating(points, "points", "(N, P, D)")
    batch, count, _ = points.shape
    counts: Tensor | None = None
    most: Any
    if isinstance(K, (list, tuple)):
        most, counts = max(K, default=1), torch.tensor(K, dtype=torch.int64, device=points.device)
    elif isinstance(K, Tensor) and K.dim() > 0:
        most, counts = int(K.max()) if K.numel() > 0 else 1, K.to(torch.int64)
    else:
        most = K
    most = _checks.at_least_one(most, "K")
    if counts is not None:
        _checks.check_integers(counts, "K", (batch,), points, "points")
    if lengths is not None and isinstance(lengths, Tensor):
        lengths = lengths.to(torch.int64)
    if count == 0:
        idx = torch.full((batch, most), -1, dtype=torch.int64, device=points.device)
    else:
        idx = farthest_point_sampling(
            points, min(most, count), start="random" if random_start_point else 0, lengths=lengths
        )
        idx = F.pad(idx, (0, most - idx.shape[1]), value=-1)
    if counts is not None:
        idx = idx.masked_fill(torch.arange(most, device=idx.device) >= counts[:, None], -1)
    return gather_neighbors(points, idx[:, :, None]).squeeze(2), idx


def chamfer_distance(
    x: Any,
    y: Any,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    x_normals: Tensor | None = None,
    y_normals: Tensor | None = None,
    weights: Tensor | None = None,
    batch_reduction: str | None = "mean",
    point_reduction: str | None = "mean",
    norm: int = 2,
    single_directional: bool = False,
    abs_cosine: bool = True,
) -> tuple[Any, Any]:
    """Chamfer distance between two batches of clouds, and between their normals.

    Args:
        x: (N, P1, D), or an object with PyTorch3D's Pointclouds methods, whose lengths and normals are then taken.
        y: (N, P2, D), likewise.
        x_lengths: (N,) number of points of each cloud of x, or None for P1.
        y_lengths: (N,) likewise for y.
        x_normals: (N, P1, D), or None.
        y_normals: (N, P2, D), or None.
        weights: (N,) weight of each cloud, not negative; all zeros give zero.
        batch_reduction: "mean" (over the weights, if there are), "sum" or None.
        point_reduction: "mean", "sum", "max" (without normals), or None (with batch_reduction None) for the values of
            all points.
        norm: 2 for squared distances, 1 for sums of absolute differences.
        single_directional: only from x to y.
        abs_cosine: count opposite normals as equal.

    Returns:
        The distance, and that of the normals (1 - cosine) or None: scalars, or (N,) without batch reduction. Without
        point reduction, pairs (N, P1) and (N, P2), or only the first if single_directional. Differentiable any number
        of times.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: wrong shapes, devices or lengths, another reduction or norm, negative weights.

    Example:
        >>> x, y = torch.tensor([[[0.0], [4.0]]]), torch.tensor([[[1.0]]])
        >>> pointkernels.compat.pytorch3d.chamfer_distance(x, y)
        (tensor(6.), None)
    """
    if batch_reduction not in ("mean", "sum", None):
        raise ValueError(f'batch_reduction must be "mean", "sum" or None, got {batch_reduction!r}')
    if point_reduction not in ("mean", "sum", "max", None):
        raise ValueError(f'point_reduction must be "mean", "sum", "max" or None, got {point_reduction!r}')
    if point_reduction is None and batch_reduction is not None:
        raise ValueError(f"batch_reduction must be None when point_reduction is None, got {batch_reduction!r}")
    if hasattr(x, "points_padded"):
        x, x_lengths, x_normals = x.points_padded(), x.num_points_per_cloud(), x.normals_padded()
    if hasattr(y, "points_padded"):
        y, y_lengths, y_normals = y.points_padded(), y.num_points_per_cloud(), y.normals_padded()
    has_normals = x_normals is not None and y_normals is not None
    if has_normals and point_reduction == "max":
        raise ValueError('point_reduction must not be "max" with normals, got normals')
    if weights is not None:
        if weights.shape != x.shape[:1]:
            raise ValueError(f"weights must have shape ({x.shape[0]},), got {tuple(weights.shape)}")
        _checks.check_range(weights, "weights", 0, torch.inf, "not be negative")  # type: ignore[arg-type]

    def one_way(
        a: Tensor, b: Tensor, a_lengths: Tensor | None, b_lengths: Tensor | None, a_normals: Any, b_normals: Any
    ) -> tuple[Tensor, Tensor | None]:
        nearest = knn_points(a, b, a_lengths, b_lengths, norm=norm, K=1)
        normals = None
        if has_normals:
            near = knn_gather(b_normals, nearest.idx, b_lengths)[:, :, 0]
            cosine = F.cosine_similarity(a_normals, near, dim=2, eps=1e-6)
            normals = 1 - (cosine.abs() if abs_cosine else cosine)
            if a_lengths is not None:
                padding = torch.arange(a.shape[1], device=a.device) >= a_lengths[:, None]
                normals = normals.masked_fill(padding, 0.0)
            normals = _reduce(normals, a_lengths, weights, batch_reduction, point_reduction)
        return _reduce(nearest.dists[:, :, 0], a_lengths, weights, batch_reduction, point_reduction), normals

    there, normals_there = one_way(x, y, x_lengths, y_lengths, x_normals, y_normals)
    if single_directional:
        return there, normals_there
    back, normals_back = one_way(y, x, y_lengths, x_lengths, y_normals, x_normals)
    if point_reduction is None:
        return (there, back), ((normals_there, normals_back) if has_normals else None)
    if point_reduction == "max":
        return torch.maximum(there, back), None
    return there + back, (normals_there + normals_back if normals_there is not None else None)  # type: ignore[operator]


def _reduce(
    values: Tensor,
    lengths: Tensor | None,
    weights: Tensor | None,
    batch_reduction: str | None,
    point_reduction: str | None,
) -> Tensor:
    """Values (N, P), zeros past the lengths, reduced over the points and the batch."""
    if weights is not None:
        values = values * weights[:, None]
    if point_reduction is None:
        return values
    if point_reduction == "max" and values.shape[1] > 0:
        values = values.amax(dim=1)
    elif point_reduction == "mean":
        size = max(values.shape[1], 1) if lengths is None else lengths.clamp(min=1)
        values = values.sum(dim=1) / size
    else:
        values = values.sum(dim=1)
    if batch_reduction is None:
        return values
    total = values.sum()
    if batch_reduction == "sum":
        return total
    if weights is None:
        return total / max(values.shape[0], 1)
    weight = weights.sum()
    return total / torch.where(weight > 0, weight, 1.0)


def _nearest_in_l2(
    p1: Tensor, p2: Tensor, lengths1: Tensor | None, lengths2: Tensor | None, k: int
) -> tuple[Tensor, Tensor]:
    return knn(p2, k, query=p1, lengths=lengths2, query_lengths=lengths1, return_distance=True)


def _nearest_in_l1(
    p1: Tensor, p2: Tensor, lengths1: Tensor | None, lengths2: Tensor | None, k: int
) -> tuple[Tensor, Tensor]:
    """By (sum of absolute differences, index)."""
    knn(p2[:, :0], k, query=p1[:, :0])  # the checks of every search
    k = _checks.at_least_one(k, "k")
    queries = p1.shape[1]
    dtype = torch.promote_types(p1.dtype, torch.float32)
    p1, p2 = p1.to(dtype), p2.to(dtype)
    nearest = nearest_in_l1(p1, p2, lengths2, k)
    if lengths2 is not None:
        nearest = nearest.masked_fill(torch.arange(k, device=p1.device) >= lengths2[:, None, None], -1)
    if lengths1 is not None:
        nearest = nearest.masked_fill((torch.arange(queries, device=p1.device) >= lengths1[:, None])[..., None], -1)
    difference = p1[:, :, None] - gather_neighbors(p2, nearest)
    dists = difference.abs().unbind(dim=3)
    return torch.where(nearest < 0, torch.inf, sum(dists[1:], dists[0])), nearest


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
