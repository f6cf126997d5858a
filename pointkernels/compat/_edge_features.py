"""Edge features that are formed only when something other than a fused block looks at them.

DGCNN code is written as `x = get_graph_feature(x, k); x = conv(x); x = x.max(dim=-1)[0]`, with one block of convolution
or two. Each step hands over an object that remembers what to compute: `EdgeFeatures`, then `EdgeActivations`, whose
maximum over the neighbours is the fused operator. Any other use (an attribute, an operator, a torch function) forms the
tensor and goes on with it, so code that does not follow the pattern gets the values that it would have got, only not
faster.

These are plain classes with `__torch_function__`, not subclasses of Tensor: torch.compile traces through them like
through any Python object, and no tensor of the edges' size exists, not even as metadata. They are not Tensors for
`isinstance`, the price of that.
"""

from __future__ import annotations

import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels.ops.edge_conv import edge_conv
from pointkernels.ops.edge_conv_two_layer import edge_conv_two_layer
from pointkernels.ops.gather import gather_neighbors
from pointkernels.ops.knn import knn
from pointkernels.ops.running_statistics import count_batch
from pointkernels.reference import EdgeLayer


class LazyTensor(ABC):
    """Something that becomes a tensor when it is used as one."""

    @abstractmethod
    def tensor(self) -> Tensor:
        """The tensor itself, formed at the first call."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any torch function: with tensors in the place of these objects."""
        kwargs = kwargs or {}
        if function in (torch.max, torch.amax) and args and isinstance(args[0], EdgeActivations):
            return getattr(args[0], function.__name__)(*args[1:], **kwargs)
        return function(*_formed(args), **{name: _formed(value) for name, value in kwargs.items()})

    def __getattr__(self, name: str) -> Any:
        """Any attribute or method of a tensor."""
        if name.startswith("__"):  # protocols that copy and pickle look for; a tensor's are not this object's
            raise AttributeError(name)
        return getattr(self.tensor(), name)

    def __len__(self) -> int:
        return len(self.tensor())

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor())

    def __getitem__(self, key: Any) -> Any:
        return self.tensor()[_formed(key)]

    def __bool__(self) -> bool:
        return bool(self.tensor())

    def __neg__(self) -> Tensor:
        return -self.tensor()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor()!r})"


def _formed(value: Any) -> Any:
    """The same nested arguments with tensors in the place of lazy ones."""
    if isinstance(value, LazyTensor):
        return value.tensor()
    if isinstance(value, (tuple, list)):
        return type(value)(_formed(item) for item in value)
    return value


def _binary(name: str, reflected: bool) -> Callable[[LazyTensor, Any], Any]:
    function = getattr(operator, f"__{name}__")

    def apply(self: LazyTensor, other: Any) -> Any:
        return function(_formed(other), self.tensor()) if reflected else function(self.tensor(), _formed(other))

    return apply


# Python looks up the methods of operators in the class, not through __getattr__.
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(LazyTensor, f"__{_name}__", _binary(_name, reflected=False))
    setattr(LazyTensor, f"__r{_name}__", _binary(_name, reflected=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(LazyTensor, f"__{_name}__", _binary(_name, reflected=False))


def nearest(points: Tensor, k: int) -> Tensor:
    """The kNN graph of (B, N, C); like `topk`, it wants k points."""
    k = _checks.at_least_one(k, "k")
    if k > points.shape[1]:
        raise ValueError(f"k must be at most the number of points, {points.shape[1]}, got {k}")
    return knn(points, k)


class EdgeFeatures(LazyTensor):
    """The edge features [x_j - x_i, x_i] of a neighbour graph, (B, 2 C, N, k)."""

    def __init__(self, x: Tensor, k: int, idx: Tensor | None) -> None:
        self.features = x.reshape(x.shape[0], -1, x.shape[2]).transpose(1, 2)  # (B, N, C)
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

    def forward(self, input: Tensor | LazyTensor) -> Any:  # noqa: A002  (the name that nn.Sequential gives it)
        """Lazy activations for lazy edge features and what a first block gives; for a tensor, as `nn.Sequential`."""
        if isinstance(input, EdgeFeatures) or (
            isinstance(input, EdgeActivations) and isinstance(input.inputs, EdgeFeatures)
        ):
            return EdgeActivations(self, input)
        what = "not the result of get_graph_feature, or of one such block on it"
        _warn_once(self, f"its input is {what}, so it ran as before, unfused")
        return super().forward(_formed(input))  # type: ignore[no-untyped-call]

    def layers(self) -> tuple[nn.Conv2d, nn.BatchNorm2d, float]:
        """The convolution, its BatchNorm and the slope of the activation below zero."""
        conv, norm, activation = self
        slope = activation.negative_slope if isinstance(activation, nn.LeakyReLU) else 0.0
        return cast("nn.Conv2d", conv), cast("nn.BatchNorm2d", norm), slope


class EdgeActivations(LazyTensor):
    """What a block gives for every edge, (B, C', N, k); its maximum over the last dimension never forms it."""

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
            else:
                output = edge_conv(self.inputs.features, self.inputs.neighbors, **self.layer()._asdict())
            self._maximum = output.transpose(1, 2).contiguous()
        return self._maximum

    def layer(self) -> EdgeLayer:
        """The block, for an operator that updates its running statistics, unless this batch has been counted."""
        conv, norm, slope = self.block.layers()
        update = not (self._counted and norm.training)
        momentum = count_batch(norm.momentum, norm.training, norm.num_batches_tracked) if update else 0.0
        self._counted = True
        return EdgeLayer(
            conv.weight.flatten(1),
            norm.weight,
            norm.bias,
            norm.running_mean if update else None,
            norm.running_var if update else None,
            training=norm.training or norm.running_mean is None,
            momentum=momentum,
            eps=norm.eps,
            negative_slope=slope,
        )

    def tensor(self) -> Tensor:
        """(B, C', N, k), by the modules of the block."""
        if self._tensor is None:
            _warn_once(
                self.block, "its output is used otherwise than by a maximum over the neighbours, so it ran unfused"
            )
            edges = self.inputs.tensor()
            if not self._counted:
                self._tensor = cast("Tensor", nn.Sequential.forward(self.block, edges))  # type: ignore[no-untyped-call]
                self._counted = True
            else:
                conv, norm, slope = self.block.layers()
                statistics = (None, None) if norm.training else (norm.running_mean, norm.running_var)
                training = norm.training or norm.running_mean is None
                normalised = F.batch_norm(conv(edges), *statistics, norm.weight, norm.bias, training, 0.0, norm.eps)
                self._tensor = F.leaky_relu(normalised, slope)
        return self._tensor


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


def _warn_once(block: EdgeConvBlock, what: str) -> None:
    if torch.compiler.is_compiling() or getattr(block, "_has_warned", False):
        return
    block._has_warned = True  # type: ignore[assignment]
    conv, _, _ = block.layers()
    warnings.warn(
        f"pointkernels: the block of Conv2d({conv.in_channels}, {conv.out_channels}) was prepared by fuse_edge_convs, "
        f"but {what}",
        stacklevel=3,
    )
