"""Files that hold one cloud each, in the formats that people have them in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosspoint.data.files.pcd import read_pcd
from crosspoint.data.mesh import Facets, sample_surface, unit

_VELODYNE_COLUMNS = 4  # x, y, z, reflectance: KITTI and most others
_NUSCENES_COLUMNS = 5  # and the number of the laser


class StoredCloud(NamedTuple):
    """What a file holds: points, or a surface."""

    points: NDArray[np.float32]
    """(N, 3), N >= 1, finite; the vertices of a surface."""
    faces: NDArray[np.int64] | None
    """(F, 3) triangles of a surface, F >= 1, or None."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.points.nbytes + (0 if self.faces is None else self.faces.nbytes)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """(count, 3) points uniformly by area; only of a surface."""
        assert self.faces is not None
        corners = self.points.astype(np.float64)[self.faces]
        normals = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        facets = Facets(corners, np.repeat(normals[:, None], 3, axis=1))
        return sample_surface(facets, np.zeros(len(corners), np.int64), count, rng).points.astype(np.float32)


def read_cloud(file: Path) -> StoredCloud:
    """Reads a file by its ending.

    npy: an array (N, 3 or more). npz: such an array named "points", or the only array. ply, off: points, or a surface
    of triangles. pcd: any of its three encodings; points without coordinates (NaN) are left out, as PCL means them.
    xyz: a line of numbers for each point, divided by spaces or commas. bin: float32 of KITTI (4 a point), or of
    nuScenes (5 a point, ending .pcd.bin).

    Args:
        file: The file.

    Returns:
        Its points in the file's own units and axes; columns beyond the third are left out.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The ending is unknown, or the file is damaged, has no points, or some are not finite.
    """
    if not file.is_file():
        raise FileNotFoundError(f"a point cloud file must exist, got no file {file}")
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ValueError(f"a point cloud file must end in {', '.join(SUFFIXES)}, got {file}")
    try:
        values, faces = reader(file)
    except Exception as error:  # readers raise many kinds for damaged files, all meaning the same here
        kind = file.suffix[1:].upper()
        raise ValueError(f"a point cloud must be a complete {kind} file, got {file} ({_first_line(error)})") from error
    if values.ndim != 2 or values.shape[1] < 3 or values.dtype.kind not in "fiu":
        raise ValueError(f"a point cloud must be numbers of shape (N, 3 or more), got {values.shape} in {file}")
    if len(values) == 0:
        raise ValueError(f"a point cloud must have at least 1 vertex, got none in {file}")
    points = np.ascontiguousarray(values[:, :3], dtype=np.float32)
    if not np.isfinite(points).all():
        raise ValueError(f"the coordinates of a point cloud must be finite, got NaN or infinity in {file}")
    return StoredCloud(points, faces)


def read_ply(file: Path) -> NDArray[np.float32]:
    """Vertices (N, 3) of a PLY file, ASCII or binary; other elements are ignored. Raises as `read_cloud` does."""
    return read_cloud(file).points


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


Content = tuple[NDArray[Any], NDArray[np.int64] | None]


def _npy(file: Path) -> Content:
    return np.load(file, allow_pickle=False), None


def _npz(file: Path) -> Content:
    # Opened here: numpy forgets to close the archive where it is damaged.
    with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
        names = arrays.files
        if "points" not in names and len(names) != 1:
            raise ValueError(
                f"it must hold an array named points, or one array alone, got {', '.join(names) or 'none'}"
            )
        return arrays["points" if "points" in names else names[0]], None


def _mesh(file: Path) -> Content:
    import trimesh  # not before: it brings much of scipy, which a run on other files should not wait for

    loaded = trimesh.load(file, file_type=file.suffix[1:].lower(), process=False)
    vertices = np.asarray(getattr(loaded, "vertices", ()), dtype=np.float32).reshape(-1, 3)
    faces = np.asarray(getattr(loaded, "faces", ()), dtype=np.int64).reshape(-1, 3)
    # A text file that is cut off is read without complaint.
    if file.suffix.lower() == ".ply":
        declared, polygons = _declared_vertices(file), 0
    else:
        declared, polygons = _declared_by_off(file)
    if declared != len(vertices):
        raise ValueError(f"its header declares {declared} vertices, and it has {len(vertices)}")
    if polygons > len(faces):  # each becomes at least one triangle
        raise ValueError(f"its header declares {polygons} faces, and it has {len(faces)} triangles")
    return vertices, faces if len(faces) else None


def _declared_by_off(file: Path) -> tuple[int, int]:
    """Numbers of vertices and faces in an OFF header, which may follow its first word on the same line."""
    words: list[str] = []
    with file.open() as content:
        for line in content:
            words += re.sub(r"^\s*[A-Za-z]*OFF", "", line.split("#")[0]).split()
            if len(words) >= 2:
                break
    return int(words[0]), int(words[1])


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


def _pcd(file: Path) -> Content:
    points = read_pcd(file)
    return points[np.isfinite(points).all(axis=1)], None


def _text(file: Path) -> Content:
    with file.open() as content:
        delimiter = "," if "," in content.readline() else None
    if file.stat().st_size == 0:  # numpy would only warn
        raise ValueError("it is empty")
    return np.loadtxt(file, dtype=np.float64, delimiter=delimiter, ndmin=2), None


def _bin(file: Path) -> Content:
    columns = _NUSCENES_COLUMNS if file.name.lower().endswith(".pcd.bin") else _VELODYNE_COLUMNS
    size = file.stat().st_size
    if size % (4 * columns):
        raise ValueError(f"its size must be a multiple of {columns} float32, and it has {size} bytes")
    return np.fromfile(file, dtype="<f4").reshape(-1, columns), None


_READERS: Mapping[str, Callable[[Path], Content]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".ply": _mesh,
    ".off": _mesh,
    ".pcd": _pcd,
    ".xyz": _text,
    ".bin": _bin,
}
SUFFIXES = tuple(_READERS)
"""Endings of the files that `read_cloud` reads."""
