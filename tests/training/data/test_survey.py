"""`python -m crosspoint.data check`."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from crosspoint.data.__main__ import main
from crosspoint.data.survey import recognise, survey

COLUMN = "│"
_UP = "up axis probably ? (--data.up-axis ?)"


def _table(rng: np.random.Generator, up: int) -> np.ndarray[Any, Any]:
    """A table: most of its points lie in its top."""
    points = rng.uniform(-1, 1, size=(60, 3))
    points[:45, up] = 1
    return points.astype(np.float32)


def _rows(file: Path, labels: list[int], **more: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(file, "w") as content:
        content["data"] = np.stack([_table(rng, 2) for _ in labels])
        content["label"] = np.array(labels)
        for name, values in more.items():
            content[name] = values


def modelnet40(root: Path) -> None:
    (root / "shape_names.txt").write_text("desk\ntable\n")
    _rows(root / "ply_data_train0.h5", [0, 1, 1])
    _rows(root / "ply_data_test0.h5", [1, 0])


def shapenet_part(root: Path) -> None:
    for split in ("train", "val", "test"):
        _rows(root / "hdf5_data" / f"ply_data_{split}0.h5", [0, 1], pid=np.repeat([[0], [4]], 60, axis=1))


def scanobjectnn(root: Path) -> None:
    _rows(root / "main_split" / "training_objectdataset.h5", [0, 14])
    _rows(root / "main_split" / "test_objectdataset.h5", [3])


def shapenet_render(root: Path) -> None:
    rng = np.random.default_rng(0)
    header = "ply\nformat ascii 1.0\nelement vertex 60\n" + "".join(f"property float {a}\n" for a in "xyz")
    for number in range(3):
        file = root / "ShapeNet" / "table" / f"{number}.ply"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = "\n".join(" ".join(map(str, row)) for row in _table(rng, 1))
        file.write_text(f"{header}end_header\n{rows}\n")
        folder = root / "ShapeNetRendering" / "table" / str(number) / "rendering"
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "00.png")


def folder(root: Path) -> None:
    rng = np.random.default_rng(0)
    for place in ("train/table/a", "test/table/b", "train/desk/c"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{place}.npy", _table(rng, 0))


LAYOUTS = {make.__name__: make for make in (modelnet40, shapenet_part, scanobjectnn, shapenet_render, folder)}


def check(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    code = main(["check", str(root), *options])
    captured = capsys.readouterr()
    return code, [" ".join(line.replace(COLUMN, " ").split()) for line in (captured.out + captured.err).splitlines()]


@pytest.mark.parametrize(
    ("layout", "lines"),
    [
        ("modelnet40", ["modelnet40: 5 clouds", "desk 1 1", "table 2 1", "all 3 2", _UP.replace("?", "z")]),
        ("shapenet_part", ["shapenet_part: 6 clouds", "airplane 1 1 1", "bag 1 1 1", "all 2 2 2"]),
        ("scanobjectnn", ["scanobjectnn: 3 clouds", "bag 1", "cabinet 1", "toilet 1", "all 2 1"]),
        ("shapenet_render", ["table 3", "all 3", "points per cloud 60", _UP.replace("?", "y")]),
        ("folder", ["folder: 3 clouds", "desk 1", "table 1 1", "all 1 2", _UP.replace("?", "x")]),
    ],
)  # fmt: skip
def test_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, lines: list[str]) -> None:
    LAYOUTS[layout](tmp_path)
    assert recognise(tmp_path) == layout
    code, printed = check(tmp_path, capsys)
    assert code == 0, printed
    for line in lines:
        assert line in printed, printed


def test_ranges(tmp_path: Path) -> None:
    folder(tmp_path)
    np.save(tmp_path / "train" / "table" / "far.npy", np.array([[5.0, -7, 0], [0, 0, 9]]))
    found = survey(tmp_path)
    assert (found.total, found.fewest, found.most) == (4, 2, 60)
    assert found.low[1] == -7
    assert found.high.tolist() == pytest.approx([5, 1, 9], abs=0.1)


def _damage_rows(root: Path) -> list[str]:
    """A truncated file, and one with NaN in a row, a wrong label shape in another."""
    modelnet40(root)
    train, test = root / "ply_data_train0.h5", root / "ply_data_test0.h5"
    with h5py.File(train, "r+") as content:
        content["data"][1, 4, 0] = np.nan
    test.write_bytes(test.read_bytes()[:-200])
    return [
        f"problem: data must be finite, got NaN or infinity in row 1 of {train}",
        f"problem: a ModelNet40 file must be a complete HDF5 file, got {test} ",
    ]


def _damage_parts(root: Path) -> list[str]:
    shapenet_part(root)
    file = root / "hdf5_data" / "ply_data_val0.h5"
    with h5py.File(file, "r+") as content:
        content["pid"][0, 3] = 4
    (root / "hdf5_data" / "ply_data_test0.h5").unlink()
    return [
        f"problem: pid must be a part of its cloud's class 0, got 4 in row 0 of {file}",
        "problem: a ShapeNetPart folder must hold files ply_data_test*.h5, got none in ",
    ]


def _damage_files(root: Path) -> list[str]:
    shapenet_render(root)
    cloud = root / "ShapeNet" / "table" / "0.ply"
    cloud.write_bytes(cloud.read_bytes()[:-100])
    picture = root / "ShapeNetRendering" / "table" / "1" / "rendering" / "00.png"
    picture.write_bytes(picture.read_bytes()[:30])
    return [
        f"problem: a point cloud must be a complete PLY file, got {cloud} ",
        f"problem: a picture must be a complete image file, got {picture} ",
    ]


def _damage_splits(root: Path) -> list[str]:
    """Files that are right one by one and do not go together."""
    modelnet40(root)
    with h5py.File(root / "ply_data_train1.h5", "w") as content:
        content["data"] = np.ones((1, 59, 3), np.float32)
        content["label"] = np.array([0])
    return ["problem: all files of a split must have the same number of points per cloud, got 60 in "]


@pytest.mark.parametrize("damage", [_damage_rows, _damage_parts, _damage_files, _damage_splits])
def test_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any) -> None:
    expected = damage(tmp_path)
    code, printed = check(tmp_path, capsys)
    assert code == 1
    problems = [line for line in printed if line.startswith("problem: ")]
    assert len(problems) == len(expected), problems
    for line in expected:
        assert any(problem.startswith(line.strip()) for problem in problems), problems


def test_missing_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapenet_render(tmp_path)
    (tmp_path / "ShapeNetRendering" / "table" / "1" / "rendering" / "00.png").unlink()
    code, printed = check(tmp_path, capsys)
    assert code == 0  # no problem: they are rendered
    assert "no pictures 1 objects; views of them are rendered" in printed


def test_images_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "clouds")
    (tmp_path / "images" / "train" / "table").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "train" / "table" / "a.png")
    code, printed = check(tmp_path / "clouds", capsys, "--images", str(tmp_path / "images"))
    assert code == 0
    assert "no pictures 2 objects; views of them are rendered" in printed


def test_no_known_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    code, printed = check(tmp_path, capsys)
    assert code == 2
    assert len(printed) == 1
    assert re.match(r"error: a data folder must hold ShapeNet/, .*, got .* with readme\.txt$", printed[0])
    code, printed = check(tmp_path / "nowhere", capsys)
    assert (code, printed) == (2, [f"error: a data folder must exist, got no folder {tmp_path / 'nowhere'}"])


def test_a_layout_without_its_list_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modelnet40(tmp_path)
    (tmp_path / "shape_names.txt").unlink()
    code, printed = check(tmp_path, capsys)
    assert (code, len(printed)) == (2, 1)
    assert printed[0].startswith("error: a ModelNet40 folder must hold shape_names.txt, got no file ")
