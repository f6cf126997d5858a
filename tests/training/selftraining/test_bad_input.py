"""What self-training says when something is wrong: one clear line, and nothing lost."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selftraining_runs import METHOD, OUTPUT, self_train

from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.run import CHECKPOINT_NAME
from crosspoint.selftrain import main

Printed = pytest.CaptureFixture[str]


def only_line(capsys: Printed) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def clouds(root: Path, classes: tuple[str, ...], *, pictures: bool = False) -> Path:
    """Four clouds of each class, with or without a picture beside each."""
    rng = np.random.default_rng(0)
    for name in classes:
        for number in range(4):
            file = root / "clouds" / name / f"{number}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, rng.normal(size=(40, 3)).astype(np.float32))
            if pictures:
                picture = root / "images" / name / f"{number}.png"
                picture.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)).save(picture)
    return root


def on_folder(start: Path, root: Path, *options: str) -> int:
    data = f"--data.dataset folder --data.root {root / 'clouds'} --data.views 1 --data.num-points 32".split()
    data += ["--data.image-size", "16", "--data.hold-out", "0"]
    method = [*METHOD, "--method.optimisation.batch-size", "4"]
    return main(["--init", str(start), *data, *method, *OUTPUT, "--output.directory", str(root / "run"), *options])


def test_nothing_is_confident_for_an_epoch(start: Path, tmp_path: Path, capsys: Printed) -> None:
    never = ("--method.labels.threshold", "1")
    assert self_train(start, tmp_path, *never) == 2
    assert only_line(capsys) == (
        "error: self-training needs confident labels, got none in 1 epoch in a row: lower the threshold, take a better "
        "aligned start, or go on with --method.labels.patience 0 (all 4 steps until then are in the checkpoint)\n"
    )
    assert load_checkpoint(tmp_path / CHECKPOINT_NAME)["step"] == 4
    assert self_train(start, tmp_path, *never, "--resume", "--method.labels.patience", "2") == 2
    assert "got none in 2 epochs in a row" in only_line(capsys)  # the one before the resumption counts
    assert load_checkpoint(tmp_path / CHECKPOINT_NAME)["step"] == 8
    assert self_train(start, tmp_path, *never, "--resume", "--method.labels.patience", "0") == 0
    labels = json.loads((tmp_path / "results.json").read_text())["labels"]
    assert [epoch["confident"] for epoch in labels] == [0, 0]


def test_a_loss_that_is_not_a_number(start: Path, tmp_path: Path, capsys: Printed) -> None:
    assert self_train(start, tmp_path, "--method.optimisation.learning-rate", "1e30") == 2
    assert only_line(capsys).startswith("error: the loss must stay finite, got nan at step 2")
    state = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert state["step"] == 0
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


def test_one_class_only(start: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "names.txt").write_text("chair\n\n")
    assert self_train(start, tmp_path / "run", "--classes", str(tmp_path / "names.txt")) == 2
    assert only_line(capsys) == "error: self-training needs at least 2 classes to tell apart, got 1 (chair)\n"
    assert not (tmp_path / "run").exists()


def test_classes_that_the_data_do_not_have(start: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "names.txt").write_text("teapot\nunicorn\n")
    assert on_folder(start, clouds(tmp_path, ("box", "stick")), "--classes", str(tmp_path / "names.txt")) == 2
    error = only_line(capsys)
    for name in ("teapot", "box"):
        assert name in error
    assert not (tmp_path / "run").exists()


def test_a_class_named_twice(start: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "names.txt").write_text("chair\ntable\nchair\n")
    assert self_train(start, tmp_path / "run", "--classes", str(tmp_path / "names.txt")) == 2
    assert only_line(capsys).startswith("error: a list of classes must name each once, got chair more often")


def test_pictures_that_break(start: Path, tmp_path: Path, capsys: Printed) -> None:
    root = clouds(tmp_path, ("box", "stick"), pictures=True)
    pictures = sorted((root / "images").rglob("*.png"))
    whole = [picture.read_bytes() for picture in pictures]
    for picture in pictures:
        picture.write_bytes(b"no picture")
    assert on_folder(start, root, "--data.images", str(root / "images")) == 2
    error = only_line(capsys)
    assert any(str(picture) in error for picture in pictures)
    assert "(all 0 steps until then are in the checkpoint); continue with: python -m crosspoint.selftrain" in error
    for picture, content in zip(pictures, whole, strict=True):
        picture.write_bytes(content)
    assert on_folder(start, root, "--data.images", str(root / "images"), "--resume") == 0
    assert load_checkpoint(root / "run" / CHECKPOINT_NAME)["step"] == 4


def test_a_start_without_text_and_other_classes(start: Path, tmp_path: Path, capsys: Printed) -> None:
    root = clouds(tmp_path, ("box", "stick"))
    assert on_folder(start, root, "--method.optimisation.epochs", "1") == 0
    again = ["--output.directory", str(tmp_path / "again")]
    (tmp_path / "names.txt").write_text("stick\nball\nbox\n")
    capsys.readouterr()
    assert on_folder(root / "run", root, *again, "--classes", str(tmp_path / "names.txt")) == 2
    assert only_line(capsys) == (
        "error: a start without text tower must be trained further on its own 2 classes in their order, got 3, among "
        "them ball\n"
    )
    assert on_folder(root / "run", root, *again, "--method.optimisation.epochs", "1") == 0


def test_no_start(tmp_path: Path, capsys: Printed) -> None:
    assert self_train(tmp_path / "absent.pt", tmp_path / "run") == 2
    assert only_line(capsys) == f"error: there must be an aligned model at {tmp_path / 'absent.pt'}, got no file\n"
