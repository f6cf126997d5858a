"""Settings of self-training: frozen dataclasses, checked on construction, and the presets.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crosspoint.config.adamw import AdamWConfig
from crosspoint.config.checks import (
    Axis,
    Device,
    Flag,
    require,
    require_at_least,
    require_factors,
    require_non_negative,
    require_positive,
    require_share,
)
from crosspoint.config.cross_most import CrossMostWeights
from crosspoint.config.output import OutputConfig
from crosspoint.config.pairs import PairDataConfig

LabelSource = Literal["joint", "separate", "image", "cloud", "naive", "agreement", "true"]
Templates = Literal["plain", "modelnet"]


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Where the labels come from that the student is trained with."""

    source: LabelSource = "joint"
    """joint: the more confident branch labels for both. separate: each branch for itself. image, cloud: that branch
    alone is trained, by itself. naive: a branch drawn by lot. agreement: where both say the same. true: the true labels
    (the supervised ceiling)."""
    threshold: float = 0.84
    """A label counts if its confidence is above this (joint, naive)."""
    agreement_threshold: float = 0.2
    """A label counts if the lower of both branches' confidences is above this (agreement)."""
    cloud_weight: float = 0.9
    """Factor of the cloud branch's confidence (joint, naive, agreement)."""
    image_threshold: float = 0.8
    """The threshold of the image branch's own labels (separate, image)."""
    cloud_threshold: float = 0.82
    """The threshold of the cloud branch's own labels (separate, cloud)."""
    patience: int = 1
    """Stop when so many epochs in a row had no confident label; 0 never stops."""

    def __post_init__(self) -> None:
        for name in ("threshold", "agreement_threshold", "image_threshold", "cloud_threshold"):
            require_share(f"labels.{name}", getattr(self, name))
        require_positive("labels.cloud_weight", self.cloud_weight)
        require_at_least("labels.patience", self.patience, 0)

    @property
    def trains_images(self) -> bool:
        """Whether the image branch is trained."""
        return self.source != "cloud"

    @property
    def trains_clouds(self) -> bool:
        """Whether the cloud branch is trained."""
        return self.source != "image"


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """What the student does not see."""

    image_ratio: float = 0.3
    """Share of the image's blocks that are masked; 0 masks nothing."""
    image_block: int = 2
    """Side of a block in patches."""
    cloud_ratio: tuple[float, float] = (0.3, 0.4)
    """Share of a cloud's groups that are masked, drawn from this range; 0 0 masks nothing."""

    def __post_init__(self) -> None:
        require_share("masks.image_ratio", self.image_ratio)
        require_at_least("masks.image_block", self.image_block, 1)
        low, high = self.cloud_ratio
        require(0 <= low <= high <= 1, "masks.cloud_ratio must be a range inside [0, 1]", self.cloud_ratio)


@dataclass(frozen=True, kw_only=True)
class StrongViewConfig:
    """How strongly the student's views are changed; the defaults are those of the paper's code."""

    cloud_scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor by which clouds are scaled."""
    cloud_move: float = 0.5
    """Clouds are moved by up to this share of their extent along each axis."""
    cloud_dropout: float = 0.875
    """Largest share of a cloud's points that fall on the first one."""
    cloud_points: int | None = None
    """Points that clouds with fewer are brought to by means of neighbours; the paper's code: 8192. None: no more."""
    image_crop: tuple[float, float] = (0.3, 1.0)
    """Range of the share of an image's area that is kept."""
    image_operations: int = 2
    """Operations of RandAugment on each image."""
    image_magnitude: float = 9.0
    """Their mean strength, in [0, 10]."""

    def __post_init__(self) -> None:
        for name in ("cloud_scale", "image_crop"):
            require_factors(f"views.{name}", getattr(self, name))
        require(self.image_crop[1] <= 1, "views.image_crop must be a range inside (0, 1]", self.image_crop)
        require_non_negative("views.cloud_move", self.cloud_move)
        require_share("views.cloud_dropout", self.cloud_dropout)
        if self.cloud_points is not None:
            require_at_least("views.cloud_points", self.cloud_points, 1)
        require_at_least("views.image_operations", self.image_operations, 0)
        require(0 <= self.image_magnitude <= 10, "views.image_magnitude must lie in [0, 10]", self.image_magnitude)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The teacher: a moving average of the student."""

    start: float = 0.99
    """Share of itself that it keeps at the first step."""
    end: float = 0.9998
    """The same at the end of the ramp."""
    ramp_steps: int = 400
    """Steps over which the share grows."""

    def __post_init__(self) -> None:
        require_share("teacher.start", self.start)
        require_share("teacher.end", self.end)
        require_at_least("teacher.ramp_steps", self.ramp_steps, 0)


@dataclass(frozen=True, kw_only=True)
class QuirkConfig:
    """Where the paper's code does what was hardly meant; each default is what was probably meant."""

    point_target: Literal["unmasked", "masked"] = "unmasked"
    """What masked groups are to be reconstructed to: their tokens, or the masked tokens themselves as in the code."""
    pixel_divisor: Literal["channels", "tokens"] = "channels"
    """What the error of pixels is divided by: 3 channels, or the number of tokens as in the code."""
    alignment_scale: Literal["learned", "one"] = "learned"
    """Inverse temperature of the contrast between clouds and images: that of the classifier, or 1 as in the code."""
    crop: Literal["on", "off"] = "on"
    """Whether strong clouds are cropped; the code's crop takes nothing away."""
    decay_temperature: Flag = False
    """Let weight decay pull on the temperature, as the code does."""
    drifting_statistics: Flag = False
    """Let BatchNorms of frozen tokens use and update batch statistics, as the code does."""


@dataclass(frozen=True, kw_only=True)
class SelfTrainingOptimisation(AdamWConfig):
    """How the loss is minimised. The paper's code takes a rate of 2e-5 per 256 objects of a batch."""

    layer_decay: float = 0.65
    """Factor of the rate from each block of the image transformer to the one before it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.layer_decay <= 1, "optimisation.layer_decay must lie in (0, 1]", self.layer_decay)


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Everything about self-training but the data."""

    labels: LabelConfig = field(default_factory=LabelConfig)
    """Where the labels come from."""
    weights: CrossMostWeights = field(default_factory=CrossMostWeights)
    """Weights of the terms of the loss."""
    masks: MaskConfig = field(default_factory=MaskConfig)
    """What the student does not see."""
    views: StrongViewConfig = field(default_factory=StrongViewConfig)
    """How strongly the student's views are changed."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher."""
    quirks: QuirkConfig = field(default_factory=QuirkConfig)
    """Where the paper's code does what was hardly meant."""
    optimisation: SelfTrainingOptimisation = field(
        default_factory=lambda: SelfTrainingOptimisation(
            epochs=200, batch_size=512, learning_rate=4e-5, last_share=0.05, weight_decay=0.05
        )
    )
    """How the loss is minimised."""
    templates: Templates = "modelnet"
    """Prompts that make a classifier of the class names, where the start has none yet."""
    freeze_tokens: bool = True
    """Leave the network that makes tokens of groups of points as it is."""


@dataclass(frozen=True, kw_only=True)
class SelfTrainConfig:
    """Self-training on unlabelled pairs of clouds and images."""

    data: PairDataConfig = field(default_factory=PairDataConfig)
    """The unlabelled objects."""
    init: Path
    """Where to start: a file or run of crosspoint.align, weights of ULIP, or a CLIP's folder or name."""
    method: MethodConfig = field(default_factory=MethodConfig)
    """How to train."""
    clip: str | None = None
    """Folder or name of the CLIP that weights of ULIP are laid over; its tokenizer reads the class names."""
    dvae: Path | None = None
    """Weights of Point-BERT's dVAE, where the start has none of the cloud's tokens."""
    classes: Path | None = None
    """A file with a class name per line; those of the data if left out."""
    up_axis: Axis = "y"
    """Vertical axis of the clouds that the start was aligned on; the data's are turned to stand like them."""
    output: OutputConfig = field(default_factory=lambda: OutputConfig(directory=Path("runs/selftrained")))
    """Where results go, and how often."""
    seed: int = 0
    """Seed of everything random: order, views, augmentations, masks."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    resume: Flag = False
    """Continue the run in output.directory from its last checkpoint."""
    traceback: Flag = False
    """Show the full traceback of an error instead of one line."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32", self.seed)


AS_CODE = QuirkConfig(
    point_target="masked",
    pixel_divisor="tokens",
    alignment_scale="one",
    crop="off",
    decay_temperature=True,
    drifting_statistics=True,
)
"""What the paper's code does; but several processes contrast clouds and images over the batch of all of them, as one
process would, where the code contrasts within each."""

METHODS: dict[str, MethodConfig] = {
    "fixed": MethodConfig(),
    "as-code": MethodConfig(quirks=AS_CODE, views=StrongViewConfig(cloud_points=8192)),
}
"""Presets at the paper's numbers for ModelNet40: what was probably meant, and what the code does."""
