"""Every derivative of every operator, against finite differences in float64, and torch.func's transforms of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from derivatives import cases
from derivatives.cases import Case
from torch import Tensor
from torch.autograd import forward_ad

import pointkernels
from pointkernels.compat import dgcnn, pointnet2, pytorch3d

ALL = {**cases.OF_OPERATORS, **cases.OF_FACES}
every_case = pytest.mark.parametrize("case", ALL.values(), ids=ALL)


def without_second_name(names: object) -> set[str]:
    return {str(name).split(", ")[0] for name in names}  # type: ignore[attr-defined]


def test_every_operator_has_a_case() -> None:
    registered = {
        name.split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("pointkernels")
    }
    packed = {f"pointkernels_compat::{name}" for name in cases.PACKED}
    known = without_second_name(cases.OF_OPERATORS) | set(cases.INTEGERS) | cases.IN_PLACE | packed
    assert registered == known


def test_every_face_has_a_case() -> None:
    def functions(module: ModuleType, prefix: str) -> set[str]:
        members = inspect.getmembers(module, inspect.isfunction)
        own = {
            name
            for name, member in members
            if not name.startswith("_") and member.__module__.startswith("pointkernels")
        }
        return {
            prefix + name
            for name in own
            if module is pointkernels or getattr(module, name).__module__ == module.__name__
        }

    faces = functions(pointkernels, "") - {"build_info"}
    for module, prefix in ((dgcnn, "dgcnn."), (pointnet2, "pointnet2."), (pytorch3d, "pytorch3d.")):
        faces |= functions(module, prefix)
    assert faces == without_second_name(cases.OF_FACES) | cases.WITHOUT


def leaves(case: Case) -> tuple[Tensor, ...]:
    return tuple(tensor.clone().requires_grad_() for tensor in case.inputs)


@every_case
def test_first_derivatives(case: Case) -> None:
    """Forward and reverse against differences, and both under torch.vmap."""
    assert torch.autograd.gradcheck(
        case.function, leaves(case), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True,
        check_undefined_grad=False,
    )  # fmt: skip


@every_case
def test_second_derivatives(case: Case) -> None:
    """Reverse over reverse and forward over reverse against differences."""
    assert torch.autograd.gradgradcheck(
        case.function, leaves(case), check_fwd_over_rev=True, check_rev_over_rev=True, check_undefined_grad=False,
        fast_mode=sum(tensor.numel() for tensor in case.inputs) > 30,
    )  # fmt: skip


def total(case: Case, *inputs: Tensor) -> Tensor:
    """A number that depends on every result."""
    results = case.function(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    return sum((result.sin().sum() for result in results), start=torch.zeros((), dtype=torch.float64))


def places(case: Case) -> tuple[int, ...]:
    return tuple(range(len(case.inputs)))


@every_case
def test_transforms_of_reverse_mode(case: Case) -> None:
    expected = torch.autograd.grad(total(case, *(own := leaves(case))), own, materialize_grads=True)
    found = torch.func.grad(lambda *inputs: total(case, *inputs), places(case))(*case.inputs)
    torch.testing.assert_close(found, expected)
    if total(case, *case.inputs) == 0 and "Tensor" in str(type(case.function(*case.inputs))):
        return  # torch.vmap takes no vectors of no gradients
    rows = torch.func.jacrev(case.function, places(case))(*case.inputs)
    columns = torch.func.jacfwd(case.function, places(case))(*case.inputs)
    torch.testing.assert_close(columns, rows)


@every_case
def test_values_are_the_same_bits(case: Case) -> None:
    expected = case.function(*case.inputs)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, torch.ones_like(x)) for x in case.inputs]
        results = case.function(*duals)
        results = results if isinstance(results, tuple) else (results,)
        found = tuple(forward_ad.unpack_dual(result).primal for result in results)
    for one, other in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
        if case.same_bits:
            assert torch.equal(one, other)
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dim", [0, -1])
@every_case
def test_samples(case: Case, dim: int) -> None:
    """torch.vmap and gradients of each sample, with all inputs mapped and with one of them."""
    others = [x + 1e-3 * random_like(x) for x in case.inputs]
    stacked = [torch.stack(pair, dim=dim) for pair in zip(case.inputs, others, strict=True)]
    gradient = torch.func.grad(lambda *inputs: total(case, *inputs), places(case))
    choices = [(dim,) * len(stacked), *(tuple(dim if n == m else None for n in places(case)) for m in places(case))]
    for in_dims in choices:
        mapped = [x if d is None else s for x, s, d in zip(case.inputs, stacked, in_dims, strict=True)]
        samples = [
            [y if n and d is not None else x for x, y, d in zip(case.inputs, others, in_dims, strict=True)]
            for n in range(2)
        ]
        for function in (case.function, gradient):
            found = torch.vmap(function, in_dims=in_dims)(*mapped)
            results = [function(*sample) for sample in samples]
            if isinstance(found, Tensor):
                torch.testing.assert_close(found, torch.stack(results))
            else:
                torch.testing.assert_close(found, tuple(map(torch.stack, zip(*results, strict=True))))


def random_like(x: Tensor) -> Tensor:
    return cases.random(*x.shape, seed=33)


@pytest.mark.parametrize("function", cases.INTEGERS.values(), ids=cases.INTEGERS)
def test_integers(function: Callable[[Tensor], Tensor]) -> None:
    """They go through every transform, and have no tangents."""
    x = torch.stack([cases.random(10, 2), cases.random(10, 2, seed=1)], dim=1)
    expected = torch.stack([function(x[:, n].contiguous()) for n in range(2)])
    assert torch.equal(torch.vmap(function, in_dims=1)(x), expected)
    torch.func.grad(lambda x: (x * function(x).sum()).sum())(x[:, 0].contiguous())
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(function(forward_ad.make_dual(*x.movedim(1, 0).contiguous()))).tangent is None


def test_derivatives_of_duplicates() -> None:
    """Where neighbours change places under any difference: the derivatives for the graph that was found."""
    points = cases.duplicates()
    indices = pointkernels.knn(points, 4)

    def search(x: Tensor) -> Tensor:
        return pointkernels.knn(x, 4, return_distance=True)[0]

    def plain(x: Tensor) -> Tensor:
        ends = torch.stack([cloud[lists] for cloud, lists in zip(x, indices, strict=True)])
        return (ends - x[:, :, None]).square().sum(dim=3)

    for transform in (torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        torch.testing.assert_close(transform(search)(points), transform(plain)(points))


def test_neighbors_may_be_mapped() -> None:
    features, lists = cases.random(2, 5, 2), torch.stack([cases.HOLES, cases.HOLES.flip(2)])
    weight, vectors = cases.random(3, 4, seed=1), cases.statistics(3, 3, seed=2)

    def loss(weight: Tensor, lists: Tensor, training: bool) -> Tensor:
        running = (None, None) if training else (torch.zeros(3).double(), torch.ones(3).double())
        gathered = pointkernels.gather_neighbors(features, lists)
        layer = pointkernels.edge_conv(features, lists, weight, *vectors, *running, training=training)
        return layer.sin().sum() + (gathered * weight.sum()).sin().sum()

    for training in (True, False):
        gradient = torch.func.grad(lambda w, n, t=training: loss(w, n, t))
        found = torch.vmap(gradient, in_dims=(None, 0))(weight, lists)
        torch.testing.assert_close(found, torch.stack([gradient(weight, n) for n in lists]))


def test_running_statistics() -> None:
    """They move under gradients as without, and not under torch.vmap, whose samples would share them."""
    features, weight, vectors = cases.random(2, 5, 2), cases.random(3, 4, seed=1), cases.statistics(3, 3, seed=2)

    def loss(weight: Tensor, running: tuple[Tensor, Tensor]) -> Tensor:
        return pointkernels.edge_conv(features, cases.HOLES, weight, *vectors, *running, training=True).sin().sum()

    one, other = ((torch.zeros(3).double(), torch.ones(3).double()) for _ in range(2))
    loss(weight, one)
    torch.func.grad(loss)(weight, other)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    with pytest.raises(RuntimeError, match="running statistics must not be updated under"):
        torch.vmap(lambda w: loss(w, one))(torch.stack([weight, weight]))
