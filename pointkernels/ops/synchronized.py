"""Statistics and sums of BatchNorm over the edges of several processes, as torch.nn.SyncBatchNorm takes them.

Everything that is exchanged is float64 and added in the order of the processes, so all of them have the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from pointkernels.ops.running_statistics import update_running_statistics

__all__ = ["all_statistics", "all_sums", "batch_norm", "synchronizing_group"]


def synchronizing_group(norm: nn.Module | None, training: bool) -> Any:
    """The processes over which a BatchNorm takes its statistics; None where these are this process alone.

    Args:
        norm: anything; only a torch.nn.SyncBatchNorm has other processes.
        training: whether it normalises by the statistics of the batch.
    """
    if not isinstance(norm, nn.SyncBatchNorm) or not training:
        return None
    if not distributed.is_available() or not distributed.is_initialized():
        return None
    group = norm.process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


def all_statistics(count: Tensor, mean: Tensor, var: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and biased variance over all processes from those of each (Chan, Golub, LeVeque 1979).

    Args:
        count: () float64.
        mean: (C,) float64; of a process without edges it may be anything.
        var: (C,) float64, the same.
        group: the processes, or None for this one alone.
    """
    channels = mean.shape[0]
    own = torch.cat([count[None], torch.where(count > 0, torch.cat([mean, var]), 0)])
    every = _from_all(own, group)
    counts, means, variances = every[:, :1], every[:, 1 : 1 + channels], every[:, 1 + channels :]
    total = counts.sum()
    average = (counts * means).sum(dim=0) / total.clamp(min=1)
    squares = (counts * (variances + (means - average).square())).sum(dim=0)
    return total, average, squares / total.clamp(min=1)


def _from_all(message: Tensor, group: Any) -> Tensor:
    """(P, C): the messages (C) of all processes."""
    if group is None:
        return message[None]
    parts = [torch.empty_like(message) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(parts, message, group=group)
    return torch.stack(parts)


def all_sums(*sums: Tensor, group: Any) -> tuple[Tensor, ...]:
    """Sums of all processes, in float64, in one message.

    Args:
        sums: (C,) each.
        group: the processes, or None for this one alone.
    """
    total = torch.cat([part.double() for part in sums])
    return torch.split(_from_all(total, group).sum(dim=0), [len(part) for part in sums])


def batch_norm(x: Tensor, norm: nn.SyncBatchNorm, weight_of_batch: float | Tensor | None, group: Any) -> Tensor:
    """What a SyncBatchNorm in training makes of x on any device; torch's own is for GPUs.

    Args:
        x: (B, C, ...).
        norm: where parameters and running statistics are.
        weight_of_batch: in the running statistics; None leaves them as they are.
        group: the processes.
    """
    shape = (1, -1, *[1] * (x.dim() - 2))
    normalised, count, mean, var = _Normalised.apply(x, norm.eps, group)  # type: ignore[no-untyped-call, unused-ignore]
    if weight_of_batch is not None and norm.running_mean is not None and norm.running_var is not None:
        zero = torch.zeros_like(mean)
        update_running_statistics(norm.running_mean, norm.running_var, mean, zero, var, count, weight_of_batch)
    output: Tensor = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    return output


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) with the statistics of all processes; also their count, mean and variance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, group: Any) -> tuple[Tensor, ...]:
        dims = [dim for dim in range(x.dim()) if dim != 1]
        shape = (1, -1, *[1] * (x.dim() - 2))
        count = torch.tensor(x.numel() // max(x.shape[1], 1), dtype=torch.float64, device=x.device)
        exact = x.double()
        mean = exact.sum(dim=dims) / count
        var = (exact - mean.view(shape)).square().sum(dim=dims) / count
        total, mean, var = all_statistics(count, mean, var, group)
        inverse = torch.rsqrt(var + eps).view(shape)
        output = ((exact - mean.view(shape)) * inverse).to(x.dtype)
        ctx.mark_non_differentiable(total, mean, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output, inverse, total)
        ctx.group, ctx.dims, ctx.shape = group, dims, shape
        return output, total, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, None, None]:
        output, inverse, total = ctx.saved_tensors
        # A process that has no gradient has to take part all the same.
        grad = torch.zeros_like(output) if grad is None else grad
        ones = grad.double().sum(dim=ctx.dims)
        ones, scaled = all_sums(ones, (grad.double() * output).sum(dim=ctx.dims), group=ctx.group)
        dense = (ones.view(ctx.shape) + output * scaled.view(ctx.shape)) / total.clamp(min=1)
        return ((grad - dense) * inverse).to(grad.dtype), None, None
