"""Recognising, loading and writing the state dicts of other projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from crosspoint.checkpoints.layouts import Name, head_layout, layout_of
from crosspoint.checkpoints.state_files import State, plain_state
from crosspoint.models.classifier import Classifier
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.heads import ProjectionHead
from crosspoint.models.image import ImageEncoder
from crosspoint.models.pointnet import PointNet
from crosspoint.models.segmentation import PartSegmenter, SemanticSegmenter
from crosspoint.models.transfer import Transfer, transfer_weights

_KNOWN = (
    "CrossPoint's DGCNN, dgcnn_seg or ResNet, dgcnn.pytorch's classification, part or semantic segmentation, "
    "learning3d's PointNet, torchvision's ResNet"
)
_RESNET_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
}
_POINTNET_DROPOUT = 0.7


@dataclass(frozen=True)
class LoadReport:
    """What came out of a file."""

    layout: str
    """Whose weights they are."""
    module: nn.Module
    """The network with its weights, in eval mode: an encoder, classifier or segmentation network."""
    head: ProjectionHead | None
    """The projection head, where the file has one."""
    transfer: Transfer
    """What was taken over, by the names in the file; with ``strict``, nothing is missing or mismatched."""

    def __str__(self) -> str:
        parts = type(self.module).__name__ + ("" if self.head is None else " and ProjectionHead")
        return f"{self.layout}: {parts}; {self.transfer}"


def load_official(
    source: str | PathLike[str] | Mapping[str, Any], *, k: int | None = None, strict: bool = True
) -> LoadReport:
    """Loads weights of CrossPoint, dgcnn.pytorch, learning3d or torchvision; whose they are is told by their names.

    Args:
        source: A file of `torch.save`, read without executing code from it, or a state dict.
        k: Neighbours per point, which files do not hold; None for what the project uses (CrossPoint 15, DGCNN 20, part
            segmentation 40).
        strict: Whether weights that are missing or of another shape are an error.

    Returns:
        The network and a report of what was taken over.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, not of a known project, holds nothing that fits, or, if strict, not all.
    """
    state = plain_state(source)
    origin = "the state dict" if isinstance(source, Mapping) else str(source)
    try:
        layout, module = _recognise(state, k)
    except KeyError as error:
        raise ValueError(
            f"weights must be complete enough to tell the network's sizes, got none named {error.args[0]} in {origin}"
        ) from error
    if module is None:
        some = ", ".join(list(state)[:4]) or "nothing"
        raise ValueError(f"weights must be {_KNOWN}; got {origin} with {some}")
    head = _projection_head(state)
    # torchvision's own files have no "resnet." before their names.
    prefix = "resnet." if isinstance(module, ImageEncoder) and "conv1.weight" in state else ""
    transfer = _take(module, head, {prefix + name: value for name, value in state.items()})
    if strict and not transfer.complete:
        raise ValueError(f"{origin} must fill the whole network ({layout}), got {transfer}")
    for part in (module, head):
        if part is not None:
            part.eval()
    return LoadReport(layout, module, head, transfer)


def export_official(module: nn.Module, head: ProjectionHead | None = None) -> dict[str, Tensor]:
    """The weights of a network as the project that defined it saves them; the inverse of `load_official`.

    CrossPoint's dgcnn_seg saves four BatchNorms (bn7 to bn10) that it does not use; they are left out, as its own code
    allows when it loads the file.

    Args:
        module: An encoder, classifier or segmentation network of `crosspoint.models`.
        head: Its projection head, as CrossPoint saves it with an encoder.

    Returns:
        A state dict: copies on the CPU, for `torch.save`.

    Raises:
        ValueError: If no other project has such a network.
    """
    layouts = [(layout_of(module), module.state_dict())]
    if head is not None:
        layouts.append((head_layout(head), head.state_dict()))
    exported: dict[str, Tensor] = {}
    for names, state in layouts:
        for name in names:
            value = state[name.ours].detach().cpu()
            exported[name.theirs] = value.reshape((*value.shape, *[1] * name.ones)).clone()
            if name.alias is not None:
                exported[name.alias] = exported[name.theirs].clone()
    return exported


def _recognise(state: State, k: int | None) -> tuple[str, nn.Module | None]:
    """Whose weights they are, and a network of their sizes."""
    if "feature_model.conv1.weight" in state and state["feature_model.conv1.weight"].dim() == 3:
        classifier = Classifier(
            PointNet(embedding=_rows(state, "feature_model.conv5.weight")),
            _rows(state, "linear3.weight"),
            hidden=(_rows(state, "linear1.weight"), _rows(state, "linear2.weight")),
            dropout=_POINTNET_DROPOUT,
            negative_slope=0.0,
            bias=True,
        )
        return "learning3d's PointNet, classification", classifier
    if "transform_net.conv1.0.weight" in state:
        embedding = _rows(state, "conv6.0.weight")
        if "conv11.weight" not in state:
            return "CrossPoint's dgcnn_seg", DGCNNSeg(k=k or 15, embedding=embedding)
        categories, parts = state["conv7.0.weight"].shape[1], _rows(state, "conv11.weight")
        return "DGCNN, part segmentation", PartSegmenter(categories, parts, k=k or 40, embedding=embedding)
    if "conv9.weight" in state and "conv6.0.weight" in state:
        segmenter = SemanticSegmenter(
            _rows(state, "conv9.weight"),
            in_channels=state["conv1.0.weight"].shape[1] // 2,
            k=k or 20,
            embedding=_rows(state, "conv6.0.weight"),
        )
        return "DGCNN, semantic segmentation", segmenter
    if "conv1.0.weight" in state and state["conv1.0.weight"].dim() == 4:
        return _dgcnn(state, k)
    if "resnet.layer1.0.conv1.weight" in state:
        return "CrossPoint's ResNet", _image_encoder(state, "resnet.")
    if "layer1.0.conv1.weight" in state:
        return "torchvision's ResNet", _image_encoder(state, "")
    return "", None


def _rows(state: State, name: str) -> int:
    return state[name].shape[0]


def _dgcnn(state: State, k: int | None) -> tuple[str, nn.Module]:
    widths: list[int] = []
    while (convolution := state[f"conv{len(widths) + 1}.0.weight"]).dim() == 4:
        widths.append(convolution.shape[0])
    encoder = DGCNN(
        k=k or (20 if "linear3.weight" in state else 15),
        widths=widths,
        embedding=_rows(state, f"conv{len(widths) + 1}.0.weight"),
        in_channels=state["conv1.0.weight"].shape[1] // 2,
    )
    if "linear3.weight" not in state:
        return "CrossPoint's DGCNN", encoder
    hidden = (_rows(state, "linear1.weight"), _rows(state, "linear2.weight"))
    return "DGCNN, classification", Classifier(encoder, _rows(state, "linear3.weight"), hidden=hidden)


def _image_encoder(state: State, prefix: str) -> ImageEncoder:
    blocks = tuple(
        sum(name.startswith(f"{prefix}layer{stage}.") and name.endswith(".conv1.weight") for name in state)
        for stage in range(1, 5)
    )
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state
    if (blocks, bottleneck) not in _RESNET_DEPTHS:
        raise ValueError(f"a ResNet must have depth 18, 34 or 50, got {blocks} blocks in its stages")
    return ImageEncoder(depth=_RESNET_DEPTHS[blocks, bottleneck], width=_rows(state, f"{prefix}conv1.weight"))


def _projection_head(state: State) -> ProjectionHead | None:
    if "inv_head.0.weight" not in state:
        return None
    hidden, incoming = state["inv_head.0.weight"].shape
    return ProjectionHead(incoming, hidden, _rows(state, "inv_head.3.weight"), bias="inv_head.0.bias" in state)


def _take(module: nn.Module, head: ProjectionHead | None, state: State) -> Transfer:
    """Copies what fits into both, and reports by the names in the file."""
    parts = nn.ModuleDict({"module": module} if head is None else {"module": module, "head": head})
    names = layout_of(module, "module.") + ([] if head is None else head_layout(head, "head."))
    transfer = transfer_weights(parts, {name.ours: _value(state, name) for name in names if _present(state, name)})
    theirs = {name.ours: name.theirs for name in names}
    known = {name.theirs for name in names} | {name.alias for name in names}
    return Transfer(
        taken=tuple(theirs[name] for name in transfer.taken),
        missing=tuple(theirs[name] for name in transfer.missing),
        mismatched=tuple(
            " ".join([theirs[entry.split(" ", 1)[0]], entry.split(" ", 1)[1]]) for entry in transfer.mismatched
        ),
        unused=tuple(name for name in state if name not in known),
    )


def _present(state: State, name: Name) -> bool:
    return name.theirs in state or name.alias in state


def _value(state: State, name: Name) -> Tensor:
    """A weight without its trailing ones, under either of its names."""
    value = state[name.theirs] if name.theirs in state else state[str(name.alias)]
    if name.alias in state and name.theirs in state and not torch.equal(value, state[str(name.alias)]):
        raise ValueError(f"two names of one weight must hold one value, got two for {name.theirs} and {name.alias}")
    ones = value.shape[value.dim() - name.ones :] if name.ones else ()
    return value.reshape(value.shape[: value.dim() - name.ones]) if all(size == 1 for size in ones) else value
