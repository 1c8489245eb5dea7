"""One table beside the ranked ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zsar_bench.names import plain
from zsar_bench.reporters.wording import all_rows, shared

#: What a row is about. Said once below the table where all rows agree.
ABOUT = ("profile", "encoder", "texts", "fields", "text encoder", "rule", "on", "confined")


@dataclass(frozen=True)
class Block:
    """A table with its headline and what to say below it; all of it printable."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    caption: list[str]
    best: int | None = None  #: row to print bold


def make_block(
    title: str, rows: list[dict[str, str]], caption: Iterable[str], keep: str = ""
) -> Block:
    """A block of rows of equal headings; what all rows share moves into the caption, but for the
    heading ``keep``."""
    common = shared(rows, [h for h in ABOUT if h in rows[0] and h != keep])
    headings = [h for h in rows[0] if h not in common]
    return Block(
        title=plain(title),
        headings=headings,
        rows=[[plain(r[h]) for h in headings] for r in rows],
        caption=[plain(line) for line in (*all_rows(common), *caption)],
    )
