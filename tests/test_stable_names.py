"""The check of names of torch's stable interface: red for what only later versions have, green for what we may use."""

from __future__ import annotations

from pathlib import Path

import check_stable_names
import pytest

OLDEST = set(check_stable_names.NAMES.read_text().split())
# What torch 2.13 has beyond that, as an installed one would show it.
INSTALLED = OLDEST | {"STABLE_TORCH_ERROR_CODE_CHECK", "torch_exception_get_what", "to_device_like"}


def faults(tmp_path: Path, text: str) -> list[str]:
    source = tmp_path / "source.cpp"
    source.write_text(text)
    found = check_stable_names.faults(source, OLDEST, INSTALLED)
    return [fault.removeprefix(f"{source}:").split(" must")[0] for fault in found]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &d));", "STABLE_TORCH_ERROR_CODE_CHECK"),
        ("const char* what = torch_exception_get_what();", "torch_exception_get_what"),
        ("auto moved = torch::stable::to_device_like(t);", "to_device_like"),
        ("auto moved = tensor.to_device_like(other);", "to_device_like"),
        ("using torch::headeronly::Float6;", "Float6"),
        ("const auto type = ScalarType::Float6;", "Float6"),
    ],
)
def test_names_of_later_versions_are_found(line: str, name: str, tmp_path: Path) -> None:
    assert faults(tmp_path, f"// first\n{line}\n") == [f"2: {name}"]


@pytest.mark.parametrize(
    "line",
    [
        "TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &d));",
        "const auto type = torch::headeronly::ScalarType::Float;",
        "work.to_device();  // STABLE_TORCH_ERROR_CODE_CHECK is of torch 2.13",
        'STD_TORCH_CHECK(ok, "no torch_exception_get_what here");',
        'extern "C" __attribute__((weak, visibility("default"))) int torch_newer(int);\nint n = torch_newer(1);',
    ],
)
def test_what_may_be_used_is_left_alone(line: str, tmp_path: Path) -> None:
    assert faults(tmp_path, line) == []


def test_our_sources_are_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["check_stable_names.py"])
    assert check_stable_names.main() == 0
    assert capsys.readouterr().out.endswith(" 0 names that torch 2.10 lacks\n")


def test_a_folder_without_headers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be torch's include folder, got one without torch/csrc/stable"):
        check_stable_names.interface(tmp_path)
