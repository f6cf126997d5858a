"""Clouds in HDF5 files of many rows: what ModelNet40, ScanObjectNN and ShapeNetPart have in common.

data (R, N, 3), label (R,) or (R, 1), optionally normal (R, N, 3), and pid (R, N) where points have parts
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.keys import ItemKey, check_drawing, check_seed, choose_points, random_stream, split_key
from crosspoint.data.sample import Sample, UpAxis

_UNCHUNKED_BLOCK = 1 << 18  # bytes read at once from a file that is not stored in chunks

Block = dict[str, NDArray[Any]]


class RowReader:
    """The rows of several files as one sequence, read when asked for and cached in the blocks that they are stored in.

    Labels, shapes and types are read and checked at once, so that a wrong file is found before a long run; the values
    of a row are checked when it is read, and a wrong row leaves those around it usable.

    Args:
        files: The files, in order.
        what: The dataset's name, for messages.
        classes: Labels must lie below it.
        parts_of_class: For each label its part ids, where files must have pid; None where pid is not read.
        cache_megabytes: Limit of the cache.

    Attributes:
        labels: (R,) int64 of all rows.
        points_per_cloud: N.
        has_normals: Whether the files have normals.

    Raises:
        ValueError: If a file is damaged or does not hold what it should.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        what: str,
        classes: int,
        parts_of_class: Sequence[Sequence[int]] | None = None,
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        self.files = list(files)
        self._what = what
        self._allowed = None if parts_of_class is None else _allowed_parts(parts_of_class)
        self._cache = ByteLimitedCache(cache_megabytes)
        self._handles: dict[Path, h5py.File] = {}
        self._process = os.getpid()
        self._wrong: dict[tuple[int, int], str] = {}  # by file and row
        headers = [self._read_header(file, classes) for file in self.files]
        labels, points, normals, blocks = zip(*headers, strict=True)
        for file, count, has_normals in zip(self.files, points, normals, strict=True):
            if count != points[0]:
                raise ValueError(
                    f"all files of a split must have the same number of points per cloud, "
                    f"got {points[0]} in {self.files[0]} and {count} in {file}"
                )
            if has_normals != normals[0]:
                raise ValueError(
                    "either all files of a split must have normals or none, "
                    f"got a mixture in {self.files[0]} and {file}"
                )
        self.labels: NDArray[np.int64] = np.concatenate(labels)
        self.points_per_cloud: int = points[0]
        self.has_normals: bool = normals[0]
        self._labels_of_file: tuple[NDArray[np.int64], ...] = labels
        self._rows_of_block: tuple[int, ...] = blocks
        self._first_row = np.cumsum([0, *(len(part) for part in labels)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    def location(self, index: int) -> tuple[Path, int]:
        """The file that a row is in, and its number there."""
        number = int(np.searchsorted(self._first_row, index, side="right")) - 1
        return self.files[number], index - int(self._first_row[number])

    def __getitem__(self, index: int) -> Block:
        """Arrays of a row: data, and normal and pid where there are. Views of the cache; do not change them.

        Raises:
            ValueError: If the file cannot be read, or the row's values are not what they should be.
        """
        number = int(np.searchsorted(self._first_row, index, side="right")) - 1
        row = index - int(self._first_row[number])
        rows = self._rows_of_block[number]
        start = row // rows * rows
        block = self._cache.get((number, start), lambda: self._read_block(number, slice(start, start + rows)))
        if (number, row) in self._wrong:
            raise ValueError(self._wrong[number, row])
        return {name: values[row - start] for name, values in block.items()}

    def _open(self, file: Path) -> h5py.File:
        if self._process != os.getpid():  # a loading process must not use what its parent opened
            self._handles, self._process = {}, os.getpid()
        if file not in self._handles:
            self._handles[file] = h5py.File(file, "r")
        return self._handles[file]

    def _incomplete(self, file: Path, error: Exception) -> ValueError:
        return ValueError(f"a {self._what} file must be a complete HDF5 file, got {file} ({error})")

    def _read_header(self, file: Path, classes: int) -> tuple[NDArray[np.int64], int, bool, int]:
        """Labels, points per cloud, whether there are normals, rows per block."""
        names = ("data", "label", "normal", *(() if self._allowed is None else ("pid",)))
        try:
            with h5py.File(file, "r") as content:
                found = {name: content[name] for name in names if isinstance(content.get(name), h5py.Dataset)}
                shapes = {name: (values.shape, values.dtype) for name, values in found.items()}
                chunks = found["data"].chunks if "data" in found else None
                label = np.asarray(found["label"]) if "label" in found else None
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise self._incomplete(file, error) from error
        for name in names:
            if name not in shapes and name != "normal":
                raise ValueError(f"a {self._what} file must have a dataset {name!r}, got none in {file}")
        _check_shapes(shapes, file)
        assert label is not None  # it is among the names
        if label.dtype.kind not in "iu":
            raise ValueError(f"label must be of an integer type, got {label.dtype} in {file}")
        label = label.reshape(-1).astype(np.int64)
        outside = label[(label < 0) | (label >= classes)]
        if outside.size:
            raise ValueError(f"a label must lie in [0, {classes}), got {outside[0]} in {file}")
        (_, points, _), dtype = shapes["data"]
        block = chunks[0] if chunks else max(1, _UNCHUNKED_BLOCK // (points * 3 * dtype.itemsize))
        return label, points, "normal" in shapes, block

    def _read_block(self, number: int, rows: slice) -> Block:
        file = self.files[number]
        names = ["data", *(["normal"] if self.has_normals else []), *([] if self._allowed is None else ["pid"])]
        try:
            content = self._open(file)
            block = {name: np.asarray(content[name][rows]) for name in names}
        except (OSError, RuntimeError, KeyError) as error:
            raise self._incomplete(file, error) from error
        for name in ("data", "normal"):
            if name in block:
                for bad in (rows.start + np.flatnonzero(~np.isfinite(block[name]).all(axis=(1, 2)))).tolist():
                    self._wrong[number, bad] = f"{name} must be finite, got NaN or infinity in row {bad} of {file}"
                block[name] = block[name].astype(np.float32)
        if self._allowed is not None:
            block["pid"] = block["pid"].astype(np.int64)
            self._check_parts(block["pid"], self._labels_of_file[number][rows], number, rows.start)
        return block

    def _check_parts(self, parts: NDArray[np.int64], labels: NDArray[np.int64], number: int, first_row: int) -> None:
        assert self._allowed is not None
        known = (parts >= 0) & (parts < self._allowed.shape[1])
        fits = known & self._allowed[labels[:, None], np.where(known, parts, 0)]
        for row in np.flatnonzero(~fits.all(axis=1)).tolist():
            self._wrong[number, first_row + row] = (
                f"pid must be a part of its cloud's class {labels[row]}, "
                f"got {parts[row][~fits[row]][0]} in row {first_row + row} of {self.files[number]}"
            )


def _allowed_parts(parts_of_class: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    allowed = np.zeros((len(parts_of_class), 1 + max(max(parts) for parts in parts_of_class)), dtype=bool)
    for label, parts in enumerate(parts_of_class):
        allowed[label, list(parts)] = True
    return allowed


def _check_shapes(shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], file: Path) -> None:
    data, kind = shapes["data"]
    if len(data) != 3 or data[2] != 3 or 0 in data or kind.kind != "f":
        raise ValueError(f"data must be floating point of shape (rows, points, 3), got {kind} {data} in {file}")
    label, _ = shapes["label"]
    if label not in ((data[0],), (data[0], 1)):
        raise ValueError(
            f"label must have one entry for each of the {data[0]} rows of data, got shape {label} in {file}"
        )
    if "normal" in shapes and (shapes["normal"][0] != data or shapes["normal"][1].kind != "f"):
        shape, kind = shapes["normal"]
        raise ValueError(f"normal must be floating point of the shape of data {data}, got {kind} {shape} in {file}")
    if "pid" in shapes and (shapes["pid"][0] != data[:2] or shapes["pid"][1].kind not in "iu"):
        shape, kind = shapes["pid"]
        raise ValueError(f"pid must be integers of shape {data[:2]}, one for each point, got {kind} {shape} in {file}")


class Hdf5Dataset(Dataset[Sample]):
    """Items from a `RowReader`; the datasets say which files, and what their labels mean.

    Attributes:
        class_names: Names of the classes, indexed by label.
        up_axis: Vertical axis of the clouds.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        reader: RowReader,
        class_names: Sequence[str],
        *,
        num_points: int,
        seed: int,
        subset: Literal["first", "random"],
        up_axis: UpAxis,
        keep: Sequence[int] | None = None,
    ) -> None:
        """Checks the arguments.

        Args:
            reader: The rows.
            class_names: Names by label, after `keep`.
            num_points: Points per item, at most as many as the clouds in the files have.
            seed: Seed of the draws.
            subset: "first": the first points of each cloud, always the same; "random": a subset drawn anew in every
                epoch, which follows from (seed, epoch, index) alone.
            up_axis: Vertical axis of the clouds.
            keep: Labels to keep, whose new label is their position here; None keeps all.

        Raises:
            ValueError: If an argument is not usable.
        """
        check_drawing(num_points, up_axis)
        check_seed(seed)
        if subset not in ("first", "random"):
            raise ValueError(f"subset must be 'first' or 'random', got {subset!r}")
        if num_points > reader.points_per_cloud:
            raise ValueError(
                f"num_points must be at most the {reader.points_per_cloud} points of the clouds in "
                f"{reader.files[0].parent}, got {num_points}"
            )
        self.class_names = tuple(class_names)
        self.num_points = num_points
        self.seed = seed
        self.subset = subset
        self.up_axis = up_axis
        self._reader = reader
        self._rows = np.arange(len(reader))
        self.labels: NDArray[np.int64] = reader.labels
        if keep is not None:
            self._rows = np.flatnonzero(np.isin(reader.labels, keep))
            self.labels = np.array([list(keep).index(label) for label in reader.labels[self._rows]], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        row = self._reader[int(self._rows[index])]
        chosen = np.arange(self.num_points)
        if self.subset == "random":
            rng = random_stream(self.seed, epoch, index)
            chosen = choose_points(self._reader.points_per_cloud, self.num_points, rng)
        arrays = {name: torch.from_numpy(values[chosen]) for name, values in row.items()}
        sample = Sample(points=unit_sphere(arrays["data"]), label=torch.tensor(int(self.labels[index])))
        if "normal" in arrays:
            sample["normals"] = arrays["normal"]
        if "pid" in arrays:
            sample["parts"] = arrays["pid"]
        return sample

    def surface(self, index: int) -> NDArray[np.float32]:
        """(N, 3) all points of an object as the file has them; do not change them."""
        points: NDArray[np.float32] = self._reader[int(self._rows[index])]["data"]
        return points

    def location(self, index: int) -> tuple[Path, int]:
        """The file that an object is in, and the number of its row there."""
        return self._reader.location(int(self._rows[index]))


def files_by_number(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder that match a glob pattern, 2 before 10."""
    return sorted(folder.glob(pattern), key=lambda file: (len(file.name), file.name))
