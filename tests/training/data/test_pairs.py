"""From the settings of pairs to the datasets they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from crosspoint.config.pairs import PairDataConfig
from crosspoint.data import collate
from crosspoint.data.pairs import pair_datasets
from crosspoint.engine.loading import load_batches
from crosspoint.engine.sampler import ResumableBatchSampler

SMALL: dict[str, Any] = {"num_points": 16, "image_size": 8, "views": 2}


def _cloud(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.random.default_rng(seed).normal(size=(30, 3)).astype(np.float32))


def _picture(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(file)


def _rows(root: Path, prefix: str, counts: dict[str, int]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        with h5py.File(root / prefix.format(split), "w") as content:
            content["data"] = np.random.default_rng(0).normal(size=(count, 30, 3)).astype(np.float32)
            content["label"] = np.arange(count) % 2


@pytest.mark.parametrize("dataset", ["shapes", "shapes_shifted"])
def test_procedural_pairs(dataset: Any) -> None:
    data = PairDataConfig(dataset=dataset, per_class=1, test_per_class=2, **SMALL)
    pairs, other = pair_datasets(data, 1), pair_datasets(data, 2)
    assert pairs.test is not None
    assert other.test is not None
    assert (len(pairs.train), len(pairs.test)) == (24, 48)
    assert pairs.class_names == tuple(pairs.test.class_names)
    assert sorted(pairs.train[0]) == ["image", "label", "points"]
    assert pairs.test[0]["views"].shape == (2, 3, 8, 8)
    assert not torch.equal(pairs.train[0]["points"], other.train[0]["points"])
    assert torch.equal(pairs.test[0]["points"], other.test[0]["points"]), "all seeds are judged on the same objects"


def test_severity_reaches_the_objects() -> None:
    bad, good = (
        pair_datasets(PairDataConfig(per_class=1, severity=(at, at), **SMALL), 0).train[3]["image"] for at in (1.0, 0.0)
    )
    assert not torch.equal(bad, good)
    whole, part = (
        pair_datasets(PairDataConfig(per_class=1, viewpoints=count, **SMALL), 0).train[3]["points"] for count in (0, 1)
    )
    assert not torch.equal(whole, part)


def test_batches_load_in_other_processes_as_here() -> None:
    pairs = pair_datasets(PairDataConfig(per_class=1, **SMALL), 0)
    under = pair_datasets(PairDataConfig(per_class=1, rename=("knife=sword",), **SMALL), 0, ["sword", "mug"])
    assert under.train.labels == [0, 1]
    batches = []
    for workers in (0, 1):
        sampler = ResumableBatchSampler(len(pairs.train), 8, epochs=1, seed=3)
        batches.append(list(load_batches(pairs.train, sampler, workers=workers, pin_memory=False)))
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(here[key], there[key]) for key in ("points", "image", "label"))  # type: ignore[literal-required]


def _folder(root: Path) -> None:
    for number, place in enumerate(("train/cup/a", "train/bed/b", "test/cup/c", "test/bed/d")):
        _cloud(root / f"{place}.npy", number)
        _picture(root / f"{place}.png", 10 * number)


def test_a_folder_with_splits_and_pictures_beside_the_clouds(tmp_path: Path) -> None:
    _folder(tmp_path)
    pairs = pair_datasets(PairDataConfig(dataset="folder", root=tmp_path, **SMALL), 0)
    assert pairs.class_names == ("bed", "cup")
    assert [int(pairs.train[index]["image"][0, 0, 0]) for index in range(2)] == [10, 0]
    assert pairs.test is not None
    assert pairs.test[0]["views"][:, 0, 0, 0].tolist() == [30, 30]
    one = pair_datasets(PairDataConfig(dataset="folder", root=tmp_path, **SMALL), 0, ["Cup", "boat"])
    assert one.train.labels == [0]


def test_a_folder_without_pictures_or_splits(tmp_path: Path) -> None:
    for number in range(20):
        _cloud(tmp_path / ("cup" if number % 2 else "bed") / f"{number}.npy", number)
    pairs = pair_datasets(PairDataConfig(dataset="folder", root=tmp_path, hold_out=0.2, **SMALL), 0)
    assert pairs.test is not None
    assert (len(pairs.train), len(pairs.test)) == (16, 4)
    assert sorted(pairs.test.labels) == [0, 0, 1, 1]
    assert pairs.test[0]["views"].float().std() > 1, "rendered"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"^at least one object must have a picture, got none in .* of .*nothing$"):
        pair_datasets(PairDataConfig(dataset="folder", root=tmp_path, images=tmp_path / "nothing", **SMALL), 0)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_clouds_of_unknown_class(unlabelled: bool, tmp_path: Path) -> None:
    for number in range(3):
        _cloud(tmp_path / ("monday" if unlabelled else "") / f"{number}.npy", number)
    data = PairDataConfig(dataset="folder", root=tmp_path, unlabelled=unlabelled, **SMALL)
    pairs = pair_datasets(data, 0, ["cup", "bed"])
    assert (len(pairs.train), pairs.test) == (3, None)
    assert collate([pairs.train[index] for index in range(3)])["label"].tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"^class names must be given for data without folders of classes, got none"):
        pair_datasets(data, 0)
    if unlabelled:
        labelled = PairDataConfig(dataset="folder", root=tmp_path, **SMALL)
        with pytest.raises(ValueError, match=r"^at least one class .* among the class names, got data of monday"):
            pair_datasets(labelled, 0, ["cup", "bed"])


def test_hdf5_layouts(tmp_path: Path) -> None:
    modelnet, scans = tmp_path / "modelnet", tmp_path / "scans"
    _rows(modelnet, "ply_data_{}0.h5", {"train": 4, "test": 2})
    (modelnet / "shape_names.txt").write_text("night_stand\ncup\n")
    _rows(scans / "main_split", "{}_objectdataset.h5", {"training": 2, "test": 2})
    _picture(scans / "main_split" / "training_objectdatasetimage" / "0" / "0.png", 77)
    pairs = pair_datasets(PairDataConfig(dataset="modelnet40", root=modelnet, up_axis="z", **SMALL), 0, ["night stand"])
    assert pairs.test is not None
    assert (pairs.train.labels, pairs.test.labels) == ([0, 0], [0])
    assert pairs.train.up_axis == "z"
    assert not torch.equal(pairs.train[0, 0]["points"], pairs.train[0, 1]["points"])
    assert torch.equal(pairs.test[0, 0]["points"], pairs.test[0, 1]["points"])
    found = pair_datasets(PairDataConfig(dataset="scanobjectnn", root=scans, **SMALL), 0)
    assert int(found.train[0]["image"].max()) == 77


def test_other_layouts_are_reached(tmp_path: Path) -> None:
    for dataset, rule in {
        "redwood": "a Redwood folder must hold meshpreprocessed3/",
        "co3d": "a CO3D folder must hold data_preprocessed/",
        "modelnet_meshes": "a folder of ModelNet meshes must hold <class>/train/",
        "modelnet10": "a ModelNet40 folder must hold shape_names.txt",
        "shapenet_render": "a ShapeNetRender folder must hold ShapeNet",
    }.items():
        data = PairDataConfig(dataset=dataset, root=tmp_path, **SMALL)  # type: ignore[arg-type]
        with pytest.raises((FileNotFoundError, ValueError), match=f"^{rule}"):
            pair_datasets(data, 0)
    mesh = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n"
    for place in ("cup/train/cup_1", "cup/test/cup_2"):
        file = tmp_path / "meshes" / f"{place}.off"
        file.parent.mkdir(parents=True)
        file.write_text(mesh)
    pairs = pair_datasets(PairDataConfig(dataset="modelnet_meshes", root=tmp_path / "meshes", **SMALL), 0)
    assert pairs.test is not None
    assert pairs.test[0]["views"].shape == (2, 3, 8, 8)


def test_shapenet_render(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    for number in range(10):
        file = tmp_path / "ShapeNet" / "cup" / f"{number}.ply"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{header}end_header\n0 0 0\n1 0 0\n0 1 {number}\n")
        _picture(tmp_path / "ShapeNetRendering" / "cup" / str(number) / "rendering" / "00.png", number)
    pairs = pair_datasets(PairDataConfig(dataset="shapenet_render", root=tmp_path, **SMALL), 0)
    assert pairs.test is not None
    assert (len(pairs.train), len(pairs.test)) == (9, 1)
    shown = [int(pairs.train[index]["image"][0, 0, 0]) for index in range(9)]
    assert sorted([*shown, int(pairs.test[0]["views"][0, 0, 0, 0])]) == list(range(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "co3d"}, "data.root must name the folder of data.dataset=co3d, got None"),
        ({"root": Path("x")}, "data.root must be left out when data.dataset=shapes_shifted reads no files, got x"),
        ({"up_axis": "z"}, "data.up_axis must be y when data.dataset=shapes_shifted, got z"),
        ({"images": Path("x")}, "data.images must be left out unless data.dataset is folder or modelnet_meshes, got x"),
        ({"rename": ("a",)}, "every entry of data.rename must read old=new, got 'a'"),
        ({"severity": (0.0, 2.0)}, r"data.severity must be a range inside \[0, 1\], got \(0.0, 2.0\)"),
        ({"hold_out": 1.0}, r"data.hold_out must lie in \[0, 1\), got 1.0"),
        ({"viewpoints": -1}, "data.viewpoints must be at least 0, got -1"),
        ({"views": 0}, "data.views must be at least 1, got 0"),
        ({"unlabelled": True}, "data.unlabelled needs data.dataset=folder, got shapes_shifted"),
        ({"cache_megabytes": -1.0}, "data.cache_megabytes must be a finite number of at least 0, got -1.0"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        PairDataConfig(**arguments)
