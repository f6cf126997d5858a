"""Reads what a cubin, an ELF file, says about its kernels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Attributes of a section .nv.info: format, attribute, two bytes; then, for this format, so many bytes as those say.
_SIZED_FORMAT = 0x04
_MAX_THREADS = 0x05


@dataclass(frozen=True)
class Code:
    """A kernel's machine code: its size in bytes, and the threads a block that __launch_bounds__ allows, if any."""

    size: int
    max_threads: int | None


def _sections(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each section of a 64-bit little-endian ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("a cubin must be a 64-bit little-endian ELF file, got another one")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + n * entry_size) for n in range(count)]
    names = headers[names_index][4]
    for name, kind, _, _, offset, size in headers:
        start = names + name
        # Sections of kind 8 take no place in the file.
        yield data[start : data.index(b"\0", start)].decode(), b"" if kind == 8 else data[offset : offset + size]


def _max_threads(info: bytes) -> int | None:
    place = 0
    while place + 4 <= len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, place)
        place += 4
        if form != _SIZED_FORMAT:
            continue
        if attribute == _MAX_THREADS:
            x, y, z = struct.unpack_from("<III", info, place)
            return int(x * y * z)
        place += size
    return None


def kernels(path: Path) -> dict[str, Code]:
    """The kernels of a cubin by mangled name."""
    sections = dict(_sections(path.read_bytes()))
    prefix = ".text."
    return {
        name.removeprefix(prefix): Code(
            len(content), _max_threads(sections.get(f".nv.info.{name[len(prefix) :]}", b""))
        )
        for name, content in sections.items()
        if name.startswith(prefix)
    }
