"""GitHub-flavoured Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zsar_bench.common import names
from zsar_bench.reporters import blocks as unranked
from zsar_bench.reporters import words


class _Bold(str):
    """The text of a cell that is printed bold."""

    __slots__ = ()


def report(comparison: dict[str, Any], *, width: int, color: bool) -> str:
    """One heading, table and caption per section; ``width`` and ``color`` have no effect."""
    blocks = []
    for section in comparison["sections"]:
        headings, cells, _ = words.grid(section)
        for row, by_heading in zip(section["rows"], cells, strict=True):
            if row["best"]:
                by_heading[words.TOP1] = _Bold(by_heading[words.TOP1])
        blocks.append(f"### {names.markdown(words.title(section))}")
        blocks.append(_table(headings, [[c[h] for h in headings] for c in cells]))
        blocks.append(_caption(words.caption(section)))
    for block in unranked.blocks(comparison):
        rows = [list(row) for row in block.rows]
        if block.best is not None:
            top1 = block.headings.index(words.TOP1)
            rows[block.best][top1] = _Bold(rows[block.best][top1])
        blocks += [f"### {names.markdown(block.title)}", _table(block.headings, rows)]
        blocks.append(_caption(block.caption))
    if comparison["published"]:
        blocks.append("### Published, for reference only")
        rows = [words.published_cells(row) for row in comparison["published"]]
        blocks.append(_table(words.PUBLISHED_HEADINGS, rows))
        blocks.append(words.PUBLISHED_NOTE)
        blocks.append("\n".join(f"- {names.markdown(r)}" for r in remarks(comparison["published"])))
    return "\n\n".join(b for b in blocks if b) + "\n"


def remarks(published: Sequence[dict[str, Any]]) -> list[str]:
    """Every remark once, with its methods and protocols."""
    by_remark: dict[str, list[dict[str, Any]]] = {}
    for row in published:
        for remark in row.get("remarks", ()):
            by_remark.setdefault(remark, []).append(row)
    return [
        names.plain(f"{_joined(rows, 'method')} ({_joined(rows, 'protocol')}): {remark}")
        for remark, rows in by_remark.items()
    ]


def _joined(rows: Sequence[dict[str, Any]], field: str) -> str:
    return ", ".join(dict.fromkeys(row[field] for row in rows))


def _caption(lines: Sequence[str]) -> str:
    return "\n".join(f"{names.markdown(line)}  " for line in lines).rstrip()


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """A cell's text, escaped because it is untrusted; bold only for ``_Bold``."""
    shown = names.markdown(text)
    return f"**{shown}**" if isinstance(text, _Bold) else shown
