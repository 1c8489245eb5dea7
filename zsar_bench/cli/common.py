"""Shared parts of commands: options, consoles, tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.common.files import DEFAULT_RESULTS as DEFAULT_RESULTS
from zsar_bench.reporters.terminal import console as console
from zsar_bench.reporters.terminal import error_console as error_console

if TYPE_CHECKING:
    from zsar_bench.common.events import Event
    from zsar_bench.data.clips.import_pool import Say

PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE.py", help="Also load this plugin file (repeatable)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print results only, no progress.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where runs are stored.")
]


def parameters(assignments: Iterable[str] | None) -> dict[str, str]:
    """``--set [NAME.]KEY=VALUE`` as the API's ``params``; of two of one name the last counts.

    Raises:
        UserError: for what is no assignment.
    """
    from zsar_bench.catalogue.settings import Assignment

    given = [Assignment.parse(text) for text in assignments or ()]
    return {f"{a.owner}.{a.key}" if a.owner else a.key: a.text for a in given}


def fields(text: str | None) -> tuple[str, ...] | None:
    """``A,B`` as names."""
    return tuple(name.strip() for name in text.split(",")) if text else None


@contextmanager
def progress_bar(title: str, quiet: bool, at_once: bool = True) -> Iterator[tuple[Event, Say]]:
    """A bar on a terminal; sentences go above it.

    Args:
        title: in front of the bar.
        quiet: show neither.
        at_once: show the bar before there is an event; else there may be nothing to do.

    Yields:
        Functions that take ``{"step", "total"}`` and a sentence.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    out = error_console()
    hidden = quiet or not out.is_terminal
    bars = Progress(*columns, console=out, disable=hidden, transient=True)
    bar = bars.add_task(title, total=None)
    if at_once:
        bars.start()

    def on_event(event: dict[str, Any]) -> None:
        bars.start()  # once; again does nothing
        bars.update(bar, completed=event["step"], total=event["total"])

    def say(message: str) -> None:
        if not quiet:
            out.print(message, markup=False, soft_wrap=True)

    try:
        yield on_event, say
    finally:
        bars.stop()


def print_json(value: Any) -> None:
    """Print JSON, one document."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True))


def print_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    expendable: Sequence[str] = (),
) -> None:
    """Print a table; cells are shown literally.

    Args:
        title: above the table.
        headings, rows: its cells.
        expendable: headings left out, in this order, where the terminal is too narrow for
            every column but the last to stay on one line.
    """
    from rich.table import Table
    from rich.text import Text

    out = console()
    cells = [[str(cell) for cell in row] for row in rows]
    widths = {h: max([len(h), *(len(r[i]) for r in cells)]) for i, h in enumerate(headings)}
    widths[headings[-1]] = min(widths[headings[-1]], 30)
    shown = list(headings)
    for heading in expendable:
        if sum(widths[h] + 3 for h in shown) + 1 <= out.width:
            break
        if heading in shown:
            shown.remove(heading)
    fits = sum(widths[h] + 3 for h in shown) + 1 <= out.width
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for heading in shown:
        table.add_column(heading, overflow="fold", no_wrap=fits and heading != shown[-1])
    for row in cells:
        table.add_row(*(Text(row[headings.index(h)]) for h in shown))
    out.print(table)
