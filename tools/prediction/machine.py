"""What an H200 does in a cycle, and how long its instructions take: from NVIDIA's tables, to be corrected by measuring.

Rates are of the CUDA programming guide (arithmetic instructions, compute capability 9.0), in cycles that a warp's
instruction keeps the pipe of one multiprocessor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from prediction.regions import Part

MULTIPROCESSORS = 132
CLOCK = 1.98e9  # Hz
SCHEDULERS = 4
# What code such as this reaches of the four instructions a cycle; between this and four lies what is predicted.
USUAL_ISSUE = 2.4
COPY_BANDWIDTH = 4.3e12  # bytes/s
L2_BANDWIDTH = 5.5e12
# From one kernel of a CUDA graph to the next, of which a short one hides nothing.
NODE_GAP = 2.2e-6  # s

# The first that matches decides. Dual names: what shares a pipe shares its name.
PIPES: tuple[tuple[str, str, float], ...] = (
    (r"FADD|FMUL|FFMA|FFMA32I|FADD32I|FMUL32I", "float32", 0.25),
    (r"IMAD|IDP|HFMA2|HADD2|HMUL2", "integer products", 0.5),
    (r"DADD|DMUL|DFMA|DSETP|DMNMX", "float64", 0.5),
    (r"F2F\.\w*F64|F2F\.F64|I2F\.F64|F2I\.F64|MUFU|POPC|FLO|BREV|I2F|F2I|F2F|I2I", "special functions", 2.0),
    (r"SHFL", "shuffles", 1.0),
    (r"C?REDUX|MATCH", "reductions of a warp", 2.0),
    (r"LDS|STS|LDSM|ATOMS|LDG|STG|LD|ST|LDL|STL|RED|ATOMG?|LDGSTS|LDC", "memory", 1.0),
    (r"HMMA|IMMA", "tensor cores", 2.0),
    (r"BRA|EXIT|RET|CALL|BAR|WARPSYNC|BSSY|BSYNC|BREAK|BRX|DEPBAR|NANOSLEEP", "control", 0.5),
    (r".*", "integers and logic", 0.5),
)
_COMPILED = tuple((re.compile(rf"(?:{pattern})(?:\.|$)"), pipe, cycles) for pattern, pipe, cycles in PIPES)

# Cycles from an instruction to the first that needs its result.
LATENCY = {"arithmetic": 4, "shared": 29, "l1": 38, "l2": 270, "memory": 600, "shuffle": 24, "redux": 24, "barrier": 30}


def pipe_of(operation: str) -> tuple[str, float]:
    """The pipe of an operation, and for how many cycles of a multiprocessor a warp's instruction keeps it."""
    return next((pipe, cycles) for pattern, pipe, cycles in _COMPILED if pattern.match(operation))


@dataclass(frozen=True)
class Demand:
    """What one warp asks of its multiprocessor: instructions, and cycles of each pipe."""

    slots: float
    pipes: dict[str, float]

    @property
    def busiest(self) -> tuple[str, float]:
        """The pipe that has most to do."""
        pipe = max(self.pipes, key=lambda name: self.pipes[name], default="")
        return pipe, self.pipes.get(pipe, 0.0)


def demand(parts: Iterable[Part]) -> Demand:
    """The sum over the parts of a kernel."""
    slots = 0.0
    pipes: dict[str, float] = {}
    for part in parts:
        for instruction, runs in part.instructions:
            pipe, cycles = pipe_of(instruction.operation)
            slots += runs
            pipes[pipe] = pipes.get(pipe, 0.0) + runs * cycles * (part.region.spread if pipe == "memory" else 1)
    return Demand(slots, pipes)
