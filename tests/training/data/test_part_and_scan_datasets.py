"""ShapeNetPart, ScanObjectNN and ModelNet10: files of many rows, read when asked for."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crosspoint.data import ModelNet10, ScanObjectNN, ShapeNetPart, collate
from crosspoint.data.datasets.modelnet40 import ModelNet40
from crosspoint.data.files.hdf5 import RowReader

OFFICIAL_PARTS = [4, 2, 2, 4, 4, 3, 3, 2, 4, 2, 6, 2, 3, 3, 3, 3]


def _write(file: Path, chunks: bool = False, **arrays: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as content:
        for key, values in arrays.items():
            options = {"chunks": (2, *values.shape[1:]), "compression": "gzip"} if chunks else {}
            content.create_dataset(key, data=values, **options)


def _data(rows: int, seed: int = 0, points: int = 10) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, points, 3)).astype(np.float32)


def _parts(labels: list[int], parts_of_class: list[list[int]]) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    return np.stack([rng.choice(parts_of_class[label], size=10) for label in labels]).astype(np.uint8)


CLASSES = {"classes": ["cup", "pin"], "parts": {"cup": {"body": 0, "ear": 2}, "pin": {"head": 1, "tip": 3}}}


@pytest.fixture
def parts_root(tmp_path: Path) -> Path:
    """Two categories whose part ids are not in one piece; five training, one validation and two test clouds."""
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    for name, labels in (("train0", [0, 1, 0]), ("train1", [1, 1]), ("val0", [0]), ("test0", [1, 0])):
        _write(
            tmp_path / "hdf5_data" / f"ply_data_{name}.h5",
            chunks=name == "train0",
            data=_data(len(labels)),
            label=np.array(labels, np.uint8)[:, None],
            pid=_parts(labels, [[0, 2], [1, 3]]),
        )
    return tmp_path


def test_parts(parts_root: Path) -> None:
    sizes = {split: len(ShapeNetPart(parts_root, split, 8)) for split in ("train", "val", "trainval", "test")}  # type: ignore[arg-type]
    assert sizes == {"train": 5, "val": 1, "trainval": 6, "test": 2}
    dataset = ShapeNetPart(parts_root, "train", 8, up_axis="z")
    assert dataset.class_names == ("cup", "pin")
    assert dataset.part_names == ("cup body", "pin head", "cup ear", "pin tip")
    assert dataset.parts_of_class == ((0, 2), (1, 3))
    assert dataset.labels.tolist() == [0, 1, 0, 1, 1]
    assert dataset.up_axis == "z"
    samples = [dataset[index] for index in range(5)]
    expected = _parts([0, 1, 0], [[0, 2], [1, 3]])
    for index in range(3):
        assert samples[index]["parts"].tolist() == expected[index, :8].tolist()
    assert {name: value.dtype for name, value in samples[0].items()} == {
        "points": torch.float32,
        "label": torch.int64,
        "parts": torch.int64,
    }
    assert collate(samples)["parts"].shape == (5, 8)


def test_parts_go_with_their_points(parts_root: Path) -> None:
    dataset = ShapeNetPart(parts_root, "train", 10, subset="random", seed=3)
    rows, expected = _data(3)[2], _parts([0, 1, 0], [[0, 2], [1, 3]])[2]
    rows = rows - rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1).max()
    sample = dataset[2, 4]
    at = np.linalg.norm(sample["points"].numpy()[:, None] - rows, axis=2).argmin(axis=1)
    assert at.tolist() != list(range(10))
    assert sample["parts"].tolist() == expected[at].tolist()


def test_official_categories(parts_root: Path) -> None:
    (parts_root / "classes.json").unlink()
    labels = list(range(16))
    parts_of_class = [list(range(sum(OFFICIAL_PARTS[:k]), sum(OFFICIAL_PARTS[: k + 1]))) for k in labels]
    _write(parts_root / "ply_data_test0.h5", data=_data(16), label=np.array(labels), pid=_parts(labels, parts_of_class))
    (parts_root / "hdf5_data").rename(parts_root / "elsewhere")
    dataset = ShapeNetPart(parts_root, "test", 10)
    assert len(dataset.class_names) == 16
    assert (dataset.class_names[0], dataset.class_names[10], dataset.class_names[15]) == (
        "airplane",
        "motorbike",
        "table",
    )
    assert [list(parts) for parts in dataset.parts_of_class] == parts_of_class
    assert len(dataset.part_names) == 50
    assert [int(dataset[index]["label"]) for index in range(16)] == labels


def test_a_wrong_row_leaves_the_others_usable(parts_root: Path) -> None:
    file = parts_root / "hdf5_data" / "ply_data_train0.h5"
    with h5py.File(file, "r+") as content:
        content["pid"][1, 7] = 2
        content["data"][2, 3] = np.nan
    dataset = ShapeNetPart(parts_root, "train", 8)
    dataset[0]
    for index, message in (
        (1, f"pid must be a part of its cloud's class 1, got 2 in row 1 of {file}"),
        (2, f"data must be finite, got NaN or infinity in row 2 of {file}"),
    ):
        for _ in range(2):  # from the file, and from the cache
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                dataset[index]
    assert pickle.loads(pickle.dumps(dataset))[3]["label"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"^classes\.json must hold classes .* and parts .*, got .*JSONDecodeError"),
        ('{"classes": ["cup"]}', r"^classes\.json must hold classes .* and parts .*, got .*KeyError"),
        ('{"classes": ["cup"], "parts": {"cup": {"body": 1}}}', r"^the part ids in classes\.json must be 0, 1, 2, "),
        ('{"classes": ["a", "b"], "parts": {"a": {"x": 0}, "b": {}}}', r"^the part ids in classes\.json must be 0, "),
    ],
)
def test_wrong_lists_of_classes(parts_root: Path, content: str, message: str) -> None:
    (parts_root / "classes.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        ShapeNetPart(parts_root)


def test_wrong_part_files(parts_root: Path) -> None:
    file = parts_root / "hdf5_data" / "ply_data_val0.h5"
    _write(file, data=_data(1), label=np.array([0]), pid=np.zeros((1, 9), np.uint8))
    message = f"pid must be integers of shape (1, 10), one for each point, got uint8 (1, 9) in {file}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ShapeNetPart(parts_root, "val")
    _write(file, data=_data(1), label=np.array([0]))
    with pytest.raises(ValueError, match=r"^a ShapeNetPart file must have a dataset 'pid', got none in "):
        ShapeNetPart(parts_root, "val")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"^a ShapeNetPart folder must hold files ply_data_val\*\.h5, got none"):
        ShapeNetPart(parts_root, "trainval")
    with pytest.raises(ValueError, match=r"^split must be one of train, val, trainval, test, got 'all'$"):
        ShapeNetPart(parts_root, "all")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"^the ShapeNetPart folder must exist, got no folder "):
        ShapeNetPart(parts_root / "nowhere")


# Reading


def test_rows_are_read_in_blocks_that_fit_the_cache(parts_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((parts_root / "hdf5_data").glob("ply_data_train*.h5"))
    row_bytes = 10 * 3 * 4 + 10 * 8
    one_block = 2.5 * row_bytes / 2**20  # of the chunked file's blocks of two rows
    parts_of_class = [[0, 2], [1, 3]]
    reader = RowReader(files, what="test", classes=2, parts_of_class=parts_of_class, cache_megabytes=one_block)
    reads: list[Any] = []
    original = RowReader._read_block
    monkeypatch.setattr(
        RowReader,
        "_read_block",
        lambda self, number, rows: reads.append((number, rows)) or original(self, number, rows),
    )
    for row in (0, 1, 0, 2, 1, 3):
        assert reader[row]["data"].shape == (10, 3)
        assert reader._cache.held <= one_block * 2**20
    assert reads == [(0, slice(0, 2)), (0, slice(2, 4)), (0, slice(0, 2)), (1, slice(0, reads[-1][1].stop))]


def test_a_file_that_breaks_after_it_was_opened(parts_root: Path) -> None:
    dataset = ShapeNetPart(parts_root, "test", 8)
    file = parts_root / "hdf5_data" / "ply_data_test0.h5"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(
        ValueError, match=f"^a ShapeNetPart file must be a complete HDF5 file, got {re.escape(str(file))} "
    ):
        dataset[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_processes_read_what_this_one_reads(parts_root: Path, workers: int) -> None:
    dataset = ShapeNetPart(parts_root, "trainval", 8)
    dataset[0]  # opens a file before the processes start
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=collate)
    loaded = torch.cat([batch["points"] for batch in loader])
    assert torch.equal(loaded, torch.stack([dataset[index]["points"] for index in range(6)]))


# ScanObjectNN


@pytest.fixture
def scans_root(tmp_path: Path) -> Path:
    names = {
        ("main_split", "objectdataset"): 3,
        ("main_split", "objectdataset_augmentedrot_scale75"): 5,
        ("main_split_nobg", "objectdataset"): 4,
    }
    for (folder, name), rows in names.items():
        for split, more in (("training", 2), ("test", 0)):
            _write(
                tmp_path / folder / f"{split}_{name}.h5",
                data=_data(rows + more),
                label=np.arange(rows + more).astype(np.int32),
                mask=np.zeros((rows + more, 10), np.int32),
            )
    return tmp_path


def test_scans(scans_root: Path) -> None:
    for variant, rows in (("obj_bg", 3), ("pb_t50_rs", 5), ("obj_only", 4)):
        train, test = (ScanObjectNN(scans_root, split, 8, variant=variant) for split in ("train", "test"))  # type: ignore[arg-type]
        assert (len(train), len(test)) == (rows + 2, rows)
        assert sorted(test[1]) == ["label", "points"]
        assert [int(test[index]["label"]) for index in range(rows)] == list(range(rows))
    assert len(train.class_names) == 15
    assert (train.class_names[0], train.class_names[14]) == ("bag", "toilet")
    (scans_root / "h5_files").mkdir()
    for folder in ("main_split", "main_split_nobg"):
        (scans_root / folder).rename(scans_root / "h5_files" / folder)
    assert len(ScanObjectNN(scans_root, "test", 8)) == 3


def test_scans_that_are_missing(scans_root: Path) -> None:
    (scans_root / "main_split_nobg" / "test_objectdataset.h5").unlink()
    message = r"^a ScanObjectNN folder must hold main_split_nobg/test_objectdataset\.h5, got no file "
    with pytest.raises(FileNotFoundError, match=message):
        ScanObjectNN(scans_root, "test", variant="obj_only")
    with pytest.raises(ValueError, match=r"^variant must be one of obj_bg, obj_only, pb_t50_rs, got 'hard'$"):
        ScanObjectNN(scans_root, variant="hard")  # type: ignore[arg-type]
    with pytest.raises(
        FileNotFoundError, match=r"^the ScanObjectNN folder must exist and hold main_split or h5_files, got no folder "
    ):
        ScanObjectNN(scans_root / "nowhere")


# ModelNet10


def test_modelnet10_is_part_of_modelnet40(tmp_path: Path) -> None:
    names = ["airplane", "bathtub", "bed", "chair", "cone", "desk", "dresser", "monitor", "night_stand", "sofa"]
    names += ["table", "toilet", "vase"]
    (tmp_path / "shape_names.txt").write_text("\n".join(names))
    labels = np.array([12, 1, 11, 0, 3])
    _write(tmp_path / "ply_data_train0.h5", data=_data(5), label=labels)
    everything, ten = ModelNet40(tmp_path, num_points=8), ModelNet10(tmp_path, num_points=8)
    assert ten.class_names == tuple(name for name in names if name not in ("airplane", "cone", "vase"))
    assert [ten.class_names[label] for label in ten.labels] == ["bathtub", "toilet", "chair"]
    assert [ten.class_names[int(ten[index]["label"])] for index in range(3)] == ["bathtub", "toilet", "chair"]
    assert torch.equal(ten[1]["points"], everything[2]["points"])
    (tmp_path / "shape_names.txt").write_text("\n".join(["x", *names[1:]]).replace("sofa", "couch"))
    with pytest.raises(
        ValueError, match=r"^shape_names\.txt must name the ten classes of ModelNet10, got none named sofa"
    ):
        ModelNet10(tmp_path)


def test_real_data(shared_data: Path) -> None:
    for folder in ("labeled_psb", "modelnet40_ply_hdf5_2048"):
        if not (shared_data / folder).is_dir():
            pytest.skip(f"needs {shared_data / folder}")
    dataset = ShapeNetPart(shared_data / "labeled_psb", "trainval")
    assert (len(dataset), len(dataset.class_names), len(dataset.part_names)) == (19 * 14, 19, 94)
    batch = collate([dataset[index] for index in range(0, 266, 20)])
    assert batch["normals"].shape == (14, 2048, 3)
    ten = [ModelNet10(shared_data / "modelnet40_ply_hdf5_2048", split) for split in ("train", "test")]  # type: ignore[arg-type]
    assert [len(split) for split in ten] == [3991, 908]
