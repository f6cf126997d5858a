"""How ULIP, Point-BERT and OpenAI's CLIP name the weights of an aligned model, and the sizes that the weights tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from crosspoint.checkpoints.state_files import State
from crosspoint.config.aligned import CloudConfig, ImageConfig, TextConfig

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_HEAD_CHANNELS = 64  # in all networks of CLIP and of Point-BERT


class Entry(NamedTuple):
    """One weight of ours."""

    ours: str
    """Its name in `AlignedModel`."""
    theirs: str
    """The name of what it is read from."""
    read: Callable[[Tensor], Tensor] | None = None
    """From their value to ours, where they differ."""


def image_layout(layers: int) -> Iterator[Entry]:
    """The image branch: `visual.` of CLIP, with what Cross-MoST adds for masked-image modelling."""
    ours, theirs = "image.clip.vision_model.", "visual."
    yield Entry(f"{ours}embeddings.patch_embedding.weight", f"{theirs}conv1.weight")
    yield Entry(f"{ours}embeddings.class_embedding", f"{theirs}class_embedding")
    yield Entry(f"{ours}embeddings.position_embedding.weight", f"{theirs}positional_embedding")
    yield from _both(f"{ours}pre_layrnorm", f"{theirs}ln_pre")
    yield from _clip_blocks(f"{ours}encoder.layers", f"{theirs}transformer.resblocks", layers)
    yield from _both(f"{ours}post_layernorm", f"{theirs}ln_post")
    # ULIP keeps the projection outside the transformer; Cross-MoST has both and uses this one.
    yield Entry("image.clip.visual_projection.weight", "image_projection", Tensor.t)
    yield Entry("image.mask_token", f"{theirs}mask_token_embedding")
    yield from _both("image.patch_norm", f"{theirs}ln_patch")
    yield Entry("image.decoder.weight", f"{theirs}decoder.0.weight", _without_ones)
    yield Entry("image.decoder.bias", f"{theirs}decoder.0.bias")


def vit_layout(layers: int) -> Iterator[Entry]:
    """The image branch: `visual.` of ULIP's first release, which is SLIP's and of timm's names; see `fold_bias`."""
    ours, theirs = "image.clip.vision_model.", "visual."
    yield Entry(f"{ours}embeddings.patch_embedding.weight", f"{theirs}patch_embed.proj.weight")
    yield Entry(f"{ours}embeddings.class_embedding", f"{theirs}cls_token", Tensor.flatten)
    yield Entry(f"{ours}embeddings.position_embedding.weight", f"{theirs}pos_embed", _first)
    for block in range(layers):
        own, other = f"{ours}encoder.layers.{block}.", f"{theirs}blocks.{block}."
        yield from _queries_keys_values(f"{own}self_attn.", f"{other}attn.qkv.")
        for name, their_name in (
            ("self_attn.out_proj", "attn.proj"),
            ("layer_norm1", "norm1"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
            ("layer_norm2", "norm2"),
        ):
            yield from _both(f"{own}{name}", f"{other}{their_name}")
    yield from _both(f"{ours}post_layernorm", f"{theirs}norm")
    yield Entry("image.clip.visual_projection.weight", "image_projection", Tensor.t)


def fold_bias(state: State) -> dict[str, Tensor]:
    """A state dict with timm's ViT whose embedding of patches has its bias added to the positions of patches.

    It is the same function of an image, and CLIP's embedding has no bias.
    """
    folded = dict(state)
    bias = folded.pop("visual.patch_embed.proj.bias")
    positions = folded["visual.pos_embed"].clone()
    positions[:, 1:] += bias
    folded["visual.pos_embed"] = positions
    return folded


def text_layout(layers: int) -> Iterator[Entry]:
    """The text tower."""
    ours = "text.clip.text_model."
    yield Entry(f"{ours}embeddings.token_embedding.weight", "token_embedding.weight")
    yield Entry(f"{ours}embeddings.position_embedding.weight", "positional_embedding")
    yield from _clip_blocks(f"{ours}encoder.layers", "transformer.resblocks", layers)
    yield from _both(f"{ours}final_layer_norm", "ln_final")
    yield Entry("text.clip.text_projection.weight", "text_projection", Tensor.t)


def tokens_layout(ours: str, theirs: str) -> Iterator[Entry]:
    """The network that makes a token of each group: the encoder of Point-BERT's dVAE."""
    for name, convolution in (
        ("first.linear", "first_conv.0"),
        ("second", "first_conv.3"),
        ("third.linear", "second_conv.0"),
        ("fourth", "second_conv.3"),
    ):
        yield Entry(f"{ours}{name}.weight", f"{theirs}{convolution}.weight", _without_ones)
        yield Entry(f"{ours}{name}.bias", f"{theirs}{convolution}.bias")
    for name, norm in (("first.norm", "first_conv.1"), ("third.norm", "second_conv.1")):
        for part in _NORM:
            yield Entry(f"{ours}{name}.{part}", f"{theirs}{norm}.{part}")


def cloud_layout(layers: int, theirs: str) -> Iterator[Entry]:
    """The cloud branch without its projection: Point-BERT's transformer, after a prefix such as `point_encoder.`."""
    yield from tokens_layout("cloud.tokens.", f"{theirs}encoder.")
    yield from _both("cloud.embed", f"{theirs}reduce_dim")
    for ours, name in (("class_token", "cls_token"), ("class_position", "cls_pos"), ("mask_token", "mask_token")):
        yield Entry(f"cloud.{ours}", f"{theirs}{name}")
    for layer in (0, 2):
        yield from _both(f"cloud.position.{layer}", f"{theirs}pos_embed.{layer}")
    for block in range(layers):
        own, other = f"cloud.blocks.{block}.", f"{theirs}blocks.blocks.{block}."
        yield Entry(f"{own}attention.qkv.weight", f"{other}attn.qkv.weight")
        for ours, name in (
            ("attention_norm", "norm1"),
            ("attention.project", "attn.proj"),
            ("perceptron_norm", "norm2"),
            ("perceptron.0", "mlp.fc1"),
            ("perceptron.2", "mlp.fc2"),
        ):
            yield from _both(f"{own}{ours}", f"{other}{name}")
    yield from _both("cloud.norm", f"{theirs}norm")
    yield Entry("cloud.compare", f"{theirs}proj")
    yield from _both("cloud.predict", f"{theirs}lm_head")


def image_sizes(state: State) -> ImageConfig:
    """Sizes of the `visual.` of a state dict, CLIP's or timm's."""
    vit = "visual.patch_embed.proj.weight" in state
    width, _, patch, _ = state["visual.patch_embed.proj.weight" if vit else "visual.conv1.weight"].shape
    positions = state["visual.pos_embed"].shape[1] if vit else len(state["visual.positional_embedding"])
    return ImageConfig(
        family="vit" if vit else "clip",
        image_size=math.isqrt(positions - 1) * patch,
        patch_size=patch,
        width=width,
        layers=count_blocks(state, "visual.blocks." if vit else "visual.transformer.resblocks."),
        heads=max(1, width // _HEAD_CHANNELS),
        activation="gelu" if vit else "quick_gelu",
    )


def text_sizes(state: State) -> TextConfig:
    """Sizes of the text tower of a state dict."""
    vocabulary, width = state["token_embedding.weight"].shape
    return TextConfig(
        vocabulary=vocabulary,
        context=len(state["positional_embedding"]),
        width=width,
        layers=count_blocks(state, "transformer.resblocks."),
        heads=max(1, width // _HEAD_CHANNELS),
        activation="quick_gelu",
    )


def cloud_sizes(state: State, prefix: str, *, groups: int, group_size: int) -> CloudConfig:
    """Sizes of the cloud branch of a state dict, which tells all but the number of groups and of their points."""
    width = len(state[f"{prefix}reduce_dim.weight"])
    first, second, third, fourth = (
        len(state[f"{prefix}encoder.{name}.weight"])
        for name in ("first_conv.0", "first_conv.3", "second_conv.0", "second_conv.3")
    )
    return CloudConfig(
        groups=groups,
        group_size=group_size,
        token_widths=(first, second, third, fourth),
        width=width,
        layers=count_blocks(state, f"{prefix}blocks.blocks."),
        heads=max(1, width // _HEAD_CHANNELS),
    )


def count_blocks(state: State, prefix: str) -> int:
    """How many blocks are numbered after a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _both(ours: str, theirs: str) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield Entry(f"{ours}.{part}", f"{theirs}.{part}")


def _clip_blocks(ours: str, theirs: str, layers: int) -> Iterator[Entry]:
    for block in range(layers):
        own, other = f"{ours}.{block}.", f"{theirs}.{block}."
        yield from _queries_keys_values(f"{own}self_attn.", f"{other}attn.in_proj_")
        for name, their_name in (
            ("self_attn.out_proj", "attn.out_proj"),
            ("layer_norm1", "ln_1"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("layer_norm2", "ln_2"),
        ):
            yield from _both(f"{own}{name}", f"{other}{their_name}")


def _queries_keys_values(ours: str, theirs: str) -> Iterator[Entry]:
    for number, name in enumerate(("q_proj", "k_proj", "v_proj")):
        for part in ("weight", "bias"):
            yield Entry(f"{ours}{name}.{part}", f"{theirs}{part}", _third(number))


def _third(number: int) -> Callable[[Tensor], Tensor]:
    return lambda value: value.chunk(3)[number]


def _first(value: Tensor) -> Tensor:
    return value[0]


def _without_ones(value: Tensor) -> Tensor:
    """A linear map that was written as a convolution of kernel size 1."""
    return value.flatten(2).squeeze(2) if value.dim() > 2 and value[0, 0].numel() == 1 else value
