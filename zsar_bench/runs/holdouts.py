"""Trials: the validation fits of a selection rule.

A trial fits a round's method without some training subjects, or some seen classes, and evaluates
every state of that fit on the held-out clips.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import locked, read_json, write_json
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.holdouts import trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import SEEN_VAL, STATES, best_point, validation_subjects
from zsar_bench.runs.fit import Training, fit
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
        training, evaluation, held = make_trial(plan, source, folder)
        log = EventLog(evaluation.name, on_event)
        fit(training, lambda e: log.record({"stage": "fit", **e}))
        fitted = training.about
        accuracies = judge_states(evaluation, training, STATES, log.record)
        write_json(
            folder / "trial.json",
            {
                "name": training.name,
                "round": plan.encoders[number].round.name,
                "held_out": held,
                "clips": len(evaluation.clips),
                "encoder": source.key,
                "accuracies": accuracies,
                "best": best_point(accuracies),
                "seconds": fitted["seconds"],
                "confinement": fitted["confinement"],
                "denied": fitted["denied"],
                "events": log.events,
            },
        )


def make_trial(
    plan: RunPlan, source: FeatureSource, folder: Path
) -> tuple[Training, EvaluationSet, list[str]]:
    """The training and the evaluation set of a trial, and what it holds out."""
    round_, clips = source.round, source.dataset.clips
    if plan.rule == SEEN_VAL:
        held = validation_subjects(round_, clips)
        train = [i for i in round_.train if clips["subject"][i] not in held]
        tested = [i for i in round_.train if clips["subject"][i] in held]
        name, candidates = f"{round_.name} validation", round_.seen
    else:
        held, train, tested = list(round_.unseen), round_.train, round_.test_unseen
        name, candidates = round_.name, round_.unseen
    training = Training(plan, source, name, train, folder, (STATES,))
    owner = training.owner
    evaluation = EvaluationSet(
        plan, source, tested, round_, candidates, name, folder, owner, "select"
    )
    return training, evaluation, held


def judge_states(
    evaluation: EvaluationSet, training: Training, grid: int, on_event: Event
) -> list[float]:
    """Mean class accuracy of a trial's evenly spaced states; only the parent has the labels."""
    import numpy as np

    from zsar_bench.metrics import accuracy

    column = {c: n for n, c in enumerate(evaluation.classes)}
    classes = evaluation.source.dataset.clips["class"]
    labels = np.array([column[classes[i]] for i in evaluation.clips])
    by_state = score_states(evaluation, training, grid, on_event)
    return [
        accuracy.mean_class(accuracy.judge(scores, labels).credit, labels, len(evaluation.classes))
        for scores in by_state
    ]
