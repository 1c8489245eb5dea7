"""What a protocol tests on prepared data: clips, candidates and the labels that only the parent
knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.rounds import Round, candidates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.datasets import Dataset
    from zsar_bench.protocol import Protocol


@dataclass(frozen=True)
class UnseenClips:
    """The unseen test clips of all rounds, in the order of a run's predictions.

    Attributes:
        data: digest of the data set.
        ids: N clip ids, as the store has them.
        labels: (N,) index of the true class in ``candidates``.
        subjects: N performers.
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
    """The clips that every run of this protocol on this data is judged by.

    Raises:
        UserError: if a round would have no clip of a class it needs.
    """
    rounds, clips = protocol.rounds(dataset), dataset.clips
    candidates = candidates_in(protocol, rounds)
    column = {c: n for n, c in enumerate(candidates)}
    index = [i for one in rounds for i in one.test_unseen]
    mask = np.zeros((len(index), len(candidates)), dtype=np.bool_)
    start = 0
    for one in rounds:
        own = candidate_mask(protocol, clips, one)
        mask[start : start + len(own), [column[c] for c in one.unseen]] = own
        start += len(own)
    return UnseenClips(
        data=dataset.digest,
        ids=[clips["id"][i] for i in index],
        labels=np.array([column[clips["class"][i]] for i in index], dtype=np.int64),
        subjects=[clips["subject"][i] for i in index],
        candidates=candidates,
        mask=mask,
        seen={clips["id"][i]: clips["class"][i] for one in rounds for i in one.test_seen},
    )


def candidates_in(protocol: Protocol, rounds: Iterable[Round]) -> list[str]:
    """The classes that are unseen in some round, in the data set's order."""
    unseen = {c for one in rounds for c in one.unseen}
    return [c for c in protocol.unseen if c in unseen]


def candidate_mask(
    protocol: Protocol, clips: Mapping[str, Sequence[str]], one: Round
) -> NDArray[np.bool_]:
    """(n, K) whether a class of ``one.unseen`` is a candidate of a clip of ``one.test_unseen``."""
    own = candidates_of(protocol, clips, one)
    mask = np.full((len(one.test_unseen), len(one.unseen)), own is None)
    for row, numbers in enumerate(own or ()):
        mask[row, numbers] = True
    return mask
