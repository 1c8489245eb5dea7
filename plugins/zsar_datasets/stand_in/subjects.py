"""Performers: a body of their own, and how they do whatever they do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from zsar_datasets.stand_in.draws import Array, Draws
from zsar_datasets.stand_in.grammar import grammar

LEFT_HANDED = 0.1  #: share of all people

# Bones that grow together in a person: arms, legs, trunk, breadth, head.
_GROUPS = {
    "arm": ("upper_arm", "forearm", "palm", "finger"),
    "leg": ("shin", "thigh", "foot_forward", "foot_down", "ankle_height"),
    "trunk": ("lower_spine", "upper_spine"),
    "breadth": ("hip_half_width", "shoulder_half_width", "hip_drop", "shoulder_drop"),
    "head": ("neck", "head", "head_forward"),
}


@dataclass(frozen=True, eq=False)
class Subject:
    """A performer.

    Attributes:
        bones: lengths in metres under the grammar's names, and ``stature``.
        L, G, T, h: arm, leg, torso and head, the units of the grammar, in metres.
        left: whether the dominant hand is the left one.
        pace: seconds that things take, as a share of the grammar's.
        amplitude: sizes of movements, as a share of the grammar's.
        stoop: forward bend of the trunk that is always there, degrees.
        gaze: pitch of the head that is always there, degrees.
        sway, sway_hertz: how far (metres) and how fast the body is never quite still.
        haste: 0 moves with minimum jerk, 1 at even speed.
        habit: (4, 3) metres by which hands and feet miss their targets, always in the same way.
        timing: (4,) how much longer the first, second, ... phase takes than others do.
    """

    bones: SimpleNamespace
    L: float
    G: float
    T: float
    h: float
    left: bool
    pace: float
    amplitude: float
    stoop: float
    gaze: float
    sway: float
    sway_hertz: float
    haste: float
    habit: Array
    timing: Array


@lru_cache(maxsize=1024)
def subject(*name: object) -> Subject:
    """The performer of this name; the same one wherever the name is met."""
    rules, draws = grammar(), Draws("subject", grammar()["version"], *name)
    stature = rules["body"]["stature"] * (1.0 + float(draws.bell(0.055)))
    build = {group: 1.0 + float(draws.bell(0.045)) for group in _GROUPS}
    share = {bone: build[group] for group, bones in _GROUPS.items() for bone in bones}
    bones = {
        bone: stature * length * share[bone]
        for bone, length in rules["body"].items()
        if bone != "stature"
    }
    b = SimpleNamespace(stature=stature, **bones)
    return Subject(
        bones=b,
        L=b.upper_arm + b.forearm + b.palm,
        G=b.thigh + b.shin,
        T=b.lower_spine + b.upper_spine,
        h=rules["units"]["h"] * stature * build["head"],
        left=draws.chance(LEFT_HANDED),
        pace=1.0 + float(draws.bell(0.13)),
        amplitude=1.0 + float(draws.bell(0.16)),
        stoop=float(draws.bell(3.5)),
        gaze=float(draws.bell(5.0)),
        sway=float(draws.uniform(0.003, 0.014)),
        sway_hertz=float(draws.uniform(0.15, 0.45)),
        haste=float(draws.uniform(0.0, 0.3)),
        habit=draws.bell(0.016, (4, 3)),
        timing=np.asarray(1.0 + draws.bell(0.10, (4,))),
    )
