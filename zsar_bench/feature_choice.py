"""Which features a command's runs get: an encoder trained here, or released ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import open_dataset
from zsar_bench.environment import Machine
from zsar_bench.errors import UserError
from zsar_bench.features import EncoderPlan
from zsar_bench.protocol import Protocol
from zsar_bench.released import check_method, open_released
from zsar_bench.settings import Settings, resolve
from zsar_bench.sources import FeatureSource

if TYPE_CHECKING:
    from zsar_bench.plan import Request

Choice = tuple[str, str, str]  #: what, value, reason
Source = TypeVar("Source", bound=FeatureSource, covariant=True)


@dataclass(frozen=True)
class Features(Generic[Source]):
    """Where the features of a command's runs come from.

    Attributes:
        settings: the skeleton encoder and its parameters; none for released features.
        choice: as a command shows it.
        of_seed: encoder seed -> the features of every round.
    """

    settings: tuple[tuple[Entry, Settings], ...]
    choice: Choice
    of_seed: Callable[[int], tuple[Source, ...]]

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry, _ in self.settings]


def choose_features(
    request: Request,
    catalogue: Catalogue,
    protocol: Protocol,
    methods: Sequence[Entry],
    profile: str,
    machine: Machine,
) -> Features[FeatureSource]:
    """The released features that were named, or else an encoder trained on prepared data.

    Raises:
        UserError: for features that do not fit the request, its methods or the protocol.
    """
    if request.features is None:
        return trained(request, catalogue, protocol, profile, machine)
    if request.skeleton_encoder is not None:
        raise UserError(
            "--features and --skeleton-encoder exclude each other: released features come from "
            "an encoder of their own."
        )
    for method in methods:
        check_method(method)
    released = open_released(request.features, protocol)
    return Features((), released.said, lambda seed: released.sources)


def trained(
    request: Request, catalogue: Catalogue, protocol: Protocol, profile: str, machine: Machine
) -> Features[EncoderPlan]:
    """A skeleton encoder to be trained on the prepared data set, one a round.

    Raises:
        UserError: for an unknown encoder or parameter, or data that is not prepared.
    """
    entry, choice = named(catalogue, "skeleton_encoders", request.skeleton_encoder)
    settings = resolve(entry, profile, request.assignments)
    how_to_get = catalogue.find("datasets", protocol.dataset).spec["how_to_get"]
    dataset = open_dataset(protocol.dataset, how_to_get)

    def of_seed(seed: int) -> tuple[EncoderPlan, ...]:
        return tuple(
            EncoderPlan(entry, settings, dataset, one, protocol.seen, seed, machine)
            for one in protocol.rounds(dataset)
        )

    return Features(((entry, settings),), choice, of_seed)


def named(catalogue: Catalogue, kind: str, name: str | None) -> tuple[Entry, Choice]:
    """The plugin of this kind that was named, or else the default, with the reason."""
    what = kind[:-1].replace("_", " ")
    if name is not None:
        return catalogue.find(kind, name), (what, name, "named")
    entry = catalogue.default(kind)
    return entry, (what, entry.name, f"best available (rank {entry.spec['fallback_rank']})")
