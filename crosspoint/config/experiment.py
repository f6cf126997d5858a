"""Settings of the experiment: align on one domain, self-train on another one without labels, compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crosspoint.config.align import AlignmentOptimisation, AlignmentViews
from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig
from crosspoint.config.checks import Device, Flag, require
from crosspoint.config.cross_most import CrossMostWeights
from crosspoint.config.output import OutputConfig
from crosspoint.config.pairs import PairDataConfig
from crosspoint.config.selftrain import (
    AS_CODE,
    LabelConfig,
    LabelSource,
    MethodConfig,
    SelfTrainingOptimisation,
    StrongViewConfig,
    TeacherConfig,
)

Variant = Literal[
    "joint",
    "image",
    "cloud",
    "supervised",
    "separate",
    "naive",
    "agreement",
    "no-joint-labels",
    "no-alignment",
    "no-masks",
    "no-fairness",
    "as-code",
]


_CLASSES = ("airplane", "bottle", "car", "chair", "guitar", "lamp", "table", "tree")


def _labels(source: LabelSource) -> Callable[[MethodConfig], MethodConfig]:
    return lambda method: dataclasses.replace(method, labels=dataclasses.replace(method.labels, source=source))


def _weights(**changes: float) -> Callable[[MethodConfig], MethodConfig]:
    return lambda method: dataclasses.replace(method, weights=dataclasses.replace(method.weights, **changes))


def _no_masks(method: MethodConfig) -> MethodConfig:
    return dataclasses.replace(method, masks=dataclasses.replace(method.masks, image_ratio=0.0, cloud_ratio=(0.0, 0.0)))


_CHANGES: dict[Variant, tuple[str, Callable[[MethodConfig], MethodConfig]]] = {
    "joint": ("joint self-training", lambda method: method),
    "image": ("image alone", _labels("image")),
    "cloud": ("cloud alone", _labels("cloud")),
    "supervised": ("supervised ceiling (true labels)", _labels("true")),
    "separate": ("each for itself", lambda method: _weights(alignment=0.0)(_labels("separate")(method))),
    "naive": ("labels of a branch by lot", _labels("naive")),
    "agreement": ("labels both agree on", _labels("agreement")),
    "no-joint-labels": ("joint, own labels for each branch", _labels("separate")),
    "no-alignment": ("joint, no alignment", _weights(alignment=0.0)),
    "no-masks": ("joint, no masks", _no_masks),
    "no-fairness": ("joint, no fairness", _weights(image_fairness=0.0, cloud_fairness=0.0)),
    "as-code": ("joint, as the code does it", lambda method: dataclasses.replace(method, quirks=AS_CODE)),
}


def variant_label(variant: Variant) -> str:
    """Its name in tables."""
    return _CHANGES[variant][0]


def variant_method(variant: Variant, method: MethodConfig) -> MethodConfig:
    """The settings of a variant, from those of joint self-training."""
    return _CHANGES[variant][1](method)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Aligns on named source objects, self-trains on unlabelled target objects, compares on the target's test split."""

    source: PairDataConfig = field(
        default_factory=lambda: PairDataConfig(dataset="shapes", per_class=120, image_size=32)
    )
    """The data to align on, whose class names are captions."""
    target: PairDataConfig = field(
        default_factory=lambda: PairDataConfig(
            dataset="shapes_shifted", per_class=120, test_per_class=100, image_size=32
        )
    )
    """The data to self-train on; labels are for the report and the supervised ceiling alone."""
    classes: tuple[str, ...] = _CLASSES
    """Classes to tell apart; none: those that source and target share."""
    align_on: Literal["classes", "all"] = "classes"
    """Whether the model is aligned on these classes alone or on all of the source."""
    model: AlignedConfig = field(
        default_factory=lambda: AlignedConfig(
            image=ImageConfig(image_size=24, patch_size=4), cloud=CloudConfig(groups=16)
        )
    )
    """Sizes of the model."""
    views: AlignmentViews = field(default_factory=lambda: AlignmentViews(dropout=0.3, crop=(0.6, 1.0), masked=0.2))
    """What happens to clouds and images while they are aligned."""
    alignment: AlignmentOptimisation = field(
        default_factory=lambda: AlignmentOptimisation(
            epochs=32, batch_size=64, learning_rate=3e-3, last_share=0.02, weight_decay=0.05, image_text_weight=2.0
        )
    )
    """How the alignment is trained."""
    method: MethodConfig = field(
        default_factory=lambda: MethodConfig(
            labels=LabelConfig(threshold=0.7, cloud_weight=0.8, image_threshold=0.6, cloud_threshold=0.7),
            weights=CrossMostWeights(
                image_fairness=8.0,
                image_modelling=0.1,
                image_global_local=0.02,
                cloud_fairness=8.0,
                cloud_modelling=0.1,
                cloud_global_local=0.02,
                alignment=0.5,
            ),
            views=StrongViewConfig(
                cloud_scale=(0.8, 1.25), cloud_move=0.1, cloud_dropout=0.3, image_crop=(0.6, 1.0), image_magnitude=3.0
            ),
            teacher=TeacherConfig(start=0.95, end=0.995, ramp_steps=60),
            optimisation=SelfTrainingOptimisation(
                epochs=12, batch_size=64, learning_rate=1e-3, last_share=0.05, weight_decay=0.05, layer_decay=0.65
            ),
            templates="plain",
        )
    )
    """How joint self-training is done; variants differ from it as their names say."""
    variants: tuple[Variant, ...] = ("joint", "image", "cloud", "supervised")
    """What to compare. With --resume, others can be added to an experiment."""
    output: OutputConfig = field(default_factory=lambda: OutputConfig(directory=Path("runs/selftraining")))
    """Where results go, and how often."""
    seed: int = 0
    """Seed of everything random. The same seed gives the same experiment."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    resume: Flag = False
    """Continue the experiment in output.directory."""
    traceback: Flag = False
    """Show the full traceback of an error instead of one line."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32", self.seed)
        require(len(self.variants) > 0, "variants must name at least one", self.variants)
        require(len(set(self.variants)) == len(self.variants), "variants must name each once", self.variants)
