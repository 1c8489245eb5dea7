"""Tables of selection rules: what is never ranked, what is marked, the gain on test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kit.made_records import BEST, CLOSE, FAR, clips, exactly, record, store
from kit.made_splits import split
from kit.shown_text import every_text, flat
from zsar_bench.cli import main
from zsar_bench.comparison.ranking import best_of
from zsar_bench.comparison.rules import EVALUATIONS, peeking
from zsar_bench.comparison.sections import compare
from zsar_bench.reporters import table, words

ORACLE = {"selection": "oracle@50"}
ELSEWHERE = {"origin": "self-reported"}
UNRANKED: dict[str, tuple[dict[str, Any], str]] = {
    "oracle": (ORACLE, "chosen on test"),
    "self-reported": (ELSEWHERE, "self-reported"),
    "both": (ORACLE | ELSEWHERE, "self-reported, chosen on test"),
}


def certificate(level: str = "landlock", encoder: str = "landlock", **more: Any) -> dict[str, Any]:
    confinement = {"level": level, "abi": 7 if level == "landlock" else 0}
    confinement |= dict.fromkeys(("files", "tcp", "signals", "system_calls", "capabilities"), True)
    return {
        "confinement": confinement,
        "encoder_level": encoder,
        "bundles": {"half-1": "b"},
        "fitted": {"half-1": "f"},
        "scored": {"half-1": "s"},
        "encoder_classes": {"half-1": ["a1", "a2"]},
        "encoder_clips": {"half-1": "c"},
        "encoder_moved": 0.0,
        "denied": {},
        **more,
    }


def proof(identical: bool = True, stable: bool = True) -> dict[str, Any]:
    change = 0.01 if stable else 9.0
    sizes = {"jitter": 0.001, "largest_change": change, "tolerance": 0.1}
    return {"refit_identical": identical, "stable": stable, **sizes}


def curve(top1: Any, fractions: dict[str, float] | None = None) -> dict[str, Any]:
    """The states of an oracle run with these top-1 accuracies."""
    count = len(top1)
    return {
        "fractions": fractions or {"half-1": (1 + int(np.argmax(top1))) / count},
        "evaluated": count,
        "curve": [
            {"fraction": (n + 1) / count, "top1": float(v), "mean_class": float(v) / 2}
            for n, v in enumerate(top1)
        ],
    }


# --- What is never ranked ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNRANKED)
def test_unranked_rows_stand_apart_and_carry_no_mark_of_rank(kind: str) -> None:
    more, reason = UNRANKED[kind]
    ranked = [record(exactly(FAR), "far"), record(exactly(CLOSE), "close")]
    apart = [record(exactly(BEST), "z-best", **more), record(exactly(CLOSE), "a-close", **more)]
    first, second = compare([*apart, *ranked])["sections"]
    assert [r["method"] for r in first["rows"]] == ["close", "far"]
    assert (first["unranked"], first["rows"][0]["best"]) == ("", True)
    # The ranked section is what it is without them.
    assert first == compare(ranked)["sections"][0]
    assert second["unranked"] == reason
    assert [r["method"] for r in second["rows"]] == ["a-close", "z-best"]  # by name
    assert second["rows"][0]["top1"] < second["rows"][1]["top1"]
    for row in second["rows"]:
        assert row["unranked"] == reason
        assert not row["best"]
        assert not row["not_shown_to_differ"]
    assert second["detectable"] is None
    assert words.title(second) == f"toy-4-2 - {reason}, not ranked"
    assert "†" not in "\n".join(words.caption(second))


def test_oracle_rows_are_marked_one_by_one_in_every_format() -> None:
    records = [record(exactly(r), n, **ORACLE) for n, r in (("one", BEST), ("two", FAR))]
    comparison = compare(records)
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        for name in ("one", "two"):
            (line,) = [x for x in texts[kind].splitlines() if f" {name} " in x]
            assert "oracle@50 (best of 50 on test)" in line
        assert "chosen on test, not ranked" in texts[kind]
        assert "too high by construction" in flat(texts[kind])
    assert "**" not in texts["markdown"]
    rows = json.loads(texts["json"])["sections"][0]["rows"]
    assert [(r["rule"], r["unranked"]) for r in rows] == [("oracle@50", "chosen on test")] * 2


def test_no_interval_and_no_verdict_around_the_best_of_many_looks() -> None:
    plain, peeked = record(exactly(BEST), "m"), record(exactly(BEST), "m", **ORACLE)
    honest, row = (s["rows"][0] for s in compare([plain, peeked])["sections"])
    assert honest["interval"] is not None
    assert honest["beats_chance"] is True
    assert (row["interval"], row["subject_interval"], row["beats_chance"]) == (None, None, None)
    section = compare([peeked])["sections"][0]
    assert any(
        line.startswith("No interval: results selected on the test clips")
        for line in words.caption(section)
    )
    assert not any("fewer than 6 subjects" in line for line in words.caption(section))


def test_self_reported_rows_are_marked_one_by_one_in_every_format() -> None:
    comparison = compare([record(exactly(BEST), n, **ELSEWHERE) for n in ("one", "two")])
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        for name in ("one", "two"):
            (line,) = [x for x in texts[kind].splitlines() if f" {name} " in x]
            assert f"{name} (self-reported)" in line
        assert "self-reported, not ranked" in texts[kind]
        assert "made elsewhere, unconfined" in flat(texts[kind])
    assert "**" not in texts["markdown"]
    rows = json.loads(texts["json"])["sections"][0]["rows"]
    assert [r["unranked"] for r in rows] == ["self-reported"] * 2


def test_honest_rules_are_rows_of_their_own_and_ranked_together() -> None:
    rates = {"last": CLOSE, "seen-val": BEST, "pseudo-unseen": FAR}
    records = [record(exactly(r), "m", selection=rule) for rule, r in rates.items()]
    (section,) = compare([*records, record(exactly(BEST), "m", **ORACLE)])["sections"][:1]
    assert [r["rule"] for r in section["rows"]] == ["seen-val", "last", "pseudo-unseen"]
    assert [r["best"] for r in section["rows"]] == [True, False, False]
    assert [r["not_shown_to_differ"] for r in section["rows"]] == [False, True, False]
    for text in (every_text({"sections": [section], "published": []})[k] for k in ("table",)):
        assert "oracle" not in text
        assert "seen-val" in text
    assert "rule" in words.grid(section)[0]


def test_other_settings_stay_apart_whatever_the_rule() -> None:
    records = [
        record(clips(n), f"m{n}", selection=rule, method={"setting": setting})
        for n, (rule, setting) in enumerate(
            [(r, s) for r in ("last", "oracle@50") for s in ("inductive", "transductive")]
        )
    ]
    sections = compare(records)["sections"]
    assert {(s["setting"], s["unranked"]) for s in sections} == {
        ("inductive", ""),
        ("inductive", "chosen on test"),
        ("transductive", ""),
        ("transductive", "chosen on test"),
    }
    assert [len(s["rows"]) for s in sections] == [1] * 4


def test_random_splits_of_an_oracle_are_not_ranked_either() -> None:
    runs = [split(n, n, 0.5, "m") for n in range(4)]
    runs += [split(n, n, rate, name, **ORACLE) for n in range(4) for name, rate in
             (("z", 0.9), ("a", 0.4))]  # fmt: skip
    comparison = compare(runs)
    ranked, apart = sorted(comparison["splits"], key=lambda s: s["unranked"])
    assert [(r["method"], r["best"]) for r in ranked["rows"]] == [("m", True)]
    assert [(r["method"], r["best"], r["interval"]) for r in apart["rows"]] == [
        ("a", False, None),
        ("z", False, None),
    ]
    for text in (every_text(comparison)[kind] for kind in ("table", "markdown")):
        assert "chosen on test, not ranked" in text
        assert text.count("oracle@50 (best of 50 on test)") == 2


@pytest.mark.parametrize(
    ("rule", "looks"),
    [("oracle@50", "50"), ("oracle@2", "2"), ("last", ""), ("seen-val", ""), ("pseudo-unseen", "")],
)
def test_which_rules_look_at_the_test(rule: str, looks: str) -> None:
    assert best_of(rule) == looks


# --- Under which walls -------------------------------------------------------------------------

LEVELS: list[tuple[list[tuple[str, str] | None], str]] = [
    ([("landlock", "landlock")], "landlock"),
    ([("landlock", "none")], "landlock"),  # released features: nothing was trained here
    ([("landlock", "process")], "process"),
    ([("process", "landlock")], "process"),
    ([("process", "none")], "process"),
    ([None], "none"),  # made elsewhere
    ([("landlock", "landlock"), ("process", "landlock")], "process"),
    ([("process", "process"), ("process", "none"), ("landlock", "landlock")], "process"),
]


@pytest.mark.parametrize(("levels", "weakest"), LEVELS)
def test_a_row_is_as_confined_as_its_weakest_record(levels: Any, weakest: str) -> None:
    for order in (levels, levels[::-1]):
        records = [
            record(clips(n), seeds=(n, n), certificate=one and certificate(*one))
            for n, one in enumerate(order)
        ]
        (row,) = compare(records)["sections"][0]["rows"]
        assert row["seeds"] == len(levels)
        assert row["confinement"] == weakest


def test_unconfined_rows_are_counted_and_marked() -> None:
    records = [
        record(exactly(BEST), "inside", certificate=certificate()),
        record(exactly(CLOSE), "open", certificate=certificate("process")),
        record(exactly(FAR), "elsewhere"),
    ]
    comparison = compare(records)
    (section,) = comparison["sections"]
    line = "2 of 3 rows were made without confinement."
    assert line in words.caption(section)
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        said = {"inside": "landlock", "open": "no", "elsewhere": "none"}
        for name, word in said.items():
            (row,) = [x for x in texts[kind].splitlines() if f" {name} " in x]
            assert f" {word} " in row
        assert line in flat(texts[kind])
    rows = json.loads(texts["json"])["sections"][0]["rows"]
    assert [r["confinement"] for r in rows] == ["landlock", "process", "none"]


def test_nothing_is_said_where_all_were_confined() -> None:
    comparison = compare([record(clips(0), n, certificate=certificate()) for n in ("one", "two")])
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        assert "confine" not in texts[kind]
        assert "‡" not in texts[kind]


DENIED = {"fit: open /data/secret": 3, "score: connect [::1]:80": 1, "fit: spawn sh": 2}


def test_refused_accesses_and_failed_proofs_are_told_with_the_row() -> None:
    records = [
        record(exactly(BEST), "sound", certificate=certificate(proof=proof())),
        record(exactly(FAR), "nosy", (0, 0), certificate=certificate(denied=DENIED)),
        record(exactly(FAR), "nosy", (1, 1), certificate=certificate(
            denied={"fit: open /data/secret": 4, "fit: open /x": 1})),
        record(exactly(FAR), "shaky", selection="seen-val",
               certificate=certificate(proof=proof(stable=False))),
        record(exactly(FAR), "peeker", certificate=certificate(proof=proof(identical=False))),
    ]  # fmt: skip
    comparison = compare(records)
    rows = {r["method"]: r for r in comparison["sections"][0]["rows"]}
    assert rows["nosy"]["denied"]["fit: open /data/secret"] == 7
    assert rows["sound"]["proof"] == {"runs": 1, "refit_identical": True, "stable": True}
    assert rows["nosy"]["proof"] is None
    remarks = (
        "‡ nosy: accesses were refused: fit: open /data/secret (7 x), fit: spawn sh (2 x), "
        "fit: open /x (1 x), 1 more.",
        "‡ shaky by seen-val: unstable: scores move",
        "‡ peeker: not proven: a refit with unseen clips scrambled ended in another state.",
    )
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        for remark in remarks:
            assert remark in flat(texts[kind])
        cells = [x for x in texts[kind].splitlines() if x.startswith(("│", "|"))]
        assert [n for n in rows if any(f" {n} ‡ " in c for c in cells)] == [
            n for n in rows if n != "sound"
        ]
        assert "‡ sound" not in texts[kind]


def test_one_failed_proof_of_several_is_enough() -> None:
    records = [
        record(clips(s), seeds=(s, s), certificate=certificate(proof=proof(stable=s != 1)))
        for s in range(3)
    ]
    row = compare(records)["sections"][0]["rows"][0]
    assert row["proof"] == {"runs": 3, "refit_identical": True, "stable": False}


# --- The gain from test-set selection ------------------------------------------------------------

RATES = {"last": 0.5, "pseudo-unseen": 0.45, "seen-val": 0.55, "oracle@50": 0.8}


def rules(seeds: list[tuple[int, int]], noise: int = 0, **more: Any) -> list[Any]:
    """A run under every rule for each pair of seeds."""
    rng = np.random.default_rng(noise)
    return [
        record(
            clips(1000 * n + 10 * e + m, rate), "m", (e, m), selection=rule,
            **({"states": curve(rng.uniform(size=50))} if "@" in rule else {}), **more,
        )
        for n, (rule, rate) in enumerate(RATES.items())
        for e, m in seeds
    ]  # fmt: skip


def only_group(records: list[Any]) -> dict[str, Any]:
    (section,) = compare(records, rules=True)["rules"]
    (group,) = section["groups"]
    found: dict[str, Any] = group
    return found


def test_a_line_a_rule_with_paired_differences_against_scipy() -> None:
    seeds = [(e, m) for e in range(6) for m in range(1 + e % 2)]
    records = rules(seeds)
    records = [r for r in records if not (r.selection == "seen-val" and r.encoder_seed == 5)]
    group = only_group(records)
    assert [r["rule"] for r in group["rules"]] == list(RATES)
    by = {(r.selection, r.encoder_seed, r.method_seed): r.metrics for r in records}
    for row in group["rules"]:
        own = [key[1:] for key in by if key[0] == row["rule"]]
        for metric in ("top1", "mean_class"):
            values: dict[int, list[float]] = {}
            for e, m in own:
                values.setdefault(e, []).append(getattr(by[row["rule"], e, m], metric))
            expected = np.mean([np.mean(v) for v in values.values()])
            assert row[metric] == pytest.approx(expected)
        if row["rule"] == "last":
            assert row["difference"] is None
            continue
        differences: dict[int, list[float]] = {}
        for e, m in own:
            gap = by[row["rule"], e, m].top1 - by["last", e, m].top1
            differences.setdefault(e, []).append(gap)
        units = [np.mean(v) for v in differences.values()]
        test = stats.ttest_1samp(units, 0)
        ends = test.confidence_interval(0.95)
        found = row["difference"]
        assert found["pairs"] == len(own)
        assert found["mean"] == pytest.approx(np.mean(units))
        assert (found["interval"]["low"], found["interval"]["high"]) == pytest.approx(ends)
        assert found["interval"]["name"] == f"95 % t over {len(units)} encoder seeds"
        side = "higher" if np.mean(units) > 0 else "lower"
        assert found["answer"] == (side if test.pvalue < 0.05 else "cannot tell")
    assert group["rules"][-1]["difference"]["answer"] == "higher"


def test_fewer_than_five_seeds_cannot_tell() -> None:
    comparison = compare(rules([(e, e) for e in range(4)]), rules=True)
    differences = [r["difference"] for r in comparison["rules"][0]["groups"][0]["rules"][1:]]
    assert [d["answer"] for d in differences] == ["cannot tell"] * 3
    assert [d["interval"] for d in differences] == [None] * 3
    for kind in ("table", "markdown"):
        text = flat(every_text(comparison)[kind])
        assert "cannot tell" in text
        assert "Cannot tell: an interval needs at least 5 seeds." in text
        assert "(n = 4)" in text


def test_with_one_encoder_the_method_seeds_are_the_units() -> None:
    group = only_group(rules([(0, m) for m in range(5)]))
    for row in group["rules"][1:]:
        assert row["difference"]["interval"]["name"] == "95 % t over 5 method seeds"


def test_no_seed_in_common_no_difference() -> None:
    records = [
        record(clips(s), "m", (s, s), selection=rule)
        for rule, seeds in (("last", (0, 1)), ("seen-val", (2, 3)))
        for s in seeds
    ]
    assert only_group(records)["rules"][1]["difference"] is None
    text = every_text(compare(records, rules=True))["markdown"]
    assert "no seed was run under last and another rule" in text
    without = [r for r in rules([(0, 0)]) if r.selection != "last"]
    assert [r["difference"] for r in only_group(without)["rules"]] == [None] * 3


def slow_price(values: list[float], looks: int) -> float:
    """Best of ``looks`` evenly spaced evaluations less the last, by counting steps."""
    best = None
    for number, value in enumerate(values, start=1):
        if number * looks % len(values) == 0 and (best is None or value > best):
            best = value
    assert best is not None
    return best - values[-1]


@pytest.mark.parametrize(
    ("length", "counts"),
    [(50, [1, 2, 5, 10, 50]), (20, [1, 2, 5, 10, 20]), (30, [1, 2, 5, 10]), (7, [1]),
     (100, list(EVALUATIONS)), (1, [1])],
)  # fmt: skip
def test_the_price_against_a_slow_version(length: int, counts: list[int]) -> None:
    rng = np.random.default_rng(length)
    seeds = [(e, m) for e in range(3) for m in range(1 + e)]
    curves = {s: rng.uniform(size=length).tolist() for s in seeds}
    rule = f"oracle@{length}"
    records = [record(clips(0), "m", s, selection=rule, states=curve(c)) for s, c in curves.items()]
    (price,) = only_group(records[::-1])["prices"]
    assert (price["rule"], price["seeds"]) == (rule, 6)
    assert [p["evaluations"] for p in price["points"]] == counts
    for point in price["points"]:
        each = {s: slow_price(c, point["evaluations"]) for s, c in curves.items()}
        assert point["by_seed"] == pytest.approx(list(each.values()))
        inside = [np.mean([v for (e, _), v in each.items() if e == n]) for n in range(3)]
        assert point["price"] == pytest.approx(np.mean(inside))
    assert price["points"][0]["price"] == 0.0


def test_the_price_of_noise_is_the_expected_maximum() -> None:
    """A method that learns nothing after the first look: its curve is noise around a level."""
    sd, seeds = 0.02, 3000
    rng = np.random.default_rng(0)
    curves = 0.5 + sd * rng.standard_normal((seeds, 100))
    # Published means of the largest of n standard normals (Teichroew 1956).
    largest = {1: 0.0, 2: 0.56419, 5: 1.16296, 10: 1.53875, 20: 1.86748, 50: 2.24907}
    assert tuple(largest) == EVALUATIONS
    simulated = np.random.default_rng(1).standard_normal((20_000, 50))
    for looks, expected in largest.items():
        prices = np.array([peeking(c, looks) for c in curves]) / sd
        error = prices.std() / np.sqrt(seeds)
        assert prices.mean() == pytest.approx(expected, abs=4 * error + 1e-12)
        maxima = simulated[:, :looks].max(axis=1)
        both = np.hypot(error, maxima.std() / np.sqrt(len(maxima)))
        assert prices.mean() == pytest.approx(maxima.mean(), abs=4 * both)


def test_curves_of_several_lengths_are_priced_where_all_can_be() -> None:
    records = [
        record(clips(s), "m", (s, s), selection="oracle@50", states=curve(np.arange(n) / n))
        for s, n in enumerate((50, 20))
    ]
    (price,) = only_group(records)["prices"]
    assert [p["evaluations"] for p in price["points"]] == [1, 2, 5, 10]


def test_what_is_no_price() -> None:
    assert compare(rules([(0, 0)]))["rules"] == []  # not asked for
    one_rule = [record(clips(s), "m", (s, s)) for s in range(5)]
    assert compare(one_rule, rules=True)["rules"] == []
    elsewhere = [record(clips(0), "m", selection=r, **ELSEWHERE) for r in ("last", "seen-val")]
    assert compare(elsewhere, rules=True)["rules"] == []
    apart = [
        record(clips(0), "m", selection=rule, texts={"source": texts})
        for rule, texts in (("last", "a"), ("seen-val", "b"))
    ]
    assert compare(apart, rules=True)["rules"] == []
    control = {"control": "random", "draw": 1}
    controlled = [record(clips(0), "m", selection=r, texts=control) for r in ("last", "seen-val")]
    assert compare(controlled, rules=True)["rules"] == []


def test_every_method_has_its_own_block_and_one_line_of_prices() -> None:
    seeds = [(e, e) for e in range(5)]
    records = [*rules(seeds), *rules(seeds, 1, method={"name": "n"})]
    comparison = compare(records, rules=True)
    (section,) = comparison["rules"]
    assert [g["method"] for g in section["groups"]] == ["m", "n"]
    text = every_text(comparison)["markdown"]
    for name in ("m", "n"):
        part = text.partition(f"### toy-4-2 - {name} by selection rule; not ranked")[2]
        part = part.partition("###")[0]
        for rule in ("last", "seen-val", "pseudo-unseen", "oracle@50 (best of 50 on test)"):
            assert f"| {rule} |" in part
        assert "**" not in part
    prices = text.partition("gain from test-set selection; not ranked")[2]
    lines = [x for x in prices.splitlines() if x.startswith("| ")]
    assert lines[0].endswith("| seeds | E=1 | E=2 | E=5 | E=10 | E=50 |")
    for line, group in zip(lines[2:4], section["groups"], strict=True):
        (price,) = group["prices"]
        cells = [c.strip() for c in line.strip("|").split("|")]
        assert cells[0] == group["method"]
        told = [float(c) for c in cells[-5:]]
        assert told == pytest.approx([100 * p["price"] for p in price["points"]], abs=0.05)


def test_how_far_the_state_was_along_the_schedule() -> None:
    states = {"fractions": {"half-1": 0.2, "half-2": 0.6}, "evaluated": 20}
    records = [
        record(clips(0), "m"),
        record(clips(0), "m", selection="seen-val", states=states),
    ]
    last, chosen = only_group(records)["rules"]
    assert (last["fraction"], last["evaluated"]) == (1.0, 1.0)
    assert (chosen["fraction"], chosen["evaluated"]) == (pytest.approx(0.4), 20)
    text = every_text(compare(records, rules=True))["markdown"]
    assert "| seen-val | 1 | 40 % |" in text


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_blocks_fit_the_terminal(width: int) -> None:
    records = rules([(e, e) for e in range(5)], certificate=certificate(denied=DENIED))
    records += rules([(0, 0)], method={"name": "a-method-with-a-long-name"}, **ELSEWHERE)
    text = table.report(compare(records, rules=True), width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    squeezed = "".join(c for c in text if c.isalnum() or c in "@=")
    assert "gainfromtestsetselectionnotranked" in squeezed
    assert "chosenontestnotranked" in squeezed


def test_names_bring_no_escape_codes_into_remarks() -> None:
    evil = "fit: open \x1b]0;owned\x07\n| <b> |"
    made = certificate("process", denied={evil: 1})
    comparison = compare([record(clips(0), "m\x1b[31m", certificate=made)], rules=True)
    texts = every_text(comparison)
    for text in texts.values():
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "<b>" not in texts["markdown"]


# --- The command -------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    toy_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``compare`` in this process, beside a results folder with runs under four rules."""
    monkeypatch.setenv("COLUMNS", "120")
    for number, one in enumerate(rules([(e, e) for e in range(5)])):
        store(Path("results"), f"{number:016x}", one)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["zsar-bench", "compare", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def test_selection_all_and_one_rule(command: Command) -> None:
    code, out, _ = command("--json")
    plain = json.loads(out)
    assert (code, plain["rules"]) == (0, [])
    code, out, _ = command("--selection", "all", "--json")
    everything = json.loads(out)
    assert code == 0
    assert everything["sections"] == plain["sections"]
    assert [r["rule"] for r in everything["rules"][0]["groups"][0]["rules"]] == list(RATES)
    for rule in RATES:
        code, out, _ = command("--selection", rule, "--json")
        found = json.loads(out)
        assert (code, found["rules"]) == (0, [])
        assert {r["rule"] for s in found["sections"] for r in s["rows"]} == {rule}
    out = command("--selection", "all")[1]
    assert "gain from test-set selection" in out


def test_a_rule_that_no_run_has(command: Command) -> None:
    code, _, err = command("--selection", "seen-vall")
    assert code == 2
    assert "None of these 20 runs was selected by 'seen-vall'" in " ".join(err.split())
    for rule in RATES:
        assert rule in err
    assert "--selection all" in err


def test_all_where_there_is_one_rule_says_so(command: Command, tmp_path: Path) -> None:
    store(tmp_path / "single", "1", record(clips(0)))
    code, out, err = command("--selection", "all", "--results", tmp_path / "single")
    assert code == 0
    assert "No method has runs under two rules" in err
    assert "toy-4-2" in out
