"""Which clips the stand-in has: of the real lists, one for every performer and action."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import NamedTuple

from zsar_bench.contracts import ClipName
from zsar_datasets import ntu_lists
from zsar_datasets.stand_in.grammar import grammar

PKU_SUBJECTS, PKU_VIEWS = 66, "LMR"


class Sample(NamedTuple):
    """A clip of the stand-in.

    Attributes:
        clip: what the harness calls it.
        subject: name of the performer, the same in all data sets with the same people.
        performance: name of what the three cameras saw at once.
    """

    clip: ClipName
    subject: str
    performance: str


@cache
def ntu(setups: int) -> dict[str, Sample]:
    """Samples of NTU RGB+D by name: of every performer's samples of an action, one.

    It is the one whose official name has the smallest SHA-256, so that setups, cameras and
    replications are mixed as in the whole list, and its name stays what the standard evaluations
    divide by.

    Args:
        setups: 17 for NTU RGB+D 60, 32 for 120.
    """
    chosen: dict[tuple[int, int], ntu_lists.Sample] = {}
    for s in ntu_lists.samples(setups):
        pair = s.performer, s.action
        if pair not in chosen or _hash(s.name) < _hash(chosen[pair].name):
            chosen[pair] = s
    out = {}
    for s in sorted(chosen.values()):
        name = ClipName(s.name, f"A{s.action}", str(s.performer), str(s.camera), str(s.setup))
        take = f"S{s.setup:03}P{s.performer:03}R{s.replication:03}A{s.action:03}"
        out[s.name] = Sample(name, f"ntu/{s.performer}", take)
    return out


@cache
def pku() -> dict[str, Sample]:
    """Samples of PKU-MMD: each of 66 subjects does each class once, seen by one of three views.

    Ids are ``P<subject>V<view: 1 L, 2 M, 3 R>L<label>``.
    """
    out = {}
    for subject in range(1, PKU_SUBJECTS + 1):
        for label in grammar()["pku"]:
            take = f"P{subject:03}L{int(label):03}"
            view = int(_hash(take)[:8], 16) % 3
            name = f"P{subject:03}V{view + 1}L{int(label):03}"
            clip = ClipName(name, label, str(subject), PKU_VIEWS[view], "")
            out[name] = Sample(clip, f"pku/{subject}", take)
    return out


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
