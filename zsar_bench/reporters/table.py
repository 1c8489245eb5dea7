"""Tables for the terminal, drawn with Rich."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from zsar_bench.reporters import words
from zsar_bench.reporters.blocks import Block, blocks
from zsar_bench.reporters.markdown import remarks

#: Columns left out first in a narrow terminal, in this order; none describes a row.
EXPENDABLE = ("time", "sd meth", "sd enc", "> chance")
RIGHT = (
    *(words.TOP1, words.MEAN_CLASS, "sd enc", "sd meth", "n", "seeds", "time", "95 % interval"),
    *("draws", "own texts", "splits", "sd", "range", "at", "vs last"),
    *("S", "U", "H", "AUSUC", "best H (oracle)"),  # beside the ranked tables
)


def report(comparison: dict[str, Any], *, width: int, color: bool) -> str:
    """The sections as tables of at most ``width`` columns, with or without colour."""
    out = StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, no_color=not color, highlight=False
    )
    console.print(render(comparison, width))
    return out.getvalue()


def render(comparison: dict[str, Any], width: int) -> RenderableType:
    """The same as a renderable, for a live display."""
    parts: list[RenderableType] = []
    for section in comparison["sections"]:
        parts += [_section(section, width), *_lines(words.caption(section)), Text()]
    for block in blocks(comparison):
        parts += [_block(block), *_lines(block.caption), Text()]
    if comparison["published"]:
        parts += [_published(comparison["published"]), *_lines([words.PUBLISHED_NOTE])]
        parts += _lines([f"- {r}" for r in remarks(comparison["published"])])
    return Group(*parts)


def _lines(texts: list[str]) -> list[Text]:
    return [Text(t, style="dim") for t in texts]


def _section(section: dict[str, Any], width: int) -> Table:
    headings, rows, _ = words.grid(section)
    headings = _fitting(headings, rows, width)
    title = Text(words.title(section), style="bold")
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in RIGHT else "left", overflow="fold")
    for row, cells in zip(section["rows"], rows, strict=True):
        style = "bold" if row["best"] else ""
        table.add_row(*(Text(cells[h], style=style) for h in headings))
    return table


def _block(block: Block) -> Table:
    table = Table(title=Text(block.title, style="bold"), title_justify="left")
    for heading in block.headings:
        table.add_column(heading, justify="right" if _right(heading) else "left", overflow="fold")
    for number, row in enumerate(block.rows):
        style = "bold" if number == block.best else ""
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def _right(heading: str) -> bool:
    return heading in RIGHT or heading.startswith("E=")


def _fitting(headings: list[str], rows: list[dict[str, str]], width: int) -> list[str]:
    """The headings that fit into ``width``, expendable ones dropped in order."""
    shown = list(headings)
    for heading in EXPENDABLE:
        if sum(max(len(h), *(len(r[h]) for r in rows)) + 3 for h in shown) + 1 <= width:
            break
        if heading in shown:
            shown.remove(heading)
    return shown


def _published(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Published, for reference only", title_justify="left", title_style="italic dim"
    )
    for heading in words.PUBLISHED_HEADINGS:
        table.add_column(heading, style="dim", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in words.published_cells(row)))
    return table
