"""Code that several models share, as projects have it; fusing a model must leave it as it is."""

from __future__ import annotations

import torch
from torch import Tensor


def get_graph_feature(x: Tensor, k: int = 5, idx: Tensor | None = None) -> Tensor:
    """[x_j - x_i, x_i] of the kNN graph."""
    batch_size, num_points = x.size(0), x.size(2)
    points = x.reshape(batch_size, -1, num_points).transpose(2, 1).contiguous()
    if idx is None:
        idx = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False).indices
    first = torch.arange(batch_size, device=x.device).view(-1, 1, 1) * num_points
    neighbors = points.view(batch_size * num_points, -1)[(idx + first).view(-1)].view(batch_size, num_points, k, -1)
    centers = points.unsqueeze(2).expand_as(neighbors)
    return torch.cat((neighbors - centers, centers), dim=3).permute(0, 3, 1, 2).contiguous()


def on_a_gpu(x: Tensor, k: int = 5, idx: Tensor | None = None) -> Tensor:
    """The same in the words of the first DGCNN code."""
    device = torch.device("cuda")
    return get_graph_feature(x, k, idx) + torch.zeros(1, device=device)
