"""Trials: the validation fits of a selection rule.

A trial fits a round's method without some training subjects, or some seen classes, and evaluates
every state of that fit on the held-out clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import locked, read_json, write_json
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.holdouts import trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import SEEN_VAL, STATES, best_point, validation_subjects
from zsar_bench.runs.fit import Training, fitted
from zsar_bench.runs.score import EvaluationSet, score_states


def read_trials(plan: RunPlan, number: int) -> list[dict[str, Any]]:
    """The ``trial.json`` of each trial of a round."""
    files = plan.round_folder(number).glob("trial-*/trial.json")
    return [read_json(f) for f in sorted(files)]


def run_trial(plan: RunPlan, number: int, trial: int, on_event: Event) -> None:
    """Fit a trial of a round and evaluate its states; writes ``trial.json``."""
    folder = plan.round_folder(number) / f"trial-{trial}"
    with locked(folder):
        if plan.done or (folder / "trial.json").is_file():
            return
        source = trial_sources(plan, number)[trial]
        holdout = make_trial(plan, source)
        training, evaluation = holdout.training, holdout.evaluation(folder)
        log = EventLog(training.name, on_event)
        with fitted(training, log.record):
            accuracies = judge_states(evaluation, training.states(STATES), log.record)
            about = training.about
        write_json(
            folder / "trial.json",
            {
                "name": training.name,
                "round": plan.encoders[number].round.name,
                "held_out": holdout.held_out,
                "clips": len(evaluation.clips),
                "encoder": source.key,
                "accuracies": accuracies,
                "best": best_point(accuracies),
                **{n: about[n] for n in ("seconds", "confinement", "denied")},
                "events": log.events,
            },
        )


@dataclass(frozen=True)
class Holdout:
    """A fit without some training subjects or seen classes, and the test on these.

    Attributes:
        training: the fit.
        held_out: subjects or classes.
        tested: indices of their clips.
        candidates: classes to choose among.
    """

    training: Training
    held_out: list[str]
    tested: list[int]
    candidates: tuple[str, ...]

    def evaluation(self, folder: Path) -> EvaluationSet:
        """The held-out clips as a worker gets them; texts and workers in this folder."""
        training = self.training
        return EvaluationSet(
            training.plan, training.source, self.tested, training.source.round, self.candidates,
            training.name, folder, training.owner, "select",
        )  # fmt: skip


def make_trial(plan: RunPlan, source: FeatureSource, grids: tuple[int, ...] = (STATES,)) -> Holdout:
    """The hold-out of a trial whose fit keeps so many states."""
    round_, clips = source.round, source.dataset.clips
    if plan.rule == SEEN_VAL:
        held = validation_subjects(round_, clips)
        train = [i for i in round_.train if clips["subject"][i] not in held]
        tested = [i for i in round_.train if clips["subject"][i] in held]
        training = Training(plan, source, f"{round_.name} validation", train, grids)
        return Holdout(training, held, tested, round_.seen)
    training = Training(plan, source, round_.name, round_.train, grids)
    return Holdout(training, list(round_.unseen), round_.test_unseen, round_.unseen)


def judge_states(evaluation: EvaluationSet, states: Sequence[Path], on_event: Event) -> list[float]:
    """Mean class accuracy of each of a trial's states; only the parent has the labels."""
    import numpy as np

    from zsar_bench.metrics import accuracy

    column = {c: n for n, c in enumerate(evaluation.classes)}
    classes = evaluation.source.dataset.clips["class"]
    labels = np.array([column[classes[i]] for i in evaluation.clips])
    by_state = score_states(evaluation, states, on_event)
    return [
        accuracy.mean_class(accuracy.judge(scores, labels).credit, labels, len(evaluation.classes))
        for scores in by_state
    ]
