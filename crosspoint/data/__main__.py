"""``python -m crosspoint.data check ROOT``: what is in a folder of data, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from crosspoint.data.survey import Survey, survey

_PROGRAM = "python -m crosspoint.data"
_PROBLEMS, _USER_ERROR = 1, 2
_MOST_SHOWN = 20  # problems


@dataclass(frozen=True)
class Check:
    """Recognises the layout of a folder, reads everything in it, and reports.

    Exit code 0: all is well. 1: there are problems. 2: the folder has no known layout.
    """

    root: Annotated[Path, tyro.conf.Positional]
    """The folder."""
    images: Path | None = None
    """Folder of the pictures of a plain folder of clouds."""


def _counts(found: Survey) -> Table:
    table = Table(title=f"{found.layout}: {found.total} clouds")
    table.add_column("class")
    for split in found.splits:
        table.add_column(split, justify="right")
    for name in sorted({name for name, _ in found.counts}):
        table.add_row(name, *(str(found.counts[name, split] or "") for split in found.splits))
    table.add_section()
    sums = [sum(count for (_, of), count in found.counts.items() if of == split) for split in found.splits]
    table.add_row("all", *map(str, sums))
    return table


def _facts(found: Survey) -> Table:
    table = Table(show_header=False)
    points = f"{found.fewest}" if found.fewest == found.most else f"{found.fewest} to {found.most}"
    table.add_row("points per cloud", points)
    for axis, low, high in zip("xyz", found.low, found.high, strict=True):
        table.add_row(axis, f"{low:.4g} to {high:.4g}")
    guess = found.up_axis
    table.add_row("up axis", "no axis stands out" if guess is None else f"probably {guess} (--data.up-axis {guess})")
    if found.without_pictures:
        table.add_row("no pictures", f"{found.without_pictures} objects; views of them are rendered")
    return table


def _check(arguments: Check, console: Console) -> int:
    with console.status("reading") as status:
        found = survey(
            arguments.root,
            arguments.images,
            lambda seen: status.update(f"reading: {seen} clouds") if seen % 50 == 0 else None,
        )
    console.print(_counts(found))
    if found.total:
        console.print(_facts(found))
    for problem in found.problems[:_MOST_SHOWN]:
        console.print(f"problem: {' '.join(problem.split())}", soft_wrap=True, highlight=False, markup=False)
    if len(found.problems) > _MOST_SHOWN:
        console.print(f"and {len(found.problems) - _MOST_SHOWN} more problems")
    return _PROBLEMS if found.problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    chosen = tyro.extras.subcommand_cli_from_dict(
        {"check": Check},
        args=sys.argv[1:] if arguments is None else arguments,
        prog=_PROGRAM,
        description=__doc__,
    )
    try:
        return _check(chosen, Console())
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return _USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
