"""``zsar-bench score``: scores that were made elsewhere, judged by our labels."""

from __future__ import annotations

import re
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
)
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue
    from zsar_bench.data.protocols.protocol import Protocol
    from zsar_bench.data.protocols.splits import UnseenClips


def score(
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Protocol to judge by.")
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
    """Judge scores that were made elsewhere: kept as self-reported, never ranked with runs."""
    from zsar_bench.catalogue.catalogue import load

    if (scores is None) == (template is None):
        raise UserError(
            "Give either --scores FILE, to judge it, or --template FILE.csv, to get one to fill in."
        )
    name = _name(scores, method) if scores else ""
    catalogue = load(plugin or ())
    found, tested = _tested(protocol, catalogue, quiet or json)
    if template is not None:
        _template(template, found, tested)
        return
    assert scores is not None
    _judge(scores, name, found, tested, results.expanduser().absolute(), json)


def _name(scores: Path, given: str | None) -> str:
    """The method's name, which becomes a folder's."""
    from zsar_bench.common.names import NAME

    name = given if given is not None else re.sub(r"[^a-z0-9._-]+", "-", scores.stem.lower())
    if not NAME.fullmatch(name):
        raise UserError(
            f"The method's name {name!r} must be small letters, digits, dots and hyphens.",
            "For example: --method my-method",
        )
    return name


def _tested(name: str, catalogue: Catalogue, quiet: bool) -> tuple[Protocol, UnseenClips]:
    """The protocol and its test clips; synthetic ones only where they are named."""
    from dataclasses import replace

    from zsar_bench.catalogue.machine import Machine
    from zsar_bench.cli.stand_in import making
    from zsar_bench.data.protocols.protocol import STAND_IN
    from zsar_bench.data.protocols.splits import unseen_clips
    from zsar_bench.plans.choose_data import choose_data, members, open_data

    parts = members(name, catalogue)
    if len(parts) > 1:
        raise UserError(
            f"'{name}' is an average; scores are of one protocol.",
            f"Name one of: {', '.join(parts)}",
        )
    wanted = "auto" if name.startswith(STAND_IN) else "real"
    choice = choose_data(parts[0], wanted, catalogue)
    machine = Machine("cpu", 1, plugin_files=tuple(str(p) for p in catalogue.plugin_files))
    with making(choice, quiet) as (on_event, _):
        dataset = open_data(choice, machine, on_event)
    tested = unseen_clips(choice.protocol, dataset)
    protocol = choice.protocol
    if choice.synthetic:  # complete by construction
        protocol = replace(protocol, test_clips=len(tested.ids))
    return protocol, tested


def _template(path: Path, protocol: Protocol, tested: UnseenClips) -> None:
    from zsar_bench.verify.self_reported import write_template

    if path.suffix.lower() != ".csv" or path.exists():
        what = "is there already" if path.exists() else "does not end with .csv"
        raise UserError(f"The template {path} {what}.", "Name another: --template scores.csv")
    write_template(path.expanduser(), protocol, tested)
    console().print(
        f"{path}: {len(tested.ids)} clips, {len(tested.candidates)} classes. Fill it in, then "
        f"type: zsar-bench score --protocol {protocol.id} --scores {path}",
        markup=False,
        soft_wrap=True,
    )


def _judge(
    path: Path, method: str, protocol: Protocol, tested: UnseenClips, results: Path, json: bool
) -> None:
    from zsar_bench.common.code_digest import file_digest
    from zsar_bench.compare.sections import compare
    from zsar_bench.records.files import read_record
    from zsar_bench.reporters.table import render
    from zsar_bench.verify.score_files import read_scores
    from zsar_bench.verify.self_reported import judge_scores, keep

    found = read_scores(path)
    made = judge_scores(found, path.name, file_digest(path), method, protocol, tested)
    folder = keep(results, *made)
    record = read_record(folder)
    comparison = compare([record])
    if json:
        row = {"method": method, "run": record.run_id, "folder": str(folder), "status": "done"}
        row |= {"origin": record.origin, "confinement": record.environment.confinement}
        print_json(comparison | {"runs": [row]})
        return
    out = console()
    out.print(render(comparison, out.width))
    out.print(
        f"self-reported, unconfined: only the scores were judged here. Kept in {folder}",
        markup=False,
        soft_wrap=True,
    )
