"""The command as a user meets it: every task on tiny runs, and what it says when something is wrong."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from crosspoint.checkpoints import export_official
from crosspoint.config.evaluate import Linear
from crosspoint.config.evaluated_data import ClassifiedData
from crosspoint.config.output import OutputConfig
from crosspoint.config.pretrain import (
    Config,
    DataConfig,
    ModelConfig,
    OptimisationConfig,
    ProbeConfig,
)
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.run import prepare_directory
from crosspoint.evaluate import main, parse
from crosspoint.evaluation.datasets import classified_splits
from crosspoint.evaluation.encoders import contenders
from crosspoint.evaluation.features import extract_features
from crosspoint.evaluation.few_shot import set_neighbors
from crosspoint.evaluation.svm import linear_probe
from crosspoint.models import CrossPoint
from crosspoint.pretraining.state import initial_model
from crosspoint.pretraining.train import pretrain
from crosspoint.report import main as report

CPU = torch.device("cpu")
CLOUDS = ["--data.num-points", "24", "--data.per-class", "4", "--device", "cpu"]
SMALL: dict[str, Any] = {
    "k": 4, "widths": (8, 8), "embedding": 16, "cloud_hidden": 8, "image_hidden": 8, "projection": 8, "resnet_width": 4,
}  # fmt: skip


def make_run(directory: Path, **model: Any) -> Path:
    config = Config(
        data=DataConfig(per_class=1, num_points=24, image_size=32),
        model=ModelConfig(**{**SMALL, **model}),
        optimisation=OptimisationConfig(epochs=2, batch_size=12),
        probe=ProbeConfig(per_class=4, num_points=24),
        output=OutputConfig(directory=directory, tensorboard=False),
        device="cpu",
    )
    prepare_directory(directory, resume=False)
    scores = iter((0.5, 0.4))  # so that the best is not the last
    pretrain(config, Console(quiet=True), World(0, 1, CPU), lambda network: next(scores))
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "dgcnn")
    evaluate("linear", "--checkpoint", root / "dgcnn", *CLOUDS)
    make_run(root / "seg", encoder="dgcnn_seg")
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A pre-trained DGCNN with its linear evaluation, to put more results into."""
    return Path(shutil.copytree(made / "dgcnn", tmp_path / "dgcnn"))


@pytest.fixture
def segmentation_run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "seg", tmp_path / "seg"))


def results(run: Path, task: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "evaluation" / f"{task}.json").read_text())
    return content


def evaluate(task: str, *options: object) -> None:
    assert main([task, *map(str, options)]) == 0


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and len(np.unique(np.asarray(image.convert("L")))) > 5


def test_linear(run: Path) -> None:
    entry = results(run, "linear")["shapes"]
    assert list(entry["encoders"]) == ["random", "last", "best"]
    assert [scores["step"] for scores in entry["encoders"].values()] == [0, 4, 2]
    assert all(is_picture(run / "evaluation" / name) for name in entry["figures"].values())

    train, test = classified_splits(ClassifiedData(num_points=24, per_class=4))
    state = load_checkpoint(run / "checkpoint.pt")
    trained = CrossPoint(ModelConfig(**SMALL))
    trained.load_state_dict(state["model"])
    untrained = initial_model(Config(model=ModelConfig(**SMALL)))
    for key, network in (("last", trained), ("random", untrained)):
        fitted, held = (extract_features(network.cloud_encoder, split.clouds, CPU) for split in (train, test))
        expected = linear_probe(fitted, held, Linear().choices)
        scores = entry["encoders"][key]
        assert (scores["accuracy"], scores["c"]) == (expected.accuracy, expected.c)
        for value in (0.01, 0.1, 1.0):
            assert scores["by_c"][f"{value:g}"] == linear_probe(fitted, held, [value]).accuracy


def test_the_official_protocol_says_that_it_looks_at_test_data(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("linear", "--checkpoint", run, *CLOUDS, "--protocol", "official")
    printed = capsys.readouterr()
    assert printed.err == ""
    for words in ("random weights", "pre-trained", "96 test clouds of shapes", "C = 0.01", "ON THE TEST SPLIT"):
        assert words in " ".join(printed.out.split())
    assert "shapes" in results(run, "linear")  # the honest result stays
    entry = results(run, "linear")["shapes-official"]
    trained = [scores for key, scores in entry["encoders"].items() if key != "random"]
    assert entry["official"]["accuracy"] == max(max(scores["by_c"].values()) for scores in trained)
    assert entry["official"]["selected_on"] == "the test split"


def test_results_of_other_datasets_stay(run: Path) -> None:
    folder = run / "evaluation"
    folder.mkdir(exist_ok=True)
    (folder / "few-shot.json").write_text('{"other": {"mine": 1}}')
    evaluate("few-shot", "--checkpoint", run, *CLOUDS, "--ways", 5, "--shots", 2, 3, "--queries", 1, "--runs", 3)
    content = results(run, "few-shot")
    assert content["other"] == {"mine": 1}
    assert list(content["shapes"]["encoders"]) == ["random", "last"]
    assert list(content["shapes"]["encoders"]["last"]["settings"]) == ["5-way 2-shot", "5-way 3-shot"]


def test_few_shot_by_the_official_protocol(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--ways", 5, "--shots", 2, "--queries", 2, "--runs", 3, "--protocol", "official"]
    evaluate("few-shot", "--checkpoint", run, *CLOUDS, *options)
    assert "queries from the training split too, k = 5" in " ".join(capsys.readouterr().out.split())
    assert results(run, "few-shot")["shapes-official"]["queries_from"] == "train"


def test_random_weights_alone(tmp_path: Path) -> None:
    model = ["--model.k", 4, "--model.widths", 4, "--model.embedding", 4, "--output", tmp_path / "out"]
    evaluate("robustness", "--checkpoint", "none", *model, *CLOUDS, "--data.per-class", 3)
    entry = results(tmp_path / "out", "robustness")["shapes"]
    assert list(entry["encoders"]) == ["random"]
    accuracies = entry["encoders"]["random"]["accuracies"]
    assert {kind: len(values) for kind, values in accuracies.items()} == dict.fromkeys(
        ("noise", "dropped points", "rotation", "scale", "occlusion"), 6
    )
    assert {values[0] for values in accuracies.values()} == {entry["encoders"]["random"]["clean"]}
    assert is_picture(tmp_path / "out" / "evaluation" / entry["figures"]["robustness"])


def test_retrieval(run: Path) -> None:
    evaluate("retrieval", "--checkpoint", run, "--data.objects", 24, "--device", "cpu", "--k", 1, 24, "--shown", 2)
    entry = results(run, "retrieval")["shapes"]
    assert entry["chance"] == {"1": 1 / 24, "24": 1.0}
    for scores in entry["encoders"].values():
        for direction in ("image to cloud", "cloud to image"):
            assert 0 <= scores[direction]["1"] <= scores[direction]["24"] == 1.0
    assert is_picture(run / "evaluation" / entry["figures"]["retrieval"])


TRAINING = ["--training.epochs", 2, "--training.batch-size", 24]


def test_finetune_and_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("finetune", "--checkpoint", run, *CLOUDS, *TRAINING, "--fractions", 1, 0.5)
    first = results(run, "finetune")["shapes"]["encoders"]
    assert {key: list(scores["fractions"]) for key, scores in first.items()} == {
        "random": ["0.5", "1"],
        "last": ["0.5", "1"],
    }
    assert first["last"]["fractions"]["0.5"]["labelled_clouds"] == 48
    capsys.readouterr()
    evaluate("finetune", "--checkpoint", run, *CLOUDS, *TRAINING, "--fractions", 1, 0.5)
    assert "step" not in capsys.readouterr().out  # nothing is trained twice
    assert results(run, "finetune")["shapes"]["encoders"] == first


def test_finetune_by_the_official_protocol(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("finetune", "--checkpoint", run, *CLOUDS, *TRAINING, "--fractions", 1, "--protocol", "official")
    assert "ON THE TEST SPLIT" in capsys.readouterr().out
    assert results(run, "finetune")["shapes-official"]["selected_on"] == "the test split"


@pytest.mark.parametrize("protocol", ["honest", "official"])
def test_part_segmentation(segmentation_run: Path, protocol: str) -> None:
    options = ["--data.num-points", 24, "--data.per-class", 1, *TRAINING, "--training.epochs", 1, "--device", "cpu"]
    evaluate("part-seg", "--checkpoint", segmentation_run, *options, "--protocol", protocol)
    entry = results(segmentation_run, "part-seg")["shapes" if protocol == "honest" else "shapes-official"]
    for scores in entry["encoders"].values():
        assert len(scores["categories"]) == 24
        assert scores["category_miou"] == pytest.approx(np.mean(list(scores["categories"].values())))
    assert is_picture(segmentation_run / "evaluation" / entry["figures"]["segmentation"])


def test_official_weights_are_the_same_encoder(made: Path, tmp_path: Path) -> None:
    points = torch.rand(3, 24, 3)
    for folder, file in (("dgcnn", "a.pth"), ("seg", "b.pth")):
        last = contenders(Linear(checkpoint=made / folder))[1]
        assert last.network is not None
        torch.save(export_official(last.network.cloud_encoder, last.network.cloud_head), tmp_path / file)
        random, official = contenders(Linear(checkpoint=tmp_path / file))
        assert (random.key, official.key) == ("random", "official")
        for one in (last, random, official):
            set_neighbors(one.encoder, 4)  # files do not hold it
            one.encoder.eval()
        torch.testing.assert_close(official.encoder(points), last.encoder(points))
        assert random.encoder(points).shape == last.encoder(points).shape
        assert not torch.allclose(random.encoder(points), last.encoder(points))


def test_the_report(run: Path, segmentation_run: Path, tmp_path: Path) -> None:
    evaluate("retrieval", "--checkpoint", run, "--data.objects", 24, "--device", "cpu", "--shown", 1)
    page = tmp_path / "page.html"
    assert report([str(run), str(segmentation_run), "--output", str(page)]) == 0
    text = page.read_text()
    assert text.count('src="data:image/png;base64,') == 2 * 2 + 2 + 1  # curves of both runs, linear's two, retrieval's
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # nothing outside the page
    for words in (
        "Linear SVM on frozen features: shapes",
        "recall@1, image to cloud",
        "Throughput: median",
        "dgcnn_seg",
    ):
        assert words in text
    accuracy = results(run, "linear")["shapes"]["encoders"]["last"]["accuracy"]
    assert f"{100 * accuracy:.1f}" in text
    assert (run / "report" / "losses.png").is_file()
    assert "$" not in text  # no placeholder is left


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("error: ").rstrip()


def test_errors_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent, damaged = tmp_path / "absent", tmp_path / "damaged.pt"
    damaged.write_bytes(b"not a checkpoint")
    out = ["--output", tmp_path / "out"]
    assert error_of(capsys, "linear", "--checkpoint", absent, *CLOUDS, *out) == (
        f"there must be a checkpoint at {absent}, got none"
    )
    assert error_of(capsys, "linear", "--checkpoint", damaged, *CLOUDS, *out) == (
        f"{damaged} must be a complete checkpoint, got a damaged or foreign file"
    )
    torch.save({"a": torch.ones(1)}, tmp_path / "foreign.pt")
    assert str(tmp_path / "foreign.pt") in error_of(
        capsys, "linear", "--checkpoint", tmp_path / "foreign.pt", *CLOUDS, *out
    )
    assert error_of(capsys, "part-seg", "--checkpoint", run, *out) == (
        "part segmentation needs the encoder dgcnn_seg (--model.encoder dgcnn_seg, in the pre-training too), got DGCNN"
    )
    missing = error_of(capsys, "linear", "--checkpoint", run, "--data.dataset", "modelnet40", "--data.root", absent)
    assert str(absent) in missing
    (run / "evaluation" / "few-shot.json").write_text("{")
    options = ["--ways", 2, "--shots", 1, "--queries", 1, "--runs", 1]
    assert error_of(capsys, "few-shot", "--checkpoint", run, *CLOUDS, *options) == (
        f"{run / 'evaluation' / 'few-shot.json'} must be a complete results file, got damaged JSON"
    )
    assert (run / "evaluation" / "few-shot.json").read_text() == "{"


def test_errors_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err == f"error: a run must be a folder, got no folder {tmp_path / 'absent'}\n"
    assert report([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: a run must hold a log or results, got neither log.jsonl nor evaluation in {tmp_path}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["linear", "--data.dataset", "modelnet40"], "data.root must name the folder of data.dataset=modelnet40"),
        (["linear", "--choices", "0"], "every entry of choices must be a finite number above 0, got 0.0"),
        (["few-shot", "--ways", "1"], "every entry of ways must be at least 2, got 1"),
        (["finetune", "--fractions", "1.5"], "every entry of fractions must lie in (0, 1], got 1.5"),
        (["linear", "--checkpoint", "x", "--model.k", "3"], "model.* must be left out when the checkpoint says"),
    ],
)
def test_settings_that_make_no_sense(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    printed = capsys.readouterr()
    assert message.split("(0, 1]")[0] in " ".join(re.sub(r"[│╭╰─╮╯]", " ", printed.err + printed.out).split())
