"""Where the features of a run come from: one interface, whether made here or brought along.

``features.EncoderPlan`` trains an encoder and encodes clips; ``released.ReleasedPlan`` reads a
folder of features that somebody has published. A run knows neither, only what is below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from zsar_bench.data.protocols.splits import Round

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.records.parts import EncoderPart, EncoderRound


class Samples(Protocol):
    """The clips that the features are of, as the parent knows them; no plugin meets them."""

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
        """What each clip consists of, or a digest of it: orders are made from it."""


class FeatureSource(Protocol):
    """The features of one round: those to fit on and those to score."""

    @property
    def name(self) -> str:
        """For people: the encoder's name, or that the features were released."""

    @property
    def title(self) -> str:
        """For people: the work of ``ensure``."""

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
        """What ``ensure`` costs: name and code of the work, and the seconds declared for it."""

    def ready(self, wants: Iterable[str]) -> bool:
        """Whether all that a method wants is in the cache."""

    def retrained(self, one: Round) -> FeatureSource:
        """The same features of another round, whose classes alone they are learned from.

        Raises:
            UserError: if they cannot be made again.
        """

    def fit_bundle(self, clips: list[int], wants: Iterable[str]) -> list[dict[str, Any]]:
        """The files of these training clips with their labels: all a fit may open."""

    def read(self, index: list[int], wants: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Feature tensors of clips, row by row as in ``index``."""

    def raw(self, index: list[int]) -> dict[str, NDArray[Any]]:
        """Raw clips as they travel through the pipe; only for methods that want ``clips``."""

    def encoder_job(self) -> dict[str, Any]:
        """How a worker rebuilds the trained encoder; only for methods that need it."""

    def certify(self) -> dict[str, Any]:
        """How the features were made: ``level`` of confinement, ``classes`` and ``clips`` (a
        digest) that their encoder learned from, ``moved``, ``denied``; see ``Certificate``."""

    def record_round(self) -> EncoderRound:
        """What the record says about this round's features."""

    def record_part(self, rounds: list[EncoderRound]) -> EncoderPart:
        """What the record says about the features of all rounds."""
