"""Files that are either as they were or completely new, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to write the new content of ``path`` to; it takes the place of the old one when the block ends well.

    The content goes to a temporary file in the same folder, is flushed to the disk, and is moved in one step. When
    anything fails on the way, the old file is untouched and the temporary one is removed.

    Args:
        path: Where the content shall be in the end.
        what: Its name in the message of an error, such as "a checkpoint".

    Raises:
        OSError: If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise OSError(f"{what} must be writable at {path}, got: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    # The move itself is on disk only once the folder is; systems that cannot open a folder do not need it.
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
