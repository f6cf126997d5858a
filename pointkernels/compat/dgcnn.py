"""`knn` and `get_graph_feature` as in DGCNN and its many descendants, channels first, and a way to fuse their models.

Change `from model import knn, get_graph_feature` to `from pointkernels.compat.dgcnn import knn, get_graph_feature`:
same arguments, shapes and values; exact, with ties to the lower index; any device. And one line makes an existing
network fast, weights kept:

    model = pointkernels.compat.dgcnn.fuse_edge_convs(model)
"""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import Tensor, nn

from pointkernels import _checks
from pointkernels.compat._edge_features import EdgeConvBlock, EdgeFeatures, nearest
from pointkernels.compat._fusible import why_not_fusible
from pointkernels.compat._graph_calls import calls_in, original_of, why_not_the_same, with_lazy_calls

__all__ = ["fuse_edge_convs", "fused_edge_convs", "get_graph_feature", "knn", "unfuse_edge_convs"]

_Model = TypeVar("_Model", bound=nn.Module)


def knn(x: Tensor, k: int) -> Tensor:
    """The k nearest points of each point, itself included.

    Args:
        x: (B, C, N) features, channels first.
        k: number of neighbours.

    Returns:
        (B, N, k) int64, nearest first.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: x has not three dimensions, or k is not in [1, N].

    Example:
        >>> pointkernels.compat.dgcnn.knn(torch.randn(2, 3, 100), k=20).shape
        torch.Size([2, 100, 20])
    """
    _check_channels_first(x, "(B, C, N)", x.dim() == 3 if isinstance(x, Tensor) else False)
    return nearest(x.transpose(1, 2), k)


def get_graph_feature(x: Tensor, k: int = 20, idx: Tensor | None = None) -> Tensor:
    """The edge features [x_j - x_i, x_i] of the kNN graph.

    Their size is the reason for `fuse_edge_convs` and `pointkernels.nn.EdgeConv`, which never form them.

    Args:
        x: (B, C, N, ...) features, channels first; further dimensions are folded into the channels.
        k: number of neighbours.
        idx: (B, N, k) int64 neighbours, or None for the kNN graph of x.

    Returns:
        (B, 2 C, N, k), differentiable in x.

    Raises:
        TypeError: x is not a floating tensor, idx not int64.
        ValueError: x has fewer than three dimensions, k is not in [1, N], idx has another shape or is out of range.

    Example:
        >>> pointkernels.compat.dgcnn.get_graph_feature(torch.randn(2, 3, 100), k=20).shape
        torch.Size([2, 6, 100, 20])
    """
    _check_channels_first(x, "(B, C, N, ...)", x.dim() >= 3 if isinstance(x, Tensor) else False)
    return EdgeFeatures(x, k, idx).tensor()


def fuse_edge_convs(model: _Model, *, graph_feature: str = "get_graph_feature") -> _Model:
    """Let the EdgeConv layers of an existing network run fused, in place: same weights, state dict and values.

    A layer is written `x = get_graph_feature(x, k)`, `x = self.conv(x)`, `x.max(dim=-1)[0]`, where `self.conv` is a
    `nn.Sequential` of Conv2d (1x1, no bias), BatchNorm2d or SyncBatchNorm, and LeakyReLU or ReLU; or with two such
    convolutions, as for part and semantic segmentation. Two things are exchanged: the class of each such Sequential
    becomes `EdgeConvBlock` (the modules in it stay), and that of the modules whose methods call `get_graph_feature`, or
    `util.get_graph_feature`, becomes a subclass in which it forms no edge tensor until somebody needs it. The latter
    happens only if the function that is there, tried on a random cloud, gives what `get_graph_feature` of this module
    gives. No other model changes, and `unfuse_edge_convs` undoes it.

    Training and evaluation mode, running statistics, momentum, eps, slopes and gradients are those of the original. A
    SyncBatchNorm, made before or after, takes the statistics of all processes, forward and backward, on a CPU, too.
    Each block is asked at every call: where the forward does not follow the pattern, or parts have been exchanged for
    others or have hooks, it runs as it did, and a warning says so once. Hooks for all modules
    (`torch.nn.modules.module.register_module_forward_hook`) see a block that runs fused, but not its parts.

    Args:
        model: changed in place.
        graph_feature: the name under which the model's code calls get_graph_feature.

    Returns:
        The model. `fused_edge_convs(model)` names what was exchanged; a warning tells why, if it is nothing, and which
        blocks nearly fit.

    Raises:
        TypeError: model is not a nn.Module.

    Example:
        >>> model = pointkernels.compat.dgcnn.fuse_edge_convs(model)  # doctest: +SKIP
        >>> pointkernels.compat.dgcnn.fused_edge_convs(model)  # doctest: +SKIP
        ['conv1', 'conv2', 'conv3', 'conv4']
    """
    _check_model(model)
    kinds = {type(module) for module in model.modules() if original_of(module) is None}
    callers = {kind: calls for kind in kinds if (calls := calls_in(kind, graph_feature)).methods}
    if not callers and all(original_of(module) is None for module in model.modules()):
        warnings.warn(
            f"pointkernels: nothing was fused, because no forward in {type(model).__name__} calls {graph_feature}",
            stacklevel=2,
        )
        return model
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for holder in (holder for calls in callers.values() for holder in calls.holders):
        function = holder[graph_feature]
        reason = "" if function is get_graph_feature else why_not_the_same(function, device)
        if reason:
            warnings.warn(
                f"pointkernels: nothing was fused, because {graph_feature} of {holder.get('__name__')} {reason}; "
                "import get_graph_feature from pointkernels.compat.dgcnn if that is what the model needs",
                stacklevel=2,
            )
            return model
    blocks = 0
    for name, module in model.named_modules():
        if type(module) is not nn.Sequential or len(module) == 0 or not isinstance(module[0], nn.Conv2d):
            continue
        reason = why_not_fusible(module)
        if reason:
            warnings.warn(f"pointkernels: {name} was left as it is, because {reason}", stacklevel=2)
            continue
        module.__class__ = EdgeConvBlock  # keeps its identity, hooks, names and place in every container
        blocks += 1
    if blocks == 0 and not any(isinstance(module, EdgeConvBlock) for module in model.modules()):
        warnings.warn(
            f"pointkernels: nothing was fused, because {type(model).__name__} has no nn.Sequential of Conv2d, "
            "BatchNorm2d and LeakyReLU or ReLU",
            stacklevel=2,
        )
        return model
    for module in model.modules():
        if type(module) in callers:
            module.__class__ = with_lazy_calls(type(module), graph_feature, callers[type(module)])
    return model


def fused_edge_convs(model: nn.Module) -> list[str]:
    """The names of the blocks that `fuse_edge_convs` prepared and that run fused.

    Not among them are blocks whose parts have been exchanged, hooked or changed so that the block cannot run fused, and
    those that ran unfused at the last call, for whichever reason; one that then runs fused is among them again. What
    happens inside of torch.compile is not seen.

    Raises:
        TypeError: model is not a nn.Module.
    """
    _check_model(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, EdgeConvBlock)
        and not module.__dict__.get("_ran_unfused", False)
        and not why_not_fusible(module)
    ]


def unfuse_edge_convs(model: _Model) -> _Model:
    """Undo `fuse_edge_convs`, in place: every module gets the class back that it had. Weights and hooks stay.

    Returns:
        The model.

    Raises:
        TypeError: model is not a nn.Module.

    Example:
        >>> model = pointkernels.compat.dgcnn.unfuse_edge_convs(model)  # doctest: +SKIP
        >>> pointkernels.compat.dgcnn.fused_edge_convs(model)  # doctest: +SKIP
        []
    """
    _check_model(model)
    for module in model.modules():
        if isinstance(module, EdgeConvBlock):
            module.__class__ = nn.Sequential  # type: ignore[assignment]
            for name in ("_ran_unfused", "_said"):
                module.__dict__.pop(name, None)
        original = original_of(module)
        if original is not None:
            module.__class__ = original
    return model


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def _check_channels_first(x: Tensor, shape: str, fits: bool) -> None:
    _checks.check_dense(x, "x", shape)
    if not fits:
        raise ValueError(f"x must have shape {shape}, got {tuple(x.shape)}")
