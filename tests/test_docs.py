"""Every example in a docstring or in the README runs and prints what it says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import torch

import pointkernels
from pointkernels import nn
from pointkernels.compat import dgcnn, pointnet2, pytorch3d, torch_cluster
from pointkernels.ops import ball_query, chamfer, edge_conv, farthest_point_sampling, gather, interpolation, knn, linear

ROOT = Path(__file__).resolve().parent.parent


MODULES = [
    *(knn, ball_query, farthest_point_sampling, gather, interpolation, chamfer, edge_conv, linear),
    *(nn.edge_conv, nn.graph_edge_conv, nn.two_layer_edge_conv, nn.graph_two_layer_edge_conv),
    *(dgcnn, pointnet2, pytorch3d, torch_cluster),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings(module: object) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    names = {"torch": torch, "pointkernels": pointkernels}
    tests = [test for test in doctest.DocTestFinder().find(module, globs=names) if test.examples]  # type: ignore[arg-type]
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries >= 2


def test_readme_examples() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
