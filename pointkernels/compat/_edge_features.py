"""Edge features that are formed only when something other than a fused block looks at them.

DGCNN code is written as `x = get_graph_feature(x, k); x = conv(x); x = x.max(dim=-1)[0]`, with one block of convolution
or two. Each step hands over an object that remembers what to compute: `EdgeFeatures`, then `EdgeActivations`, whose
maximum over the neighbours is the fused operator. Any other use (an attribute, an operator, a torch function) forms the
tensor and goes on with it, so code that does not follow the pattern gets the values that it would have got, only not
faster. A block is asked at every call whether its parts are still such that the operator does what they do.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels.compat._fusible import has_hooks, why_not_fusible
from pointkernels.compat._lazy_tensor import LazyTensor
from pointkernels.ops.edge_conv import edge_conv
from pointkernels.ops.edge_conv_two_layer import edge_conv_two_layer
from pointkernels.ops.edge_layer import edge_layer
from pointkernels.ops.gather import gather_neighbors
from pointkernels.ops.knn import neighbors_of_features
from pointkernels.ops.running_statistics import count_batch
from pointkernels.ops.synchronized import batch_norm, synchronizing_group
from pointkernels.reference import EdgeLayer


def nearest(points: Tensor, k: int) -> Tensor:
    """The kNN graph of (B, N, C); like `topk`, it wants k points."""
    k = _checks.at_least_one(k, "k")
    if k > points.shape[1]:
        raise ValueError(f"k must be at most the number of points, {points.shape[1]}, got {k}")
    return neighbors_of_features(points, k)


class EdgeFeatures(LazyTensor):
    """The edge features [x_j - x_i, x_i] of a neighbour graph, (B, 2 C, N, k)."""

    def __init__(self, x: Tensor, k: int, idx: Tensor | None) -> None:
        if x.dim() > 3:
            x = x.reshape(x.shape[0], -1, x.shape[2])
        self.features = x.transpose(1, 2)  # (B, N, C)
        self.neighbors = nearest(self.features, k) if idx is None else idx
        self._tensor: Tensor | None = None

    def tensor(self) -> Tensor:
        """(B, 2 C, N, k), differentiable in x."""
        if self._tensor is None:
            x_j = gather_neighbors(self.features, self.neighbors)
            x_i = self.features[:, :, None].expand_as(x_j)
            self._tensor = torch.cat([x_j - x_i, x_i], dim=3).permute(0, 3, 1, 2).contiguous()
        return self._tensor


class EdgeConvBlock(nn.Sequential):
    """The `nn.Sequential` of Conv2d, BatchNorm2d and LeakyReLU or ReLU that was there, now able to fuse.

    Same modules under the same names, so the state dict, the optimiser and what else refers to them stay as they are.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """With backward hooks, which are for tensors, an input that is one."""
        if (self._backward_hooks or self._backward_pre_hooks) and args and isinstance(args[0], LazyTensor):
            args = (args[0].quietly(), *args[1:])
        output = super().__call__(*args, **kwargs)
        if isinstance(output, Tensor) and not torch.compiler.is_compiling():
            output._after_unfused = True  # type: ignore[attr-defined]
        return output

    def forward(self, input: Tensor | LazyTensor) -> Any:  # noqa: A002  (the name that nn.Sequential gives it)
        """Lazy activations for lazy edge features and what a first block gives; else a tensor, as `nn.Sequential`."""
        of_first = isinstance(input, EdgeActivations) and isinstance(input.inputs, EdgeFeatures)
        if isinstance(input, EdgeFeatures) or of_first:
            reason = why_not_fusible(self, _features_of(input))
            if not reason:
                return EdgeActivations(self, input)  # type: ignore[arg-type]
            _say(self, f"{reason}, so it ran unfused")
        elif self._backward_hooks or self._backward_pre_hooks:
            _say(self, "it has a backward hook, so it ran unfused")
        elif getattr(input, "_after_unfused", False):
            _say(self, "")  # the block before has said why
        else:
            what = "not the result of get_graph_feature, or of one such block on it"
            again = "; a model that lost that function, as by being stored, gets it back by fuse_edge_convs"
            _say(self, f"its input is {what}, so it ran as before, unfused{again}")
        return run(self, input.quietly() if isinstance(input, LazyTensor) else input)

    def layer(self, *, counts: bool) -> EdgeLayer:
        """The block for an operator; whether this batch counts for the running statistics."""
        conv, norm, activation = self
        slope = activation.negative_slope if isinstance(activation, nn.LeakyReLU) else 0.0
        return edge_layer(cast("nn.Conv2d", conv).weight.flatten(1), cast("nn.BatchNorm2d", norm), slope, counts=counts)


def run(block: nn.Sequential, edges: Tensor) -> Tensor:
    """What `nn.Sequential` does; but a SyncBatchNorm of several processes runs on a CPU, too."""
    for part in block:
        group = synchronizing_group(part, part.training)
        if group is None or edges.device.type != "cpu" or has_hooks(part):
            edges = part(edges)
            continue
        assert isinstance(part, nn.SyncBatchNorm)
        tracked = part.num_batches_tracked if part.track_running_stats else None
        momentum = None if tracked is None else count_batch(part.momentum, True, tracked)
        edges = batch_norm(edges, part, momentum, group)
    return edges


def _features_of(edges: EdgeFeatures | EdgeActivations | Any) -> Tensor:
    """What the edge features are made of."""
    return cast("Tensor", edges.features if isinstance(edges, EdgeFeatures) else edges.inputs.features)


class EdgeActivations(LazyTensor):
    """What a block gives for every edge, (B, C', N, k); its maximum over the last dimension never forms it."""

    has_maximum = True

    def __init__(self, block: EdgeConvBlock, inputs: EdgeFeatures | EdgeActivations) -> None:
        self.block = block
        self.inputs = inputs
        self._tensor: Tensor | None = None
        self._maximum: Tensor | None = None
        self._counted = False  # in the running statistics

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """As `Tensor.max`: fused over the last dimension."""
        if dim not in (-1, 3) or self._tensor is not None:
            return self.tensor().max() if dim is None else self.tensor().max(dim, keepdim)
        return Maximum(self, keepdim)

    def amax(self, dim: Any = (), keepdim: bool = False) -> Tensor:
        """As `Tensor.amax`: fused over the last dimension."""
        if dim not in (-1, 3, (-1,), (3,), [-1], [3]) or self._tensor is not None:
            return self.tensor().amax(dim, keepdim)
        return Maximum(self, keepdim).values

    def maximum_over_neighbors(self) -> Tensor:
        """(B, C', N): the fused layer. Updates the running statistics of its BatchNorms, once."""
        if self._maximum is None:
            if isinstance(self.inputs, EdgeActivations):
                edges = cast("EdgeFeatures", self.inputs.inputs)
                first, second = self.inputs.layer(), self.layer()
                output = edge_conv_two_layer(edges.features, edges.neighbors, first, second)
                _ran(self.inputs.block, fused=True)
            else:
                output = edge_conv(self.inputs.features, self.inputs.neighbors, **self.layer()._asdict())
            _ran(self.block, fused=True)
            self._maximum = output.transpose(1, 2).contiguous()
        return self._maximum

    def layer(self) -> EdgeLayer:
        """The block, for an operator that updates its running statistics, unless this batch has been counted."""
        counts, self._counted = not self._counted, True
        return self.block.layer(counts=counts)

    def tensor(self) -> Tensor:
        """(B, C', N, k), by the modules of the block."""
        if self._tensor is None:
            _say(self.block, "its output is used otherwise than by a maximum over the neighbours, so it ran unfused")
        return self.quietly()

    def quietly(self) -> Tensor:
        """The same, when it has been said why."""
        if self._tensor is None:
            _ran(self.block, fused=False)
            edges = self.inputs.quietly()
            if self._counted:
                self._tensor = _again(self.block, edges)
            else:
                self._tensor = run(self.block, edges)
                self._counted = True
        return self._tensor


def _again(block: EdgeConvBlock, edges: Tensor) -> Tensor:
    """What the block gives for a batch that its running statistics have counted."""
    conv, norm, activation = block
    assert isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm))
    group = synchronizing_group(norm, norm.training)
    convolved = conv(edges)
    if group is not None:
        return cast("Tensor", activation(batch_norm(convolved, cast("nn.SyncBatchNorm", norm), None, group)))
    statistics = (None, None) if norm.training else (norm.running_mean, norm.running_var)
    training = norm.training or norm.running_mean is None
    normalised = F.batch_norm(convolved, *statistics, norm.weight, norm.bias, training, 0.0, norm.eps)
    return cast("Tensor", activation(normalised))


class Maximum:
    """The pair (values, indices) that `Tensor.max(dim)` returns; the indices are found only when they are used."""

    def __init__(self, activations: EdgeActivations, keepdim: bool) -> None:
        self._activations = activations
        self._keepdim = keepdim

    @property
    def values(self) -> Tensor:
        """(B, C', N), or (B, C', N, 1) with keepdim."""
        values = self._activations.maximum_over_neighbors()
        return values.unsqueeze(-1) if self._keepdim else values

    @property
    def indices(self) -> LazyTensor:
        """Place of the largest activation among the neighbours, as a tensor that is formed when it is used."""
        return _MaximumIndices(self._activations, self._keepdim)

    def __getitem__(self, item: int) -> Any:
        return (self.values, self.indices)[item]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.values, self.indices))

    def __len__(self) -> int:
        return 2


class _MaximumIndices(LazyTensor):
    def __init__(self, activations: EdgeActivations, keepdim: bool) -> None:
        self._activations = activations
        self._keepdim = keepdim

    def tensor(self) -> Tensor:
        return self._activations.tensor().max(-1, self._keepdim).indices


def _ran(block: EdgeConvBlock, *, fused: bool) -> None:
    """Remember how a block ran last; a compiler would have to guard what it remembers."""
    if not torch.compiler.is_compiling() and block.__dict__.get("_ran_unfused", False) == fused:
        block._ran_unfused = not fused  # type: ignore[assignment]


def _say(block: EdgeConvBlock, what: str) -> None:
    """Warn that a block runs unfused, once for each reason; not at all for the reason ""."""
    _ran(block, fused=False)
    if torch.compiler.is_compiling() or not what or what in block.__dict__.setdefault("_said", set()):
        return
    block.__dict__["_said"].add(what)
    conv = next(iter(block), None)
    channels = f"({conv.in_channels}, {conv.out_channels})" if isinstance(conv, nn.Conv2d) else ""
    kind = type(conv).__name__
    warnings.warn(
        f"pointkernels: the block of {kind}{channels} was prepared by fuse_edge_convs, but {what}", stacklevel=3
    )
