"""The operators' own tests, and those of this folder, under AddressSanitizer and UndefinedBehaviorSanitizer.

The sanitizers must be in the process from its beginning, so a process of their own runs the tests; a finding ends it.
"""

from __future__ import annotations

import re

import emulated
import pytest

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(emulated.CHECK != "none", reason="is what this test starts"),
]
OPERATORS = ["tests/test_knn.py", "tests/test_farthest_point_sampling.py", "tests/test_edge_conv.py"]
OPERATORS += ["tests/test_offset_inputs.py", "tests/test_precision_of_products.py"]


def assert_clean(tests: list[str], chosen: str, at_least: int) -> None:
    emulated.build(90, "sanitizers")  # a failure to compile is another failure
    result = emulated.run_sanitized("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", "-k", chosen, *tests)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    assert "Sanitizer" not in result.stderr, result.stderr
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= at_least


def test_operators_under_sanitizers() -> None:
    """Without what looks at torch rather than at the kernels."""
    assert_clean(OPERATORS, "emulated and not (compiles or opcheck or gradients)", 200)


@pytest.mark.parametrize("of", ["neighbors", "gradients"])
def test_machines_under_sanitizers(of: str) -> None:
    """Everything in one schedule, the hardest inputs in all three."""
    chosen = "forward or lattice or nan or holes or of_every_list_length or of_both_slot_formats"
    assert_clean([f"tests/emulation/test_emulated_{of}.py"], chosen, 50)
