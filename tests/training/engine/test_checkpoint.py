import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspoint.config.flat import flatten
from crosspoint.config.output import OutputConfig
from crosspoint.config.pretrain import Config, OptimisationConfig
from crosspoint.engine.checkpoint import FORMAT, load_checkpoint, require_same_run, save_checkpoint


def state(step: int = 3, size: int = 4) -> dict[str, Any]:
    return {
        "config": flatten(Config()),
        "model": {"weight": torch.full((size,), float(step))},
        "optimiser": {"state": {0: {"step": torch.tensor(3.0)}}},
        "schedule": {"last_epoch": step},
        "randomness": [{"torch": torch.get_rng_state()}],
        "step": step,
        "steps_per_epoch": 5,
        "processes": 1,
    }


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: how a full disk feels."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, handler)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    saved = state()
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert loaded.pop("format") == FORMAT
    assert loaded.keys() == saved.keys()
    assert loaded["config"] == saved["config"]
    assert torch.equal(loaded["model"]["weight"], saved["model"]["weight"])
    assert list(tmp_path.iterdir()) == [path]


def test_replaces_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state(3))
    save_checkpoint(path, state(4))
    assert load_checkpoint(path)["step"] == 4


def test_a_full_disk_leaves_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state(3))
    message = rf"^a checkpoint must be writable at {path}, got: {os.strerror(errno.EFBIG)}$"
    with files_limited_to(100_000), pytest.raises(OSError, match=message):
        save_checkpoint(path, state(4, size=1_000_000))
    assert load_checkpoint(path)["step"] == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["torch.save", "os.fsync", "pathlib.Path.replace"])
def test_a_failure_at_any_point_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state(3))

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(OSError, match=rf"^a checkpoint must be writable at {path}, got: No space left on device$"):
            save_checkpoint(path, state(4))
    assert load_checkpoint(path)["step"] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^a checkpoint must be writable at .*, got: No such file or directory$"):
        save_checkpoint(tmp_path / "absent" / "checkpoint.pt", state())


def test_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(FileNotFoundError, match=rf"^there must be a checkpoint to resume from at {path}, got none$"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 1, 100, -100])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state())
    path.write_bytes(path.read_bytes()[:kept])
    message = rf"^{path} must be a complete checkpoint, got a damaged or foreign file$"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path)


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def test_never_runs_code_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": FORMAT, "model": _Payload()}, path)
    with pytest.raises(ValueError, match=rf"^{path} must be a complete checkpoint, got a damaged or foreign file$"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "came"),
    [
        ([1, 2], r"must be a checkpoint of this program, got a file without a format number"),
        ({"model": {}}, r"must be a checkpoint of this program, got a file without a format number"),
        ({"format": FORMAT + 1}, rf"must have checkpoint format {FORMAT}, got {FORMAT + 1}"),
        (
            {"format": FORMAT, "model": {}, "step": 1},
            r"must hold all parts of a checkpoint, got one without config, .*",
        ),
    ],
)
def test_foreign_content(tmp_path: Path, content: object, came: str) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"^{path} {came}$"):
        load_checkpoint(path)


def test_another_configuration_is_named_field_by_field() -> None:
    ours = Config(seed=1, optimisation=OptimisationConfig(epochs=7))
    message = (
        r"^run.pt must come from the same configuration, got other values of "
        r"optimisation.epochs \(\d+ there, 7 here\), seed \(0 there, 1 here\)$"
    )
    with pytest.raises(ValueError, match=message):
        require_same_run(Path("run.pt"), state(), flatten(ours), steps_per_epoch=5, processes=1)


def test_settings_that_do_not_change_weights_may_differ() -> None:
    ours = Config(output=OutputConfig(directory=Path("elsewhere"), log_steps=9), device="cpu", resume=True)
    require_same_run(Path("run.pt"), state(), flatten(ours), steps_per_epoch=5, processes=1)


@pytest.mark.parametrize(
    ("steps_per_epoch", "processes", "came"),
    [
        (6, 1, r"must be resumed on as much data as it saw \(5 steps per epoch\), got 6"),
        (5, 2, r"must be resumed by as many processes as wrote it \(1\), got 2"),
    ],
)
def test_other_data_or_processes(steps_per_epoch: int, processes: int, came: str) -> None:
    with pytest.raises(ValueError, match=rf"^run.pt {came}$"):
        require_same_run(
            Path("run.pt"), state(), flatten(Config()), steps_per_epoch=steps_per_epoch, processes=processes
        )
