"""Methods' accuracies for the tables of README.md, from the output of ``compare --json``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

Json = dict[str, Any]

SETS = ("a", "b")  #: the text sets
SANITY = ("chance", "text-only")  #: they use no clip, and are in no ranking of methods
SHORT = {
    "purls-utd-mhad-22-5": "U 22/5",
    "purls-utd-mhad-18-9": "U 18/9",
    "purls-utd-mhad-14-13": "U 14/13",
    "purls-nw-ucla-8-2": "N 8/2",
    "purls-nw-ucla-5-5": "N 5/5",
    "kinect20": "kinect20",
    "stand-in/synse-55-5": "S 55/5",
    "stand-in/synse-48-12": "S 48/12",
}  #: protocols of the tables, as they are called there
FEWEST = 8  #: methods that two protocols must share for a correlation of ranks


def honest(found: Json) -> list[Json]:
    """The ranked sections of inductive methods, without leaks."""
    return [
        s
        for s in found["sections"]
        if s["protocol"] in SHORT and not s["unranked"] and s["setting"] == "inductive"
    ]


def top1(found: Json) -> dict[str, dict[str, dict[str, float]]]:
    """Protocol -> method -> text set -> accuracy of the last state."""
    said: dict[str, dict[str, dict[str, float]]] = {}
    for section in honest(found):
        methods = said.setdefault(section["protocol"], defaultdict(dict))
        for row in section["rows"]:
            methods[row["method"]][row["texts"]] = row["top1"]
    return {protocol: said[protocol] for protocol in SHORT if protocol in said}


def over_sets(methods: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Method -> mean over text sets, for methods that ran with both."""
    return {
        m: float(np.mean([by[s] for s in SETS]))
        for m, by in methods.items()
        if {*SETS} <= by.keys() and m not in SANITY
    }


def with_set(methods: Mapping[str, Mapping[str, float]], texts: str) -> dict[str, float]:
    """Method -> accuracy with one text set, for methods that ran with it."""
    return {m: by[texts] for m, by in methods.items() if texts in by and m not in SANITY}


def correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Spearman's rho over the methods that both have; None if they are too few."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < FEWEST:
        return None
    return float(spearmanr([one[m] for m in shared], [other[m] for m in shared]).statistic)
