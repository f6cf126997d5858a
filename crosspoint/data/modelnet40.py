"""ModelNet40 point clouds in their official HDF5 layout.

root/shape_names.txt           one class name per line, in the order of the labels
root/train_files.txt           names of the files of the split (optional; their folders are ignored)
root/ply_data_train0.h5 ...    data (R, N, 3), label (R, 1) or (R,), optionally normal (R, N, 3)
"""

import os
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from crosspoint.data.augment import unit_sphere
from crosspoint.data.keys import ItemKey, check_seed, choose_points, random_stream, split_key
from crosspoint.data.sample import Sample, UpAxis

_SPLITS = ("train", "test")


class ModelNet40(Dataset[Sample]):
    """All clouds of one split, held in memory.

    Args:
        root: folder of the files.
        split: "train" or "test".
        num_points: points per item, at most as many as the clouds in the files have.
        seed: seed of the draws.
        subset: "first": the first points of each cloud, always the same; "random": a subset drawn anew in every epoch,
            which follows from (seed, epoch, index) alone.
        up_axis: vertical axis of the clouds; y in the official files.

    Attributes:
        class_names: the lines of shape_names.txt.
        up_axis: as given.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is damaged or does not hold what it should.

    Items have points and label, and normals if the files have them.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        num_points: int = 1024,
        seed: int = 0,
        subset: Literal["first", "random"] = "first",
        *,
        up_axis: UpAxis = "y",
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        if subset not in ("first", "random"):
            raise ValueError(f"subset must be 'first' or 'random', got {subset!r}")
        if num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {num_points}")
        if up_axis not in ("x", "y", "z"):
            raise ValueError(f"up_axis must be 'x', 'y' or 'z', got {up_axis!r}")
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"the ModelNet40 folder must exist, got no folder {self.root}")
        self.split = split
        self.num_points = num_points
        self.seed = check_seed(seed)
        self.subset = subset
        self.up_axis = up_axis
        self.class_names = _class_names(self.root / "shape_names.txt")
        self._data, self._label, self._normal = _read_split(_files(self.root, split), len(self.class_names))
        if num_points > self._data.shape[1]:
            raise ValueError(
                f"num_points must be at most the {self._data.shape[1]} points of the clouds in {self.root}, "
                f"got {num_points}"
            )

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        chosen: Tensor | slice = slice(self.num_points)
        if self.subset == "random":
            rng = random_stream(self.seed, epoch, index)
            chosen = torch.from_numpy(choose_points(self._data.shape[1], self.num_points, rng))
        sample = Sample(points=unit_sphere(self._data[index][chosen]), label=self._label[index])
        if self._normal is not None:
            sample["normals"] = self._normal[index][chosen].clone()
        return sample


def _class_names(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise FileNotFoundError(f"a ModelNet40 folder must hold shape_names.txt, got no file {file}")
    names = tuple(line.strip() for line in file.read_text().splitlines() if line.strip())
    if not names:
        raise ValueError(f"shape_names.txt must hold at least 1 class name, got none in {file}")
    return names


def _files(root: Path, split: str) -> list[Path]:
    """HDF5 files of a split, in the order of the list file, or sorted by name."""
    listing = root / f"{split}_files.txt"
    if listing.is_file():
        names = [Path(line.strip()).name for line in listing.read_text().splitlines() if line.strip()]
        files = [root / name for name in names]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"every file named in {listing.name} must exist, got no file {file}")
    else:
        files = sorted(root.glob(f"ply_data_{split}*.h5"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileNotFoundError(f"a ModelNet40 folder must hold files ply_data_{split}*.h5, got none in {root}")
    return files


def _read_split(files: list[Path], classes: int) -> tuple[Tensor, Tensor, Tensor | None]:
    data, label, normal = zip(*(_read_file(file, classes) for file in files), strict=True)
    for file, rows, normals in zip(files, data, normal, strict=True):
        if rows.shape[1] != data[0].shape[1]:
            raise ValueError(
                f"all files of a split must have the same number of points per cloud, "
                f"got {data[0].shape[1]} in {files[0]} and {rows.shape[1]} in {file}"
            )
        if (normals is None) != (normal[0] is None):
            raise ValueError(
                f"either all files of a split must have normals or none, got a mixture in {files[0]} and {file}"
            )
    present = [normals for normals in normal if normals is not None]
    return (
        torch.from_numpy(np.concatenate(data)),
        torch.from_numpy(np.concatenate(label)),
        torch.from_numpy(np.concatenate(present)) if present else None,
    )


def _read_file(file: Path, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32] | None]:
    try:
        with h5py.File(file, "r") as content:
            arrays = {
                key: np.asarray(content[key])
                for key in ("data", "label", "normal")
                if isinstance(content.get(key), h5py.Dataset)
            }
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"a ModelNet40 file must be a complete HDF5 file, got {file} ({error})") from error
    for key in ("data", "label"):
        if key not in arrays:
            raise ValueError(f"a ModelNet40 file must have a dataset {key!r}, got none in {file}")
    data, label, normal = arrays["data"], arrays["label"], arrays.get("normal")
    if data.ndim != 3 or data.shape[2] != 3 or 0 in data.shape or data.dtype.kind != "f":
        raise ValueError(
            f"data must be floating point of shape (rows, points, 3), got {data.dtype} {data.shape} in {file}"
        )
    if label.shape not in ((len(data),), (len(data), 1)):
        raise ValueError(
            f"label must have one entry for each of the {len(data)} rows of data, got shape {label.shape} in {file}"
        )
    if label.dtype.kind not in "iu":
        raise ValueError(f"label must be of an integer type, got {label.dtype} in {file}")
    if normal is not None and (normal.shape != data.shape or normal.dtype.kind != "f"):
        raise ValueError(
            f"normal must be floating point of the shape of data {data.shape}, "
            f"got {normal.dtype} {normal.shape} in {file}"
        )
    for key, values in (("data", data), ("normal", normal)):
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{key} must be finite, got NaN or infinity in {file}")
    label = label.reshape(-1).astype(np.int64)
    outside = label[(label < 0) | (label >= classes)]
    if outside.size:
        raise ValueError(f"a label must lie in [0, {classes}), got {outside[0]} in {file}")
    return data.astype(np.float32), label, None if normal is None else normal.astype(np.float32)
