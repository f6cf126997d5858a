import doctest
import math

import pytest
import torch

from crosspoint.losses import nt_xent


def naive(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    """The equation of the docstring, one term at a time, in Python floats."""
    rows = [[float(x) for x in row] for row in torch.cat([first, second]).double()]
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]
    count, batch = len(rows), len(first)

    def similarity(i: int, j: int) -> float:
        return sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) / temperature

    total = 0.0
    for i in range(count):
        largest = max(similarity(i, j) for j in range(count) if j != i)
        normaliser = sum(math.exp(similarity(i, j) - largest) for j in range(count) if j != i)
        total += largest + math.log(normaliser) - similarity(i, (i + batch) % count)
    return total / count


def views(batch: int, channels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, batch, channels, generator=generator, dtype=torch.float64)
    return first, second


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("batch", "channels"), [(1, 3), (2, 1), (2, 5), (7, 4), (16, 32)])
def test_agrees_with_the_naive_loop(batch: int, channels: int, temperature: float) -> None:
    first, second = views(batch, channels)
    expected = naive(first, second, temperature)
    assert nt_xent(first, second, temperature).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert nt_xent(first.float(), second.float(), temperature).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e15], ids=["short rows", "ordinary rows", "long rows"])
def test_the_length_of_rows_does_not_matter(scale: float) -> None:
    first, second = views(5, 8)
    scaled = nt_xent((scale * first).float(), second.float(), 0.1)
    assert scaled.item() == pytest.approx(nt_xent(first, second, 0.1).item(), rel=1e-4)


@pytest.mark.parametrize("case", ["equal", "opposite", "all the same row"])
def test_extreme_similarities_at_a_small_temperature_stay_finite(case: str) -> None:
    first, _ = views(6, 8)
    second = {"equal": first, "opposite": -first, "all the same row": first}[case]
    if case == "all the same row":
        first = second = first[:1].expand(6, -1)
    expected = naive(first, second, 0.001)
    assert nt_xent(first.float(), second.float(), 0.001).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_is_symmetric_in_the_views() -> None:
    first, second = views(6, 8)
    assert nt_xent(first, second).item() == pytest.approx(nt_xent(second, first).item(), rel=1e-12)


def test_one_object_has_no_negatives() -> None:
    first, second = views(1, 8)
    assert nt_xent(first, second).item() == 0.0


def test_gradients_in_double_precision() -> None:
    first, second = (view.requires_grad_() for view in views(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (first, second))


def test_zero_rows_have_finite_gradients() -> None:
    first, second = (view.float() for view in views(4, 3))
    first[1] = 0.0
    first.requires_grad_()
    loss = nt_xent(first, second)
    loss.backward()
    assert loss.isfinite()
    assert first.grad is not None
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    first, second = (view.to(dtype) for view in views(8, 16))
    loss = nt_xent(first, second)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive(first, second, 0.1), rel=1e-5)


def test_autocast_does_not_lower_the_precision() -> None:
    first, second = (view.float() for view in views(8, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(first, second)
    assert torch.equal(loss, nt_xent(first, second))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiles_as_one_graph(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(nt_xent, fullgraph=True, backend=backend)
    results = []
    for function in (nt_xent, compiled):
        first, second = (view.float().requires_grad_() for view in views(8, 16))
        loss = function(first, second, 0.1)
        loss.backward()
        results.append((loss.detach(), first.grad, second.grad))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize(
    ("shapes", "came"),
    [
        (((4, 3), (4, 2)), r"\(4, 3\) and \(4, 2\)"),
        (((4, 3), (5, 3)), r"\(4, 3\) and \(5, 3\)"),
        (((4,), (4,)), r"\(4,\) and \(4,\)"),
        (((0, 3), (0, 3)), r"\(0, 3\) and \(0, 3\)"),
    ],
)
def test_refuses_other_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]], came: str) -> None:
    message = rf"^views must both be \(B, C\) with the same shape and B at least 1, got {came}$"
    with pytest.raises(ValueError, match=message):
        nt_xent(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_refuses_other_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"^temperature must be above 0, got {temperature}$"):
        nt_xent(torch.ones(2, 2), torch.ones(2, 2), temperature)


def test_the_example_of_the_docstring_runs() -> None:
    test = doctest.DocTestFinder().find(nt_xent, "nt_xent", globs={"nt_xent": nt_xent})
    assert test[0].examples
    assert doctest.DocTestRunner().run(test[0]).failed == 0
