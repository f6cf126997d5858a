"""``python -m crosspoint.report RUN...``: one page about some runs, with everything in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from crosspoint.command import exit_status


@dataclass(frozen=True)
class Report:
    """Writes one self-contained HTML page: settings, curves, results beside published ones, pictures."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, with what python -m crosspoint.evaluate has put into them."""
    output: Path | None = None
    """Where to write the page; if left out, report.html in the first run's folder."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("a report needs at least 1 run, got none")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, or 2 after a user's error."""
    report = tyro.cli(
        Report,
        args=sys.argv[1:] if arguments is None else arguments,
        prog="python -m crosspoint.report",
    )
    output = report.output or report.runs[0] / "report.html"

    def write() -> None:
        # Not before: --help should not wait for torch.
        from crosspoint.reporting.page import write_page

        write_page(report.runs, output)
        print(f"report: {output}")

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main())
