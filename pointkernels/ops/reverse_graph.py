"""The reverse of a neighbour graph: for every row, the edges that point at it. Used by the backward passes."""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels._registration import fake_kernel

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
