"""BatchNorm's running statistics, moved towards those of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels import _transforms
from pointkernels._registration import fake_kernel

__all__ = ["count_batch", "update_running_statistics"]

# Devices with an operator that does it all.
_IN_ONE_CALL = frozenset({"cpu"})


def count_batch(momentum: float | None, training: bool, num_batches_tracked: Tensor | None) -> float | Tensor:
    """Counts a batch in training, as BatchNorm does, and returns its weight in the running statistics.

    Args:
        momentum: of BatchNorm; None stands for the average of all batches.
        training: whether the batch counts.
        num_batches_tracked: () int64, changed in place; None where batches are not counted.
    """
    if training and num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None:
            # No number: a GPU would have to be waited for, and no CUDA graph could hold it.
            return num_batches_tracked.double().reciprocal()
    return 0.0 if momentum is None else momentum


@torch.no_grad()
def update_running_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    moved: Tensor,
    var: Tensor,
    edges: Tensor,
    momentum: float | Tensor,
) -> None:
    """As BatchNorm does in training, in place; not at all where the batch has no edges.

    Args:
        running_mean: (C,).
        running_var: (C,), unbiased.
        mean: (C,) of the batch, less `moved`.
        moved: (C,).
        var: (C,) of the batch, biased.
        edges: () float64, how many the statistics were taken over.
        momentum: weight of the batch; a tensor () is never waited for on a GPU.
    """
    if _transforms.active():
        statistics, mapped = zip(
            *map(_transforms.innermost, (running_mean, running_var, mean, moved, var, edges)), strict=True
        )
        if any(mapped):
            raise RuntimeError(
                "running statistics must not be updated under torch.vmap, whose samples share them; give None"
            )
        running_mean, running_var, mean, moved, var, edges = statistics
    plain = all(running.dtype == mean.dtype and running.is_contiguous() for running in (running_mean, running_var))
    if plain and mean.device.type in _IN_ONE_CALL and not torch.compiler.is_compiling():
        # One call instead of ten: with cold caches each takes longer than the arithmetic of all.
        torch.ops.pointkernels._update_running_statistics.default(
            running_mean, running_var, mean, moved, var, edges, float(momentum)
        )
        torch.autograd.graph.increment_version((running_mean, running_var))
        return
    unbiased = var * (edges / (edges - 1).clamp(min=1)).to(var.dtype)
    for running, batch in ((running_mean, mean + moved), (running_var, unbiased)):
        weight = momentum.to(running.dtype) if isinstance(momentum, Tensor) else momentum
        target = running + weight * (batch.to(running.dtype) - running)
        running.copy_(torch.where(edges > 0, target, running))


@fake_kernel("pointkernels::_update_running_statistics")
def _fake(*_: Tensor | float) -> None:
    pass
