"""Machine code with the source lines that it came from: what a prediction counts.

The compiler writes down, with -lineinfo, for each instruction the line it is for and, where that function was inlined,
the lines of the calls around it.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_SECTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^(\.L_x_\d+):$")
_LINE = re.compile(r'^\s*//## File "([^"]+)", line (\d+)(?: inlined at "([^"]+)", line (\d+))?')
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*)$")
_TARGET = re.compile(r"`\(([^)]+)\)")
_ENDS_A_BLOCK = ("BRA", "BRX", "JMP", "EXIT", "RET", "CALL", "BREAK")
# A failed check calls the function that stops the grid; a warp that has diverged runs another copy of its collectives;
# divisions of 64 bits, of denormal numbers and the like are calls, which ordinary sizes and numbers do not make.
_NEVER_RUNS = re.compile(r"CALL\.ABS|ENDCOLLECTIVE|WARPSYNC\.COLLECTIVE|CALL\.\S+ .*\$__cuda_sm20_")

Line = tuple[str, int]  # file name and number


@dataclass(frozen=True)
class Instruction:
    """One machine instruction.

    Attributes:
        operation: with its modifiers, such as "LDG.E.128".
        lines: the line it is for, then those of the calls that were inlined, outwards.
        function: "" in the kernel itself, else the function of its own that it lies in.
        loops: the loops around it, as (first, last) positions in the kernel, outer ones first.
        is_dead_end: in a block that does not run unless something is wrong.
    """

    operation: str
    lines: tuple[Line, ...]
    function: str
    loops: tuple[tuple[int, int], ...]
    is_dead_end: bool

    def matches(self, pattern: str) -> bool:
        """Whether a regular expression matches the operation, from its start to a dot or its end."""
        return re.match(rf"(?:{pattern})(?:\.|$)", self.operation) is not None


@dataclass
class _Raw:
    predicate: str
    operation: str
    operands: str
    lines: tuple[Line, ...]
    function: str

    @property
    def is_conditional(self) -> bool:
        return self.predicate != "" or not self.operands.startswith(("`", ";"))


class _Reader:
    """Collects one kernel."""

    def __init__(self) -> None:
        self.raw: list[_Raw] = []
        self.labels: dict[str, int] = {}
        self.function = ""
        self.lines: tuple[Line, ...] = ()
        self._is_new = True

    def line(self, match: re.Match[str]) -> None:
        """Successive lines without an instruction between them are one chain of inlined calls."""
        here = (Path(match[1]).name, int(match[2]))
        self.lines = (here,) if self._is_new else (*self.lines, here)
        self._is_new = False

    def instruction(self, match: re.Match[str]) -> None:
        self._is_new = True
        if match[2] != "NOP":
            self.raw.append(_Raw((match[1] or "").strip(), match[2], match[3], self.lines, self.function))

    def instructions(self) -> tuple[Instruction, ...]:
        dead = self._dead_ends()
        # Two jumps to one label (`continue`) are one loop; a jump to itself, which ends every kernel, is none.
        ends: dict[int, int] = {}
        for place, raw in enumerate(self.raw):
            target = _TARGET.search(raw.operands) if raw.operation.split(".")[0] == "BRA" else None
            first = self.labels.get(target[1], place) if target is not None else place
            if first < place and place not in dead:
                ends[first] = max(ends.get(first, 0), place)
        loops = sorted(ends.items(), key=lambda loop: (loop[0], -loop[1]))
        return tuple(
            Instruction(
                raw.operation,
                raw.lines,
                raw.function,
                tuple(loop for loop in loops if loop[0] <= place <= loop[1]),
                place in dead,
            )
            for place, raw in enumerate(self.raw)
        )

    def _dead_ends(self) -> set[int]:
        """What no path from an entry reaches without a block that never runs."""
        blocks = self._blocks()
        begins = {block[0] for block in blocks}
        after = {block[0]: block[-1] + 1 for block in blocks}
        reached: set[int] = set()
        entries = {block[0] for block in blocks if block[0] == 0 or self._begins_function(block[0])}
        waiting = [begin for begin in entries if not self._never_runs(range(begin, after[begin]))]
        while waiting:
            begin = waiting.pop()
            if begin in reached:
                continue
            reached.add(begin)
            for follower in self._followers(range(begin, after[begin])):
                if follower in begins and not self._never_runs(range(follower, after[follower])):
                    waiting.append(follower)
        return {place for block in blocks if block[0] not in reached for place in block}

    def _blocks(self) -> list[range]:
        leaders = {0, len(self.raw)} | set(self.labels.values())
        for place, raw in enumerate(self.raw):
            if self._begins_function(place):
                leaders.add(place)
            if raw.operation.split(".")[0] in _ENDS_A_BLOCK:
                leaders.add(place + 1)
        ordered = sorted(leaders)
        return [range(begin, end) for begin, end in pairwise(ordered)]

    def _begins_function(self, place: int) -> bool:
        return place > 0 and self.raw[place].function != self.raw[place - 1].function

    def _never_runs(self, block: range) -> bool:
        return any(_NEVER_RUNS.match(f"{self.raw[place].operation} {self.raw[place].operands}") for place in block)

    def _followers(self, block: range) -> list[int]:
        """Where a block goes on: behind it, where its branch leads, where threads that part in it meet again."""
        last = self.raw[block[-1]]
        kind = last.operation.split(".")[0]
        found = [
            self.labels[target[1]]
            for place in block
            if self.raw[place].operation.split(".")[0] in ("BRA", "BSSY", "BREAK") and not self._is_never_taken(place)
            for target in [_TARGET.search(self.raw[place].operands)]
            if target is not None and target[1] in self.labels
        ]
        if kind not in ("BRA", "EXIT", "RET", "JMP", "BRX") or last.is_conditional:
            found.append(block[-1] + 1)
        return found

    def _is_never_taken(self, place: int) -> bool:
        """Whether the branch before has the same condition, and led elsewhere."""
        here, before = self.raw[place], self.raw[place - 1] if place > 0 else None
        return (
            before is not None
            and here.predicate != ""
            and (here.operation, here.predicate) == (before.operation, before.predicate)
            and before.operation == "BRA"
            and before.operands.startswith("`")
        )


def parse(text: str) -> dict[str, tuple[Instruction, ...]]:
    """The kernels of a disassembly with lines, by mangled name; padding behind the code is left out."""
    readers: dict[str, _Reader] = {}
    reader = _Reader()
    for text_line in text.splitlines():
        if (section := _SECTION.match(text_line)) is not None:
            reader = readers.setdefault(section[1], _Reader())
            name = section[1]
        elif (line := _LINE.match(text_line)) is not None:
            reader.line(line)
        elif (label := _LABEL.match(text_line)) is not None:
            reader.labels[label[1]] = len(reader.raw)
        elif (instruction := _INSTRUCTION.match(text_line)) is not None:
            reader.instruction(instruction)
        elif text_line.endswith(":") and not text_line.startswith((".", " ", "\t")):
            symbol = text_line[:-1].rsplit("$", 1)[-1]
            reader.function = "" if symbol == name else symbol
    return {name: found.instructions() for name, found in readers.items()}


def disassemble(nvdisasm: str, cubin: Path) -> dict[str, tuple[Instruction, ...]]:
    """The kernels of a cubin that was compiled with -lineinfo, by mangled name."""
    done = subprocess.run([nvdisasm, "-c", "-ndf", "-gi", str(cubin)], capture_output=True, text=True, check=True)
    return parse(done.stdout)
