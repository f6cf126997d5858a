"""Which statistics the BatchNorm inside a fused layer takes, where the layer itself holds all that it needs.

Such a layer has a child `norm` without parameters, buffers and calls: a BatchNorm1d to all that go through a model's
modules. `torch.nn.SyncBatchNorm.convert_sync_batchnorm` exchanges it, and `norm.eval()` freezes the statistics, as in
the model that the layer stands for.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from pointkernels.ops.synchronized import synchronizing_group

__all__ = ["norm_of_kind", "statistics_of", "synchronized_like"]

_Module = TypeVar("_Module", bound=nn.Module)


def norm_of_kind(channels: int, eps: float, momentum: float | None) -> nn.BatchNorm1d:
    """The child `norm` of a layer."""
    return nn.BatchNorm1d(channels, eps, momentum, affine=False, track_running_stats=False)


def statistics_of(layer: nn.Module) -> tuple[bool, Any]:
    """Whether the layer normalises by the statistics of the batch, and over which processes; None is this one alone.

    Raises:
        TypeError: its `norm` has been exchanged for something else than a SyncBatchNorm.
    """
    norm = layer._modules.get("norm")
    if norm is None:  # of a module that was stored before there was one
        return layer.training, None
    if type(norm) not in (nn.BatchNorm1d, nn.SyncBatchNorm):
        raise TypeError(f"norm of {type(layer).__name__} must be a BatchNorm1d or SyncBatchNorm, got {norm}")
    training = layer.training and norm.training
    return training, synchronizing_group(norm, training)


def synchronized_like(module: _Module, norm: nn.Module | None) -> _Module:
    """The module, with SyncBatchNorm of the same processes in it where `norm` is one."""
    if not isinstance(norm, nn.SyncBatchNorm):
        return module
    converted: _Module = nn.SyncBatchNorm.convert_sync_batchnorm(module, norm.process_group)  # type: ignore[no-untyped-call]
    return converted
