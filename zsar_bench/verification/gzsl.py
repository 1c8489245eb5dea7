"""Whether the GZSL numbers of a record are those of the matrix beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.common.hashing import digest
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.plans.holdouts import GATE
from zsar_bench.records.gzsl_matrix import FILE, Matrix, read_matrix
from zsar_bench.records.parts import GzslPart
from zsar_bench.runs.gzsl import named_numbers, numbers, rotation_numbers, round_numbers

if TYPE_CHECKING:
    from zsar_bench.data.protocols.splits import UnseenClips
    from zsar_bench.records.schema import Record

ROUNDING = 1e-9  #: of a number; what another order of summing leaves
CLOSE = 1e-6  #: of the numbers of a calibration, whose fits end in other last digits elsewhere


def gzsl_faults(
    record: Record,
    part: GzslPart,
    folder: Path,
    unseen: dict[str, str],
    tested: UnseenClips | None,
) -> Iterator[str]:
    """Sentences about what does not follow; none if all does.

    Args:
        record: of the run.
        part: its GZSL part.
        folder: holds the matrix.
        unseen: clip id -> class of the predictions.
        tested: what the protocol tests on the data that are here; None if they are not.

    Raises:
        UserError: if the matrix is missing or damaged.
    """
    matrix, p = read_matrix(folder / FILE), record.protocol
    if matrix.candidates != [*p.seen, *p.unseen] or matrix.seen.sum() != len(p.seen):
        yield "gzsl: the matrix's classes are not the protocol's seen and unseen ones"
        return
    said: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for clip, label in zip(matrix.ids, matrix.labels, strict=True):
        said[bool(matrix.seen[label])][clip] = matrix.candidates[label]
    if said[False] != unseen:
        yield "gzsl: its clips of unseen classes are not those of the predictions"
    if tested is not None:
        shared = said[True].keys() & tested.seen.keys()
        if any(said[True][clip] != tested.seen[clip] for clip in shared):
            yield "gzsl: clips of seen classes have another class in the data here"
        if tested.data == p.data and said[True] != tested.seen:
            yield "gzsl: its clips of seen classes are not the protocol's"
    yield from _faults(part, matrix, record.environment.precision)


def _faults(part: GzslPart, matrix: Matrix, precision: str) -> Iterator[str]:
    """Sentences about numbers of a record that do not follow from its matrix."""
    if (part.kind == GATE) != (matrix.logits is not None):
        yield f"gzsl.kind: it is {part.kind}, and the matrix is another's"
        return
    if digest(sorted(matrix.ids)) != part.samples or len({*matrix.ids}) != len(matrix.ids):
        yield "gzsl.samples: it is not the digest of the matrix's clips"
    allowed = tolerance(matrix.scores, precision)
    if not np.isclose(part.rescoring.tolerance, allowed, rtol=1e-3):
        yield "gzsl.rescoring.tolerance: it does not follow from the matrix"
    try:
        yield from _calibration_faults(part, matrix)
        own = numbers(part.rounds, matrix)
    except ValueError as error:
        yield f"gzsl: {error}"
        return
    if (part.seen_clips, part.unseen_clips) != (own.seen, own.unseen):
        yield "gzsl: its clips of seen and unseen classes are not the matrix's"
    for kind, said in (("top1", part.top1), ("mean_class", part.mean_class)):
        for name, value in named_numbers(own, kind).model_dump().items():
            told = getattr(said, name)
            if not abs(told - value) <= ROUNDING * max(1.0, abs(value)):  # NaN included
                yield f"gzsl.{kind}.{name}: the record says {told:.6g}, its matrix {value:.6g}"


def _calibration_faults(part: GzslPart, matrix: Matrix) -> Iterator[str]:
    """Whether rotations and operating points follow from what was said in them.

    Raises:
        ValueError: if there are no such numbers.
    """
    if (len(part.rotations), len(part.rounds)) != (len(matrix.rotations), len(matrix.training)):
        yield "gzsl: its rounds and rotations are not the matrix's"
        return
    known, experts = int(matrix.seen.sum()), []
    for turn, asked in zip(part.rotations, matrix.rotations, strict=True):
        own, said = rotation_numbers(asked, known - len(turn.held_out))
        experts.append(said)
        of_unseen = asked.labels >= known - len(turn.held_out)
        counts = (turn.unseen_clips, turn.seen_clips, turn.training_clips)
        there = (of_unseen.sum(), (~of_unseen).sum(), len(asked.scores) - len(asked.labels))
        if counts != there or asked.scores.shape[1] != known:
            yield f"gzsl.rotations: clips or classes of one of {turn.round} are not the matrix's"
        if not _close(own, turn.model_dump()):
            yield f"gzsl.rotations: one of {turn.round} does not follow from its scores"
    for number, one in enumerate(part.rounds):
        mine = [n for n, turn in enumerate(part.rotations) if turn.round == one.round]
        normalized = [part.rotations[n].normalized_constant for n in mine]
        told = [e for n in mine if (e := experts[n]) is not None]
        if not mine:
            yield f"gzsl.rotations: there is none of {one.round}"
            continue
        point = round_numbers(matrix.training[number], matrix.seen, normalized, told)
        gate = point.pop("gate")
        same = (gate is None) == (one.gate is None)
        if gate is not None and one.gate is not None:
            same = _close(gate.model_dump(), one.gate.model_dump())
        if not same or not _close(point, one.model_dump()):
            yield f"gzsl.rounds: the point of {one.round} does not follow from its rotations"
        if one.training_clips != len(matrix.training[number].scores):
            yield f"gzsl.rounds: training clips of {one.round} are not the matrix's"


def _close(own: dict[str, Any], said: dict[str, Any]) -> bool:
    """Whether numbers are those computed here, but for the rounding of another machine."""
    for name, value in own.items():
        told = said[name]
        if value is None or told is None:
            if value is not told:
                return False
        elif np.shape(value) != np.shape(told) or not np.allclose(
            value, told, rtol=CLOSE, atol=CLOSE
        ):
            return False
    return True
