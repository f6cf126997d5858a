"""Fail where a source uses a name that the oldest supported version of torch's stable interface lacks.

    python tools/check_stable_names.py [source ...]
    python tools/check_stable_names.py --write INCLUDE   # the list anew, from the include folder of the oldest torch

The sources are built against one torch, whose headers may offer what earlier ones lack: TORCH_TARGET_VERSION hides new
functions, but not new macros. tools/stable_interface/2.10.txt lists every word of the stable interface's headers in
torch 2.10. A word of csrc must be in it where it can only come from torch: in a name torch::..., with one of torch's
prefixes, and, if torch is installed, as a member function that the installed headers have. A function that csrc
declares weak may be missing when the program runs, so it may be newer. Takes a second and needs no compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
OLDEST = "2.10"
NAMES = REPOSITORY / "tools" / "stable_interface" / f"{OLDEST}.txt"
# Where the stable interface lies in torch's include folder.
HEADERS = ("torch/csrc/stable", "torch/headeronly", "torch/csrc/inductor/aoti_torch")

_COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_PREFIXED = re.compile(r"\b(?:aoti_torch|torch|AOTI|AOTI_TORCH|TORCH|STABLE_TORCH|STD)_\w+")
_QUALIFIED = re.compile(r"\btorch(?:::\w+)+")
# An enumerator or static member of a name that a using declaration has shortened.
_SHORTENED = re.compile(r"\b(?:ScalarType|Tensor|DeviceGuard)((?:::\w+)+)")
_MEMBER = re.compile(r"(?:\.|->)(\w+)\s*\(")
_DEFINED = re.compile(r"#define\s+(\w+)|-D(\w+)")
_WEAK = re.compile(r"__attribute__\(\([^)]*\bweak\b.*?\)\)[^;{]*?(\w+)\s*\(", re.DOTALL)


def without_prose(text: str) -> str:
    """The text without comments and strings; lines stay where they are."""
    return _COMMENT_OR_STRING.sub(lambda found: "\n" * found[0].count("\n"), text)


def interface(include: Path) -> set[str]:
    """Every word of the stable interface's headers.

    Raises:
        FileNotFoundError: there are none.
    """
    headers = [header for folder in HEADERS for header in (include / folder).rglob("*.h")]
    if not headers:
        raise FileNotFoundError(f"{include} must be torch's include folder, got one without {HEADERS[0]}")
    return {word for header in headers for word in _WORD.findall(without_prose(header.read_text()))}


def torch_include() -> Path | None:
    """Of the installed torch, which is not imported."""
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "include"


def from_torch(line: str, installed: set[str]) -> Iterator[str]:
    """The names of a line that can only be torch's."""
    yield from _PREFIXED.findall(line)
    for pattern in (_QUALIFIED, _SHORTENED):
        for found in pattern.finditer(line):
            yield from _WORD.findall(found[0])
    yield from (name for name in _MEMBER.findall(line) if name in installed)


def faults(source: Path, oldest: set[str], installed: set[str]) -> list[str]:
    """The names of a source that the oldest stable interface lacks, each with its line."""
    text = without_prose(source.read_text())
    own = {name for pair in _DEFINED.findall(text) for name in pair} | set(_WEAK.findall(text)) | {"torch"}
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#include"):
            continue
        for name in dict.fromkeys(from_torch(line, installed)):
            if name not in oldest and name not in own:
                where = f"{source.resolve().relative_to(REPOSITORY) if source.is_relative_to(REPOSITORY) else source}"
                found.append(
                    f"{where}:{number}: {name} must be of torch {OLDEST}'s stable interface, is of a later one"
                )
    return found


def write(names: Iterable[str]) -> None:
    """Writes the list, as many words a line as fit."""
    NAMES.write_text("\n".join(textwrap.wrap(" ".join(sorted(names)), 120, break_long_words=False)) + "\n")


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="all of csrc that is built when none is named")
    parser.add_argument("--write", type=Path, metavar="INCLUDE", help=f"torch {OLDEST}'s include folder")
    arguments = parser.parse_args()
    if arguments.write is not None:
        write(interface(arguments.write))
        return 0
    sources = arguments.sources or sorted(
        path
        for path in (REPOSITORY / "csrc").rglob("*")
        if path.suffix in (".cpp", ".h") and "emulation" not in path.parts
    )
    include = torch_include()
    if include is None:
        print("skipped: member functions, since torch is not installed")
    oldest = set(NAMES.read_text().split())
    installed = set() if include is None else interface(include)
    found = [fault for source in sources for fault in faults(source, oldest, installed)]
    print(*found, f"{len(sources)} sources: {len(found)} names that torch {OLDEST} lacks", sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
