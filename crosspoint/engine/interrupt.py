"""Turning Ctrl-C and SIGTERM into a request that a loop can answer between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS = 30  # ample for a step and a checkpoint


class Interrupted(Exception):  # noqa: N818 (stopping when asked to is no error)
    """The run was stopped by a signal, after writing a checkpoint.

    Args:
        number: The signal.
        step: Steps done, all of them in the checkpoint.
        total: Steps of the whole run.
    """

    def __init__(self, number: int, step: int, total: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step} of {total}")
        self.number = number
        self.step = step
        self.total = total


class InterruptRequest:
    """Within the ``with`` block, the first SIGINT or SIGTERM is remembered instead of obeyed.

    A second one acts as usual, for whoever does not want to wait for the step to end.

    Attributes:
        number: The signal that arrived, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptRequest:
        self._previous = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


def leave_signals_to_parent(worker: int) -> None:
    """Makes a data-loading process outlive both signals, which terminals and clusters send to it too.

    Its parent needs it until the current step has ended, and then ends it. Should the parent not, SIGTERM works after
    a while; a process that nothing but SIGKILL ends would be worse.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_SECONDS))
