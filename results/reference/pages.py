"""Markdown for the pages of this folder: numbers, tables, and placeholders to fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

NOT_RUN = "*Not run yet.*"  #: in the place of a table that has no line


def percent(value: float) -> str:
    """A fraction in per cent."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.1f}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The text with ``<!-- name -->`` replaced by the table of this name.

    Raises:
        ValueError: if a table has no place, or more than one.
    """
    for name, drawn in tables.items():
        mark = f"<!-- {name} -->"
        if text.count(mark) != 1:
            raise ValueError(f"{text.count(mark)} places for '{name}'")
        text = text.replace(mark, drawn)
    return text
