"""Layers over graphs of packed clouds, in the place of torch_geometric's `EdgeConv` and `DynamicEdgeConv`.

A layer says what it does with rows and their neighbour lists; what is here says where the lists come from.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels.ops.knn import _knn, from_first_row, neighbors_of_features

__all__ = ["OnGivenGraph", "OnKnnGraph", "PackedLayer"]

_OnKnn = TypeVar("_OnKnn", bound="OnKnnGraph")
_OnGiven = TypeVar("_OnGiven", bound="OnGivenGraph")
_Layer = TypeVar("_Layer", bound="PackedLayer")


class PackedLayer(nn.Module):
    """A layer on rows and their neighbour lists, with a twin among torch_geometric's MLPs."""

    in_channels: int

    @abstractmethod
    def convolve(self, x: Tensor, neighbors: Tensor) -> Tensor:
        """The layer on rows (N, C) with neighbour lists (N, K), -1 for none: (N, C')."""

    @classmethod
    @abstractmethod
    def twin(cls: type[_Layer], mlp: nn.Module, **more: Any) -> _Layer:
        """The layer that does with edges what the MLP does, with copies of its weights; more arguments as given."""


class OnKnnGraph(PackedLayer):
    """Before a layer among the bases: the layer over the kNN graph of its input."""

    k: int

    def forward(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: (N, C) float16, bfloat16, float32 or float64.
            batch: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.

        Returns:
            (N, C') in the dtype of x.

        Raises:
            TypeError: x that is not floating, batch that is not integer.
            ValueError: wrong shapes or devices, other channels than the layer's, k below 1, a batch vector that is not
                sorted.
        """
        _checks.check_channels(x, "x", "(N, C)", self.in_channels)
        return self.convolve(x, _packed_knn(x.detach(), self.k, batch))

    def extra_repr(self) -> str:
        """The arguments that the parts do not show."""
        return f"{super().extra_repr()}, k={self.k}"

    @classmethod
    def from_mlp(cls: type[_OnKnn], mlp: nn.Module, k: int) -> _OnKnn:
        """The fused twin of torch_geometric's `DynamicEdgeConv(mlp, k)`, with copies of the weights.

        Args:
            mlp: for each layer Linear, and BatchNorm1d, ReLU or LeakyReLU, or without one or both of these; in a
                nn.Sequential, or a torch_geometric MLP.
            k: number of neighbours.

        Raises:
            ValueError: another MLP.
        """
        return cls.twin(mlp, k=k)


class OnGivenGraph(PackedLayer):
    """Before a layer among the bases: the layer over a given graph."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: (N, C) float16, bfloat16, float32 or float64.
            edge_index: (2, E) int64: sources j above targets i.

        Returns:
            (N, C') in the dtype of x; zeros for a row that is no target.

        Raises:
            TypeError: x that is not floating, edge_index that is not int64.
            ValueError: wrong shapes or devices, other channels than the layer's, rows out of range.
        """
        _checks.check_channels(x, "x", "(N, C)", self.in_channels)
        return self.convolve(x, _neighbor_lists(edge_index, x.shape[0]))

    @classmethod
    def from_mlp(cls: type[_OnGiven], mlp: nn.Module) -> _OnGiven:
        """The fused twin of torch_geometric's `EdgeConv(mlp)`, with copies of the weights; see `OnKnnGraph`."""
        return cls.twin(mlp)


def _packed_knn(x: Tensor, k: int, batch: Tensor | None) -> Tensor:
    """(N, k): the nearest rows of the same cloud, -1 where it has fewer than k."""
    rows = x.shape[0]
    if batch is None:
        return neighbors_of_features(x[None], k)[0]
    k = _checks.at_least_one(k, "k")
    batch = _checks.sizes_as_int64(batch, "batch", (rows,), x, "x")
    if batch.device.type == "cpu" and not torch.compiler.is_compiling() and bool((batch[1:] < batch[:-1]).any()):
        raise ValueError("batch must be sorted, got other values")
    # Numbered from 0 without gaps, clouds are at most as many as rows: no value is looked at, no GPU waited for.
    cloud = F.pad((batch[1:] != batch[:-1]).cumsum(dim=0), (1, 0)) if rows > 0 else batch
    first = torch.searchsorted(cloud, torch.arange(rows + 1, device=x.device))
    extents = torch.stack([first[:-1], first[1:] - first[:-1]], dim=1)
    compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    _, neighbors = _knn(compute.contiguous(), extents, None, None, rows, k, True, False)
    return from_first_row(neighbors, extents, extents, rows, rows)


def _neighbor_lists(edge_index: Tensor, rows: int) -> Tensor:
    """The sources of each target as lists (N, largest in-degree), -1 at their ends."""
    if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.int64:
        what = getattr(edge_index, "dtype", type(edge_index).__name__)
        raise TypeError(f"edge_index must be an int64 tensor, got {what}")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must have shape (2, E), got {tuple(edge_index.shape)}")
    _checks.check_range(edge_index, "edge_index", 0, rows - 1, "lie in [0, {})", rows)
    source, target = edge_index
    order = target.argsort(stable=True)
    source, target = source[order], target[order]
    degree = torch.zeros(rows, dtype=torch.int64, device=target.device).index_add(0, target, torch.ones_like(target))
    first = degree.cumsum(dim=0) - degree
    # Not Python's maximum, which a compiler that cannot know the degree would have to decide.
    width = cast(Any, torch).sym_max(degree.max().item(), 1) if rows > 0 else 1
    lists = torch.full((rows, width), -1, dtype=torch.int64, device=target.device)
    return lists.index_put((target, torch.arange(target.shape[0], device=target.device) - first[target]), source)
