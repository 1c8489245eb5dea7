"""Which samples NTU RGB+D 60 and 120 consist of, and how the standard evaluations divide them.

A sample's name says everything: setup, camera, performer, replication and action. The lists are
those of the two papers; the counts that they give (40,091 and 16,487 and so on) are under test.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

SAMPLES = Path(__file__).parent / "data" / "ntu-120" / "samples.toml"
SETUPS_60 = 17  #: setups up to this one are NTU RGB+D 60, with actions A1 to A60
CAMERAS, REPLICATIONS, ACTIONS = (1, 2, 3), (1, 2), 60  #: of every performer in every setup

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)


class Sample(NamedTuple):
    """The five official numbers of a sample, all counted from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    @property
    def name(self) -> str:
        """Its official name, such as ``S001C002P003R002A013``."""
        return "S{:03}C{:03}P{:03}R{:03}A{:03}".format(*self)


def parse(name: str) -> Sample | None:
    """The sample of this official name; None if NTU RGB+D 120 can have no such sample."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    sample = Sample(*map(int, match.groups()))
    possible = (
        1 <= sample.setup <= 32
        and sample.camera in CAMERAS
        and 1 <= sample.performer <= 106
        and sample.replication in REPLICATIONS
        and sample.action in _actions(sample.setup)
    )
    return sample if possible else None


def _actions(setup: int) -> range:
    return range(1, ACTIONS + 1) if setup <= SETUPS_60 else range(ACTIONS + 1, 2 * ACTIONS + 1)


# --- The lists -------------------------------------------------------------------------------


@cache
def performers() -> Mapping[int, tuple[int, ...]]:
    """Setup -> the performers recorded in it."""
    table = tomllib.loads(SAMPLES.read_text("utf-8"))["performers"]
    return MappingProxyType({int(setup): _numbers(text) for setup, text in table.items()})


@cache
def missing() -> frozenset[str]:
    """Names of the 535 samples that their authors ask everybody to leave out.

    302 of them are in setups 1 to 17, NTU RGB+D 60.
    """
    table = tomllib.loads(SAMPLES.read_text("utf-8"))["missing"]
    return frozenset(f"{take}A{a:03}" for take, text in table.items() for a in _numbers(text))


def samples(setups: int = 32) -> Iterator[Sample]:
    """The usable samples of setups 1 to ``setups`` by name: 113,945, or 56,578 for 17."""
    for setup in range(1, setups + 1):
        for camera in CAMERAS:
            for performer in performers()[setup]:
                for replication in REPLICATIONS:
                    for action in _actions(setup):
                        sample = Sample(setup, camera, performer, replication, action)
                        if sample.name not in missing():
                            yield sample


def coverage(found: Iterable[Sample], setups: int = 32) -> dict[int, tuple[int, int]]:
    """Setup -> (samples found, samples there should be): which parts of a download are missing."""
    whole = Counter(s.setup for s in samples(setups))
    here = Counter(s.setup for s in set(found) if s.name not in missing())
    return {setup: (here[setup], whole[setup]) for setup in whole}


def lacking(coverage: Mapping[int, tuple[int, int]]) -> list[str]:
    """What a download lacks, in a few lines; empty if it is whole.

    Args:
        coverage: as the function of that name returns it.
    """
    lines = []
    absent = [setup for setup, (here, _) in coverage.items() if not here]
    part = {setup: n for setup, n in coverage.items() if 0 < n[0] < n[1]}
    if absent:
        lines.append(f"Setups that are missing: {_ranges(absent)}.")
    if part:
        shown = [f"{setup} ({here} of {whole})" for setup, (here, whole) in part.items()]
        lines.append(f"Setups that are incomplete: {', '.join(shown)}.")
    whole = [s for s, (here, all_) in coverage.items() if here == all_]
    if lines and whole:
        lines.append(f"Setups that are whole: {_ranges(whole)}.")
    if lines and len(coverage) > SETUPS_60 and whole[:SETUPS_60] == [*range(1, SETUPS_60 + 1)]:
        lines.append("That is all of NTU RGB+D: its protocols need `data import ntu-60`.")
    return lines


def _ranges(numbers: Iterable[int]) -> str:
    """``"1 to 3, 7"`` from 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def _numbers(text: str) -> tuple[int, ...]:
    """(1, 2, 3, 7) from ``"1-3 7"``."""
    out: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return tuple(out)


# --- The standard evaluations ----------------------------------------------------------------

#: Performers who train cross-subject; those up to 40 are the ones of NTU RGB+D 60.
TRAIN_PERFORMERS = frozenset(
    _numbers("1-2 4-5 8-9 13-19 25 27-28 31 34-35 38")
    + _numbers("45-47 49-50 52-59 70 74 78 80-86 89 91-95 97-98 100 103")
)


def xsub(sample: Sample) -> bool:
    """Cross-subject: whether the sample trains, by its performer. NTU-60 and NTU-120."""
    return sample.performer in TRAIN_PERFORMERS


def xview(sample: Sample) -> bool:
    """Cross-view: cameras 2 and 3 train, camera 1 tests. NTU-60."""
    return sample.camera != 1


def xset(sample: Sample) -> bool:
    """Cross-setup: even setups train, odd ones test. NTU-120."""
    return sample.setup % 2 == 0


#: Name of an evaluation -> its number of setups, and whether a sample trains.
EVALUATIONS: Mapping[str, tuple[int, Callable[[Sample], bool]]] = MappingProxyType(
    {
        "xsub60": (SETUPS_60, xsub),
        "xview60": (SETUPS_60, xview),
        "xsub120": (32, xsub),
        "xset120": (32, xset),
    }
)
