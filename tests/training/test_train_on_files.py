"""Pre-training every encoder on every kind of data on disk, and what happens when files are not what they should be."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from crosspoint.config.pretrain import Config, DataConfig, ModelConfig, ProbeConfig
from crosspoint.data import CloudFolder, ModelNet10, ModelNet40, ScanObjectNN, ShapeNetPart
from crosspoint.data.labelled import Drawing, labelled_clouds
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.run import CHECKPOINT_NAME
from crosspoint.engine.sampler import ResumableBatchSampler
from crosspoint.pretraining.datasets import pretraining_dataset, probe_datasets
from crosspoint.train import main

TINY = """
    --data.num-points 24 --data.image-size 32
    --model.k 4 --model.widths 8 8 --model.embedding 8 --model.cloud-hidden 8 --model.image-hidden 8
    --model.projection 8 --model.resnet-width 4
    --optimisation.batch-size 3 --optimisation.epochs 1
    --probe.dataset none --output.no-tensorboard --device cpu
""".split()  # noqa: SIM905 (this is how it is typed)
SHAPES = ["--data.per-class", "1"]


def train(directory: Path, *options: str) -> int:
    return main([*TINY, "--output.directory", str(directory), *options])


def rows(file: Path, count: int, **more: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as content:
        content["data"] = np.random.default_rng(count).normal(size=(count, 30, 3)).astype(np.float32)
        content["label"] = np.arange(count) % 2
        for name, values in more.items():
            content[name] = values


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    """A small folder for each dataset on disk; the plain one has a picture of one of its clouds."""
    base = tmp_path / "data"
    names = "bathtub bed chair desk dresser monitor night_stand sofa table toilet".split()  # noqa: SIM905
    for split, count in (("train", 6), ("test", 4)):
        rows(base / "modelnet" / f"ply_data_{split}0.h5", count)
        long = {"train": "training", "test": "test"}[split]
        rows(base / "scans" / "main_split_nobg" / f"{long}_objectdataset.h5", count)
        rows(base / "parts" / f"ply_data_{split}0.h5", count, pid=np.repeat(np.arange(count)[:, None] % 2 * 4, 30, 1))
        for number in range(count):
            file = base / "folder" / split / ("a", "b")[number % 2] / f"{number}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, np.random.default_rng(number).normal(size=(30, 3)))
    (base / "modelnet" / "shape_names.txt").write_text("\n".join(names))
    picture = base / "images" / "train" / "a" / "0.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (40, 40), (9, 9, 9)).save(picture)
    found = {"modelnet40": "modelnet", "modelnet10": "modelnet", "scanobjectnn": "scans", "shapenet_part": "parts"}
    return {"folder": base / "folder", **{name: base / folder for name, folder in found.items()}}


KINDS = {
    "modelnet40": ModelNet40,
    "modelnet10": ModelNet10,
    "scanobjectnn": ScanObjectNN,
    "shapenet_part": ShapeNetPart,
    "folder": CloudFolder,
}


@pytest.mark.parametrize("name", KINDS)
def test_the_settings_choose_the_dataset(roots: dict[str, Path], name: Any) -> None:
    data = DataConfig(dataset=name, root=roots[name], up_axis="z", num_points=24, variant="obj_only")
    probe = ProbeConfig(dataset=name, root=roots[name], up_axis="x", num_points=24, variant="obj_only")
    config = Config(data=data, probe=probe, model=ModelConfig(k=4), seed=3)
    dataset = pretraining_dataset(config)
    assert type(dataset) is KINDS[name]
    assert len(dataset) == 6  # the training split only
    assert dataset.up_axis == "z"
    drawn = [dataset[0, epoch]["points"].tolist() for epoch in range(2)]
    assert drawn[0] != drawn[1]
    splits = probe_datasets(config)
    assert splits is not None
    assert [len(split) for split in splits] == [6, 4]
    assert [split.up_axis for split in splits] == ["x", "x"]
    assert splits[0].class_names == splits[1].class_names
    assert splits[1][0]["points"].tolist() == splits[1][0]["points"].tolist()


def test_there_is_no_other_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^dataset must be one of modelnet40, .* and folder, got 'shapenet_render'$"):
        labelled_clouds("shapenet_render", tmp_path, "train", Drawing(num_points=8, seed=0))


def test_all_clouds_of_a_folder_without_splits_are_trained_on(roots: dict[str, Path]) -> None:
    data = DataConfig(dataset="folder", root=roots["folder"] / "test", num_points=24)
    assert len(pretraining_dataset(Config(data=data, model=ModelConfig(k=4)))) == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.encoder", "pointnet"], "PointNet without T-Nets, 8 features"),
        (["--model.encoder", "pointnet", "--model.t-net"], "PointNet with T-Nets, 8 features"),
        (["--model.encoder", "dgcnn_seg"], "DGCNN for segmentation, k 4, 8 features"),
    ],
)
def test_every_encoder_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert train(tmp_path, *SHAPES, *options) == 0
    assert named in capsys.readouterr().out
    assert load_checkpoint(tmp_path / CHECKPOINT_NAME)["step"] == 8


def test_own_clouds_with_some_pictures(tmp_path: Path, roots: dict[str, Path]) -> None:
    root = roots["folder"]
    options = ["--data.dataset", "folder", "--data.root", str(root), "--data.images", str(root.parent / "images")]
    assert train(tmp_path / "run", *options) == 0
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)["step"] == 2


# Files that are not what they should be


def test_a_truncated_file(tmp_path: Path, roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = roots["modelnet40"] / "ply_data_train0.h5"
    file.write_bytes(file.read_bytes()[:-500])
    options = ["--data.dataset", "modelnet40", "--data.root", str(roots["modelnet40"])]
    assert train(tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: a ModelNet40 file must be a complete HDF5 file, got {re.escape(str(file))} .*\n$", error)


def test_a_wrong_layout(tmp_path: Path, roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (
        ("modelnet40", "a ModelNet40 folder must hold shape_names.txt, got no file "),
        ("scanobjectnn", "a ScanObjectNN folder must hold main_split/training_objectdataset.h5, got no file "),
        ("shapenet_part", "a ShapeNetPart folder must hold files ply_data_train*.h5, got none in "),
        ("shapenet_render", "a ShapeNetRender folder must hold ShapeNet, got no folder "),
    ):
        assert train(tmp_path / "run", "--data.dataset", name, "--data.root", str(roots["folder"])) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1
    assert not (tmp_path / "run" / CHECKPOINT_NAME).exists()


def test_a_file_that_breaks_costs_no_step(
    tmp_path: Path, roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    second_batch = list(ResumableBatchSampler(6, 3, 1, seed=0))[1]
    file = CloudFolder(roots["folder"], "train").files[second_batch[0][0]]
    content = file.read_bytes()
    options = ["--data.dataset", "folder", "--data.root", str(roots["folder"]), "--optimisation.epochs", "3"]
    assert train(tmp_path / "whole", *options) == 0
    file.write_bytes(content[:-9])
    capsys.readouterr()
    assert train(tmp_path / "run", *options, "--output.log-steps", "5") == 2
    error = capsys.readouterr().err
    done = load_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)["step"]
    assert re.match(
        f"error: a point cloud must be a complete NPY file, got {re.escape(str(file))} .* "
        rf"\(all {done} steps until then are in the checkpoint\); continue with: python -m .* --resume\n$",
        error,
    )
    assert done == 1
    file.write_bytes(content)
    assert train(tmp_path / "run", *options, "--output.log-steps", "5", "--resume") == 0
    ours, theirs = (load_checkpoint(tmp_path / name / CHECKPOINT_NAME)["model"] for name in ("run", "whole"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_pictures_are_used_where_there_are_some(roots: dict[str, Path]) -> None:
    root = roots["folder"]
    data = DataConfig(dataset="folder", root=root, images=root.parent / "images", num_points=24, image_size=32)
    dataset = pretraining_dataset(Config(data=data, model=ModelConfig(k=4)))
    assert isinstance(dataset, CloudFolder)
    assert dataset.rendered == 5
    assert int(dataset[0]["image"].float().mean()) == 9
