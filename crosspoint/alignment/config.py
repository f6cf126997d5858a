"""Settings of an alignment: frozen dataclasses, checked on construction, and the presets.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crosspoint.aligned_config import AlignedConfig
from crosspoint.config import (
    Device,
    Flag,
    OutputConfig,
    require,
    require_at_least,
    require_non_negative,
    require_positive,
)
from crosspoint.selftraining.data_config import PairDataConfig


@dataclass(frozen=True, kw_only=True)
class AlignmentOptimisation:
    """The loss and how it is minimised: AdamW, warm-up, cosine."""

    epochs: int = 8
    """Passes over the data."""
    batch_size: int = 64
    """Objects per step, over all processes together; an incomplete last batch is left out."""
    learning_rate: float = 1e-3
    """The highest rate."""
    last_share: float = 0.02
    """Share of the rate that is left at the end."""
    warmup_epochs: float = 1.0
    """Epochs over which the rate grows from 0."""
    weight_decay: float = 0.1
    """Of matrices; biases and normalisations do not decay."""
    image_text_weight: float = 1.0
    """Weight of the contrast between images and captions; 0 where both are frozen, as in ULIP."""
    shared_captions: bool = True
    """Whether objects of one class are all partners of their caption. ULIP takes all captions for different ones."""

    def __post_init__(self) -> None:
        require_at_least("optimisation.epochs", self.epochs, 1)
        require_at_least("optimisation.batch_size", self.batch_size, 2)
        require_positive("optimisation.learning_rate", self.learning_rate)
        require(0 <= self.last_share <= 1, "optimisation.last_share must lie in [0, 1]", self.last_share)
        require_non_negative("optimisation.warmup_epochs", self.warmup_epochs)
        require(
            self.warmup_epochs <= self.epochs,
            f"optimisation.warmup_epochs must be at most optimisation.epochs ({self.epochs})",
            self.warmup_epochs,
        )
        require_non_negative("optimisation.weight_decay", self.weight_decay)
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
            low, high = getattr(self, name)
            require(0 < low <= high, f"views.{name} must be a range above 0", getattr(self, name))
        require(0 <= self.magnitude <= 10, "views.magnitude must lie in [0, 10]", self.magnitude)
        require(self.crop[1] <= 1, "views.crop must be a range inside (0, 1]", self.crop)
        for name in ("move", "dropout", "flip", "masked"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"views.{name} must lie in [0, 1]", value)


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
    optimisation: AlignmentOptimisation = field(default_factory=AlignmentOptimisation)
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
            last_share=0.02,
            image_text_weight=0.0,
            shared_captions=False,
        ),
        output=OutputConfig(
            directory=Path("runs/aligned-paper"), checkpoint_steps=1000, checkpoint_seconds=300, log_steps=10
        ),
    ),
}
"""Named starting points: ``small`` (from scratch, minutes on a CPU core) and ``paper`` (ULIP on frozen CLIP)."""
