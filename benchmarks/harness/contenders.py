"""What a benchmark is made of: cases, and for each case the ways to compute it and the check that they agree."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from pointkernels._library import set_isa

OURS = "pointkernels"
LOADED: set[str] = set()  # the peers' modules in this process


class LeftOut(Exception):  # noqa: N818  (not an error: the others are measured)
    """A contender or a case that cannot be measured here, with the reason."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        threads: CPU threads that every contender may use.
        isas: CPU instruction sets to measure pointkernels with; empty for the one in use.
        quick: tiny cases and few rounds, to see that everything works.
        large: the large cases too.
        compiled: torch.compile of the references too.
        alone: pointkernels without the others.
    """

    device: str = "cpu"
    threads: int = 1
    isas: tuple[str, ...] = ()
    quick: bool = False
    large: bool = False
    compiled: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Contender:
    """One way to compute a case.

    Attributes:
        name: unique within the case.
        call: what is timed.
        package: the distribution whose version is recorded.
        family: contenders of a family differ in a setting only; tables show the fastest of them.
        before: called before every turn, outside of the timing.
        result: brings what `call` returns into the form that is checked.
        exact: False where float32 cancellation is part of the method, as in |x|^2 - 2 x.y + |y|^2.
        compiles: whether the first call compiles, and so says nothing about the time of the second.
    """

    name: str
    call: Callable[[], Any]
    package: str | None = None
    family: str | None = None
    before: Callable[[], None] | None = None
    result: Callable[[Any], Any] = lambda value: value
    exact: bool = True
    compiles: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is pointkernels, with whichever instruction set."""
        return self.name.split(" ")[0] == OURS


@dataclass(frozen=True)
class Verdict:
    """What the check found: an error, or nothing wrong and perhaps a remark."""

    error: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Problem:
    """A case with its inputs made.

    Attributes:
        contenders: pointkernels first.
        check: says of a contender's result whether it is right.
        left_out: reasons by name, of those that cannot take part.
    """

    contenders: Sequence[Contender]
    check: Callable[[Contender, Any], Verdict]
    left_out: dict[str, str] = field(default_factory=dict)


class Case(Protocol):
    """A size and a kind of input; a frozen dataclass, so that its fields can be recorded."""

    __dataclass_fields__: Any

    @property
    def label(self) -> str:
        """Unique among the cases of the benchmark."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: first part of the name of its result files.
        module: what a fresh process imports to find it as `BENCHMARK`.
        title: what is measured, in a line.
        cases: the cases under the settings.
        problem: makes a case's inputs and contenders; deterministic. Raises LeftOut.
    """

    name: str
    module: str
    title: str
    cases: Callable[[Settings], Sequence[Any]]
    problem: Callable[[Any, Settings], Problem]


def require(module: str) -> Any:
    """Import a peer.

    Raises:
        LeftOut: it is not installed, or does not load here.
    """
    try:
        loaded = importlib.import_module(module)
        LOADED.add(module)
        return loaded
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise LeftOut("not installed") from error
        raise LeftOut(f"installed, but needs {error.name}, which is not") from error
    except Exception as error:  # a binary of another torch or CUDA fails in many ways
        raise LeftOut(f"installed, but does not load: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def require_device(settings: Settings, *devices: str) -> None:
    """Raise LeftOut unless a peer runs on the device that is measured."""
    if settings.device not in devices:
        raise LeftOut(f"runs on {' and '.join(devices)} only")


def gather(
    builders: dict[str, Callable[..., Contender | Iterable[Contender]]], *arguments: Any
) -> tuple[list[Contender], dict[str, str]]:
    """Build all contenders that can take part, and the reasons why the others cannot."""
    contenders: list[Contender] = []
    left_out: dict[str, str] = {}
    for name, build in builders.items():
        try:
            built = build(*arguments)
            contenders += [built] if isinstance(built, Contender) else built
        except LeftOut as reason:
            left_out[name] = str(reason)
    return contenders, left_out


def ours(
    call: Callable[[], Any], settings: Settings, result: Callable[[Any], Any] = lambda value: value
) -> list[Contender]:
    """Pointkernels: once, or once for every instruction set asked for."""
    if settings.device != "cpu" or not settings.isas:
        return [Contender(OURS, call, package=OURS, result=result)]
    return [
        Contender(f"{OURS} {isa}", call, package=OURS, result=result, before=partial(set_isa, isa))
        for isa in settings.isas
    ]
