"""Verification of a stored run: every number is computed again from its predictions.

A record may be untrusted input. It is also compared with the protocol and data on this machine, and
what could not be checked is reported. None of this shows how the scores were made: see
docs/trust.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.common.hashing import digest
from zsar_bench.data.clips.store import open_dataset, prepared
from zsar_bench.data.protocols.protocol import STAND_IN, Protocol
from zsar_bench.data.protocols.splits import UnseenClips, unseen_clips
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.metrics.measures import NOBODY, measure
from zsar_bench.plans.choose_data import choose_data
from zsar_bench.records.files import read_predictions, read_record
from zsar_bench.records.schema import Record
from zsar_bench.verification.gzsl import gzsl_faults
from zsar_bench.verification.self_reported import ORIGIN, UNKNOWN, identity_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-9  #: of an accuracy; by the order of summation
SINGLE = 1e-3  #: share by which a deviation of float32 scores may differ between machines
NUMBERS = ("clips", "top1", "mean_class", "chance", "chance_top1", "majority_class", "tied")
SHOWN = 3  #: clips in an error


@dataclass(frozen=True)
class Checked:
    """A verified run.

    Attributes:
        record: of the run.
        notes: what could not be checked here, and why; for people.
    """

    record: Record
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Predictions:
    ids: list[str]
    labels: NDArray[np.int64]
    candidates: list[str]
    scores: NDArray[np.float32]


def check_run(folder: Path, catalogue: Catalogue, known: Known | None = None) -> Checked:
    """Verify the files of one run.

    Args:
        folder: holds ``run.json`` and ``predictions.safetensors``.
        catalogue: the local protocols and data sets.
        known: results of earlier calls about these.

    Raises:
        UserError: naming the first fault.
    """
    record = read_record(folder)
    stored = _Predictions(*read_predictions(folder / "predictions.safetensors"))
    faults = [*_identity(record, stored), *_leak(record, catalogue), *_clips(record, stored)]
    if faults:
        raise UserError(faults[0])
    tested, note = (known or Known(catalogue)).tested(record)
    notes = [note] if note else []
    if tested is not None:
        faults += _against(record, stored, tested)
        if tested.data != record.protocol.data:
            notes.append("the data here are another version: labels compared clip by clip")
    if faults:
        raise UserError(faults[0])
    whole = tested is not None and tested.data == record.protocol.data
    faults += _numbers(record, stored, tested.subjects if whole and tested is not None else None)
    if faults:
        raise UserError(faults[0])
    if record.gzsl is not None:
        classes = [stored.candidates[n] for n in stored.labels]
        unseen = dict(zip(stored.ids, classes, strict=True))
        faults += gzsl_faults(record, record.gzsl, folder, unseen, tested)
    if faults:
        raise UserError(faults[0])
    if record.metrics.plugins:
        notes.append(f"not computed again: {', '.join(sorted(record.metrics.plugins))}")
    return Checked(record, tuple(notes))


# --- What must agree ----------------------------------------------------------------------------
# Each yields sentences about what does not; the first one is reported.


def _identity(record: Record, stored: _Predictions) -> Iterator[str]:
    """The run's id is the digest of its identity, and record and identity agree."""
    identity = record.identity
    try:
        expected = digest(identity)[:16]
    except ValueError as error:
        yield f"identity: {error}"
        return
    if expected != record.run_id:
        yield f"run_id: it is {record.run_id}, but its identity makes it {expected}"
    unknown = UNKNOWN in (record.encoder.origin, record.method.setting)
    if unknown != (record.origin == ORIGIN) or (unknown and record.certificate is not None):
        yield "origin: it disagrees with the fields that are unknown for self-reported scores"
    leaks = {record.method.leak, record.certificate.leak if record.certificate else ""}
    if leaks != {identity.get("leak", "")}:
        yield "method.leak: identity and certificate say otherwise"
    if record.origin == ORIGIN:
        p, name = record.protocol, record.method.name
        if identity != identity_of(p.digest, p.data, name, stored, stored.scores):
            yield "identity: it is not that of these scores"
        elif record.method.science != {"scores": identity["scores"][:12]}:
            yield "method.science: it is not the beginning of these scores' digest"
        return
    claims = {
        "protocol": record.protocol.digest,
        "method": {
            "name": record.method.name,
            "code": record.method.digest,
            "params": record.method.science,
        },
        "features": [round_.key for round_ in record.encoder.rounds],
        "seeds": [record.encoder_seed, record.method_seed],
        "rule": record.selection,
        "precision": record.environment.precision,
        "gzsl": record.gzsl.kind if record.gzsl else None,
    }
    for name, value in claims.items():
        if identity.get(name) != value:
            yield f"identity: its '{name}' is not what the record says"
    yield from _identity_of_texts(record)
    yield from _identity_of_tuning(record)
    machine = identity.get("machine")
    recorded = (record.environment.device, record.environment.threads)
    if not isinstance(machine, dict) or (machine.get("device"), machine.get("threads")) != recorded:
        yield "identity: its 'machine' is not what the record says"


def _leak(record: Record, catalogue: Catalogue) -> Iterator[str]:
    """Parameters and record agree about a leak, if the method is installed."""
    name, method = record.method.name, record.method
    entry = catalogue.find("methods", name) if name in catalogue.names("methods") else None
    if entry is None or entry.digest != method.digest:
        return
    on = [name for name in entry.spec.get("leaks", ()) if method.science.get(name)]
    if bool(on) != bool(method.leak):
        yield f"method.leak: it is '{method.leak}', its parameters say otherwise"


def _identity_of_tuning(record: Record) -> Iterator[str]:
    tuning = record.method.tuning
    if record.identity.get("tuning") != (None if tuning is None else tuning.identity):
        yield "identity: its 'tuning' is not what the record says"
    if (record.method.hp == "tuned") != (tuning is not None):
        yield "method.hp: it must be 'tuned' if, and only if, the record has a search"


def _identity_of_texts(record: Record) -> Iterator[str]:
    texts, control = record.identity.get("texts"), record.identity.get("control", {})
    recorded = (record.texts.texts, record.texts.fields)
    if not isinstance(texts, dict) or (texts.get("classes"), texts.get("fields")) != recorded:
        yield "identity: its 'texts' are not what the record says"
    of_record = {"kind": record.texts.control, "draw": record.texts.draw}
    if control != (of_record if record.texts.control else {}):
        yield "identity: its 'control' is not what the record says"


def _clips(record: Record, stored: _Predictions) -> Iterator[str]:
    """Every clip once, the record's candidates, and all scores."""
    if len({*stored.ids}) != len(stored.ids):
        yield "predictions: some clips are there more than once"
    if stored.candidates != record.protocol.unseen:
        yield "predictions: their candidates are not the record's unseen classes"
    if digest(sorted(stored.ids)) != record.protocol.samples:
        yield "protocol.samples: it is not the digest of the predictions' clips"
    if not len(stored.ids):
        yield "predictions: there are none"
    shared_candidates = not record.protocol.folds and record.protocol.rule != "transfer"
    if np.isnan(stored.scores).any() and shared_candidates:
        yield "predictions: some scores are not finite"


def _against(record: Record, stored: _Predictions, tested: UnseenClips) -> Iterator[str]:
    """Labels, clips and candidates equal those of the store."""
    if tested.candidates != stored.candidates:
        yield "predictions: their candidates are not those of the protocol here"
        return
    place = {clip: n for n, clip in enumerate(tested.ids)}
    shared = [n for n, clip in enumerate(stored.ids) if clip in place]
    rows = np.array([place[stored.ids[n]] for n in shared], dtype=np.int64)
    wrong = [
        n for n, row in zip(shared, rows, strict=True) if stored.labels[n] != tested.labels[row]
    ]
    if wrong:
        yield (
            f"labels: {len(wrong)} of {len(shared)} clips have another class in the data here: "
            f"{_some(stored.ids, wrong)}"
        )
    if tested.data != record.protocol.data:
        return
    if stored.ids != tested.ids:
        strange = [n for n, clip in enumerate(stored.ids) if clip not in place]
        lacking = len(tested.ids) - len(shared)
        yield (
            f"clips: they are not the protocol's test clips ({lacking} are missing, {len(strange)} "
            f"are others, {_some(stored.ids, strange) or 'or in another order'})"
        )
    elif (np.isnan(stored.scores) == tested.mask).any():
        yield "predictions: clips have other candidates than the protocol gives them"


def _some(ids: Sequence[str], rows: Sequence[int]) -> str:
    return ", ".join(ids[n][:60] for n in rows[:SHOWN])


def _numbers(record: Record, stored: _Predictions, subjects: list[str] | None) -> Iterator[str]:
    """Every metric, and credit and clips of every class and, where known, subject.

    Args:
        subjects: N subjects; None without local data.
    """
    nobody = [NOBODY] * len(stored.ids)
    try:
        computed = measure(stored.candidates, stored.labels, subjects or nobody, stored.scores)
    except (RunFailed, ValueError) as error:
        yield f"predictions: {error}"
        return
    recorded = record.metrics
    for name in NUMBERS:
        value, expected = getattr(recorded, name), getattr(computed, name)
        if not abs(value - expected) <= ROUNDING:  # NaN included
            yield f"metrics.{name}: the record says {value:.6g}, its predictions {expected:.6g}"
    if record.encoder.released is not None and subjects is None:
        subjects = nobody
    if not _same_cells(recorded.cells, computed.cells, exact=subjects is not None):
        yield "metrics.cells: they do not follow from the predictions"
    guesses = [_weighted(m.guesses, m.cells) for m in (recorded, computed)]
    if not _same_cells(guesses[0], guesses[1], exact=subjects is not None):
        yield "metrics.guesses: they do not follow from the predictions"
    if record.origin == ORIGIN:
        return
    allowed = tolerance(stored.scores, record.environment.precision)
    slack = SINGLE * allowed
    if not abs(record.rescoring.tolerance - allowed) <= slack:
        yield "rescoring.tolerance: it does not follow from the predictions"
    moved = not record.rescoring.largest_change <= allowed + slack  # NaN included
    if record.gzsl is not None:
        again = record.gzsl.rescoring
        moved = moved or not again.largest_change <= again.tolerance + SINGLE * again.tolerance
    settings = ("transductive", *([] if moved else [record.method.declared_setting]))
    if record.method.setting not in settings:
        yield (
            f"method.setting: the record says {record.method.setting}, its re-scoring check "
            f"{' or '.join(settings)}"
        )


Cells = dict[str, dict[str, tuple[float, int]]]


def _weighted(guesses: dict[str, dict[str, float]], counts: Cells) -> Cells:
    """Guesses a clip as credit and clips."""
    return {
        c: {
            s: (value * n, n)
            for s, value in row.items()
            if (n := counts.get(c, {}).get(s, (0, 0))[1])
        }
        for c, row in guesses.items()
    }


def _same_cells(recorded: Cells, computed: Cells, exact: bool) -> bool:
    """Whether two tables agree: cell by cell, or only (not ``exact``) class by class."""
    if recorded.keys() != computed.keys():
        return False
    for class_id, row in recorded.items():
        cells = computed[class_id]
        pairs: list[tuple[Any, Any]]
        if exact:
            if row.keys() != cells.keys():
                return False
            pairs = [(row[s], cells[s]) for s in row]
        else:
            if any(n < 1 or not 0 <= credit <= n + ROUNDING for credit, n in row.values()):
                return False
            pairs = [(np.sum([*row.values()], axis=0), np.sum([*cells.values()], axis=0))]
        for (credit, clips), (expected_credit, expected_clips) in pairs:
            if clips != expected_clips or not abs(credit - expected_credit) <= ROUNDING * max(
                1, clips
            ):
                return False
    return True


class Known:
    """The test clips of protocols on local data; each is looked up once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[str, tuple[Protocol | None, UnseenClips | None, str]] = {}

    def tested(self, record: Record) -> tuple[UnseenClips | None, str]:
        """The test clips of a record's protocol here, or why they are not known.

        Raises:
            UserError: if the local protocol of this name differs.
        """
        name = record.protocol.id
        if name not in self._known:
            self._known[name] = self._look_up(name)
        protocol, tested, note = self._known[name]
        if protocol is not None:
            recorded = record.protocol
            same = (protocol.id, protocol.digest, protocol.dataset, list(protocol.seen))
            if (name, recorded.digest, recorded.dataset, recorded.seen) != same:
                raise UserError(
                    f"protocol: '{name}' has other classes or another sample rule here "
                    f"(digest {protocol.digest[:12]}, not {recorded.digest[:12]})"
                )
            if [list(fold) for fold in protocol.folds] != recorded.folds:
                raise UserError(f"protocol: the folds of '{name}' are others here")
            if protocol.stand_in_for != recorded.stand_in_for:
                raise UserError(f"protocol: '{name}' has other clips here")
        if record.encoder.released is not None:
            return None, "released features: their clips' labels are not here"
        return tested, note

    def _look_up(self, name: str) -> tuple[Protocol | None, UnseenClips | None, str]:
        try:
            wanted = "auto" if name.startswith(STAND_IN) else "real"
            choice = choose_data(name, wanted, self._catalogue)
        except UserError as error:
            return None, None, f"the protocol is not here ({error.what.removesuffix('.')})"
        protocol, store = choice.protocol, choice.entry.name
        try:
            if store not in prepared():
                return protocol, None, f"the data '{store}' are not here"
            return protocol, unseen_clips(protocol, open_dataset(store)), ""
        except UserError as error:  # it lacks classes, or is damaged
            return protocol, None, f"the data are no help here ({error.what.removesuffix('.')})"
