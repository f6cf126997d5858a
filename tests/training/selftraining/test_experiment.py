"""The experiment as a user meets it, at a size that takes seconds."""

import json
from pathlib import Path

import pytest
import torch

from crosspoint.checkpoints.aligned import load_aligned
from crosspoint.config.experiment import ExperimentConfig, Variant, variant_method
from crosspoint.config.selftrain import AS_CODE, QuirkConfig, SelfTrainConfig
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.engine.run import CHECKPOINT_NAME
from crosspoint.selftrain import main, parse

TINY = """
    --source.per-class 2 --source.test-per-class 1 --source.views 1 --source.num-points 32 --source.image-size 16
    --target.per-class 2 --target.test-per-class 1 --target.views 1 --target.num-points 32 --target.image-size 16
    --classes chair table lamp --model.embedding 8
    --model.image.image-size 16 --model.image.patch-size 4 --model.image.width 8 --model.image.layers 1
    --model.image.heads 2 --model.cloud.groups 6 --model.cloud.group-size 4 --model.cloud.token-widths 4 4 4 4
    --model.cloud.width 8 --model.cloud.layers 1 --model.cloud.heads 2
    --model.text.width 8 --model.text.layers 1 --model.text.heads 2
    --alignment.epochs 1 --alignment.batch-size 3 --alignment.first-share 0.25
    --method.optimisation.epochs 1 --method.optimisation.batch-size 3 --method.labels.patience 0
    --output.no-tensorboard --device cpu
""".split()  # noqa: SIM905 (this is how it is typed)


def test_aligns_trains_compares_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*TINY, "--output.directory", str(tmp_path)]
    assert main([*options, "--variants", "joint"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for words in ("aligning 6 objects of 3 classes", "zero-shot, before", "joint self-training", "3 test objects"):
        assert words in printed.out
    before = (tmp_path / "joint" / CHECKPOINT_NAME).stat().st_mtime_ns
    assert main([*options, "--variants", "joint"]) == 2
    assert "must not hold an experiment unless --resume continues it" in capsys.readouterr().err

    assert main([*options, "--variants", "joint", "image", "--resume"]) == 0
    printed = capsys.readouterr()
    assert "image alone" in printed.out
    assert (tmp_path / "joint" / CHECKPOINT_NAME).stat().st_mtime_ns == before
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["classes"] == ["chair", "table", "lamp"]
    assert set(results["variants"]) == {"joint", "image"}
    for result in (results["before"], results["variants"]["image"]["student"], results["variants"]["joint"]["teacher"]):
        assert all(0 <= result[branch]["top1"] <= 1 for branch in ("image", "cloud", "joint"))
    assert {"confusion-joint.png", "labels.png", "aligned.pt", "log.jsonl"} <= {
        path.name for path in (tmp_path / "joint").iterdir()
    }

    rates = [record["learning_rate"] for record in read_log(tmp_path / "aligned" / LOG_NAME)]
    full = ExperimentConfig().alignment.learning_rate
    assert rates == pytest.approx([0.25 * full, full])  # two steps, both of the warm-up

    start = load_aligned(tmp_path / "aligned" / "aligned.pt")
    assert start.text is not None
    student = load_aligned(tmp_path / "image" / "aligned.pt")
    assert student.text is None
    assert student.class_names == ("chair", "table", "lamp")
    unchanged = all(torch.equal(one, start.state_dict()[name]) for name, one in student.cloud.named_parameters("cloud"))
    assert unchanged  # with images alone, the cloud branch stays as it was
    assert load_checkpoint(tmp_path / "joint" / CHECKPOINT_NAME)["step"] == 2


def test_the_first_word_chooses() -> None:
    assert isinstance(parse([]), ExperimentConfig)
    assert isinstance(parse(["experiment", "--seed", "3"]), ExperimentConfig)
    fixed = parse(["--init", "start.pt", "--classes", "names.txt"])
    assert isinstance(fixed, SelfTrainConfig)
    assert fixed.method.quirks == QuirkConfig()
    code = parse(["as-code", "--init=start.pt"])
    assert isinstance(code, SelfTrainConfig)
    assert code.method.quirks == AS_CODE
    assert (code.method.labels.threshold, code.method.labels.cloud_weight) == (0.84, 0.9)


@pytest.mark.parametrize(
    ("variant", "source", "alignment"),
    [
        ("joint", "joint", True),
        ("supervised", "true", True),
        ("separate", "separate", False),
        ("no-joint-labels", "separate", True),
        ("no-alignment", "joint", False),
    ],
)
def test_variants_are_what_their_names_say(variant: Variant, source: str, alignment: bool) -> None:
    method = variant_method(variant, ExperimentConfig().method)
    assert method.labels.source == source
    assert (method.weights.alignment > 0) == alignment
