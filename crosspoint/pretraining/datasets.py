"""The datasets that a pre-training and its probe are made on."""

from __future__ import annotations

from pathlib import Path

from crosspoint.config.pretrain import Config, DataConfig
from crosspoint.data.datasets.folder import CloudFolder
from crosspoint.data.datasets.shapenet_render import ShapeNetRender
from crosspoint.data.labelled import CloudDataset, Drawing, labelled_clouds
from crosspoint.data.shapes import Shapes

# The probe's objects do not follow the run's seed: runs with different seeds are judged on the same objects.
_PROBE_SEED = 0


def pretraining_dataset(config: Config) -> CloudDataset:
    """The objects to pre-train on; their labels are not used.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    data = config.data
    if data.dataset == "shapes":
        return Shapes("train", per_class=data.per_class, num_points=data.num_points, seed=config.seed)
    assert data.root is not None  # the configuration checks it
    if data.dataset == "shapenet_render":
        return ShapeNetRender(
            data.root,
            num_points=data.num_points,
            image_size=data.image_size,
            seed=config.seed,
            up_axis=data.up_axis,
            view_mode=data.view_mode,
            cache_megabytes=data.cache_megabytes,
        )
    if data.dataset == "folder":
        return _own_clouds(data, data.root, config.seed)
    return labelled_clouds(
        data.dataset,
        data.root,
        "train",
        Drawing(
            num_points=data.num_points,
            seed=config.seed,
            subset="random",
            up_axis=data.up_axis,
            cache_megabytes=data.cache_megabytes,
        ),
        variant=data.variant,
    )


def _own_clouds(data: DataConfig, root: Path, seed: int) -> CloudFolder:
    """The clouds of folders named train, or all clouds where there is no such folder."""
    return CloudFolder(
        root,
        "train" if any(folder.is_dir() for folder in root.rglob("train")) else None,
        data.num_points,
        seed,
        images=data.images,
        image_size=data.image_size,
        view_mode=data.view_mode,
        up_axis=data.up_axis,
        cache_megabytes=data.cache_megabytes,
    )


def probe_datasets(config: Config) -> tuple[CloudDataset, CloudDataset] | None:
    """Training and test split of the linear probe, or None where it is left out.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    probe = config.probe
    if probe.dataset == "none":
        return None
    if probe.dataset == "shapes":
        return (
            Shapes("train", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
            Shapes("test", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
        )
    assert probe.root is not None
    drawing = Drawing(num_points=probe.num_points, seed=_PROBE_SEED, up_axis=probe.up_axis)
    return (
        labelled_clouds(probe.dataset, probe.root, "train", drawing, variant=probe.variant),
        labelled_clouds(probe.dataset, probe.root, "test", drawing, variant=probe.variant),
    )
