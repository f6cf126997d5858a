"""Pictures of the rows of HDF5 files, such as depth maps, where Cross-MoST keeps them.

image_data_train0/<row>/*.png     beside ply_data_train0.h5
<name>image/<row>/*.png           beside any other <name>.h5
"""

from __future__ import annotations

from pathlib import Path

from crosspoint.data.files.pictures import pictures_in

_ROWS = "ply_data_"  # how the names of ModelNet40's files begin


def row_folder(file: Path) -> Path:
    """The folder of the pictures of a file's rows, whether it is there or not."""
    if file.stem.startswith(_ROWS):
        return file.with_name(file.stem.replace(_ROWS, "image_data_", 1))
    return file.with_name(f"{file.stem}image")


def row_pictures(file: Path, row: int) -> list[Path]:
    """Sorted pictures of a row; none where there is no folder of them."""
    return pictures_in(row_folder(file) / str(row))
