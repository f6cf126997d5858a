"""`knn` and `get_graph_feature` as in DGCNN and its many descendants, channels first, and a way to fuse their models.

Change `from model import knn, get_graph_feature` to `from pointkernels.compat.dgcnn import knn, get_graph_feature`:
same arguments, shapes and values; exact, with ties to the lower index; any device. And one line makes an existing
network fast, weights kept:

    model = pointkernels.compat.dgcnn.fuse_edge_convs(model)
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointkernels import _checks
from pointkernels.compat._edge_features import EdgeConvBlock, EdgeFeatures, nearest

__all__ = ["fuse_edge_convs", "fused_edge_convs", "get_graph_feature", "knn"]

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
    `nn.Sequential` of Conv2d (1x1, no bias), BatchNorm2d and LeakyReLU or ReLU; or with two such convolutions, as for
    part and semantic segmentation. Two things are exchanged: the class of
    each such Sequential becomes `EdgeConvBlock` (the modules in it stay), and `get_graph_feature`, in the module where
    the model's forward finds it, becomes one that does not form the edge tensor until somebody needs it. The latter
    happens only if the function that is there, tried on a random cloud, gives what `get_graph_feature` of this module
    gives. Where the forward does not follow the pattern at a layer, that layer runs as it did, and a warning says so
    once. Training and evaluation mode, running statistics, momentum, eps, slopes and gradients are those of the
    original.

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
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    callers = [namespace for module in model.modules() if (namespace := _namespace_of(module, graph_feature))]
    if not callers:
        warnings.warn(
            f"pointkernels: nothing was fused, because no forward in {type(model).__name__} calls {graph_feature}",
            stacklevel=2,
        )
        return model
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for namespace in callers:
        reason = _why_not_the_same(namespace[graph_feature], device)
        if reason:
            warnings.warn(
                f"pointkernels: nothing was fused, because {graph_feature} of {namespace.get('__name__')} {reason}; "
                "import get_graph_feature from pointkernels.compat.dgcnn if that is what the model needs",
                stacklevel=2,
            )
            return model
    blocks = 0
    for name, module in model.named_modules():
        if type(module) is not nn.Sequential or len(module) == 0 or not isinstance(module[0], nn.Conv2d):
            continue
        reason = _why_not_fusible(module)
        if reason:
            warnings.warn(f"pointkernels: {name} was left as it is, because {reason}", stacklevel=2)
            continue
        module.__class__ = EdgeConvBlock  # keeps its identity, hooks, names and place in every container
        blocks += 1
    if blocks == 0 and not fused_edge_convs(model):
        warnings.warn(
            f"pointkernels: nothing was fused, because {type(model).__name__} has no nn.Sequential of Conv2d, "
            "BatchNorm2d and LeakyReLU or ReLU",
            stacklevel=2,
        )
        return model
    for namespace in callers:
        if not hasattr(namespace[graph_feature], "_original"):
            namespace[graph_feature] = _lazy(namespace[graph_feature])
    return model


def fused_edge_convs(model: nn.Module) -> list[str]:
    """The names of the blocks that `fuse_edge_convs` prepared."""
    return [name for name, module in model.named_modules() if isinstance(module, EdgeConvBlock)]


def _check_channels_first(x: Tensor, shape: str, fits: bool) -> None:
    _checks.check_dense(x, "x", shape)
    if not fits:
        raise ValueError(f"x must have shape {shape}, got {tuple(x.shape)}")


def _namespace_of(module: nn.Module, graph_feature: str) -> dict[str, Any] | None:
    """The globals in which a module's forward finds get_graph_feature; None if it does not call it."""
    forward = inspect.unwrap(type(module).forward)
    code, namespace = getattr(forward, "__code__", None), getattr(forward, "__globals__", {})
    if code is None or graph_feature not in code.co_names or not callable(namespace.get(graph_feature)):
        return None
    return namespace


def _why_not_the_same(function: Callable[..., Any], device: torch.device) -> str:
    """Compare a graph feature function with ours on a random cloud; "" if they agree."""
    if function is get_graph_feature or hasattr(function, "_original"):
        return ""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 13, generator=generator, dtype=torch.float64).to(device)
    idx = torch.randint(0, 13, (2, 13, 4), generator=generator).to(device)
    try:
        for arguments, expected in (((x, 4), EdgeFeatures(x, 4, None)), ((x, 4, idx), EdgeFeatures(x, 4, idx))):
            found = function(*arguments)
            if not isinstance(found, Tensor) or found.shape != expected.tensor().shape:
                return "does not return (B, 2 C, N, k)"
            if not torch.allclose(found, expected.tensor()):
                return "gives other values than [x_j - x_i, x_i] of the kNN graph"
    except Exception as error:  # whatever a stranger's function may raise
        return f"could not be tried ({type(error).__name__}: {error})"
    return ""


def _lazy(original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, but its edge tensor is formed only when it is needed."""
    parameter = inspect.signature(original).parameters.get("k")
    usual = 20 if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default

    def get_graph_feature(x: Tensor, k: int = usual, idx: Tensor | None = None, *more: Any, **options: Any) -> Any:
        if more or options:  # arguments of a descendant, whose meaning only the original knows
            return original(x, k, idx, *more, **options)
        return EdgeFeatures(x, k, idx)

    get_graph_feature._original = original  # type: ignore[attr-defined]
    return get_graph_feature


def _why_not_fusible(block: nn.Sequential) -> str:
    """What keeps a Sequential that starts with a Conv2d from being fused; "" if nothing does."""
    conv, norm, activation = block if len(block) == 3 else (block[0], None, None)
    assert isinstance(conv, nn.Conv2d)
    if type(norm) is not nn.BatchNorm2d or type(activation) not in (nn.LeakyReLU, nn.ReLU):
        return "it is not Conv2d, BatchNorm2d and LeakyReLU or ReLU"
    plain = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    if type(conv) is not nn.Conv2d or not plain or conv.in_channels % 2:
        return f"its convolution is not a plain 1x1 convolution of 2 C channels: {conv}"
    if conv.bias is not None:
        return "its convolution has a bias"
    if not norm.affine:
        return "its BatchNorm has no weight and bias"
    if isinstance(activation, nn.LeakyReLU) and not activation.negative_slope >= 0:
        return f"its LeakyReLU has the negative slope {activation.negative_slope}"
    if any(module._forward_hooks or module._forward_pre_hooks for module in block):
        return "a module in it has a forward hook, which would not be called"
    return ""
