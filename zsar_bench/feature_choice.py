"""Which features a command's runs get: an encoder trained here, or released ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import Dataset
from zsar_bench.environment import Machine
from zsar_bench.errors import UserError
from zsar_bench.features import EncoderPlan
from zsar_bench.protocol import Protocol
from zsar_bench.released import check_method, open_released
from zsar_bench.settings import Settings, resolve
from zsar_bench.sources import FeatureSource

if TYPE_CHECKING:
    from zsar_bench.request import Request

Choice = tuple[str, str, str]  #: what, value, reason
Source = TypeVar("Source", bound=FeatureSource, covariant=True)


@dataclass(frozen=True)
class Features(Generic[Source]):
    """Where the features of a command's runs come from.

    Attributes:
        choice: as a command shows it.
        of_seed: encoder seed -> the features of every round.
    """

    choice: Choice
    of_seed: Callable[[int], tuple[Source, ...]]


@dataclass(frozen=True)
class EncoderChoice:
    """The skeleton encoder that a command trains.

    Attributes:
        entry, settings: the encoder and its parameters.
        choice: as a command shows it.
    """

    entry: Entry
    settings: Settings
    choice: Choice


def choose_encoder(request: Request, catalogue: Catalogue, profile: str) -> EncoderChoice | None:
    """The encoder to be trained; None where released features take its place.

    Raises:
        UserError: for an unknown encoder or parameter, or if both are named.
    """
    if request.features is None:
        entry, choice = named(catalogue, "skeleton_encoders", request.skeleton_encoder)
        return EncoderChoice(entry, resolve(entry, profile, request.assignments), choice)
    for option, given in (
        ("--skeleton-encoder", request.skeleton_encoder is not None),
        ("--splits", bool(request.splits)),
        ("--dial", bool(request.dials)),
        ("--data stand-in", request.data == "stand-in"),
    ):
        if given:
            raise UserError(
                f"--features and {option} exclude each other: released features come from an "
                "encoder of their own, trained on one protocol's real seen clips."
            )
    return None


def released(request: Request, protocol: Protocol, methods: Sequence[Entry]) -> Features[Any]:
    """The released features that were named.

    Raises:
        UserError: for features that do not fit the methods or the protocol.
    """
    assert request.features is not None
    for method in methods:
        check_method(method)
    found = open_released(request.features, protocol)
    return Features(found.said, lambda seed: found.sources)


def trained(
    encoder: EncoderChoice, protocol: Protocol, dataset: Dataset, machine: Machine
) -> Features[EncoderPlan]:
    """The features of an encoder that is trained on a prepared data set, one a round.

    Raises:
        UserError: if a round lacks clips that it needs.
    """
    rounds = protocol.rounds(dataset)

    @cache  # a plan's key is a digest of all clips' ids: one a seed, not one a run
    def of_seed(seed: int) -> tuple[EncoderPlan, ...]:
        return tuple(
            EncoderPlan(encoder.entry, encoder.settings, dataset, one, one.seen, seed, machine)
            for one in rounds
        )

    return Features(encoder.choice, of_seed)


def named(catalogue: Catalogue, kind: str, name: str | None) -> tuple[Entry, Choice]:
    """The plugin of this kind that was named, or else the default, with the reason."""
    what = kind[:-1].replace("_", " ")
    if name is not None:
        return catalogue.find(kind, name), (what, name, "named")
    entry = catalogue.default(kind)
    return entry, (what, entry.name, f"best available (rank {entry.spec['fallback_rank']})")
