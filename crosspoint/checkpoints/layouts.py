"""How other projects name the weights of the networks that we have too.

Every conversion is a change of names, and of trailing dimensions of size 1 where a linear map was written as a
convolution; so each layout is a list of pairs of names, good for both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from crosspoint.models.classifier import Classifier
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.image import ImageEncoder
from crosspoint.models.pointnet import PointNet
from crosspoint.models.segmentation import PartSegmenter, SemanticSegmenter

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Name(NamedTuple):
    """One weight."""

    ours: str
    """Its name in our module."""
    theirs: str
    """Its name in the other project."""
    ones: int = 0
    """Trailing dimensions of size 1 that it has there."""
    alias: str | None = None
    """A second name of the same weight there: DGCNN registers each BatchNorm twice."""


def layout_of(module: nn.Module, prefix: str = "") -> list[Name]:
    """The names of a module's weights in the project that defined it.

    Args:
        module: A module of `crosspoint.models`.
        prefix: What stands before our names.

    Returns:
        A name for every weight: DGCNN's and the segmentation networks' as in dgcnn.pytorch and CrossPoint, PointNet's
        classifier's as in learning3d, the image encoder's as in CrossPoint (torchvision's after "resnet.").

    Raises:
        ValueError: If no other project has such a module.
    """
    names = list(_names(module))
    own = set(module.state_dict())
    kept = [name._replace(ours=prefix + name.ours) for name in names if name.ours in own]
    unnamed = own - {name.ours for name in names}
    if unnamed:
        raise ValueError(
            f"a network must be one that another project has, got {type(module).__name__} with {min(unnamed)}"
        )
    return kept


def head_layout(head: nn.Module, prefix: str = "") -> list[Name]:
    """The names of a projection head's weights in CrossPoint."""
    own = head.state_dict()
    names = [*_linear("layers.0", "inv_head.0"), *_norm("layers.1", "inv_head.1"), *_linear("layers.3", "inv_head.3")]
    return [name._replace(ours=prefix + name.ours) for name in names if name.ours in own]


def _names(module: nn.Module) -> Iterator[Name]:
    if isinstance(module, DGCNN):
        yield from _dgcnn("", len(module.layers))
    elif isinstance(module, DGCNNSeg):
        yield from _dgcnn_seg("")
    elif isinstance(module, PartSegmenter):
        yield from _dgcnn_seg("encoder.")
        for ours, number in (("category", 7), ("fuse", 8), ("head.1", 9), ("head.3", 10)):
            yield from _pointwise(ours, number)
        yield Name("head.4.weight", "conv11.weight", 1)
    elif isinstance(module, SemanticSegmenter):
        yield from _dgcnn_seg("encoder.")
        yield from _pointwise("fuse", 7)
        yield from _pointwise("head.0", 8)
        yield Name("head.2.weight", "conv9.weight", 1)
    elif isinstance(module, Classifier) and isinstance(module.encoder, PointNet):
        for number in range(len(module.encoder.layers)):
            yield from _linear(f"encoder.layers.{number}.linear", f"feature_model.conv{number + 1}", ones=1)
            yield from _norm(f"encoder.layers.{number}.norm", f"feature_model.bn{number + 1}")
        yield from _classification(first_norm=1)
    elif isinstance(module, Classifier) and isinstance(module.encoder, DGCNN):
        layers = len(module.encoder.layers)
        yield from _dgcnn("encoder.", layers)
        yield from _classification(first_norm=layers + 2)
    elif isinstance(module, ImageEncoder):
        yield from _resnet(module)


def _linear(ours: str, theirs: str, *, ones: int = 0) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"{theirs}.weight", ones)
    yield Name(f"{ours}.bias", f"{theirs}.bias")


def _norm(ours: str, theirs: str, alias: str | None = None) -> Iterator[Name]:
    for part in _NORM:
        yield Name(f"{ours}.{part}", f"{theirs}.{part}", 0, None if alias is None else f"{alias}.{part}")


def _edge_conv(ours: str, number: int) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"conv{number}.0.weight", 2)
    for part in _NORM:
        own = f"bn_{part}" if part in ("weight", "bias") else part
        yield Name(f"{ours}.{own}", f"conv{number}.1.{part}", 0, f"bn{number}.{part}")


def _two_layer_edge_conv(ours: str, number: int, prefix: str = "") -> Iterator[Name]:
    for layer, at in (("first", number), ("second", number + 1)):
        yield Name(f"{ours}.{layer}.weight", f"{prefix}conv{at}.0.weight", 2)
        yield from _norm(f"{ours}.{layer}_norm", f"{prefix}conv{at}.1", f"{prefix}bn{at}")


def _pointwise(ours: str, number: int) -> Iterator[Name]:
    yield Name(f"{ours}.linear.weight", f"conv{number}.0.weight", 1)
    yield from _norm(f"{ours}.norm", f"conv{number}.1", f"bn{number}")


def _dgcnn(prefix: str, layers: int) -> Iterator[Name]:
    for number in range(layers):
        yield from _edge_conv(f"{prefix}layers.{number}", number + 1)
    yield Name(f"{prefix}embed.weight", f"conv{layers + 1}.0.weight", 1)
    yield from _norm(f"{prefix}norm", f"conv{layers + 1}.1", f"bn{layers + 1}")


def _dgcnn_seg(prefix: str) -> Iterator[Name]:
    net, transform = "transform_net.", f"{prefix}transform."
    yield from _two_layer_edge_conv(f"{transform}edges", 1, net)
    yield Name(f"{transform}embed.linear.weight", f"{net}conv3.0.weight", 1)
    # No alias: their T-Net gives the name bn3 to two layers, and the second keeps it.
    yield from _norm(f"{transform}embed.norm", f"{net}conv3.1")
    for number in range(2):
        yield Name(f"{transform}regression.layers.{number}.linear.weight", f"{net}linear{number + 1}.weight")
        yield from _norm(f"{transform}regression.layers.{number}.norm", f"{net}bn{number + 3}")
    yield from _linear(f"{transform}regression.matrix", f"{net}transform")
    yield from _two_layer_edge_conv(f"{prefix}first", 1)
    yield from _two_layer_edge_conv(f"{prefix}second", 3)
    yield from _edge_conv(f"{prefix}third", 5)
    yield from _pointwise(f"{prefix}embed", 6)


def _classification(*, first_norm: int) -> Iterator[Name]:
    for number in range(2):
        yield from _linear(f"head.layers.{2 * number}.linear", f"linear{number + 1}")
        yield from _norm(f"head.layers.{2 * number}.norm", f"bn{first_norm + number}")
    yield from _linear("head.layers.4", "linear3")


def _resnet(module: ImageEncoder) -> Iterator[Name]:
    ours, theirs = "resnet.embedder.embedder", "resnet."
    yield Name(f"{ours}.convolution.weight", f"{theirs}conv1.weight")
    yield from _norm(f"{ours}.normalization", f"{theirs}bn1")
    own = module.state_dict()
    for name in own:
        if not name.endswith(".convolution.weight") or ".stages." not in name:
            continue
        block = name.removesuffix(".convolution.weight")
        words = block.split(".")  # resnet encoder stages S layers L shortcut, or ... L layer J
        at = f"{theirs}layer{int(words[3]) + 1}.{words[5]}"
        if words[6] == "shortcut":
            conv, norm = f"{at}.downsample.0", f"{at}.downsample.1"
        else:
            conv, norm = f"{at}.conv{int(words[7]) + 1}", f"{at}.bn{int(words[7]) + 1}"
        yield Name(name, f"{conv}.weight")
        yield from _norm(f"{block}.normalization", norm)
