"""The part "machine": its constants, by a program of our own, and whether they can be true."""

from __future__ import annotations

import time

from gpu import floors, programs
from gpu.constants import sifted
from gpu.context import Context, finding
from gpu.findings import Finding


def machine(context: Context, seconds: float) -> Finding:
    """The constants that can be believed; a dry run takes the assumed ones."""
    program = context.work / "constants"
    command = programs.compile_command("constants", program, context.capability)
    if context.dry_run:
        return Finding("machine", "dry run", 0.0, "assumed", (" ".join(command),), dict(floors.ASSUMED))
    started = time.monotonic()
    done = context.run("machine-build", command, seconds)
    if done.code == 0:
        done = context.run("machine", [str(program)], seconds - (time.monotonic() - started))
    # What is out of its range is no constant: floors would be computed from it.
    constants, note = sifted(programs.read(done.output) if done.code == 0 else {})
    return finding("machine", done, bool(constants) and not note, note, command, **constants)
