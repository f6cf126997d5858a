"""The record of a run: one JSON object per line, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from crosspoint.engine.atomic import replacing

LOG_NAME = "log.jsonl"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, in order; a last line that a kill cut short is left out.

    Args:
        path: The log; one that does not exist counts as empty.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


class RunLog:
    """Writes a record per logged step to ``log.jsonl`` and, if wanted, to TensorBoard.

    A run that resumes drops the records of steps it is about to repeat, so every step has one record.

    Args:
        directory: The run's folder.
        start_step: Steps already done.
        tensorboard: Whether to write event files to ``directory/tensorboard``.

    Raises:
        OSError: If the log cannot be written.
    """

    def __init__(self, directory: Path, start_step: int, *, tensorboard: bool) -> None:
        self._path = directory / LOG_NAME
        kept = [record for record in read_log(self._path) if record["step"] <= start_step] if start_step else []
        with replacing(self._path, "the log") as file:
            file.write("".join(json.dumps(record) + "\n" for record in kept).encode())
        # Unbuffered: a record is in the system's hands, safe from a kill, when write returns.
        self._file = self._path.open("ab", buffering=0)
        self._tensorboard = SummaryWriter(directory / "tensorboard", purge_step=start_step + 1) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Records the values of the step that has just ended (counted from 1).

        Raises:
            OSError: If the log cannot be written.
        """
        line = json.dumps({"step": step, **values}) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise OSError(f"the log must be writable at {self._path}, got: {error.strerror}") from error
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
