"""Pairs on disk: ModelNet meshes, Redwood, CO3D, pictures of HDF5 rows; and any clouds with pictures."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from crosspoint.data import (
    CloudFolder,
    Co3d,
    ModelNet40,
    ModelNetMeshes,
    PairedClouds,
    Redwood,
    ShapeNet55,
    ShapeNetRender,
)
from crosspoint.data.files.pictures import read_image
from crosspoint.data.files.row_pictures import row_folder, row_pictures
from crosspoint.data.survey import survey

KINDS = {"redwood": Redwood, "co3d": Co3d, "modelnet_meshes": ModelNetMeshes, "shapenet55": ShapeNet55}


def _cloud(number: int, count: int = 30) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).normal(size=(count, 3)).astype(np.float32)


def _picture(file: Path, value: int, size: tuple[int, int] = (6, 6)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(file)


def redwood(root: Path) -> None:
    """Three objects of two of the nine classes, and one of another."""
    (root / "categories.json").write_text(json.dumps({"table": ["01", "02"], "chair": ["03"], "ship": ["04"]}))
    (root / "train_set80.txt").write_text("01\n04\n03\n\n")
    (root / "test_set80.txt").write_text("02\n")
    (root / "meshpreprocessed3").mkdir()
    for number in (1, 2, 3, 4):
        np.save(root / "meshpreprocessed3" / f"0{number}.npy", _cloud(number))
        for frame in range(12):
            _picture(root / "videoframes" / f"0{number}" / f"{frame:03}.png", 20 * number + frame)


def co3d(root: Path) -> None:
    (root / "train_set_80.txt").write_text("cup/a\nball/b\n")
    (root / "test_set_80.txt").write_text("vase/c\n")
    for number, sequence in enumerate(("cup/a", "ball/b", "vase/c")):
        folder = root / "data_preprocessed" / sequence
        _picture(folder / "images" / "frame1.jpg", 50 * number, (10, 6))
        np.save(folder / "pointcloud1.npy", _cloud(number))


def modelnet_meshes(root: Path) -> None:
    """A tetrahedron each, of which no two sides are alike; one header as some of the real files have it."""
    for number, place in enumerate(("desk/train/desk_1", "desk/test/desk_2", "bed/train/bed_1", "bed/train/bed_1_a")):
        file = root / "modelnet40v1png" / f"{place}.off"
        file.parent.mkdir(parents=True, exist_ok=True)
        header = "OFF4 4 0" if number else "OFF\n4 4 0"
        file.write_text(f"{header}\n0 0 0\n1 0 0\n0 2 0\n0 0 {number + 3}\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    for view in (1, 2, 3):
        _picture(root / "rendered_images" / "train" / "desk" / f"desk_1_{view:03}.png", view)
        _picture(root / "rendered_images" / "train" / "bed" / f"bed_1_{view:03}.png", 10 + view)
        _picture(root / "rendered_images" / "train" / "bed" / f"bed_1_a_{view:03}.png", 20 + view)


def shapenet55(root: Path) -> None:
    taxonomy = [{"synsetId": "01", "name": "vessel,watercraft"}, {"synsetId": "02", "name": "airplane"}]
    (root / "taxonomy.json").write_text(json.dumps(taxonomy))
    (root / "train.txt").write_text("01-a-b.npy\n02-c.npy\n")
    (root / "test.txt").write_text("02-d.npy\n")
    (root / "shapenet_pc").mkdir()
    for number, name in enumerate(("01-a-b", "02-c", "02-d")):
        np.save(root / "shapenet_pc" / f"{name}.npy", _cloud(number))
        for ending in ("000", "000_depth0001", "012"):
            _picture(root / "rendered_images" / name / f"{name}_r_{ending}.png", number)


MAKERS = {make.__name__: make for make in (redwood, co3d, modelnet_meshes, shapenet55)}
CLASSES = {
    "redwood": ("chair", "table"),
    "co3d": ("ball", "cup", "vase"),
    "modelnet_meshes": ("bed", "desk"),
    "shapenet55": ("airplane", "ship"),
}
LABELS = {"redwood": [1, 0], "co3d": [1, 0], "modelnet_meshes": [0, 0, 1], "shapenet55": [1, 0]}


@pytest.fixture(params=MAKERS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    root = tmp_path / "data"
    root.mkdir()
    MAKERS[request.param](root)
    return request.param, root


def test_layouts(layout: tuple[str, Path]) -> None:
    name, root = layout
    dataset = KINDS[name](root, "train", num_points=16)
    assert dataset.class_names[: len(CLASSES[name])] == CLASSES[name]
    assert dataset.labels == LABELS[name]
    assert len(KINDS[name](root, "test", num_points=16)) == 1
    sample = dataset[0]
    assert sorted(sample) == ["label", "points"]
    assert sample["points"].shape == (16, 3)
    assert sample["points"].norm(dim=1).max() == pytest.approx(1, abs=1e-5)
    again = pickle.loads(pickle.dumps(dataset))
    for key in ((1, 3), (0, 0)):
        assert torch.equal(again[key]["points"], dataset[key]["points"])
    assert not torch.equal(dataset[0, 1]["points"], sample["points"])
    assert all(picture.is_file() for index in range(len(dataset)) for picture in dataset.pictures(index))
    found = survey(root)
    assert found.layout == name
    assert found.problems == []
    assert found.total == len(dataset) + 1
    assert sorted(found.splits) == ["test", "train"]


def test_the_axes_of_the_official_code(tmp_path: Path) -> None:
    for make in MAKERS.values():
        (tmp_path / make.__name__).mkdir()
        make(tmp_path / make.__name__)
    assert np.array_equal(Redwood(tmp_path / "redwood").surface(0), _cloud(1))
    assert np.array_equal(Co3d(tmp_path / "co3d").surface(0), _cloud(0)[:, [1, 0, 2]])
    mesh = ModelNetMeshes(tmp_path / "modelnet_meshes").surface(2)  # 1, 2 and 3 long along the file's x, y and z
    assert mesh.shape == (8192, 3)
    assert mesh.max(axis=0) == pytest.approx([2, 3, 1], rel=0.1)  # z is up in the file, and y here


def test_pictures_of_an_object(tmp_path: Path) -> None:
    for make in MAKERS.values():
        (tmp_path / make.__name__).mkdir()
        make(tmp_path / make.__name__)
    frames = Redwood(tmp_path / "redwood").pictures(0)
    assert [file.name for file in frames] == [f"{frame:03}.png" for frame in range(10)]  # the first ten
    meshes = ModelNetMeshes(tmp_path / "modelnet_meshes")
    assert [file.name for file in meshes.pictures(0)] == ["bed_1_001.png", "bed_1_002.png", "bed_1_003.png"]
    assert [file.name for file in meshes.pictures(1)] == ["bed_1_a_001.png", "bed_1_a_002.png", "bed_1_a_003.png"]
    assert ModelNetMeshes(tmp_path / "modelnet_meshes", "test").pictures(0) == []
    assert [file.parent.parent.name for file in Co3d(tmp_path / "co3d").pictures(1)] == ["b"]


SHAPENET = "a ShapeNet-55 folder must hold shapenet_pc/<synset>-<id>.npy, .* and test.txt, got "
REDWOOD = "a Redwood folder must hold meshpreprocessed3/<id>.npy, .* and test_set80.txt, got "
CO3D = "a CO3D folder must hold data_preprocessed/<class>/<sequence>/pointcloud1.npy .* and test_set_80.txt, got "
MESHES = "a folder of ModelNet meshes must hold <class>/train/.*off and <class>/test/.*off, got "


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("redwood", "root", REDWOOD + r"no folder .*"),
        ("redwood", "test_set80.txt", REDWOOD + r"no file .*test_set80.txt beside categories.json, .*"),
        ("redwood", "categories.json", REDWOOD + r"no file .*categories.json"),
        ("co3d", "root", CO3D + r"no folder .*"),
        ("co3d", "train_set_80.txt", CO3D + r"no file .*train_set_80.txt beside data_preprocessed, test_set_80.txt"),
        ("shapenet55", "root", SHAPENET + r"no folder .*"),
        ("shapenet55", "test.txt", SHAPENET + r"no file .*test.txt beside rendered_images, .*"),
        ("shapenet55", "taxonomy.json", SHAPENET + r"no file .*taxonomy.json"),
        ("modelnet_meshes", "root", MESHES + r"no folder .*"),
        ("modelnet_meshes", "modelnet40v1png/desk/test/desk_2.off", MESHES + r"no .off file in a folder test of .*"),
    ],
)
def test_a_wrong_root_or_a_missing_split_is_explained(name: str, broken: str, message: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    root = tmp_path / "nowhere" if broken == "root" else tmp_path
    if root == tmp_path:
        (root / broken).unlink()
    split = "train" if "train" in broken else "test"
    with pytest.raises((FileNotFoundError, ValueError), match=f"^{message}$") as caught:
        KINDS[name](root, split)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("redwood", "categories.json", "{", r"categories.json must map class names to lists of ids, got .* \(.*\)"),
        ("redwood", "categories.json", "[1]", r"categories.json must map class names to lists of ids, got .* \(.*\)"),
        ("shapenet55", "train.txt", "03-a.npy\n", "every line of a ShapeNet-55 split .*.json, got '03-a.npy' in .*"),
        ("shapenet55", "taxonomy.json", "[{}]", "taxonomy.json must be a list of synsetId and name, got .*"),
        ("redwood", "train_set80.txt", "99\n", REDWOOD + "no id of train_set80.txt under a class in .*categories.json"),
        ("redwood", "train_set80.txt", "\n", REDWOOD + "nothing listed in .*train_set80.txt"),
        (
            "co3d",
            "train_set_80.txt",
            "cup\n",
            "every line of a CO3D split must read .*, got 'cup' in .*",
        ),
    ],
)
def test_damaged_listings(name: str, file: str, content: str, message: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f"^{message}$"):
        KINDS[name](tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "kind"),
    [
        ("redwood", "meshpreprocessed3/01.npy", "NPY"),
        ("co3d", "data_preprocessed/cup/a/pointcloud1.npy", "NPY"),
        ("shapenet55", "shapenet_pc/01-a-b.npy", "NPY"),
        ("modelnet_meshes", "modelnet40v1png/bed/train/bed_1.off", "OFF"),
    ],
)
def test_a_truncated_cloud_is_named_and_the_others_can_be_read(name: str, file: str, kind: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    dataset = KINDS[name](tmp_path, num_points=4)
    message = rf"^a point cloud must be a complete {kind} file, got .*{re.escape(file)} \(.*\)$"
    with pytest.raises(ValueError, match=message):
        dataset[0]
    dataset[1]
    assert [problem for problem in survey(tmp_path).problems if file in problem]


# Clouds with pictures


@pytest.fixture
def pairs(tmp_path: Path) -> PairedClouds:
    redwood(tmp_path)
    for frame in range(12):
        (tmp_path / "videoframes" / "03" / f"{frame:03}.png").unlink()
    clouds = Redwood(tmp_path, num_points=8)
    return PairedClouds(clouds, clouds.pictures, image_size=16, num_views=4, all_views=True)


def test_pairs_from_files_and_rendered(pairs: PairedClouds) -> None:
    assert (len(pairs), pairs.labels, pairs.rendered) == (2, [1, 0], 1)
    sample = pairs[0]
    assert sorted(sample) == ["image", "label", "points", "views"]
    assert sample["views"][:, 0, 0, 0].tolist() == [20, 22, 25, 27], "four of ten, evenly"
    seen = {int(pairs[0, epoch]["image"][0, 0, 0]) for epoch in range(80)}
    assert seen == set(range(20, 30))
    rendered = pairs[1]
    assert rendered["views"].shape == (4, 3, 16, 16)
    assert rendered["views"].float().std() > 10
    assert any(torch.equal(rendered["image"], view) for view in rendered["views"])
    assert torch.equal(pairs[1, 5]["views"], rendered["views"])
    again = pickle.loads(pickle.dumps(pairs))
    for key in ((0, 3), (1, 2), (1, 3)):
        assert torch.equal(again[key]["image"], pairs[key]["image"])
        assert torch.equal(again[key]["points"], pairs[key]["points"])
    rendered["views"].zero_()
    assert pairs[1]["views"].any()


def test_few_pictures_are_repeated(tmp_path: Path) -> None:
    co3d(tmp_path)
    clouds = Co3d(tmp_path, num_points=8)
    views = PairedClouds(clouds, clouds.pictures, image_size=6, num_views=3, all_views=True)[0]["views"]
    assert torch.equal(views, views[:1].expand(3, -1, -1, -1))


def test_no_picture_at_all_is_an_error(tmp_path: Path) -> None:
    redwood(tmp_path)
    clouds = Redwood(tmp_path, num_points=8)
    with pytest.raises(ValueError, match=r"^at least one object must have a picture, got none in videoframes$"):
        PairedClouds(clouds, lambda index: [], place="videoframes")
    with pytest.raises(ValueError, match=r"^num_views must be at least 1, got 0$"):
        PairedClouds(clouds, num_views=0)


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    co3d(tmp_path)
    file = tmp_path / "data_preprocessed" / "cup" / "a" / "images" / "frame1.jpg"
    file.write_bytes(file.read_bytes()[:200])
    clouds = Co3d(tmp_path, num_points=8)
    pairs = PairedClouds(clouds, clouds.pictures, image_size=6)
    with pytest.raises(ValueError, match=r"^a picture must be a complete image file, got .*frame1\.jpg \(.*\)$"):
        pairs[0]
    pairs[1]
    assert [problem for problem in survey(tmp_path).problems if "frame1.jpg" in problem]


def test_the_middle_square_of_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    columns = np.repeat(np.arange(10, dtype=np.uint8)[None, :, None], 4, axis=0)
    Image.fromarray(np.repeat(columns, 3, axis=2)).save(file)
    assert read_image(file, 4, crop=True)[0, 0].tolist() == [3, 4, 5, 6]
    assert read_image(file, 4).shape == (3, 4, 4)


def test_pictures_of_rows(tmp_path: Path) -> None:
    assert row_folder(Path("ply_data_train3.h5")) == Path("image_data_train3")
    assert row_folder(Path("a/training_objectdataset.h5")) == Path("a/training_objectdatasetimage")
    (tmp_path / "shape_names.txt").write_text("bed\ncup\n")
    for split in ("train", "test"):
        for number, rows in enumerate((2, 1)):
            with h5py.File(tmp_path / f"ply_data_{split}{number}.h5", "w") as content:
                content["data"] = np.stack([_cloud(row) for row in range(rows)])
                content["label"] = np.zeros(rows, dtype=np.int64)
    _picture(tmp_path / "image_data_train0" / "1" / "0.png", 7)
    _picture(tmp_path / "image_data_train1" / "0" / "0.png", 9)
    dataset = ModelNet40(tmp_path, num_points=8)
    assert [dataset.location(index)[1] for index in range(3)] == [0, 1, 0]
    assert [len(row_pictures(*dataset.location(index))) for index in range(3)] == [0, 1, 1]
    assert np.array_equal(dataset.surface(2), _cloud(0))
    pairs = PairedClouds(dataset, lambda index: row_pictures(*dataset.location(index)), image_size=8)
    assert [int(pairs[index]["image"][0, 0, 0]) for index in (1, 2)] == [7, 9]
    found = survey(tmp_path)
    assert (found.layout, found.without_pictures, found.problems) == ("modelnet40", 1, [])
    (tmp_path / "image_data_train1" / "0" / "0.png").write_bytes(b"nothing")
    assert len(survey(tmp_path).problems) == 1


def test_surfaces_of_folders_and_shapenet_render(tmp_path: Path) -> None:
    modelnet_meshes(tmp_path)
    folder = CloudFolder(tmp_path / "modelnet40v1png", num_points=8)
    assert folder.surface(0).shape[1] == 3
    assert len(folder.surface(0)) > 1000
    assert np.array_equal(folder.surface(0), folder.surface(0))
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 30\n" + "".join(
        f"property float {a}\n" for a in "xyz"
    )
    file = tmp_path / "renders" / "ShapeNet" / "cup" / "a.ply"
    file.parent.mkdir(parents=True)
    file.write_bytes(f"{header}end_header\n".encode() + _cloud(5).tobytes())
    _picture(tmp_path / "renders" / "ShapeNetRendering" / "cup" / "a" / "rendering" / "00.png", 3)
    renders = ShapeNetRender(tmp_path / "renders", num_points=8, images=False)
    assert np.array_equal(renders.surface(0), _cloud(5))
    assert [file.name for file in renders.pictures(0)] == ["00.png"]
    assert sorted(renders[0]) == ["label", "points"]
