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
    fields,
    parameters,
    print_json,
    print_table,
)
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.api.tuning import PlannedSearches
    from zsar_bench.runs.tuning.search import Search

    Json = dict[str, Any]

DEFAULT_BUDGET = 30


def tune(
    methods: Annotated[list[str], typer.Argument(help="Methods to tune, all with one budget.")],
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Protocol; its seen classes are used.")
    ],
    budget: Annotated[
        int, typer.Option(min=1, max=1000, help="Trials, the profile's own values included.")
    ] = DEFAULT_BUDGET,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points.")] = 0,
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
        str, typer.Option(help="real, stand-in (synthetic clips), or auto: real where imported.")
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
    results: ResultsOption = DEFAULT_RESULTS,
    dry_run: Annotated[bool, typer.Option(help="Only show what would be searched.")] = False,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Search the declared ranges of methods' parameters on pseudo-unseen classes."""
    from zsar_bench.api.requests import command_to_make, data_of, make_request
    from zsar_bench.api.tuning import plan_tuning
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.cli.run import warn_of_time
    from zsar_bench.cli.stand_in import announce, making
    from zsar_bench.reporters.progress import make_display
    from zsar_bench.runs.tuning.tuned import check_spaces

    silent = quiet or json
    catalogue = load(plugin or ())
    request = make_request(
        methods,
        protocol,
        seeds=seeds,
        method_seeds=method_seeds,
        skeleton_encoder=skeleton_encoder,
        text_encoder=text_encoder,
        text_set=texts,
        text_fields=fields(text_fields),
        params=parameters(set_),
        profile=profile,
        data=data,
        device=device,
        threads=threads,
        deterministic=deterministic,
        timeout=timeout,
        memory_limit=memory_limit,
        results=results,
    )
    check_spaces(request, catalogue)
    choice = data_of(request, catalogue)
    if choice.synthetic and not silent:
        announce(choice)
    command = command_to_make(choice) if dry_run else ""
    if command:
        raise UserError("Clips have to be made first, which writes to the store.", command)
    with making(choice, silent) as (on_event, _):
        planned = plan_tuning(
            request, budget=budget, seed=seed, jobs=jobs, on_event=on_event, catalogue=catalogue
        )
    if dry_run:
        _show_plan(planned, json)
        return
    if planned.todo and not silent:
        warn_of_time(planned)
    with make_display([], planned.todo, planned.jobs, silent) as display:
        studies = planned.execute(display)
    if json:
        outcomes = [study.outcome | {"folder": str(study.folder)} for study in studies]
        print_json({"searches": outcomes})
        return
    for search, study in zip(planned.searches, studies, strict=True):
        _show(search, study.outcome)


def _show_plan(planned: PlannedSearches, json: bool) -> None:
    """What would be searched, and how long it takes."""
    from zsar_bench.reporters.words import seconds

    searches, jobs, fits = planned.searches, planned.jobs, planned.fits_left
    left, measured = planned.seconds
    rows = [
        {
            "method": search.base.method.name,
            "protocol": search.base.protocol.id,
            "profile": search.base.params.profile,
            "space": {searched.name: searched.as_json for searched in search.space},
            "trials": search.trials,
            "held_out": search.parts,
            "fits": len([*search.fits()]),
            "folder": str(search.folder),
        }
        for search in searches
    ]
    if json:
        print_json(
            {"searches": rows, "fits_to_make": fits, "jobs": jobs, "seconds": round(left, 1)}
        )
        return
    for search, row in zip(searches, rows, strict=True):
        first = search.trials[0]
        count = f"{len(search.trials)} trials, {row['fits']} fits"
        print_table(
            f"{row['method']} on {row['protocol']}: {count}",
            ("parameter", f"now ({row['profile']})", "searched"),
            [[searched.name, first[searched.name], str(searched)] for searched in search.space],
        )
    basis = "as measured here before" if measured else "as plugins declare it"
    console().print(
        f"{fits} fits are not made yet: {seconds(left)} on {jobs} workers ({basis}).", markup=False
    )


def _show(search: Search, outcome: Json) -> None:
    """The trials of a finished search with the best one marked, and remarks on them."""
    from zsar_bench.reporters.words import MEAN_CLASS, percent

    names = [searched.name for searched in search.space]
    rows = []
    for trial in outcome["trials"]:
        notes = ["best"] if trial["trial"] == outcome["best"]["trial"] else []
        notes += ["the profile's own values"] if trial["trial"] == 0 else []
        failed = {f"{f['status']}: {f['reason']}" for f in trial["failed"]}
        notes += [f"{len(trial['failed'])} fits {text}" for text in sorted(failed)]
        values = [trial["values"][name] for name in names]
        spread = percent(trial["spread"])
        rows.append([trial["trial"], *values, percent(trial["accuracy"]), spread, ", ".join(notes)])
    print_table(
        f"{outcome['method']} on {outcome['protocol']}: {len(rows)} trials on pseudo-unseen "
        "classes",
        ("trial", *names, MEAN_CLASS, "spread", ""),
        rows,
    )
    out = console()
    for line in _sentences(outcome):
        out.print(line, markup=False, soft_wrap=True)
    error_console().print(f"Kept in {search.folder}.", markup=False, soft_wrap=True, style="dim")


def _sentences(outcome: Json) -> list[str]:
    """Sentences below the table."""
    from zsar_bench.reporters.words import percent, points

    best, noise = outcome["best"], outcome["noise"]
    seeds = len(outcome["seeds"])
    lines = [
        f"mean class: mean over {len(outcome['held_out'])} rotations of held-out seen classes and "
        f"{seeds} pair{'s' * (seeds > 1)} of seeds; spread: standard deviation over rotations.",
        f"Best: trial {best['trial']}, {percent(best['accuracy'])} %, "
        f"{points(best['accuracy'] - outcome['trials'][0]['accuracy'])} points from the profile's "
        "own values. As the best of many it is too high; runs on unseen classes say what it is "
        "worth.",
    ]
    if noise["difference"] is not None:
        lines.append(
            f"Noise: differences of two trials vary by {percent(noise['difference'])} points with "
            f"the classes held out (standard error). Other trials within two of these of the best: "
            f"{noise['not_told_from_best']}."
        )
    return [*lines, str(outcome["next"])]
