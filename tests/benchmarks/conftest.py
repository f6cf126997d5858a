"""Fixtures of the benchmark tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)
