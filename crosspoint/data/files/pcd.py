"""PCD, the file format of the Point Cloud Library.

A header of text names the fields of a point; the values follow as text, as binary records, or field by field and
compressed. https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(file: Path) -> NDArray[np.float64]:
    """Coordinates of all points of a PCD file; NaN where the file has none for a point.

    Args:
        file: Encoded as ascii, binary or binary_compressed.

    Returns:
        (N, 3) x, y, z.

    Raises:
        ValueError: If the file is not a complete PCD file with fields x, y and z.
    """
    content = file.read_bytes()
    header, start = _header(content)
    record, count, body = _record(header), int(header["POINTS"][0]), content[start:]
    encoding = header["DATA"][0]
    if encoding == "ascii":
        columns = [_first_column(header, name) for name in "xyz"]
        rows = [line.split() for line in body.decode().splitlines() if line.strip()]
        if len(rows) != count:
            raise ValueError(f"its header declares {count} points, and it has {len(rows)}")
        return np.array([[float(row[column]) for column in columns] for row in rows]).reshape(-1, 3)
    if encoding == "binary":
        points = np.frombuffer(body, dtype=record, count=count)
        return np.stack([points[name].astype(np.float64) for name in "xyz"], axis=1)
    if encoding == "binary_compressed":
        packed, unpacked = np.frombuffer(body, "<u4", count=2).tolist()
        if len(body) < 8 + packed:
            raise ValueError(f"it must have {packed} compressed bytes, and it has {len(body) - 8}")
        values = _unpack_lzf(body[8 : 8 + packed], unpacked)
        columns_of: dict[str, NDArray[np.float64]] = {}
        offset = 0
        for name in record.names or ():
            field = record[name]
            if name in ("x", "y", "z"):
                columns_of[name] = np.frombuffer(values, field, count=count, offset=offset).astype(np.float64)
            offset += count * field.itemsize
        return np.stack([columns_of[name] for name in "xyz"], axis=1)
    raise ValueError(f"its data must be ascii, binary or binary_compressed, and it is {encoding}")


def _header(content: bytes) -> tuple[dict[str, list[str]], int]:
    """The header's entries, and where the values start."""
    entries: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in entries:
        end = content.find(b"\n", position)
        if end < 0:
            raise ValueError("its header must end with a line DATA")
        words = content[position:end].decode("ascii", "replace").split()
        position = end + 1
        if words and not words[0].startswith("#"):
            entries[words[0]] = words[1:]
    missing = [name for name in ("FIELDS", "SIZE", "TYPE", "POINTS") if not entries.get(name)]
    if missing or not entries["DATA"]:
        raise ValueError(f"its header must name FIELDS, SIZE, TYPE, POINTS and DATA, and lacks {', '.join(missing)}")
    return entries, position


def _counts(header: dict[str, list[str]]) -> list[int]:
    return [int(word) for word in header.get("COUNT") or ["1"] * len(header["FIELDS"])]


def _first_column(header: dict[str, list[str]], name: str) -> int:
    return sum(_counts(header)[: header["FIELDS"].index(name)])


def _record(header: dict[str, list[str]]) -> np.dtype[np.void]:
    """The binary layout of a point; padding fields share the name "_", which numpy's may not."""
    fields = zip(header["FIELDS"], header["TYPE"], header["SIZE"], _counts(header), strict=True)
    layout = [
        (name if name in "xyz" else f"{number} {name}", f"<{_KINDS[kind]}{size}", (count,) if count > 1 else ())
        for number, (name, kind, size, count) in enumerate(fields)
    ]
    if not {"x", "y", "z"} <= {name for name, _, _ in layout}:
        raise ValueError(f"it must have fields x, y and z, and it has {' '.join(header['FIELDS'])}")
    return np.dtype(layout)


def _unpack_lzf(packed: bytes, size: int) -> bytes:
    """LZF: runs of up to 32 bytes as they are, and copies of at least 3 from up to 8 KiB back."""
    result = bytearray()
    at = 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            result += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        start = len(result) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        if start < 0:
            raise ValueError("its compressed data refer to bytes before their start")
        length += 2
        while length > 0:  # a copy may reach into what it writes
            piece = result[start : start + length]
            result += piece
            start += len(piece)
            length -= len(piece)
    if len(result) != size:
        raise ValueError(f"it must unpack to {size} bytes, and it unpacks to {len(result)}")
    return bytes(result)
