"""What torch's own operations around our kernels move, traced on tensors without data."""

from __future__ import annotations

import torch
from cuda_gates.around import Around

from pointkernels.ops import edge_conv
from pointkernels.ops import edge_conv_two_layer_chunks as chunks


def of_edge_conv(batch: int, points: int, k: int, channels: int, outputs: int) -> Around:
    """Around one layer's forward kernels, in training."""
    with torch.device("meta"), Around() as around:
        features, lists = torch.empty(batch, points, channels), torch.empty(batch, points, k, dtype=torch.int64)
        weight, one = torch.empty(outputs, 2 * channels), torch.empty(outputs)
        edge_conv._of_node_products(features, weight, lists, one, one, None, None, 1e-5, 0.2)
    return around


def of_two_layers(batch: int, points: int, k: int, hidden: int, outputs: int) -> Around:
    """Of the two-layer form's forward, which is made of torch's operations but for its products."""
    rows = batch * points
    with torch.device("meta"), Around() as around:
        nodes, lists = torch.empty(rows, 2 * hidden), torch.empty(rows, k, dtype=torch.int64)
        first, second = torch.empty(hidden), torch.empty(outputs)
        layer = (first, first, None, None, 1e-5, 0.2)
        weight = torch.empty(outputs, hidden)
        chunks.forward(nodes, lists, points, *layer, weight, first, second, second, None, None, 1e-5, 0.2)
    return around
