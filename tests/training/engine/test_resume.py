"""A run that is killed or stopped, and then resumed, ends with the very weights of one that was left alone."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from nested_state import same
from processes import Program

from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.engine.run import BEST_NAME, CHECKPOINT_NAME
from crosspoint.pretraining.run import RESULTS_NAME


def losses(directory: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in read_log(directory / LOG_NAME)]


@pytest.fixture(scope="module")
def undisturbed(training: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    finished = training.train(directory)
    assert finished.returncode == 0, finished.stderr
    return directory


@pytest.mark.parametrize(
    ("moment", "count", "number", "saved"),
    [
        ("step", 7, signal.SIGKILL, 6),  # a checkpoint every 3 steps: the seventh step is lost
        ("save", 4, signal.SIGKILL, 6),  # the fourth checkpoint (steps 0, 3, 6, 9) is half written
        ("step", 7, signal.SIGINT, 7),
    ],
    ids=["killed", "killed while saving", "Ctrl-C"],
)
def test_resumed_weights_are_bit_identical(
    training: Any, undisturbed: Path, tmp_path: Path, moment: str, count: int, number: signal.Signals, saved: int
) -> None:
    directory = tmp_path / "run"
    stopped = training.train_and_strike(moment, count, number, directory)
    assert stopped.returncode == (-number if number == signal.SIGKILL else 128 + number), stopped.stderr
    assert load_checkpoint(directory / CHECKPOINT_NAME)["step"] == saved
    if number != signal.SIGKILL:
        assert stopped.stderr == ""
        line = stopped.stdout.splitlines()[-1]
        total = load_checkpoint(undisturbed / CHECKPOINT_NAME)["step"]
        assert line.startswith(f"stopped by {number.name} after step {saved} of {total}; continue with: python -m ")
        assert line.endswith(" --resume")

    resumed = training.train(directory, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = (load_checkpoint(folder / CHECKPOINT_NAME) for folder in (directory, undisturbed))
    for part in ("model", "optimiser", "schedule", "step"):
        assert same(ours[part], theirs[part]), part
    best, other = (load_checkpoint(folder / BEST_NAME) for folder in (directory, undisturbed))
    for part in ("model", "step", "score"):
        assert same(best[part], other[part]), part
    assert same(ours["randomness"][0]["augmentation"], theirs["randomness"][0]["augmentation"])
    assert losses(directory) == losses(undisturbed)
    results = [json.loads((folder / RESULTS_NAME).read_text()) for folder in (directory, undisturbed)]
    assert results[0]["pretrained"] == results[1]["pretrained"]
    assert results[0]["random"] == results[1]["random"]


def test_a_real_ctrl_c_from_outside(training: Any, tmp_path: Path) -> None:
    """The signal arrives whenever it arrives; the run is so long that it cannot end by itself."""
    directory = tmp_path / "run"
    arguments = training.arguments(directory, "--optimisation.epochs", "100000")
    program = Program(["-m", "crosspoint.train", *arguments])
    try:
        while len(losses(directory)) < 3:
            assert program.poll() is None, program.finish()
            time.sleep(0.05)  # leaves the core to the program
        program.send_signal(signal.SIGINT)
        finished = program.finish()
    finally:
        program.kill()
    assert finished.returncode == 130
    assert finished.stderr == ""
    step = load_checkpoint(directory / CHECKPOINT_NAME)["step"]
    assert step >= 3
    assert losses(directory)[-1][0] == step
    assert finished.stdout.splitlines()[-1].startswith(f"stopped by SIGINT after step {step} of ")


def test_data_loading_processes_do_not_change_the_weights(training: Any, undisturbed: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    stopped = training.train_and_strike("step", 4, signal.SIGTERM, directory, "--data.workers", "2")
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stderr == ""
    assert stopped.stdout.splitlines()[-1].startswith("stopped by SIGTERM after step 4 of ")
    resumed = training.train(directory, "--resume", "--data.workers", "1")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = (load_checkpoint(folder / CHECKPOINT_NAME)["model"] for folder in (directory, undisturbed))
    assert same(ours, theirs)


def test_a_dead_data_loading_process_costs_no_step(training: Any, undisturbed: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    # It dies within the sixth batch; how many of the five before it have arrived by then is a matter of speed.
    no_probe = ("--data.workers", "1", "--probe.dataset", "none")
    died = training.train_and_strike("load", 22, signal.SIGKILL, directory, *no_probe)
    assert died.returncode == 2, died.stderr
    message = (
        "error: a data-loading process must live as long as the run, got one killed by SIGKILL, often for want of "
    )
    assert died.stderr.startswith(message)
    done = load_checkpoint(directory / CHECKPOINT_NAME)["step"]
    assert 3 <= done <= 5
    assert f" (all {done} steps until then are in the checkpoint); continue with: python -m " in died.stderr
    assert died.stderr.endswith(" --resume\n")
    assert died.stderr.count("\n") == 1
    assert [step for step, _ in losses(directory)] == list(range(1, done + 1))
    resumed = training.train(directory, "--resume", *no_probe)
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = (load_checkpoint(folder / CHECKPOINT_NAME)["model"] for folder in (directory, undisturbed))
    assert same(ours, theirs)


def test_resuming_a_finished_run_reports_again(training: Any, undisturbed: Path) -> None:
    before = (undisturbed / CHECKPOINT_NAME).read_bytes()
    again = training.train(undisturbed, "--resume")
    assert again.returncode == 0, again.stderr
    assert "pre-trained" in again.stdout
    assert (undisturbed / CHECKPOINT_NAME).read_bytes() == before
