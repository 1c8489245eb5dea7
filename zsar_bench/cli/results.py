"""``zsar-bench results``: runs of other machines, and whether runs are what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, ResultsOption, console, print_json
from zsar_bench.common.files import DEFAULT_RESULTS

if TYPE_CHECKING:
    from zsar_bench.verify.transfer import Verdict

app = typer.Typer(help="Take over and verify stored runs.", no_args_is_help=True)


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run's folder, a tree of them, or a zip of it.")
    ],
    results: ResultsOption = DEFAULT_RESULTS,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Take over runs of another machine, if every number follows from their predictions."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.verify.transfer import import_runs

    catalogue = load(plugin or ())
    _tell(import_runs(path.expanduser(), results.expanduser().absolute(), catalogue), json)


@app.command("check")
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder; it holds 'runs'.")
    ] = DEFAULT_RESULTS,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Verify stored runs in place: seals, ids, labels, and every number anew."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.verify.transfer import check_runs

    catalogue = load(plugin or ())
    _tell(check_runs(folder.expanduser().absolute(), catalogue), json)


def _tell(verdicts: Iterable[Verdict], json: bool) -> None:
    """A line a run, and the count; exit code 1 if any was refused."""
    from dataclasses import asdict

    from rich.text import Text

    told, out = [], console()
    for verdict in verdicts:
        told.append(verdict)
        if json:
            continue
        style = "bold red" if verdict.status == "refused" else ""
        line = Text.assemble((verdict.status, style), f" {verdict.source}: {verdict.about}")
        out.print(line, soft_wrap=True)
    if json:
        print_json([asdict(verdict) for verdict in told])
    else:
        counts = {v.status: sum(one.status == v.status for one in told) for v in told}
        notes = Counter(note for verdict in told for note in verdict.notes)
        for note, count in sorted(notes.items()):
            out.print(Text(f"{count} runs: {note}", style="dim"), soft_wrap=True)
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        out.print(f"{len(told)} runs: {said}.", markup=False)
    if any(verdict.status == "refused" for verdict in told):
        raise typer.Exit(1)
