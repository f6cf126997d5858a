"""Runs small kernels in a process of their own, which a sanitizer may end.

python run_planted.py LIBRARY broken|fixed|shown NAME...
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emulated import SCHEDULES, EmulatedLibrary

OUTCOMES = ("right", "wrong", "failed")


def run(library: EmulatedLibrary, name: str, which: str) -> list[str]:
    """How a small kernel ends in each schedule: "right", "wrong", or the message of the emulation."""
    ends = []
    for schedule in SCHEDULES:
        library.set_schedule(schedule)
        number = (
            library.call(f"shown_{name}") if which == "shown" else library.call(f"planted_{name}", which == "fixed")
        )
        ends.append(library.failure() if OUTCOMES[number] == "failed" else OUTCOMES[number])
    return ends


if __name__ == "__main__":
    for kernel in sys.argv[3:]:
        print(kernel, *run(EmulatedLibrary(Path(sys.argv[1])), kernel, sys.argv[2]), sep="\n  ")
