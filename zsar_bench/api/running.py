"""Runs: planned, executed, watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from zsar_bench.api.listing import Plugins
from zsar_bench.api.requests import (
    Seeds,
    data_of,
    make_request,
    prepare,
    warn_of_synthetic,
)
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.catalogue.machine import cores
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.common.files import DEFAULT_RESULTS, make_folder
from zsar_bench.errors import RunFailed
from zsar_bench.plans.plan import plan_runs
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.wanted import look_up
from zsar_bench.records.run import Run
from zsar_bench.runs.finish import forget, leases_of, sweep
from zsar_bench.runs.schedule.estimate import estimate
from zsar_bench.runs.schedule.executor import LocalExecutor
from zsar_bench.runs.schedule.tasks import Task, tasks
from zsar_bench.runs.schedule.trackers import Trackers
from zsar_bench.runs.tuning.tuned import with_tuned

SHOWN = 8  #: reasons of failures that an error lists


class Observer(Protocol):
    """Gets every event of every task: ``state``, or ``stage``, ``step``, ``total`` and losses."""

    def record(self, task: Task, event: dict[str, Any]) -> None:
        """Take an event; called from several threads."""


class Silent:
    """An observer that shows nothing and records failures."""

    def record(self, task: Task, event: dict[str, Any]) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Failure:
    """Why a run failed: ``failed``, ``timeout`` or ``oom``, a line, and the worker's last words."""

    status: str
    reason: str
    log: str = ""


@dataclass(frozen=True)
class PlannedRuns:
    """Runs that are planned, and the work that they need.

    Attributes:
        runs: one a protocol variant, method, seed pair, draw and rule.
        catalogue: the plugins behind them.
        jobs: workers at once.
    """

    runs: list[RunPlan]
    catalogue: Catalogue = field(repr=False)
    jobs: int

    @cached_property
    def todo(self) -> list[Task]:
        """The work that is not done yet, each shared piece once."""
        return tasks(self.runs)

    @property
    def seconds(self) -> tuple[float, bool]:
        """Expected seconds of that work, and whether they were measured on this machine."""
        return estimate(self.todo, self.runs, self.jobs)

    @property
    def done(self) -> list[Run]:
        """The runs that are complete, in order."""
        return [Run(plan.folder) for plan in self.runs if plan.done]

    def execute(self, observer: Observer | None = None, force: bool = False) -> dict[str, Failure]:
        """Do what is not done yet; interrupted or killed, the same plan goes on.

        Args:
            observer: gets every event.
            force: make again what is already there.

        Returns:
            Run id -> why it failed. The others are complete.
        """
        make_folder(self.runs[0].results / "runs")
        for plan in self.runs:
            if force:
                forget(plan)
        leases = leases_of(plan for plan in self.runs if not plan.done)
        for plan in self.runs:
            sweep(plan, leases)
        todo = tasks(self.runs)
        trackers = Trackers(self.catalogue) if todo else None
        return execute_tasks(todo, self.jobs, observer, trackers)


def execute_tasks(
    todo: Sequence[Task], jobs: int, observer: Observer | None, trackers: Trackers | None
) -> dict[str, Failure]:
    """Run tasks; run id -> why it failed."""
    failed: dict[str, Failure] = {}
    watcher = observer or Silent()

    def record(task: Task, event: dict[str, Any]) -> None:
        if event.get("state") == "failed":
            failure = Failure(event["status"], event["reason"], event.get("log", ""))
            for run in task.runs:
                failed.setdefault(run, failure)
        watcher.record(task, event)
        if trackers is not None:
            trackers.record(task, event)

    with trackers or nullcontext():
        LocalExecutor(jobs).run(todo, record)
    return failed


def plan(
    request: Request,
    plugins: Plugins = (),
    *,
    jobs: int = 0,
    on_event: Event = ignore_event,
    catalogue: Catalogue | None = None,
) -> PlannedRuns:
    """Prepare and plan the runs of a request; nothing is trained yet.

    Args:
        request: see ``make_request``.
        plugins: plugin files to load beside the installed ones.
        jobs: workers at once; 0: one on an accelerator, else as many as the cores allow.
        on_event: gets ``stage``, ``step`` and ``total`` while a stand-in is made.
        catalogue: what ``plugins`` would give, where it is loaded already.

    Raises:
        UserError: for anything in the request that cannot be.
    """
    catalogue = catalogue or load([Path(file) for file in plugins])
    runs = [
        run
        for wanted in look_up(request, catalogue)
        for run in plan_runs(wanted, prepare(wanted, on_event))
    ]
    if request.tuned:
        runs = with_tuned(runs, request)
    return PlannedRuns(runs, catalogue, jobs or default_jobs(runs[0]))


def default_jobs(plan: RunPlan) -> int:
    """Workers at once: one on an accelerator, else as many as the cores hold."""
    return 1 if plan.machine.device != "cpu" else max(1, cores() // plan.machine.threads)


def run(
    methods: str | Iterable[str],
    protocol: str,
    *,
    seeds: Seeds = 0,
    method_seeds: Seeds | None = None,
    fix_encoder: int | None = None,
    skeleton_encoder: str | None = None,
    features: str | Path | None = None,
    text_encoder: str | None = None,
    text_set: str | Path | None = None,
    text_fields: Iterable[str] | None = None,
    params: Mapping[str, Any] | None = None,
    profile: str | None = None,
    tuned: bool = False,
    selection: str | None = None,
    prove: bool = False,
    data: str = "auto",
    splits: int = 0,
    text_control: str | None = None,
    draws: int | None = None,
    gzsl: str | None = None,
    device: str = "auto",
    threads: int = 1,
    deterministic: bool = False,
    jobs: int = 0,
    timeout: float | None = None,
    memory_limit: int | str | None = None,
    results: str | Path = DEFAULT_RESULTS,
    force: bool = False,
    plugins: Plugins = (),
    progress: bool | Observer = False,
) -> list[Run]:
    """Train and score methods on a protocol. The same call again continues or skips.

    Args:
        methods: a name, or a list of names.
        protocol: id, alias or file, or classes drawn as in ``"DATASET/random:5@0"``.
        seeds: of encoder and method alike: a number, several, or a text such as ``"0-4"``.
        method_seeds: crossed with ``seeds``, which then are the encoders'.
        fix_encoder: hold this encoder seed while ``seeds`` are the method's.
        skeleton_encoder: name; None: the best available.
        features: folder of released features, in the place of a trained encoder.
        text_encoder: name; None: the best available.
        text_set: text set of the data set, or files (.toml, .csv, .txt, .xlsx, or a folder).
        text_fields: instead of the method's recipe.
        params: ``{"lr": 1e-3, "METHOD.width": 64}``; a name without owner is for all methods.
        profile: ``paper`` or ``laptop``.
        tuned: take the values of a finished search, see ``tune``.
        selection: which checkpoint counts: ``last``, ``seen-val``, ``pseudo-unseen``,
            ``oracle@E``, several by comma, or ``all``.
        prove: refit among scrambled unseen clips and score slightly moved inputs.
        data: ``real``, ``stand-in`` (synthetic clips) or ``auto``: real where imported.
        splits: so many random class splits instead of the published one.
        text_control: ``shuffled-unseen``, ``shuffled-all``, ``random`` or ``shuffled-seen``.
        draws: of the text control.
        gzsl: ``constant`` or ``gate``: test clips of seen classes too, over all classes.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads of a worker; part of a run's identity.
        deterministic: CUDA: the same bits every time, slower.
        jobs: workers at once; 0: as many as the cores allow.
        timeout: seconds after which a fit or a scoring is ended.
        memory_limit: bytes, or a text such as ``"4G"``, over which it is ended.
        results: where runs are stored.
        force: run again what is already there.
        plugins: plugin files to load beside the installed ones.
        progress: show a live table (terminal or notebook); or an ``Observer`` of your own.

    Returns:
        The finished runs, methods in the order given, then seeds, draws and rules.

    Raises:
        UserError: for anything in the request that cannot be.
        RunFailed: if a run fails; the others are finished first, and are kept.
    """
    request = make_request(
        methods,
        protocol,
        seeds=seeds,
        method_seeds=method_seeds,
        fix_encoder=fix_encoder,
        skeleton_encoder=skeleton_encoder,
        features=features,
        text_encoder=text_encoder,
        text_set=text_set,
        text_fields=text_fields,
        params=params,
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
    catalogue = load([Path(file) for file in plugins])
    warn_of_synthetic(data_of(request, catalogue))
    planned = plan(request, jobs=jobs, catalogue=catalogue)
    failed = watched(planned, progress, force)
    if failed:
        raise RunFailed(_several(failed.values(), len(planned.runs)))
    return planned.done


def watched(
    planned: PlannedRuns, progress: bool | Observer, force: bool = False
) -> dict[str, Failure]:
    """Execute planned runs with a live table, an observer, or neither."""
    if not isinstance(progress, bool):
        return planned.execute(progress, force)
    from zsar_bench.reporters.progress import make_display

    with make_display(planned.runs, planned.todo, planned.jobs, not progress) as display:
        return planned.execute(display, force)


def _several(failed: Iterable[Failure], count: int) -> str:
    failed = list(failed)
    reasons = list(dict.fromkeys(f"{failure.status}: {failure.reason}" for failure in failed))
    return f"{len(failed)} of {count} runs failed: {'; '.join(reasons[:SHOWN])}"
