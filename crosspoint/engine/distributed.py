"""The processes of a run: one by default, several under torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class World:
    """This process among all processes of the run."""

    rank: int
    """Number of this process, from 0."""
    size: int
    """Number of processes."""
    device: torch.device
    """Where this process computes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


def _device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu or auto where torch finds no GPU, got cuda")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"each process of a machine needs a GPU of its own, got {torch.cuda.device_count()} GPUs "
            f"for process {local_rank}"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Joins the processes that torchrun started (variables RANK, WORLD_SIZE, LOCAL_RANK), and leaves them at the end.

    Args:
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).

    Yields:
        This process's place. Without torchrun, or with a single process, nothing is initialised.

    Raises:
        ValueError: If there is no GPU for a process that needs one.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    world = World(rank, size, _device(device, int(os.environ.get("LOCAL_RANK", "0"))))
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    if size == 1:
        yield world
        return
    # gloo stays beside nccl: what the processes agree on between steps never waits for the GPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo")
    try:
        yield world
    finally:
        distributed.destroy_process_group()


def largest(values: list[int], world: World) -> list[int]:
    """Entry by entry, the largest value any process passed; every process gets the same answer."""
    if world.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.int64)
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return cast(list[int], tensor.tolist())


def gather_objects(value: Any, world: World) -> list[Any]:
    """What every process passed, in the order of their ranks."""
    if world.size == 1:
        return [value]
    values: list[Any] = [None] * world.size
    distributed.all_gather_object(values, value)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.count = rank, rows.shape[0]  # type: ignore[attr-defined]
        parts = [torch.empty_like(rows) for _ in range(size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[Tensor, None, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        start = ctx.rank * ctx.count  # type: ignore[attr-defined]
        return total[start : start + ctx.count], None, None  # type: ignore[attr-defined]


def gather_with_gradient(rows: Tensor, world: World) -> Tensor:
    """The rows of all processes, in the order of their ranks, differentiable in the own ones.

    Every process then computes the same loss of the whole batch, so that contrastive negatives come from all
    processes. The backward pass adds up what each of these equal losses sends to the own rows, that is ``size`` times
    the true gradient; DistributedDataParallel divides the parameters' gradients by ``size``, so they come out as those
    of the one loss.

    Args:
        rows: (B, ...) with the same shape on every process.
        world: The processes.

    Returns:
        (B * ``size``, ...).
    """
    if world.size == 1:
        return rows
    gathered: Tensor = cast(Any, _Gather).apply(rows, world.rank, world.size)  # torch types apply() in some versions
    return gathered
