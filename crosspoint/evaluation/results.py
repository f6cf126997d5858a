"""Where results go: a JSON file per task, with one entry for each dataset and protocol."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from crosspoint.config.evaluate import Task, settings
from crosspoint.engine.report import write_json

FOLDER = "evaluation"


def results_folder(task: Task) -> Path:
    """The folder that the results of a task belong to; made if it is not there.

    Raises:
        OSError: If it cannot be made.
    """
    checkpoint = task.checkpoint
    if task.output is not None:
        run = task.output
    elif checkpoint is None:
        run = Path("runs/random")
    elif checkpoint.is_dir():
        run = checkpoint
    elif checkpoint.parent.joinpath("config.json").exists():  # a checkpoint within a run's folder
        run = checkpoint.parent
    else:
        run = Path("runs") / checkpoint.stem
    folder = run / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"results must go to a writable folder, got {folder} ({error.strerror})") from error
    return folder


def entry_name(task: Any) -> str:
    """What tells a result from others of its task: the dataset, and the protocol where it is not the honest one."""
    name: str = task.data.dataset
    return name if getattr(task, "protocol", "honest") == "honest" else f"{name}-{task.protocol}"


def read_results(folder: Path, task: str) -> dict[str, Any]:
    """All entries of a task, by dataset; empty where there are none.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / f"{task}.json"
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be a complete results file, got damaged JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a results file, got something else")
    return content


def processor() -> str:
    """Name of this machine's CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def percent(share: float) -> str:
    """A share as text, such as 12.3 %."""
    return f"{100 * share:.1f} %"


def write_results(folder: Path, name: str, task: Task, device: torch.device, content: Mapping[str, Any]) -> Path:
    """Adds an entry to a task's results; other datasets' entries stay.

    Args:
        folder: The results' folder.
        name: The task, as on the command line.
        task: Its settings.
        device: Where it was computed.
        content: The result: plain values.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the file that is there is damaged.
    """
    entry = {
        **content,
        "settings": settings(task),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(folder / f"{name}.json", {**read_results(folder, name), entry_name(task): entry})
    return folder / f"{name}.json"
