"""``zsar-bench compare``: stored runs as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, ResultsOption, console, error_console
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue
    from zsar_bench.records.schema import Record

ALL = "all"  #: every rule, and what each of them is worth


def _folder(protocol: str, catalogue: Catalogue) -> str:
    """Folder name of a protocol's runs; ``stand-in/`` before it stays."""
    from zsar_bench.data.protocols.lookup import find_protocol
    from zsar_bench.data.protocols.protocol import STAND_IN, folder_name

    base = protocol.removeprefix(STAND_IN)
    if not base:
        return ""
    before = STAND_IN if protocol.startswith(STAND_IN) else ""
    return folder_name(f"{before}{find_protocol(base, catalogue).id}")


def compare(
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Only this protocol; default: all.")
    ] = "",
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="Only this (repeatable).")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--texts", metavar="SET", help="Only this (repeatable).")
    ] = None,
    selection: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Only this rule; all: what each method gains by each rule."
        ),
    ] = "",
    results: ResultsOption = DEFAULT_RESULTS,
    format: Annotated[
        str, typer.Option("--format", metavar="REPORTER", help="table, markdown, json, ...")
    ] = "table",
    published: Annotated[bool, typer.Option(help="Show published numbers too.")] = True,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Compare stored runs: one section a protocol, best first, with what can be told."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.compare.published import read_published
    from zsar_bench.compare.sections import compare as compare_records
    from zsar_bench.data.protocols.lookup import load_groups
    from zsar_bench.data.texts.texts import bare_name
    from zsar_bench.plans.choose_data import members
    from zsar_bench.records.files import find_records, load_records

    catalogue = load(plugin or ())
    entry = catalogue.find("reporters", "json" if json else format)
    names = members(protocol, catalogue) if protocol else ("",)
    below = [find_records(results.expanduser(), _folder(name, catalogue)) for name in names]
    folders = [folder for found in below for folder in found]
    if not folders:
        about = f" on '{protocol}'" if protocol else ""
        raise UserError(
            f"There are no finished runs{about} in {results}.",
            "Start some: zsar-bench run METHOD --protocol ID. See: zsar-bench list methods",
        )
    records, damaged = load_records(folders)
    for message in damaged:
        error_console().print(f"Left out: {message}", markup=False, soft_wrap=True)
    records = [
        r
        for r in records
        if (not method or r.method.name in method)
        and (not texts or {r.texts.source, bare_name(r.texts.source)} & set(texts))
    ]
    if not records and (method or texts):
        raise UserError(f"None of the {len(folders)} runs in {results} has this method and texts.")
    records = _of_rule(records, selection)
    rows = read_published(catalogue.published_folders) if published else []
    comparison = compare_records(records, rows, load_groups(catalogue), rules=selection == ALL)
    if selection == ALL and not comparison["rules"]:
        error_console().print("No method has runs under two rules: nothing to tell of peeking.")
    out = console()
    typer.echo(_draw(catalogue, entry, comparison, out.width, out.is_terminal), nl=False)
    if damaged:
        raise typer.Exit(1)


def _of_rule(records: list[Record], selection: str) -> list[Record]:
    """The records of one selection rule; those of every rule if none or all are asked for."""
    if selection in ("", ALL):
        return records
    found = [r for r in records if r.selection == selection]
    if records and not found:
        rules = sorted({r.selection for r in records})
        raise UserError(
            f"None of these {len(records)} runs was selected by '{selection}', "
            f"but by {' or '.join(rules)}.",
            f"Type one of these, or: zsar-bench compare --selection {ALL}",
        )
    return found


def _draw(catalogue: Any, entry: Any, comparison: Any, width: int, color: bool) -> str:
    """Our own reporters run here; other people's in a worker."""
    from zsar_bench.catalogue.loading import resolve

    if entry.plugin == "core":
        text = str(resolve(entry.spec["target"])(comparison, width=width, color=color))
    else:
        import tempfile

        from zsar_bench.catalogue.machine import Machine
        from zsar_bench.common.files import home
        from zsar_bench.sandbox.client import Worker

        files = tuple(str(p) for p in catalogue.plugin_files)
        machine = Machine(
            "cpu", 1, plugin_files=files, code=catalogue.code, protected=(str(home()),)
        )
        with (
            tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder,
            Worker(machine.job("report", entry, {}), Path(folder)) as worker,
        ):
            request = {"comparison": comparison, "width": width, "color": color}
            text = str(worker.ask(request)["text"])
    return text if text.endswith("\n") else f"{text}\n"
