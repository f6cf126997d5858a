"""The calls of get_graph_feature in the methods of one model, led to a function that forms no edge tensor.

Nothing that other models use changes: the methods are copied into a subclass of the model's class, and in the copies
the name `get_graph_feature` is another one, that of a new entry beside the usual function in the module that holds it.
The model's modules become instances of the subclass, which calls itself as the class does, copies, and is stored as an
instance of the class.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pointkernels.compat._edge_features import EdgeFeatures

_PREFIX = "_pointkernels_"
_LOADS = ("LOAD_ATTR", "LOAD_METHOD")
_subclasses: WeakKeyDictionary[type, dict[str, type]] = WeakKeyDictionary()


class Calls(NamedTuple):
    """Where a class calls get_graph_feature."""

    methods: dict[str, FunctionType]  # copies that call the other function, by name
    holders: list[dict[str, Any]]  # the namespaces of the modules that hold the usual function


def calls_in(kind: type, name: str) -> Calls:
    """The calls in the methods of a module's class.

    Args:
        kind: a subclass of nn.Module.
        name: of the function, called as a global one, or by the module that holds it, `util.get_graph_feature(x)`.
    """
    calls = Calls({}, [])
    seen: set[str] = set()
    for base in kind.__mro__:
        if base is nn.Module:
            break
        for attribute, value in vars(base).items():
            if attribute in seen:
                continue
            seen.add(attribute)
            found = _redirected(value, name) if isinstance(value, FunctionType) else None
            if found:
                calls.methods[attribute] = found[0]
                calls.holders.extend(holder for holder in found[1] if all(holder is not h for h in calls.holders))
    return calls


def with_lazy_calls(kind: type, name: str, calls: Calls) -> type:
    """The subclass whose calls go to a function that forms no edge tensor."""
    for holder in calls.holders:
        usual = holder[name]
        if getattr(holder.get(_PREFIX + name), "_original", None) is not usual:
            holder[_PREFIX + name] = _lazy(usual)
    known = _subclasses.setdefault(kind, {})
    if name not in known:
        members: dict[str, Any] = {
            **calls.methods,
            **{member: getattr(kind, member) for member in ("__module__", "__qualname__", "__doc__")},
            "__reduce_ex__": _reduce,
            "_pointkernels_original": (kind, name),
        }
        known[name] = type(kind)(kind.__name__, (kind,), members)
    return known[name]


def original_of(module: nn.Module) -> type | None:
    """The class that a module had before `with_lazy_calls`; None if it still has it."""
    original = vars(type(module)).get("_pointkernels_original")
    return None if original is None else cast("type", original[0])


def why_not_the_same(function: Callable[..., Any], device: torch.device) -> str:
    """Compare a graph feature function with ours on a random cloud; "" if they agree."""
    reason = _tried(function, device)
    if reason and device.type == "cpu" and torch.cuda.is_available():
        return _tried(function, torch.device("cuda")) and reason  # it may be one for GPUs
    return reason


def _tried(function: Callable[..., Any], device: torch.device) -> str:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 13, generator=generator, dtype=torch.float64).to(device)
    idx = torch.randint(0, 13, (2, 13, 4), generator=generator).to(device)
    try:
        for arguments, expected in (((x, 4), EdgeFeatures(x, 4, None)), ((x, 4, idx), EdgeFeatures(x, 4, idx))):
            found = function(*arguments)
            if not isinstance(found, Tensor) or found.shape != expected.tensor().shape:
                return "does not return (B, 2 C, N, k)"
            if not torch.allclose(found, expected.tensor()):
                return "gives other values than [x_j - x_i, x_i] of the kNN graph"
    except Exception as error:  # whatever a stranger's function may raise
        what = f"could not be tried ({type(error).__name__}: {error})"
        if not torch.cuda.is_available() and any(word in str(error).lower() for word in ("cuda", "nvidia")):
            return f'{what}: it moves tensors to "cuda", and there is none here; write `device = x.device` in it'
        return what
    return ""


def _lazy(original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, but its edge tensor is formed only when it is needed."""
    parameter = inspect.signature(original).parameters.get("k")
    usual = 20 if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default

    def get_graph_feature(x: Tensor, k: int = usual, idx: Tensor | None = None, *more: Any, **options: Any) -> Any:
        if more or options:  # arguments of a descendant, whose meaning only the original knows
            return original(x, k, idx, *more, **options)
        return EdgeFeatures(x, k, idx)

    get_graph_feature._original = original  # type: ignore[attr-defined]
    return get_graph_feature


def _redirected(function: FunctionType, name: str) -> tuple[FunctionType, list[dict[str, Any]]] | None:
    """A copy whose calls go to the other function, and who holds the usual one; None if there is nothing to lead."""
    inner = getattr(function, "__wrapped__", None)
    if not isinstance(inner, FunctionType):
        holders = _holders(function.__code__, function.__globals__, name)
        if not holders:
            return None
        return _copy(function, _renamed(function.__code__, name), function.__closure__), holders
    found = _redirected(inner, name)
    cells = function.__closure__ or ()
    if not found or not any(cell.cell_contents is inner for cell in cells):
        return None
    closure = tuple(CellType(found[0]) if cell.cell_contents is inner else cell for cell in cells)
    copy = _copy(function, function.__code__, closure)
    copy.__wrapped__ = found[0]  # type: ignore[attr-defined]
    return copy, found[1]


def _copy(function: FunctionType, code: CodeType, closure: tuple[CellType, ...] | None) -> FunctionType:
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__qualname__, copy.__module__, copy.__doc__ = function.__qualname__, function.__module__, function.__doc__
    return copy


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _holders(code: CodeType, namespace: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The namespaces in which code looks the name up; none if it also uses it otherwise, as of an object."""
    found: list[dict[str, Any]] = []
    for part in _codes(code):
        if name not in part.co_names:
            continue
        steps = [step for step in dis.get_instructions(part) if step.opname not in ("EXTENDED_ARG", "CACHE", "NOP")]
        for at, step in enumerate(steps):
            if step.argval != name or step.opname in ("LOAD_CONST", "KW_NAMES") or "FAST" in step.opname:
                continue
            holder = namespace if step.opname == "LOAD_GLOBAL" else _module_before(steps, at, namespace)
            if holder is None or not callable(holder.get(name)):
                return []
            found.append(holder)
    return found


def _module_before(steps: list[dis.Instruction], at: int, namespace: dict[str, Any]) -> dict[str, Any] | None:
    """The namespace of the module of which an instruction loads an attribute; None if it does something else."""
    if steps[at].opname not in _LOADS:
        return None
    path: list[str] = []
    at -= 1
    while at > 0 and steps[at].opname in _LOADS:
        path.insert(0, steps[at].argval)
        at -= 1
    value = namespace.get(steps[at].argval) if steps[at].opname == "LOAD_GLOBAL" else None
    for attribute in path:
        value = getattr(value, attribute, None)
    return vars(value) if isinstance(value, ModuleType) else None


def _renamed(code: CodeType, name: str) -> CodeType:
    names = tuple(_PREFIX + name if n == name else n for n in code.co_names)
    constants = tuple(_renamed(c, name) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_names=names, co_consts=constants)


def _reduce(self: nn.Module, protocol: Any) -> Any:
    """To copy and store: an instance of the class, made again by `restored`."""
    kind = next(kind for kind in type(self).__mro__ if "_pointkernels_original" in vars(kind))
    original, name = vars(kind)["_pointkernels_original"]
    reduced: tuple[Any, ...] = super(kind, self).__reduce_ex__(max(int(protocol), 2))  # type: ignore[arg-type]
    function, arguments, *rest = reduced
    if not arguments or arguments[0] is not kind:  # a way of its own, or a further subclass
        return reduced
    return (restored, (function, original, name, *arguments[1:]), *rest)


def restored(function: Callable[..., Any], original: type, name: str, *arguments: Any) -> Any:
    """An instance of the class with lazy calls, if they are of the same function here, too."""
    calls, cpu = calls_in(original, name), torch.device("cpu")
    fits = calls.methods and original in _subclasses and name in _subclasses[original]
    if fits or (calls.methods and not any(why_not_the_same(holder[name], cpu) for holder in calls.holders)):
        original = with_lazy_calls(original, name, calls)
    return function(original, *arguments)
