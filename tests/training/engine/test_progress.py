import io

from rich.console import Console

from crosspoint.engine.progress import TrainingProgress


def shown(*, terminal: bool, start: int = 0) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with TrainingProgress(console, 40, start) as progress:
        for step in range(start + 1, 41):
            progress.update(step, 1.25, 31.5)
    return file.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    text = shown(terminal=True)
    for words in ("40/40", "loss 1.250", "31.5 objects/s", "left"):
        assert words in text


def test_anything_else_gets_ten_lines() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 10
    assert lines[0] == "step 4 of 40: loss 1.250, 31.5 objects/s"
    assert lines[-1] == "step 40 of 40: loss 1.250, 31.5 objects/s"


def test_a_resumed_run_does_not_repeat_lines() -> None:
    assert [line.split()[1] for line in shown(terminal=False, start=30).splitlines()] == ["32", "36", "40"]
