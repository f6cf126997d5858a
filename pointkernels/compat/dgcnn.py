"""`knn` and `get_graph_feature` as in DGCNN and its many descendants, channels first.

Change `from model import knn, get_graph_feature` to `from pointkernels.compat.dgcnn import knn, get_graph_feature`:
same arguments, shapes and values; exact, with ties to the lower index; any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels.ops.knn import knn as _knn


def knn(x: Tensor, k: int) -> Tensor:
    """The k nearest points of each point, itself included.

    Args:
        x: (B, C, N) features, channels first.
        k: number of neighbours.

    Returns:
        (B, N, k) int64, nearest first.

    Example:
        >>> pointkernels.compat.dgcnn.knn(torch.randn(2, 3, 100), k=20).shape
        torch.Size([2, 100, 20])
    """
    return _knn(x.transpose(1, 2), k)


def get_graph_feature(x: Tensor, k: int = 20, idx: Tensor | None = None) -> Tensor:
    """The edge features [x_j - x_i, x_i] of the kNN graph.

    Their size is the reason for `pointkernels.nn.EdgeConv`, which never forms them.

    Args:
        x: (B, C, N, ...) features, channels first; further dimensions are folded into the channels.
        k: number of neighbours.
        idx: (B, N, k) int64 neighbours, or None for the kNN graph of x.

    Returns:
        (B, 2 C, N, k), differentiable in x.

    Example:
        >>> pointkernels.compat.dgcnn.get_graph_feature(torch.randn(2, 3, 100), k=20).shape
        torch.Size([2, 6, 100, 20])
    """
    batch, points = x.shape[0], x.shape[2]
    features = x.reshape(batch, -1, points).transpose(1, 2)
    neighbors = _knn(features, k) if idx is None else idx
    cloud = torch.arange(batch, device=x.device)[:, None, None]
    x_j = features[cloud, neighbors]
    x_i = features[:, :, None].expand_as(x_j)
    return torch.cat([x_j - x_i, x_i], dim=3).permute(0, 3, 1, 2).contiguous()
