"""``zsar-bench features``: export what an encoder has learned, list what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    console,
    error_console,
    parameters,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from zsar_bench.api.features import PlannedExport
    from zsar_bench.features.encoders import EncoderPlan

app = typer.Typer(help="Export skeleton features, list those that are kept.", no_args_is_help=True)


@app.command("export")
def export(
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Protocol of the encoder.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")],
    layout: Annotated[
        str, typer.Option(help="npy (a folder of .npy files) or npz (one file).")
    ] = "npy",
    skeleton_encoder: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the encoder.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the encoder (repeatable)."),
    ] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="paper, laptop.")] = None,
    data: Annotated[
        str, typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a worker.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train the encoder of a protocol, or take it from the cache, and write its features."""
    from zsar_bench.api.features import plan_export
    from zsar_bench.api.requests import data_of, make_request
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.cli.stand_in import announce, making
    from zsar_bench.features.export import check_target

    silent = quiet or json
    out = out.expanduser().absolute()
    check_target(out, layout, force)
    catalogue = load(plugin or ())
    request = make_request(
        (),
        protocol,
        seeds=seed,
        skeleton_encoder=skeleton_encoder,
        params=parameters(set_),
        profile=profile,
        data=data,
        device=device,
        threads=threads,
        results=out,
    )
    choice = data_of(request, catalogue)
    if choice.synthetic and not silent:
        announce(choice)
    with making(choice, silent) as (on_event, _):
        planned = plan_export(request, catalogue, on_event)
    content = _write(planned, out, layout, silent)
    if json:
        print_json({"folder": str(out), **content})
        return
    for what, value, reason in planned.choices:
        console().print(f"{what}: {value} ({reason})", style="dim", markup=False)
    for part in content["rounds"]:
        counts = ", ".join(f"{name} {clips['count']}" for name, clips in part["clips"].items())
        line = f"{part['round']}: {counts} clips, {part['channels']} channels"
        console().print(f"{line}, hash {part['hash'][:12]}", markup=False, highlight=False)
    console().print(f"Written: {out}", markup=False, soft_wrap=True)


def _write(planned: PlannedExport, out: Path, layout: str, quiet: bool) -> dict[str, Any]:
    """Train what is not in the cache and write the features, with a bar an encoder."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from zsar_bench.reporters.words import seconds

    if planned.seconds >= 60 and not quiet:
        left = seconds(planned.seconds)
        text = f"Training takes about {left} (a first guess); stop it whenever you like."
        error_console().print(text, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=error_console(), disable=quiet, transient=True)
    bars: dict[str, TaskID] = {}
    with shown as progress:

        def report(plan: EncoderPlan, event: dict[str, Any]) -> None:
            if plan.title not in bars:
                bars[plan.title] = progress.add_task(plan.title, total=None)
            progress.update(
                bars[plan.title],
                description=f"{plan.title}: {event.get('stage', '')}",
                completed=event.get("step", 0),
                total=event.get("total"),
            )

        return planned.write(out, layout, report)


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the trained encoders and the released features that are kept."""
    from zsar_bench.api.features import list_features

    def damaged(text: str) -> None:
        error_console().print(text, markup=False, soft_wrap=True)

    rows = [vars(kept) for kept in list_features(damaged)]
    if json:
        print_json(rows)
    elif not rows:
        console().print("No features are kept yet. Type: zsar-bench run METHOD --protocol ID")
    else:
        headings = ("key", "features", "data set", "round", "seed", "clips", "classes", "s", "MB")
        names = ("key", "name", "dataset", "round", "seed", "clips", "classes", "seconds")
        cells = [
            [*("-" if row[n] is None else row[n] for n in names), row["megabytes"]] for row in rows
        ]
        print_table("Kept features", headings, cells, expendable=("s", "round", "data set"))
