"""Whether the GZSL numbers of a record are those of the matrix beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.gzsl_calibration import carried
from zsar_bench.gzsl_outcome import named_numbers, numbers
from zsar_bench.gzsl_record import FILE, GzslPart, Matrix, read_matrix
from zsar_bench.gzsl_rotations import GATE
from zsar_bench.identity import digest
from zsar_bench.tolerance import tolerance

if TYPE_CHECKING:
    from zsar_bench.record import Record
    from zsar_bench.tested import UnseenClips

ROUNDING = 1e-9  #: of a number; what another order of summing leaves


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
    yield from _calibration_faults(part)
    allowed = tolerance(matrix.scores, precision)
    if not np.isclose(part.rescoring.tolerance, allowed, rtol=1e-3):
        yield "gzsl.rescoring.tolerance: it does not follow from the matrix"
    try:
        own = numbers(part.rounds, matrix)
    except ValueError as error:
        yield f"gzsl: {error}"
        return
    if (part.seen_clips, part.unseen_clips) != (own.seen, own.unseen):
        yield "gzsl: its clips of seen and unseen classes are not the matrix's"
    for kind, said in (("micro", part.micro), ("macro", part.macro)):
        for name, value in named_numbers(own, kind).model_dump().items():
            told = getattr(said, name)
            if not abs(told - value) <= ROUNDING * max(1.0, abs(value)):  # NaN included
                yield f"gzsl.{kind}.{name}: the record says {told:.6g}, its matrix {value:.6g}"


def _calibration_faults(part: GzslPart) -> Iterator[str]:
    """Whether constants follow from the rotations that the record tells of."""
    for one in part.rounds:
        turns = [t for t in part.rotations if t.round == one.round]
        if not turns:
            yield f"gzsl.rotations: there is none of {one.round}"
            continue
        wrong = [t for t in turns if not np.isclose(t.standing * t.size, t.constant)]
        expected = carried([t.standing for t in turns], one.size)
        if wrong or not np.allclose(expected, (one.standing, one.constant)):
            yield f"gzsl.rounds: the constant of {one.round} does not follow from its rotations"
    if {t.round for t in part.rotations} - {one.round for one in part.rounds}:
        yield "gzsl.rotations: some are of no round"
