"""GitHub-flavoured Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zsar_bench.reporters import blocks as unranked
from zsar_bench.reporters import wording


def report(comparison: dict[str, Any], *, width: int, color: bool) -> str:
    """One heading, table and caption a section; ``width`` and ``color`` have no effect."""
    blocks = []
    for section in comparison["sections"]:
        headings, cells, _ = wording.grid(section)
        for row, by_heading in zip(section["rows"], cells, strict=True):
            if row["best"]:
                by_heading["micro"] = f"**{by_heading['micro']}**"
        blocks.append(f"### {_safe(wording.title(section))}")
        blocks.append(_table(headings, [[c[h] for h in headings] for c in cells]))
        blocks.append(_caption(wording.caption(section)))
    for block in unranked.blocks(comparison):
        rows = [list(row) for row in block.rows]
        if block.best is not None:
            micro = block.headings.index("micro")
            rows[block.best][micro] = f"**{rows[block.best][micro]}**"
        blocks += [f"### {_safe(block.title)}", _table(block.headings, rows)]
        blocks.append(_caption(block.caption))
    if comparison["published"]:
        blocks.append("### Published, for reference only")
        rows = [wording.published_cells(row) for row in comparison["published"]]
        blocks.append(_table(wording.PUBLISHED_HEADINGS, rows))
        blocks.append(wording.PUBLISHED_NOTE)
        blocks.append("\n".join(f"- {_safe(r)}" for r in remarks(comparison["published"])))
    return "\n\n".join(b for b in blocks if b) + "\n"


def remarks(published: Sequence[dict[str, Any]]) -> list[str]:
    """Every remark once, with the methods and protocols it is about."""
    about: dict[str, list[dict[str, Any]]] = {}
    for row in published:
        for remark in row.get("remarks", ()):
            about.setdefault(remark, []).append(row)
    return [
        wording.plain(f"{_each(rows, 'method')} ({_each(rows, 'protocol')}): {remark}")
        for remark, rows in about.items()
    ]


def _each(rows: Sequence[dict[str, Any]], field: str) -> str:
    return ", ".join(dict.fromkeys(row[field] for row in rows))


def _caption(lines: Sequence[str]) -> str:
    return "\n".join(f"{_safe(line)}  " for line in lines).rstrip()


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_safe(cell) for cell in line)} |" for line in lines)


def _safe(text: str) -> str:
    """Names come from plugins: they may not end a cell or a line."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
