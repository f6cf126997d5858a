"""Settings of a pre-training run: frozen dataclasses, checked on construction, and the two presets.

The command line is generated from these classes, so a field's docstring is also its line in ``--help``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crosspoint.config.checks import (
    Axis,
    Device,
    Flag,
    ScanObjectNNVariant,
    require,
    require_at_least,
    require_non_negative,
    require_positive,
    require_source,
)
from crosspoint.config.output import OutputConfig

Dataset = Literal["shapes", "shapenet_render", "modelnet40", "modelnet10", "scanobjectnn", "shapenet_part", "folder"]
ProbeDataset = Literal["shapes", "modelnet40", "modelnet10", "scanobjectnn", "shapenet_part", "folder", "none"]
Encoder = Literal["dgcnn", "dgcnn_seg", "pointnet"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The objects to pre-train on."""

    dataset: Dataset = "shapes"
    """shapes: procedural, needs no files. folder: your own clouds. Where there are no images, views are rendered."""
    root: Path | None = None
    """Folder of the dataset; required for all but shapes. `python -m crosspoint.data check FOLDER` tells what it is."""
    images: Path | None = None
    """Folder of images beside that of the clouds, with the same sub-folders and names (folder only)."""
    variant: ScanObjectNNVariant = "obj_bg"
    """Which variant of scanobjectnn: with background, objects alone, or the hardest."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; augmentations turn objects about it and views show it upright."""
    per_class: int = 120
    """Objects per class to generate (shapes only)."""
    num_points: int = 256
    """Points per cloud."""
    image_size: int = 48
    """Height and width of the views in pixels."""
    view_mode: Literal["shaded", "depth"] = "shaded"
    """What a view shows where it is rendered on the fly."""
    workers: int = 0
    """Processes that load data beside the training process; 0 loads in the training process. Never changes results."""
    cache_megabytes: float = 512
    """What each process that loads data keeps of the files in memory, at most."""

    def __post_init__(self) -> None:
        require_source("data", self.dataset, self.root, self.up_axis)
        require_at_least("data.per_class", self.per_class, 1)
        require_at_least("data.num_points", self.num_points, 2)
        require_at_least("data.image_size", self.image_size, 32)
        require_at_least("data.workers", self.workers, 0)
        require_non_negative("data.cache_megabytes", self.cache_megabytes)
        if self.images is not None and self.dataset != "folder":
            raise ValueError(f"data.images must be left out unless data.dataset=folder, got {self.images}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoders and their projection heads."""

    encoder: Encoder = "dgcnn"
    """Network on clouds. dgcnn_seg is DGCNN for segmentation, to be fine-tuned on parts."""
    k: int = 15
    """Neighbours of a point (itself included) in the graph of each EdgeConv layer (dgcnn and dgcnn_seg)."""
    widths: tuple[int, ...] = (64, 64, 128, 256)
    """Output channels of the EdgeConv layers (dgcnn only)."""
    embedding: int = 256
    """Channels per point before pooling, and of a cloud's feature; dgcnn's has twice as many (maximum and mean)."""
    t_net: bool = False
    """Whether pointnet has its T-Nets, which turn points and features by matrices predicted from the cloud."""
    cloud_hidden: int = 1024
    """Hidden units of the projection head on clouds."""
    image_hidden: int = 512
    """Hidden units of the projection head on images."""
    projection: int = 256
    """Size of the space in which the losses compare clouds and images."""
    resnet: Literal[18, 34, 50] = 18
    """Depth of the image encoder."""
    resnet_width: int = 32
    """Channels of the image encoder's stem; 64 is the usual ResNet."""
    resnet_weights: str | None = None
    """Folder or hub name of pre-trained image weights, whose own depth and width then count; None: random weights."""

    def __post_init__(self) -> None:
        require_at_least("model.k", self.k, 1)
        require(
            self.encoder == "pointnet" or not self.t_net,
            "model.t_net must be left out unless model.encoder=pointnet (dgcnn_seg always has one)",
            f"model.encoder={self.encoder}",
        )
        require(len(self.widths) > 0, "model.widths must name at least one layer", self.widths)
        for width in self.widths:
            require_at_least("every entry of model.widths", width, 1)
        for name in ("embedding", "cloud_hidden", "image_hidden", "projection"):
            require_at_least(f"model.{name}", getattr(self, name), 1)
        require_at_least("model.resnet_width", self.resnet_width, 4)


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig:
    """The losses and how they are minimised."""

    epochs: int = 4
    """Passes over the data."""
    batch_size: int = 32
    """Objects per step, over all processes together; an incomplete last batch is left out."""
    learning_rate: float = 1e-3
    """Adam's rate at the first step; it falls to 0 along a cosine, one step at a time."""
    weight_decay: float = 1e-6
    """Adam's L2 penalty."""
    temperature: float = 0.1
    """Temperature of the NT-Xent losses."""
    intra_weight: float = 1.0
    """Weight of the loss between two augmented clouds of one object."""
    cross_weight: float = 1.0
    """Weight of the loss between an object's clouds and its image."""

    def __post_init__(self) -> None:
        require_at_least("optimisation.epochs", self.epochs, 1)
        require_at_least("optimisation.batch_size", self.batch_size, 2)
        require_positive("optimisation.learning_rate", self.learning_rate)
        require_non_negative("optimisation.weight_decay", self.weight_decay)
        require_positive("optimisation.temperature", self.temperature)
        require_non_negative("optimisation.intra_weight", self.intra_weight)
        require_non_negative("optimisation.cross_weight", self.cross_weight)
        require(
            self.intra_weight + self.cross_weight > 0,
            "optimisation.intra_weight and optimisation.cross_weight must not both be 0",
            f"{self.intra_weight} and {self.cross_weight}",
        )


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The linear probe after training: a linear SVM on frozen features, tested on held-out objects."""

    dataset: ProbeDataset = "shapes"
    """Labelled clouds to probe on; none leaves the probe and the figure of features out."""
    root: Path | None = None
    """Folder of the dataset; required for all but shapes. A folder must hold train and test as sub-folders."""
    variant: ScanObjectNNVariant = "obj_bg"
    """Which variant of scanobjectnn: with background, objects alone, or the hardest."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; they are turned to stand as those of the pre-training do."""
    per_class: int = 32
    """Objects per class to generate for each of the two splits (shapes only)."""
    num_points: int = 256
    """Points per cloud."""
    c: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    """Values of the SVM's C to try; with more than one, a part of the training split held back chooses among them."""
    select_epochs: int = 1
    """Epochs between two looks at that held-back part, which keep the best network in best.pt; 0: only the last."""

    def __post_init__(self) -> None:
        require_source("probe", self.dataset, self.root, self.up_axis)
        require_at_least("probe.per_class", self.per_class, 4)
        require_at_least("probe.num_points", self.num_points, 2)
        require_at_least("probe.select_epochs", self.select_epochs, 0)
        require(len(self.c) > 0, "probe.c must hold at least one value", self.c)
        for value in self.c:
            require_positive("every entry of probe.c", value)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A pre-training run."""

    data: DataConfig = field(default_factory=DataConfig)
    """The objects to pre-train on."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The encoders and their projection heads."""
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    """The losses and how they are minimised."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """The linear probe after training."""
    output: OutputConfig = field(default_factory=OutputConfig)
    """Where results go, and how often."""
    seed: int = 0
    """Seed of everything random: weights, objects, order, augmentations. The same seed gives the same run."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    resume: Flag = False
    """Continue the run in output.directory from its last checkpoint."""
    traceback: Flag = False
    """Show the full traceback of an error instead of one line."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32", self.seed)
        for name, num_points in (("data", self.data.num_points), ("probe", self.probe.num_points)):
            used = name == "data" or self.probe.dataset != "none"
            if used and self.model.encoder != "pointnet" and self.model.k > num_points:
                raise ValueError(
                    f"model.k must be at most {name}.num_points, got model.k={self.model.k} and "
                    f"{name}.num_points={num_points}"
                )


PRESETS: dict[str, Config] = {
    "quick": Config(),
    "paper": Config(
        data=DataConfig(dataset="shapenet_render", root=Path("data"), num_points=2048, image_size=224, workers=4),
        model=ModelConfig(k=15, embedding=1024, resnet=50, resnet_width=64),
        optimisation=OptimisationConfig(epochs=100, batch_size=20, learning_rate=1e-3, weight_decay=1e-6),
        probe=ProbeConfig(dataset="modelnet40", root=Path("data/modelnet40_ply_hdf5_2048"), num_points=1024),
        output=OutputConfig(directory=Path("runs/paper"), checkpoint_steps=1000, checkpoint_seconds=300, log_steps=10),
    ),
}
"""Named starting points of the command line: ``quick`` (minutes on two CPU cores) and ``paper`` (as published)."""
