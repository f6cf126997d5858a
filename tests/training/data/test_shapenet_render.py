"""The ShapeNetRender layout: PLY clouds and PNG pictures."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from crosspoint.data import ShapeNetRender, collate
from crosspoint.data.files.formats import read_ply
from crosspoint.data.files.pictures import read_image

OBJECTS = (("chair", "a1"), ("chair", "b2"), ("mug", "c3"))


def _header(count: int, form: str = "binary_little_endian", kind: str = "float", more: str = "") -> bytes:
    lines = [f"ply\nformat {form} 1.0\nelement vertex {count}"]
    lines += [f"property {kind} {name}" for name in "xyz"]
    return ("\n".join(lines) + f"\n{more}end_header\n").encode()


def _write_ply(file: Path, points: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_header(len(points)) + points.astype("<f4").tobytes())


def _cloud(count: int = 40, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def _rendering(root: Path, name: str, identifier: str) -> Path:
    return root / "ShapeNetRendering" / name / identifier / "rendering"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three objects of two classes, each with three pictures of one grey value: 10 * object + picture."""
    for number, (name, identifier) in enumerate(OBJECTS):
        _write_ply(tmp_path / "ShapeNet" / name / f"{identifier}.ply", _cloud(seed=number))
        folder = _rendering(tmp_path, name, identifier)
        folder.mkdir(parents=True)
        (folder / "rendering_metadata.txt").write_text("0 0 0\n")
        for picture in range(3):
            value = 10 * number + picture
            Image.new("RGBA", (9, 9), (value, value, value, 255)).save(folder / f"{picture:02}.png")
    return tmp_path


def test_items(root: Path) -> None:
    dataset = ShapeNetRender(root, num_points=16, image_size=8, up_axis="z")
    assert len(dataset) == 3
    assert dataset.class_names == ("chair", "mug")
    assert dataset.up_axis == "z"
    samples = [dataset[index] for index in range(3)]
    assert [int(sample["label"]) for sample in samples] == [0, 0, 1]
    for number, sample in enumerate(samples):
        assert sorted(sample) == ["image", "label", "points"]
        assert sample["points"].dtype == torch.float32
        assert sample["points"].shape == (16, 3)
        assert sample["points"].norm(dim=1).max() == pytest.approx(1, abs=1e-5)
        assert torch.allclose(sample["points"].mean(dim=0), torch.zeros(3), atol=1e-6)
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape == (3, 8, 8)
        assert int(sample["image"].max()) in range(10 * number, 10 * number + 3)
    assert collate(samples)["image"].shape == (3, 3, 8, 8)


def test_items_follow_from_seed_epoch_and_index(root: Path) -> None:
    dataset = ShapeNetRender(root, num_points=16, image_size=8, seed=1)
    other = pickle.loads(pickle.dumps(ShapeNetRender(root, num_points=16, image_size=8, seed=1)))
    keys = [(index, epoch) for index in range(3) for epoch in range(12)]
    first = {key: dataset[key] for key in keys}
    for key in reversed(keys):
        again = other[key]
        assert torch.equal(again["points"], first[key]["points"])
        assert torch.equal(again["image"], first[key]["image"])
    assert torch.equal(dataset[1]["points"], first[1, 0]["points"])
    pictures = {int(first[0, epoch]["image"].max()) for epoch in range(12)}
    assert pictures == {0, 1, 2}
    assert len({tuple(first[0, epoch]["points"].flatten().tolist()) for epoch in range(12)}) == 12
    reseeded = ShapeNetRender(root, num_points=16, image_size=8, seed=2)
    assert not torch.equal(reseeded[0]["points"], first[0, 0]["points"])


def test_points_are_a_subset_without_repetition(root: Path) -> None:
    full = _cloud(seed=0)
    sample = ShapeNetRender(root, num_points=40, image_size=8)[0]
    expected = full - full.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1).max()
    assert np.allclose(np.sort(sample["points"].numpy(), axis=0), np.sort(expected, axis=0), atol=1e-6)


def test_too_few_points_are_repeated(root: Path) -> None:
    points = ShapeNetRender(root, num_points=100, image_size=8)[0]["points"]
    _, counts = np.unique(points.numpy(), axis=0, return_counts=True)
    assert len(counts) == 40
    assert set(counts) == {2, 3}


def test_files_are_read_only_when_asked_for(root: Path) -> None:
    dataset = ShapeNetRender(root, num_points=16, image_size=8)
    (root / "ShapeNet" / "mug" / "c3.ply").unlink()
    dataset[0]
    with pytest.raises(FileNotFoundError, match=r"^a point cloud file must exist, got no file .*c3\.ply$"):
        dataset[2]


# PLY


@pytest.mark.parametrize(
    "content",
    {
        "little endian": lambda p: _header(len(p)) + p.astype("<f4").tobytes(),
        "big endian": lambda p: _header(len(p), "binary_big_endian") + p.astype(">f4").tobytes(),
        "double": lambda p: _header(len(p), kind="double") + p.astype("<f8").tobytes(),
        "ascii": lambda p: _header(len(p), "ascii") + "\n".join(" ".join(map(str, row)) for row in p).encode() + b"\n",
        "with a face": lambda p: (
            _header(len(p), more="element face 1\nproperty list uchar int vertex_indices\n")
            + p.astype("<f4").tobytes()
            + b"\x03"
            + np.array([0, 1, 2], "<i4").tobytes()
        ),
    }.items(),
    ids=lambda case: case[0],
)
def test_read_ply(tmp_path: Path, content: tuple[str, Callable[[NDArray[Any]], bytes]]) -> None:
    points = _cloud(12)
    file = tmp_path / "cloud.ply"
    file.write_bytes(content[1](points))
    read = read_ply(file)
    assert read.dtype == np.float32
    assert np.array_equal(read, points)


_COMPLETE = "a point cloud must be a complete PLY file, got {file} "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", _COMPLETE),
        (b"hello\n" * 9, _COMPLETE),
        (_header(12)[:40], _COMPLETE),
        (_header(12), _COMPLETE),
        (_header(12) + _cloud(12).tobytes()[:-12], _COMPLETE),
        (_header(12) + _cloud(12).tobytes()[:-1], _COMPLETE),
        (_header(12).replace(b"float z", b"float w") + _cloud(12).tobytes(), _COMPLETE),
        (
            _header(3, "ascii") + b"1 2 3\n4 5 6\n",
            _COMPLETE + "(its header declares 3 vertices, and it has 2)",
        ),
        (_header(0), "a point cloud must have at least 1 vertex, got none in {file}"),
        (
            _header(12) + np.full((12, 3), np.nan, "<f4").tobytes(),
            "the coordinates of a point cloud must be finite, got NaN or infinity in {file}",
        ),
    ],
    ids=["empty", "text", "half a header", "no body", "cut at a row", "cut", "no z", "cut ascii", "no vertex", "nan"],
)
def test_read_ply_rejects(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "cloud.ply"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(file=file))}") as caught:
        read_ply(file)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content


# Pictures


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 2), (200, 100, 50, 255))
    picture.putpixel((3, 0), (0, 0, 0, 128))
    picture.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", 4)
    assert image[:, 2, 1].tolist() == [200, 100, 50]
    assert image[:, 0, 0].tolist() == [255, 255, 255]
    assert abs(int(image[0, 0, 3]) - 127) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "1"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (5, 7), "white").convert(mode).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png", 6), torch.full((3, 6, 6), 255, dtype=torch.uint8))


def test_pictures_are_averaged_when_they_shrink(tmp_path: Path) -> None:
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checkerboard).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 8).int() - 127).abs().max() < 20


@pytest.mark.parametrize("keep", [0, 20, 60, 400])
def test_damaged_pictures(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 4), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"^a picture must be a complete image file, got {re.escape(str(file))} "):
        read_image(file, 8)


# The folder


def test_missing_root(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(
        FileNotFoundError,
        match=f"^a ShapeNetRender folder must hold ShapeNet, got no folder {re.escape(str(missing / 'ShapeNet'))}$",
    ):
        ShapeNetRender(missing)


def test_without_pictures_items_have_no_image(root: Path) -> None:
    (root / "ShapeNetRendering").rename(root / "elsewhere")
    dataset = ShapeNetRender(root, num_points=16)
    assert not dataset.has_images
    assert dataset.rendered == len(dataset)
    assert sorted(dataset[0]) == ["label", "points"]


def test_pictures_that_belong_to_no_object(root: Path) -> None:
    (root / "ShapeNetRendering" / "chair").rename(root / "ShapeNetRendering" / "seat")
    (root / "ShapeNetRendering" / "mug").rename(root / "ShapeNetRendering" / "cup")
    message = (
        "at least one object must have a picture <class>/<id>/rendering/*.png, "
        f"got none in {root / 'ShapeNetRendering'}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ShapeNetRender(root)


def test_no_clouds(tmp_path: Path) -> None:
    (tmp_path / "ShapeNet" / "chair").mkdir(parents=True)
    (tmp_path / "ShapeNetRendering").mkdir()
    with pytest.raises(
        ValueError, match=r"^a ShapeNet folder must hold files <class>/<id>\.ply, got none in .*ShapeNet$"
    ):
        ShapeNetRender(tmp_path)


@pytest.mark.parametrize("keep_folder", [True, False])
def test_an_object_without_pictures_is_rendered(root: Path, keep_folder: bool) -> None:
    folder = _rendering(root, "chair", "b2")
    for file in folder.glob("*.png" if keep_folder else "*"):
        file.unlink()
    if not keep_folder:
        folder.rmdir()
    dataset = ShapeNetRender(root, num_points=40, image_size=32)
    assert dataset.rendered == 1
    view = dataset[1, 3]["image"]
    assert view.dtype == torch.uint8
    assert view.shape == (3, 32, 32)
    shown = (view != 255).any(dim=0)
    assert 0.02 < shown.double().mean() < 0.9
    assert torch.equal(dataset[1, 3]["image"], view)
    assert not torch.equal(dataset[1, 4]["image"], view)
    assert collate([dataset[index] for index in range(3)])["image"].shape == (3, 3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_points": 0}, "num_points must be at least 1, got 0"),
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"seed": -1}, "a seed must be at least 0, got -1"),
        ({"up_axis": "w"}, "up_axis must be 'x', 'y' or 'z', got 'w'"),
    ],
)
def test_bad_arguments(root: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ShapeNetRender(root, **arguments)


def test_real_data(shared_data: Path) -> None:
    folder = shared_data / "shapenet_render"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    dataset = ShapeNetRender(folder, num_points=512, image_size=64)
    assert len(dataset) == 2419
    assert len(dataset.class_names) == 69
    batch = collate([dataset[index, 3] for index in range(0, len(dataset), 400)])
    assert batch["points"].shape == (7, 512, 3)
    assert batch["image"].shape == (7, 3, 64, 64)
    background = (batch["image"] == 255).all(dim=1).double().mean(dim=(1, 2))
    assert (background > 0.05).all()
    assert (background < 0.99).all()
