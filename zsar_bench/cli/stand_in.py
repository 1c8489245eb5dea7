"""What the command line says of synthetic clips: before they are used, and while they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zsar_bench.cli.common import console, error_console

if TYPE_CHECKING:
    from zsar_bench.data_choice import DataChoice


def announce(choice: DataChoice) -> None:
    """A panel: what is missing, what runs instead, what it is worth, how to get the real thing."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    spec, real = choice.entry.spec, choice.protocol.stand_in_for
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    if choice.reason == "named":
        rows.add_row("asked for", Text("synthetic clips"))
    else:
        title = choice.missing.spec["title"] if choice.missing else "the data set"
        rows.add_row("missing", Text(f"{title} ({real}) is not imported on this machine"))
    rows.add_row("instead", Text(f"{spec['title']}, as protocol {choice.protocol.id}"))
    rows.add_row(
        "worth",
        Text(
            f"every number below is SYNTHETIC. It shows that things work and how methods "
            f"behave; it says nothing about {real} and is never shown beside published numbers."
        ),
    )
    if choice.missing is None:
        rows.add_row("real data", Text(f"zsar-bench cannot read the files of {real} yet"))
    else:
        name = choice.missing.name
        rows.add_row("real data", Text(" ".join(choice.missing.spec["how_to_get"].split())))
        rows.add_row("then type", Text(f"zsar-bench data import {name} PATH"))
        rows.add_row("", Text("and the same command again (--data real refuses stand-ins)"))
    title = "[bold]Synthetic stand-in[/]"
    error_console().print(Panel(rows, title=title, border_style="yellow", expand=False))


def not_yet_made(choice: DataChoice, dials: Iterable[str]) -> bool:
    """Whether a dry run must stop because clips have not been made; says so."""
    from zsar_bench.data_choice import parse_dials, variants
    from zsar_bench.datasets import prepared
    from zsar_bench.importer import store_name

    if not choice.synthetic:
        return False
    there = prepared()
    for _, params in variants(choice, 0, parse_dials(dials, choice)):
        if store_name(choice.entry, params) not in there:
            words = "".join(f" --set {name}={value:g}" for name, value in params.items())
            console().print(
                "Clips have to be made first, which writes to the store. Type: "
                f"zsar-bench data import {choice.entry.name}{words}",
                markup=False,
                soft_wrap=True,
            )
            return True
    return False


@contextmanager
def making(choice: DataChoice, quiet: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar for clips that are being made; appears with the first event."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    text = TextColumn(f"making the clips of {choice.entry.name}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=error_console(), disable=quiet, transient=True)
    task = progress.add_task("make", total=None)
    started = False

    def hear(event: dict[str, Any]) -> None:
        nonlocal started
        if not started:
            progress.start()
            started = True
        progress.update(task, completed=event["step"], total=event["total"])

    try:
        yield hear
    finally:
        progress.stop()
