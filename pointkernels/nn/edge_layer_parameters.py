"""What layers that make one fused call have in common: their parameters, statistics and that call."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pointkernels.nn.batch_norm_kind import norm_of_kind, statistics_of
from pointkernels.ops.edge_conv import edge_conv
from pointkernels.ops.running_statistics import count_batch

__all__ = ["EdgeLayerParameters"]


class EdgeLayerParameters(nn.Module):
    """A linear map of edge features, with or without a bias, and the BatchNorm after it, or none.

    The child `norm` says over which processes BatchNorm takes its statistics, and holds nothing itself.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None  # None with BatchNorm, which cancels it; all below are None without
    bn_weight: nn.Parameter
    bn_bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        batch_norm: bool,
        bias: bool,
        negative_slope: float,
        eps: float,
        momentum: float | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.batch_norm = batch_norm
        self.negative_slope = negative_slope
        self.eps = eps
        self.momentum = momentum
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(out_channels, 2 * in_channels, **options))
        for name in ("bias", "bn_weight", "bn_bias"):
            exists = batch_norm if name.startswith("bn_") else bias and not batch_norm
            self.register_parameter(name, nn.Parameter(torch.empty(out_channels, **options)) if exists else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(out_channels, **options) if batch_norm else None)
        count = torch.zeros((), dtype=torch.int64, device=device)
        self.register_buffer("num_batches_tracked", count if batch_norm else None)
        if batch_norm:
            self.norm = norm_of_kind(out_channels, eps, momentum)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as the usual convolution or linear map and its BatchNorm do."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(2 * self.in_channels)
            nn.init.uniform_(self.bias, -bound, bound)
        if not self.batch_norm:
            return
        nn.init.ones_(self.bn_weight)
        nn.init.zeros_(self.bn_bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def normalised(self, features: Tensor, neighbors: Tensor, weight: Tensor) -> Tensor:
        """The fused call (B, N, C) -> (B, N, C') of a layer with BatchNorm; `weight` is for [x_j - x_i, x_i]."""
        training, group = statistics_of(self)
        return edge_conv(
            features,
            neighbors,
            weight,
            self.bn_weight,
            self.bn_bias,
            self.running_mean,
            self.running_var,
            training=training,
            momentum=count_batch(self.momentum, training, self.num_batches_tracked),
            eps=self.eps,
            negative_slope=self.negative_slope,
            process_group=group,
        )
