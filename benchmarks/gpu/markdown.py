"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpu import alternatives, ncu
from gpu.constants import CONSTANTS
from gpu.findings import Report


def digits(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one."""
    # A bar in a cell would end it.
    body = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body, ""]


def microseconds(spread: Sequence[float] | None) -> str:
    """The median of a (lower, median, upper) of seconds."""
    return "" if spread is None else digits(spread[1] * 1e6)


def _times(seconds: Sequence[float] | None, by: float | None) -> str:
    return "" if seconds is None or not by else f"{digits(seconds[1] / by)}x"


def _parts(report: Report) -> list[str]:
    several = len({f.made for f in report.findings if f.status != "skipped"}) > 1
    rows = [
        [f.part, f.status, f"{f.seconds:.0f}", *([f.made] if several else []), f.note[:300]] for f in report.findings
    ]
    return table(["part", "status", "s", *(["made"] if several else []), "remarks"], rows)


def _constants(found: dict[str, Any]) -> list[str]:
    rows = [[c.what, f"{digits(found[c.name] * c.scale)} {c.unit}"] for c in CONSTANTS if found.get(c.name)]
    return ["## The machine", "", *table(["constant", "measured"], rows)] if rows else []


def _alternatives(found: dict[str, Any]) -> list[str]:
    rows = alternatives.rows(found)
    return ["## Prototypes side by side", "", *table(["", "way", "us", "/ fastest"], rows)] if rows else []


def _suite(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    lines = [f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped."]
    return ["## Tests", "", *lines, *(f"- {name}" for name in found["failures"]), ""]


def _sanitizer(found: dict[str, Any]) -> list[str]:
    rows = [[tool, outcome["status"], str(len(outcome["errors"])), outcome["note"]] for tool, outcome in found.items()]
    return ["## compute-sanitizer", "", *table(["tool", "status", "errors", "remarks"], rows)] if rows else []


def _operators(title: str, found: dict[str, Any]) -> list[str]:
    rows = []
    for case in found.get("cases", []):
        remarks = "; ".join(filter(None, [case.get("error", ""), case.get("note", "")]))
        if not case["rows"]:
            rows.append([case["case"], "", "", "", "", "", "", "", remarks])
        ours = next((row for row in case["rows"] if row["ours"]), {})
        for row in case["rows"]:
            device = row.get("device")
            fault = "" if row["status"] == "ok" else f"{row['status']}: "
            rows.append([
                case["case"],
                row["contender"],
                microseconds(row.get("call")),
                microseconds(device),
                _times(row.get("call"), ours["call"][1] if "call" in ours else None),
                _times(device, ours["device"][1] if "device" in ours else None),
                f"{digits(case['floor'] * 1e6)} ({case['floor_by']})" if row is ours else "",
                _times(device or row.get("call"), case["floor"]) if row is ours else "",
                "; ".join(filter(None, [fault + row["note"], remarks if row is ours else ""])),
            ])  # fmt: skip
    head = ["case", "", "call us", "device us", "call / ours", "device / ours", "floor us", "of floor", "remarks"]
    return [f"## {title}", "", *table(head, rows)] if rows else []


def _of_device_time(case: dict[str, Any], operators: dict[str, Any]) -> str:
    """The kernels' share of the operator's own time on the device: the rest lies between them."""
    timed = next((other for other in operators.get("cases", []) if other["case"] == case["case"]), {"rows": []})
    device = next((row["device"][1] for row in timed["rows"] if row["ours"] and row.get("device")), None)
    if not device or case.get("note"):
        return ""
    return f"{case['microseconds'] / (device * 1e6):.0%} of the {digits(device * 1e6)} us of the graph"


def _kernels(found: dict[str, Any], operators: dict[str, Any]) -> list[str]:
    rows = []
    for case in found.get("cases", []):
        remarks = "; ".join(filter(None, [case.get("error", ""), case.get("note", "")]))
        if "launches" in case:
            remarks = "; ".join(filter(None, [remarks, _of_device_time(case, operators)]))
            rows.append(
                [case["case"], f"{case['launches']:g} launches", digits(case["microseconds"]), "", "", "", remarks]
            )
        else:
            rows.append([case["case"], "", "", "", "", "", remarks])
        for kernel in case.get("kernels", []):
            shape = " x ".join(str(kernel[side]) for side in ("grid", "block") if kernel[side])
            numbers = [str(kernel[what] or "") for what in ("registers", "shared")]
            times = "" if kernel["times"] == 1 else f"{kernel['times']:g} times"
            rows.append(["", kernel["name"], digits(kernel["microseconds"]), shape, *numbers, times])
    head = ["case", "kernel", "us", "grid x block", "registers", "shared bytes", "remarks"]
    return ["## Kernels", "", *table(head, rows)] if rows else []


def _counters(found: dict[str, Any]) -> list[str]:
    rows = [
        [kernel["name"], *(digits(kernel[metric]) if metric in kernel else "" for metric in ncu.METRICS)]
        for kernel in found.get("kernels", [])
    ]
    head = ["kernel", *(what for what in ncu.METRICS.values())]
    return ["## Hardware counters", "", *table(head, rows)] if rows else []


def _training(found: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for case in found.get("cases", []):
        if not case["rows"]:
            lines += ["## A training step of DGCNN", "", case.get("error", case.get("note", "")), ""]
            continue
        first = case["rows"][0]["call"][1]
        rows = [
            [
                row["contender"],
                microseconds(row["call"]),
                f"{digits(row['call'][1] / first)}x",
                digits(row["peak_memory"] / 1e6) if "peak_memory" in row else "",
            ]
            for row in case["rows"]
        ]
        lines += ["## A training step of DGCNN", "", case["shape"], ""]
        lines += table(["layers", "us", "/ ours", "peak MB"], rows)
    return lines


def render(report: Report) -> str:
    """The whole report."""
    about = "\n".join(f"- {name}: {value}" for name, value in report.environment.items() if value)
    lines = ["# GPU report", "", about, "", *_parts(report)]
    lines += _constants(report.found("machine"))
    lines += _alternatives(report.found("alternatives"))
    lines += _suite(report.found("suite"))
    lines += _sanitizer(report.found("sanitizer"))
    lines += _kernels(report.found("kernels"), report.found("operators"))
    lines += _counters(report.found("ncu"))
    lines += _operators("Operators", report.found("operators"))
    lines += _operators("Against torch.compile", report.found("compiled"))
    lines += _training(report.found("training"))
    return "\n".join(lines).rstrip() + "\n"
