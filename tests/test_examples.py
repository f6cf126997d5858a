"""The examples run, on small clouds, and find equal outputs themselves."""

from __future__ import annotations

import runpy
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = ["--points", "64", "--clouds", "2", "--repeats", "1"]


def run(name: str) -> float:
    main = runpy.run_path(str(EXAMPLES / name))["main"]
    return float(main(SMALL))


def test_dgcnn_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dgcnn_classifier.py") > 0
    assert "fused: conv1, conv2, conv3, conv4" in capsys.readouterr().out


def test_pyg_dynamic_edge_conv(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch_geometric's own, at import
        pytest.importorskip("torch_geometric", reason="torch_geometric is not installed (pip install '.[test]')")
    assert run("pyg_dynamic_edge_conv.py") > 0
    assert "times faster" in capsys.readouterr().out


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert all(f'run("{path.name}")' in tested for path in EXAMPLES.glob("*.py"))
