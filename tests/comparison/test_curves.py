"""Dose and response: which points make a curve, and how it is drawn."""

from __future__ import annotations

from typing import Any

from zsar_bench.comparison.splits import base_of, curves
from zsar_bench.reporters.blocks import blocks


def section(
    dials: dict[str, float], values: dict[str, float], protocol: str = "p", **more: Any
) -> Any:
    words = ",".join(f"{k}={v:g}" for k, v in sorted(dials.items()))
    rows = [
        {
            "method": method,
            "variant": "",
            "encoder": "net",
            "texts": "a",
            "rule": "last",
            "unranked": "",
            "top1": value,
            "mean_class": value / 2,
            "interval": {"low": value - 0.1, "high": value + 0.1} if value > 0.2 else None,
            "seeds": 3,
        }
        for method, value in values.items()
    ]
    return {
        "protocol": f"{protocol}[{words}]" if words else protocol,
        "dials": dials,
        "setting": "inductive",
        "origin": "certified",
        "oracle": False,
        "chance": 0.2,
        "rows": rows,
        **more,
    }


def test_a_curve_rises_along_its_dial() -> None:
    found = curves(
        [
            section({}, {"m": 0.9}),
            section({"seen": 30.0}, {"m": 0.5, "n": 0.3}),
            section({"seen": 10.0}, {"m": 0.4}),
            section({"seen": 20.0}, {"m": 0.15, "n": 0.25}),
        ]
    )
    assert [c["row"] for c in found] == ["m", "n"]
    m, n = found
    assert (m["protocol"], m["dial"], m["others"]) == ("p", "seen", {})
    assert [(p["value"], p["top1"]) for p in m["points"]] == [(10, 0.4), (20, 0.15), (30, 0.5)]
    assert [p["low"] is None for p in m["points"]] == [False, True, False]
    assert [(p["value"], p["mean_class"]) for p in n["points"]] == [(20, 0.125), (30, 0.15)]


def test_one_point_is_no_curve_and_other_dials_are_other_curves() -> None:
    found = curves(
        [
            section({"seen": 10.0, "encoder": 0.5}, {"m": 0.4}),
            section({"seen": 20.0, "encoder": 0.5}, {"m": 0.5}),
            section({"seen": 20.0, "encoder": 1.0}, {"m": 0.6}),
            section({"seen": 10.0}, {"m": 0.1}),
            section({"seen": 20.0}, {"m": 0.2}, protocol="q"),
        ]
    )
    assert [(c["dial"], c["others"], [p["value"] for p in c["points"]]) for c in found] == [
        ("encoder", {"seen": 20.0}, [0.5, 1.0]),
        ("seen", {"encoder": 0.5}, [10.0, 20.0]),
    ]


def test_settings_that_are_never_ranked_together_share_no_curve() -> None:
    found = curves(
        [
            section({"seen": 10.0}, {"m": 0.4}),
            section({"seen": 20.0}, {"m": 0.5}, oracle=True),
            section({"seen": 30.0}, {"m": 0.5}, setting="transductive"),
        ]
    )
    assert found == []


def test_curves_of_one_dial_are_one_table() -> None:
    found = curves(
        [
            section({"seen": 10.0}, {"m": 0.4, "n": 0.123}),
            section({"seen": 20.0}, {"m": 0.5}),
            section({"seen": 30.0}, {"n": 0.3}),
        ]
    )
    (block,) = blocks({"curves": found})
    assert block.title == "p: by seen"
    assert (block.headings, block.rows) == (
        ["method", "10", "20", "30"],
        [["m", "40.0", "50.0", "-"], ["n", "12.3", "-", "30.0"]],
    )
    assert block.caption[0] == "All rows: texts a, rule last."


def test_base_of_a_protocol() -> None:
    assert base_of("stand-in/p/random:5@3[encoder=0.5,seen=10]") == "stand-in/p/random:5@3"
    assert base_of("p") == "p"


def test_random_splits_make_curves_of_their_own() -> None:
    def split(value: float, count: int, top1: float) -> Any:
        one = section({"seen": value}, {"m": top1})
        del one["protocol"]
        one["rows"][0] |= {"splits": count, "seeds": [1]}
        return one | {"family": "p"}

    own = [section({"seen": 10.0}, {"m": 0.9}), section({"seen": 20.0}, {"m": 0.8})]
    found = curves(own, [split(10.0, 8, 0.4), split(20.0, 8, 0.5), split(30.0, 3, 0.6)])
    assert [(c["splits"], [p["top1"] for p in c["points"]]) for c in found] == [
        (0, [0.9, 0.8]),
        (8, [0.4, 0.5]),
    ]
    titles = [b.title for b in blocks({"curves": found})]
    assert titles == ["p: by seen", "p: by seen, mean of 8 random class splits"]
