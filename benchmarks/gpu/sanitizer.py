"""compute-sanitizer: its command lines, and what its logs say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
OURS = "pointkernels"
# The first lines of what is an error, in all tools; of a race there are also warnings, which count here, too.
_ERROR = re.compile(
    r"^(Invalid |Misaligned |Out-of-range |Uninitialized |Unused |Barrier error|Divergent|Illegal |Invalid arguments"
    r"|(Error|Warning): Race reported|Potential (RAW|WAR|WAW) hazard|Stack overflow|Leaked |Malloc/Free)"
)
_PLACE = re.compile(r"(?:^|\s)at (.+?)\+0x[0-9a-f]+")
_SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")
# It does not run here: in some virtual machines, or where it does not know the driver.
_REFUSED = re.compile(r"Device not supported|not supported on this|Unable to find .*sanitizer|Internal Sanitizer Error")


@dataclass(frozen=True)
class Verdict:
    """What a log says.

    Attributes:
        status: "ok", "failed" or "unavailable".
        ours: errors in kernels of this project, with the line that says what and where.
        others: how many errors there were in kernels of others.
        note: in words.
    """

    status: str
    ours: tuple[str, ...] = ()
    others: int = 0
    note: str = ""


def find() -> str | None:
    """The program on PATH or in the usual folder of the toolkit."""
    usual = Path("/usr/local/cuda/bin/compute-sanitizer")
    return shutil.which("compute-sanitizer") or (str(usual) if usual.is_file() else None)


def command(program: str, tool: str, application: Sequence[str]) -> list[str]:
    """The command line of a tool around an application."""
    line = [program, "--tool", tool, "--error-exitcode", "0", "--print-limit", "50"]
    if tool == "memcheck":
        # Torch asks the driver about many things and deals with its refusals.
        line += ["--report-api-errors", "no"]
    if tool in ("racecheck", "synccheck"):
        # Their instrumentation is slow. The others need to see who wrote the memory that our kernels read.
        line += ["--kernel-name", f"kns={OURS}"]
    return [*line, *application]


def environment(tool: str) -> dict[str, str]:
    """With torch's cache of memory, a read past the end of a tensor ends in memory that torch owns, too."""
    return {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if tool in ("memcheck", "initcheck") else {}


def read(log: str) -> Verdict:
    """The verdict of a whole log; the application must have said that it came to its end."""
    lines = [line.removeprefix("=========") for line in log.splitlines() if line.startswith("=========")]
    refused = next((line.strip() for line in lines if _REFUSED.search(line)), None)
    if refused is not None:
        return Verdict("unavailable", note=f"compute-sanitizer cannot run here: {refused}")
    ours, others, headline = [], 0, None
    for line in [*lines, ""]:
        text = line.strip()
        detail = line.startswith("     ")
        if headline is not None:
            place = _PLACE.search(line)
            if detail and place is None:
                continue
            if place is not None and OURS in place[1]:
                ours.append(f"{headline} at {place[1]}{line[place.end() :]}")
            else:
                others += 1
            headline = None
        if not detail and _ERROR.match(text):
            # Races are placed on the line itself.
            place = _PLACE.search(text)
            if place is None:
                headline = text
            elif OURS in place[1]:
                ours.append(text)
            else:
                others += 1
    summary = next((match for line in reversed(lines) if (match := _SUMMARY.search(line))), None)
    note = f"{others} errors in kernels of others" if others else ""
    if summary is None:
        return Verdict("failed", tuple(ours), others, "; ".join(filter(None, ["the log has no summary", note])))
    counted = int(next(group for group in summary.groups() if group is not None))
    if ours:
        return Verdict("failed", tuple(ours), others, f"{len(ours)} errors in kernels of {OURS}")
    if counted > 0 and others == 0:
        return Verdict("failed", note=f"{counted} errors that are of no known kind: see the log")
    return Verdict("ok", others=others, note=note)
