"""The work of a GZSL run beside its ZSL rounds: pseudo-unseen splits, and exams over all classes.

<run>.part/round-N/rotation-R/rotation.json, rotation.sealed    a finished pseudo-unseen split
<run>.part/round-N/gzsl/gzsl.json, gzsl.sealed                  a round's clips over all classes

A clip of a seen class goes the way of all others: through the pipe, shuffled among the unseen
ones, without a label. Training clips, whose margins say how large this fit's scores are, go the
same way in the same exam.
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
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.metrics.gate import Experts, Gate, fit_gate, gated, spread
from zsar_bench.metrics.gzsl import Measured, calibrated, carried, credit, measure, sides, size
from zsar_bench.plans.holdouts import GATE, rotation_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.records import parts as r
from zsar_bench.records.gzsl_matrix import Matrix, Predicted
from zsar_bench.records.parts import GzslGate, GzslNumbers, GzslPart, GzslRotation, GzslRound
from zsar_bench.runs.fit import Training, fit
from zsar_bench.runs.round import chosen, chosen_point
from zsar_bench.runs.score import RESCORED, EvaluationSet, Scorer, rescore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.data.protocols.splits import Round

Json = dict[str, Any]

TRAINING_CLIPS = 512  #: whose margins are looked at; more say the same


@dataclass(frozen=True)
class Said:
    """What a fit says about clips of all classes, row by row: unseen, seen, training clips.

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
    """Where a pseudo-unseen split lives until the run is complete."""
    return plan.round_folder(number) / f"rotation-{rotation}"


def read_rotations(plan: RunPlan, number: int) -> list[Json]:
    """What the pseudo-unseen splits of a round found, each its ``rotation.json``."""
    count = len(rotation_sources(plan, number))
    return [read_json(rotation_folder(plan, number, r) / "rotation.json") for r in range(count)]


def read_evaluation(plan: RunPlan, number: int) -> Json:
    """``gzsl.json`` of a round."""
    about: Json = read_json(plan.round_folder(number) / "gzsl" / "gzsl.json")
    return about


def read_gzsl(plan: RunPlan, number: int) -> list[Json]:
    """What was noted about the pseudo-unseen splits of a round and its exam; empty without GZSL."""
    return [*read_rotations(plan, number), read_evaluation(plan, number)] if plan.gzsl else []


def run_rotation(plan: RunPlan, number: int, rotation: int, on_event: Event) -> None:
    """Fit a pseudo-unseen split, score its clips; leaves ``rotation.json``, ``rotation.sealed``."""
    folder = rotation_folder(plan, number, rotation)
    with locked(folder):
        if plan.done or (folder / "rotation.json").is_file():
            return
        split, source = rotation_sources(plan, number)[rotation]
        one = split.round
        point, grid = chosen_point(plan, number)
        grids = () if grid == 1 else (grid,)
        training = Training(plan, source, one.name, one.train, folder, grids)
        log = EventLog(one.name, on_event)
        fit(training, lambda e: log.record({"stage": "fit", **e}))
        about = _examine(training, training.state(point, grid), folder, "rotation", log.record)[1]
        write_json(
            folder / "rotation.json",
            {
                "name": one.name,
                "held_out": list(one.unseen),
                "subjects": split.subjects,
                "unseen_of": split.unseen_of,
                "encoder": source.key,
                "fit_seconds": training.about["seconds"],
                "fit_confinement": {k: training.about[k] for k in ("confinement", "denied")},
                "events": log.events,
                **about,
            },
        )


def run_evaluation(plan: RunPlan, number: int, on_event: Event) -> None:
    """Score a round's seen and unseen test clips over all classes; leaves ``gzsl.json`` and
    ``gzsl.sealed``."""
    folder = make_folder(plan.round_folder(number) / "gzsl")
    with locked(folder):
        if plan.done or (folder / "gzsl.json").is_file():
            return
        log = EventLog(f"{plan.encoders[number].round.name} gzsl", on_event)
        training, point, grid = chosen(plan, number, log)
        state = training.state(point, grid)
        (evaluation, scores), about = _examine(training, state, folder, "gzsl", log.record)
        count = -(-RESCORED // len(plan.encoders))
        change, again, seen = rescore(evaluation, state, scores, count, log.record)
        about |= {"rescored": again, "largest_change": change, "rescore_confinement": seen}
        write_json(folder / "gzsl.json", {**about, "events": log.events})


def read_said(plan: RunPlan, number: int, rotation: int | None = None) -> Said:
    """What was said in a pseudo-unseen split, or (None) in a round's exam."""
    from safetensors.numpy import load

    part = "gzsl" if rotation is None else "rotation"
    folder = plan.round_folder(number)
    folder = folder / part if rotation is None else rotation_folder(plan, number, rotation)
    found = load(sealed_content(folder / f"{part}.sealed", _owner(plan, folder)))
    tested = int(found["tested"][0])
    return Said(found["scores"], found.get("unseen"), found.get("logits"), tested)


def _examine(
    training: Training, state: Path, folder: Path, part: str, on_event: Event
) -> tuple[tuple[EvaluationSet, NDArray[np.float32]], Json]:
    """Ask a state about the test clips of its round and some training clips; all is stored.

    Returns:
        The exam over all classes with its scores, and what is noted about it.
    """
    import numpy as np
    from safetensors.numpy import save

    started = time.monotonic()
    plan, source = training.plan, training.source
    one = source.round
    tested = [*one.test_unseen, *one.test_seen]
    asked = [*tested, *_some(training)]
    evaluation = _evaluation_set(training, asked, (*one.seen, *one.unseen), "all classes", folder)
    confinement = {}
    with Scorer(evaluation, [state], on_event, "score-all") as scorer:
        scores = scorer.all()
    confinement["score_confinement"] = scorer.seen
    found: dict[str, NDArray[Any]] = {"scores": scores}
    found["tested"] = np.array([len(tested)], dtype=np.int64)
    scored = [evaluation.digest()]
    if plan.gzsl == GATE:
        beside = make_folder(folder / "unseen")
        alone = _evaluation_set(training, asked, one.unseen, "unseen classes", beside)
        with Scorer(alone, [state], on_event, "score-unseen") as scorer:
            found["unseen"] = scorer.all()
        confinement["unseen_confinement"] = scorer.seen
        found["logits"] = source.read(asked, ("logits",))["logits"]
        scored.append(alone.digest())
    write_sealed(folder / f"{part}.sealed", save(found), _owner(plan, folder))
    return (evaluation, scores), {
        "training_clips": len(asked) - len(tested),
        "scored": scored,
        "seconds": round(time.monotonic() - started, 3),
        **confinement,
    }


def _evaluation_set(
    training: Training, asked: list[int], classes: tuple[str, ...], over: str, folder: Path
) -> EvaluationSet:
    one = training.source.round
    return EvaluationSet(
        training.plan, training.source, asked, one, classes, f"{one.name} over {over}", folder,
        training.owner, "gzsl",
    )  # fmt: skip


def _some(training: Training) -> list[int]:
    """Some training clips of a fit, drawn by their content."""
    contents = training.source.dataset.contents(training.clips)
    order = content_order(contents, "gzsl", training.name)[:TRAINING_CLIPS]
    return [training.clips[n] for n in order.tolist()]


def _owner(plan: RunPlan, folder: Path) -> str:
    """What sealed scores belong to."""
    return f"{plan.run_id} {folder.parent.name} {folder.name}"


def numbers(rounds: Sequence[GzslRound], matrix: Matrix) -> Measured:
    """Every number that follows from a matrix and its operating points.

    Raises:
        ValueError: if there is no operating point for a clip.
    """
    found = sides(matrix.scores, matrix.labels, matrix.seen)
    if matrix.rounds.max() >= len(rounds):
        raise ValueError("clips of rounds that have no operating point")
    if matrix.unseen is None or matrix.logits is None:
        constants = np.array([one.constant for one in rounds])
        return measure(found, credit(found, constants[matrix.rounds]))
    given = np.zeros(len(matrix.ids))
    for number, one in enumerate(rounds):
        mine = matrix.rounds == number
        if one.gate is None or one.spread is None:
            raise ValueError(f"there is no gate for {one.round}")
        experts = _experts(
            matrix.unseen[mine], matrix.logits[mine], matrix.labels[mine], one.spread
        )
        given[mine] = gated(experts, _gate(one.gate).taken_for_seen(experts))
    return measure(found, given)


def _experts(unseen: Any, logits: Any, labels: Any, spread: float) -> Experts:
    return Experts(unseen.astype(np.float64) / spread, logits.astype(np.float64), labels)


def _gate(said: GzslGate) -> Gate:
    about = said.model_dump(exclude={"harmonic"})
    return Gate(**about | {"weights": tuple(said.weights)})


def named_numbers(found: Measured, kind: str) -> GzslNumbers:
    """The ``top1`` or ``mean_class`` numbers as a record says them."""
    balance, (best, constant) = found.balance[kind], found.best[kind]
    return GzslNumbers(
        seen=balance.seen,
        unseen=balance.unseen,
        harmonic=balance.harmonic,
        ausuc=found.ausuc[kind],
        oracle_harmonic=best,
        oracle_constant=constant,
    )


def rotation_numbers(asked: Predicted, known: int) -> tuple[dict[str, Any], Experts | None]:
    """What a pseudo-unseen split found, as the record says it, and what a gate learns from it.

    Args:
        asked: pseudo-unseen and pseudo-seen clips, then training clips.
        known: how many classes, the first ones, play seen ones.

    Raises:
        ValueError: if these are no clips of both sides.
    """
    seen, count = np.arange(asked.scores.shape[1]) < known, len(asked.labels)
    best, constant = calibrated(asked.scores[:count], asked.labels, seen)
    rms = size(asked.scores[count:], seen)
    found = {
        "size": rms,
        "constant": constant,
        "normalized_constant": constant / rms,
        "harmonic": best,
    }
    if asked.unseen is None or asked.logits is None:
        return found, None
    own = spread(asked.unseen[count:])
    return found, _experts(asked.unseen[:count], asked.logits[:count], asked.labels, own)


def round_numbers(
    asked: Predicted, seen: NDArray[np.bool_], normalized: list[float], experts: list[Experts]
) -> dict[str, Any]:
    """The operating point of a round, as the record says it.

    Args:
        asked: training clips of its fit.
        seen: (K,) whether a class is seen.
        standings: of its rotations.
        experts: of its rotations; empty without a gate.
    """
    rms = size(asked.scores, seen)
    middle, constant = carried(normalized, rms)
    gate = None
    if experts:
        fitted, reached = fit_gate(experts, int(min(seen.sum(), (~seen).sum())))
        gate = GzslGate(**vars(fitted) | {"weights": list(fitted.weights)}, harmonic=reached)
    return {
        "size": rms,
        "normalized_constant": middle,
        "constant": constant,
        "spread": None if asked.unseen is None else spread(asked.unseen),
        "gate": gate,
    }


def assemble_gzsl(plan: RunPlan) -> tuple[GzslPart, Matrix]:
    """The part of a run and its matrix, from what its pseudo-unseen splits and exams have left."""
    evaluations, said = [], []
    turns: list[GzslRotation] = []
    rounds: list[GzslRound] = []
    asked: list[Predicted] = []
    for number, encoder in enumerate(plan.encoders):
        found, experts, own = _rotations(plan, number)
        turns, asked = [*turns, *found], [*asked, *own]
        said.append(_asked(plan, encoder.round, number))
        evaluations.append(read_evaluation(plan, number))
        point = round_numbers(
            _after(said[-1]),
            _seen(encoder.round),
            [turn.normalized_constant for turn in found],
            experts,
        )
        told = {name: evaluations[-1][name] for name in ("training_clips", "scored")}
        rounds.append(GzslRound(round=encoder.round.name, **told, **point))
    matrix = _matrix(plan, said, asked)
    own_numbers = numbers(rounds, matrix)
    part = GzslPart(
        kind=plan.gzsl,  # type: ignore[arg-type]  # checked by the schema
        seen_clips=own_numbers.seen,
        unseen_clips=own_numbers.unseen,
        samples=digest(sorted(matrix.ids)),
        top1=named_numbers(own_numbers, "top1"),
        mean_class=named_numbers(own_numbers, "mean_class"),
        rounds=rounds,
        rotations=turns,
        rescoring=r.Rescoring(
            clips=sum(about["rescored"] for about in evaluations),
            largest_change=max(about["largest_change"] for about in evaluations),
            tolerance=tolerance(matrix.scores, plan.precision),
        ),
    )
    return part, matrix


def _rotations(
    plan: RunPlan, number: int
) -> tuple[list[GzslRotation], list[Experts], list[Predicted]]:
    """What the pseudo-unseen splits of a round gave: parts, what a gate learns from, scores."""
    found, experts, asked = [], [], []
    sources = rotation_sources(plan, number)
    for turn, about in enumerate(read_rotations(plan, number)):
        one = sources[turn][0].round
        asked.append(_asked(plan, one, number, turn))
        own, told = rotation_numbers(asked[-1], len(one.seen))
        said = {n: about[n] for n in ("held_out", "subjects", "unseen_of", "encoder")}
        found.append(
            GzslRotation(
                round=plan.encoders[number].round.name,
                seen_clips=len(one.test_seen),
                unseen_clips=len(one.test_unseen),
                training_clips=about["training_clips"],
                **said,
                **own,
            )
        )
        experts += [told] if told is not None else []
    return found, experts, asked


def _asked(plan: RunPlan, one: Round, number: int, turn: int | None = None) -> Predicted:
    """What was said in an exam, with the labels of the clips that it tests."""
    said, classes = read_said(plan, number, turn), plan.encoders[number].dataset.clips["class"]
    column = {c: n for n, c in enumerate((*one.seen, *one.unseen))}
    tested = [column[classes[i]] for i in (*one.test_unseen, *one.test_seen)]
    return Predicted(np.array(tested, dtype=np.int64), said.scores, said.unseen, said.logits)


def _after(asked: Predicted) -> Predicted:
    """The training clips alone."""
    count = len(asked.labels)
    parts = (asked.scores, asked.unseen, asked.logits)
    rest = (None if p is None else np.ascontiguousarray(p[count:]) for p in parts)
    return Predicted(asked.labels[:0], *rest)  # type: ignore[arg-type]  # there are always scores


def _matrix(plan: RunPlan, said: list[Predicted], rotations: list[Predicted]) -> Matrix:
    clips = plan.encoders[0].dataset.clips
    rounds = [encoder.round for encoder in plan.encoders]
    index = [i for one in rounds for i in (*one.test_unseen, *one.test_seen)]

    def rows(name: str) -> Any:
        parts = [getattr(one, name) for one in said]
        if any(part is None for part in parts):
            return None
        tested = [p[: len(s.labels)] for p, s in zip(parts, said, strict=True)]
        return np.concatenate(tested)

    return Matrix(
        ids=[clips["id"][i] for i in index],
        labels=rows("labels"),
        candidates=[*rounds[0].seen, *rounds[0].unseen],
        seen=_seen(rounds[0]),
        scores=rows("scores"),
        rounds=np.repeat(np.arange(len(said)), [len(one.labels) for one in said]),
        unseen=rows("unseen"),
        logits=rows("logits"),
        training=[_after(one) for one in said],
        rotations=rotations,
    )


def _seen(one: Round) -> NDArray[np.bool_]:
    """(K,) whether a class is seen; seen ones have the first columns."""
    return np.arange(len(one.seen) + len(one.unseen)) < len(one.seen)
