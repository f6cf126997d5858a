"""What the user sees while a run trains."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINES = 10  # printed over a whole run where there is no terminal to draw a bar on


class TrainingProgress:
    """A bar with loss, throughput and time left; on anything but a terminal, a line now and then.

    Args:
        console: Where to draw.
        total_steps: Steps of the whole run.
        start_step: Steps already done.
        label: What is being trained.
    """

    def __init__(self, console: Console, total_steps: int, start_step: int, label: str = "pre-training") -> None:
        self._console = console
        self._total = total_steps
        self._lines_done = start_step * _LINES // total_steps
        self._progress = Progress(
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} objects/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_steps, completed=start_step, loss="-", speed="-")

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, step: int, loss: float, speed: float) -> None:
        """Shows the steps done, the last loss and the objects per second since the last update."""
        self._progress.update(self._task, completed=step, loss=f"{loss:.3f}", speed=f"{speed:.1f}")
        lines = step * _LINES // self._total
        if not self._console.is_terminal and lines > self._lines_done:
            self._console.print(f"step {step} of {self._total}: loss {loss:.3f}, {speed:.1f} objects/s")
            self._lines_done = lines
