"""Every way to points within a radius that is compared: in plain PyTorch, and by the libraries that are installed.

Each builder returns a contender whose result is (B, M, k) indices, -1 for none. Libraries that return all points within
the radius are cut to the first k afterwards, outside of the timing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from harness.contenders import Contender, LeftOut, Settings, ours, require, require_device
from torch import Tensor

import pointkernels

MEMORY_LIMIT = 2 << 30  # bytes; ways that need more are not tried


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        points: (B, N, 3).
        queries: (B, M, 3).
        radius: a neighbour is nearer.
        k: neighbours wanted of each query, at most.
        nearest: the nearest of them rather than the first in index order.
    """

    points: Tensor
    queries: Tensor
    radius: float
    k: int
    nearest: bool


def pointkernels_ball_query(search: Search, settings: Settings) -> list[Contender]:
    """The operator of this project."""
    call = partial(
        pointkernels.ball_query, search.points, search.radius, search.k, query=search.queries, nearest=search.nearest
    )
    return ours(call, settings)


def _within(search: Search) -> Tensor:
    """Index lists by a matrix of distances: the lowest k of indices, or of distances, that are within the radius."""
    count = search.points.shape[1]
    distances = torch.cdist(search.queries, search.points)
    if search.nearest:
        found, indices = distances.topk(min(search.k, count), largest=False)
        return indices.where(found < search.radius, -1)
    indices = torch.arange(count, device=distances.device).where(distances < search.radius, count)
    lowest = indices.topk(min(search.k, count), largest=False).values
    return lowest.where(lowest < count, -1)


def torch_cdist(search: Search, settings: Settings) -> Contender:
    """What PointNet++ projects without a compiled kernel do. cdist multiplies matrices, hence cancellation."""
    size = 16 * search.queries.shape[0] * search.queries.shape[1] * search.points.shape[1]
    if size > MEMORY_LIMIT:
        raise LeftOut(f"its matrices of all pairs would take {size / 1e9:.1f} GB")
    return Contender("torch cdist+topk", partial(_within, search), "torch", exact=False)


def _by_cloud(
    name: str, package: str, search: Search, settings: Settings, query: Callable[[Any, Any], Any],
    result: Callable[[Any], Tensor],
) -> Contender:  # fmt: skip
    """A contender of a library that takes one numpy cloud at a time."""
    require_device(settings, "cpu")
    clouds = [(cloud.numpy(), asked.numpy()) for cloud, asked in zip(search.points, search.queries, strict=True)]
    return Contender(
        name, lambda: [query(cloud, asked) for cloud, asked in clouds], package,
        result=lambda found: torch.stack([result(one) for one in found]),
    )  # fmt: skip


def _table(lists: Any, k: int) -> Tensor:
    """(M, k): the lowest k of each list of indices, and -1."""
    table = np.full((len(lists), k), -1, dtype=np.int64)
    for row, found in zip(table, lists, strict=True):
        lowest = np.sort(np.asarray(found, dtype=np.int64))[:k]
        row[: len(lowest)] = lowest
    return torch.from_numpy(table)


def _missing(indices: Any, count: int) -> Tensor:
    """Trees say N where there are no more."""
    found = torch.from_numpy(np.asarray(indices).astype(np.int64))
    return found.where(found < count, -1)


def scipy_tree(search: Search, settings: Settings) -> Contender:
    """A k-d tree of scipy: all points within the radius, or the nearest with a bound."""
    spatial = require("scipy.spatial")
    if search.nearest:
        return _by_cloud(
            "scipy cKDTree query", "scipy", search, settings,
            lambda cloud, asked: spatial.cKDTree(cloud).query(
                asked, search.k, distance_upper_bound=search.radius, workers=settings.threads)[1],
            partial(_missing, count=search.points.shape[1]),
        )  # fmt: skip
    return _by_cloud(
        "scipy cKDTree query_ball_point (all)", "scipy", search, settings,
        lambda cloud, asked: spatial.cKDTree(cloud).query_ball_point(asked, search.radius, workers=settings.threads),
        partial(_table, k=search.k),
    )  # fmt: skip


def sklearn_tree(search: Search, settings: Settings) -> Contender:
    """KDTree of scikit-learn: all points within the radius."""
    neighbors = require("sklearn.neighbors")
    if search.nearest:
        raise LeftOut("finds all within the radius, not the nearest of them")
    return _by_cloud(
        "scikit-learn KDTree query_radius (all)", "scikit-learn", search, settings,
        lambda cloud, asked: neighbors.KDTree(cloud).query_radius(asked, search.radius),
        partial(_table, k=search.k),
    )  # fmt: skip


def pykdtree(search: Search, settings: Settings) -> Contender:
    """pykdtree: the nearest with a bound; its threads follow OpenMP's."""
    kdtree = require("pykdtree.kdtree")
    if not search.nearest:
        raise LeftOut("finds the nearest only")
    return _by_cloud(
        "pykdtree", "pykdtree", search, settings,
        lambda cloud, asked: kdtree.KDTree(cloud).query(asked, k=search.k, distance_upper_bound=search.radius)[1],
        partial(_missing, count=search.points.shape[1]),
    )  # fmt: skip


def torch_cluster(search: Search, settings: Settings) -> Contender:
    """Radius of torch_cluster, which takes batch vectors. On a CPU it takes any k of more, so it is asked for all."""
    module = require("torch_cluster")
    if search.nearest:
        raise LeftOut("finds those that come first")
    batch, count, _ = search.points.shape
    queries = search.queries.shape[1]
    points, asked = search.points.flatten(0, 1), search.queries.flatten(0, 1)
    clouds = torch.arange(batch, device=points.device)
    of_points, of_queries = clouds.repeat_interleave(count), clouds.repeat_interleave(queries)
    limit = count if settings.device == "cpu" else search.k

    def table(edges: Tensor) -> Tensor:
        query, found = edges
        order = (query * points.shape[0] + found).argsort()
        query, found = query[order], found[order] - query[order] // queries * count
        place = torch.arange(len(query)) - torch.searchsorted(query, query)
        kept = place < search.k
        result = torch.full((len(asked), search.k), -1)
        result[query[kept], place[kept]] = found[kept]
        return result.view(batch, queries, search.k)

    return Contender(
        f"torch_cluster radius{' (all)' if settings.device == 'cpu' else ''}",
        lambda: module.radius(points, asked, search.radius, of_points, of_queries, max_num_neighbors=limit),
        "torch-cluster",
        result=table,
    )


def pytorch3d(search: Search, settings: Settings) -> Contender:
    """ball_query of PyTorch3D."""
    operators = require("pytorch3d.ops")
    if search.nearest:
        raise LeftOut("finds the first only")
    call = partial(
        operators.ball_query, search.queries, search.points, K=search.k, radius=search.radius, return_nn=False
    )
    return Contender("pytorch3d ball_query", call, "pytorch3d", result=lambda found: found.idx)


BUILDERS: dict[str, Callable[[Search, Settings], Contender | list[Contender]]] = {
    "pointkernels": pointkernels_ball_query,
    "torch cdist+topk": torch_cdist,
    "scipy cKDTree": scipy_tree,
    "scikit-learn KDTree": sklearn_tree,
    "pykdtree": pykdtree,
    "torch_cluster": torch_cluster,
    "pytorch3d": pytorch3d,
}
