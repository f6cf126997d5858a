"""Who may import or include whom (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Layer of each module by the longest prefix that matches: a module imports from lower layers or from its own package.
POINTKERNELS = {
    "pointkernels._C": -1, "pointkernels._library": 0, "pointkernels._transforms": 1, "pointkernels._registration": 2,
    "pointkernels.reference": 0, "pointkernels._checks": 2, "pointkernels._batch": 3, "pointkernels.ops": 4,
    "pointkernels.nn": 5, "pointkernels.compat": 5, "pointkernels.__main__": 7, "pointkernels": 6,
}  # fmt: skip
CROSSPOINT = {
    "crosspoint.config": 0, "crosspoint.data": 1, "crosspoint.models": 1, "crosspoint.losses": 1,
    "crosspoint.engine": 2, "crosspoint.command": 3, "crosspoint.checkpoints": 4, "crosspoint.evaluation": 5,
    "crosspoint.pretraining": 6, "crosspoint.alignment": 6, "crosspoint.selftraining": 7, "crosspoint.reporting": 7,
    "crosspoint.train": 8, "crosspoint.align": 8, "crosspoint.selftrain": 8, "crosspoint.evaluate": 8,
    "crosspoint.report": 8, "crosspoint": 0,
}  # fmt: skip

DATA = {
    "crosspoint.data.sample": 0, "crosspoint.data.cache": 0, "crosspoint.data.keys": 1, "crosspoint.data.mesh": 1,
    "crosspoint.data.augment": 2, "crosspoint.data.rendering": 2, "crosspoint.data.files": 3,
    "crosspoint.data.shapes": 3, "crosspoint.data.datasets": 4, "crosspoint.data.labelled": 5,
    "crosspoint.data.pairs": 5, "crosspoint.data.survey": 5, "crosspoint.data.__main__": 6, "crosspoint.data": 7,
}  # fmt: skip
# Folders of csrc/cpu: a file includes files of lower ones or of its own.
CPU = {
    "memory": 0, "threads": 0, "simd": 0, "linear": 1, "graph": 1, "search": 2, "edge_conv": 2, "sampling": 3,
    "builds": 4,
}  # fmt: skip


def layer_of(module: str, layers: dict[str, int]) -> tuple[str, int]:
    prefix = max((name for name in layers if module == name or module.startswith(name + ".")), key=len)
    return prefix, layers[prefix]


def imports() -> Iterator[tuple[str, str]]:
    for path in sorted([*(ROOT / "pointkernels").rglob("*.py"), *(ROOT / "crosspoint").rglob("*.py")]):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: relative import"
                source = node.module or ""
                for alias in node.names:
                    child = ROOT / Path(*source.split(".")) / alias.name
                    is_module = (
                        child.is_dir() or child.with_suffix(".py").exists() or child.with_suffix(".pyi").exists()
                    )
                    yield module, f"{source}.{alias.name}" if is_module else source


@pytest.mark.parametrize(
    ("package", "layers"),
    [("pointkernels", POINTKERNELS), ("crosspoint", CROSSPOINT), ("crosspoint.data", DATA)],
)
def test_imports_go_down(package: str, layers: dict[str, int]) -> None:
    checked = 0
    for module, imported in imports():
        if not all(f"{name}.".startswith(f"{package}.") for name in (module, imported)):
            continue
        (own, own_layer), (other, other_layer) = layer_of(module, layers), layer_of(imported, layers)
        assert other_layer < own_layer or own == other, f"{module} must not import {imported}"
        checked += 1
    assert checked > 5


def test_crosspoint_reaches_the_kernels_in_two_places_only() -> None:
    users = {module for module, imported in imports() if imported.split(".")[0] == "pointkernels"}
    assert not any(module.startswith("crosspoint") for module, imported in imports() if module in users and
                   module.split(".")[0] == "crosspoint" and module.split(".")[1] not in ("data", "models"))  # fmt: skip
    assert not any(imported.startswith("crosspoint") for module, imported in imports() if module.startswith("pointk"))


def test_importing_the_kernels_needs_torch_alone() -> None:
    code = (
        "import sys, torch; before = {m.split('.')[0] for m in sys.modules}; import pointkernels; "
        "print(sorted({m.split('.')[0] for m in sys.modules} - before - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(result.stdout)) <= {"pointkernels", "__editable___pointkernels_finder"}


def test_cpp_layers() -> None:
    files = [p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".cpp", ".h", ".cu", ".cuh")]
    assert len(files) > 10
    for path in files:
        folder = path.relative_to(ROOT / "csrc").parts[0]
        included = re.findall(r'#include [<"](.+)[>"]', path.read_text())
        for header in included:
            assert not re.match(r"ATen|c10|torch/(extension|torch|all)\.h", header), f"{path.name} includes {header}"
            assert not header.startswith("pybind11") or path.name == "module.cpp", f"{path.name} includes {header}"
            assert not (folder == "cpu" and "cuda/" in header), f"{path.name} includes {header}"
            assert not (folder == "cuda" and "cpu/" in header), f"{path.name} includes {header}"
            assert "emulation/" not in header, f"{path.name} includes {header}"
            assert not (path.suffix in (".cu", ".cuh") and header.startswith("torch/")), (
                f"{path.name} includes {header}"
            )


def test_includes_of_the_cpu_go_down() -> None:
    cpu = ROOT / "csrc" / "cpu"
    files = [p for p in cpu.rglob("*") if p.suffix in (".cpp", ".h")]
    assert {path.relative_to(cpu).parts[0] for path in files} == set(CPU)
    for path in files:
        for header in re.findall(r'#include "(.+)"', path.read_text()):
            included = (path.parent / header).resolve()
            assert included.is_file(), f"{path.name} includes {header}"
            own, other = (file.relative_to(ROOT / "csrc").parts[:2] for file in (path, included))
            assert other[0] == "common" or own == other or CPU[other[1]] < CPU[own[1]], f"{path.name} includes {header}"


def test_assembly_stands_in_one_file() -> None:
    for path in (ROOT / "csrc").rglob("*.cu*"):
        if path.name != "arch.cuh":
            assert not re.search(r"\basm\b", path.read_text()), f"{path.name} contains inline assembly"
