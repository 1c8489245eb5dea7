"""Trials: what a selection rule looks at in the place of test clips.

A trial fits a round's method without some training performers, or some seen classes, and judges
every state of that fit on what it was not shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsar_bench.common.events import Diary, Event
from zsar_bench.common.files import locked, read_json, write_json
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.holdouts import trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import (
    SEEN_VAL,
    STATES,
    best_point,
    validation_performers,
)
from zsar_bench.runs.fit import Training, fit
from zsar_bench.runs.score import Exam, score_states


def read_trials(plan: RunPlan, number: int) -> list[dict[str, Any]]:
    """What the trials of a round found, each its ``trial.json``."""
    files = plan.round_folder(number).glob("trial-*/trial.json")
    return [read_json(f) for f in sorted(files)]


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

    from zsar_bench.metrics import accuracy

    column = {c: n for n, c in enumerate(exam.classes)}
    classes = exam.source.dataset.clips["class"]
    labels = np.array([column[classes[i]] for i in exam.clips])
    found = score_states(exam, training, grid, on_event)
    return [
        accuracy.macro(accuracy.judge(scores, labels).credit, labels, len(exam.classes))
        for scores in found
    ]
