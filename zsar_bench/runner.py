"""One run: every round fitted and scored in workers, then joined with labels by the parent.

<run>.part/round-N/round.json, scores.sealed     a finished round
<run>.part/round-N/trial-R/trial.json            a rotation, or a validation, of a round
<run>.part/round-N/curve.sealed                  scores of every state, where a rule peeks
<run>.part/out/                                  what becomes the run's folder
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.codehash import unchanged
from zsar_bench.controls import SHUFFLED_UNSEEN, Control
from zsar_bench.errors import RunFailed
from zsar_bench.fitting import Training, fit, full_training
from zsar_bench.paths import locked, make_folder, read_json, rename_folder, write_bytes, write_json
from zsar_bench.prove import prove_round
from zsar_bench.run_plan import RunPlan
from zsar_bench.scoring import RESCORED, Exam, Scorer, rescore
from zsar_bench.seals import sealed_content, write_sealed
from zsar_bench.selection import (
    LAST,
    PSEUDO_UNSEEN,
    SEEN_VAL,
    STATES,
    best_point,
    evaluations,
    median_point,
    peeks,
    rotated,
    rotations,
    validation_performers,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.record import Record
    from zsar_bench.sources import FeatureSource

Event = Callable[[dict[str, Any]], None]


class Journal:
    """What is heard in one stage of a run, for the run's ``events.jsonl``."""

    def __init__(self, name: str, on_event: Event) -> None:
        self.events: list[dict[str, Any]] = []
        self._name = name
        self._on_event = on_event

    def hear(self, event: dict[str, Any]) -> None:
        """Note an event and pass it on."""
        event = {"round": self._name, **event}
        self.events.append({"time": round(time.time(), 3), **event})
        self._on_event(event)


def round_folder(plan: RunPlan, number: int) -> Path:
    """Where a round lives until its run is complete."""
    return plan.part / f"round-{number}"


# --- Trials: what a rule looks at instead of test clips ---------------------------------------


def trial_sources(plan: RunPlan, number: int) -> list[FeatureSource]:
    """The features of a round's trials: of the same encoder to validate on seen classes; of
    encoders that never met the held-out classes to test on these."""
    source = plan.encoders[number]
    if plan.rule == SEEN_VAL:
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
    folder = round_folder(plan, number) / f"trial-{trial}"
    with locked(folder):
        if plan.done or (folder / "trial.json").is_file():
            return
        source = trial_sources(plan, number)[trial]
        training, exam, held = _trial(plan, source, folder)
        journal = Journal(exam.name, on_event)
        fit(training, lambda e: journal.hear({"stage": "fit", **e}))
        about = training.about
        accuracies = _judge_states(exam, training, journal.hear)
        write_json(
            folder / "trial.json",
            {
                "round": plan.encoders[number].round.name,
                "held_out": held,
                "clips": len(exam.clips),
                "encoder": source.key,
                "accuracies": accuracies,
                "best": best_point(accuracies),
                "seconds": about["seconds"],
                "walls": about["walls"],
                "denied": about["denied"],
                "events": journal.events,
            },
        )


def _trial(plan: RunPlan, source: FeatureSource, folder: Path) -> tuple[Training, Exam, list[str]]:
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


def _judge_states(exam: Exam, training: Training, on_event: Event) -> list[float]:
    """Macro accuracy of every state of a trial, by labels that only the parent knows."""
    from zsar_bench import metrics

    column = {c: n for n, c in enumerate(exam.classes)}
    classes = exam.source.dataset.clips["class"]
    labels = _array([column[classes[i]] for i in exam.clips])
    found = _score_states(exam, training, STATES, on_event)
    return [
        metrics.macro(metrics.judge(scores, labels).credit, labels, len(exam.classes))
        for scores in found
    ]


def _score_states(
    exam: Exam, training: Training, grid: int, on_event: Event
) -> list[NDArray[np.float32]]:
    """Scores (n, K) by each of a training's evenly spaced states, each state only once."""
    points = [training.state(point, grid) for point in range(1, grid + 1)]
    states = list(dict.fromkeys(points))
    scores: dict[Path, NDArray[np.float32]] = {}
    with Scorer(exam, states, on_event, "select") as scorer:
        for number, state in enumerate(states):
            if number:
                scorer.use(number)
            scores[state] = scorer.all()
            on_event({"stage": "select", "step": number + 1, "total": len(states)})
    return [scores[state] for state in points]


def _array(values: list[int]) -> NDArray[np.int64]:
    import numpy as np

    return np.array(values, dtype=np.int64)


# --- Rounds ------------------------------------------------------------------------------------


def run_round(plan: RunPlan, number: int, on_event: Event) -> None:
    """Fit and score one round; leaves ``round.json`` and ``scores.sealed`` in its folder, or
    ``curve.sealed`` where the rule looks at the clips of all rounds together."""
    folder = round_folder(plan, number)
    with locked(folder):
        if plan.done or (folder / "round.json").is_file():
            return
        source = plan.encoders[number]
        journal = Journal(source.round.name, on_event)
        training, point, grid = _chosen(plan, number, journal)
        exam = _exam(plan, number, training)
        started = time.monotonic()
        if peeks(plan.rule):
            curve = _score_states(exam, training, grid, journal.hear)
            write_sealed(folder / "curve.sealed", _stacked(curve), _owner(plan, number))
            about: dict[str, Any] = {}
        else:
            with Scorer(exam, [training.state(point, grid)], journal.hear) as scorer:
                scores = scorer.all()
            write_sealed(folder / "scores.sealed", _stacked([scores]), _owner(plan, number))
            about = {"score_walls": scorer.seen} | _rescored(
                plan, exam, training.state(point, grid), scores, journal.hear
            )
        fitted = training.about
        write_json(
            folder / "round.json",
            {
                "fit": fitted["seconds"],
                "score": round(time.monotonic() - started, 3),
                "fraction": point / grid,
                "bundle": fitted["bundle"],
                "state": fitted["state"],
                "scored": exam.digest(),
                "fit_walls": {"walls": fitted["walls"], "denied": fitted["denied"]},
                "events": journal.events,
                **about,
            },
        )


def _exam(plan: RunPlan, number: int, training: Training) -> Exam:
    """A round's unseen clips and classes, asked of states of this training."""
    source = plan.encoders[number]
    one, folder = source.round, round_folder(plan, number)
    asked, classes = one.test_unseen, one.unseen
    return Exam(plan, source, asked, one, classes, one.name, folder, training.owner)


def _chosen(plan: RunPlan, number: int, journal: Journal) -> tuple[Training, int, int]:
    """The training of a round, and the point of which grid its rule has chosen.

    An oracle has chosen nothing yet: its point is the last.
    """
    folder = round_folder(plan, number)
    if plan.rule == SEEN_VAL:
        trial = folder / "trial-0"
        training, _, _ = _trial(plan, plan.encoders[number], trial)
        return training, int(read_json(trial / "trial.json")["best"]), STATES
    training = full_training(plan, number)
    with nullcontext() if training.folder == folder else locked(training.folder):
        fit(training, lambda e: journal.hear({"stage": "fit", **e}))
    if plan.rule == LAST:
        return training, 1, 1
    if peeks(plan.rule):
        return training, evaluations(plan.rule), evaluations(plan.rule)
    trials = [read_json(f) for f in sorted(folder.glob("trial-*/trial.json"))]
    return training, median_point([t["best"] for t in trials]), STATES


def _rescored(
    plan: RunPlan, exam: Exam, state: Path, scores: NDArray[np.float32], on_event: Event
) -> dict[str, Any]:
    """What a round's second scoring found out."""
    count = -(-RESCORED // len(plan.encoders))
    change, again, seen = rescore(exam, state, scores, count, on_event)
    return {"rescored": again, "largest_change": change, "rescore_walls": seen}


def _stacked(scores: list[NDArray[np.float32]]) -> bytes:
    """Scores of one or more states as one tensor (E, n, K)."""
    import numpy as np
    from safetensors.numpy import save

    return save({"scores": np.stack(scores)})


def read_scores(plan: RunPlan, number: int, curve: bool = False) -> NDArray[np.float32]:
    """A round's scores (E, n, K): of the state that counts, or of every state on a curve."""
    from safetensors.numpy import load

    path = round_folder(plan, number) / ("curve.sealed" if curve else "scores.sealed")
    blob = sealed_content(path, _owner(plan, number))
    scores: NDArray[np.float32] = load(blob)["scores"]
    return scores


def _owner(plan: RunPlan, number: int) -> str:
    """What a round's sealed scores belong to."""
    return f"{plan.run_id} {number}"


def prove(plan: RunPlan, number: int, on_event: Event) -> None:
    """Refit a round and score it again; what comes out is added to its ``round.json``."""
    folder = round_folder(plan, number)
    with locked(folder):
        if plan.done or "proof" in read_json(folder / "round.json"):
            return
        journal = Journal(plan.encoders[number].round.name, on_event)
        training, point, grid = _chosen(plan, number, journal)
        exam = _exam(plan, number, training)
        scores = read_scores(plan, number, peeks(plan.rule))[-1]
        state = training.state(point, grid)
        found = prove_round(training, exam, state, scores, journal.hear)
        write_json(folder / "round.json", read_json(folder / "round.json") | {"proof": found})


# --- The end of a run --------------------------------------------------------------------------


def finish_run(plan: RunPlan, on_event: Event) -> Record:
    """Join the rounds with labels, compute the metrics and give the run its final name."""
    from zsar_bench.outcome import assemble, read_round
    from zsar_bench.record import read_record, seal_run, write_predictions

    with locked(plan.part):
        if not plan.done:
            if not unchanged(plan.machine.code, plan.machine.code_state):
                raise RunFailed("a plugin's files have changed since this command began")
            curve = _choose_on_test(plan, on_event) if peeks(plan.rule) else []
            record, predictions = assemble(plan, curve)
            out = make_folder(plan.part / "out")
            write_predictions(out / "predictions.safetensors", *predictions)
            lines = (e for n in range(len(plan.encoders)) for e in read_round(plan, n)["events"])
            write_bytes(out / "events.jsonl", _json_lines(lines))
            write_bytes(out / "run.json", record.model_dump_json(indent=1).encode() + b"\n")
            seal_run(out)
            if plan.folder.is_dir():  # it was there without the proof that is asked for now
                plan.folder.rename(make_folder(plan.part / "before") / plan.run_id)
            rename_folder(out, plan.folder)
        shutil.rmtree(plan.part, ignore_errors=True)
    if plan.fit_part != plan.part and all(p.done for p in _sharers(plan)):
        shutil.rmtree(plan.fit_part, ignore_errors=True)
    return read_record(plan.folder)


def sweep(plan: RunPlan) -> None:
    """Delete what a finished run was made of, where a kill came between its name and that."""
    if plan.done and plan.part.is_dir():
        with locked(plan.part):
            shutil.rmtree(plan.part, ignore_errors=True)


def _choose_on_test(plan: RunPlan, on_event: Event) -> list[tuple[float, float, float]]:
    """The best state on test, one point of the schedule for all rounds; written into the rounds
    as if it had been chosen by them.

    Returns:
        (fraction, micro, macro) of every point, the last state's last.
    """
    from zsar_bench import metrics
    from zsar_bench.outcome import join

    grid = evaluations(plan.rule)
    folders = [round_folder(plan, n) for n in range(len(plan.encoders))]
    found = [read_scores(plan, n, curve=True) for n in range(len(folders))]
    curve = []
    for point in range(1, grid + 1):
        joined = join(plan, [scores[point - 1].copy() for scores in found])
        credit = metrics.judge(joined.scores, joined.labels).credit
        macro = metrics.macro(credit, joined.labels, len(joined.candidates))
        curve.append((point / grid, metrics.micro(credit), macro))
    best = best_point([micro for _, micro, _ in curve])
    for number, folder in enumerate(folders):
        about = read_json(folder / "round.json")
        if "rescored" in about:
            continue  # killed here before
        scores = found[number][best - 1]
        write_sealed(folder / "scores.sealed", _stacked([scores]), _owner(plan, number))
        journal = Journal(plan.encoders[number].round.name, on_event)
        training = full_training(plan, number)
        exam = _exam(plan, number, training)
        about |= _rescored(plan, exam, training.state(best, grid), scores, journal.hear)
        about |= {"fraction": best / grid, "events": [*about["events"], *journal.events]}
        write_json(folder / "round.json", about)
    return curve


def _sharers(plan: RunPlan) -> list[RunPlan]:
    """All runs that use this one's fits."""
    controls: list[Control | None] = [plan.control]
    if plan.control is not None and plan.control.kind == SHUFFLED_UNSEEN:
        controls = [Control(SHUFFLED_UNSEEN, s) for s in range(len(plan.protocol.unseen))]
    rules = plan.rules or (plan.rule,)
    return [replace(plan, rule=rule, control=control) for rule in rules for control in controls]


def _json_lines(rows: Any) -> bytes:
    import json

    return "".join(json.dumps(row) + "\n" for row in rows).encode()
