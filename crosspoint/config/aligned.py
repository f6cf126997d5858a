"""Sizes of a model that puts images, clouds and text into one space: frozen dataclasses, checked on construction.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crosspoint.config.checks import require, require_at_least

Activation = Literal["gelu", "quick_gelu"]
Family = Literal["clip", "vit"]

BYTE_VOCABULARY = 514
"""Tokens where the tokenizer knows no merges: 256 bytes, the same at the end of a word, start and end of a text."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The image branch: CLIP's vision transformer."""

    family: Family = "clip"
    """clip, or vit: no LayerNorm before the blocks, images normalised as ImageNet's (timm's ViT, in SLIP and ULIP)."""
    image_size: int = 48
    """Height and width of the images in pixels."""
    patch_size: int = 8
    """Height and width of a patch in pixels; the image must be a whole number of patches."""
    width: int = 64
    """Channels of a token."""
    layers: int = 3
    """Transformer blocks."""
    heads: int = 2
    """Attention heads."""
    activation: Activation = "gelu"
    """Nonlinearity of the blocks; CLIP's own weights need quick_gelu."""

    def __post_init__(self) -> None:
        _require_transformer("image", self.width, self.layers, self.heads)
        require_at_least("image.patch_size", self.patch_size, 1)
        require(
            self.image_size >= self.patch_size and self.image_size % self.patch_size == 0,
            f"image.image_size must be a multiple of image.patch_size ({self.patch_size})",
            self.image_size,
        )

    @property
    def grid(self) -> int:
        """Patches along each side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class CloudConfig:
    """The cloud branch: Point-BERT's transformer on groups of points."""

    groups: int = 32
    """Groups per cloud, G: as many tokens."""
    group_size: int = 16
    """Points per group, M."""
    token_widths: tuple[int, int, int, int] = (32, 64, 64, 64)
    """Channels of the four layers of the network that makes a token of a group; the last are the token's."""
    width: int = 64
    """Channels of a token in the transformer."""
    layers: int = 3
    """Transformer blocks."""
    heads: int = 2
    """Attention heads."""
    drop_path: float = 0.1
    """Probability that training skips the last block for an object; it grows linearly from 0 at the first block."""

    def __post_init__(self) -> None:
        _require_transformer("cloud", self.width, self.layers, self.heads)
        require_at_least("cloud.groups", self.groups, 1)
        require_at_least("cloud.group_size", self.group_size, 1)
        require(len(self.token_widths) == 4, "cloud.token_widths must be 4 numbers", self.token_widths)
        for width in self.token_widths:
            require_at_least("every entry of cloud.token_widths", width, 1)
        require(0 <= self.drop_path < 1, "cloud.drop_path must lie in [0, 1)", self.drop_path)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower: CLIP's."""

    vocabulary: int = BYTE_VOCABULARY
    """Tokens that the tokenizer knows; start and end of a text are the last two."""
    context: int = 64
    """Tokens of a text at most; longer texts are cut."""
    width: int = 64
    """Channels of a token."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads."""
    activation: Activation = "gelu"
    """Nonlinearity of the blocks; CLIP's own weights need quick_gelu."""

    def __post_init__(self) -> None:
        _require_transformer("text", self.width, self.layers, self.heads)
        require_at_least("text.vocabulary", self.vocabulary, 3)
        require_at_least("text.context", self.context, 3)


@dataclass(frozen=True, kw_only=True)
class AlignedConfig:
    """Images, clouds and text in one space. The defaults train in minutes on a CPU core."""

    embedding: int = 64
    """Channels of the shared space, C."""
    image: ImageConfig = field(default_factory=ImageConfig)
    """The image branch."""
    cloud: CloudConfig = field(default_factory=CloudConfig)
    """The cloud branch."""
    text: TextConfig = field(default_factory=TextConfig)
    """The text tower."""

    def __post_init__(self) -> None:
        require_at_least("embedding", self.embedding, 1)

    @classmethod
    def paper(cls) -> AlignedConfig:
        """The sizes of Cross-MoST: CLIP ViT-B/16, and Point-BERT with 64 groups of 32 points."""
        return cls(
            embedding=512,
            image=ImageConfig(image_size=224, patch_size=16, width=768, layers=12, heads=12, activation="quick_gelu"),
            cloud=CloudConfig(
                groups=64, group_size=32, token_widths=(128, 256, 512, 256), width=384, layers=12, heads=6
            ),
            text=TextConfig(vocabulary=49408, context=77, width=512, layers=12, heads=8, activation="quick_gelu"),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> AlignedConfig:
        """The inverse of `dataclasses.asdict`; tuples may have become lists.

        Raises:
            ValueError: If a setting is unknown or out of range.
        """
        try:
            cloud = dict(plain["cloud"])
            cloud["token_widths"] = tuple(cloud["token_widths"])
            return cls(
                **{
                    **plain,
                    "image": ImageConfig(**plain["image"]),
                    "cloud": CloudConfig(**cloud),
                    "text": TextConfig(**plain["text"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the model's settings must be those of this version, got others ({error})") from error


def _require_transformer(name: str, width: int, layers: int, heads: int) -> None:
    require_at_least(f"{name}.layers", layers, 1)
    require_at_least(f"{name}.heads", heads, 1)
    require(width >= 1 and width % heads == 0, f"{name}.width must be a multiple of {name}.heads ({heads})", width)
