"""What was measured of the stand-in is committed, holds, and its page is not stale."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kit.paths import REFERENCE
from kit.reference_scripts import load_script

FIGURES: dict[str, Any] = json.loads((REFERENCE / "stand-in.json").read_text("utf-8"))
#: Accuracy that an encoder must reach, and that the nearest neighbour may not.
LEARNABLE = {"ntu-60": (0.90, 0.60), "ntu-120": (0.85, 0.60)}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("stand_in")


def test_the_page_is_what_the_figures_say(script: ModuleType) -> None:
    assert script.page(FIGURES) == (REFERENCE / "STAND-IN.md").read_text("utf-8")


@pytest.mark.parametrize("name", LEARNABLE)
def test_there_is_something_to_learn(name: str) -> None:
    encoder, nearest = LEARNABLE[name]
    assert FIGURES["supervised"][name]["encoder"] >= encoder
    assert FIGURES["supervised"][name]["nearest"] < nearest


def test_texts_carry_over_to_unseen_motions() -> None:
    splits = FIGURES["splits"]
    assert splits["tdsm"]["mean"] >= 0.35
    assert splits["eszsl"]["beats_chance"]
    for one in splits.values():
        assert len(one["values"]) == 20
        assert min(one["values"]) <= one["published"] <= max(one["values"])


@pytest.mark.parametrize("part", ["splits", "oracle"])
def test_intervals_over_splits_by_hand(part: str) -> None:
    """Nadeau and Bengio's corrected variance, written down once more."""
    for one in FIGURES[part].values():
        values = np.array(one["values"])
        assert one["mean"] == pytest.approx(values.mean())
        error = np.sqrt(values.var(ddof=1) * (1 / len(values) + 5 / 55))
        half = stats.t.ppf(0.975, len(values) - 1) * error
        assert (one["low"], one["high"]) == pytest.approx(
            (values.mean() - half, values.mean() + half)
        )


def test_nothing_but_the_text_helps(script: ModuleType) -> None:
    methods = [f["method"] for f in FIGURES["shifts"]]
    reference = load_script("regenerate")
    assert methods == sorted((*reference.LIGHT, *reference.WORDS, *reference.HEAVY))
    for one in FIGURES["controls"] + FIGURES["shifts"]:
        assert one["verdict"] == "passes", one
    for one in FIGURES["shifts"]:
        assert one["draws"] == 12
        assert one["mean_class"] == pytest.approx(1 / 12, abs=1e-9)
        if one["method"] != "text-only":
            assert one["plain"] > 1 / 12, one


def test_like_texts_are_mistaken_for_each_other() -> None:
    for one in FIGURES["confusions"].values():
        assert -1 <= one["rho"] <= 1
        assert one["pairs"] > 100


def test_accuracy_answers_to_the_factors() -> None:
    found = {(f["factor"], f["row"]): f["points"] for f in FIGURES["sensitivity"]}
    assert {factor for factor, _ in found} == {"alignment", "seen", "encoder"}
    for (_, _), points in found.items():
        values = [p["value"] for p in points]
        assert values == sorted(values)
