"""``zsar-bench data``: import, list, verify, rm."""

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
    print_json,
    print_table,
)
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="Import, list, verify and remove data sets.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Data set, e.g. as `zsar-bench list datasets` says.")]


@app.command("import")
def import_(
    name: Name,
    path: Annotated[Path, typer.Argument(help="Zip archive or folder with the raw files.")],
    force: Annotated[bool, typer.Option(help="Replace an earlier import.")] = False,
    skip_bad: Annotated[
        bool, typer.Option(help="Leave out unreadable files and list them, instead of refusing.")
    ] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Read raw files into the prepared store."""
    from zsar_bench.catalogue import load
    from zsar_bench.datasets import data_folder, open_dataset, prepared, remove
    from zsar_bench.environment import Machine
    from zsar_bench.paths import fresh_folder
    from zsar_bench.sandbox import run_job

    catalogue = load(plugin or ())
    entry = catalogue.find("datasets", name)
    if name in prepared() and not force:
        _report(open_dataset(name).about, json, f"Already imported; {path} was not read.")
        return
    if not path.expanduser().exists():
        hint = " ".join(entry.spec["how_to_get"].split())
        raise UserError(f"There is no file or folder {path}.", hint)
    machine = Machine("cpu", 1, plugin_files=tuple(str(p) for p in catalogue.plugin_files))
    final = data_folder() / name
    with _progress(f"import {name}", quiet or json) as progress, fresh_folder(final) as folder:
        bar = progress.add_task(f"import {name}", total=None)
        job = machine.job(
            "import",
            entry,
            {},
            spec=entry.spec,
            source=str(path.expanduser().absolute()),
            folder=str(folder),
            skip_bad=skip_bad,
        )
        run_job(job, folder, lambda e: progress.update(bar, completed=e["step"], total=e["total"]))
        for scrap in folder.glob("import.*"):
            scrap.unlink()
        if force and name in prepared():
            remove(name)
    _report(open_dataset(name).about, json)


def _progress(title: str, quiet: bool) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=error_console(), disable=quiet, transient=True)


def _report(about: dict[str, Any], json: bool, remark: str = "") -> None:
    clips, skipped = about["clips"], about["skipped"]
    count, expected = len(clips["id"]), about["expected_clips"]
    facts = {
        "dataset": about["name"],
        "clips": count,
        "expected_clips": expected,
        "classes": len(set(clips["class"])),
        "performers": len(set(clips["subject"])),
        "frames": sum(clips["frames"]),
        "skipped": skipped,
    }
    if json:
        print_json(facts)
        return
    out = console()
    if remark:
        out.print(f"{remark} To replace it, add --force.", markup=False, soft_wrap=True)
    out.print(
        f"{'In the store' if remark else 'Imported'}: [bold]{about['name']}[/], {count} clips, "
        f"{facts['classes']} classes, {facts['performers']} performers, {facts['frames']} frames."
    )
    if expected and count != expected:
        out.print(f"[yellow]The complete data set has {expected} clips.[/]")
    for row in skipped:
        out.print(f"left out: {row['file']}: {row['reason']}", markup=False)


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the imported data sets."""
    from zsar_bench.datasets import data_folder, open_dataset, prepared

    rows = []
    for name in prepared():
        dataset = open_dataset(name)
        size = sum(p.stat().st_size for p in (dataset.folder / "shards").iterdir())
        rows.append(
            {
                "name": name,
                "clips": len(dataset),
                "classes": len(set(dataset.clips["class"])),
                "performers": len(set(dataset.clips["subject"])),
                "megabytes": round(size / 1e6, 1),
                "digest": dataset.digest,
            }
        )
    if json:
        print_json(rows)
    elif not rows:
        console().print("No data set is imported. Type: zsar-bench list datasets")
    else:
        headings = ("data set", "clips", "classes", "performers", "MB", "digest")
        cells = [[*list(r.values())[:5], str(r["digest"])[:12]] for r in rows]
        print_table(f"Prepared data in {data_folder()}", headings, cells)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="Data set; default: all.")] = None,
    json: JsonOption = False,
) -> None:
    """Check every stored shard against its checksum."""
    from zsar_bench.datasets import open_dataset, prepared

    rows = []
    for one in [name] if name else prepared():
        found = list(open_dataset(one).verify())
        bad = {shard: problem for shard, problem in found if problem}
        rows.append({"name": one, "shards": len(found), "damaged": bad})
    if json:
        print_json(rows)
    else:
        for row in rows:
            damaged: dict[str, str] = row["damaged"]  # type: ignore[assignment]
            verdict = f"{len(damaged)} damaged" if damaged else "all sound"
            console().print(f"{row['name']}: {row['shards']} shards, {verdict}", markup=False)
            for shard, problem in damaged.items():
                console().print(f"  {shard} {problem}", markup=False)
        if not rows:
            console().print("No data set is imported.")
    if any(row["damaged"] for row in rows):
        broken = ", ".join(str(row["name"]) for row in rows if row["damaged"])
        error_console().print(f"Import again: zsar-bench data import {broken} PATH --force")
        raise typer.Exit(1)


@app.command("rm")
def rm(name: Name) -> None:
    """Remove a data set from the prepared store (the raw files stay)."""
    from zsar_bench.datasets import remove

    remove(name)
    console().print(f"Removed {name}.", markup=False)
