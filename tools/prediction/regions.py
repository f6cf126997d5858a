"""How often each instruction of a kernel runs: parts of its source, as many times as a case has them run.

A region is a statement of the source with the number of times that it runs whenever its parent does. Its machine code
may be there several times, unrolled or as a loop's remainder: the number of some operation that each of its runs has
tells how often. A loop of its own takes whole rounds of its unrolled body, the other copies take what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prediction.machine_code import Instruction

# A loop belongs to a region if so much of it is the region's: the compiler moves some instructions across.
_SHARE = 0.7


@dataclass(frozen=True)
class Region:
    """A statement, or several, of a kernel's source.

    Attributes:
        name: in the tables.
        at: text of the line that it begins with, once in its parent; it ends where the statement does.
        trips: how often a warp runs it whenever it runs the parent, on average.
        unit: an operation (a regular expression) of its own instructions, and how many of them one run has; without,
            its code is there once.
        to: text of the line that it ends with, once behind its beginning, if that is not the end of the statement.
        spread: cycles that a request of memory takes for its addresses: lines, or rows of a bank, that it touches.
        function: part of the name of a function of its own, for one that is not inlined; then `at` is not used.
        children: regions within.
    """

    name: str
    at: str
    trips: float = 1
    unit: tuple[str, float] | None = None
    to: str = ""
    spread: float = 1
    function: str = ""
    children: tuple[Region, ...] = field(default=())

    def walk(self) -> Iterator[Region]:
        """It and all within."""
        yield self
        for child in self.children:
            yield from child.walk()


def lines_of(source: str, region: Region, within: tuple[int, int]) -> tuple[int, int]:
    """The first and the last line of a region, counted from 1; `within` are those of its parent.

    Raises:
        ValueError: its text is not there, or more than once.
    """
    lines = source.splitlines()
    found = [n for n in range(within[0], within[1] + 1) if region.at in lines[n - 1]]
    if len(found) != 1:
        raise ValueError(f"region {region.name} must begin at the one line with {region.at!r}, found it in {found}")
    first = found[0]
    if not region.to:
        return first, _end_of_statement(lines, first, lines[first - 1].index(region.at))
    ends = [n for n in range(first, within[1] + 1) if region.to in lines[n - 1]]
    if len(ends) != 1:
        raise ValueError(f"region {region.name} must end at the one line with {region.to!r}, found it in {ends}")
    return first, ends[0]


def _end_of_statement(lines: Sequence[str], first: int, column: int) -> int:
    """Behind a brace that closes the first one outside of parentheses, or a semicolon before any."""
    round_depth = curly_depth = 0
    for number in range(first, len(lines) + 1):
        text = lines[number - 1].split("//")[0]
        for character in text[column if number == first else 0 :]:
            round_depth += {"(": 1, ")": -1}.get(character, 0)
            if round_depth == 0:
                curly_depth += {"{": 1, "}": -1}.get(character, 0)
                if (character == "}" and curly_depth == 0) or (character == ";" and curly_depth == 0):
                    return number
    return len(lines)


@dataclass(frozen=True)
class Part:
    """What a region without those within costs: instructions a run, and each instruction's number of runs a warp."""

    region: Region
    slots: float
    runs: float
    instructions: tuple[tuple[Instruction, float], ...]


def count(code: Sequence[Instruction], source: Path, root: Region) -> list[Part]:
    """The parts of a kernel, outer ones first, for one warp.

    Raises:
        ValueError: a region's text, function or unit is not there.
    """
    text = source.read_text()
    own, inside = _assign(code, source.name, text, root)
    parts: list[Part] = []

    def visit(region: Region, runs: float) -> None:
        parts.append(_part(region, runs, own[region.name], inside[region.name]))
        for child in region.children:
            visit(child, runs * child.trips)

    visit(root, root.trips)
    return parts


def _assign(
    code: Sequence[Instruction], file: str, text: str, root: Region
) -> tuple[dict[str, list[Instruction]], dict[str, set[int]]]:
    """Each region's own instructions, and those of it and all within as numbers of `code`."""
    own: dict[str, list[Instruction]] = {region.name: [] for region in root.walk()}
    inside: dict[str, set[int]] = {region.name: set() for region in root.walk()}
    if len(own) != sum(1 for _ in root.walk()):
        raise ValueError(f"regions must have different names, got {[region.name for region in root.walk()]}")
    chains: list[tuple[tuple[int, int], list[Region]]] = []  # by lines, inner ones last
    functions: list[list[Region]] = []

    def visit(region: Region, within: tuple[int, int], above: list[Region]) -> None:
        chain = [*above, region]
        if region.function:
            functions.append(chain)
            return
        lines = lines_of(text, region, within)
        chains.append((lines, chain))
        for child in region.children:
            visit(child, lines, chain)

    visit(root, (1, len(text.splitlines())), [])
    for number, instruction in enumerate(code):
        if instruction.is_dead_end or instruction.operation == "NOP":
            continue
        if instruction.function:
            matching = [chain for chain in functions if chain[-1].function in instruction.function]
            if not matching:
                continue  # a division of the compiler's that sizes like these do not take
            chain = matching[0]
        else:
            line = instruction.lines[-1] if instruction.lines else ("", 0)
            holding = [c for (a, b), c in chains if line[0] == file and a <= line[1] <= b]
            chain = max(holding, key=len, default=[root])
        own[chain[-1].name].append(instruction)
        for region in chain:
            inside[region.name].add(number)
    return own, inside


def _part(region: Region, runs: float, own: list[Instruction], inside: set[int]) -> Part:
    if region.unit is None:
        return Part(region, len(own), runs, tuple((instruction, runs) for instruction in own))
    pattern, per = region.unit
    units = [instruction for instruction in own if instruction.matches(pattern)]
    if not units:
        raise ValueError(f"region {region.name} must have {pattern}, found none among {len(own)} instructions")
    copies = len(units) / per
    loops = [
        loop
        for loop in {loop for instruction in units for loop in instruction.loops}
        if sum(place in inside for place in range(loop[0], loop[1] + 1)) >= _SHARE * (loop[1] + 1 - loop[0])
    ]
    main = max(loops, key=lambda loop: sum(loop in unit.loops for unit in units), default=None)
    if main is None:
        return Part(region, len(own) / copies, runs, tuple((instruction, runs / copies) for instruction in own))
    unrolled = sum(main in unit.loops for unit in units) / per
    starts = runs / region.trips if region.trips else 0
    rounds = math.floor(region.trips / unrolled)
    left = region.trips - rounds * unrolled
    others = copies - unrolled
    rest = left / others if others > 0 else 1.0  # without copies for what is left, the rest prepares the loop
    rounds_taken = float(rounds) if others > 0 else region.trips / unrolled
    weighted = tuple(
        (instruction, starts * (rounds_taken if main in instruction.loops else rest)) for instruction in own
    )
    body = sum(main in instruction.loops for instruction in own)
    return Part(region, body / unrolled, runs, weighted)
