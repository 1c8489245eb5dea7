"""The clips of a run: the real data set or its synthetic stand-in, reported as such.

``auto`` takes the real data where it is imported, else the stand-in; ``real`` refuses instead. A
protocol named ``stand-in/...`` never runs on real clips.
"""

from __future__ import annotations

from dataclasses import dataclass

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.data.clips.store import prepared
from zsar_bench.data.protocols.lookup import find_group, find_protocol
from zsar_bench.data.protocols.protocol import (
    STAND_IN,
    Protocol,
    dataset_entry,
    on_stand_in,
    random_split,
    stand_ins,
)
from zsar_bench.errors import UserError, unknown

WANTED = ("auto", "real", "stand-in")


@dataclass(frozen=True)
class DataChoice:
    """The data set of a protocol, with the reason.

    Attributes:
        protocol: as it will be run; its id shows if the clips are synthetic.
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
        """Whether its clips are made, not recorded."""
        return self.protocol.synthetic

    @property
    def choice(self) -> tuple[str, str, str]:
        """What, value, reason."""
        return "data", self.entry.name, self.reason


def members(name: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Names of the protocols that a name stands for: those of an average, else itself.

    Raises:
        UserError: for an unknown name.
    """
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
        UserError: for unknown names, or if the wanted data are not available.
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
    available = stand_ins(protocol.dataset, catalogue)
    if not available:
        if named or wanted == "stand-in":
            known = sorted({e.spec["stand_in_for"] for e in catalogue.entries("datasets")} - {""})
            raise UserError(
                f"There is no stand-in for the data set '{protocol.dataset}'.",
                f"There is one for: {', '.join(known) or 'none'}.",
            )
        return _real(protocol, real, "there is no stand-in")
    reason = "named" if named or wanted == "stand-in" else f"{protocol.dataset} is not imported"
    return DataChoice(on_stand_in(protocol, available[0].name), available[0], reason, real)


def _real(protocol: Protocol, real: Entry | None, reason: str) -> DataChoice:
    if real is None:
        raise UserError(
            f"zsar-bench cannot read the files of the data set '{protocol.dataset}' yet.",
            f"On synthetic clips: zsar-bench run METHOD --protocol {STAND_IN}{protocol.id}",
        )
    return DataChoice(protocol, real, reason)


def drawn(base: Protocol, splits: int) -> list[Protocol]:
    """The protocols that a request runs: the named one, or its random class splits.

    Args:
        base: the protocol that was named.
        splits: 0: its own classes; N: the random splits with seeds 0 to N - 1.
    """
    words = [f"random:{len(base.unseen)}@{seed}" for seed in range(splits)]
    return [random_split(base, word) for word in words] or [base]
