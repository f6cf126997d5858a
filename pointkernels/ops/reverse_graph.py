"""The reverse of a neighbour graph: for every row, the edges that point at it. Used by the backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pointkernels._registration import fake_kernel, integers_only
from pointkernels._transforms import one_by_one, rows

__all__ = ["reverse_graph"]


def reverse_graph(neighbors: Tensor, query_size: int, cloud_size: int, rows: int) -> tuple[Tensor, Tensor]:
    """Sort the edges of neighbour lists by the row they point at, ascending within a row.

    Args:
        neighbors: (Q, K) int64, counted within the cloud, -1 for none.
        query_size: query rows of one cloud.
        cloud_size: rows of one cloud.
        rows: number of rows pointed at.

    Returns:
        Offsets (rows + 1,) and edges (Q * K,), both int64: the edges at row j are edges[offsets[j]:offsets[j + 1]],
        each the flat position i * K + s in `neighbors`.
    """
    offsets, edges = torch.ops.pointkernels._reverse_graph(neighbors, query_size, cloud_size, rows)
    return offsets, edges


@fake_kernel("pointkernels::_reverse_graph")
def _fake(neighbors: Tensor, query_size: int, cloud_size: int, rows: int) -> tuple[Tensor, Tensor]:
    return neighbors.new_empty(rows + 1), neighbors.new_empty(neighbors.shape[0] * neighbors.shape[1])


def _mapped(
    samples: int, dims: Sequence[int | None], neighbors: Tensor, query_size: int, cloud_size: int, count: int
) -> tuple[Any, Any]:
    lists = rows(neighbors, dims[0], samples)
    queries, number = lists.shape[0] // samples, lists.numel() // samples
    if number == 0 or count == 0 or queries % query_size or queries // query_size * cloud_size != count:
        call = one_by_one(torch.ops.pointkernels._reverse_graph.default)
        return call(samples, dims, neighbors, query_size, cloud_size, count)
    offsets, edges = reverse_graph(lists, query_size, cloud_size, samples * count)
    windows = offsets.unfold(0, count + 1, count)
    first = windows[:, :1]
    place = (first + torch.arange(number, device=edges.device)).clamp(max=samples * number - 1)
    own = edges[place] - torch.arange(samples, device=edges.device)[:, None] * number
    return (windows - first, own), (0, 0)


integers_only("pointkernels::_reverse_graph", _mapped)
