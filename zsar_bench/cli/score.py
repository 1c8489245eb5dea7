"""``zsar-bench score``: evaluate scores that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    ResultsOption,
    console,
    print_json,
    progress_bar,
)
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.records.run import Run


def score(
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Protocol of the test.")
    ],
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ids of clips, classes and one score each: .npz (ids, classes, scores), .csv (id, "
            "then a column a class), .json, or .safetensors as a run leaves it.",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name in tables; default: the file's.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the ids and classes to fill in, and stop."),
    ] = None,
    results: ResultsOption = DEFAULT_RESULTS,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Evaluate scores that were made elsewhere: kept as self-reported, never ranked with runs."""
    from zsar_bench.api.results import score_file, score_template

    if (scores is None) == (template is None):
        raise UserError(
            "Give either --scores FILE, to judge it, or --template FILE.csv, to get one to fill in."
        )
    plugins = plugin or ()
    with progress_bar("making the clips", quiet or json, at_once=False) as (on_event, _):
        if template is not None:
            whose, clips = score_template(
                template, protocol=protocol, plugins=plugins, on_event=on_event
            )
        else:
            assert scores is not None
            run = score_file(
                scores,
                protocol=protocol,
                method=method,
                results=results,
                plugins=plugins,
                on_event=on_event,
            )
    if template is None:
        _show(run, json)
        return
    console().print(
        f"{template}: {len(clips.ids)} clips, {len(clips.candidates)} classes. Fill it in, then "
        f"type: zsar-bench score --protocol {whose.id} --scores {template}",
        markup=False,
        soft_wrap=True,
    )


def _show(run: Run, json: bool) -> None:
    from zsar_bench.api.results import compare

    record, comparison = run.record, compare([run], published=False)
    if json:
        row = {
            "method": record.method.name,
            "run": run.id,
            "folder": str(run.folder),
            "status": "done",
            "origin": record.origin,
            "confinement": record.environment.confinement,
        }
        print_json(comparison.data | {"runs": [row]})
        return
    out = console()
    typer.echo(comparison.to_text(out.width, out.is_terminal), nl=False)
    out.print(
        f"self-reported, unconfined: only the scores were judged here. Kept in {run.folder}",
        markup=False,
        soft_wrap=True,
    )
