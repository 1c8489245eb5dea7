"""``zsar-bench features``: export what an encoder has learned, list what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    console,
    error_console,
    print_json,
    print_table,
)
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.features.encoders import EncoderPlan

app = typer.Typer(help="Export skeleton features, list those that are kept.", no_args_is_help=True)


@app.command("export")
def export(
    protocol: Annotated[str, typer.Option("--protocol", metavar="ID", help="Whose split.")],
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
        str,
        typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported."),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a worker.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train the encoder of a protocol, or take it from the cache, and write its features."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.catalogue.settings import Assignment
    from zsar_bench.cli.stand_in import announce, making
    from zsar_bench.features.export import check_target
    from zsar_bench.features.export import export as write
    from zsar_bench.plans.choose_data import choose_data
    from zsar_bench.plans.plan import plan_encoders
    from zsar_bench.plans.request import Request

    out = out.expanduser().absolute()
    check_target(out, layout, force)
    catalogue = load(plugin or ())
    request = Request(
        methods=(),
        protocol=protocol,
        results=out,
        seeds=(seed,),
        skeleton_encoder=skeleton_encoder,
        data=data,
        profile=profile,
        device=device,
        threads=threads,
        assignments=tuple(Assignment.parse(s) for s in set_ or ()),
    )
    choice = choose_data(protocol, data, catalogue)
    if choice.synthetic and not (quiet or json):
        announce(choice)
    with making(choice, quiet or json) as (on_event, _):
        whose, plans, choices = plan_encoders(request, catalogue, on_event)
    _train(plans, quiet or json)
    about = write(whose, plans, layout, out)
    if json:
        print_json({"folder": str(out), **about})
        return
    for what, value, reason in choices:
        console().print(f"{what}: {value} ({reason})", style="dim", markup=False)
    for one in about["rounds"]:
        counts = ", ".join(f"{name} {part['count']}" for name, part in one["clips"].items())
        told = (
            f"{one['round']}: {counts} clips, {one['channels']} channels, hash {one['hash'][:12]}"
        )
        console().print(told, markup=False, highlight=False)
    console().print(f"Written: {out}", markup=False, soft_wrap=True)


def _train(plans: Sequence[EncoderPlan], quiet: bool) -> None:
    """Train what is not in the cache, round after round."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from zsar_bench.features.encoding import ensure
    from zsar_bench.reporters.words import seconds

    todo = [plan for plan in plans if not plan.ready(())]
    guess = sum(plan.cost[2] for plan in todo)
    if guess >= 60 and not quiet:
        text = f"Training takes about {seconds(guess)} (a first guess); stop it whenever you like."
        error_console().print(text, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=error_console(), disable=quiet, transient=True)
    with shown as progress:
        for plan in plans:
            bar = progress.add_task(plan.title, total=None)

            def report(event: dict[str, Any], bar: Any = bar, title: str = plan.title) -> None:
                progress.update(
                    bar,
                    description=f"{title}: {event.get('stage', '')}",
                    completed=event.get("step", 0),
                    total=event.get("total"),
                )

            ensure(plan, (), report)


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the trained encoders and the released features that are kept."""
    rows = [*_encoders(), *_released()]
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


def _encoders() -> list[dict[str, Any]]:
    from zsar_bench.common.files import home

    rows = []
    for path in sorted((home() / "encoders").glob("[!.]*/encoder.json")):
        about = _about(path)
        if about is None:
            continue
        rows.append(
            {
                "kind": "certified",
                "key": path.parent.name,
                "name": about["encoder"],
                "dataset": about.get("dataset"),
                "round": about["round"],
                "seed": about["seed"],
                "clips": about["train_clips"],
                "classes": len(about["train_classes"]),
                "seen_accuracy": about["seen_accuracy"],
                "seconds": about["seconds"],
                "megabytes": _megabytes(path.parent),
            }
        )
    return rows


def _released() -> list[dict[str, Any]]:
    from zsar_bench.features.released.store import features_folder

    rows = []
    for path in sorted(features_folder().glob("[!.]*/features.json")):
        about = _about(path)
        if about is None:
            continue
        rows.append(
            {
                "kind": "released",
                "key": path.parent.name[:16],
                "name": f"released: {about['name']}",
                "dataset": about["dataset"],
                "round": None,
                "seed": None,
                "clips": about["clips"]["train"],
                "classes": about["classes"]["train"],
                "parts": about["clips"],
                "seconds": None,
                "megabytes": _megabytes(path.parent),
            }
        )
    return rows


def _about(path: Path) -> dict[str, Any] | None:
    """What is written of kept features; None, and a line about it, if that is damaged."""
    from zsar_bench.common import checksums
    from zsar_bench.common.files import read_json

    try:
        checksums.check(path.parent, [path.name])
        about: dict[str, Any] = read_json(path)
    except UserError as error:
        line = f"{error.what} The next run that needs these features makes them again."
        error_console().print(line, markup=False, soft_wrap=True)
        return None
    return about


def _megabytes(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)
