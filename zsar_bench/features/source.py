"""The interface of a run to its features, made here or released.

``EncoderPlan`` trains an encoder and encodes clips; ``ReleasedPlan`` reads a folder of published
features.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from zsar_bench.data.protocols.splits import Round

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.records.parts import EncoderPart, EncoderRound


class Samples(Protocol):
    """The clips of the features; for the parent only, never sent to a plugin."""

    @property
    def clips(self) -> dict[str, list[Any]]:
        """Columns over clips, at least id, class and subject (``NOBODY`` if not known)."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything about them that can change a result."""

    @property
    def layout(self) -> dict[str, Any]:
        """The joint layout; empty where there are no raw clips."""

    def contents(self, index: list[int]) -> list[bytes]:
        """The content of each clip, or its digest; orders derive from it."""


class FeatureSource(Protocol):
    """The features of one round: those to fit on and those to score."""

    @property
    def name(self) -> str:
        """For people: the encoder's name, or ``released``."""

    @property
    def title(self) -> str:
        """For people: the task of ``ensure``."""

    @property
    def key(self) -> str:
        """Key of everything the features depend on."""

    @property
    def seed(self) -> int:
        """Seed of the encoder; 0 where it is not known."""

    @property
    def round(self) -> Round:
        """Which clips train and test, as indices into the columns of ``dataset``."""

    @property
    def dataset(self) -> Samples:
        """The clips: one table for all rounds of a run."""

    @property
    def cost(self) -> tuple[str, str, float]:
        """Name and code of the work of ``ensure``, and its declared seconds."""

    def ready(self, wants: Iterable[str]) -> bool:
        """Whether all that a method wants is in the cache."""

    def retrained(self, rotation: Round) -> FeatureSource:
        """The same kind of features of another round, learned from its classes only.

        Raises:
            UserError: if they cannot be made again.
        """

    def fit_bundle(self, clips: list[int], wants: Iterable[str]) -> list[dict[str, Any]]:
        """The files of these training clips with their labels; a fit may open no others."""

    def read(self, index: list[int], wants: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Feature tensors of clips, row by row as in ``index``."""

    def raw(self, index: list[int]) -> dict[str, NDArray[Any]]:
        """Raw clips as they travel through the pipe; only for methods that want ``clips``."""

    def encoder_job(self) -> dict[str, Any]:
        """The job by which a worker rebuilds the trained encoder, for methods that need it."""

    def certify(self) -> dict[str, Any]:
        """How the features were made: ``level`` of confinement, ``classes`` and ``clips`` (a
        digest) that their encoder learned from, ``moved``, ``denied``; see ``Certificate``."""

    def record_round(self) -> EncoderRound:
        """The record's part about this round's features."""

    def record_part(self, rounds: list[EncoderRound]) -> EncoderPart:
        """The record's part about the features of all rounds."""
