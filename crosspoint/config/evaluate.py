"""Settings of the evaluations: frozen dataclasses, checked on construction; one for each protocol.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crosspoint.config.checks import (
    Axis,
    Device,
    Flag,
    require,
    require_at_least,
    require_non_negative,
    require_positive,
)
from crosspoint.config.evaluated_data import ClassifiedData, PairedData, PartData
from crosspoint.config.pairs import PairDataConfig
from crosspoint.config.pretrain import ModelConfig

Protocol = Literal["honest", "official"]


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Training with labels: cross-entropy, Adam, cosine schedule to 0."""

    epochs: int = 50
    """Passes over the labelled clouds."""
    batch_size: int = 32
    """Clouds per step; an incomplete last batch is left out."""
    learning_rate: float = 1e-3
    """Adam's rate at the first step."""
    weight_decay: float = 1e-4
    """Adam's L2 penalty."""
    dropout: float = 0.5
    """Dropout in the head."""
    label_smoothing: float = 0.2
    """Share of the target spread evenly over all classes."""
    augment: bool = True
    """Scale (2/3 to 3/2), move (up to 0.2 of the extent) and reorder the training clouds at random."""
    workers: int = 0
    """Processes that load data beside the training process. Never changes results."""
    checkpoint_seconds: float = 60.0
    """Write a checkpoint at least this often; one is written at the end of every training too."""

    def __post_init__(self) -> None:
        require_at_least("training.epochs", self.epochs, 1)
        require_at_least("training.batch_size", self.batch_size, 2)
        require_positive("training.learning_rate", self.learning_rate)
        require_non_negative("training.weight_decay", self.weight_decay)
        require(0 <= self.dropout < 1, "training.dropout must lie in [0, 1)", self.dropout)
        require(0 <= self.label_smoothing < 1, "training.label_smoothing must lie in [0, 1)", self.label_smoothing)
        require_at_least("training.workers", self.workers, 0)
        require_positive("training.checkpoint_seconds", self.checkpoint_seconds)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all evaluations have in common."""

    checkpoint: Path | None = None
    """A run's folder, a checkpoint, or official weights, compared with random weights; none: random weights alone."""
    output: Path | None = None
    """Folder for results; if left out, the run's folder, or runs/<name of the weights>, or runs/random."""
    seed: int = 0
    """Seed of random weights (where no run has its own), of batches and of augmentations."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    traceback: Flag = False
    """Show the full traceback of an error instead of one line."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32", self.seed)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Task):
    """What the evaluations of a cloud encoder have in common."""

    weights: Literal["last", "best"] = "last"
    """Which network of a run's folder: the last, or the best on held-back training clouds of the probe."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The encoder where there is no checkpoint to say what it is."""

    def __post_init__(self) -> None:
        if self.checkpoint is not None and str(self.checkpoint).lower() == "none":
            object.__setattr__(self, "checkpoint", None)
        super().__post_init__()
        if self.checkpoint is not None and self.model != ModelConfig():
            raise ValueError("model.* must be left out when the checkpoint says what the encoder is, got other values")


@dataclass(frozen=True, kw_only=True)
class Linear(Evaluation):
    """Linear SVM on frozen features of clouds.

    C is chosen on a quarter of the training split held back; results for fixed values of C stand beside it. The
    official protocol takes the best test accuracy over all C and over the last and the best checkpoint: it is an upper
    bound, not an estimate.
    """

    data: ClassifiedData = field(default_factory=ClassifiedData)
    """The labelled clouds."""
    protocol: Protocol = "honest"
    """honest: nothing is chosen by test data. official: C and checkpoint are, as in the authors' code."""
    choices: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0)
    """Values of C to choose from; random weights, whose features are small, need large ones."""
    fixed: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Values of C to report whatever is chosen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("choices", "fixed"):
            require(len(getattr(self, name)) > 0, f"{name} must hold at least one value", getattr(self, name))
            for value in getattr(self, name):
                require_positive(f"every entry of {name}", value)


@dataclass(frozen=True, kw_only=True)
class FewShot(Evaluation):
    """K-way m-shot classification: a linear SVM on the features of m clouds of each of K classes, over many draws.

    Support clouds come from the training split and queries from the test split. The official protocol draws both from
    the training split, and gives the encoder 5 neighbours whatever it was trained with.
    """

    data: ClassifiedData = field(default_factory=ClassifiedData)
    """The labelled clouds."""
    protocol: Protocol = "honest"
    """honest: queries from the test split, k as in the training. official: the authors' code."""
    ways: tuple[int, ...] = (5, 10)
    """Classes per draw."""
    shots: tuple[int, ...] = (10, 20)
    """Support clouds per class."""
    queries: int = 20
    """Query clouds per class."""
    runs: int = 50
    """Draws; mean and standard deviation are over them."""
    c: float = 1.0
    """The SVM's C."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("ways", 2), ("shots", 1)):
            require(len(getattr(self, name)) > 0, f"{name} must hold at least one number", getattr(self, name))
            for value in getattr(self, name):
                require_at_least(f"every entry of {name}", value, low)
        require_at_least("queries", self.queries, 1)
        require_at_least("runs", self.runs, 1)
        require_positive("c", self.c)


@dataclass(frozen=True, kw_only=True)
class Finetune(Evaluation):
    """Classification with all weights trained: from the pre-trained encoder against from random weights.

    The network after the last epoch counts. The official protocol tests after every epoch and takes the best.
    A run that was stopped continues where it was when the same command is given again.
    """

    data: ClassifiedData = field(default_factory=ClassifiedData)
    """The labelled clouds."""
    training: SupervisedConfig = field(default_factory=SupervisedConfig)
    """How the weights are trained."""
    protocol: Protocol = "honest"
    """honest: the last epoch. official: the epoch that does best on the test split."""
    fractions: tuple[float, ...] = (1.0, 0.1)
    """Shares of the training labels to train on, each class keeping its share; the smaller are parts of the larger."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.fractions) > 0, "fractions must hold at least one value", self.fractions)
        for value in self.fractions:
            require(0 < value <= 1, "every entry of fractions must lie in (0, 1]", value)


@dataclass(frozen=True, kw_only=True)
class PartSeg(Evaluation):
    """Part segmentation with all weights trained: from the pre-trained encoder against from random weights.

    Mean IoU by the rules of ShapeNetPart: over the parts of the object's category, a part that is neither there nor
    predicted counting 1. Predictions are among the category's parts. Training and validation clouds are trained on and
    the last epoch counts. The official protocol predicts among all parts, tests after every epoch and takes the best.
    A run that was stopped continues where it was when the same command is given again.
    """

    data: PartData = field(default_factory=PartData)
    """The clouds with part labels."""
    training: SupervisedConfig = field(default_factory=lambda: SupervisedConfig(batch_size=8))
    """How the weights are trained."""
    protocol: Protocol = "honest"
    """honest: the last epoch. official: the epoch that does best on the test split."""


@dataclass(frozen=True, kw_only=True)
class Retrieval(Evaluation):
    """Image to cloud and back in the space of the projection heads: is the object's own cloud among the k nearest?

    Needs a checkpoint of CrossPoint with both encoders and heads, not just an encoder.
    """

    data: PairedData = field(default_factory=PairedData)
    """The objects."""
    k: tuple[int, ...] = (1, 5, 10)
    """Ranks that count as a hit."""
    shown: int = 4
    """Queries in the picture, in each direction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.k) > 0, "k must hold at least one number", self.k)
        for value in self.k:
            require_at_least("every entry of k", value, 1)
        require_at_least("shown", self.shown, 1)


@dataclass(frozen=True, kw_only=True)
class Robustness(Evaluation):
    """A linear SVM fitted on clean training clouds, tested on clouds that are changed more and more.

    Noise, dropped points, rotation, scale and occlusion at five strengths; the same changes for every encoder.
    """

    data: ClassifiedData = field(default_factory=ClassifiedData)
    """The labelled clouds."""
    choices: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0)
    """Values of C to choose from, on held-back training clouds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.choices) > 0, "choices must hold at least one value", self.choices)
        for value in self.choices:
            require_positive("every entry of choices", value)


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Task):
    """Classes by their names alone, with an aligned model: from pictures, from clouds, and from both together.

    Both together are the mean of the two branches' probabilities, that of the pictures over all views of an object.
    """

    checkpoint: Path | None = None
    """A run or model of crosspoint.align or crosspoint.selftrain, weights of ULIP, or a CLIP's folder or hub name."""
    data: PairDataConfig = field(default_factory=PairDataConfig)
    """The objects; their test split counts."""
    templates: Literal["plain", "modelnet"] = "modelnet"
    """Prompts that classes are named with, where the model still reads text."""
    clip: str | None = None
    """Folder or hub name of a CLIP: its tokenizer reads the class names for weights of ULIP or Cross-MoST."""
    dvae: Path | None = None
    """Weights of Point-BERT's dVAE, where the checkpoint has none of the cloud's tokens."""
    groups: int = 64
    """Groups of points per cloud, where the weights do not tell."""
    group_size: int = 32
    """Points per group, where the weights do not tell."""
    up_axis: Axis = "y"
    """Vertical axis of the clouds that the model was trained on; the data's are turned to stand like them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is None:
            raise ValueError("checkpoint must name an aligned model, got none")
        require_at_least("groups", self.groups, 1)
        require_at_least("group_size", self.group_size, 1)


def settings(task: object) -> dict[str, object]:
    """Settings of a task as nested plain values, for its results."""

    def plain(value: object) -> object:
        if dataclasses.is_dataclass(value):
            return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    content = plain(task)
    assert isinstance(content, dict)
    return content
