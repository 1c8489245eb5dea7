"""What the commands share: options, consoles, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.common.files import DEFAULT_RESULTS as DEFAULT_RESULTS

if TYPE_CHECKING:
    from rich.console import Console

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


def console() -> Console:
    """Standard output."""
    return _harmless(stderr=False)


def error_console() -> Console:
    """Standard error: progress and errors, so that results can be piped."""
    return _harmless(stderr=True)


def _harmless(stderr: bool) -> Console:
    """A console on which only Rich itself steers the terminal: whatever a text of a plugin, a
    file or a record holds, it is shown as letters or not at all."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from zsar_bench.common.names import plain_lines

    class Harmless(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else part._replace(text=plain_lines(part.text))

    return Harmless(stderr=stderr, highlight=False)


@contextmanager
def progress_bar(title: str, quiet: bool, at_once: bool = True) -> Iterator[tuple[Event, Say]]:
    """A bar on a terminal; sentences go above it.

    Args:
        title: in front of the bar.
        quiet: show neither.
        at_once: show the bar before there is an event; else there may be nothing to do.

    Yields:
        What hears ``{"step", "total"}``, and what says a sentence.
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
