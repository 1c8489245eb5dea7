"""The stand-in's grammar, and how a clip's vector follows from it, slowly."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from typing import Any

from kit.paths import ROOT

FOLDER = ROOT / "plugins" / "zsar_datasets" / "stand_in"
GRAMMAR: dict[str, Any] = tomllib.loads((FOLDER / "grammar.toml").read_text("utf-8"))
VOCABULARY: dict[str, dict[str, Any]] = GRAMMAR["vocabulary"]
MOTIONS: dict[str, dict[str, Any]] = GRAMMAR["motion"]
CLIP = ("hand", "length", "second", "place")
BODY = ("posture", "locomotion", "look", "lean")
MOVE = ("limb", "target", "trajectory", "tempo", "repetition", "amplitude", "symmetry", "shape")
TURN = ("limb", "trajectory", "tempo", "repetition", "amplitude")  # moves of head and torso


def vector(motion: dict[str, Any]) -> dict[tuple[Any, ...], float]:
    """A motion as numbers, as GRAMMAR.md's last section says."""
    defaults = GRAMMAR["defaults"]
    sums: defaultdict[tuple[Any, ...], float] = defaultdict(float)
    second = motion.get("second", defaults["second"])
    for name in CLIP if second != "none" else CLIP[:-1]:
        sums[name, motion.get(name, defaults[name])] = 1.0
    idle = {"stands": {"look": "partner"}, "reacts": {"look": "partner"}}
    for phase in motion["phases"]:
        pair = [phase]
        if second != "none":
            pair.append(phase if second == "mirrors" else phase.get("partner", idle[second]))
        for number, body in enumerate(pair, 1):
            for name in BODY:
                sums[number, name, body.get(name, defaults[name])] += phase["share"]
            for move in body.get("do", []):
                limb = move["limb"]
                for name in (TURN if limb in ("head", "torso") else MOVE)[1:]:
                    sums[number, limb, name, move.get(name, defaults[name])] += phase["share"]
    return dict(sums)
