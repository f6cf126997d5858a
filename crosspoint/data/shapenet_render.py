"""ShapeNetRender: point clouds with rendered pictures, in the layout of CrossPoint's official pre-training data.

root/ShapeNet/<class>/<id>.ply
root/ShapeNetRendering/<class>/<id>/rendering/*.png
"""

import os
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from crosspoint.data.augment import unit_sphere
from crosspoint.data.keys import ItemKey, check_seed, choose_points, random_stream, split_key
from crosspoint.data.sample import Sample, UpAxis


class ShapeNetRender(Dataset[Sample]):
    """Clouds paired with a random one of their pictures; files are read when an item is asked for.

    Which points and which picture an item gets follows from (seed, epoch, index) alone. A cloud with fewer points than
    `num_points` repeats points.

    Args:
        root: folder with ShapeNet and ShapeNetRendering.
        num_points: points per item, drawn without repetition where the file has enough.
        image_size: side of the square pictures, pixels.
        seed: seed of the draws.
        up_axis: vertical axis of the clouds; y in the official data.

    Attributes:
        class_names: the class folders, sorted.
        up_axis: as given.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there is no .ply file, or an object has no .png file. Items of unreadable files raise it as well,
            naming the file.

    Items have points, image and label. The picture's transparent pixels are white.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        num_points: int = 2048,
        image_size: int = 224,
        seed: int = 0,
        up_axis: UpAxis = "y",
    ) -> None:
        if num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {num_points}")
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        if up_axis not in ("x", "y", "z"):
            raise ValueError(f"up_axis must be 'x', 'y' or 'z', got {up_axis!r}")
        self.root = Path(root)
        self.num_points = num_points
        self.image_size = image_size
        self.seed = check_seed(seed)
        self.up_axis = up_axis
        clouds = self.root / "ShapeNet"
        for folder in (clouds, self.root / "ShapeNetRendering"):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"a ShapeNetRender folder must hold ShapeNet and ShapeNetRendering, got no folder {folder}"
                )
        found = sorted((file.parent.name, file.stem) for file in clouds.glob("*/*.ply"))
        if not found:
            raise ValueError(f"a ShapeNet folder must hold files <class>/<id>.ply, got none in {clouds}")
        self.class_names = tuple(sorted({name for name, _ in found}))
        label = {name: number for number, name in enumerate(self.class_names)}
        self._objects = [(label[name], identifier) for name, identifier in found]
        # Checked here rather than when the picture is wanted: a long run should not end in its middle.
        for number in range(len(self._objects)):
            self._pictures(number, first_only=True)

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        label, identifier = self._objects[index]
        rng = random_stream(self.seed, epoch, index)
        cloud = read_ply(self.root / "ShapeNet" / self.class_names[label] / f"{identifier}.ply")
        points = torch.from_numpy(cloud[choose_points(len(cloud), self.num_points, rng)])
        pictures = self._pictures(index)
        image = read_image(pictures[int(rng.integers(len(pictures)))], self.image_size)
        return Sample(points=unit_sphere(points), label=torch.tensor(label), image=image)

    def _pictures(self, index: int, first_only: bool = False) -> list[Path]:
        """Sorted .png files of an object, or just any one of them."""
        label, identifier = self._objects[index]
        folder = self.root / "ShapeNetRendering" / self.class_names[label] / identifier / "rendering"
        pictures: list[Path] = []
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".png"):
                        pictures.append(Path(entry.path))
                        if first_only:
                            break
        if not pictures:
            raise ValueError(f"every object must have at least one .png picture, got none in {folder}")
        return sorted(pictures)


def read_ply(file: Path) -> NDArray[np.float32]:
    """Vertices of a PLY file.

    Args:
        file: ASCII or binary PLY with vertex x, y, z; other elements are ignored.

    Returns:
        (N, 3) float32, N >= 1.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a complete PLY file, has no vertices, or some are not finite.
    """
    if not file.is_file():
        raise FileNotFoundError(f"a point cloud file must exist, got no file {file}")
    try:
        loaded = trimesh.load(file, file_type="ply", process=False)
        vertices = np.asarray(getattr(loaded, "vertices", ()), dtype=np.float32).reshape(-1, 3)
    except Exception as error:  # trimesh raises many kinds for damaged files, all meaning the same here
        raise ValueError(f"a point cloud must be a complete PLY file, got {file} ({error})") from error
    declared = _declared_vertices(file)
    if declared != len(vertices):  # an ASCII file cut off after a line is read without complaint
        raise ValueError(
            f"a point cloud must have the {declared} vertices that its header declares, got {len(vertices)} in {file}"
        )
    if len(vertices) == 0:
        raise ValueError(f"a point cloud must have at least 1 vertex, got none in {file}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"the coordinates of a point cloud must be finite, got NaN or infinity in {file}")
    return vertices


def _declared_vertices(file: Path) -> int:
    """The number of vertices in a PLY header."""
    with file.open("rb") as content:
        for line in content:
            words = line.split()
            if words[:2] == [b"element", b"vertex"]:
                return int(words[2])
            if words[:1] == [b"end_header"]:
                break
    return 0


def read_image(file: Path, size: int) -> Tensor:
    """Read a picture, put it on white and resize it.

    Args:
        file: a picture in any mode that Pillow reads.
        size: side of the square result, pixels.

    Returns:
        (3, size, size) uint8 RGB.

    Raises:
        ValueError: the file is not a complete picture.
    """
    try:
        with Image.open(file) as picture:
            rgba = picture.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports a damaged PNG chunk as SyntaxError
        raise ValueError(f"a picture must be a complete image file, got {file} ({error})") from error
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if flat.size != (size, size):
        flat = flat.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(flat)).permute(2, 0, 1).contiguous()
