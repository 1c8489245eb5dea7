"""Which clips a run uses: the real data set, or the synthetic stand-in that is said aloud.

Nobody without the real files is sent away, and nobody who asked for them gets anything else:
``auto`` takes the real data where it is imported and the stand-in elsewhere, ``real`` refuses
instead, and a protocol named ``stand-in/...`` is never run on real clips.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.common.events import Event
from zsar_bench.data.clips.importer import ensure_generated
from zsar_bench.data.clips.store import Dataset, open_dataset, prepared
from zsar_bench.data.protocols.lookup import find_group, find_protocol
from zsar_bench.data.protocols.protocol import (
    STAND_IN,
    Protocol,
    dataset_entry,
    on_stand_in,
    random_split,
    stand_ins,
    with_dials,
)
from zsar_bench.errors import UserError, unknown
from zsar_bench.specs import generated

WANTED = ("auto", "real", "stand-in")
OWN_DIALS = ("seen", "encoder")  #: those that work on any protocol; others are the generator's


@dataclass(frozen=True)
class DataChoice:
    """The data set of a protocol, and why it is this one.

    Attributes:
        protocol: as it will be run; its id says if the clips are synthetic.
        entry: the data set's entry in the catalogue.
        reason: for people.
        missing: entry of the real data set that a stand-in replaces, None if it cannot be read.
    """

    protocol: Protocol
    entry: Entry
    reason: str
    missing: Entry | None = None

    @property
    def synthetic(self) -> bool:
        return self.protocol.synthetic


def members(name: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Names of the protocols that a name stands for: those of an average, else itself.

    Raises:
        UserError: for an unknown name.
    """
    if "[" in name:  # with dials, as results are named
        return (name,)
    before = STAND_IN if name.startswith(STAND_IN) else ""
    group = find_group(name.removeprefix(STAND_IN), catalogue)
    return tuple(before + member for member in group.of) if group else (name,)


def choose_data(name: str, wanted: str, catalogue: Catalogue) -> DataChoice:
    """The protocol of this name on real clips or on its stand-in's.

    Args:
        name: a protocol's id, alias or file, perhaps with ``stand-in/`` before it.
        wanted: ``auto``, ``real`` or ``stand-in``; ``released``: no clips are needed.
        catalogue: where they are looked up.

    Raises:
        UserError: for unknown names, or if what is wanted cannot be had.
    """
    named = name.startswith(STAND_IN)
    protocol = find_protocol(name.removeprefix(STAND_IN), catalogue)
    entry = dataset_entry(protocol.dataset, catalogue)
    if wanted == "released":
        if named:
            raise UserError(
                f"'{name}' is a protocol on synthetic clips; released features are of real ones.",
                f"Type: --protocol {protocol.id}",
            )
        return DataChoice(protocol, entry, "features that somebody has released")
    if wanted not in WANTED:
        raise unknown("kind of data", wanted, WANTED)
    if named and wanted == "real":
        raise UserError(
            f"'{name}' is a protocol on synthetic clips; --data real excludes them.",
            f"For the real clips: --protocol {protocol.id} --data real",
        )
    real = entry if entry.name == protocol.dataset else None
    imported = real is not None and real.name in prepared()
    if not named and wanted != "stand-in" and (wanted == "real" or imported):
        return _real(protocol, real, "named" if wanted == "real" else "imported")
    others = stand_ins(protocol.dataset, catalogue)
    if not others:
        if named or wanted == "stand-in":
            known = sorted({e.spec["stand_in_for"] for e in catalogue.entries("datasets")} - {""})
            raise UserError(
                f"There is no stand-in for the data set '{protocol.dataset}'.",
                f"There is one for: {', '.join(known) or 'none'}.",
            )
        return _real(protocol, real, "there is no stand-in")
    reason = "named" if named or wanted == "stand-in" else f"{protocol.dataset} is not imported"
    return DataChoice(on_stand_in(protocol, others[0].name), others[0], reason, real)


def _real(protocol: Protocol, real: Entry | None, reason: str) -> DataChoice:
    if real is None:
        raise UserError(
            f"zsar-bench cannot read the files of the data set '{protocol.dataset}' yet.",
            f"On synthetic clips: zsar-bench run METHOD --protocol {STAND_IN}{protocol.id}",
        )
    return DataChoice(protocol, real, reason)


def open_data(
    choice: DataChoice, params: Mapping[str, Any], machine: Machine, on_event: Event
) -> Dataset:
    """The prepared data set; a stand-in or a pooled one is made if need be.

    Args:
        choice: which one.
        params: a generator's parameters that differ from its defaults.
        machine: where it is made.
        on_event: hears how far that is.
    """
    if generated(choice.entry.spec):
        return ensure_generated(choice.entry, dict(params), machine, on_event)
    return open_dataset(choice.entry.name, choice.entry.spec["how_to_get"])


# --- One command, several protocols --------------------------------------------------------------


def parse_dials(texts: Iterable[str], choice: DataChoice) -> list[dict[str, float]]:
    """Settings of the dials from ``name=value,value``: every combination, in the order given.

    Raises:
        UserError: for a dial that the protocol does not have, or what is no number.
    """
    fields = choice.entry.schema.get("properties", {}) if choice.synthetic else {}
    known = (*OWN_DIALS, *fields)
    grid: dict[str, list[float]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise UserError(f"--dial {text!r} is not NAME=VALUE,...", "For example: --dial seen=30")
        if name not in known:
            raise unknown("dial", name, known)
        try:
            numbers = [float(v) for v in values.split(",")]
        except ValueError:
            raise UserError(f"--dial {text!r}: '{values}' is not a list of numbers.") from None
        if name in grid or len(set(numbers)) != len(numbers):
            raise UserError(f"--dial {text!r} repeats a name or a value.")
        _check_range(name, numbers, fields.get(name, {}))
        grid[name] = numbers
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _check_range(name: str, numbers: Sequence[float], field: Mapping[str, Any]) -> None:
    low, high = field.get("minimum", float("-inf")), field.get("maximum", float("inf"))
    for number in numbers:
        if not low <= number <= high:  # NaN included
            raise UserError(f"The dial {name}={number:g} must lie between {low:g} and {high:g}.")


def variants(
    choice: DataChoice, splits: int, dials: Sequence[Mapping[str, float]]
) -> list[tuple[Protocol, dict[str, float]]]:
    """The protocols that a command runs, each with its generator's parameters.

    Args:
        choice: the protocol that was named.
        splits: 0: its own classes; N: the random splits with seeds 0 to N - 1 instead.
        dials: settings, as ``parse_dials`` gives them.
    """
    base = choice.protocol
    words = [f"random:{len(base.unseen)}@{seed}" for seed in range(splits)]
    families = [random_split(base, w) for w in words] or [base]
    return [
        (with_dials(one, setting), {k: v for k, v in setting.items() if k not in OWN_DIALS})
        for setting in dials or [{}]
        for one in families
    ]
