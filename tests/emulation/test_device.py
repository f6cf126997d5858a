"""The device `emulated` of the operators' tests is what it says it is."""

from __future__ import annotations

import emulated
import pytest
import torch

import pointkernels

OPERATORS = sorted(n for n in torch._C._dispatch_get_all_op_names() if n.startswith("pointkernels::"))

# On CUDA these are made of torch's operations and of other operators: pointkernels/ops/edge_conv_two_layer_chunks.py.
WITHOUT_KERNELS = ["pointkernels::_edge_conv_two_layer_backward", "pointkernels::edge_conv_two_layer"]
# On other devices than the CPU, other operators and torch take their place.
ONLY_ON_A_CPU = [
    f"pointkernels::{name}"
    for name in (
        "_center_rows",
        "_edge_conv_of_clouds",
        "_edge_conv_of_clouds_backward",
        "_update_running_statistics",
    )
]


def registered_by_the_emulation(operator: str) -> bool:
    """Whether CPU tensors reach the kernel that csrc/emulation/operators.cpp registers."""
    table = torch._C._dispatch_dump(operator).splitlines()
    (line,) = (line for line in table if line.startswith("CPU: "))
    return "csrc/emulation/operators.cpp" in line


def test_every_operator_is_emulated_and_given_back() -> None:
    assert len(OPERATORS) >= 7
    with emulated.device("forward"):
        left_out = [name for name in OPERATORS if not registered_by_the_emulation(name)]
        assert left_out == sorted(WITHOUT_KERNELS + ONLY_ON_A_CPU)
    assert [name for name in OPERATORS if registered_by_the_emulation(name)] == []
    assert all(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA") for name in WITHOUT_KERNELS)


def test_what_goes_wrong_in_a_kernel_is_raised_with_its_place() -> None:
    nodes, vector = torch.randn(6, 8), torch.ones(4)
    neighbors = torch.full((6, 2), 6)
    message = r"a device check fails: \(neighbor .+\) at csrc/cuda/edge_conv\.cu:\d+, block 0, thread \(\d, \d, 0\)"
    with emulated.device("random-1"), pytest.raises(RuntimeError, match=message):
        torch.ops.pointkernels.edge_conv(nodes, neighbors, 6, vector, vector, None, None, 1e-5, 0.2)
    with emulated.device("random-1"):  # and the next launch is as good as new
        assert pointkernels.knn(torch.arange(4.0)[None, :, None], 2)[0, 3].tolist() == [3, 2]


def test_what_no_kernel_writes_shows() -> None:
    with emulated.device("forward"):
        assert bool(torch.empty(5).isnan().all())
