"""What is shipped: the source distribution holds what a build needs, and the kernels need nothing but torch."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import site
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD_FILES = ("setup.py", "build_backend.py", "pyproject.toml", "README.md", "LICENSE")
NO_TORCH = "import sys; sys.modules['torch'] = None; "


def tracked() -> set[str]:
    """The files of the checkout, or skips where this is none."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
    if listed is None or listed.returncode != 0:
        pytest.skip("needs a checkout and git")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in one that is made of a copy of the checkout, where there is no torch."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("made")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "csrc" / "cpu" / "left.o").touch()  # what a build leaves
    code = f"{NO_TORCH}import build_backend as backend; print('needs', backend.get_requires_for_build_sdist()); "
    code += f"backend.build_sdist({str(made)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs []\n" in done.stdout
    (archive,) = made.iterdir()
    with tarfile.open(archive) as files:
        return {file.name.partition("/")[2] for file in files.getmembers() if file.isfile()}


def test_the_source_distribution_holds_what_a_build_needs(source_distribution: set[str]) -> None:
    """Headers and CUDA sources, too, wherever it is made."""
    needed = {name for name in tracked() if name.startswith(("csrc/", "pointkernels/", "crosspoint/"))}
    assert any(name.endswith(".cuh") for name in needed)
    assert sorted((needed | set(BUILD_FILES)) - source_distribution) == []


def test_the_source_distribution_holds_nothing_that_is_not_tracked(source_distribution: set[str]) -> None:
    made = {name for name in source_distribution if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert sorted(source_distribution - tracked() - made) == []


def test_the_kernels_import_and_run_with_torch_alone() -> None:
    """As after `pip install --no-deps .`: no other dependency may be imported."""
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert listed is not None
    names = re.findall(r'"([a-z0-9_-]+)', listed[1])
    assert "h5py" in names
    modules = {"pillow": "PIL", "scikit-learn": "sklearn"}
    absent = [modules.get(name, name) for name in names if name != "torch"] + ["torch_geometric", "scipy"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import torch, pointkernels
from pointkernels.compat import dgcnn, pointnet2, pytorch3d, torch_cluster, torch_geometric
points = torch.rand(2, 50, 3, requires_grad=True)
distances, neighbors = pointkernels.knn(points, 5, return_distance=True)
pointkernels.nn.EdgeConv(3, 8, k=5)(points, neighbors).sum().backward()
print(tuple(neighbors.shape), points.grad.isfinite().all().item())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout == "(2, 50, 5) True\n", done.stderr


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, bool], Any]:
    """build_backend.py as it decides where setuptools lies in the interpreter's own folders or not, torch is or not."""

    def load(own: bool, torch_found: bool) -> Any:
        loaded = runpy.run_path(str(ROOT / "build_backend.py"))
        space = loaded["_missing_torch"].__globals__
        folder = "/own" if own else "/overlay"
        space["setuptools"] = SimpleNamespace(__file__=f"{folder}/setuptools/__init__.py")
        space["_own_folders"] = lambda: ["/own"]
        space["importlib"] = SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: torch_found or None))
        return loaded

    return load


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_no_second_torch_is_fetched(hook: str, backend: Callable[[bool, bool], Any]) -> None:
    """Pip's own isolation sees that its target has none; that of uv and build cannot see the target."""
    assert backend(False, True)[hook]() == backend(True, True)[hook]() == []
    assert backend(False, False)[hook]() == ["torch>=2.10"]
    with pytest.raises(SystemExit, match=r"must be built against the torch it is for.*--no-build-isolation.*--no-isol"):
        backend(True, False)[hook]()


def test_torch_is_looked_for_wherever_the_interpreter_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment may see the system's packages, and then the user's, which pip switches off in a build."""
    own_folders = runpy.run_path(str(ROOT / "build_backend.py"))["_own_folders"]
    monkeypatch.setattr(site, "getusersitepackages", lambda: "/home/packages")
    monkeypatch.setattr(site, "getsitepackages", lambda: ["/environment", "/system"])
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(site, "PREFIXES", ["/venv"])
    assert own_folders()[-2:] == ["/environment", "/system"]
    monkeypatch.setattr(site, "PREFIXES", ["/venv", "/usr"])
    assert own_folders()[-3:] == ["/environment", "/system", "/home/packages"]


def test_a_build_without_torch_says_what_is_missing(tmp_path: Path) -> None:
    code = f"{NO_TORCH}sys.argv = ['setup.py', 'build_ext', '-b', {str(tmp_path)!r}, '-t', {str(tmp_path)!r}]; "
    code += "import runpy; runpy.run_path('setup.py')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("building pointkernels needs torch 2.10 or later and pybind11, got: ")


def test_compiling_shows_a_line_a_file(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Also what children of the build print; everything that is not a finished file's command stays as it is."""
    monkeypatch.setattr(sys, "argv", ["setup.py", "--name"])
    monkeypatch.setenv("POINTKERNELS_CUDA", "0")
    monkeypatch.chdir(ROOT)
    built = runpy.run_path("setup.py")
    capfd.readouterr()
    lines = [
        f"[1/3] g++ -MMD -MF /t/knn.o.d -O3 -c {ROOT}/csrc/cpu/search/knn.cpp -o /t/knn.o -DX",
        f"[2/3] /cuda/bin/nvcc -O3 -c -c {ROOT}/csrc/cuda/knn.cu -o /t/knn.o",
        "knn.cpp:3: warning: [4/4] x -c y",
        "FAILED: /t/knn.o",
    ]
    with built["shown_progress"]():
        subprocess.run(["printf", "%s\n", *lines], check=True, stdout=1)
    shown = re.sub(r" \d+ s:", " 0 s:", capfd.readouterr().out).splitlines()
    assert shown == ["[1/3] 0 s: csrc/cpu/search/knn.cpp", "[2/3] 0 s: csrc/cuda/knn.cu", *lines[2:]]
