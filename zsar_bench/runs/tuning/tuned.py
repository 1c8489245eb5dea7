"""Runs with the best values of a search."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue.search_space import space_of
from zsar_bench.catalogue.settings import Settings
from zsar_bench.common.files import read_json
from zsar_bench.common.hashing import digest
from zsar_bench.errors import UserError
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import PSEUDO_UNSEEN
from zsar_bench.runs.tuning.search import OUTCOME, Search, check_search, searches_of

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue, Entry
    from zsar_bench.plans.request import Request
    from zsar_bench.records.parts import TuningPart

Json = dict[str, Any]

DEFAULT_BUDGET = 30


def fixed_by(request: Request, method: str) -> tuple[str, ...]:
    """Parameters of a method that the user has set: they are not searched."""
    return tuple(a.key for a in request.assignments if a.owner in ("", method))


def search_from(
    plans: Sequence[RunPlan], request: Request, budget: int = DEFAULT_BUDGET, seed: int = 0
) -> Search:
    """The search that starts from these runs, which differ by their seeds only.

    Raises:
        UserError: if the method declares nothing to search, or the protocol does not allow it.
    """
    fixed = fixed_by(request, plans[0].method.name)
    _check_space(plans[0].method, fixed)
    check_search(plans[0])
    starts = [
        replace(plan, rule=PSEUDO_UNSEEN, rules=(), control=None, prove=False) for plan in plans
    ]
    return Search(tuple(starts), budget, seed, fixed)


def _check_space(method: Entry, fixed: Sequence[str]) -> None:
    every = space_of(method.schema)
    if not every:
        raise UserError(
            f"The method '{method.name}' declares no search ranges: there is nothing to tune.",
            "Run it as it is, without --tuned. A range is declared by science(..., search=...).",
        )
    if not space_of(method.schema, fixed):
        raise UserError(
            f"Every parameter of '{method.name}' that could be searched is set.",
            f"Leave out a --set of {' or '.join(searched.name for searched in every)}.",
        )


def check_spaces(request: Request, catalogue: Catalogue) -> None:
    """Refuse, before any data are read, methods that have nothing to search.

    Raises:
        UserError: naming the first of them.
    """
    for name in request.methods:
        _check_space(catalogue.find("methods", name), fixed_by(request, name))


def plan_searches(
    plans: Iterable[RunPlan], request: Request, budget: int, seed: int
) -> list[Search]:
    """One search a protocol and method, all of one budget.

    Args:
        plans: the runs to start from.
        request: of the user.
        budget: trials at most.
        seed: of the points.

    Raises:
        UserError: if a protocol does not allow it.
    """
    groups: dict[tuple[str, str], list[RunPlan]] = {}
    for plan in plans:
        groups.setdefault((plan.protocol.id, plan.method.name), []).append(plan)
    searches = [search_from(group, request, budget, seed) for group in groups.values()]
    for search in searches:
        assert search.sources  # refused here, before any work, if at all
    return searches


def with_tuned(plans: Sequence[RunPlan], request: Request) -> list[RunPlan]:
    """The same runs with the best values of the finished searches that they need.

    Raises:
        UserError: with the command to type, if there is no such search; if there are several; or
            if those of different methods have different budgets.
    """
    if request.splits:
        raise UserError(
            "--tuned takes the search of one protocol; --splits makes others of it.",
            "Leave out --splits or --tuned.",
        )
    searches: dict[tuple[str, str], tuple[TuningPart, Json]] = {}
    tuned = []
    for plan in plans:
        key = plan.protocol.id, plan.method.name
        if key not in searches:
            searches[key] = _finished(plan, request)
        part, values = searches[key]
        tuned.append(replace(plan, params=_settings(plan.params, part, values), tuning=part))
    check_budgets(tuned)
    return tuned


def check_budgets(plans: Iterable[RunPlan]) -> None:
    """Refuse runs that come from searches of different budgets: they would not compare methods.

    Raises:
        UserError: with what each has.
    """
    budgets = {f"{p.method.name} on {p.protocol.id}": p.tuning.budget for p in plans if p.tuning}
    if len({*budgets.values()}) > 1:
        described = ", ".join(f"{name} {budget}" for name, budget in budgets.items())
        raise UserError(
            f"These searches have different budgets ({described} trials): a table of them would "
            "compare budgets, not methods.",
            f"Search again with --budget {max(budgets.values())}: it goes on where the smaller "
            "one ended.",
        )


def _settings(base: Settings, part: TuningPart, values: Json) -> Settings:
    """The parameters of a tuned run; its profile says so."""
    mark = f"tuned, budget {part.budget}"
    plain, bracket, changed = base.profile.partition(" (")
    profile = f"{plain} ({changed[:-1]}; {mark})" if bracket else f"{plain} ({mark})"
    return replace(base, science=base.science | values, profile=profile, published=False)


def _finished(plan: RunPlan, request: Request) -> tuple[TuningPart, Json]:
    """The outcome of the finished search that a run takes its values from."""
    from zsar_bench.records.parts import TuningPart

    search = search_from([plan], request)
    folder = searches_of(plan)
    finished = {file: _read(file) for file in sorted(folder.glob(f"[!.]*/{OUTCOME}"))}
    same = {file: outcome for file, outcome in finished.items() if outcome["basis"] == search.basis}
    if not same:
        remark = f" ({len(finished)} others are in {folder})" if finished else ""
        raise UserError(
            f"There is no finished search of '{plan.method.name}' on '{plan.protocol.id}' with "
            f"exactly these texts, encoders, parameters and device{remark}.",
            f"Type: {tune_command(request, plan.method.name)}",
        )
    if len(same) > 1:
        described = "; ".join(f"{f.parent} (seeds {o['seeds']})" for f, o in same.items())
        raise UserError(
            f"There are {len(same)} finished searches of '{plan.method.name}' on "
            f"'{plan.protocol.id}' that differ in their seeds or limits: {described}.",
            "Whoever may choose among searches has searched more than the budget says: delete "
            "the folders of all but one.",
        )
    (outcome,) = same.values()
    best = outcome["best"]
    part = TuningPart(
        budget=outcome["budget"],
        trials=len(outcome["trials"]),
        trial=best["trial"],
        accuracy=best["accuracy"],
        base_accuracy=outcome["trials"][0]["accuracy"],
        space=outcome["space"],
        seeds=outcome["seeds"],
        recipe=outcome["recipe"],
        search=outcome["digest"],
    )
    return part, dict(best["values"])


def _read(file: Path) -> Json:
    """A search's outcome.

    Raises:
        UserError: if it was changed.
    """
    outcome = read_json(file)
    content = {k: v for k, v in outcome.items() if k not in ("digest", "next")}
    if outcome.get("digest") != digest(content):
        raise UserError(
            f"{file} is not as the search left it.",
            "Delete it: the same command of tune makes it again from its trials.",
        )
    return dict(outcome)


def tune_command(request: Request, method: str) -> str:
    """The command that makes the search which a run needs."""
    words = ["zsar-bench", "tune", method, "--protocol", request.protocol]
    words += ["--budget", str(DEFAULT_BUDGET)]
    given = {
        "--skeleton-encoder": request.skeleton_encoder,
        "--text-encoder": request.text_encoder,
        "--texts": request.texts,
        "--text-fields": ",".join(request.text_fields) if request.text_fields else None,
        "--profile": request.profile,
        "--data": None if request.data == "auto" else request.data,
        "--device": None if request.device == "auto" else request.device,
        "--threads": None if request.threads == 1 else request.threads,
    }
    for option, value in given.items():
        words += [] if value is None else [option, str(value)]
    for a in request.assignments:
        words += ["--set", f"{a.owner}.{a.key}={a.text}" if a.owner else f"{a.key}={a.text}"]
    words += ["--deterministic"] if request.deterministic else []
    return shlex.join(words)
