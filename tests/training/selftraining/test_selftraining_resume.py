"""A self-training that is killed and resumed ends with the very weights of one that was left alone."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from nested_state import same
from selftraining_runs import arguments, self_train

from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.engine.run import CHECKPOINT_NAME
from crosspoint.selftraining.experiment import RESULTS_NAME

KILLED_RUN = Path(__file__).with_name("killed_run.py")


def losses(directory: Path) -> list[tuple[int, float, float]]:
    return [(record["step"], record["loss"], record["correct"]) for record in read_log(directory / LOG_NAME)]


def test_killed_and_resumed_is_bit_identical(start: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert self_train(start, whole) == 0
    command = [sys.executable, str(KILLED_RUN), "5", *arguments(start, killed)]
    died = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir(), timeout=300)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert load_checkpoint(killed / CHECKPOINT_NAME)["step"] == 3  # a checkpoint every 3 steps: two steps are lost
    assert self_train(start, killed, "--resume") == 0

    ours, theirs = (load_checkpoint(folder / CHECKPOINT_NAME) for folder in (killed, whole))
    assert ours["step"] == 8
    assert ours["teacher"]["updates"] == 8
    for part in ("model", "teacher", "optimiser", "schedule"):
        assert same(ours[part], theirs[part]), part
    assert not same(ours["teacher"]["model"], ours["model"])
    assert same(ours["randomness"][0]["augmentation"], theirs["randomness"][0]["augmentation"])
    assert losses(killed) == losses(whole)
    results = [json.loads((folder / RESULTS_NAME).read_text()) for folder in (killed, whole)]
    for part in ("before", "student", "teacher", "labels"):
        assert results[0][part] == results[1][part], part
