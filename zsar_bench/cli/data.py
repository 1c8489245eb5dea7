"""``zsar-bench data``: import, list, verify, rm."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
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
    progress_bar,
)
from zsar_bench.errors import UserError
from zsar_bench.specs import generated

if TYPE_CHECKING:
    from zsar_bench.catalogue import Catalogue, Entry
    from zsar_bench.datasets import Dataset

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
        str | None,
        typer.Option(metavar="SIZE", help="Memory that a worker may use; default: 4G."),
    ] = None,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Read raw files or a folder of your own into the prepared store, or generate a stand-in.

    Interrupted or killed, the same command continues.
    """
    from zsar_bench.catalogue import load
    from zsar_bench.cli.own import import_folder, import_machine, named_folder
    from zsar_bench.datasets import open_dataset, prepared
    from zsar_bench.environment import cores
    from zsar_bench.importer import Work, ensure_generated, import_files, store_name

    catalogue = load(plugin or ())
    started = time.monotonic()
    sources = tuple(paths or ())
    own = named_folder(name, sources, catalogue)
    if own is not None:
        if set_:
            raise UserError("Your own data are read from files; there are no parameters to --set.")
        silent = quiet or json
        dataset, remark = import_folder(own, catalogue, force, jobs, skip_bad, silent, memory_limit)
        seconds = None if remark else time.monotonic() - started
        _report(dataset, json, remark, load(plugin or ()), seconds)
        return
    entry = catalogue.find("datasets", name)
    params = _params(entry, sources, set_ or [])
    made = generated(entry.spec)
    store = store_name(entry, params) if made else name
    if sources and store in prepared() and not force:
        remark = f"Already imported; {', '.join(map(str, sources))} was not read."
        _report(open_dataset(store), json, remark, catalogue)
        return
    machine = import_machine(catalogue, memory_limit)
    with progress_bar(f"import {store}", quiet or json) as (on_event, say):
        if made:
            dataset = ensure_generated(entry, params, machine, on_event, say, jobs, force)
        else:
            work = Work(
                entry,
                machine,
                store,
                sources=sources,
                jobs=jobs or cores(),
                skip_bad=skip_bad,
                on_event=on_event,
                say=say,
            )
            dataset = import_files(work, replace=force)
    _report(dataset, json, "", catalogue, time.monotonic() - started)


def _params(entry: Entry, sources: tuple[Path, ...], assignments: list[str]) -> dict[str, Any]:
    """A generator's parameters; refuses files for it, and parameters or no files for a reader."""
    from zsar_bench.settings import Assignment, resolve

    spec, name = entry.spec, entry.name
    if generated(spec) and sources:
        raise UserError(
            f"'{name}' is generated; it reads no files.", f"Type: zsar-bench data import {name}"
        )
    if spec["stand_in_for"]:
        parsed = [Assignment.parse(text) for text in assignments]
        mine = [replace(a, owner=a.owner or name) for a in parsed]
        return resolve(entry, "paper", mine).values
    how_to_get = " ".join(spec["how_to_get"].split())
    if assignments:
        raise UserError(f"'{name}' has no parameters to --set.")
    if not sources and not generated(spec):
        raise UserError(
            f"To import '{name}', give its raw files. {how_to_get}".strip(),
            f"Then type: zsar-bench data import {name} PATH",
        )
    for path in sources:
        if not path.expanduser().exists():
            raise UserError(f"There is no file or folder {path}.", how_to_get)
    return {}


def _report(
    dataset: Dataset,
    json: bool,
    remark: str,
    catalogue: Catalogue,
    seconds: float | None = None,
) -> None:
    clips, about = dataset.clips, dataset.about
    count, expected = len(dataset), about["expected_clips"]
    facts = {
        "dataset": about["name"],
        "clips": count,
        "expected_clips": expected,
        "classes": len(set(clips["class"])),
        "performers": len({*clips["subject"]} - {""}),
        "frames": sum(clips["frames"]),
        "megabytes": round(dataset.size / 1e6, 1),
        "skipped": about["skipped"],
        "aside": about["aside"],
        "coverage": about["coverage"],
    }
    if seconds is not None:
        facts["seconds"] = round(seconds, 1)
    if json:
        print_json(facts)
        return
    out = console()
    if remark:
        out.print(f"{remark} To replace it, add --force.", markup=False, soft_wrap=True)
    took = "" if seconds is None else f", {seconds:.0f} s"
    made = about.get("stand_in_for") or about.get("parts")
    done = "Generated" if about.get("stand_in_for") else "Pooled" if made else "Imported"
    out.print(
        f"{'In the store' if remark else done}: {about['name']}, {count} clips, "
        f"{facts['classes']} classes, {facts['performers'] or 'unknown'} performers, "
        f"{facts['frames']} frames, "
        f"{facts['megabytes']} MB{took}.",
        markup=False,
        soft_wrap=True,
    )
    if expected and count != expected:
        out.print(f"[yellow]The complete data set has {expected} clips.[/]")
        for line in [*about["coverage"], *_usable(dataset, catalogue)]:
            out.print(f"  {line}", markup=False, soft_wrap=True)
    for line in _left_out(about):
        out.print(line, markup=False, soft_wrap=True)


def _left_out(about: dict[str, Any]) -> Iterator[str]:
    """Lines about what is not in the store, one a reason; ``--json`` has every file."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in about["skipped"]:
        # Reasons that differ in numbers only, such as line numbers, are one.
        groups.setdefault(re.sub(r"\d+", "#", row["reason"]), []).append(row)
    for pattern, rows in sorted(groups.items(), key=lambda item: -len(item[1])):
        same = len({row["reason"] for row in rows}) == 1
        yield _line("left out", len(rows), rows[0]["reason"] if same else pattern, rows)
    for reason, row in about["aside"].items():
        yield _line("not read", row["count"], reason, [{"file": name} for name in row["first"]])


def _line(what: str, count: int, reason: str, rows: list[dict[str, str]]) -> str:
    names = ", ".join(row["file"] for row in rows[:3]) + (", ..." if count > 3 else "")
    return f"{what}: {count} file{'s' * (count != 1)}: {reason} ({names})"


def _usable(dataset: Dataset, catalogue: Catalogue) -> Iterator[str]:
    """Which protocols have the clips they need in an incomplete data set."""
    from zsar_bench.lookup import load_all

    ready, lacking = [], []
    for protocol in load_all(catalogue)[0]:
        if protocol.dataset != dataset.name:
            continue
        try:
            protocol.rounds(dataset)
        except UserError:
            lacking.append(protocol.id)
        else:
            ready.append(protocol.id)
    if ready:
        yield f"Protocols it is enough for, on fewer clips: {', '.join(ready)}."
    if lacking:
        yield f"Protocols that lack clips of some class: {', '.join(lacking)}."


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the imported data sets."""
    from zsar_bench.datasets import data_folder, open_dataset, prepared, unfinished

    rows = []
    for name in prepared():
        dataset = open_dataset(name)
        rows.append(
            {
                "name": name,
                "clips": len(dataset),
                "classes": len(set(dataset.clips["class"])),
                "performers": len({*dataset.clips["subject"]} - {""}),
                "megabytes": round(dataset.size / 1e6, 1),
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
    from zsar_bench.datasets import open_dataset, prepared
    from zsar_bench.seals import Damaged

    rows = []
    for one in [name] if name else prepared():
        try:
            found = list(open_dataset(one).verify())
        except Damaged:
            found = [("dataset.json", "is damaged, so the shards cannot be checked")]
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
    """Remove a data set, or its unfinished import, from the prepared store (raw files stay)."""
    from zsar_bench.datasets import forget, prepared, remove, unfinished
    from zsar_bench.own.store import forget_own, own_names

    half, own = name in unfinished(), name in own_names()
    if half:
        forget(name)
    if name in prepared() or not (half or own):
        remove(name)
    if own:  # last: killed before, the same command goes on
        forget_own(name)
    console().print(f"Removed {name}.", markup=False)
