"""EdgeConv on packed clouds, in the place of torch_geometric's `EdgeConv` and `DynamicEdgeConv` with a one-layer MLP.

torch_geometric runs its MLP on a row [x_i, x_j - x_i] for every edge; these modules run the fused operator, which forms
no edges. They do not need torch_geometric, and work in its `Sequential`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels.ops.edge_conv import edge_conv
from pointkernels.ops.knn import from_first_row, knn

_Layer = TypeVar("_Layer", bound="_OneLayerEdgeConv")


class _OneLayerEdgeConv(nn.Module):
    """max over j of act(norm(weight [x_i, x_j - x_i] + bias)), norm a BatchNorm over all edges or nothing."""

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
        batch_norm: bool = True,
        bias: bool = True,
        negative_slope: float = 0.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
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
            wanted = batch_norm if name.startswith("bn_") else bias and not batch_norm
            self.register_parameter(name, nn.Parameter(torch.empty(out_channels, **options)) if wanted else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(out_channels, **options) if batch_norm else None)
        count = torch.zeros((), dtype=torch.int64, device=device)
        self.register_buffer("num_batches_tracked", count if batch_norm else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as Linear and BatchNorm1d do."""
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

    def convolve(self, x: Tensor, neighbors: Tensor) -> Tensor:
        """The layer on rows (N, C) with neighbour lists (N, K), -1 for none."""
        own, difference = self.weight.chunk(2, dim=1)
        weight = torch.cat([difference, own], dim=1)  # the operator's order is [x_j - x_i, x_i]
        if not self.batch_norm:
            # Statistics of 0 and 1 make BatchNorm add the bias and nothing else.
            one, zero = torch.ones_like(self.weight[:, 0]), torch.zeros_like(self.weight[:, 0])
            bias = zero if self.bias is None else self.bias
            options: dict[str, Any] = {"training": False, "eps": 0.0, "negative_slope": self.negative_slope}
            return edge_conv(x[None], neighbors[None], weight, one, bias, zero, one, **options)[0]
        momentum = self.momentum
        if self.training:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        output = edge_conv(
            x[None],
            neighbors[None],
            weight,
            self.bn_weight,
            self.bn_bias,
            self.running_mean,
            self.running_var,
            training=self.training,
            momentum=0.0 if momentum is None else momentum,
            eps=self.eps,
            negative_slope=self.negative_slope,
        )
        return output[0]

    def extra_repr(self) -> str:
        """The arguments in short."""
        norm = "" if self.batch_norm else ", batch_norm=False"
        return f"{self.in_channels}, {self.out_channels}{norm}, negative_slope={self.negative_slope}"

    def _load_mlp(self, mlp: nn.Module) -> None:
        weight, bias, norm, _ = _one_layer(mlp)
        with torch.no_grad():
            self.weight.copy_(weight)
            if norm is None:
                if self.bias is not None and bias is not None:
                    self.bias.copy_(bias)
                return
            self.bn_weight.copy_(norm.weight)
            self.bn_bias.copy_(norm.bias)
            assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
            assert norm.num_batches_tracked is not None
            # The bias moves the mean, and nothing else.
            self.running_mean.copy_(norm.running_mean if bias is None else norm.running_mean - bias)
            self.running_var.copy_(norm.running_var)
            self.num_batches_tracked.copy_(norm.num_batches_tracked)
        self.train(norm.training)

    @classmethod
    def _twin(cls: type[_Layer], mlp: nn.Module, **more: Any) -> _Layer:
        weight, bias, norm, negative_slope = _one_layer(mlp)
        if norm is not None:
            more = {**more, "eps": norm.eps, "momentum": norm.momentum}
        layer = cls(
            weight.shape[1] // 2,
            weight.shape[0],
            batch_norm=norm is not None,
            bias=bias is not None,
            negative_slope=negative_slope,
            device=weight.device,
            dtype=weight.dtype,
            **more,
        )
        layer._load_mlp(mlp)
        return layer


class DynamicEdgeConv(_OneLayerEdgeConv):
    """One EdgeConv layer over the kNN graph of its input, on packed clouds.

    Takes the place of torch_geometric's `DynamicEdgeConv(Sequential(Linear(2 C, C'), BatchNorm1d(C'), ReLU()), k)`,
    with or without the BatchNorm and its activation, aggregated by maximum. Neighbours include the point itself; ties
    go to the lower index, where torch_geometric leaves them open. For an MLP of two layers see
    `TwoLayerDynamicEdgeConv`.

    Args:
        in_channels: C.
        out_channels: C'.
        k: number of neighbours.
        batch_norm: whether there is a BatchNorm over all edges.
        bias: whether there is a bias; only without BatchNorm, which has its own.
        negative_slope: of the activation below zero: 0 is ReLU, 1 is none, others are LeakyReLU.
        eps: added to BatchNorm's variance.
        momentum: weight of a batch in BatchNorm's running statistics; None for their cumulative average.
        device: where the parameters live.
        dtype: of the parameters.

    Example:
        >>> layer = pointkernels.nn.DynamicEdgeConv(3, 64, k=20)
        >>> layer(torch.randn(500, 3), torch.arange(500) // 100).shape
        torch.Size([500, 64])
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.k = k

    def forward(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: (N, C) float16, bfloat16, float32 or float64.
            batch: (N,) int64, sorted: the cloud of each row; None for one cloud.

        Returns:
            (N, C') in the dtype of x.

        Raises:
            TypeError: x that is not floating, batch that is not int64.
            ValueError: wrong shapes or devices, k below 1, a batch vector that is not sorted.
        """
        return self.convolve(x, _packed_knn(x.detach(), self.k, batch))

    def extra_repr(self) -> str:
        """The arguments in short."""
        return f"{super().extra_repr()}, k={self.k}"

    @classmethod
    def from_mlp(cls, mlp: nn.Module, k: int) -> DynamicEdgeConv:
        """The fused twin of torch_geometric's `DynamicEdgeConv(mlp, k)`, with copies of the weights.

        Args:
            mlp: Linear, and BatchNorm1d, ReLU or LeakyReLU, or without one or both of these; in a nn.Sequential, or a
                torch_geometric MLP of one layer.
            k: number of neighbours.

        Raises:
            ValueError: another MLP.
        """
        return cls._twin(mlp, k=k)


class GraphEdgeConv(_OneLayerEdgeConv):
    """One EdgeConv layer over a given graph, on packed clouds.

    Takes the place of torch_geometric's `EdgeConv(Sequential(Linear(2 C, C'), BatchNorm1d(C'), ReLU()))`, with or
    without the BatchNorm and its activation, aggregated by maximum. Arguments as in `DynamicEdgeConv`, without k.

    Example:
        >>> layer = pointkernels.nn.GraphEdgeConv(3, 64)
        >>> layer(torch.randn(4, 3), torch.tensor([[1, 2, 3], [0, 0, 2]])).shape
        torch.Size([4, 64])
    """

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: (N, C) float16, bfloat16, float32 or float64.
            edge_index: (2, E) int64: sources j above targets i.

        Returns:
            (N, C') in the dtype of x; zeros for a row that is no target.

        Raises:
            TypeError: x that is not floating, edge_index that is not int64.
            ValueError: wrong shapes or devices, rows out of range.
        """
        return self.convolve(x, _neighbor_lists(edge_index, x.shape[0]))

    @classmethod
    def from_mlp(cls, mlp: nn.Module) -> GraphEdgeConv:
        """The fused twin of torch_geometric's `EdgeConv(mlp)`, with copies of the weights; see `DynamicEdgeConv`."""
        return cls._twin(mlp)


def _packed_knn(x: Tensor, k: int, batch: Tensor | None) -> Tensor:
    """(N, k): the nearest rows of the same cloud, -1 where it has fewer than k."""
    rows = x.shape[0]
    if batch is None:
        return knn(x[None], k)[0]
    _checks.check_floating(x, "x", "(N, C)")
    _checks.check_at_least_one(k, "k")
    _checks.check_integers(batch, "batch", (rows,), x, "x")
    if batch.device.type == "cpu" and not torch.compiler.is_compiling() and bool((batch[1:] < batch[:-1]).any()):
        raise ValueError("batch must be sorted, got other values")
    # Numbered from 0 without gaps, clouds are at most as many as rows: no value is looked at, no GPU waited for.
    cloud = F.pad((batch[1:] != batch[:-1]).cumsum(dim=0), (1, 0)) if rows > 0 else batch
    first = torch.searchsorted(cloud, torch.arange(rows + 1, device=x.device))
    extents = torch.stack([first[:-1], first[1:] - first[:-1]], dim=1)
    compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    _, neighbors = torch.ops.pointkernels.knn(compute.contiguous(), extents, None, None, rows, k, True)
    return from_first_row(neighbors, extents, extents, rows, rows)


def _neighbor_lists(edge_index: Tensor, rows: int) -> Tensor:
    """The sources of each target as lists (N, largest in-degree), -1 at their ends."""
    if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.int64:
        what = getattr(edge_index, "dtype", type(edge_index).__name__)
        raise TypeError(f"edge_index must be an int64 tensor, got {what}")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must have shape (2, E), got {tuple(edge_index.shape)}")
    _checks.check_range(edge_index, "edge_index", 0, rows - 1, f"lie in [0, {rows})")
    source, target = edge_index
    order = target.argsort(stable=True)
    source, target = source[order], target[order]
    degree = torch.zeros(rows, dtype=torch.int64, device=target.device).index_add(0, target, torch.ones_like(target))
    first = degree.cumsum(dim=0) - degree
    width = max(int(degree.max()), 1) if rows > 0 else 1
    lists = torch.full((rows, width), -1, dtype=torch.int64, device=target.device)
    return lists.index_put((target, torch.arange(len(target), device=target.device) - first[target]), source)


class _OneLayer(NamedTuple):
    """What a one-layer MLP is made of."""

    weight: Tensor  # (C', 2 C)
    bias: Tensor | None
    norm: nn.BatchNorm1d | None
    negative_slope: float


def _one_layer(mlp: nn.Module) -> _OneLayer:
    parts = _parts(mlp)
    rest = list(parts[1:])
    norm = rest.pop(0) if rest and isinstance(rest[0], nn.BatchNorm1d) else None
    activation = rest.pop(0) if rest and isinstance(rest[0], (nn.ReLU, nn.LeakyReLU)) else None
    slope = 1.0 if activation is None else float(getattr(activation, "negative_slope", 0.0))
    # torch_geometric has a Linear of its own, of the same name and with the same parameters.
    weight = getattr(parts[0], "weight", None) if parts and type(parts[0]).__name__ == "Linear" else None
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.shape[1] % 2 or rest or not slope >= 0:
        raise ValueError(f"mlp must be Linear of 2 C inputs, then BatchNorm1d and ReLU or LeakyReLU or less, got {mlp}")
    if norm is not None and not (norm.affine and norm.track_running_stats):
        raise ValueError(f"the BatchNorm of mlp must be affine and track statistics, got {norm}")
    return _OneLayer(weight, parts[0].bias, norm, slope)  # type: ignore[arg-type]


def _parts(mlp: Any) -> list[nn.Module]:
    """The modules of an MLP in the order in which they run."""
    if all(hasattr(mlp, name) for name in ("lins", "norms", "act", "plain_last")):  # torch_geometric's MLP
        parts: list[nn.Module] = []
        for n, linear in enumerate(mlp.lins):
            plain = mlp.plain_last and n == len(mlp.lins) - 1
            norms = [] if plain else [getattr(mlp.norms[n], "module", mlp.norms[n])]
            acts = [] if plain or mlp.act is None else [mlp.act]
            dropout = [nn.Dropout(mlp.dropout[n])] if mlp.dropout[n] > 0 else []
            parts += [linear, *(acts + norms if mlp.act_first else norms + acts), *dropout]
    else:
        parts = list(mlp) if isinstance(mlp, nn.Sequential) else [mlp]
    return [part for part in parts if not isinstance(part, nn.Identity)]
