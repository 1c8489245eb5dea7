"""The GZSL part of a run whose rehearsals and exams are all there.

Only the parent does this: here scores meet labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench import record_parts as r
from zsar_bench.gzsl import Measured, credit, measure, sides
from zsar_bench.gzsl_calibration import carried, rehearsed, size
from zsar_bench.gzsl_gate import Experts, Gate, fit_gate, gated, spread
from zsar_bench.gzsl_matrix import Asked, Matrix
from zsar_bench.gzsl_record import (
    GzslGate,
    GzslNumbers,
    GzslPart,
    GzslRotation,
    GzslRound,
)
from zsar_bench.gzsl_rotations import rotation_sources
from zsar_bench.gzsl_runs import read_exam, read_rotations, read_said
from zsar_bench.identity import digest
from zsar_bench.tolerance import tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.rounds import Round
    from zsar_bench.run_plan import RunPlan

# --- A matrix's numbers ------------------------------------------------------------------------


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
    """The ``micro`` or ``macro`` numbers as a record says them."""
    balance, (best, constant) = found.balance[kind], found.best[kind]
    return GzslNumbers(
        seen=balance.seen,
        unseen=balance.unseen,
        harmonic=balance.harmonic,
        ausuc=found.ausuc[kind],
        oracle_harmonic=best,
        oracle_constant=constant,
    )


# --- Calibration -------------------------------------------------------------------------------


def rotation_numbers(asked: Asked, known: int) -> tuple[dict[str, Any], Experts | None]:
    """What a rehearsal found, as the record says it, and what a gate learns from it.

    Args:
        asked: pseudo-unseen and pseudo-seen clips, then training clips.
        known: how many classes, the first ones, play seen ones.

    Raises:
        ValueError: if these are no clips of both sides.
    """
    seen, count = np.arange(asked.scores.shape[1]) < known, len(asked.labels)
    best, constant = rehearsed(asked.scores[:count], asked.labels, seen)
    rms = size(asked.scores[count:], seen)
    found = {"size": rms, "constant": constant, "standing": constant / rms, "harmonic": best}
    if asked.unseen is None or asked.logits is None:
        return found, None
    own = spread(asked.unseen[count:])
    return found, _experts(asked.unseen[:count], asked.logits[:count], asked.labels, own)


def round_numbers(
    asked: Asked, seen: NDArray[np.bool_], standings: list[float], experts: list[Experts]
) -> dict[str, Any]:
    """The operating point of a round, as the record says it.

    Args:
        asked: training clips of its fit.
        seen: (K,) whether a class is seen.
        standings: of its rotations.
        experts: of its rotations; empty without a gate.
    """
    rms = size(asked.scores, seen)
    standing, constant = carried(standings, rms)
    gate = None
    if experts:
        fitted, reached = fit_gate(experts, int(min(seen.sum(), (~seen).sum())))
        gate = GzslGate(**vars(fitted) | {"weights": list(fitted.weights)}, harmonic=reached)
    return {
        "size": rms,
        "standing": standing,
        "constant": constant,
        "spread": None if asked.unseen is None else spread(asked.unseen),
        "gate": gate,
    }


# --- A run's part ------------------------------------------------------------------------------


def assemble_gzsl(plan: RunPlan) -> tuple[GzslPart, Matrix]:
    """The part of a run and its matrix, from what its rehearsals and exams have left."""
    exams, said = [], []
    turns: list[GzslRotation] = []
    rounds: list[GzslRound] = []
    asked: list[Asked] = []
    for number, encoder in enumerate(plan.encoders):
        found, experts, own = _rotations(plan, number)
        turns, asked = [*turns, *found], [*asked, *own]
        said.append(_asked(plan, encoder.round, number))
        exams.append(read_exam(plan, number))
        point = round_numbers(
            _after(said[-1]), _seen(encoder.round), [turn.standing for turn in found], experts
        )
        told = {name: exams[-1][name] for name in ("training_clips", "scored")}
        rounds.append(GzslRound(round=encoder.round.name, **told, **point))
    matrix = _matrix(plan, said, asked)
    own_numbers = numbers(rounds, matrix)
    part = GzslPart(
        kind=plan.gzsl,  # type: ignore[arg-type]  # checked by the schema
        seen_clips=own_numbers.seen,
        unseen_clips=own_numbers.unseen,
        samples=digest(sorted(matrix.ids)),
        micro=named_numbers(own_numbers, "micro"),
        macro=named_numbers(own_numbers, "macro"),
        rounds=rounds,
        rotations=turns,
        rescoring=r.Rescoring(
            clips=sum(about["rescored"] for about in exams),
            largest_change=max(about["largest_change"] for about in exams),
            tolerance=tolerance(matrix.scores, plan.precision),
        ),
    )
    return part, matrix


def _rotations(plan: RunPlan, number: int) -> tuple[list[GzslRotation], list[Experts], list[Asked]]:
    """What the rehearsals of a round found, what a gate learns from, and what was said."""
    found, experts, asked = [], [], []
    sources = rotation_sources(plan, number)
    for turn, about in enumerate(read_rotations(plan, number)):
        one = sources[turn][0].round
        asked.append(_asked(plan, one, number, turn))
        own, told = rotation_numbers(asked[-1], len(one.seen))
        said = {n: about[n] for n in ("held_out", "performers", "unseen_of", "encoder")}
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


def _asked(plan: RunPlan, one: Round, number: int, turn: int | None = None) -> Asked:
    """What was said in an exam, with the labels of the clips that it tests."""
    said, classes = read_said(plan, number, turn), plan.encoders[number].dataset.clips["class"]
    column = {c: n for n, c in enumerate((*one.seen, *one.unseen))}
    tested = [column[classes[i]] for i in (*one.test_unseen, *one.test_seen)]
    return Asked(np.array(tested, dtype=np.int64), said.scores, said.unseen, said.logits)


def _after(asked: Asked) -> Asked:
    """The training clips alone."""
    count = len(asked.labels)
    parts = (asked.scores, asked.unseen, asked.logits)
    rest = (None if p is None else np.ascontiguousarray(p[count:]) for p in parts)
    return Asked(asked.labels[:0], *rest)  # type: ignore[arg-type]  # there are always scores


def _matrix(plan: RunPlan, said: list[Asked], rotations: list[Asked]) -> Matrix:
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
