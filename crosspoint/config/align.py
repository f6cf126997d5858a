"""Settings of an alignment: frozen dataclasses, checked on construction, and the presets.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crosspoint.config.adamw import AdamWConfig
from crosspoint.config.aligned import AlignedConfig
from crosspoint.config.checks import (
    Device,
    Flag,
    require,
    require_factors,
    require_non_negative,
    require_share,
)
from crosspoint.config.output import OutputConfig
from crosspoint.config.pairs import PairDataConfig


@dataclass(frozen=True, kw_only=True)
class AlignmentOptimisation(AdamWConfig):
    """The loss and how it is minimised."""

    first_share: float = 0.0
    """Share of the rate that the warm-up begins with. ULIP: 0.002."""
    image_text_weight: float = 1.0
    """Weight of the contrast between images and captions; 0 where both are frozen, as in ULIP."""
    shared_captions: bool = True
    """Whether objects of one class are all partners of their caption. ULIP takes all captions for different ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("optimisation.first_share", self.first_share)
        require_non_negative("optimisation.image_text_weight", self.image_text_weight)


@dataclass(frozen=True, kw_only=True)
class AlignmentViews:
    """What happens to clouds and images in training."""

    scale: tuple[float, float] = (0.8, 1.25)
    """Range of the factor by which clouds are scaled."""
    move: float = 0.1
    """Clouds are moved by up to this share of their extent along each axis."""
    dropout: float = 0.875
    """Largest share of a cloud's points that fall on the first one."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Range of the share of an image's area that is kept."""
    flip: float = 0.5
    """Probability that an image is mirrored."""
    magnitude: float = 0.0
    """Mean strength of RandAugment on images, in [0, 10]; 0 leaves it out."""
    masked: float = 0.0
    """Share of the objects that are seen with masks, as self-training has them. A small model trained from scratch must
    have met masks, or the first ones make it forget; public ones stand them."""

    def __post_init__(self) -> None:
        for name in ("scale", "crop"):
            require_factors(f"views.{name}", getattr(self, name))
        require(0 <= self.magnitude <= 10, "views.magnitude must lie in [0, 10]", self.magnitude)
        require(self.crop[1] <= 1, "views.crop must be a range inside (0, 1]", self.crop)
        for name in ("move", "dropout", "flip", "masked"):
            require_share(f"views.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """Alignment of clouds, images and class names, in the manner of ULIP."""

    data: PairDataConfig = field(default_factory=lambda: PairDataConfig(dataset="shapes"))
    """The objects, whose class names are their captions."""
    model: AlignedConfig = field(default_factory=AlignedConfig)
    """Sizes of a model that is trained from scratch; those of the weights count where there are any."""
    clip: str | None = None
    """Public CLIP weights for images and text, as a folder or a name that transformers knows. They stay frozen."""
    views: AlignmentViews = field(default_factory=AlignmentViews)
    """What happens to clouds and images in training."""
    optimisation: AlignmentOptimisation = field(
        default_factory=lambda: AlignmentOptimisation(
            epochs=8, batch_size=64, learning_rate=1e-3, last_share=0.02, weight_decay=0.1
        )
    )
    """The loss and how it is minimised."""
    output: OutputConfig = field(default_factory=lambda: OutputConfig(directory=Path("runs/aligned")))
    """Where results go, and how often."""
    seed: int = 0
    """Seed of everything random. The same seed gives the same run."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    resume: Flag = False
    """Continue the run in output.directory from its last checkpoint."""
    traceback: Flag = False
    """Show the full traceback of an error instead of one line."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32", self.seed)
        needed = max(self.model.cloud.groups, self.model.cloud.group_size)
        require(self.data.num_points >= needed, f"data.num_points must be at least {needed}", self.data.num_points)


PRESETS: dict[str, AlignConfig] = {
    "small": AlignConfig(),
    "paper": AlignConfig(
        data=PairDataConfig(
            dataset="shapenet_render", root=Path("data"), num_points=8192, image_size=224, workers=4, hold_out=0.0
        ),
        model=AlignedConfig.paper(),
        clip="openai/clip-vit-base-patch16",
        optimisation=AlignmentOptimisation(
            epochs=300,
            batch_size=256,
            learning_rate=5e-4,
            first_share=0.002,
            last_share=0.02,
            weight_decay=0.1,
            image_text_weight=0.0,
            shared_captions=False,
        ),
        output=OutputConfig(
            directory=Path("runs/aligned-paper"), checkpoint_steps=1000, checkpoint_seconds=300, log_steps=10
        ),
    ),
}
"""Named starting points: ``small`` (from scratch, minutes on a CPU core) and ``paper`` (ULIP on frozen CLIP)."""
