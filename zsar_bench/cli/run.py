"""``zsar-bench run``: plan, show, execute, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    ResultsOption,
    error_console,
    fields,
    parameters,
)
from zsar_bench.cli.run_shown import show_missing, show_plan, show_results
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.api.running import Failure, PlannedRuns
    from zsar_bench.api.tuning import PlannedSearches


def run(
    methods: Annotated[list[str], typer.Argument(help="Methods to run.")],
    protocol: Annotated[str, typer.Option("--protocol", metavar="ID", help="Protocol to test on.")],
    seeds: Annotated[
        str, typer.Option(metavar="LIST", help="Seeds, e.g. 0-4: encoder and method alike.")
    ] = "0",
    method_seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Method seeds for every encoder seed.")
    ] = None,
    fix_encoder: Annotated[
        int | None, typer.Option(metavar="SEED", help="Hold the encoder, vary the method's seed.")
    ] = None,
    skeleton_encoder: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Released features, in the place of a trained encoder."),
    ] = None,
    text_encoder: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Text set of the data set, or files: .toml, .csv, .txt, .xlsx, or a folder.",
        ),
    ] = None,
    text_fields: Annotated[
        str | None, typer.Option(metavar="A,B", help="Text fields, instead of the method's recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[NAME.]KEY=VALUE", help="A parameter (repeatable)."),
    ] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="paper, laptop.")] = None,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="The best values of a finished search: see tune.")
    ] = False,
    selection: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Which checkpoint counts: last, seen-val, pseudo-unseen, oracle@E; several by "
            "comma, or all. Rules that need no refit share one training.",
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option(help="Refit among scrambled unseen clips and score slightly moved inputs."),
    ] = False,
    data: Annotated[
        str, typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported.")
    ] = "auto",
    splits: Annotated[
        int, typer.Option(min=0, help="Random class splits instead of the published one.")
    ] = 0,
    text_control: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Texts that cannot help: shuffled-unseen, shuffled-all, random or shuffled-seen.",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Draws of the text control; default 20 (200 for quick methods), or all shifts.",
        ),
    ] = None,
    gzsl: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Score clips of seen classes too, all over all classes, balanced by a constant or "
            "a gate.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads of a worker; part of a run's identity.")
    ] = 1,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="CUDA: the same bits every time, slower, another run. A CPU does so anyway.",
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=0, help="Workers at once; 0: as many as the cores allow.")
    ] = 0,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="End a fit or scoring that takes longer."),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="End a fit or scoring that needs more, e.g. 4G."),
    ] = None,
    results: ResultsOption = DEFAULT_RESULTS,
    force: Annotated[bool, typer.Option(help="Run again what is already there.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only show what would run.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train and score methods on a protocol; the same command again continues or skips."""
    from zsar_bench.api.requests import command_to_make, data_of, make_request
    from zsar_bench.api.running import plan
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.cli.stand_in import announce, making

    if dry_run and force:
        raise UserError("--dry-run and --force exclude each other.")
    silent = quiet or json
    catalogue = load(plugin or ())
    request = make_request(
        methods,
        protocol,
        seeds=seeds,
        method_seeds=method_seeds,
        fix_encoder=fix_encoder,
        skeleton_encoder=skeleton_encoder,
        features=features,
        text_encoder=text_encoder,
        text_set=texts,
        text_fields=fields(text_fields),
        params=parameters(set_),
        profile=profile,
        tuned=tuned,
        selection=selection,
        prove=prove,
        data=data,
        splits=splits,
        text_control=text_control,
        draws=draws,
        gzsl=gzsl,
        device=device,
        threads=threads,
        deterministic=deterministic,
        timeout=timeout,
        memory_limit=memory_limit,
        results=results,
    )
    choice = data_of(request, catalogue)
    if choice.synthetic and not silent:
        announce(choice)
    command = command_to_make(choice) if dry_run else ""
    if command:
        show_missing(command, json)
        return
    with making(choice, silent) as (on_event, _):
        planned = plan(request, jobs=jobs, on_event=on_event, catalogue=catalogue)
    if dry_run:
        show_plan(planned, json)
        return
    failed = execute(planned, force, silent)
    damaged = show_results(planned, failed, json)
    if failed or damaged:
        raise typer.Exit(1)


def execute(planned: PlannedRuns, force: bool, quiet: bool) -> dict[str, Failure]:
    """Run what is not done yet, with a live table; run id -> why it failed."""
    from zsar_bench.reporters.progress import make_display
    from zsar_bench.sandbox import forkserver

    if planned.todo and not quiet:
        warn_of_time(planned)
    with make_display(planned.runs, planned.todo, planned.jobs, quiet) as display:
        failed = planned.execute(display, force)
    if forkserver.problem and not quiet:
        error_console().print(
            f"Every worker had to import torch anew, which takes longer: {forkserver.problem}.",
            markup=False,
        )
    return failed


def warn_of_time(planned: PlannedRuns | PlannedSearches) -> None:
    """Print the expected time if it is over a minute."""
    from zsar_bench.reporters.words import seconds

    left, measured = planned.seconds
    if left < 60:
        return
    basis = "as measured here before" if measured else "a first guess"
    error_console().print(
        f"This takes about {seconds(left)} on {planned.jobs} workers ({basis}). Stop it whenever "
        "you like: the same command goes on.",
        markup=False,
    )
