"""``zsar-bench data``: import, list, verify, rm."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    progress_bar,
)

if TYPE_CHECKING:
    from zsar_bench.api.data import Imported

app = typer.Typer(help="Import, list, verify and remove data sets.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Data set, e.g. as `zsar-bench list datasets` says.")]
NameOrFolder = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Data set, e.g. as `zsar-bench list datasets` says; or a folder of your own data.",
    ),
]


@app.command("import")
def import_(
    name: NameOrFolder,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            help="Zip archives or folders with the raw files; none for a generated data set.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an earlier import.")] = False,
    skip_bad: Annotated[
        bool, typer.Option(help="Leave out unreadable files and list them, instead of refusing.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Parameter of a generated data set."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Workers at once; 0: one a core.")] = 0,
    memory_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory that a worker may use; default: 4G.")
    ] = None,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Read raw files or a folder of your own into the prepared store, or generate a stand-in.

    Interrupted or killed, the same command continues.
    """
    from zsar_bench.api.data import import_data

    with progress_bar(f"import {name}", quiet or json, at_once=False) as (on_event, say):
        imported = import_data(
            name,
            *(paths or ()),
            force=force,
            skip_bad=skip_bad,
            params=parameters(set_),
            jobs=jobs,
            memory_limit=memory_limit,
            plugins=plugin or (),
            on_event=on_event,
            on_note=say,
        )
    _report(imported, json)


def _report(imported: Imported, json: bool) -> None:
    dataset, seconds = imported.dataset, imported.seconds
    clips, content = dataset.clips, dataset.about
    facts = {
        "dataset": content["name"],
        "clips": len(dataset),
        "expected_clips": content["expected_clips"],
        "classes": len({*clips["class"]}),
        "subjects": len({*clips["subject"]} - {""}),
        "frames": sum(clips["frames"]),
        "megabytes": round(dataset.size / 1e6, 1),
        "skipped": content["skipped"],
        "aside": content["aside"],
        "coverage": content["coverage"],
    }
    if seconds is not None:
        facts["seconds"] = round(seconds, 1)
    if json:
        print_json(facts)
        return
    out = console()
    if imported.remark:
        out.print(f"{imported.remark} To replace it, add --force.", markup=False, soft_wrap=True)
    took = "" if seconds is None else f", {seconds:.0f} s"
    made = content.get("stand_in_for") or content.get("parts")
    done = "Generated" if content.get("stand_in_for") else "Pooled" if made else "Imported"
    out.print(
        f"{'In the store' if imported.remark else done}: {content['name']}, {len(dataset)} clips, "
        f"{facts['classes']} classes, {facts['subjects'] or 'unknown'} subjects, "
        f"{facts['frames']} frames, "
        f"{facts['megabytes']} MB{took}.",
        markup=False,
        soft_wrap=True,
    )
    if not imported.complete:
        out.print(f"[yellow]The complete data set has {imported.expected} clips.[/]")
        for line in [*content["coverage"], *_usable(imported)]:
            out.print(f"  {line}", markup=False, soft_wrap=True)
    for line in _left_out(content):
        out.print(line, markup=False, soft_wrap=True)


def _usable(imported: Imported) -> Iterator[str]:
    """Lines about the protocols of an incomplete data set."""
    if imported.enough_for:
        yield f"Protocols it is enough for, on fewer clips: {', '.join(imported.enough_for)}."
    if imported.lacking:
        yield f"Protocols that lack clips of some class: {', '.join(imported.lacking)}."


def _left_out(content: dict[str, Any]) -> Iterator[str]:
    """Lines about what is not in the store, one a reason; ``--json`` has every file."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in content["skipped"]:
        # Reasons that differ in numbers only, such as line numbers, are one.
        groups.setdefault(re.sub(r"\d+", "#", row["reason"]), []).append(row)
    for pattern, rows in sorted(groups.items(), key=lambda item: -len(item[1])):
        same = len({row["reason"] for row in rows}) == 1
        yield _line("left out", len(rows), rows[0]["reason"] if same else pattern, rows)
    for reason, row in content["aside"].items():
        yield _line("not read", row["count"], reason, [{"file": name} for name in row["first"]])


def _line(what: str, count: int, reason: str, rows: list[dict[str, str]]) -> str:
    names = ", ".join(row["file"] for row in rows[:3]) + (", ..." if count > 3 else "")
    return f"{what}: {count} file{'s' * (count != 1)}: {reason} ({names})"


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the imported data sets."""
    from zsar_bench.api.data import list_data
    from zsar_bench.data.clips.store import data_folder, unfinished

    rows = [vars(stored) for stored in list_data()]
    if json:
        print_json(rows)
    elif not rows:
        console().print("No data set is imported. Type: zsar-bench list datasets")
    else:
        headings = ("data set", "clips", "classes", "subjects", "MB", "digest")
        cells = [[*list(row.values())[:5], str(row["digest"])[:12]] for row in rows]
        print_table(f"Prepared data in {data_folder()}", headings, cells)
    for name in [] if json else unfinished():
        console().print(
            f"Unfinished: {name}. Its import continues where it stopped; to drop it, type: "
            f"zsar-bench data rm {name}",
            markup=False,
            soft_wrap=True,
        )


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="Data set; default: all.")] = None,
    json: JsonOption = False,
) -> None:
    """Check every stored shard against its checksum."""
    from zsar_bench.api.data import verify_data

    rows = verify_data(name)
    if json:
        print_json([vars(row) for row in rows])
    else:
        for row in rows:
            verdict = f"{len(row.damaged)} damaged" if row.damaged else "all sound"
            console().print(f"{row.name}: {row.shards} shards, {verdict}", markup=False)
            for shard, problem in row.damaged.items():
                console().print(f"  {shard} {problem}", markup=False)
        if not rows:
            console().print("No data set is imported.")
    if any(row.damaged for row in rows):
        broken = ", ".join(row.name for row in rows if row.damaged)
        error_console().print(f"Import again: zsar-bench data import {broken} PATH --force")
        raise typer.Exit(1)


@app.command("rm")
def rm(name: Name) -> None:
    """Remove a data set, or its unfinished import, from the prepared store (raw files stay)."""
    from zsar_bench.api.data import remove_data

    remove_data(name)
