"""``zsar-bench results``: runs of other machines, and verification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, ResultsOption, console, print_json
from zsar_bench.common.files import DEFAULT_RESULTS

if TYPE_CHECKING:
    from zsar_bench.verification.transfer import Verdict

ResultsFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A results folder; it holds 'runs'.")
]

app = typer.Typer(help="Take over, verify and clean up stored runs.", no_args_is_help=True)


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
    from zsar_bench.api.results import import_results

    _show(import_results(path, results, plugin or (), None if json else _line), json)


@app.command("check")
def check(
    folder: ResultsFolder = DEFAULT_RESULTS,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Verify stored runs in place: seals, ids, labels, and every number anew."""
    from zsar_bench.api.results import verify

    _show(verify(folder, plugin or (), None if json else _line), json)


@app.command("clean")
def clean(folder: ResultsFolder = DEFAULT_RESULTS, json: JsonOption = False) -> None:
    """Delete what runs that failed or were interrupted have left; finished runs stay."""
    from zsar_bench.api.results import clean_results

    cleaned = clean_results(folder)
    if json:
        print_json(vars(cleaned))
        return
    text = f"{cleaned.stages} pieces of unfinished work deleted, {cleaned.megabytes:.1f} MB."
    text += f" {cleaned.in_use} are in use and stay." if cleaned.in_use else ""
    console().print(text, markup=False)


def _line(verdict: Verdict) -> None:
    """A line a run, as soon as it was checked."""
    from rich.text import Text

    style = "bold red" if verdict.status == "refused" else ""
    line = Text.assemble((verdict.status, style), f" {verdict.source}: {verdict.about}")
    console().print(line, soft_wrap=True)


def _show(verdicts: Sequence[Verdict], json: bool) -> None:
    """The count; exit code 1 if any was refused."""
    from dataclasses import asdict

    from rich.text import Text

    out = console()
    if json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        notes = Counter(note for verdict in verdicts for note in verdict.notes)
        for note, count in sorted(notes.items()):
            out.print(Text(f"{count} runs: {note}", style="dim"), soft_wrap=True)
        counts = Counter(verdict.status for verdict in verdicts)
        text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        out.print(f"{len(verdicts)} runs: {text}.", markup=False)
    if any(verdict.status == "refused" for verdict in verdicts):
        raise typer.Exit(1)
