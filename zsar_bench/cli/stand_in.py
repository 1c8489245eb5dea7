"""Messages of commands about synthetic clips: before their use, and while they are made."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from zsar_bench.cli.common import error_console, progress_bar

if TYPE_CHECKING:
    from zsar_bench.common.events import Event
    from zsar_bench.data.clips.import_pool import Say
    from zsar_bench.plans.choose_data import DataChoice


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


def making(choice: DataChoice, quiet: bool) -> AbstractContextManager[tuple[Event, Say]]:
    """Progress of clips that are being made."""
    return progress_bar(f"making the clips of {choice.entry.name}", quiet, at_once=False)
