"""Small pieces of HTML; everything that comes from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", text_columns: int = 1) -> str:
    """A table in a box of its own that scrolls sideways where the screen is narrow.

    Args:
        header: Names of the columns.
        rows: The cells; a row of a single cell is the heading of those below it.
        caption: What the table shows.
        text_columns: How many columns on the left are text; the others are numbers and stand at the right.
    """

    def cells(kind: str, values: Sequence[str]) -> str:
        parts = []
        for number, value in enumerate(values):
            attribute = "" if number < text_columns else ' class="number"'
            parts.append(f"<{kind}{attribute}>{escape(value)}</{kind}>")
        return f"<tr>{''.join(parts)}</tr>"

    head = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "".join(
        f'<tr><th class="group" colspan="{len(header)}">{escape(row[0])}</th></tr>'
        if len(row) == 1
        else cells("td", row)
        for row in rows
    )
    return f'<div class="scroll"><table>{head}<thead>{cells("th", header)}</thead><tbody>{body}</tbody></table></div>'


def picture(path: Path, description: str, *, chart: bool = True, wide: bool = False) -> str:
    """An embedded PNG with its description below.

    Args:
        path: The PNG.
        description: Caption and alternative text.
        chart: Whether dark mode may invert it, as charts but not photographs allow.
        wide: Whether it scrolls sideways on narrow screens instead of shrinking to what nobody can read.
    """
    data = base64.b64encode(path.read_bytes()).decode()
    kinds = " ".join([*(["chart"] if chart else []), *(["wide"] if wide else [])])
    image = f'<img class="{kinds}" src="data:image/png;base64,{data}" alt="{escape(description, quote=True)}">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{escape(description)}</figcaption></figure>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{f' class={kind!r}' if kind else ''}>{escape(text)}</p>"


def section(title: str, identifier: str, *content: str, level: int = 3) -> str:
    """A heading and what belongs under it; nothing at all where there is no content."""
    body = "\n".join(part for part in content if part)
    if not body:
        return ""
    heading = f"<h{level}>{escape(title)}</h{level}>"
    return f'<section id="{escape(identifier, quote=True)}">{heading}\n{body}</section>'


def fold(summary: str, content: str) -> str:
    """Content that is shown on request."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
