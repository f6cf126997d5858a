"""Machine code as text: which instructions a kernel has, and which of them lie in its innermost loops."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_SECTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^(\.L_x_\d+):$")
# An address in a comment, perhaps a predicate, the operation with its modifiers, the operands.
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*)$")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")


@dataclass(frozen=True)
class Listing:
    """The operations of one kernel in order, such as "LDG.E.128", and its loops as (first, last) positions."""

    operations: tuple[str, ...]
    loops: tuple[tuple[int, int], ...] = ()

    def innermost_loops(self) -> list[Listing]:
        """The loops that hold no other loop, each as a listing of its own."""
        return [
            Listing(self.operations[first : last + 1])
            for first, last in self.loops
            if not any(
                first <= other_first and other_last <= last and (first, last) != (other_first, other_last)
                for other_first, other_last in self.loops
            )
        ]

    def count(self, pattern: str) -> int:
        """How many operations a regular expression matches, from their start to a dot or their end."""
        compiled = re.compile(rf"(?:{pattern})(?:\.|$)")
        return sum(compiled.match(operation) is not None for operation in self.operations)


@dataclass
class _Reader:
    """Collects one kernel."""

    operations: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    jumps: list[tuple[int, str]] = field(default_factory=list)

    def listing(self) -> Listing:
        # A loop is what a jump backwards encloses. Two jumps to one label (`continue`) are one loop; a jump to itself,
        # with which the compiler ends every kernel, is none.
        ends: Counter[int] = Counter()
        for place, label in self.jumps:
            first = self.labels.get(label)
            if first is not None and first < place:
                ends[first] = max(ends[first], place)
        return Listing(tuple(self.operations), tuple(sorted(ends.items())))


def parse(text: str) -> dict[str, Listing]:
    """The kernels of a disassembly by mangled name; padding behind the code is left out."""
    readers: dict[str, _Reader] = {}
    reader = _Reader()
    for line in text.splitlines():
        section, label, instruction = _SECTION.match(line), _LABEL.match(line), _INSTRUCTION.match(line)
        if section is not None:
            reader = readers.setdefault(section[1], _Reader())
        elif label is not None:
            reader.labels[label[1]] = len(reader.operations)
        elif instruction is not None and instruction[1] != "NOP":
            target = _TARGET.search(instruction[2])
            if target is not None and instruction[1].split(".")[0] == "BRA":
                reader.jumps.append((len(reader.operations), target[1]))
            reader.operations.append(instruction[1])
    return {name: found.listing() for name, found in readers.items()}


def disassemble(nvdisasm: str, cubin: Path) -> dict[str, Listing]:
    """The kernels of a cubin by mangled name."""
    # Without the analysis of indirect jumps, which no loop of ours has, it takes half the time.
    done = subprocess.run([nvdisasm, "-c", "-ndf", str(cubin)], capture_output=True, text=True, check=True)
    return parse(done.stdout)
