"""``zsar-bench tune``: search methods' parameters on pseudo-unseen classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import (
    JsonOption,
    PluginOption,
    QuietOption,
    ResultsOption,
    console,
    error_console,
    print_json,
    print_table,
)
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import RunFailed, UserError

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue
    from zsar_bench.runs.tuning.search import Search

    Json = dict[str, Any]

DEFAULT_BUDGET = 30
SHOWN = 8  #: reasons of failures that are told


def tune(
    methods: Annotated[list[str], typer.Argument(help="Methods to tune, all with one budget.")],
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Protocol whose seen classes to use.")
    ],
    budget: Annotated[
        int, typer.Option(min=1, max=1000, help="Trials, the profile's own values included.")
    ] = DEFAULT_BUDGET,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points to look at.")] = 0,
    seeds: Annotated[
        str, typer.Option(metavar="LIST", help="Seeds of encoder and method, averaged over.")
    ] = "0",
    method_seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Method seeds for every encoder seed.")
    ] = None,
    skeleton_encoder: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    text_encoder: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    texts: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Text set of the data set, or files.")
    ] = None,
    text_fields: Annotated[
        str | None, typer.Option(metavar="A,B", help="Text fields, instead of the method's recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[NAME.]KEY=VALUE",
            help="A parameter (repeatable); it is not searched.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="paper, laptop: where the search starts.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported."),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a worker.")] = 1,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="CUDA: the same bits every time, slower.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=0, help="Workers at once; 0: as many as the cores allow.")
    ] = 0,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="A fit or scoring that takes longer fails."),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="A fit or scoring that needs more fails, e.g. 4G."),
    ] = None,
    executor: Annotated[str, typer.Option(metavar="NAME", help="Where workers run.")] = "local",
    results: ResultsOption = DEFAULT_RESULTS,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be searched.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Search the declared ranges of methods' parameters on pseudo-unseen classes."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.catalogue.settings import Assignment
    from zsar_bench.cli.run import default_jobs
    from zsar_bench.cli.stand_in import announce, command_to_make, making
    from zsar_bench.plans.choose_data import choose_data, members
    from zsar_bench.plans.request import Request, parse_seeds, parse_size
    from zsar_bench.runs.tuning.tuned import check_spaces, plan_searches

    catalogue = load(plugin or ())
    request = Request(
        methods=tuple(methods),
        protocol=protocol,
        results=results.expanduser().absolute(),
        seeds=parse_seeds(seeds),
        method_seeds=parse_seeds(method_seeds) if method_seeds else None,
        skeleton_encoder=skeleton_encoder,
        text_encoder=text_encoder,
        texts=texts,
        text_fields=tuple(f.strip() for f in text_fields.split(",")) if text_fields else None,
        profile=profile,
        data=data,
        device=device,
        threads=threads,
        deterministic=deterministic,
        assignments=tuple(Assignment.parse(s) for s in set_ or ()),
        timeout=timeout,
        memory=None if memory_limit is None else parse_size(memory_limit),
    )
    check_spaces(request, catalogue)
    choice = choose_data(members(protocol, catalogue)[0], data, catalogue)
    if choice.synthetic and not (quiet or json):
        announce(choice)
    command = command_to_make(choice, ()) if dry_run else ""
    if command:
        raise UserError("Clips have to be made first, which writes to the store.", command)
    with making(choice, quiet or json) as (on_event, _):
        searches = plan_searches(request, catalogue, budget, seed, on_event)
    jobs = jobs or default_jobs(threads, searches[0].base.machine.device)
    if dry_run:
        _show_plan(searches, jobs, json)
        return
    found = _search(searches, catalogue, executor, jobs, quiet or json)
    if json:
        print_json({"searches": found})
        return
    for search, one in zip(searches, found, strict=True):
        _show(search, one)


def _search(
    searches: list[Search], catalogue: Catalogue, executor: str, jobs: int, quiet: bool
) -> list[Json]:
    """Make the fits that are not made yet; the outcome of every search.

    Raises:
        RunFailed: if something failed that is not the parameters' fault.
    """
    from zsar_bench.cli.live import make_display
    from zsar_bench.cli.run import make_executor, warn_of_time
    from zsar_bench.common.code_digest import unchanged
    from zsar_bench.common.files import make_folder
    from zsar_bench.runs.schedule.tasks import search_tasks
    from zsar_bench.runs.tuning.search_outcome import outcome

    for search in searches:
        make_folder(search.folder)
    todo = search_tasks(searches)
    plans = [plan for search in searches for plan in search.plans]
    if todo and not quiet:
        warn_of_time(todo, plans, jobs)
    with make_display([], todo, jobs, quiet) as display:
        make_executor(catalogue, executor, jobs).run(todo, display.record)
    left = sum(task.id.startswith("trial:") for task in search_tasks(searches))
    if left:
        reasons = "; ".join(sorted({*display.failed.values()})[:SHOWN])
        why = reasons or "see above"
        raise RunFailed(f"{left} fits could not be made: {why}. The same command tries again.")
    machine = searches[0].base.machine
    if not unchanged(machine.code, machine.code_state):
        raise RunFailed("a plugin's files have changed since this command began")
    return [{**outcome(search), "folder": str(search.folder)} for search in searches]


def _show_plan(searches: list[Search], jobs: int, json: bool) -> None:
    """What would be searched, and how long it takes."""
    from zsar_bench.reporters.words import seconds
    from zsar_bench.runs.schedule.estimate import estimate
    from zsar_bench.runs.schedule.tasks import search_tasks

    todo = search_tasks(searches)
    plans = [plan for search in searches for plan in search.plans]
    wall, measured = estimate(todo, plans, jobs)
    rows = [
        {
            "method": search.base.method.name,
            "protocol": search.base.protocol.id,
            "profile": search.base.params.profile,
            "space": {one.name: one.as_json for one in search.space},
            "trials": search.trials,
            "held_out": search.parts,
            "fits": len([*search.fits()]),
            "folder": str(search.folder),
        }
        for search in searches
    ]
    fits = sum(task.id.startswith("trial:") for task in todo)
    if json:
        print_json(
            {"searches": rows, "fits_to_make": fits, "jobs": jobs, "seconds": round(wall, 1)}
        )
        return
    for search, row in zip(searches, rows, strict=True):
        first = search.trials[0]
        count = f"{len(search.trials)} trials, {row['fits']} fits"
        print_table(
            f"{row['method']} on {row['protocol']}: {count}",
            ("parameter", f"now ({row['profile']})", "searched"),
            [[one.name, first[one.name], str(one)] for one in search.space],
        )
    basis = "as measured here before" if measured else "as plugins declare it"
    console().print(
        f"{fits} fits are not made yet: {seconds(wall)} on {jobs} workers ({basis}).", markup=False
    )


def _show(search: Search, found: Json) -> None:
    """The trials of a finished search, best marked, and what to make of them."""
    from zsar_bench.reporters.words import MEAN_CLASS, percent

    names = [one.name for one in search.space]
    rows = []
    for trial in found["trials"]:
        notes = ["best"] if trial["trial"] == found["best"]["trial"] else []
        notes += ["the profile's own values"] if trial["trial"] == 0 else []
        failed = {f"{f['status']}: {f['reason']}" for f in trial["failed"]}
        notes += [f"{len(trial['failed'])} fits {text}" for text in sorted(failed)]
        values = [trial["values"][name] for name in names]
        spread = percent(trial["spread"])
        rows.append([trial["trial"], *values, percent(trial["accuracy"]), spread, ", ".join(notes)])
    print_table(
        f"{found['method']} on {found['protocol']}: {len(rows)} trials on pseudo-unseen classes",
        ("trial", *names, MEAN_CLASS, "spread", ""),
        rows,
    )
    out = console()
    for line in _told(found):
        out.print(line, markup=False, soft_wrap=True)
    error_console().print(f"Kept in {search.folder}.", markup=False, soft_wrap=True, style="dim")


def _told(found: Json) -> list[str]:
    """Sentences below the table."""
    from zsar_bench.reporters.words import percent, points

    best, noise = found["best"], found["noise"]
    seeds = len(found["seeds"])
    lines = [
        f"mean class: mean over {len(found['held_out'])} rotations of held-out seen classes and "
        f"{seeds} pair{'s' * (seeds > 1)} of seeds; spread: standard deviation over rotations.",
        f"Best: trial {best['trial']}, {percent(best['accuracy'])} %, "
        f"{points(best['accuracy'] - found['trials'][0]['accuracy'])} points from the profile's "
        "own values. As the best of many it is too high; runs on unseen classes say what it is "
        "worth.",
    ]
    if noise["difference"] is not None:
        lines.append(
            f"Noise: differences of two trials vary by {percent(noise['difference'])} points with "
            f"the classes held out (standard error). Other trials within two of these of the best: "
            f"{noise['not_told_from_best']}."
        )
    return [*lines, str(found["next"])]
