"""The work of many runs as tasks with dependencies, every shared piece once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from zsar_bench.common.events import Event
from zsar_bench.features.encoding import ensure
from zsar_bench.features.text_embeddings import ensure_texts
from zsar_bench.plans.holdouts import rotation_sources, trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.finish import finish_run, leases_of
from zsar_bench.runs.gzsl import run_evaluation, run_rotation
from zsar_bench.runs.holdouts import run_trial
from zsar_bench.runs.round import prove, run_round
from zsar_bench.runs.tuning.search import Search, run_fit


@dataclass(frozen=True)
class Task:
    """A piece of work for an executor.

    Attributes:
        id: unique.
        title: for people.
        needs: ids of tasks that must have succeeded before.
        work: does it; reports progress through its argument.
        runs: ids of the runs that wait for it.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    work: Callable[[Event], Any] = field(repr=False)
    runs: tuple[str, ...] = ()


def tasks(plans: Iterable[RunPlan]) -> list[Task]:
    """The work that is not done yet, every shared piece once, in an order that respects needs."""
    plans = [p for p in plans if not p.done]
    leases = leases_of(plans)
    pieces: dict[str, Task] = {}
    users: dict[str, list[str]] = {}

    def add(
        id: str, title: str, needs: tuple[str, ...], work: Callable[[Event], Any], run: str
    ) -> None:
        users.setdefault(id, []).append(run)
        pieces.setdefault(id, Task(id, title, needs, work))

    for plan in plans:
        run = plan.run_id
        draw = "" if plan.control is None else f" draw {plan.control.draw}"
        draw += f" {plan.rule}" if len(plan.rules) > 1 else ""
        texts = f"texts:{plan.texts.key}"
        title = f"texts with {plan.texts.entry.name}"
        add(texts, title, (), _call(ensure_texts, plan.texts), run)
        rounds = []
        for number, encoder in enumerate(plan.encoders):
            tokens = "tokens" in plan.wants
            need = f"encoder:{encoder.key}{':tokens' if tokens else ''}"
            add(need, encoder.title, (), _call(ensure, encoder, plan.wants), run)
            rounds.append(f"round:{run}:{number}")
            title = f"{plan.method.name} {encoder.round.name} seed {plan.method_seed}{draw}"
            needs = [texts, need]
            for trial, source in enumerate(trial_sources(plan, number)):
                encoder_need = f"encoder:{source.key}{':tokens' if tokens else ''}"
                add(encoder_need, source.title, (), _call(ensure, source, plan.wants), run)
                needs.append(f"trial:{run}:{number}:{trial}")
                add(
                    needs[-1],
                    f"{title} trial {trial + 1}",
                    (texts, encoder_need),
                    _call(run_trial, plan, number, trial),
                    run,
                )
            add(rounds[-1], title, tuple(needs), _call(run_round, plan, number), run)
            after = (rounds[-1],)
            turns = []
            for turn, (_, source) in enumerate(rotation_sources(plan, number)):
                encoder_need = f"encoder:{source.key}{':tokens' if tokens else ''}"
                add(encoder_need, source.title, (), _call(ensure, source, plan.wants), run)
                turns.append(f"rotation:{run}:{number}:{turn}")
                trials = [n for n in needs if n.startswith("trial:")]
                work = _call(run_rotation, plan, number, turn)
                add(
                    turns[-1],
                    f"{title} rotation {turn + 1}",
                    (texts, encoder_need, *trials),
                    work,
                    run,
                )
            if plan.gzsl:
                rounds += [*turns, f"gzsl:{run}:{number}"]
                add(rounds[-1], f"{title} gzsl", after, _call(run_evaluation, plan, number), run)
            if plan.prove:
                rounds.append(f"proof:{run}:{number}")
                add(rounds[-1], f"{title} proof", after, _call(prove, plan, number), run)
        title = f"{plan.method.name} seed {plan.method_seed}{draw}"
        add(f"run:{run}", title, tuple(rounds), _call(finish_run, plan, leases), run)
    return [Task(t.id, t.title, t.needs, t.work, tuple(users[t.id])) for t in pieces.values()]


def search_tasks(searches: Iterable[Search]) -> list[Task]:
    """The fits of searches that are not made yet, and what these need; shared pieces once."""
    pieces: dict[str, Task] = {}
    for search in searches:
        for fit in search.fits():
            if search.file(fit).is_file():
                continue
            plan, source = search.plans[fit.pair], search.source(fit)
            texts, encoder = f"texts:{plan.texts.key}", f"encoder:{source.key}"
            encoder += ":tokens" if "tokens" in plan.wants else ""
            id = f"trial:{search.key}:{search.file(fit).stem}"
            title = f"{plan.method.name} trial {fit.trial} {source.round.name}"
            for task in (
                Task(
                    texts,
                    f"texts with {plan.texts.entry.name}",
                    (),
                    _call(ensure_texts, plan.texts),
                    (plan.run_id,),
                ),
                Task(encoder, source.title, (), _call(ensure, source, plan.wants), (plan.run_id,)),
                Task(id, title, (texts, encoder), _call(run_fit, search, fit), (plan.run_id,)),
            ):
                pieces.setdefault(task.id, task)
    return [*pieces.values()]


def _call(work: Callable[..., Any], *arguments: Any) -> Callable[[Event], Any]:
    return lambda on_event: work(*arguments, on_event)
