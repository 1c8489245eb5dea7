"""Scores that were made elsewhere, evaluated here with the data set's labels.

How they were made is not known: such fields of the record are ``unknown``, empty or 0.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from zsar_bench.common.files import fresh_folder, write_bytes
from zsar_bench.common.hashing import VERSION, digest
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.metrics.measures import measure
from zsar_bench.records.environment import source_state
from zsar_bench.records.files import place_of, seal_run, write_predictions
from zsar_bench.records.parts import (
    Choice,
    EncoderPart,
    Environment,
    MethodPart,
    Metrics,
    Rescoring,
    Seconds,
    TextPart,
)
from zsar_bench.records.schema import Record, record_bytes
from zsar_bench.runs.finish import protocol_part
from zsar_bench.verification.score_files import Scores
from zsar_bench.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.data.protocols.splits import UnseenClips

ORIGIN: Final = "self-reported"
UNKNOWN: Final = "unknown"
SHOWN = 3  #: names in an error


def judge_scores(
    given: Scores, source: str, sha256: str, method: str, protocol: Protocol, tested: UnseenClips
) -> tuple[Record, tuple[Any, ...]]:
    """The record of scores that were made elsewhere, and what to store of them.

    Args:
        given: content of the file.
        source: name of the file, and ``sha256`` of its bytes.
        method: name for the record.
        protocol: of the test.
        tested: its clips with their labels.

    Returns:
        The record, and the arguments of ``write_predictions`` after the path.

    Raises:
        UserError: if the scores are not one finite number for every clip and candidate.
    """
    scores = arrange(given, source, protocol, tested)
    try:
        metrics = Metrics(
            **vars(measure(tested.candidates, tested.labels, tested.subjects, scores))
        )
    except RunFailed as error:
        raise UserError(f"{source}: {error.reason}.") from None
    identity = identity_of(protocol.digest, tested.data, method, tested, scores)
    science = {"scores": identity["scores"][:12]}  # two files of one method are two rows
    return (
        Record(
            run_id=digest(identity)[:16],
            identity=identity,
            created=_now(),
            protocol=protocol_part(protocol, tested.data, tested.candidates, tested.ids),
            method=MethodPart(
                name=method,
                plugin="",
                digest="",
                profile="",
                science=science,
                runtime={},
                hp=UNKNOWN,
                declared_setting=UNKNOWN,
                setting=UNKNOWN,
            ),
            encoder=EncoderPart(
                name=UNKNOWN,
                plugin="",
                digest="",
                profile="",
                science={},
                origin=UNKNOWN,
                rounds=[],
            ),
            texts=TextPart(
                encoder=UNKNOWN,
                plugin="",
                digest="",
                science={},
                fingerprint="",
                source=UNKNOWN,
                version=0,
                fields=[],
                texts="",
            ),
            encoder_seed=0,
            method_seed=0,
            selection=UNKNOWN,
            metrics=metrics,
            rescoring=Rescoring(clips=0, largest_change=0.0, tolerance=0.0),
            choices=[Choice(what="scores", value=f"sha256 {sha256}", reason=source)],
            environment=_environment(),
            seconds=Seconds(fit=0.0, score=0.0),
            origin=ORIGIN,
        ),
        (tested.ids, tested.labels, tested.candidates, scores),
    )


def identity_of(
    protocol: str, data: str, method: str, tested: UnseenClips | Any, scores: NDArray[np.float32]
) -> dict[str, Any]:
    """The identity of these scores: JSON values.

    Args:
        protocol, data: digests.
        method: its name.
        tested: has ``ids`` and ``candidates``, in the order of the scores.
        scores: (N, K).
    """
    content = hashlib.sha256(np.ascontiguousarray(scores, dtype="<f4").tobytes()).hexdigest()
    return {
        "version": VERSION,
        "origin": ORIGIN,
        "protocol": protocol,
        "data": data,
        "method": {"name": method},
        "scores": digest([list(tested.ids), list(tested.candidates), content]),
    }


def keep(results: Path, record: Record, predictions: tuple[Any, ...]) -> Path:
    """Store a record and its predictions; the same scores twice are stored once.

    Returns:
        The folder.
    """
    folder = results / "runs" / place_of(record)
    if not (folder / "run.json").is_file():
        with fresh_folder(folder) as beside:
            write_predictions(beside / "predictions.safetensors", *predictions)
            write_bytes(beside / "run.json", record_bytes(record))
            seal_run(beside)
    return folder


# --- A matrix in the order of the test ----------------------------------------------------------


def arrange(
    given: Scores, source: str, protocol: Protocol, tested: UnseenClips
) -> NDArray[np.float32]:
    """(N, K) the scores in the test's order of clips and classes; NaN for no candidate.

    Raises:
        UserError: for missing, unknown or repeated ids or classes, for scores that are not finite,
            and for best scores that differ only in digits that are not stored.
    """
    where = f"{source}, protocol '{protocol.id}'"
    rows = _places(where, "clip", given.ids, tested.ids, "test clips")
    named = _ids_of(given.classes, protocol)
    columns = _places(where, "class", named, tested.candidates, "candidates")
    scores = given.scores[np.ix_(rows, columns)]
    scores[~tested.mask] = np.nan  # no candidate
    bad = tested.mask & ~np.isfinite(scores)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UserError(
            f"{where}: {np.count_nonzero(bad)} of {np.count_nonzero(tested.mask)} scores are not "
            f"finite or left open, the first of clip {tested.ids[row]} and class "
            f"{tested.candidates[column]}.",
            "Give one number for every clip and candidate.",
        )
    return _stored(scores, where, tested)


def _ids_of(classes: Iterable[str], protocol: Protocol) -> list[str]:
    """Official ids of classes that are called by their ids or names; others as they are."""
    known = {c.id for c in protocol.classes}
    named = [(c.name.casefold(), c.id) for c in protocol.classes]
    count = Counter(name for name, _ in named)
    ids = {name: class_id for name, class_id in named if count[name] == 1}
    return [c if c in known else ids.get(" ".join(c.split()).casefold(), c) for c in classes]


def _places(
    where: str, what: str, given: Sequence[str], wanted: Sequence[str], role: str
) -> list[int]:
    """The place in ``given`` of each of ``wanted``; it must hold each once and nothing else."""
    counts, expected = Counter(given), {*wanted}
    more = "classes" if what == "class" else "clips"
    for faulty, fault in (
        ([n for n, count in counts.items() if count > 1], "are there more than once"),
        ([n for n in counts if n not in expected], f"are no {role}"),
        ([n for n in wanted if n not in counts], f"of the {len(wanted)} {role} are missing"),
    ):
        if faulty:
            raise UserError(
                f"{where}: {len(faulty)} {more} {fault}: {_first(faulty)}.",
                "To get a file with the right ids and classes: zsar-bench score --protocol ID "
                "--template FILE.csv",
            )
    place = {name: n for n, name in enumerate(given)}
    return [place[name] for name in wanted]


def _first(names: Collection[str]) -> str:
    shown = [name[:60] for name in list(names)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _stored(scores: NDArray[np.float64], where: str, tested: UnseenClips) -> NDArray[np.float32]:
    """The scores as they are stored; the best classes of a clip must not change."""
    with np.errstate(over="ignore"):
        stored = scores.astype(np.float32)
    if np.isinf(stored).any():
        raise UserError(f"{where}: some scores are too large: |score| may be up to 3e38.")
    before = scores == np.nanmax(scores, axis=1, keepdims=True)
    after = stored == np.nanmax(stored, axis=1, keepdims=True)
    moved = np.flatnonzero((before != after).any(axis=1))
    if len(moved):
        raise UserError(
            f"{where}: the best scores of {len(moved)} clips differ in digits that float32 does "
            f"not hold: {_first([tested.ids[row] for row in moved])}.",
            "Give scores that float32 tells apart, such as logarithms or differences.",
        )
    return stored


def write_template(path: Path, protocol: Protocol, tested: UnseenClips) -> None:
    """A CSV file with the clips and classes of a test, to be filled with scores.

    Clips are in an order that is independent of their classes.
    """
    import csv
    import io

    from zsar_bench.common.hashing import hash_order

    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["id", *tested.candidates])
    empty = [""] * len(tested.candidates)
    lines.writerows([clip, *empty] for clip in hash_order(tested.ids, f"template/{protocol.id}"))
    write_bytes(path, text.getvalue().encode())


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")


def _environment() -> Environment:
    """The environment of the evaluation; that of the scores is not known."""
    commit, dirty = source_state()
    return Environment(
        zsar_bench=__version__,
        commit=commit,
        dirty=dirty,
        python="",
        torch="",
        platform="",
        device=UNKNOWN,
        device_name="",
        threads=0,
        precision=UNKNOWN,
        confinement="none",
    )
