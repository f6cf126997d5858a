import errno
import json
import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crosspoint.engine.log import LOG_NAME, RunLog, read_log


def write(directory: Path, steps: range, start_step: int = 0, *, tensorboard: bool = False) -> None:
    log = RunLog(directory, start_step, tensorboard=tensorboard)
    for step in steps:
        log.write(step, {"loss": 10.0 * step})
    log.close()


def test_one_json_object_per_line(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    lines = (tmp_path / LOG_NAME).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": step, "loss": 10.0 * step} for step in (1, 2, 3)]


def test_a_record_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, tensorboard=False)
    log.write(1, {"loss": 1.0})
    assert read_log(tmp_path / LOG_NAME) == [{"step": 1, "loss": 1.0}]
    log.close()


def test_resuming_drops_the_steps_that_come_again(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 7), start_step=4)
    assert [record["step"] for record in read_log(tmp_path / LOG_NAME)] == [1, 2, 3, 4, 5, 6]


def test_resuming_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    with (tmp_path / LOG_NAME).open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in read_log(tmp_path / LOG_NAME)] == [1, 2, 3]
    write(tmp_path, range(4, 5), start_step=3)
    assert [record["step"] for record in read_log(tmp_path / LOG_NAME)] == [1, 2, 3, 4]


def test_starting_anew_empties_an_old_log(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    write(tmp_path, range(1, 2))
    assert [record["step"] for record in read_log(tmp_path / LOG_NAME)] == [1]


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_log(tmp_path / LOG_NAME) == []


@pytest.mark.filterwarnings("default")  # of the event reader
def test_tensorboard_has_the_same_values(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 10.0), (2, 20.0), (3, 30.0)]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^the log must be writable at .*log.jsonl, got: No such file or directory$"):
        RunLog(tmp_path / "absent", 0, tensorboard=False)


def test_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = RunLog(tmp_path, 0, tensorboard=False)
    log._file.close()
    log._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with pytest.raises(OSError, match=rf"^the log must be writable at .*, got: {os.strerror(errno.ENOSPC)}$"):
        log.write(1, {"loss": 1.0})
    log.close()
