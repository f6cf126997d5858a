"""How many blocks and warps of a kernel run at a time on a multiprocessor of each target.

Limits are those of the table "Technical Specifications per Compute Capability" of the CUDA programming guide; how
registers and shared memory are handed out follows cuda_occupancy.h of the toolkit, against which the tests hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuda_gates.compiler import Usage

WARP = 32
REGISTERS = 65536  # of a multiprocessor, and of a block, on every target
PARTITIONS = 4  # of a multiprocessor, each with its share of the registers
REGISTER_UNIT = 256  # registers are handed to warps in multiples of it


@dataclass(frozen=True)
class Multiprocessor:
    """What the blocks of a multiprocessor share; shared memory in bytes."""

    threads: int
    blocks: int
    shared: int
    shared_unit: int = 128  # shared memory is handed to blocks in multiples of it
    shared_reserved: int = 1024  # by the system, in every block


MULTIPROCESSORS = {
    75: Multiprocessor(threads=1024, blocks=16, shared=64 << 10, shared_unit=256, shared_reserved=0),
    80: Multiprocessor(threads=2048, blocks=32, shared=164 << 10),
    86: Multiprocessor(threads=1536, blocks=16, shared=100 << 10),
    89: Multiprocessor(threads=1536, blocks=24, shared=100 << 10),
    90: Multiprocessor(threads=2048, blocks=32, shared=228 << 10),
    100: Multiprocessor(threads=2048, blocks=32, shared=228 << 10),
    120: Multiprocessor(threads=1536, blocks=24, shared=100 << 10),
}


@dataclass(frozen=True)
class Occupancy:
    """Blocks on a multiprocessor, their share of its warps, and what admits no more."""

    blocks: int
    share: float
    limit: str


def occupancy(usage: Usage, threads: int, dynamic_shared: int = 0) -> Occupancy | None:
    """With blocks of so many threads; None for a target whose limits are not known here."""
    multiprocessor = MULTIPROCESSORS.get(usage.target)
    if multiprocessor is None:
        return None
    warps = -(-threads // WARP)
    registers = -(-usage.registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    shared = usage.shared + dynamic_shared + multiprocessor.shared_reserved
    shared = -(-shared // multiprocessor.shared_unit) * multiprocessor.shared_unit
    limits = {
        "warps": multiprocessor.threads // WARP // warps,
        "blocks": multiprocessor.blocks,
        "registers": REGISTERS // PARTITIONS // registers * PARTITIONS // warps,
        "shared memory": multiprocessor.shared // shared if shared > 0 else multiprocessor.blocks,
    }
    limit = min(limits, key=lambda name: limits[name])
    blocks = limits[limit]
    return Occupancy(blocks, blocks * warps * WARP / multiprocessor.threads, limit)
