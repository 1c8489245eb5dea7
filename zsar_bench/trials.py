"""Trials: what a selection rule looks at in the place of test clips.

A trial fits a round's method without some training performers, or some seen classes, and judges
every state of that fit on what it was not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsar_bench.diary import Diary
from zsar_bench.fitting import Training, fit
from zsar_bench.paths import locked, read_json, write_json
from zsar_bench.run_plan import RunPlan
from zsar_bench.scoring import Exam, score_states
from zsar_bench.selection import (
    PSEUDO_UNSEEN,
    SEEN_VAL,
    STATES,
    best_point,
    rotated,
    rotations,
    validation_performers,
)
from zsar_bench.sources import FeatureSource

Event = Callable[[dict[str, Any]], None]


def read_trials(plan: RunPlan, number: int) -> list[dict[str, Any]]:
    """What the trials of a round found, each its ``trial.json``."""
    files = plan.round_folder(number).glob("trial-*/trial.json")
    return [read_json(f) for f in sorted(files)]


def trial_sources(plan: RunPlan, number: int) -> list[FeatureSource]:
    """The features of a round's trials: of the same encoder to validate on seen classes; of
    encoders that never met the held-out classes to test on these.

    Raises:
        UserError: if the rule cannot be followed on this round.
    """
    source = plan.encoders[number]
    if plan.rule == SEEN_VAL:
        validation_performers(source.round, source.dataset.clips)  # or it is refused, before work
        return [source]
    if plan.rule != PSEUDO_UNSEEN:
        return []
    classes = source.dataset.clips["class"]
    return [
        source.retrained(rotated(source.round, r, held, classes))
        for r, held in enumerate(rotations(plan.protocol, source.round))
    ]


def run_trial(plan: RunPlan, number: int, trial: int, on_event: Event) -> None:
    """Fit a trial of a round and judge its states; leaves ``trial.json``."""
    folder = plan.round_folder(number) / f"trial-{trial}"
    with locked(folder):
        if plan.done or (folder / "trial.json").is_file():
            return
        source = trial_sources(plan, number)[trial]
        training, exam, held = make_trial(plan, source, folder)
        diary = Diary(exam.name, on_event)
        fit(training, lambda e: diary.hear({"stage": "fit", **e}))
        about = training.about
        accuracies = judge_states(exam, training, STATES, diary.hear)
        write_json(
            folder / "trial.json",
            {
                "name": training.name,
                "round": plan.encoders[number].round.name,
                "held_out": held,
                "clips": len(exam.clips),
                "encoder": source.key,
                "accuracies": accuracies,
                "best": best_point(accuracies),
                "seconds": about["seconds"],
                "walls": about["walls"],
                "denied": about["denied"],
                "events": diary.events,
            },
        )


def make_trial(
    plan: RunPlan, source: FeatureSource, folder: Path
) -> tuple[Training, Exam, list[str]]:
    """What a trial fits on, what it is asked, and what it holds out."""
    one, clips = source.round, source.dataset.clips
    if plan.rule == SEEN_VAL:
        held = validation_performers(one, clips)
        train = [i for i in one.train if clips["subject"][i] not in held]
        asked = [i for i in one.train if clips["subject"][i] in held]
        name, candidates = f"{one.name} validation", one.seen
    else:
        held, train, asked = list(one.unseen), one.train, one.test_unseen
        name, candidates = one.name, one.unseen
    training = Training(plan, source, name, train, folder, (STATES,))
    owner = training.owner
    exam = Exam(plan, source, asked, one, candidates, name, folder, owner, "select")
    return training, exam, held


def judge_states(exam: Exam, training: Training, grid: int, on_event: Event) -> list[float]:
    """Macro accuracy of a trial's evenly spaced states, by labels that only the parent knows."""
    import numpy as np

    from zsar_bench import metrics

    column = {c: n for n, c in enumerate(exam.classes)}
    classes = exam.source.dataset.clips["class"]
    labels = np.array([column[classes[i]] for i in exam.clips])
    found = score_states(exam, training, grid, on_event)
    return [
        metrics.macro(metrics.judge(scores, labels).credit, labels, len(exam.classes))
        for scores in found
    ]
