"""The GZSL part of a run: pseudo-unseen splits, and evaluation sets over all classes.

<run>.part/round-N/rotation-R/rotation.json, rotation.sealed    a finished pseudo-unseen split
<run>.part/round-N/gzsl/gzsl.json, gzsl.sealed                  a round's clips over all classes

Clips of seen classes are sent like all others: through the pipe, shuffled among the unseen ones,
without labels. So are training clips, whose margins give the scale of the fit's scores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.common.checksums import sealed_content, write_sealed
from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import locked, make_folder, read_json, write_json
from zsar_bench.common.hashing import content_order, digest
from zsar_bench.features.source import FeatureSource
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.metrics.gate import Experts, Gate, fit_gate, gated, spread
from zsar_bench.metrics.gzsl import Measured, calibrated, carried, credit, measure, sides, size
from zsar_bench.plans.holdouts import GATE, rotation_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import LAST, STATES
from zsar_bench.records import parts as r
from zsar_bench.records.gzsl_matrix import Matrix, Predicted
from zsar_bench.records.parts import GzslGate, GzslNumbers, GzslPart, GzslRotation, GzslRound
from zsar_bench.runs.fit import Training, fitted
from zsar_bench.runs.round import chosen, chosen_point
from zsar_bench.runs.score import RESCORED, EvaluationSet, Scorer, rescore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.data.protocols.splits import Round

Json = dict[str, Any]

TRAINING_CLIPS = 512  #: used for margins; more give the same scale


@dataclass(frozen=True)
class StoredScores:
    """Scores of a fit on clips of all classes, in the order unseen, seen, training clips.

    Attributes:
        scores: (n, K) over the seen classes, then the unseen ones, bound together.
        unseen: (n, K_u) over the unseen classes, bound alone; None without a gate.
        logits: (n, K_s) of the encoder; None without a gate.
        tested: rows before the training clips.
    """

    scores: NDArray[np.float32]
    unseen: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None
    tested: int


def rotation_folder(plan: RunPlan, number: int, rotation: int) -> Path:
    """Folder of a pseudo-unseen split until the run is complete."""
    return plan.round_folder(number) / f"rotation-{rotation}"


def read_rotations(plan: RunPlan, number: int) -> list[Json]:
    """The ``rotation.json`` of each pseudo-unseen split of a round."""
    count = len(rotation_sources(plan, number))
    return [read_json(rotation_folder(plan, number, r) / "rotation.json") for r in range(count)]


def read_evaluation(plan: RunPlan, number: int) -> Json:
    """``gzsl.json`` of a round."""
    about: Json = read_json(plan.round_folder(number) / "gzsl" / "gzsl.json")
    return about


def read_gzsl(plan: RunPlan, number: int) -> list[Json]:
    """The JSON files of a round's pseudo-unseen splits and evaluation; empty without GZSL."""
    return [*read_rotations(plan, number), read_evaluation(plan, number)] if plan.gzsl else []


def run_rotation(plan: RunPlan, number: int, rotation: int, on_event: Event) -> None:
    """Fit a pseudo-unseen split, score its clips; leaves ``rotation.json``, ``rotation.sealed``."""
    folder = rotation_folder(plan, number, rotation)
    with locked(folder):
        if plan.done or (folder / "rotation.json").is_file():
            return
        split, source = rotation_sources(plan, number)[rotation]
        round_ = split.round
        point, grid = chosen_point(plan, number)
        training = rotation_training(plan, source)
        log = EventLog(round_.name, on_event)
        with fitted(training, log.record):
            about, state = training.about, training.state(point, grid)
            noted = _evaluate(training, state, folder, "rotation", log.record)[1]
        write_json(
            folder / "rotation.json",
            {
                "name": round_.name,
                "held_out": list(round_.unseen),
                "subjects": split.subjects,
                "unseen_of": split.unseen_of,
                "encoder": source.key,
                "fit_seconds": about["seconds"],
                "fit_confinement": {n: about[n] for n in ("confinement", "denied")},
                "events": log.events,
                **noted,
            },
        )


def rotation_training(plan: RunPlan, source: FeatureSource) -> Training:
    """The fit of a pseudo-unseen split; it keeps the states that the run's rule chooses among."""
    grids = () if plan.rule == LAST else (STATES,)
    return Training(plan, source, source.round.name, source.round.train, grids)


def run_evaluation(plan: RunPlan, number: int, on_event: Event) -> None:
    """Score a round's seen and unseen test clips over all classes; leaves ``gzsl.json`` and
    ``gzsl.sealed``."""
    folder = make_folder(plan.round_folder(number) / "gzsl")
    with locked(folder):
        if plan.done or (folder / "gzsl.json").is_file():
            return
        log = EventLog(f"{plan.encoders[number].round.name} gzsl", on_event)
        with chosen(plan, number, log.record) as (training, point, grid):
            state = training.state(point, grid)
            (evaluation, scores), noted = _evaluate(training, state, folder, "gzsl", log.record)
            count = -(-RESCORED // len(plan.encoders))
            change, again, seen = rescore(evaluation, state, scores, count, log.record)
        noted |= {"rescored": again, "largest_change": change, "rescore_confinement": seen}
        write_json(folder / "gzsl.json", {**noted, "events": log.events})


def read_stored(plan: RunPlan, number: int, rotation: int | None = None) -> StoredScores:
    """The scores of a pseudo-unseen split or, for None, of a round."""
    from safetensors.numpy import load

    part = "gzsl" if rotation is None else "rotation"
    folder = plan.round_folder(number)
    folder = folder / part if rotation is None else rotation_folder(plan, number, rotation)
    tensors = load(sealed_content(folder / f"{part}.sealed", _owner(plan, folder)))
    tested = int(tensors["tested"][0])
    return StoredScores(tensors["scores"], tensors.get("unseen"), tensors.get("logits"), tested)


def _evaluate(
    training: Training, state: Path, folder: Path, part: str, on_event: Event
) -> tuple[tuple[EvaluationSet, NDArray[np.float32]], Json]:
    """Score the test clips of a round and some training clips; the scores are stored.

    Returns:
        The evaluation set over all classes with its scores, and facts about them.
    """
    from safetensors.numpy import save

    started = time.monotonic()
    plan, source = training.plan, training.source
    round_ = source.round
    tested = [*round_.test_unseen, *round_.test_seen]
    clips = [*tested, *_some(training)]
    evaluation = _evaluation_set(
        training, clips, (*round_.seen, *round_.unseen), "all classes", folder
    )
    confinement = {}
    with Scorer(evaluation, [state], on_event, "score-all") as scorer:
        scores = scorer.all()
    confinement["score_confinement"] = scorer.seen
    tensors: dict[str, NDArray[Any]] = {"scores": scores}
    tensors["tested"] = np.array([len(tested)], dtype=np.int64)
    scored = [evaluation.digest()]
    if plan.gzsl == GATE:
        beside = make_folder(folder / "unseen")
        alone = _evaluation_set(training, clips, round_.unseen, "unseen classes", beside)
        with Scorer(alone, [state], on_event, "score-unseen") as scorer:
            tensors["unseen"] = scorer.all()
        confinement["unseen_confinement"] = scorer.seen
        tensors["logits"] = source.read(clips, ("logits",))["logits"]
        scored.append(alone.digest())
    write_sealed(folder / f"{part}.sealed", save(tensors), _owner(plan, folder))
    return (evaluation, scores), {
        "training_clips": len(clips) - len(tested),
        "scored": scored,
        "seconds": round(time.monotonic() - started, 3),
        **confinement,
    }


def _evaluation_set(
    training: Training, clips: list[int], classes: tuple[str, ...], over: str, folder: Path
) -> EvaluationSet:
    round_ = training.source.round
    return EvaluationSet(
        training.plan, training.source, clips, round_, classes, f"{round_.name} over {over}",
        folder, training.owner, "gzsl",
    )  # fmt: skip


def _some(training: Training) -> list[int]:
    """Some training clips of a fit, drawn by their content."""
    contents = training.source.dataset.contents(training.clips)
    order = content_order(contents, "gzsl", training.name)[:TRAINING_CLIPS]
    return [training.clips[n] for n in order.tolist()]


def _owner(plan: RunPlan, folder: Path) -> str:
    """The owner of sealed scores."""
    return f"{plan.run_id} {folder.parent.name} {folder.name}"


def numbers(rounds: Sequence[GzslRound], matrix: Matrix) -> Measured:
    """All numbers of a matrix at its operating points.

    Raises:
        ValueError: if there is no operating point for a clip.
    """
    both = sides(matrix.scores, matrix.labels, matrix.seen)
    if matrix.rounds.max() >= len(rounds):
        raise ValueError("clips of rounds that have no operating point")
    if matrix.unseen is None or matrix.logits is None:
        constants = np.array([point.constant for point in rounds])
        return measure(both, credit(both, constants[matrix.rounds]))
    given = np.zeros(len(matrix.ids))
    for number, point in enumerate(rounds):
        mine = matrix.rounds == number
        if point.gate is None or point.spread is None:
            raise ValueError(f"there is no gate for {point.round}")
        experts = _experts(
            matrix.unseen[mine], matrix.logits[mine], matrix.labels[mine], point.spread
        )
        given[mine] = gated(experts, _gate(point.gate).taken_for_seen(experts))
    return measure(both, given)


def _experts(unseen: Any, logits: Any, labels: Any, spread: float) -> Experts:
    return Experts(unseen.astype(np.float64) / spread, logits.astype(np.float64), labels)


def _gate(gate: GzslGate) -> Gate:
    values = gate.model_dump(exclude={"harmonic"})
    return Gate(**values | {"weights": tuple(gate.weights)})


def named_numbers(measured: Measured, kind: str) -> GzslNumbers:
    """The ``top1`` or ``mean_class`` numbers in the form of a record."""
    balance, (best, constant) = measured.balance[kind], measured.best[kind]
    return GzslNumbers(
        seen=balance.seen,
        unseen=balance.unseen,
        harmonic=balance.harmonic,
        ausuc=measured.ausuc[kind],
        oracle_harmonic=best,
        oracle_constant=constant,
    )


def rotation_numbers(predicted: Predicted, known: int) -> tuple[dict[str, Any], Experts | None]:
    """The record's numbers of a pseudo-unseen split, and the training data for a gate.

    Args:
        predicted: of pseudo-unseen and pseudo-seen clips, then of training clips.
        known: number of pseudo-seen classes, which come first.

    Raises:
        ValueError: if clips of one side are missing.
    """
    seen, count = np.arange(predicted.scores.shape[1]) < known, len(predicted.labels)
    best, constant = calibrated(predicted.scores[:count], predicted.labels, seen)
    rms = size(predicted.scores[count:], seen)
    values = {
        "size": rms,
        "constant": constant,
        "normalized_constant": constant / rms,
        "harmonic": best,
    }
    if predicted.unseen is None or predicted.logits is None:
        return values, None
    scale = spread(predicted.unseen[count:])
    return values, _experts(
        predicted.unseen[:count], predicted.logits[:count], predicted.labels, scale
    )


def round_numbers(
    predicted: Predicted, seen: NDArray[np.bool_], normalized: list[float], experts: list[Experts]
) -> dict[str, Any]:
    """The record's operating point of a round.

    Args:
        predicted: of training clips of its fit.
        seen: (K,) whether a class is seen.
        normalized: calibration constants of its rotations.
        experts: of its rotations; empty without a gate.
    """
    rms = size(predicted.scores, seen)
    middle, constant = carried(normalized, rms)
    gate = None
    if experts:
        fitted, reached = fit_gate(experts, int(min(seen.sum(), (~seen).sum())))
        gate = GzslGate(**vars(fitted) | {"weights": list(fitted.weights)}, harmonic=reached)
    return {
        "size": rms,
        "normalized_constant": middle,
        "constant": constant,
        "spread": None if predicted.unseen is None else spread(predicted.unseen),
        "gate": gate,
    }


def assemble_gzsl(plan: RunPlan) -> tuple[GzslPart, Matrix]:
    """The GZSL part and matrix of a run, from its stored scores."""
    evaluations, tested = [], []
    turns: list[GzslRotation] = []
    rounds: list[GzslRound] = []
    predictions: list[Predicted] = []
    for number, encoder in enumerate(plan.encoders):
        new_turns, experts, new_predictions = _rotations(plan, number)
        turns, predictions = [*turns, *new_turns], [*predictions, *new_predictions]
        tested.append(_predicted(plan, encoder.round, number))
        evaluations.append(read_evaluation(plan, number))
        point = round_numbers(
            _after(tested[-1]),
            _seen(encoder.round),
            [turn.normalized_constant for turn in new_turns],
            experts,
        )
        noted = {name: evaluations[-1][name] for name in ("training_clips", "scored")}
        rounds.append(GzslRound(round=encoder.round.name, **noted, **point))
    matrix = _matrix(plan, tested, predictions)
    measured = numbers(rounds, matrix)
    part = GzslPart(
        kind=plan.gzsl,  # type: ignore[arg-type]  # checked by the schema
        seen_clips=measured.seen,
        unseen_clips=measured.unseen,
        samples=digest(sorted(matrix.ids)),
        top1=named_numbers(measured, "top1"),
        mean_class=named_numbers(measured, "mean_class"),
        rounds=rounds,
        rotations=turns,
        rescoring=r.Rescoring(
            clips=sum(evaluation["rescored"] for evaluation in evaluations),
            largest_change=max(evaluation["largest_change"] for evaluation in evaluations),
            tolerance=tolerance(matrix.scores, plan.precision),
        ),
    )
    return part, matrix


def _rotations(
    plan: RunPlan, number: int
) -> tuple[list[GzslRotation], list[Experts], list[Predicted]]:
    """Record parts, gate training data and scores of a round's pseudo-unseen splits."""
    parts, experts, predictions = [], [], []
    sources = rotation_sources(plan, number)
    for turn, rotation in enumerate(read_rotations(plan, number)):
        round_ = sources[turn][0].round
        predictions.append(_predicted(plan, round_, number, turn))
        values, learned = rotation_numbers(predictions[-1], len(round_.seen))
        noted = {n: rotation[n] for n in ("held_out", "subjects", "unseen_of", "encoder")}
        parts.append(
            GzslRotation(
                round=plan.encoders[number].round.name,
                seen_clips=len(round_.test_seen),
                unseen_clips=len(round_.test_unseen),
                training_clips=rotation["training_clips"],
                **noted,
                **values,
            )
        )
        experts += [learned] if learned is not None else []
    return parts, experts, predictions


def _predicted(plan: RunPlan, round_: Round, number: int, turn: int | None = None) -> Predicted:
    """Stored scores with the labels of the tested clips."""
    stored, classes = read_stored(plan, number, turn), plan.encoders[number].dataset.clips["class"]
    column = {c: n for n, c in enumerate((*round_.seen, *round_.unseen))}
    tested = [column[classes[i]] for i in (*round_.test_unseen, *round_.test_seen)]
    return Predicted(np.array(tested, dtype=np.int64), stored.scores, stored.unseen, stored.logits)


def _after(predicted: Predicted) -> Predicted:
    """The training clips alone."""
    count = len(predicted.labels)
    parts = (predicted.scores, predicted.unseen, predicted.logits)
    tails = (None if p is None else np.ascontiguousarray(p[count:]) for p in parts)
    return Predicted(predicted.labels[:0], *tails)  # type: ignore[arg-type]  # there are always scores


def _matrix(plan: RunPlan, predictions: list[Predicted], rotations: list[Predicted]) -> Matrix:
    clips = plan.encoders[0].dataset.clips
    rounds = [encoder.round for encoder in plan.encoders]
    index = [i for round_ in rounds for i in (*round_.test_unseen, *round_.test_seen)]

    def rows(name: str) -> Any:
        parts = [getattr(predicted, name) for predicted in predictions]
        if any(part is None for part in parts):
            return None
        tested = [p[: len(s.labels)] for p, s in zip(parts, predictions, strict=True)]
        return np.concatenate(tested)

    return Matrix(
        ids=[clips["id"][i] for i in index],
        labels=rows("labels"),
        candidates=[*rounds[0].seen, *rounds[0].unseen],
        seen=_seen(rounds[0]),
        scores=rows("scores"),
        rounds=np.repeat(
            np.arange(len(predictions)), [len(predicted.labels) for predicted in predictions]
        ),
        unseen=rows("unseen"),
        logits=rows("logits"),
        training=[_after(predicted) for predicted in predictions],
        rotations=rotations,
    )


def _seen(round_: Round) -> NDArray[np.bool_]:
    """(K,) whether a class is seen; seen ones have the first columns."""
    return np.arange(len(round_.seen) + len(round_.unseen)) < len(round_.seen)
