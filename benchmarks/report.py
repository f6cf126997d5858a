"""Markdown tables of the results in benchmarks/results.

python benchmarks/report.py [FILE ...]     prints the tables of the files (default: all)
python benchmarks/report.py --write        writes those of all files into benchmarks/results/<machine>.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.records import RESULTS, Run, load, slug
from harness.tables import markdown

PAGE = """# Benchmarks on {machine}

Written by `python benchmarks/report.py --write` from the JSON files beside it. The [README](../README.md) says what is
measured and how to read it.

{tables}"""


def pages(runs: Iterable[Run]) -> dict[str, str]:
    """The text of each machine's page by the name of its file."""
    machines: dict[str, list[Run]] = {}
    for run in runs:
        machines.setdefault(run.environment["device_name"], []).append(run)
    return {
        f"{slug(machine)}.md": PAGE.format(machine=machine, tables="\n".join(map(markdown, measured)))
        for machine, measured in machines.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or write the pages."""
    parser = argparse.ArgumentParser(description="Markdown tables from the JSON files of the benchmarks.")
    parser.add_argument("files", nargs="*", type=Path, help="default: all of benchmarks/results")
    parser.add_argument("--write", action="store_true", help="write results/<machine>.md, of all files")
    options = parser.parse_args(arguments)
    if options.write and options.files:
        parser.error("--write must be given without files, since a page has all results of a machine")
    try:
        runs = [load(path) for path in options.files or sorted(RESULTS.glob("*.json"))]
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if options.write:
        for name, text in pages(runs).items():
            (RESULTS / name).write_text(text)
    else:
        print("\n".join(map(markdown, runs)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
