"""Starting points of aligned models from other projects: CLIP, ULIP and Cross-MoST, Point-BERT and its dVAE."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor
from transformers import CLIPModel

from crosspoint.aligned_config import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.checkpoints.aligned_layouts import (
    Entry,
    cloud_layout,
    cloud_sizes,
    image_layout,
    image_sizes,
    text_layout,
    text_sizes,
    tokens_layout,
)
from crosspoint.checkpoints.state_files import State, plain_state
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.tokenizer import TextTokenizer
from crosspoint.models.transfer import Transfer, transfer_weights

Source = str | PathLike[str] | Mapping[str, Any]

# What masked modelling adds, which only Cross-MoST's own files have; it may start at random.
_FOR_MASKS = (
    "image.mask_token",
    "image.patch_norm.",
    "image.decoder.",
    "cloud.mask_token",
    "cloud.compare",
    "cloud.predict.",
)
_GROUPS, _GROUP_SIZE = 64, 32  # Cross-MoST's


@dataclass(frozen=True)
class AlignedReport:
    """What came out of a file or a folder."""

    layout: str
    """Whose weights they are, and of which parts of the model."""
    model: AlignedModel
    """The model with these weights."""
    transfer: Transfer
    """What was taken over, by the names in the source; missing are weights of the parts that it holds."""

    def __str__(self) -> str:
        return f"{self.layout}; {self.transfer}"


def load_clip(source: str, *, cloud: CloudConfig | None = None) -> AlignedReport:
    """An aligned model whose image branch and text tower are CLIP's; the cloud branch has random weights.

    Args:
        source: Folder or name on the model hub of a CLIP of transformers, such as openai/clip-vit-base-patch16.
        cloud: Sizes of the cloud branch; None for those of the paper.

    Raises:
        OSError: If the weights or the tokenizer cannot be read.
        ValueError: If it is another kind of CLIP.
    """
    try:
        clip: CLIPModel = CLIPModel.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{source} must hold a CLIP that can be loaded, got none ({reason})") from error
    sizes: Any = clip.config
    vision, text = sizes.vision_config, sizes.text_config
    config = AlignedConfig(
        embedding=sizes.projection_dim,
        image=ImageConfig(
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            activation=vision.hidden_act,
        ),
        cloud=AlignedConfig.paper().cloud if cloud is None else cloud,
        text=TextConfig(
            vocabulary=text.vocab_size,
            context=text.max_position_embeddings,
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            activation=text.hidden_act,
        ),
    )
    model = AlignedModel(config, TextTokenizer.from_pretrained(source))
    state = clip.state_dict()
    prefixes = {
        "vision_model.": "image.clip.",
        "visual_projection.": "image.clip.",
        "text_model.": "text.clip.",
        "text_projection.": "text.clip.",
        "logit_scale": "",
    }
    entries = [
        Entry(ours + name, name) for name in state for prefix, ours in prefixes.items() if name.startswith(prefix)
    ]
    return AlignedReport("CLIP: image and text", model, _take(model, entries, state, source))


def load_ulip(
    source: Source,
    model: AlignedModel | None = None,
    *,
    groups: int = _GROUPS,
    group_size: int = _GROUP_SIZE,
    tokenizer: TextTokenizer | None = None,
) -> AlignedReport:
    """Weights of ULIP, of Cross-MoST, or of a Point-BERT transformer; which parts there are is told by their names.

    Args:
        source: A file of `torch.save`, read without executing code from it, or a state dict.
        model: Takes over what the source has and keeps the rest, as the official code does with CLIP; its sizes must
            fit. None for a new model of the source's sizes.
        groups: Groups per cloud of a new model, which files do not tell.
        group_size: Points per group of a new model.
        tokenizer: Of a new model; None is right only where the classes are known already or none are asked for.

    Returns:
        The model and a report. What masked modelling adds may be missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, has no part of an aligned model, lacks weights of a part that it has, has weights
            of other sizes, or, without a model, lacks a part.
    """
    state = plain_state(source)
    origin = "the state dict" if isinstance(source, Mapping) else str(source)
    prefix = "transformer_q." if any(name.startswith("transformer_q.") for name in state) else "point_encoder."
    parts = [
        part
        for part, name in (
            ("cloud", f"{prefix}reduce_dim.weight"),
            ("image", "visual.conv1.weight"),
            ("text", "token_embedding.weight"),
        )
        if name in state
    ]
    if not parts:
        some = ", ".join(list(state)[:4])
        raise ValueError(f"weights must be of ULIP, Cross-MoST or Point-BERT, got {origin} with {some}")
    if "image" in parts and "image_projection" not in state and "visual.proj" in state:
        state = {**state, "image_projection": state["visual.proj"]}
    try:
        if model is None:
            config = _sizes(state, parts, prefix, groups, group_size, origin)
            model = AlignedModel(config, tokenizer)
        entries = _entries(state, parts, prefix)
    except KeyError as error:
        raise ValueError(
            f"weights must be complete enough to tell the network's sizes, got none named {error.args[0]} in {origin}"
        ) from error
    transfer = _take(model, entries, state, origin)
    project = "Point-BERT" if prefix == "transformer_q." else "ULIP or Cross-MoST"
    return AlignedReport(f"{project}: {', '.join(parts)}", model, transfer)


def load_dvae(source: Source, model: AlignedModel) -> AlignedReport:
    """The token network of Point-BERT's dVAE, for a model whose other parts stay as they are.

    Args:
        source: A file of `torch.save`, read without executing code from it, or a state dict.
        model: Changed in place.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, no dVAE, or of other sizes than the model.
    """
    state = plain_state(source)
    origin = "the state dict" if isinstance(source, Mapping) else str(source)
    if "encoder.first_conv.0.weight" not in state:
        some = ", ".join(list(state)[:4])
        raise ValueError(f"weights must be of Point-BERT's dVAE, got {origin} with {some}")
    transfer = _take(model, tokens_layout("cloud.tokens.", "encoder."), state, origin)
    return AlignedReport("Point-BERT's dVAE: the network of the cloud's tokens", model, transfer)


def _sizes(state: State, parts: list[str], prefix: str, groups: int, group_size: int, origin: str) -> AlignedConfig:
    absent = [part for part in ("cloud", "image", "text") if part not in parts]
    if absent:
        raise ValueError(
            f"weights must hold cloud, image (CLIP's transformer) and text unless a model is given that has the rest, "
            f"got no {' and no '.join(absent)} in {origin}"
        )
    return AlignedConfig(
        embedding=state["pc_projection"].shape[1],
        image=image_sizes(state),
        cloud=cloud_sizes(state, prefix, groups=groups, group_size=group_size),
        text=text_sizes(state),
    )


def _entries(state: State, parts: list[str], prefix: str) -> list[Entry]:
    entries: list[Entry] = []
    if "cloud" in parts:
        sizes = cloud_sizes(state, prefix, groups=1, group_size=1)
        entries += cloud_layout(sizes.layers, prefix)
        if prefix != "transformer_q.":
            entries.append(Entry("cloud.projection", "pc_projection"))
    if "image" in parts:
        entries += image_layout(image_sizes(state).layers)
    if "text" in parts:
        entries += text_layout(text_sizes(state).layers)
    if "logit_scale" in state:
        entries.append(Entry("logit_scale", "logit_scale"))
    return entries


def _take(model: AlignedModel, entries: Iterable[Entry], state: State, origin: str) -> Transfer:
    """Copies what the entries name, and reports by the names in the source.

    Raises:
        ValueError: If weights are of another shape, or missing where masked modelling is not what they are for.
    """
    entries = list(entries)
    values: dict[str, Tensor] = {}
    for entry in entries:
        if entry.theirs in state:
            value = state[entry.theirs]
            values[entry.ours] = value if entry.read is None else entry.read(value)
    theirs = {entry.ours: entry.theirs for entry in entries}
    own = model.state_dict()
    unfit = [
        f"{theirs[name]} {tuple(value.shape)} for {tuple(own[name].shape) if name in own else 'nothing'}"
        for name, value in values.items()
        if name not in own or own[name].shape != value.shape
    ]
    if unfit:
        raise ValueError(f"weights must have the sizes of the model, got {', '.join(unfit[:3])} in {origin}")
    missing = [entry for entry in entries if entry.ours not in values]
    needed = [entry.theirs for entry in missing if not entry.ours.startswith(_FOR_MASKS)]
    if needed:
        raise ValueError(f"weights must be complete, got none named {', '.join(needed[:3])} in {origin}")
    transfer = transfer_weights(model, values)
    known = {entry.theirs for entry in entries}
    return dataclasses.replace(
        transfer,
        taken=tuple(dict.fromkeys(theirs[name] for name in transfer.taken)),
        missing=tuple(entry.theirs for entry in missing),
        unused=tuple(name for name in state if name not in known),
    )
