"""The rounds of a protocol: which clips train and test together, and among which classes.

A protocol's sample rule divides clips into training and test; its classes, or those of a fold,
determine which are seen and unseen. A run has all rounds of a protocol, and every clip is tested in
at most one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zsar_bench.data.protocols.protocol import CROSS_FIT, TRANSFER
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.data.clips.store import Dataset
    from zsar_bench.data.protocols.protocol import Protocol

SHOWN = 8  #: classes named in an error


@dataclass(frozen=True)
class Round:
    """One training and the clips it is tested on; a cross-fit has one round a group.

    Attributes:
        name: e.g. ``half-1`` or ``xsub``.
        train: clip indices of seen classes on the training side.
        test_unseen: clip indices of unseen classes on the test side.
        test_seen: clip indices of seen classes on the test side.
        seen, unseen: official class ids, in the data set's order; ``unseen`` are the candidates.
    """

    name: str
    train: list[int]
    test_unseen: list[int]
    test_seen: list[int]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    """Which clips take part in a round, by their value in one column."""

    name: str
    column: str
    train: set[str]
    test: set[str]


def make_rounds(protocol: Protocol, dataset: Dataset) -> list[Round]:
    """Clip indices of every round.

    Raises:
        UserError: if a round would have no clip of a class it needs.
    """
    rounds = []
    for fold, unseen in _folds(protocol):
        for side in _sides(protocol, dataset):
            seen, tested = _classes(protocol, dataset, side, unseen)
            rounds.append(_round(protocol, dataset, side, f"{fold}{side.name}", seen, tested))
    for round_ in rounds:
        _check(protocol, round_, dataset.clips["class"])
    return rounds


def _folds(protocol: Protocol) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a round's name begins with, and its unseen classes."""
    if not protocol.folds:
        yield "", protocol.unseen
    for number, fold in enumerate(protocol.folds, 1):
        yield f"fold-{number} ", fold


def _sides(protocol: Protocol, dataset: Dataset) -> Iterator[_Side]:
    if protocol.rule == TRANSFER:
        for source, target in protocol.groups:
            yield _Side(f"{source} to {target}", "setup", {source}, {target})
    elif protocol.rule == CROSS_FIT:
        halves = len(protocol.groups) == 2
        everybody = {s for group in protocol.groups for s in group}
        for number, group in enumerate(protocol.groups, 1):
            name = f"{'half' if halves else 'group'}-{number}"
            yield _Side(name, "subject", everybody - {*group}, {*group})
    else:
        column = protocol.divides_by
        remaining = {*dataset.clips[column]} - {
            *protocol.train,
            "",
        }  # clips without a value are in neither
        yield _Side(protocol.rule, column, {*protocol.train}, remaining)


def _classes(
    protocol: Protocol, dataset: Dataset, side: _Side, unseen: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Seen and unseen classes of a round.

    In a transfer between parts of a pooled data set, the first part's classes are seen, and those
    of the second part only are unseen.
    """
    if protocol.rule != TRANSFER:
        order = protocol.seen if not protocol.folds else tuple(c.id for c in protocol.classes)
        return tuple(c for c in order if c not in {*unseen}), tuple(unseen)
    pairs = {*zip(dataset.clips["class"], dataset.clips[side.column], strict=True)}
    has = [{c for c, value in pairs if value in values} for values in (side.train, side.test)]
    order = tuple(c.id for c in protocol.classes)
    return tuple(c for c in order if c in has[0]), tuple(c for c in order if c in has[1] - has[0])


def _round(
    protocol: Protocol,
    dataset: Dataset,
    side: _Side,
    name: str,
    seen_classes: tuple[str, ...],
    unseen_classes: tuple[str, ...],
) -> Round:
    """The round whose clips train or test by their value in a column."""
    clips, seen, unseen = dataset.clips, {*seen_classes}, {*unseen_classes}
    rows = list(enumerate(zip(clips["class"], clips[side.column], strict=True)))
    return Round(
        name=name,
        train=[n for n, (c, v) in rows if c in seen and v in side.train],
        test_unseen=[n for n, (c, v) in rows if c in unseen and v in side.test],
        test_seen=[n for n, (c, v) in rows if c in seen and v in side.test],
        seen=seen_classes,
        unseen=unseen_classes,
    )


def _check(protocol: Protocol, round_: Round, class_of: list[str]) -> None:
    missing = set(round_.seen) - {class_of[n] for n in round_.train}
    if missing or not round_.test_unseen:
        some = [c for c in round_.seen if c in missing][:SHOWN]
        more = f" and {len(missing) - SHOWN} more classes" if len(missing) > SHOWN else ""
        lack = f"training clips of {', '.join(some)}{more}" if missing else "test clips"
        raise UserError(
            f"Protocol '{protocol.id}', {round_.name}: the imported data has no {lack}.",
            f"Import the complete data set: zsar-bench data import {protocol.dataset} PATH --force",
        )


def candidates_of(
    protocol: Protocol, clips: Mapping[str, Sequence[str]], round_: Round
) -> list[list[int]] | None:
    """Of each unseen test clip of a round: the numbers of its candidates in ``round_.unseen``.

    None where every clip has all of them. In a pooled data set a clip's candidates are the unseen
    classes of its own part, so that differences between parts have no influence.
    """
    if not protocol.own_candidates:
        return None
    pairs = {*zip(clips["class"], clips["setup"], strict=True)}
    held = {
        setup: [k for k, c in enumerate(round_.unseen) if (c, setup) in pairs]
        for setup in {*clips["setup"]}
    }
    return [held[clips["setup"][n]] for n in round_.test_unseen]


@dataclass(frozen=True)
class UnseenClips:
    """The unseen test clips of all rounds, in the order of a run's predictions.

    Attributes:
        data: digest of the data set.
        ids: N clip ids, as the store has them.
        labels: (N,) index of the true class in ``candidates``.
        subjects: N subjects.
        candidates: K official class ids.
        mask: (N, K) whether a class is a candidate of a clip.
        seen: clip id -> class of the clips of seen classes on the test side, for GZSL.
    """

    data: str
    ids: list[str]
    labels: NDArray[np.int64] = field(repr=False)
    subjects: list[str]
    candidates: list[str]
    mask: NDArray[np.bool_] = field(repr=False)
    seen: dict[str, str] = field(repr=False, default_factory=dict)


def unseen_clips(protocol: Protocol, dataset: Dataset) -> UnseenClips:
    """The test clips of every run of this protocol on this data.

    Raises:
        UserError: if a round would have no clip of a class it needs.
    """
    import numpy as np  # plans are made of lists: numpy would cost a command a tenth of a second

    rounds, clips = make_rounds(protocol, dataset), dataset.clips
    candidates = candidates_in(protocol, rounds)
    column = {c: n for n, c in enumerate(candidates)}
    index = [i for round_ in rounds for i in round_.test_unseen]
    mask = np.zeros((len(index), len(candidates)), dtype=np.bool_)
    start = 0
    for round_ in rounds:
        allowed = candidate_mask(protocol, clips, round_)
        mask[start : start + len(allowed), [column[c] for c in round_.unseen]] = allowed
        start += len(allowed)
    return UnseenClips(
        data=dataset.digest,
        ids=[clips["id"][i] for i in index],
        labels=np.array([column[clips["class"][i]] for i in index], dtype=np.int64),
        subjects=[clips["subject"][i] for i in index],
        candidates=candidates,
        mask=mask,
        seen={clips["id"][i]: clips["class"][i] for round_ in rounds for i in round_.test_seen},
    )


def candidates_in(protocol: Protocol, rounds: Iterable[Round]) -> list[str]:
    """The classes that are unseen in some round, in the data set's order."""
    unseen = {c for round_ in rounds for c in round_.unseen}
    return [c for c in protocol.unseen if c in unseen]


def candidate_mask(
    protocol: Protocol, clips: Mapping[str, Sequence[str]], round_: Round
) -> NDArray[np.bool_]:
    """(n, K) whether a class of ``unseen`` is a candidate of a clip of ``test_unseen``."""
    import numpy as np

    candidates = candidates_of(protocol, clips, round_)
    mask = np.full((len(round_.test_unseen), len(round_.unseen)), candidates is None)
    for row, numbers in enumerate(candidates or ()):
        mask[row, numbers] = True
    return mask
