"""The training loop: steps, records, checkpoints, and an orderly stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from crosspoint.config.output import OutputConfig
from crosspoint.data.sample import Batch
from crosspoint.engine.distributed import World, largest
from crosspoint.engine.interrupt import Interrupted, InterruptRequest

Report = Callable[[int, dict[str, float]], None]


def run_steps(
    batches: Iterable[Batch],
    step: Callable[[Batch], Tensor],
    *,
    start_step: int,
    total_steps: int,
    objects_per_step: int,
    learning_rate: Callable[[], float],
    save: Callable[[], None],
    report: Report,
    output: OutputConfig,
    world: World,
    losses: Sequence[str] = ("loss", "intra", "cross"),
) -> None:
    """Runs all remaining steps.

    After SIGINT or SIGTERM the current step ends, a checkpoint is written, and the loop stops; all processes stop at
    the same step, whichever of them got the signal. The state is saved after the last step too.

    Args:
        batches: One for each remaining step.
        step: Trains on a batch and returns its losses, the one that is minimised first.
        start_step: Steps already done.
        total_steps: Steps of the whole run.
        objects_per_step: Objects in a batch, over all processes.
        learning_rate: Gives the rate of the coming step.
        save: Writes a checkpoint; every process calls it.
        report: Takes the number of steps done and the values of the last one, every ``output.log_steps`` steps.
        output: How often to report and to save.
        world: The processes.
        losses: Names of the losses that a step returns.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        FloatingPointError: If a reported loss is not finite; the checkpoint is then left as it was.
        OSError: If a checkpoint or the log cannot be written.
    """
    done = start_step
    saved_at = reported_at = time.monotonic()
    reported_step = done
    rate = learning_rate()
    with InterruptRequest() as interrupt:
        for batch in batches:
            outcome = step(batch)
            done += 1
            overdue = 0 < output.checkpoint_seconds <= time.monotonic() - saved_at
            due = overdue or done % output.checkpoint_steps == 0 or done == total_steps
            number, due_anywhere = largest([interrupt.number, int(due)], world)
            saving = bool(number or due_anywhere)
            if saving or done % output.log_steps == 0:
                named = dict(zip(losses, outcome.tolist(), strict=True))
                if not math.isfinite(named[losses[0]]):
                    raise FloatingPointError(f"the loss must stay finite, got {named[losses[0]]} at step {done}")
                now = time.monotonic()
                values = {
                    **named,
                    "learning_rate": rate,
                    "objects_per_second": objects_per_step * (done - reported_step) / max(now - reported_at, 1e-9),
                }
                report(done, values)
                reported_at, reported_step = now, done
            rate = learning_rate()
            if saving:
                save()
                saved_at = time.monotonic()
            if number:
                raise Interrupted(number, done, total_steps)
