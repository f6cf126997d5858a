"""The command as a user meets it: whole tiny runs, and what it says when something is wrong."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from crosspoint.train import main

TINY = """
    --data.num-points 32 --data.image-size 32
    --model.k 4 --model.widths 8 8 --model.embedding 16 --model.cloud-hidden 16 --model.image-hidden 16
    --model.projection 8 --model.resnet-width 4
    --optimisation.batch-size 4 --optimisation.epochs 2
    --probe.per-class 4 --probe.num-points 32 --probe.c 0.1 1
    --output.embedding pca --device cpu
""".split()  # noqa: SIM905 (this is how it is typed)
SMALL_CORPUS = ["--data.per-class", "1"]


def write_ply(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "ply\nformat ascii 1.0\n" + f"element vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_text(header + "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in points))


@pytest.fixture
def shapenet_render(tmp_path: Path) -> Path:
    """Six objects of two classes in the layout of ShapeNetRender."""
    rng = np.random.default_rng(0)
    root = tmp_path / "shapenet"
    for category in ("box", "stick"):
        for number in range(3):
            points = rng.uniform(-1, 1, size=(40, 3)) * ((1, 1, 1) if category == "box" else (0.1, 1, 0.1))
            write_ply(root / "ShapeNet" / category / f"{number}.ply", points)
            folder = root / "ShapeNetRendering" / category / str(number) / "rendering"
            folder.mkdir(parents=True)
            for view in range(2):
                pixels = rng.integers(0, 256, size=(20, 20, 4), dtype=np.uint8)
                Image.fromarray(pixels, "RGBA").save(folder / f"{view:02}.png")
    return root


@pytest.fixture
def modelnet40(tmp_path: Path) -> Path:
    """Two classes in the layout of ModelNet40's HDF5 files."""
    rng = np.random.default_rng(0)
    root = tmp_path / "modelnet"
    root.mkdir()
    (root / "shape_names.txt").write_text("box\nstick\n")
    for split, count in (("train", 16), ("test", 8)):
        labels = np.arange(count) % 2
        sizes = np.where(labels[:, None, None] == 0, (1.0, 1.0, 1.0), (0.1, 1.0, 0.1))
        with h5py.File(root / f"ply_data_{split}0.h5", "w") as file:
            file["data"] = (rng.uniform(-0.5, 0.5, size=(count, 40, 3)) * sizes).astype(np.float32)
            file["label"] = labels[:, None].astype(np.uint8)
        (root / f"{split}_files.txt").write_text(f"data/ply_data_{split}0.h5\n")
    return root


def train(directory: Path, *options: str) -> int:
    return main([*TINY, "--output.directory", str(directory), *options])


def steps(directory: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (directory / "log.jsonl").read_text().splitlines()]


def error_of(arguments: Sequence[str]) -> str:
    """The command's standard error, from a process of its own; the exit code must be that of a user's error."""
    command = [sys.executable, "-m", "crosspoint.train", *arguments]
    # Not in the repository, whose sources could hide the installed package.
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir())
    assert finished.returncode == 2, finished.stderr
    return finished.stderr


def test_a_whole_run_on_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "runs" / "first"  # neither exists
    assert train(directory, *SMALL_CORPUS, "--output.log-steps", "2") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for words in ("objects/s", "random initialisation", "pre-trained", "DGCNN, k 4", "held-out clouds of shapes"):
        assert words in printed.out
    assert {path.name for path in directory.iterdir()} == {
        "best.pt",
        "checkpoint.pt",
        "config.json",
        "figure.png",
        "log.jsonl",
        "results.json",
        "tensorboard",
    }
    assert list((directory / "tensorboard").iterdir())
    results = json.loads((directory / "results.json").read_text())
    for encoder in ("random", "pretrained"):
        assert 0 <= results[encoder]["accuracy"] <= 1
        assert results[encoder]["c"] in (0.1, 1.0)
    assert json.loads((directory / "config.json").read_text()) == results["config"]
    with Image.open(directory / "figure.png") as figure:
        assert figure.size[0] > 1000
    logged = steps(directory)
    assert logged[:3] == [2, 4, 6]
    assert logged[-1] == 2 * (results["test_clouds"] // 4 // 4)  # epochs times whole batches of one object per class


def test_pretraining_changes_the_loss_it_minimises(tmp_path: Path) -> None:
    options = ["--optimisation.epochs", "8", "--probe.dataset", "none", "--output.no-tensorboard"]
    assert train(tmp_path, *SMALL_CORPUS, *options) == 0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    quarter = len(losses) // 4
    assert np.mean(losses[-quarter:]) < np.mean(losses[:quarter])


def test_without_a_probe_the_loss_curves_remain(tmp_path: Path) -> None:
    options = ["--optimisation.epochs", "1", "--probe.dataset", "none", "--output.no-tensorboard"]
    assert train(tmp_path, *SMALL_CORPUS, *options) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "config.json", "figure.png", "log.jsonl"}


def test_shapenet_render_with_a_probe_on_modelnet40(tmp_path: Path, shapenet_render: Path, modelnet40: Path) -> None:
    options = ["--data.dataset", "shapenet_render", "--data.root", str(shapenet_render)]
    options += ["--probe.dataset", "modelnet40", "--probe.root", str(modelnet40), "--probe.up-axis", "z"]
    assert train(tmp_path / "run", *options) == 0
    assert steps(tmp_path / "run") == [1, 2]  # six objects make one batch of four an epoch
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["probe"], results["test_clouds"]) == ("modelnet40", 8)


@pytest.mark.parametrize("mode", ["shaded", "depth"])
def test_modelnet40_with_rendered_views(tmp_path: Path, modelnet40: Path, mode: str) -> None:
    options = ["--data.dataset", "modelnet40", "--data.root", str(modelnet40), "--data.up-axis", "z"]
    options += ["--data.view-mode", mode, "--probe.dataset", "none"]
    assert train(tmp_path / "run", *options) == 0
    assert steps(tmp_path / "run") == list(range(1, 9))


def test_a_run_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*SMALL_CORPUS, "--optimisation.epochs", "1", "--probe.dataset", "none"]
    assert train(tmp_path, *options) == 0
    before = (tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "log.jsonl").read_bytes()
    capsys.readouterr()
    assert train(tmp_path, *options) == 2
    assert capsys.readouterr().err == (
        f"error: output.directory must not hold a run unless --resume continues it, got {tmp_path} with a checkpoint\n"
    )
    assert ((tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "log.jsonl").read_bytes()) == before


def test_a_checkpoint_of_another_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*SMALL_CORPUS, "--probe.dataset", "none"]
    assert train(tmp_path, *options, "--optimisation.epochs", "1") == 0
    before = (tmp_path / "checkpoint.pt").read_bytes()
    capsys.readouterr()
    assert train(tmp_path, *options, "--optimisation.epochs", "3", "--seed", "5", "--resume") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'checkpoint.pt'} must come from the same configuration, got other values of "
        "optimisation.epochs (1 there, 3 here), seed (0 there, 5 here)\n"
    )
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_resuming_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "absent", *SMALL_CORPUS, "--resume") == 2
    assert capsys.readouterr().err == (
        f"error: --resume needs a checkpoint in output.directory, got none in {tmp_path / 'absent'}\n"
    )
    assert not (tmp_path / "absent").exists()


def test_a_damaged_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    assert train(tmp_path, *SMALL_CORPUS, "--resume") == 2
    assert capsys.readouterr().err == f"error: {path} must be a complete checkpoint, got a damaged or foreign file\n"
    assert path.read_bytes() == b"not a checkpoint"


def test_an_output_directory_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert train(tmp_path / "file" / "run", *SMALL_CORPUS) == 2
    assert capsys.readouterr().err == (
        f"error: output.directory must be a writable folder, got {tmp_path / 'file' / 'run'} "
        f"({os.strerror(errno.ENOTDIR)})\n"
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_output_directory_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    try:
        assert train(tmp_path / "run", *SMALL_CORPUS) == 2
    finally:
        tmp_path.chmod(0o700)
    assert f"({os.strerror(errno.EACCES)})\n" in capsys.readouterr().err


def test_a_disk_that_fills_up_while_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosspoint.engine.checkpoint import load_checkpoint

    real_fsync, calls = os.fsync, iter(range(1, 1_000))

    def fsync(descriptor: int) -> None:
        checkpoint = Path(f"/proc/self/fd/{descriptor}").resolve().name.startswith(".checkpoint")
        if checkpoint and next(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    options = [*SMALL_CORPUS, "--output.checkpoint-steps", "2", "--output.checkpoint-seconds", "0"]
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        assert train(tmp_path, *options) == 2
    assert capsys.readouterr().err == (
        f"error: a checkpoint must be writable at {tmp_path / 'checkpoint.pt'}, got: {os.strerror(errno.ENOSPC)}\n"
    )
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2  # steps 0 and 2 were saved, step 4 was not
    assert train(tmp_path, *options, "--resume") == 0


def test_missing_data_is_found_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--probe.dataset", "modelnet40", "--probe.root", str(tmp_path / "absent")]
    assert train(tmp_path / "run", *SMALL_CORPUS, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / "absent") in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def broken_clouds(root: Path) -> list[Path]:
    clouds = sorted((root / "ShapeNet").rglob("*.ply"))
    for path in clouds:
        path.write_bytes(path.read_bytes()[:-100])
    return clouds


def test_files_that_break_while_training(
    tmp_path: Path, shapenet_render: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = broken_clouds(shapenet_render)
    options = ["--data.dataset", "shapenet_render", "--data.root", str(shapenet_render)]
    assert train(tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert any(str(path) in error for path in broken)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_files_that_break_in_a_data_loading_process(tmp_path: Path, shapenet_render: Path) -> None:
    broken = broken_clouds(shapenet_render)
    options = ["--data.dataset", "shapenet_render", "--data.root", str(shapenet_render), "--data.workers", "1"]
    error = error_of([*TINY, *options, "--output.directory", str(tmp_path / "run")])
    assert error.count("\n") == 1
    assert any(str(path) in error for path in broken)


def test_traceback_on_request(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--resume needs a checkpoint"):
        train(tmp_path, "--resume", "--traceback")


def test_the_command_itself(tmp_path: Path) -> None:
    """One whole process: what the in-process tests above cannot see (stray output, exit codes)."""
    error = error_of([*TINY, *SMALL_CORPUS, "--resume", "--output.directory", str(tmp_path)])
    assert error == f"error: --resume needs a checkpoint in output.directory, got none in {tmp_path}\n"
