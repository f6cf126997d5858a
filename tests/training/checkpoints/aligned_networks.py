"""Cross-MoST's network, written plainly: the names and shapes of its weights, and what they compute.

The names are those of the authors' files: CLIP's transformers as OpenAI names them, with the additions for masked
images, Point-BERT's transformer behind ``point_encoder.``, and the projections. Renditions take a state dict with these
names.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


class Sizes(NamedTuple):
    """Small, with two attention heads of 64 channels where heads have to be counted."""

    width: int = 128
    layers: int = 2
    image_size: int = 16
    patch: int = 8
    vocabulary: int = 514
    context: int = 12
    text_width: int = 64
    cloud_width: int = 128
    tokens: tuple[int, int, int, int] = (8, 12, 10, 14)
    embedding: int = 24


SIZES = Sizes()


def _block(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.attn.in_proj_weight", (3 * width, width)
    yield f"{name}.attn.in_proj_bias", (3 * width,)
    for part, (rows, columns) in {
        "attn.out_proj": (width, width),
        "mlp.c_fc": (4 * width, width),
        "mlp.c_proj": (width, 4 * width),
    }.items():
        yield f"{name}.{part}.weight", (rows, columns)
        yield f"{name}.{part}.bias", (rows,)
    for part in ("ln_1", "ln_2"):
        yield from _norm(f"{name}.{part}", width)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def image_shapes(s: Sizes = SIZES, *, masks: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "visual.conv1.weight", (s.width, 3, s.patch, s.patch)
    yield "visual.class_embedding", (s.width,)
    yield "visual.positional_embedding", ((s.image_size // s.patch) ** 2 + 1, s.width)
    for part in ("ln_pre", "ln_post"):
        yield from _norm(f"visual.{part}", s.width)
    for layer in range(s.layers):
        yield from _block(f"visual.transformer.resblocks.{layer}", s.width)
    yield "image_projection", (s.width, s.embedding)
    if masks:
        yield "visual.mask_token_embedding", (1, 1, s.width)
        yield from _norm("visual.ln_patch", s.width)
        yield "visual.decoder.0.weight", (3 * s.patch**2, s.width, 1, 1)
        yield "visual.decoder.0.bias", (3 * s.patch**2,)


def vit_shapes(s: Sizes = SIZES) -> Iterator[tuple[str, tuple[int, ...]]]:
    """`visual.` of ULIP's first release: SLIP's transformer, as timm names it."""
    yield "visual.cls_token", (1, 1, s.width)
    yield "visual.pos_embed", (1, (s.image_size // s.patch) ** 2 + 1, s.width)
    yield "visual.patch_embed.proj.weight", (s.width, 3, s.patch, s.patch)
    yield "visual.patch_embed.proj.bias", (s.width,)
    for layer in range(s.layers):
        block = f"visual.blocks.{layer}"
        for part in ("norm1", "norm2"):
            yield from _norm(f"{block}.{part}", s.width)
        for part, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            yield f"{block}.{part}.weight", (rows * s.width, columns * s.width)
            yield f"{block}.{part}.bias", (rows * s.width,)
    yield from _norm("visual.norm", s.width)
    yield "image_projection", (s.width, s.embedding)


def text_shapes(s: Sizes = SIZES) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embedding.weight", (s.vocabulary, s.text_width)
    yield "positional_embedding", (s.context, s.text_width)
    for layer in range(s.layers):
        yield from _block(f"transformer.resblocks.{layer}", s.text_width)
    yield from _norm("ln_final", s.text_width)
    yield "text_projection", (s.text_width, s.embedding)


def token_shapes(s: Sizes = SIZES, prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    a, b, c, d = s.tokens
    for name, rows, columns in (
        ("first_conv.0", a, 3),
        ("first_conv.3", b, a),
        ("second_conv.0", c, 2 * b),
        ("second_conv.3", d, c),
    ):
        yield f"{prefix}encoder.{name}.weight", (rows, columns, 1)
        yield f"{prefix}encoder.{name}.bias", (rows,)
    for name, width in (("first_conv.1", a), ("second_conv.1", c)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{prefix}encoder.{name}.{part}", (width,)
        yield f"{prefix}encoder.{name}.num_batches_tracked", ()


def cloud_shapes(
    s: Sizes = SIZES, prefix: str = "point_encoder.", *, masks: bool = True
) -> Iterator[tuple[str, tuple[int, ...]]]:
    w = s.cloud_width
    yield from token_shapes(s, prefix)
    yield f"{prefix}reduce_dim.weight", (w, s.tokens[3])
    yield f"{prefix}reduce_dim.bias", (w,)
    yield f"{prefix}cls_token", (1, 1, w)
    yield f"{prefix}cls_pos", (1, 1, w)
    yield f"{prefix}pos_embed.0.weight", (128, 3)
    yield f"{prefix}pos_embed.0.bias", (128,)
    yield f"{prefix}pos_embed.2.weight", (w, 128)
    yield f"{prefix}pos_embed.2.bias", (w,)
    for layer in range(s.layers):
        block = f"{prefix}blocks.blocks.{layer}"
        for part in ("norm1", "norm2"):
            yield from _norm(f"{block}.{part}", w)
        yield f"{block}.attn.qkv.weight", (3 * w, w)
        for part, rows, columns in (("attn.proj", w, w), ("mlp.fc1", 4 * w, w), ("mlp.fc2", w, 4 * w)):
            yield f"{block}.{part}.weight", (rows, columns)
            yield f"{block}.{part}.bias", (rows,)
    yield from _norm(f"{prefix}norm", w)
    if masks:
        yield f"{prefix}mask_token", (1, 1, w)
        yield f"{prefix}proj", (w, s.embedding)
        yield f"{prefix}lm_head.weight", (w, w)
        yield f"{prefix}lm_head.bias", (w,)


def whole_shapes(s: Sizes = SIZES, *, masks: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from image_shapes(s, masks=masks)
    yield from text_shapes(s)
    yield from cloud_shapes(s, masks=masks)
    yield "pc_projection", (2 * s.cloud_width, s.embedding)
    yield "logit_scale", ()


def random_state(shapes: Iterator[tuple[str, tuple[int, ...]]], seed: int = 0) -> State:
    """Weights that leave no term of the network without effect."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            state[name] = 0.2 * torch.randn(shape, generator=generator)
    return state


# What the weights compute


def _layer_norm(x: Tensor, state: State, name: str, epsilon: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], epsilon)


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    results = []
    for head in range(heads):
        a, b, c = (part.chunk(heads, dim=-1)[head] for part in (q, k, v))
        weights = a @ b.transpose(1, 2) / a.shape[-1] ** 0.5
        if causal:
            weights = weights.masked_fill(torch.ones(weights.shape[1:]).triu(1).bool(), float("-inf"))
        results.append(weights.softmax(dim=-1) @ c)
    return torch.cat(results, dim=-1)


def _clip_transformer(x: Tensor, state: State, name: str, layers: int, *, causal: bool) -> Tensor:
    for layer in range(layers):
        block = f"{name}.{layer}"
        h = _layer_norm(x, state, f"{block}.ln_1")
        qkv = F.linear(h, state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"])
        attended = _attention(*qkv.chunk(3, dim=-1), max(1, x.shape[-1] // 64), causal=causal)
        x = x + _linear(attended, state, f"{block}.attn.out_proj")
        h = _linear(_layer_norm(x, state, f"{block}.ln_2"), state, f"{block}.mlp.c_fc")
        x = x + _linear(h * torch.sigmoid(1.702 * h), state, f"{block}.mlp.c_proj")
    return x


def image_rendition(images: Tensor, state: State, mask: Tensor | None = None, s: Sizes = SIZES) -> dict[str, Tensor]:
    """Feature of length one; with a mask also what the masked losses compare."""
    x = F.conv2d(images, state["visual.conv1.weight"], stride=s.patch).flatten(2).transpose(1, 2)
    if mask is not None:
        w = mask.flatten(1).unsqueeze(2).float()
        x = x * (1 - w) + state["visual.mask_token_embedding"] * w
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1)
    x = _layer_norm(x + state["visual.positional_embedding"], state, "visual.ln_pre")
    x = _clip_transformer(x, state, "visual.transformer.resblocks", s.layers, causal=False)
    summary = _layer_norm(x[:, 0], state, "visual.ln_post") @ state["image_projection"]
    found = {"feature": F.normalize(summary, dim=-1)}
    if mask is not None:
        patches = _layer_norm(x[:, 1:], state, "visual.ln_patch")
        grid = mask.shape[1]
        pixels = F.conv2d(
            patches.transpose(1, 2).reshape(len(x), -1, grid, grid),
            state["visual.decoder.0.weight"],
            state["visual.decoder.0.bias"],
        )
        found |= {"summary": summary, "tokens": patches @ state["image_projection"]}
        found["reconstruction"] = F.pixel_shuffle(pixels, s.patch)
    return found


def vit_rendition(images: Tensor, state: State, s: Sizes = SIZES) -> Tensor:
    """Feature of length one."""
    embedding = "visual.patch_embed.proj"
    x = F.conv2d(images, state[f"{embedding}.weight"], state[f"{embedding}.bias"], stride=s.patch)
    x = torch.cat([state["visual.cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    x = x + state["visual.pos_embed"]
    for layer in range(s.layers):
        block = f"visual.blocks.{layer}"
        qkv = _linear(_layer_norm(x, state, f"{block}.norm1", 1e-6), state, f"{block}.attn.qkv")
        x = x + _linear(_attention(*qkv.chunk(3, dim=-1), s.width // 64), state, f"{block}.attn.proj")
        h = F.gelu(_linear(_layer_norm(x, state, f"{block}.norm2", 1e-6), state, f"{block}.mlp.fc1"))
        x = x + _linear(h, state, f"{block}.mlp.fc2")
    return F.normalize(_layer_norm(x, state, "visual.norm", 1e-6)[:, 0] @ state["image_projection"], dim=-1)


def text_rendition(tokens: Tensor, state: State, end: int, s: Sizes = SIZES) -> Tensor:
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][: tokens.shape[1]]
    x = _clip_transformer(x, state, "transformer.resblocks", s.layers, causal=True)
    x = _layer_norm(x, state, "ln_final")
    last = torch.stack([row[ids.tolist().index(end)] for row, ids in zip(x, tokens, strict=True)])
    return F.normalize(last @ state["text_projection"], dim=-1)


def tokens_rendition(neighborhoods: Tensor, state: State, prefix: str = "point_encoder.", *, training: bool) -> Tensor:
    """(B, G, M, 3) to (B, G, C) with convolutions; in training BatchNorm uses the batch's statistics."""

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv1d(x, state[f"{prefix}encoder.{name}.weight"], state[f"{prefix}encoder.{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{prefix}encoder.{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean.clone(), var.clone(), weight, bias, training=training)

    batch, groups, size, _ = neighborhoods.shape
    x = neighborhoods.reshape(batch * groups, size, 3).transpose(1, 2)
    x = conv(F.relu(norm(conv(x, "first_conv.0"), "first_conv.1")), "first_conv.3")
    whole = x.max(dim=2, keepdim=True).values.expand(-1, -1, size)
    x = conv(F.relu(norm(conv(torch.cat([whole, x], dim=1), "second_conv.0"), "second_conv.1")), "second_conv.3")
    return x.max(dim=2).values.reshape(batch, groups, -1)


def cloud_rendition(
    centers: Tensor,
    neighborhoods: Tensor,
    state: State,
    mask: Tensor | None = None,
    s: Sizes = SIZES,
    prefix: str = "point_encoder.",
    *,
    training: bool = False,
) -> dict[str, Tensor]:
    """Feature of length one; with a mask also what the masked losses compare. Without stochastic depth."""
    embedded = _linear(tokens_rendition(neighborhoods, state, prefix, training=training), state, f"{prefix}reduce_dim")
    visible = embedded
    if mask is not None:
        w = mask.unsqueeze(2).float()
        visible = embedded * (1 - w) + state[f"{prefix}mask_token"] * w
    batch = len(centers)
    x = torch.cat([state[f"{prefix}cls_token"].expand(batch, -1, -1), visible], dim=1)
    position = _linear(F.gelu(_linear(centers, state, f"{prefix}pos_embed.0")), state, f"{prefix}pos_embed.2")
    position = torch.cat([state[f"{prefix}cls_pos"].expand(batch, -1, -1), position], dim=1)
    for layer in range(s.layers):
        block = f"{prefix}blocks.blocks.{layer}"
        x = x + position
        qkv = _linear(_layer_norm(x, state, f"{block}.norm1"), state, f"{block}.attn.qkv")
        x = x + _linear(_attention(*qkv.chunk(3, dim=-1), s.cloud_width // 64), state, f"{block}.attn.proj")
        h = F.gelu(_linear(_layer_norm(x, state, f"{block}.norm2"), state, f"{block}.mlp.fc1"))
        x = x + _linear(h, state, f"{block}.mlp.fc2")
    x = _layer_norm(x, state, f"{prefix}norm")
    feature = torch.cat([x[:, 0], x[:, 1:].max(dim=1).values], dim=1) @ state["pc_projection"]
    found = {"feature": F.normalize(feature, dim=1)}
    if mask is not None:
        compare = state[f"{prefix}proj"]
        found |= {"summary": x[:, 0] @ compare, "tokens": x[:, 1:] @ compare, "target": embedded}
        found |= {"reconstruction": _linear(x[:, 1:], state, f"{prefix}lm_head"), "masked_target": visible}
    return found
