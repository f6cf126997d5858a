"""Weights of ULIP, of Cross-MoST, of Point-BERT and of its dVAE."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from crosspoint.checkpoints.aligned_layouts import (
    Entry,
    cloud_layout,
    cloud_sizes,
    fold_bias,
    image_layout,
    image_sizes,
    text_layout,
    text_sizes,
    tokens_layout,
    vit_layout,
)
from crosspoint.checkpoints.aligned_report import AlignedReport, take
from crosspoint.checkpoints.state_files import State, plain_state
from crosspoint.config.aligned import AlignedConfig, CloudConfig
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.tokenizer import TextTokenizer

Source = str | PathLike[str] | Mapping[str, Any]

_GROUPS, _GROUP_SIZE = 64, 32  # Cross-MoST's


def load_ulip(
    source: Source,
    model: AlignedModel | None = None,
    *,
    groups: int = _GROUPS,
    group_size: int = _GROUP_SIZE,
    tokenizer: TextTokenizer | None = None,
) -> AlignedReport:
    """Weights of ULIP, of Cross-MoST, or of a Point-BERT transformer; which parts there are is told by their names.

    ULIP's own files have SLIP's image transformer (timm's ViT), Cross-MoST's have CLIP's.

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
    prefix = _cloud_prefix(state)
    parts = [
        part
        for part, name in (
            ("cloud", f"{prefix}reduce_dim.weight"),
            ("image", "visual.conv1.weight"),
            ("image", "visual.patch_embed.proj.weight"),
            ("text", "token_embedding.weight"),
        )
        if name in state
    ]
    foreign = [name for name in state if name.startswith("visual.")]
    if foreign and "image" not in parts:
        raise ValueError(
            f"the image transformer must be CLIP's or SLIP's, got another one ({foreign[0]}) in {origin}; clouds and "
            f"texts that are aligned with it are of no use without it"
        )
    if not parts:
        some = ", ".join(list(state)[:4])
        raise ValueError(f"weights must be of ULIP, Cross-MoST or Point-BERT, got {origin} with {some}")
    if "image" in parts and "image_projection" not in state and "visual.proj" in state:
        state = {**state, "image_projection": state["visual.proj"]}
    try:
        if "visual.patch_embed.proj.weight" in state:
            state = fold_bias(state)
        if model is None:
            config = _sizes(state, parts, prefix, groups, group_size, origin)
            model = AlignedModel(config, tokenizer)
        family = image_sizes(state).family if "image" in parts else model.config.image.family
        entries = _entries(state, parts, prefix)
    except KeyError as error:
        raise ValueError(
            f"weights must be complete enough to tell the network's sizes, got none named {error.args[0]} in {origin}"
        ) from error
    if family != model.config.image.family:
        raise ValueError(
            f"the model's image transformer must be of the family of the weights, {family}, "
            f"got {model.config.image.family} for {origin}"
        )
    transfer = take(model, entries, state, origin)
    project = "Point-BERT" if prefix == "transformer_q." else "ULIP or Cross-MoST"
    return AlignedReport(f"{project}: {', '.join(parts)}", model, transfer)


def is_of_aligned_model(state: State) -> bool:
    """Whether a state dict has the names of ULIP's or Cross-MoST's cloud, image and text together."""
    names = ("point_encoder.reduce_dim.weight", "pc_projection", "token_embedding.weight")
    return all(name in state for name in names) and any(name.startswith("visual.") for name in state)


def ulip_cloud_sizes(state: State, *, groups: int = _GROUPS, group_size: int = _GROUP_SIZE) -> CloudConfig:
    """Sizes of the cloud branch in a state dict; files do not tell the number of groups and of their points.

    Raises:
        ValueError: If it has no cloud branch.
    """
    try:
        return cloud_sizes(state, _cloud_prefix(state), groups=groups, group_size=group_size)
    except KeyError as error:
        raise ValueError(f"weights must have those of a cloud branch, got none named {error.args[0]}") from error


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
    transfer = take(model, tokens_layout("cloud.tokens.", "encoder."), state, origin)
    return AlignedReport("Point-BERT's dVAE: the network of the cloud's tokens", model, transfer)


def _cloud_prefix(state: State) -> str:
    return "transformer_q." if any(name.startswith("transformer_q.") for name in state) else "point_encoder."


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
        layout = cloud_layout(sizes.layers, prefix)
        if prefix == "transformer_q.":  # Point-BERT's lm_head chooses among the dVAE's words: another head than ours
            entries += [entry for entry in layout if not entry.ours.startswith(("cloud.predict", "cloud.compare"))]
        else:
            entries += [*layout, Entry("cloud.projection", "pc_projection")]
    if "image" in parts:
        sizes_of_image = image_sizes(state)
        entries += (vit_layout if sizes_of_image.family == "vit" else image_layout)(sizes_of_image.layers)
    if "text" in parts:
        entries += text_layout(text_sizes(state).layers)
    if "logit_scale" in state:
        entries.append(Entry("logit_scale", "logit_scale"))
    return entries
