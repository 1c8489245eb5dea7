"""Which state counts: the rules as functions, and whole runs against shorter ones.

``toy-ridge`` takes constant steps with one generator, so its state after k of 40 steps is the
last state of a run of k steps: that is what states are checked against.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.command import TOY_ENCODERS, Cli
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import UserError
from zsar_bench.metrics import accuracy
from zsar_bench.plans.selection import (
    best_point,
    due,
    find_rule,
    kept_states,
    median_point,
    parse_rules,
    peeks,
    rotated,
    rotations,
    state_step,
    validation_subjects,
)
from zsar_bench.records.files import read_predictions, read_record
from zsar_bench.records.schema import Record

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

# --- Rules as functions ------------------------------------------------------------------------


def test_rules_are_spelt_out() -> None:
    assert find_rule("oracle") == "oracle@50"
    assert parse_rules("last, oracle@20,last") == ("last", "oracle@20")
    assert parse_rules("all") == ("last", "seen-val", "pseudo-unseen", "oracle@50")
    assert [kept_states(r) for r in parse_rules("all")] == [0, 0, 20, 50]
    assert [peeks(r) for r in parse_rules("all")] == [False, False, False, True]


@pytest.mark.parametrize("name", ["best", "oracle@", "oracle@0", "oracle@1001", "oracle@5x", ""])
def test_other_rules_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="Unknown selection rule"):
        parse_rules(name)


@given(
    total=st.integers(1, 60),
    grids=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    skipped=st.sets(st.integers(1, 59)),
)
def test_states_are_the_first_at_or_after_their_points(
    total: int, grids: list[int], skipped: set[int]
) -> None:
    """Whatever the method reports, and whichever other grids are kept beside one."""
    reports = [s for s in range(1, total + 1) if s == total or s not in skipped]
    kept, before = [], 0
    for step in reports:
        if due(step, before, total, grids):
            kept.append(step)
        before = step
    for grid in grids:
        for point in range(1, grid + 1):
            wanted = min(s for s in reports if s >= point * total / grid)
            expected = None if wanted == total else wanted
            assert state_step(point, grid, total, kept) == expected


def test_the_earliest_of_equals_is_best() -> None:
    assert best_point([0.1, 0.5, 0.5, 0.2]) == 2
    assert best_point([0.0, 0.0]) == 1
    assert [median_point(p) for p in ([7], [9, 2, 5], [4, 1])] == [7, 5, 1]


def a_round(seen: int = 8, unseen: int = 3) -> tuple[Round, dict[str, list[str]]]:
    """Every seen class twice by each of five training subjects, p6 only tested."""
    classes = [f"c{n}" for n in range(seen + unseen)]
    rows = [(c, f"p{p}") for c in classes for p in range(1, 7) for _ in range(2)]
    clips = {"class": [c for c, _ in rows], "subject": [p for _, p in rows]}
    known, new = classes[:seen], classes[seen:]
    train = [i for i, (c, p) in enumerate(rows) if c in known and p != "p6"]
    return Round(
        name="half-1",
        train=train,
        test_unseen=[i for i, (c, _) in enumerate(rows) if c in new],
        test_seen=[i for i, (c, p) in enumerate(rows) if c in known and p == "p6"],
        seen=tuple(known),
        unseen=tuple(new),
    ), clips


def a_protocol(*pseudo_unseen: str) -> Any:
    return SimpleNamespace(id="p", pseudo_unseen=pseudo_unseen)


def test_rotations_hold_out_disjoint_classes() -> None:
    one, _ = a_round(seen=13, unseen=5)
    held = rotations(a_protocol(), one)
    assert [len(h) for h in held] == [3, 3, 3]  # min(K_u, K_s / 4)
    assert len({c for h in held for c in h}) == 9
    assert {c for h in held for c in h} <= {*one.seen}
    assert held == rotations(a_protocol(), one)
    few, _ = a_round(seen=40, unseen=2)
    assert [len(h) for h in rotations(a_protocol(), few)] == [2, 2, 2]
    assert rotations(a_protocol("c1", "c4"), one) == [("c1", "c4")]


def test_one_class_is_no_choice() -> None:
    with pytest.raises(UserError, match="at least 2 classes to hold out"):
        rotations(a_protocol(), a_round(seen=7, unseen=5)[0])


def test_a_rotation_never_meets_a_clip_that_is_tested() -> None:
    one, clips = a_round()
    turned = rotated(one, 1, ("c2", "c5"), clips["class"])
    tested = {*one.test_unseen, *one.test_seen}
    assert not tested & {*turned.train, *turned.test_unseen}
    assert turned.test_seen == []
    assert {clips["class"][i] for i in turned.test_unseen} == {"c2", "c5"}
    assert {clips["class"][i] for i in turned.train} == {*one.seen} - {"c2", "c5"}
    assert {*turned.train} | {*turned.test_unseen} == {*one.train}
    assert (turned.seen, turned.unseen) == (("c0", "c1", "c3", "c4", "c6", "c7"), ("c2", "c5"))
    assert turned.name == "half-1 rotation-2"


def test_one_in_five_training_subjects_validates() -> None:
    one, clips = a_round()
    held = validation_subjects(one, clips)
    assert len(held) == 1
    assert held[0] in {"p1", "p2", "p3", "p4", "p5"}


def test_every_class_keeps_clips_of_the_others() -> None:
    one, clips = a_round()
    (first,) = validation_subjects(one, clips)
    lonely = [i for i in one.train if clips["class"][i] != "c0" or clips["subject"][i] == first]
    fewer = Round(**{**vars(one), "train": lonely})
    assert validation_subjects(fewer, clips) != [first]
    alone = [i for i in one.train if clips["subject"][i] == "p1"]
    with pytest.raises(UserError, match="holds out training subjects"):
        validation_subjects(Round(**{**vars(one), "train": alone}), clips)
    unknown = {**clips, "subject": [""] * len(clips["subject"])}
    with pytest.raises(UserError, match="holds out training subjects"):
        validation_subjects(one, unknown)


# --- Whole runs ----------------------------------------------------------------------------------

STEPS = 40  #: of ``toy-ridge`` on a laptop


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four rules in one command, with proofs."""
    folder = tmp_path_factory.mktemp("selection")
    cli = Cli(toy_home, toy_site, folder, real=False)
    text = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    protocol = folder / "toy-pu.toml"
    text = text.replace('"toy-4-2"', '"toy-pu"').replace('aliases = ["toy"]', "")
    protocol.write_text(f'{text}\n[gzsl]\npseudo_unseen = ["c1", "c4"]\n')
    words = ("run", "toy-ridge", "--protocol", protocol, *TOY_ENCODERS, "--json")
    rules = f"last,seen-val,pseudo-unseen,oracle@{STEPS}"
    answer = json.loads(cli(*words, "--selection", rules, "--prove").stdout)
    folders = {row["selection"]: Path(row["folder"]) for row in answer["runs"]}
    yield SimpleNamespace(
        cli=cli,
        words=words,
        answer=answer,
        folders=folders,
        records={rule: read_record(f) for rule, f in folders.items()},
    )
    cli.close()


def short_run(base: Any, steps: int) -> Path:
    """The run of so many steps by rule ``last``."""
    more = ("--set", f"steps={steps}", "--results", "short")
    return Path(json.loads(base.cli(*base.words, *more).stdout)["runs"][0]["folder"])


def scores(folder: Path) -> np.ndarray:
    return read_predictions(folder / "predictions.safetensors")[3]


def test_one_training_serves_the_rules_that_need_no_refit(base: Any) -> None:
    records: dict[str, Record] = base.records
    assert [*records] == ["last", "seen-val", "pseudo-unseen", f"oracle@{STEPS}"]
    fitted = {rule: r.certificate.fitted for rule, r in records.items()}
    assert fitted["last"] == fitted["pseudo-unseen"] == fitted[f"oracle@{STEPS}"]
    assert fitted["seen-val"] != fitted["last"]  # fitted without the subjects it validates on
    ids = {r.run_id for r in records.values()}
    assert len(ids) == 4
    left = [p.name for p in (base.folders["last"].parent).iterdir() if p.name.startswith(".")]
    assert left == []


def test_a_rule_does_not_depend_on_its_company(base: Any) -> None:
    for rule, folder in base.folders.items():
        more = ("--selection", rule, "--results", "alone")
        alone = Path(json.loads(base.cli(*base.words, *more).stdout)["runs"][0]["folder"])
        assert alone.name == folder.name
        name = "predictions.safetensors"
        assert (alone / name).read_bytes() == (folder / name).read_bytes(), rule


def test_the_curve_of_an_oracle_is_that_of_shorter_runs(base: Any) -> None:
    oracle = base.records[f"oracle@{STEPS}"]
    curve = oracle.states.curve
    assert [e.fraction for e in curve] == [pytest.approx(n / STEPS) for n in range(1, STEPS + 1)]
    for steps in (1, 7, 13):
        shorter = read_record(short_run(base, steps))
        assert (shorter.metrics.top1, shorter.metrics.mean_class) == (
            curve[steps - 1].top1,
            curve[steps - 1].mean_class,
        )
    assert curve[-1].top1 == base.records["last"].metrics.top1
    best = max(range(STEPS), key=lambda n: (curve[n].top1, -n))
    assert {*oracle.states.fractions.values()} == {(best + 1) / STEPS}
    assert oracle.metrics.top1 == curve[best].top1
    np.testing.assert_array_equal(
        scores(base.folders[f"oracle@{STEPS}"]), scores(short_run(base, best + 1))
    )
    assert len({e.top1 for e in curve}) > 2  # or nothing was to be told


def test_pseudo_unseen_takes_a_fraction_over_to_the_full_fit(base: Any) -> None:
    record = base.records["pseudo-unseen"]
    looked = record.states.validation
    assert [(r.round, r.held_out) for r in looked] == [(h, ["c1", "c4"]) for h in halves(record)]
    assert record.states.curve == []
    for one in looked:
        fractions, accuracies = zip(*one.accuracies, strict=True)
        assert fractions == tuple(pytest.approx(n / 20) for n in range(1, 21))
        assert one.best == fractions[int(np.argmax(accuracies))]
        assert record.states.fractions[one.round] == pytest.approx(median([one.best]))
        assert one.encoder not in {r.key for r in record.encoder.rounds}  # retrained
        assert one.clips == 16
    by_half = np.split(scores(base.folders["pseudo-unseen"]), 2)
    for part, half in zip(by_half, halves(record), strict=True):
        steps = round(record.states.fractions[half] * STEPS)
        place = halves(record).index(half)
        np.testing.assert_array_equal(part, np.split(scores(short_run(base, steps)), 2)[place])


def halves(record: Record) -> list[str]:
    return [r.round for r in record.encoder.rounds]


def test_seen_val_looks_at_training_subjects_only(base: Any) -> None:
    record = base.records["seen-val"]
    for one, train in zip(record.states.validation, ("2468", "1357"), strict=True):
        assert len(one.held_out) == 1  # of four
        assert one.held_out[0] in train
        assert one.clips == 8  # two of each of four seen classes
        best = int(np.argmax([a for _, a in one.accuracies]))
        assert record.states.fractions[one.round] == one.accuracies[best][0]
    assert record.states.evaluated == 40


def test_every_rule_of_one_command_is_a_row_of_the_answer(base: Any) -> None:
    sections = base.answer["sections"]
    ranked = [s for s in sections if not s["unranked"]]
    assert {r["rule"] for s in ranked for r in s["rows"]} == {"last", "seen-val", "pseudo-unseen"}
    others = {r["rule"] for s in sections if s["unranked"] for r in s["rows"]}
    assert all(rule.startswith(f"oracle@{STEPS}") for rule in others)
    assert others


def test_proofs_of_an_honest_method(base: Any) -> None:
    for record in base.records.values():
        proof = record.certificate.proof
        assert proof.refit_identical
        assert proof.stable
        assert 0 < proof.largest_change <= proof.tolerance


def test_a_proof_is_added_to_a_run_that_is_there(base: Any) -> None:
    words = (*base.words, "--results", "later")
    folder = Path(json.loads(base.cli(*words).stdout)["runs"][0]["folder"])
    before = (folder / "predictions.safetensors").read_bytes()
    assert read_record(folder).certificate.proof is None
    base.cli(*words, "--prove")
    assert read_record(folder).certificate.proof.refit_identical
    assert (folder / "predictions.safetensors").read_bytes() == before
    stamp = (folder / "run.json").stat().st_mtime_ns
    base.cli(*words, "--prove")  # it is there: nothing is run again
    base.cli(*words)
    assert (folder / "run.json").stat().st_mtime_ns == stamp
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_metrics_follow_from_the_scores_of_the_chosen_state(base: Any) -> None:
    for rule, folder in base.folders.items():
        _, labels, _, found = read_predictions(folder / "predictions.safetensors")
        credit = accuracy.judge(found, labels).credit
        assert base.records[rule].metrics.top1 == pytest.approx(float(np.mean(credit)))


def test_too_few_classes_are_refused_before_anything_runs(base: Any) -> None:
    done = base.cli(*base.words[:1], "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS,
                    "--selection", "pseudo-unseen", check=2)  # fmt: skip
    assert "needs at least 2 classes to hold out" in done.stderr
