"""``zsar-bench run``: plan, show, execute, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    ResultsOption,
    error_console,
)
from zsar_bench.cli.run_shown import show_missing, show_plan, show_results
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue
    from zsar_bench.plans.run_plan import RunPlan
    from zsar_bench.runs.schedule.tasks import Task


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
        bool,
        typer.Option("--tuned", help="The best values of a finished search: see tune."),
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
        str,
        typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported."),
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
            help="Judge clips of seen classes too, all over all classes, balanced by a constant or "
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
    dry_run: Annotated[bool, typer.Option(help="Only say what would run.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train and score methods on a protocol; the same command again continues or skips."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.catalogue.settings import Assignment
    from zsar_bench.cli.stand_in import announce, command_to_make, making
    from zsar_bench.plans.choose_data import choose_data, members
    from zsar_bench.plans.plan import plan_runs
    from zsar_bench.plans.request import Request, parse_seeds, parse_size
    from zsar_bench.runs.tuning.tuned import with_tuned

    if dry_run and force:
        raise UserError("--dry-run and --force exclude each other.")
    catalogue = load(plugin or ())
    request = Request(
        methods=tuple(methods),
        protocol=protocol,
        results=results.expanduser().absolute(),
        seeds=parse_seeds(seeds),
        method_seeds=parse_seeds(method_seeds) if method_seeds else None,
        fix_encoder=fix_encoder,
        skeleton_encoder=skeleton_encoder,
        text_encoder=text_encoder,
        texts=texts,
        text_fields=tuple(f.strip() for f in text_fields.split(",")) if text_fields else None,
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
        assignments=tuple(Assignment.parse(s) for s in set_ or ()),
        features=features,
        timeout=timeout,
        memory=None if memory_limit is None else parse_size(memory_limit),
    )
    first = members(protocol, catalogue)[0]  # those of an average share their data
    choice = choose_data(first, request.wanted_data, catalogue)
    if choice.synthetic and not (quiet or json):
        announce(choice)
    command = command_to_make(choice) if dry_run else ""
    if command:
        show_missing(command, json)
        return
    with making(choice, quiet or json) as (on_event, _):
        plans = plan_runs(request, catalogue, on_event)
    if tuned:
        plans = with_tuned(plans, request)
    jobs = jobs or default_jobs(threads, plans[0].machine.device)
    if dry_run:
        show_plan(plans, jobs, json)
        return
    failed = execute(plans, catalogue, jobs, force, quiet or json)
    damaged = show_results(plans, catalogue, json, failed)
    if failed or damaged:
        raise typer.Exit(1)


def default_jobs(threads: int, device: str) -> int:
    """Workers at once: one on an accelerator, else as many as the cores hold."""
    from zsar_bench.catalogue.machine import cores

    return 1 if device != "cpu" else max(1, cores() // threads)


def execute(
    plans: list[RunPlan],
    catalogue: Catalogue,
    jobs: int,
    force: bool,
    quiet: bool,
) -> dict[str, str]:
    """Run what is not done yet.

    Returns:
        Ids of the runs that failed: ``failed``, ``timeout`` or ``oom``.
    """
    import shutil

    from zsar_bench.cli.live import make_display
    from zsar_bench.common.files import discard, make_folder
    from zsar_bench.runs.finish import sweep
    from zsar_bench.runs.schedule.executor import LocalExecutor
    from zsar_bench.runs.schedule.tasks import tasks
    from zsar_bench.runs.schedule.trackers import Trackers
    from zsar_bench.sandbox import forkserver

    make_folder(plans[0].results / "runs")
    if force:
        for plan in plans:
            if plan.folder.is_dir():
                discard(plan.folder)  # never half there under this name
            shutil.rmtree(plan.part, ignore_errors=True)
            shutil.rmtree(plan.fit_part, ignore_errors=True)
    for plan in plans:
        sweep(plan)
    todo = tasks(plans)
    if todo and not quiet:
        warn_of_time(todo, plans, jobs)
    with make_display(plans, todo, jobs, quiet) as display, Trackers(catalogue) as trackers:

        def report(task: Task, event: dict[str, Any]) -> None:
            display.record(task, event)
            trackers.record(task, event)

        LocalExecutor(jobs).run(todo, report)
    if forkserver.problem and not quiet:
        error_console().print(
            f"Every worker had to import torch anew, which takes longer: {forkserver.problem}.",
            markup=False,
        )
    return dict(display.statuses)


def warn_of_time(todo: list[Task], plans: list[RunPlan], jobs: int) -> None:
    """Say how long it takes, before anything that takes over a minute."""
    from zsar_bench.reporters.words import seconds
    from zsar_bench.runs.schedule.estimate import estimate

    wall, measured = estimate(todo, plans, jobs)
    if wall < 60:
        return
    basis = "as measured here before" if measured else "a first guess"
    error_console().print(
        f"This takes about {seconds(wall)} on {jobs} workers ({basis}). Stop it whenever you "
        "like: the same command goes on.",
        markup=False,
    )
