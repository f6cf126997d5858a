"""ModelNet40 in its official HDF5 layout."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crosspoint.data import ModelNet40, collate

CLASSES = ("airplane", "bathtub", "bed")


def _data(rows: int, points: int = 20, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, points, 3)).astype(np.float32)


def _write(file: Path, **arrays: NDArray[Any]) -> None:
    with h5py.File(file, "w") as content:
        for key, values in arrays.items():
            content[key] = values


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two files of three training clouds and one file of two test clouds, with list files as officially written."""
    (tmp_path / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    for number in range(2):
        label = np.array([[0], [1], [2]], dtype=np.uint8)
        _write(tmp_path / f"ply_data_train{number}.h5", data=_data(3, seed=number), label=label)
    _write(tmp_path / "ply_data_test0.h5", data=_data(2, seed=9), label=np.array([[2], [0]], dtype=np.uint8))
    prefix = "data/modelnet40_ply_hdf5_2048/"
    (tmp_path / "train_files.txt").write_text(f"{prefix}ply_data_train0.h5\n{prefix}ply_data_train1.h5\n")
    (tmp_path / "test_files.txt").write_text(f"{prefix}ply_data_test0.h5\n")
    return tmp_path


def _normalised(points: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = points - points.mean(axis=0)
    result: NDArray[np.float32] = centred / np.linalg.norm(centred, axis=1).max()
    return result


def test_items(root: Path) -> None:
    train, test = ModelNet40(root, "train", num_points=12), ModelNet40(root, "test", num_points=12, up_axis="z")
    assert (len(train), len(test)) == (6, 2)
    assert train.class_names == CLASSES
    assert (train.up_axis, test.up_axis) == ("y", "z")
    assert [int(train[index]["label"]) for index in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [int(test[index]["label"]) for index in range(2)] == [2, 0]
    sample = train[4]
    assert sorted(sample) == ["label", "points"]
    assert sample["points"].dtype == torch.float32
    assert sample["label"].dtype == torch.int64
    assert np.allclose(sample["points"], _normalised(_data(3, seed=1)[1, :12]), atol=1e-6)
    assert collate([train[0], train[1]])["points"].shape == (2, 12, 3)


def test_first_points_are_always_the_same(root: Path) -> None:
    dataset = ModelNet40(root, num_points=12)
    assert torch.equal(dataset[2]["points"], dataset[2, 5]["points"])


def test_random_points_follow_from_seed_epoch_and_index(root: Path) -> None:
    dataset = ModelNet40(root, num_points=12, seed=4, subset="random")
    other = pickle.loads(pickle.dumps(ModelNet40(root, num_points=12, seed=4, subset="random")))
    keys = [(index, epoch) for index in range(6) for epoch in range(4)]
    first = {key: dataset[key]["points"] for key in keys}
    assert all(torch.equal(other[key]["points"], first[key]) for key in reversed(keys))
    assert len({tuple(points.flatten().tolist()) for points in first.values()}) == len(keys)
    everything = ModelNet40(root, num_points=20, subset="random")[0]["points"].numpy()
    expected = _normalised(_data(3)[0])
    assert np.allclose(np.sort(everything, axis=0), np.sort(expected, axis=0), atol=1e-6)


def test_files_without_a_list_are_sorted_by_number(root: Path) -> None:
    (root / "train_files.txt").unlink()
    for number in (10, 2):
        _write(root / f"ply_data_train{number}.h5", data=_data(1), label=np.array([number % 3]))
    dataset = ModelNet40(root, num_points=12)
    assert [int(dataset[index]["label"]) for index in range(len(dataset))] == [0, 1, 2, 0, 1, 2, 2, 1]


def test_the_list_decides_which_files_and_in_which_order(root: Path) -> None:
    _write(root / "ply_data_train2.h5", data=_data(1), label=np.array([0]))
    (root / "train_files.txt").write_text("ply_data_train2.h5\nply_data_train0.h5\n")
    dataset = ModelNet40(root, num_points=12)
    assert [int(dataset[index]["label"]) for index in range(len(dataset))] == [0, 0, 1, 2]


@pytest.mark.parametrize("subset", ["first", "random"])
def test_normals_go_with_their_points(root: Path, subset: Any) -> None:
    for number in range(2):
        data = _data(3, seed=number)
        normal = data / np.linalg.norm(data, axis=2, keepdims=True)
        _write(root / f"ply_data_train{number}.h5", data=data, label=np.arange(3), normal=normal)
    sample = ModelNet40(root, num_points=12, subset=subset)[5]
    assert sample["normals"].shape == (12, 3)
    rows = _data(3, seed=1)[2]
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    at = np.linalg.norm(sample["normals"].numpy()[:, None] - directions, axis=2).argmin(axis=1)
    assert len(set(at)) == 12
    assert np.allclose(sample["points"], _normalised(rows[at]), atol=1e-5)


def test_double_precision_and_flat_labels_are_read(root: Path) -> None:
    _write(root / "ply_data_test0.h5", data=_data(2).astype(np.float64), label=np.array([1, 2], dtype=np.int64))
    dataset = ModelNet40(root, "test", num_points=12)
    assert dataset[0]["points"].dtype == torch.float32
    assert int(dataset[1]["label"]) == 2


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _replace(**arrays: NDArray[Any]) -> Callable[[Path], None]:
    return lambda file: _write(file, **arrays)


def _group(file: Path) -> None:
    with h5py.File(file, "w") as content:
        content.create_group("data")
        content["label"] = np.arange(2)


_NAN = _data(2)
_NAN[1, 3, 2] = np.nan
_LABEL = np.arange(2)
_COMPLETE = "a ModelNet40 file must be a complete HDF5 file, got {file} "


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, _COMPLETE),
        (lambda file: file.write_bytes(b""), _COMPLETE),
        (lambda file: file.write_text("not HDF5"), _COMPLETE),
        (_group, "a ModelNet40 file must have a dataset 'data', got none in {file}"),
        (_replace(label=_LABEL), "a ModelNet40 file must have a dataset 'data', got none in {file}"),
        (_replace(data=_data(2)), "a ModelNet40 file must have a dataset 'label', got none in {file}"),
        (
            _replace(data=_data(2)[..., :2], label=_LABEL),
            "data must be floating point of shape (rows, points, 3), got float32 (2, 20, 2) in {file}",
        ),
        (
            _replace(data=_data(2)[0], label=_LABEL),
            "data must be floating point of shape (rows, points, 3), got float32 (20, 3) in {file}",
        ),
        (
            _replace(data=_data(2).astype(np.int32), label=_LABEL),
            "data must be floating point of shape (rows, points, 3), got int32 (2, 20, 3) in {file}",
        ),
        (
            _replace(data=_data(0), label=_LABEL[:0]),
            "data must be floating point of shape (rows, points, 3), got float32 (0, 20, 3) in {file}",
        ),
        (
            _replace(data=_data(2), label=np.arange(3)),
            "label must have one entry for each of the 2 rows of data, got shape (3,) in {file}",
        ),
        (
            _replace(data=_data(2), label=np.zeros((2, 2), np.int64)),
            "label must have one entry for each of the 2 rows of data, got shape (2, 2) in {file}",
        ),
        (
            _replace(data=_data(2), label=np.zeros(2)),
            "label must be of an integer type, got float64 in {file}",
        ),
        (_replace(data=_data(2), label=np.array([0, 3])), "a label must lie in [0, 3), got 3 in {file}"),
        (_replace(data=_data(2), label=np.array([-1, 0])), "a label must lie in [0, 3), got -1 in {file}"),
        (
            _replace(data=_data(2), label=_LABEL, normal=_data(2, 19)),
            "normal must be floating point of the shape of data (2, 20, 3), got float32 (2, 19, 3) in {file}",
        ),
    ],
)
def test_damaged_files(root: Path, damage: Callable[[Path], None], message: str) -> None:
    file = root / "ply_data_test0.h5"
    damage(file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(file=file))}") as caught:
        ModelNet40(root, "test", num_points=12)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before
    assert len(ModelNet40(root, "train", num_points=12)) == 6


@pytest.mark.parametrize("array", ["data", "normal"])
def test_values_that_are_not_finite_are_found_when_they_are_read(root: Path, array: str) -> None:
    file = root / "ply_data_test0.h5"
    _write(file, **{"data": _data(2), "normal": _data(2), "label": _LABEL} | {array: _NAN})
    dataset = ModelNet40(root, "test", num_points=12)
    message = f"{array} must be finite, got NaN or infinity in row 1 of {file}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dataset[1]


def test_files_of_different_sizes(root: Path) -> None:
    _write(root / "ply_data_train1.h5", data=_data(3, 19), label=np.arange(3))
    with pytest.raises(
        ValueError,
        match="^all files of a split must have the same number of points per cloud, "
        r"got 20 in .*train0\.h5 and 19 in .*train1\.h5$",
    ):
        ModelNet40(root, num_points=12)


def test_normals_in_some_files_only(root: Path) -> None:
    _write(root / "ply_data_train1.h5", data=_data(3), label=np.arange(3), normal=_data(3))
    with pytest.raises(
        ValueError,
        match="^either all files of a split must have normals or none, "
        r"got a mixture in .*train0\.h5 and .*train1\.h5$",
    ):
        ModelNet40(root, num_points=12)


def test_missing_root(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(
        FileNotFoundError,
        match=f"^the ModelNet40 folder must exist and hold .*, got no folder {re.escape(str(missing))}$",
    ):
        ModelNet40(missing)


def test_missing_files(root: Path) -> None:
    (root / "ply_data_train1.h5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^every file named in train_files\.txt must exist, got no file .*ply_data_train1\.h5$"
    ):
        ModelNet40(root)
    (root / "train_files.txt").unlink()
    assert len(ModelNet40(root, num_points=12)) == 3
    (root / "ply_data_train0.h5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^a ModelNet40 folder must hold files ply_data_train\*\.h5, got none in "
    ):
        ModelNet40(root)


def test_class_names_are_needed(root: Path) -> None:
    (root / "shape_names.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"^shape_names\.txt must hold at least 1 class name, got none in "):
        ModelNet40(root)
    (root / "shape_names.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"^a ModelNet40 folder must hold shape_names\.txt, got no file "):
        ModelNet40(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split must be 'train' or 'test', got 'val'"),
        ({"subset": "last"}, "subset must be 'first' or 'random', got 'last'"),
        ({"num_points": 0}, "num_points must be at least 1, got 0"),
        ({"num_points": 21}, "num_points must be at most the 20 points of the clouds in {root}, got 21"),
        ({"seed": -1}, "a seed must be at least 0, got -1"),
        ({"up_axis": "w"}, "up_axis must be 'x', 'y' or 'z', got 'w'"),
    ],
)
def test_bad_arguments(root: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(root=root))}$"):
        ModelNet40(root, **arguments)


def test_real_data(shared_data: Path) -> None:
    folder = shared_data / "modelnet40_ply_hdf5_2048"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    train, test = ModelNet40(folder, "train", up_axis="z"), ModelNet40(folder, "test", up_axis="z")
    assert (len(train), len(test)) == (9843, 2468)
    assert len(train.class_names) == 40
    batch = collate([test[index] for index in range(0, len(test), 300)])
    assert batch["points"].shape == (9, 1024, 3)
    assert len({int(test[index]["label"]) for index in range(len(test))}) == 40
