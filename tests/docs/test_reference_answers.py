"""The answers drawn from reference runs: each table from a comparison made by hand."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from kit.reference_scripts import load_script

Json = dict[str, Any]

METHODS = [f"method-{n}" for n in range(8)]
REAL, MADE = "purls-utd-mhad-22-5", "stand-in/synse-55-5"


@pytest.fixture(scope="module")
def answers() -> ModuleType:
    return load_script("answers")


def row(method: str, texts: str, top1: float, **more: Any) -> Json:
    plain = {"rule": "last", "not_shown_to_differ": False, "beats_chance": True}
    return {"method": method, "texts": texts, "top1": top1, "mean_class": top1 / 2, **plain, **more}


def section(protocol: str, rows: list[Json], **more: Any) -> Json:
    plain = {"unranked": "", "setting": "inductive", "unseen": 5, "folds": 0}
    said = {**plain, "headline": "top1", "detectable": 0.125, "protocol": protocol, **more}
    return {**said, "rows": sorted(rows, key=lambda r: -r[said["headline"]])}


def found(**more: Any) -> Json:
    """Ranks on the stand-in are those of the real protocol, turned round but for two methods."""
    real = [row(m, t, 0.1 * n + gap, not_shown_to_differ=n > 5, beats_chance=n > 1)
            for n, m in enumerate(METHODS, 1) for t, gap in (("a", 0.0), ("b", 0.02))]  # fmt: skip
    order = [8, 7, 6, 5, 4, 3, 1, 2]
    made = [row(m, t, 0.1 * order[n]) for n, m in enumerate(METHODS) for t in "ab"]
    sections = [section(MADE, made, synthetic=True), section(REAL, real)]
    return {"sections": sections, "rules": [], "gzsl": [], "published": [], **more}


def cells(table: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("| ").split("|")] for line in table.splitlines()][2:]


def test_what_is_shown_to_be_worse_is_counted(answers: ModuleType) -> None:
    chance = row("chance", "a", 0.9, beats_chance=False)
    said = found()
    said["sections"][1]["rows"].insert(0, chance)
    first, second = cells(answers.separation(said))
    assert first == [
        "U 22/5",
        "5",
        "subjects",
        "method-7 b",
        "82.0",
        "10 of 15",
        "12.5",
        "14 of 16",
    ]
    assert second[0] == "S 55/5"


def test_the_headline_of_a_section_is_the_accuracy_shown(answers: ModuleType) -> None:
    kinect = section(
        "kinect20", [row("sae", "a", 0.5)], folds=3, headline="mean_class", detectable=None
    )
    (line,) = cells(answers.separation(found(sections=[kinect])))
    assert line[2:7] == ["classes", "sae a", "25.0", "0 of 0", "-"]


def test_gaps_between_text_sets_have_their_sign(answers: ModuleType) -> None:
    *lines, last = cells(answers.texts(found()))
    assert [line[0] for line in lines] == METHODS
    assert {tuple(line[1:]) for line in lines} == {("+2.0", "+0.0")}
    assert last == ["*median size*", "*2.0*", "*0.0*"]


def test_ranks_are_correlated_between_protocols_and_text_sets(answers: ModuleType) -> None:
    """By hand: 1 - 6 sum d^2 / (n (n^2 - 1)) with the ranks of ``found``."""
    order = [8, 7, 6, 5, 4, 3, 1, 2]
    rho = 1 - 6 * sum((n - o) ** 2 for n, o in enumerate(order, 1)) / (8 * 63)
    lines = cells(answers.ranks(found()))
    assert lines[0][:2] == ["U 22/5", "*1.00*"]
    assert lines[1] == ["S 55/5", f"{rho:.2f}", "*1.00*"]


def test_places_are_ranks_with_the_first_text_set(answers: ModuleType) -> None:
    """``found`` has its methods in rising order on the real protocol; texts b must not count."""
    said = found()
    said["sections"][1]["rows"].append(row("method-8", "a", 0.9))  # not on the stand-in
    order = [8, 7, 6, 5, 4, 3, 1, 2]
    assert cells(answers.places(said)) == [
        [m, f"{8 - n}", f"{9 - order[n]}", f"{8 - n}.0"] for n, m in reversed([*enumerate(METHODS)])
    ]


def test_the_stand_ins_are_held_against_the_real_ones(answers: ModuleType) -> None:
    first, second, among, count = cells(answers.stand_in_and_real(found()))
    assert first[0].startswith("all real")
    assert first[1:] == second[1:]
    assert first[1] == first[2]  # both text sets rank alike here
    order = [8, 7, 6, 5, 4, 3, 1, 2]
    rho = 1 - 6 * sum((n - o) ** 2 for n, o in enumerate(order, 1)) / (8 * 63)
    assert first[1].startswith(f"{rho:.2f} (")
    low, high = (float(v) for v in first[1].split("(")[1].strip(")").split(" to "))
    assert -1 <= low <= rho <= high < 0
    assert among[1:] == ["*-*", "*-*"]  # one real protocol has no other
    assert count[1:] == ["*8*", "*8*"]


def test_methods_with_one_text_set_count_where_that_is_compared(answers: ModuleType) -> None:
    said = found()
    for one in said["sections"]:
        one["rows"].append(row("one-set", "a", 0.01))
    *_, count = cells(answers.stand_in_and_real(said))
    assert count[1:] == ["*8*", "*9*"]


def test_leaks_stand_beside_honest_rows_and_printed_numbers(answers: ModuleType) -> None:
    said = found(published=[{"protocol": REAL, "method": "Method-1", "value": 57.5}])
    leaking = [row("method-1", "a", 0.5), row("method-2", "b", 0.3), row("stranger", "a", 0.9)]
    said["sections"].append(section(REAL, leaking, unranked="leak: labels"))
    assert cells(answers.leaks(said)) == [
        ["method-1 a", "U 22/5", "20.0", "50.0", "+30.0", "57.5"],
        ["method-2 b", "U 22/5", "32.0", "30.0", "-2.0", "-"],
    ]


def test_printed_numbers_stand_beside_ours(answers: ModuleType) -> None:
    about = {"venue": "CVPR", "year": 2024, "value": 57.5}
    rows = [
        {**about, "protocol": REAL, "method": "Method-1"},
        {**about, "protocol": REAL, "method": "Unknown"},
        {**about, "protocol": "synse-55-5", "method": "Method-1"},
    ]
    assert cells(answers.printed(found(published=rows))) == [
        ["U 22/5", "Method-1 (CVPR 2024)", "57.5", "20.0", "22.0"]
    ]


def test_the_price_of_looks_is_told_by_method_and_protocol(answers: ModuleType) -> None:
    prices = [
        {"points": [{"evaluations": e, "price": p} for e, p in ((1, 0), (5, 0.1), (50, 0.3))]}
    ]
    groups = [{"method": "method-1", "prices": prices}, {"method": "method-2", "prices": []}]
    said = found(rules=[{"protocol": REAL, "groups": groups}])
    assert cells(answers.peeking(said)) == [
        ["method-1", "+10.0", "+30.0"],
        ["*median*", "*+10.0*", "*+30.0*"],
    ]


def test_transductive_rows_stand_beside_what_they_are_without(answers: ModuleType) -> None:
    said = found()
    said["sections"][1]["rows"].append(row("pgfa-inductive", "a", 0.25))
    said["sections"].append(section(REAL, [row("pgfa", "a", 0.5)], setting="transductive"))
    assert cells(answers.transduction(said)) == [
        ["pgfa a", "transductive", "U 22/5", "pgfa-inductive: 25.0", "50.0", "+25.0"]
    ]


def test_what_gzsl_leaves_is_told_by_protocol(answers: ModuleType) -> None:
    """H of these rows falls as their ZSL accuracy rises, and AUSUC rises with it."""
    names = ("seen", "unseen", "harmonic", "ausuc", "oracle_harmonic")
    rows = [
        {
            "method": method,
            "zsl": n / 10,
            "mean_class": {
                name: {"mean": value}
                for name, value in zip(
                    names, (0.9, n / 20, 0.8 - n / 20, n / 50, 0.85), strict=True
                )
            },
        }
        for n, method in enumerate(METHODS)
    ]
    said = found(gzsl=[{"protocol": REAL, "kind": "constant", "rows": rows}])
    (line,) = cells(answers.generalised(said))
    assert line == [
        *("U 22/5", "constant", "8", "90.0", "17.5", "62.5", "85.0"),
        *("method-0 80.0", "-1.00", "1.00"),
    ]


def split(method: str, texts: str, accuracies: list[list[float]]) -> Json:
    """A run whose one round chose the state after half of its schedule."""
    return {
        "selection": "pseudo-unseen",
        "protocol": {"id": REAL},
        "method": {"name": method},
        "texts": {"source": texts},
        "states": {
            "fractions": {"half-1": 0.5},
            "validation": [{"round": "half-1", "accuracies": pairs} for pairs in accuracies],
        },
    }


def test_a_headline_is_the_text_set_that_did_better_in_rehearsal(answers: ModuleType) -> None:
    two = [[[0.5, 0.3], [1.0, 0.9]], [[0.51, 0.5], [1.0, 0.1]]]
    runs = [
        split("method-1", "a", two),
        split("method-1", "b", [[[0.5, 0.35]]]),
        split("method-2", "a", [[[0.5, 0.6]]]),
        split("method-2", "b", [[[0.5, 0.7]]]),
        split("method-3", "a", [[[0.5, 0.9]]]),  # one text set is no choice
    ]
    assert answers.calibrated(runs[0]) == pytest.approx(0.4)
    assert cells(answers.headlines(found(records=runs))) == [
        ["method-2", "U 22/5", "60.0", "70.0", "b", "32.0", "30.0"],
        ["method-1", "U 22/5", "40.0", "35.0", "a", "20.0", "22.0"],
    ]


def test_an_encoder_that_methods_share_costs_once(answers: ModuleType) -> None:
    def record(fit: float, score: float, **encoders: float) -> Json:
        rounds = [{"key": key, "seconds": seconds} for key, seconds in encoders.items()]
        return {"seconds": {"fit": fit, "score": score}, "encoder": {"rounds": rounds}}

    runs = [record(3600, 1800, one=7200, two=3600), record(1800, 0, one=7200)]
    assert cells(answers.cost(found(records=runs))) == [["2", "2.0", "2", "3.0"]]


def test_what_was_not_run_is_said(answers: ModuleType) -> None:
    said = found(sections=[], records=[])
    for name in (
        "peeking",
        "leaks",
        "transduction",
        "generalised",
        "headlines",
        "stand-in-and-real",
    ):
        assert answers.TABLES[name](said) == "*Not run yet.*", name


def test_every_table_has_its_place_in_the_page(answers: ModuleType) -> None:
    head = (load_script("regenerate").HERE / "HEAD.md").read_text("utf-8")
    for name in answers.TABLES:
        assert head.count(f"<!-- {name} -->") == 1, name


def test_tables_are_drawn_from_what_compare_prints(answers: ModuleType) -> None:
    prices = [{"points": [{"evaluations": e, "price": 0.0} for e in (1, 5, 50)]}]
    every = found(rules=[{"protocol": REAL, "groups": [{"method": "m", "prices": prices}]}])
    drawn = answers.tables(found(), every, [])
    assert drawn.keys() == answers.TABLES.keys()
    assert "| m " in drawn["peeking"]
