"""What an operator needs to know of a convolution's weight and of the torch module that normalises after it."""

from __future__ import annotations

from torch import Tensor, nn

from pointkernels.ops.running_statistics import count_batch
from pointkernels.ops.synchronized import synchronizing_group
from pointkernels.reference import EdgeLayer

__all__ = ["edge_layer"]


def edge_layer(
    weight: Tensor,
    norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm,
    negative_slope: float,
    *,
    counts: bool = True,
) -> EdgeLayer:
    """A linear map and its BatchNorm for one call, which does with the BatchNorm what its own call does.

    Args:
        weight: (C', C).
        norm: over C' channels, with weight and bias; it counts a batch in training. A SyncBatchNorm takes the
            statistics of all its processes.
        negative_slope: of the activation that follows.
        counts: False for a batch that has been counted: it leaves the running statistics as they are.

    Raises:
        TypeError: another kind of norm.
    """
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or not norm.affine:
        raise TypeError(f"the norm of a layer must be a BatchNorm or SyncBatchNorm with weight and bias, got {norm}")
    updates = counts and norm.training and norm.track_running_stats
    kept = updates or not norm.training
    training = norm.training or norm.running_mean is None
    return EdgeLayer(
        weight,
        norm.weight,
        norm.bias,
        norm.running_mean if kept else None,
        norm.running_var if kept else None,
        training=training,
        momentum=count_batch(norm.momentum, updates, norm.num_batches_tracked),
        eps=norm.eps,
        negative_slope=negative_slope,
        process_group=synchronizing_group(norm, norm.training),
    )
