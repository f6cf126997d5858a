"""ModelNet40 and ModelNet10 as meshes with rendered views, in the layout of the download and of Cross-MoST.

root/<class>/train/<id>.off, root/<class>/test/<id>.off    or all of it in root/modelnet40v1png
rendered_images/train/<class>/<id>_001.png ...             in root or beside it, or elsewhere; optional
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Literal

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.files.cloud_files import CloudFiles
from crosspoint.data.files.listings import check_split
from crosspoint.data.files.pictures import pictures_in

LAYOUT = "a folder of ModelNet meshes must hold <class>/train/*.off and <class>/test/*.off"
_INNER, _RENDERED = "modelnet40v1png", "rendered_images"
_Y_UP = (1, 2, 0)  # z becomes y, as in the HDF5 files
_NUMBERED = re.compile(r"(.+)_\d+$")


class ModelNetMeshes(CloudFiles):
    """Meshes of one split; the classes are the folders of both splits, sorted.

    The files have z up; their axes are exchanged so that items have y up, as those of the HDF5 files.

    Args:
        root: Folder of the class folders, or of modelnet40v1png with them.
        split: "train" or "test".
        num_points: Points per item.
        seed: Seed of the draws.
        images: Folder of the rendered views; None: rendered_images in root or beside it, if it is there.
        cache_megabytes: How much of the points to keep in memory, in each process that reads them.

    Attributes:
        rendered: How many objects have no picture; None where there is no folder of them.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: There is no mesh of the split. Items of unreadable files raise it too.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        num_points: int = 1024,
        seed: int = 0,
        *,
        images: str | os.PathLike[str] | None = None,
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        self.root = Path(root)
        self.split = check_split(split)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{LAYOUT}, got no folder {self.root}")
        base = mesh_folder(self.root)
        names = mesh_classes(base)
        if not names:
            raise ValueError(f"{LAYOUT}, got no such folder in {base}")
        found = [(file, label) for label, name in enumerate(names) for file in mesh_files(base, name, split)]
        if not found:
            raise ValueError(f"{LAYOUT}, got no .off file in a folder {split} of {base}")
        self.images = _image_folder(self.root, None if images is None else Path(images))
        super().__init__(
            [file for file, _ in found],
            [label for _, label in found],
            names,
            num_points=num_points,
            seed=seed,
            up_axis="y",
            axes=_Y_UP,
            cache_megabytes=cache_megabytes,
        )

    def pictures(self, index: int) -> list[Path]:
        """The rendered views of a mesh, by number."""
        return self._views_of.get((self.class_names[self.labels[index]], self.files[index].stem), [])

    @cached_property
    def _views_of(self) -> dict[tuple[str, str], list[Path]]:
        """Views by class and id, from one look at each folder."""
        views: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for name in self.class_names if self.images is not None else ():
            assert self.images is not None
            for file in pictures_in(self.images / self.split / name):
                numbered = _NUMBERED.match(file.stem)
                if numbered:
                    views[name, numbered[1]].append(file)
        return dict(views)


def mesh_folder(root: Path) -> Path:
    """The folder of the class folders."""
    return root / _INNER if (root / _INNER).is_dir() else root


def mesh_classes(base: Path) -> list[str]:
    """Sorted names of the folders that have meshes of a split."""
    return sorted({file.parent.parent.name for split in ("train", "test") for file in base.glob(f"*/{split}/*.off")})


def mesh_files(base: Path, name: str, split: str) -> list[Path]:
    """Sorted meshes of a class."""
    return sorted((base / name / split).glob("*.off"))


def _image_folder(root: Path, given: Path | None) -> Path | None:
    if given is not None:
        if not given.is_dir():
            raise FileNotFoundError(
                f"a folder of rendered views must hold train/<class>/<id>_001.png and so on, got no folder {given}"
            )
        return given
    return next((place for place in (root / _RENDERED, root.parent / _RENDERED) if place.is_dir()), None)
