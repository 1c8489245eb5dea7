"""Searches of hyper-parameters: planned and executed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.api.listing import Plugins
from zsar_bench.api.requests import data_of, make_request, warn_of_synthetic
from zsar_bench.api.running import SHOWN, Observer, execute_tasks, plan
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.common.code_digest import unchanged
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.common.files import make_folder
from zsar_bench.errors import RunFailed
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.schedule.estimate import estimate
from zsar_bench.runs.schedule.tasks import Task, search_tasks
from zsar_bench.runs.tuning.search_outcome import outcome
from zsar_bench.runs.tuning.tuned import check_spaces, plan_searches

if TYPE_CHECKING:
    from zsar_bench.runs.tuning.search import Search


@dataclass(frozen=True)
class Trial:
    """A point of the declared space.

    Attributes:
        number: 0 has the profile's own values.
        values: parameter -> value.
        accuracy: mean class accuracy over pseudo-unseen splits and seeds.
        spread: its standard deviation over the splits; None for one split.
        failed: fits that failed, each with ``status`` and ``reason``; they count as 0.
    """

    number: int
    values: dict[str, Any]
    accuracy: float
    spread: float | None
    failed: list[dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """A finished search of one method's parameters on one protocol.

    Attributes:
        folder: where it is kept.
        outcome: the content of ``tuning.json``: ``noise``, ``space``,
            ``held_out``, ``seeds`` and more.
    """

    folder: Path
    outcome: dict[str, Any]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.outcome["method"])

    @property
    def protocol(self) -> str:
        """The protocol's id."""
        return str(self.outcome["protocol"])

    @cached_property
    def trials(self) -> list[Trial]:
        """All trials, in the order in which they were made."""
        return [
            Trial(t["trial"], t["values"], t["accuracy"], t["spread"], t["failed"])
            for t in self.outcome["trials"]
        ]

    @property
    def best(self) -> Trial:
        """The best trial; as the best of many, its accuracy is too high."""
        return self.trials[int(self.outcome["best"]["trial"])]


@dataclass(frozen=True)
class PlannedSearches:
    """Searches that are planned, one a protocol and method."""

    searches: list[Search]
    catalogue: Catalogue = field(repr=False)
    jobs: int

    @property
    def runs(self) -> list[RunPlan]:
        """The runs that they start from."""
        return [run for search in self.searches for run in search.plans]

    @property
    def todo(self) -> list[Task]:
        """The fits that are not made yet, and what they need."""
        return search_tasks(self.searches)

    @property
    def fits_left(self) -> int:
        """How many fits are not made yet."""
        return sum(task.id.startswith("trial:") for task in self.todo)

    @property
    def seconds(self) -> tuple[float, bool]:
        """Expected seconds of that work, and whether they were measured on this machine."""
        return estimate(self.todo, self.runs, self.jobs)

    def execute(self, observer: Observer | None = None) -> list[Study]:
        """Make the fits that are not made yet.

        Returns:
            A finished study a search.

        Raises:
            RunFailed: if something failed that is not the parameters' fault.
        """
        for search in self.searches:
            make_folder(search.folder)
        failed = execute_tasks(self.todo, self.jobs, observer, None)
        left = self.fits_left
        if left:
            reasons = sorted({failure.reason for failure in failed.values()})
            why = "; ".join(reasons[:SHOWN]) or "see above"
            raise RunFailed(f"{left} fits could not be made: {why}. The same command tries again.")
        machine = self.searches[0].base.machine
        if not unchanged(machine.code, machine.code_state):
            raise RunFailed("a plugin's files have changed since this command began")
        return [Study(search.folder, outcome(search)) for search in self.searches]


def plan_tuning(
    request: Request,
    plugins: Plugins = (),
    *,
    budget: int = 30,
    seed: int = 0,
    jobs: int = 0,
    on_event: Event = ignore_event,
    catalogue: Catalogue | None = None,
) -> PlannedSearches:
    """Prepare and plan the searches of a request; arguments as of ``plan`` and ``tune``.

    Raises:
        UserError: for anything invalid in the request.
    """
    catalogue = catalogue or load([Path(file) for file in plugins])
    check_spaces(request, catalogue)
    runs = plan(request, jobs=jobs, on_event=on_event, catalogue=catalogue)
    searches = plan_searches(runs.runs, request, budget, seed)
    return PlannedSearches(searches, catalogue, runs.jobs)


def tune(
    methods: str | Iterable[str],
    protocol: str,
    *,
    budget: int = 30,
    seed: int = 0,
    jobs: int = 0,
    plugins: Plugins = (),
    progress: bool | Observer = False,
    **options: Any,
) -> list[Study]:
    """Search declared ranges of methods' parameters on pseudo-unseen classes.

    Args:
        methods: to tune, all with one budget.
        protocol: its seen classes are used; no clip of an unseen class is.
        budget: trials, the profile's own values included.
        seed: of the points to try.
        jobs: workers at once; 0: as many as the cores allow.
        plugins: plugin files to load beside the installed ones.
        progress: show a live table; or an ``Observer`` of your own.
        options: as ``run`` takes them: ``seeds``, ``method_seeds``, ``skeleton_encoder``,
            ``text_encoder``, ``text_set``, ``text_fields``, ``params`` (these are not searched),
            ``profile``, ``data``, ``device``, ``threads``, ``deterministic``, ``timeout``,
            ``memory_limit``, ``results``.

    Returns:
        A finished study a protocol and method. ``run(..., tuned=True)`` runs the best values.

    Raises:
        UserError: for anything invalid in the request.
        RunFailed: if something failed that is not the parameters' fault.
    """
    request = make_request(methods, protocol, **options)
    catalogue = load([Path(file) for file in plugins])
    warn_of_synthetic(data_of(request, catalogue))
    planned = plan_tuning(request, budget=budget, seed=seed, jobs=jobs, catalogue=catalogue)
    if not isinstance(progress, bool):
        return planned.execute(progress)
    from zsar_bench.reporters.progress import make_display

    with make_display([], planned.todo, planned.jobs, not progress) as display:
        return planned.execute(display)
