"""What the parts of the report found, and its file."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# "ok", "failed" (the part ran and something is wrong), "timed out" (what it found until then is kept), "skipped" (asked
# for, or no time was left), "unavailable" (this machine cannot do it), "dry run".
FAULTS = ("failed", "timed out")


@dataclass(frozen=True)
class Finding:
    """The outcome of one part.

    Attributes:
        part: its name.
        status: one of those above.
        seconds: how long it took.
        note: the reason in words.
        commands: what was run.
        found: its numbers.
        log: the end of what its commands printed, where something is wrong.
        made: when, and from which commit.
    """

    part: str
    status: str
    seconds: float = 0.0
    note: str = ""
    commands: tuple[str, ...] = ()
    found: dict[str, Any] = field(default_factory=dict)
    log: str = ""
    made: str = ""


@dataclass
class Report:
    """All findings so far, and what the newest were made with."""

    environment: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)

    def found(self, part: str) -> dict[str, Any]:
        """The numbers of a part; empty when it has not run."""
        return next((finding.found for finding in self.findings if finding.part == part), {})

    def add(self, finding: Finding) -> None:
        """Take a finding in place of that of an earlier call; but what was measured stays where a part was left out."""
        for place, old in enumerate(self.findings):
            if old.part == finding.part:
                if finding.status != "skipped" or old.status == "skipped":
                    self.findings[place] = finding
                return
        self.findings.append(finding)

    def as_json(self) -> str:
        """The content of the file."""
        content = {"environment": self.environment, "findings": [asdict(finding) for finding in self.findings]}
        return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def earlier(path: Path) -> list[Finding]:
    """The findings of a report that is there already; none where there is none that can be read."""
    try:
        return [
            Finding(**{**entry, "commands": tuple(entry["commands"])})
            for entry in json.loads(path.read_text())["findings"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _finite(value: Any) -> Any:
    """With text in place of infinities and NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, text: str) -> None:
    """The file is either the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
