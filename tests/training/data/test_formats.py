"""Files of one cloud each, the cache, and the folder that is made of them."""

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from crosspoint.data import CloudFolder, collate
from crosspoint.data.cache import ByteLimitedCache
from crosspoint.data.files.formats import SUFFIXES, read_cloud

SQUARE = "4 2 0\n0 0 0\n2 0 0\n2 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"


def _cloud(count: int = 12, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def _pcd_header(count: int, data: str, fields: str = "x y z", size: str = "4 4 4", kind: str = "F F F") -> bytes:
    lines = ["# .PCD v0.7", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {size}", f"TYPE {kind}"]
    lines += [f"WIDTH {count}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {count}", f"DATA {data}"]
    return ("\n".join(lines) + "\n").encode()


def _literals(data: bytes) -> bytes:
    """LZF without any copies."""
    return b"".join(bytes([len(data[at : at + 32]) - 1]) + data[at : at + 32] for at in range(0, len(data), 32))


def _compressed(count: int, packed: bytes, size: int) -> bytes:
    return _pcd_header(count, "binary_compressed") + struct.pack("<II", len(packed), size) + packed


def _text(points: NDArray[Any], delimiter: str = " ") -> bytes:
    return "\n".join(delimiter.join(repr(float(value)) for value in row) for row in points).encode()


def _saved(save: Callable[[Any], None]) -> bytes:
    import io

    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


_NORMALS = np.ones((12, 3), np.float32)
_SIX = np.concatenate([_cloud(), _NORMALS], axis=1)
_PADDED = np.zeros(12, dtype=[("pad", "u1", 4), ("z", "<f8"), ("x", "<f8"), ("rgb", "<u4"), ("y", "<f8")])
for _at, _axis in enumerate("xyz"):
    _PADDED[_axis] = _cloud()[:, _at]
_PADDED_HEADER = _pcd_header(12, "binary", "_ z x rgb y", "1 8 8 4 8", "U F F U F").replace(
    b"WIDTH", b"COUNT 4 1 1 1 1\nWIDTH"
)

READABLE: dict[str, tuple[str, bytes]] = {
    "npy": (".npy", _saved(lambda file: np.save(file, _SIX))),
    "npy of doubles": (".npy", _saved(lambda file: np.save(file, _cloud().astype(np.float64)))),
    "npz": (".npz", _saved(lambda file: np.savez(file, colours=_NORMALS, points=_cloud()))),
    "npz of one array": (".npz", _saved(lambda file: np.savez(file, xyz=_SIX))),
    "off": (".off", b"OFF\n12 0 0\n" + _text(_cloud()) + b"\n"),
    "xyz": (".xyz", _text(_SIX)),
    "xyz with commas": (".XYZ", _text(_cloud(), ",") + b"\n"),
    "bin": (".bin", np.concatenate([_cloud(), _NORMALS[:, :1]], axis=1).tobytes()),
    "bin of nuScenes": (".pcd.bin", np.concatenate([_cloud(), _NORMALS[:, :2]], axis=1).tobytes()),
    "pcd ascii": (".pcd", _pcd_header(12, "ascii") + _text(_cloud()) + b"\n"),
    "pcd binary": (".pcd", _pcd_header(12, "binary") + _cloud().tobytes()),
    "pcd with padding": (".pcd", _PADDED_HEADER + _PADDED.tobytes()),
    "pcd compressed": (".pcd", _compressed(12, _literals(_cloud().T.tobytes()), 144)),
}


@pytest.mark.parametrize("name", READABLE)
def test_read_cloud(tmp_path: Path, name: str) -> None:
    suffix, content = READABLE[name]
    file = tmp_path / f"cloud{suffix}"
    file.write_bytes(content)
    stored = read_cloud(file)
    assert stored.points.dtype == np.float32
    assert stored.faces is None
    assert np.array_equal(stored.points, _cloud())


def test_copies_in_compressed_data(tmp_path: Path) -> None:
    """64 points at (1, 1, 1): four bytes as they are, then copies of what was written four bytes before."""
    one = struct.pack("<f", 1.0)
    size = 64 * 3 * 4
    packed = bytes([3]) + one
    left = size - 4
    while left > 8:
        length = min(left, 264)
        packed += bytes([7 << 5, length - 9, 3])
        left -= length
    if left:
        packed += bytes([(left - 2) << 5, 3])
    file = tmp_path / "cloud.pcd"
    file.write_bytes(_compressed(64, packed, size))
    assert np.array_equal(read_cloud(file).points, np.ones((64, 3)))


def test_points_that_a_pcd_file_has_no_coordinates_for(tmp_path: Path) -> None:
    points = _cloud()
    points[[0, 7]] = np.nan
    file = tmp_path / "cloud.pcd"
    file.write_bytes(_pcd_header(12, "binary") + points.tobytes())
    assert np.array_equal(read_cloud(file).points, np.delete(_cloud(), [0, 7], axis=0))


@pytest.mark.parametrize("content", [f"OFF\n{SQUARE}", f"OFF{SQUARE}"], ids=["off", "off of ModelNet"])
def test_points_are_drawn_from_surfaces(tmp_path: Path, content: str) -> None:
    file = tmp_path / "square.off"
    file.write_text(content)
    stored = read_cloud(file)
    assert stored.faces is not None
    points = stored.draw(4000, np.random.default_rng(0))
    assert points.dtype == np.float32
    assert (points[:, 2] == 0).all()
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=(4, 2), range=((0, 2), (0, 1)))[0]
    assert cells.sum() == 4000
    assert (abs(cells - 500) < 100).all()


@pytest.mark.parametrize("name", READABLE)
def test_files_cut_short(tmp_path: Path, name: str) -> None:
    suffix, content = READABLE[name]
    file = tmp_path / f"cloud{suffix}"
    file.write_bytes(content[:-10] if suffix in (".npy", ".npz", ".bin", ".pcd.bin") else content[: -len(content) // 3])
    if suffix.lower() in (".xyz",):
        file.write_bytes(content[: content.rindex(b"\n", 0, -5) + 5])  # within the first number of a line
    kind = file.suffix[1:].upper()
    message = f"^a point cloud must be a complete {kind} file, got {re.escape(str(file))} "
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".npy", _saved(lambda file: np.save(file, np.zeros((3, 2)))), r"of shape \(N, 3 or more\), got \(3, 2\) in"),
        (".npy", _saved(lambda file: np.save(file, np.zeros((0, 3)))), "must have at least 1 vertex, got none in"),
        (".npy", _saved(lambda file: np.save(file, np.array([{}]))), "must be a complete NPY file, got"),
        (".npz", _saved(lambda file: np.savez(file, a=_SIX, b=_SIX)), r"NPZ file, got .* got a, b\)"),
        (".xyz", b"", "must be a complete XYZ file, got .* empty"),
        (".xyz", b"1 2 nan\n", "must be finite, got NaN or infinity in"),
        (".bin", b"", "must have at least 1 vertex, got none in"),
        (".pcd", _pcd_header(1, "binary", "x y q") + bytes(12), "PCD file, got .* fields x, y and z"),
        (".pcd", _pcd_header(1, "zip"), "PCD file, got .* ascii, binary or binary_compressed"),
        (".pcd", b"VERSION 0.7\n", "PCD file, got .* must end with a line DATA"),
        (".pcd", b"DATA ascii\n", "PCD file, got .* lacks FIELDS, SIZE, TYPE, POINTS"),
        (".pcd", _compressed(1, bytes([7 << 5, 0, 9]), 12), "PCD file, got .* before their start"),
        (".obj", b"", f"must end in {', '.join(map(re.escape, SUFFIXES))}, got"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    file = tmp_path / f"cloud{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(file)
    assert str(file) in str(caught.value)


# The cache


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = ByteLimitedCache(300 / 2**20)
    loads: list[str] = []

    def get(name: str, size: int = 100) -> Any:
        return cache.get(name, lambda: loads.append(name) or np.zeros(size, np.uint8))

    for name in "abcad":
        get(name)
    assert loads == list("abcd")
    assert cache.held == 300
    get("a")
    get("b")
    assert loads == list("abcdb")
    assert get("large", 301).nbytes == 301  # handed out, not kept
    assert (cache.held, len(cache)) == (300, 3)
    assert pickle.loads(pickle.dumps(cache)).held == 0


def test_a_cache_of_nothing() -> None:
    cache = ByteLimitedCache(0)
    cache.get("a", lambda: {"x": torch.zeros(3), "y": np.zeros(2)})
    assert (cache.held, len(cache)) == (0, 0)
    with pytest.raises(ValueError, match=r"^cache_megabytes must be at least 0, got -1$"):
        ByteLimitedCache(-1)


# The folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four clouds in four formats, of two classes and in two splits, and one in no split."""
    for number, (place, suffix) in enumerate(
        [("train/mug/a", ".npy"), ("train/pot/b", ".xyz"), ("test/mug/c", ".off"), ("pot/train/deep/d", ".ply")]
    ):
        file = tmp_path / "clouds" / f"{place}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(file, _cloud(40, number))
        elif suffix == ".xyz":
            file.write_bytes(_text(_cloud(40, number)))
        elif suffix == ".off":
            file.write_text(f"OFF\n{SQUARE}")
        else:
            header = "ply\nformat ascii 1.0\nelement vertex 40\n" + "".join(f"property float {a}\n" for a in "xyz")
            file.write_bytes((header + "end_header\n").encode() + _text(_cloud(40, number)) + b"\n")
    (tmp_path / "clouds" / "notes.md").write_text("not a cloud")
    return tmp_path / "clouds"


def test_folder(root: Path) -> None:
    dataset = CloudFolder(root, num_points=16, up_axis="z")
    assert dataset.class_names == ("mug", "pot")
    assert [file.name for file in dataset.files] == ["d.ply", "c.off", "a.npy", "b.xyz"]
    assert dataset.labels == [1, 0, 0, 1]
    batch = collate([dataset[index] for index in range(4)])
    assert sorted(batch) == ["label", "points"]
    assert batch["points"].shape == (4, 16, 3)
    assert torch.allclose(batch["points"].norm(dim=2).amax(dim=1), torch.ones(4))
    assert batch["label"].tolist() == dataset.labels


def test_splits_of_a_folder_have_the_same_classes(root: Path) -> None:
    train, test = CloudFolder(root, "train", 16), CloudFolder(root, "test", 16)
    assert [file.name for file in train.files] == ["d.ply", "a.npy", "b.xyz"]
    assert [file.name for file in test.files] == ["c.off"]
    assert train.class_names == test.class_names == ("mug", "pot")
    assert test.labels == [0]
    with pytest.raises(
        ValueError, match=r"^a folder of clouds must hold files ending in .*, got none in folders named va"
    ):
        CloudFolder(root, "val", 16)  # type: ignore[arg-type]


def test_items_follow_from_seed_epoch_and_index(root: Path) -> None:
    dataset = CloudFolder(root, num_points=16, seed=1)
    other = pickle.loads(pickle.dumps(CloudFolder(root, num_points=16, seed=1, cache_megabytes=0)))
    for index in range(4):
        draws = [dataset[index, epoch]["points"] for epoch in range(3)]
        assert all(torch.equal(other[index, epoch]["points"], draws[epoch]) for epoch in (2, 0, 1))
        assert not torch.equal(draws[0], draws[1])


def test_images_beside_clouds(root: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "train" / "mug" / "a").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (9, 9), (number, 7, 7)).save(images / "train" / "mug" / "a" / f"{number}.png")
    (images / "train" / "pot").mkdir()
    Image.new("RGB", (9, 9), (5, 5, 5)).save(images / "train" / "pot" / "b.jpg")
    dataset = CloudFolder(root, num_points=40, images=images, image_size=32)
    assert dataset.rendered == 2
    seen = {int(dataset[2, epoch]["image"][0, 0, 0]) for epoch in range(12)}
    assert seen == {0, 1}
    assert (dataset[3]["image"].int() - 5).abs().max() <= 1
    rendered = dataset[0]["image"]
    assert (rendered != 255).any()
    assert (rendered == 255).any()
    assert torch.equal(dataset[0]["image"], rendered)
    assert collate([dataset[index] for index in range(4)])["image"].shape == (4, 3, 32, 32)
    dataset[3]["image"].zero_()
    assert dataset[3]["image"].max() > 0  # items are copies of what the cache holds


def test_images_that_belong_to_no_cloud(root: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"^at least one cloud must have a picture .*, got none in .*images$"):
        CloudFolder(root, images=tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"^a folder of clouds or images must exist, got no folder .*nowhere$"):
        CloudFolder(root, images=tmp_path / "nowhere")


def test_real_scans(shared_data: Path) -> None:
    if not (shared_data / "scans").is_dir():
        pytest.skip(f"needs {shared_data / 'scans'}")
    dataset = CloudFolder(shared_data / "scans", num_points=256)
    assert len(dataset) == 12
    assert dataset.class_names == ("object",)
    assert dataset[0]["points"].shape == (256, 3)
