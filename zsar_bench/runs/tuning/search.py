"""Searches of a method's parameters, evaluated on pseudo-unseen classes only.

<results>/tuning/<protocol>/<method>/<key>/trials/007-s0-0-round-0-rotation-2.json   one fit
<results>/tuning/<protocol>/<method>/<key>/tuning.json                               the outcome

A trial is a point of the declared space. It is fitted and evaluated on every rotation of every
round like the rule ``pseudo-unseen`` (``zsar_bench.runs.holdouts``), but in its last state only,
with encoders trained without the held-out classes. No clip of an unseen class is used. Trial 0 has
the values of a run without a search.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.search_space import Range, points, space_of
from zsar_bench.common.events import Event
from zsar_bench.common.files import locked, make_folder, read_json, stopping, write_json
from zsar_bench.common.hashing import digest
from zsar_bench.errors import RunFailed, StorageError, UserError
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.holdouts import trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.fit import fitted
from zsar_bench.runs.holdouts import judge_states, make_trial

VERSION = 1  #: rises when a search computes other results from the same inputs
OUTCOME = "tuning.json"


@dataclass(frozen=True)
class Fit:
    """One of a trial's fits: numbers of the trial, pair of seeds, round, and rotation in it."""

    trial: int
    pair: int
    round: int
    rotation: int


@dataclass(frozen=True)
class Search:
    """A search of one method's parameters on one protocol.

    Attributes:
        plans: the runs it starts from, one a pair of seeds, of the rule ``pseudo-unseen``.
        budget: trials at most.
        seed: of the points.
        fixed: parameters that are not searched, because the user has set them.
    """

    plans: tuple[RunPlan, ...]
    budget: int
    seed: int = 0
    fixed: tuple[str, ...] = ()

    @property
    def base(self) -> RunPlan:
        """The first of the plans; all agree but for their seeds."""
        return self.plans[0]

    @cached_property
    def space(self) -> tuple[Range, ...]:
        return space_of(self.base.method.schema, self.fixed)

    @cached_property
    def trials(self) -> list[dict[str, Any]]:
        """The values of every trial, as many as the budget and the space have."""
        salt = self.base.method.name, self.base.protocol.id, self.seed
        return [*islice(points(self.space, self.base.params.science, *salt), self.budget)]

    @cached_property
    def sources(self) -> list[list[list[FeatureSource]]]:
        """Features of each pair of seeds, round and rotation.

        Raises:
            UserError: if the protocol has too few classes to hold some out.
        """
        try:
            return [
                [trial_sources(plan, number) for number in range(len(plan.encoders))]
                for plan in self.plans
            ]
        except UserError as error:
            raise UserError(
                error.what, "Nothing can be tuned here; try another protocol."
            ) from None

    @property
    def seeds(self) -> list[tuple[int, int]]:
        return [(plan.encoder_seed, plan.method_seed) for plan in self.plans]

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        """The classes held out in each rotation of each round, by its name."""
        return {s.round.name: list(s.round.unseen) for row in self.sources[0] for s in row}

    @cached_property
    def recipe(self) -> str:
        """Digest of what two searches of one procedure share, on any machine."""
        limits = [self.base.machine.timeout, self.base.machine.memory]
        return digest([VERSION, *self._wanted, self.budget, self.seed, self.seeds, limits])

    @property
    def _wanted(self) -> list[Any]:
        """Space, and the parameters that a search starts from."""
        return [
            {searched.name: searched.as_json for searched in self.space},
            self.base.params.science,
        ]

    @cached_property
    def basis(self) -> str:
        """Digest of all that a run must share with a search to use its values: all but budget and
        seeds."""
        plan = self.base
        sources = [s for row in self.sources[0] for s in row]
        return digest(
            {
                "version": VERSION,
                "protocol": plan.protocol.digest,
                "held_out": self.parts,
                "method": [plan.method.name, plan.method.digest, *self._wanted],
                "features": [replace(s, seed=0).key for s in sources if isinstance(s, EncoderPlan)],
                "texts": plan.identity["texts"],
                "precision": plan.precision,
                "machine": plan.machine.identity,
            }
        )

    @cached_property
    def key(self) -> str:
        """A short digest of all that one of its fits depends on, whatever the budget."""
        limits = [self.base.machine.timeout, self.base.machine.memory]
        return digest([self.basis, self.seed, self.seeds, limits])[:16]

    @property
    def folder(self) -> Path:
        return searches_of(self.base) / self.key

    def fits(self) -> Iterator[Fit]:
        """All fits, trial by trial."""
        for trial in range(len(self.trials)):
            for pair, rounds in enumerate(self.sources):
                for number, rotations in enumerate(rounds):
                    for rotation in range(len(rotations)):
                        yield Fit(trial, pair, number, rotation)

    def plan(self, fit: Fit) -> RunPlan:
        """The run whose parameters this fit tries."""
        plan = self.plans[fit.pair]
        science = plan.params.science | self.trials[fit.trial]
        return replace(plan, params=replace(plan.params, science=science))

    def source(self, fit: Fit) -> FeatureSource:
        return self.sources[fit.pair][fit.round][fit.rotation]

    def file(self, fit: Fit) -> Path:
        """Where the outcome of a fit is kept."""
        encoder, method = self.seeds[fit.pair]
        rotation = f"round-{fit.round}-rotation-{fit.rotation}"
        return self.folder / "trials" / f"{fit.trial:03}-s{encoder}-{method}-{rotation}.json"


def searches_of(plan: RunPlan) -> Path:
    """Where the searches of a method on a protocol are kept."""
    return plan.results / "tuning" / plan.protocol.folder / plan.method.name


def check_search(plan: RunPlan) -> None:
    """Refuse protocols on which a search would use unseen classes, or is not possible.

    Raises:
        UserError: with the reason.
    """
    if not all(isinstance(e, EncoderPlan) for e in plan.encoders):
        raise UserError(
            "A search trains encoders without some seen classes, and nobody can train that of "
            "released features again."
        )
    rounds = [e.round for e in plan.encoders]
    turns = {c for round_ in rounds for c in round_.seen} & {
        c for round_ in rounds for c in round_.unseen
    }
    if turns:
        raise UserError(
            f"In '{plan.protocol.id}' classes take turns: {len(turns)} of them are seen in one "
            "round and unseen in another, so values chosen on the first would be chosen on "
            "classes that the second tests.",
            "Tune on a protocol with one set of unseen classes.",
        )


def run_fit(search: Search, trial_fit: Fit, on_event: Event) -> None:
    """Make one fit of a trial, evaluate it, and write its file.

    A method that fails, or parameters that do not go together, count as accuracy 0.

    Raises:
        RunFailed: if the user interrupts.
        UserError: for everything that is not the parameters' fault.
    """
    file = search.file(trial_fit)
    work = search.folder / f".{file.stem}.part"
    with locked(work):
        if file.is_file():
            return
        plan, source = search.plan(trial_fit), search.source(trial_fit)
        holdout = make_trial(plan, source, grids=())
        training, evaluation = holdout.training, holdout.evaluation(work)
        started = time.monotonic()
        accuracy, status, reason = 0.0, "done", ""
        try:
            with fitted(training, on_event):
                accuracy = judge_states(evaluation, training.states(1), on_event)[0]
        except RunFailed as error:
            if stopping.is_set():
                raise
            status, reason = error.status, error.reason
        except StorageError:
            raise
        except UserError as error:
            if not _do_not_fit(plan):
                raise
            status, reason = "failed", error.what
        write_json(
            make_folder(file.parent) / file.name,
            {
                "trial": trial_fit.trial,
                "values": search.trials[trial_fit.trial],
                "seeds": search.seeds[trial_fit.pair],
                "part": source.round.name,
                "held_out": holdout.held_out,
                "clips": len(evaluation.clips),
                "encoder": source.key,
                "accuracy": accuracy,
                "status": status,
                "reason": reason,
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        training.store.drop([training.stage.key])
        shutil.rmtree(work, ignore_errors=True)
    if reason:
        on_event(
            {"note": f"trial {trial_fit.trial}, {source.round.name}: {reason}; it counts as 0"}
        )


def _do_not_fit(plan: RunPlan) -> bool:
    """Whether the method's own class refuses the parameters, by a rule between them."""
    from zsar_bench.catalogue.settings import check_together

    try:
        check_together([(plan.method, plan.params)], plan.machine)
    except UserError:
        return True
    return False


def read_fits(search: Search) -> list[dict[str, Any]]:
    """The outcome of every fit of a search.

    Raises:
        UserError: if one is missing, damaged, or of other values.
    """
    outcomes = []
    for trial_fit in search.fits():
        file = search.file(trial_fit)
        outcome = read_json(file)
        accuracy = outcome.get("accuracy") if isinstance(outcome, dict) else None
        valid = isinstance(accuracy, float) and 0 <= accuracy <= 1
        if not valid or outcome.get("values") != search.trials[trial_fit.trial]:
            raise UserError(f"{file} is damaged.", "Delete it: the same command makes it again.")
        outcomes.append(outcome)
    return outcomes
