"""Text files that list what belongs to a split."""

from __future__ import annotations

from pathlib import Path


def read_split(file: Path, layout: str) -> list[str]:
    """The lines of a listing, in order, without empty ones.

    Args:
        file: One entry a line.
        layout: What its folder must hold, for the message.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It lists nothing.
    """
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{layout}, got no folder {file.parent}")
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in file.parent.iterdir())[:5]) or "nothing"
        raise FileNotFoundError(f"{layout}, got no file {file} beside {found}")
    lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{layout}, got nothing listed in {file}")
    return lines


def check_split(split: str) -> str:
    """Returns a split if it is train or test, else raises ValueError."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    return split
