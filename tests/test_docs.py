"""Every example in a docstring, in the README or in docs/ runs and prints what it says, and links lead to files."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import pointkernels

ROOT = Path(__file__).resolve().parent.parent
# By their sources: to import every package for this would cost each test process seconds.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("pointkernels", "crosspoint")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    """Examples of pointkernels need torch and pointkernels alone, those of crosspoint what their module has."""
    module = importlib.import_module(name)
    own = vars(module) if name.startswith("crosspoint") else {}
    names = {**own, "torch": torch, "pointkernels": pointkernels}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    tests = [test for test in doctest.DocTestFinder().find(module, globs=names) if test.examples]
    assert tests
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("page", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))])
def test_examples_in_prose(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks or page != "README.md"
    for block in blocks:
        exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("pattern", ["*.md", "docs/*.md", "benchmarks/*.md", "benchmarks/results/*.md", "csrc/*/*.md"])
def test_links_lead_to_files(pattern: str) -> None:
    pages = sorted(ROOT.glob(pattern))
    assert pages
    for page in pages:
        for link in re.findall(r"\]\(([^)#: ]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
