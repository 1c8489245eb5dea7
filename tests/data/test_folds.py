"""Classes that take turns at being unseen, and clips with candidates of their own."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kit.made_protocols import CLASSES, FIELDS, catalogue, write
from kit.made_records import clips, record
from zsar_bench.comparison import statistics
from zsar_bench.comparison.sections import compare
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.files import load_protocol
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.protocol import Protocol, in_folds, random_split
from zsar_bench.data.protocols.splits import candidates_of, make_rounds
from zsar_bench.errors import UserError
from zsar_bench.metrics import accuracy
from zsar_bench.records.files import read_predictions, read_record

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

FOLDS = [["a1", "a2"], ["a3", "a4"], ["a5", "a6"]]
SPLIT = {"seen": None, "unseen": None}
CROSS = FIELDS["samples"] | {"test_clips": 24}


def loaded(folder: Path, **changes: Any) -> Protocol:
    return load_protocol(write(folder, **changes), CLASSES, catalogue(folder))


def everybody(setup: Any = lambda class_id: "") -> Dataset:
    """Every class once by each of four subjects."""
    rows = [(c.id, str(s)) for c in CLASSES for s in range(1, 5)]
    columns = {
        "id": [f"{c}-{s}" for c, s in rows],
        "class": [c for c, _ in rows],
        "subject": [s for _, s in rows],
        "camera": ["" for _ in rows],
        "setup": [setup(c) for c, _ in rows],
    }
    return Dataset(Path("nowhere"), {"name": "made", "clips": columns})


# --- Rounds ------------------------------------------------------------------------------------


def test_every_class_is_unseen_once_and_every_clip_tested_once(tmp_path: Path) -> None:
    one = loaded(tmp_path, **SPLIT, folds=FOLDS, samples=CROSS)
    assert one.seen == one.unseen == tuple(c.id for c in CLASSES)
    data = everybody()
    rounds = make_rounds(one, data)
    assert [r.name for r in rounds] == [f"fold-{f} half-{h}" for f in (1, 2, 3) for h in (1, 2)]
    tested = [n for r in rounds for n in r.test_unseen]
    assert sorted(tested) == list(range(24))
    for r in rounds:
        classes = {data.clips["class"][n] for n in r.train}
        assert classes == {*r.seen}
        assert classes.isdisjoint({data.clips["class"][n] for n in r.test_unseen})
        people = {data.clips["subject"][n] for n in r.train}
        assert people.isdisjoint({data.clips["subject"][n] for n in r.test_unseen + r.test_seen})
        assert {*r.seen} | {*r.unseen} == {c.id for c in CLASSES}


def test_folds_of_any_protocol(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    halves = in_folds(base, "folds:2")
    assert halves.id == "made-4-2/folds:2"
    assert sorted(c for fold in halves.folds for c in fold) == [c.id for c in CLASSES]
    assert [len(fold) for fold in halves.folds] == [3, 3]
    assert halves.folds == in_folds(replace(base, id="other"), "folds:2").folds  # ids decide
    assert halves.digest not in (base.digest, in_folds(base, "folds:3").digest)
    assert find_protocol("made-4-2/folds:2", made(tmp_path)) == halves
    back = random_split(halves, "random:2@0")
    assert (back.folds, len(back.unseen)) == ((), 2)
    for bad in ("folds:1", "folds:4", "folds:0", "folds:x", "folds:"):
        with pytest.raises(UserError, match="is not folds:NUMBER with 2 to 3 folds"):
            in_folds(base, bad)


def made(folder: Path, **spec: Any) -> Any:
    """A catalogue of this folder's protocols and the data set ``made`` with its classes."""
    classes = folder / "classes" / "classes.toml"
    classes.parent.mkdir(exist_ok=True)
    classes.write_text("".join(f'[[class]]\nid = "{c.id}"\nname = "{c.name}"\n' for c in CLASSES))
    found = catalogue(folder, classes=classes)
    found.data["datasets"]["made"] |= {"classes": str(classes)} | spec
    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": FOLDS[:2]}, "fold 1: a5, a6 is neither seen nor unseen"),
        ({"folds": [*FOLDS, ["a1"]]}, "fold 1: a1 is both seen and unseen"),
        ({"folds": [FOLDS[0]]}, "at least two lists"),
        ({"folds": [[], *FOLDS]}, "at least two lists"),
        ({"folds": "a1"}, "at least two lists"),
        ({"folds": [["a1", "a7"], *FOLDS[1:]]}, "class in 'unseen' of"),
        ({"folds": FOLDS, "seen": ["a1"]}, "'folds' and 'seen' exclude each other"),
        ({"folds": None}, "the field 'seen' is missing"),
    ],
)
def test_folds_that_cannot_be(changes: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        loaded(tmp_path, **SPLIT | changes)


# --- Pooled data sets --------------------------------------------------------------------------

PARTS = {"a1": "x", "a2": "x", "a3": "x", "a4": "y", "a5": "y", "a6": "y"}


def test_candidates_are_those_of_a_clips_own_part(tmp_path: Path) -> None:
    folds = [["a1", "a2", "a4"], ["a3", "a5", "a6"]]
    own = loaded(tmp_path, **SPLIT, folds=folds, samples=CROSS | {"candidates": "setup"})
    data = everybody(PARTS.__getitem__)
    for one in make_rounds(own, data):
        for clip, numbers in zip(
            one.test_unseen, candidates_of(own, data.clips, one) or (), strict=True
        ):
            part = data.clips["setup"][clip]
            assert {one.unseen[k] for k in numbers} == {c for c in one.unseen if PARTS[c] == part}
            assert data.clips["class"][clip] in {one.unseen[k] for k in numbers}
    free = loaded(tmp_path, **SPLIT, folds=folds, samples=CROSS)
    assert candidates_of(free, data.clips, make_rounds(free, data)[0]) is None
    assert free.digest != own.digest


def test_from_one_part_to_another(tmp_path: Path) -> None:
    samples = {"rule": "transfer", "pairs": [["x", "y"], ["y", "x"]]}
    one = loaded(tmp_path, **SPLIT, samples=samples)
    data = everybody(PARTS.__getitem__)
    data.clips["setup"][3] = "y"  # a1's last clip: a class of both parts
    there, back = make_rounds(one, data)
    assert (there.name, there.seen, there.unseen) == (
        "x to y",
        ("a1", "a2", "a3"),
        ("a4", "a5", "a6"),
    )
    assert (back.seen, back.unseen) == (("a1", "a4", "a5", "a6"), ("a2", "a3"))
    assert there.test_seen == [3]
    assert {data.clips["setup"][n] for n in there.train} == {"x"}
    assert {data.clips["setup"][n] for n in there.test_unseen} == {"y"}


def test_a_clip_of_which_nobody_knows_the_side_is_on_none(tmp_path: Path) -> None:
    one = loaded(tmp_path, samples={"rule": "split", "train": ["train"]})
    data = everybody(lambda class_id: "train")
    data.clips["setup"][4:8] = ["test", "", "train", "test"]  # a2, which is unseen
    (only,) = make_rounds(one, data)
    assert only.test_unseen == [4, 7]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ({"rule": "transfer"}, "pairs of setups"),
        ({"rule": "transfer", "pairs": [["x", "x"]]}, "pairs of setups"),
        ({"rule": "transfer", "pairs": [["x"]]}, "pairs of setups"),
        ({"rule": "transfer", "pairs": [["x", "y"], ["z", "y"]]}, "at most once"),
        ({"rule": "xset", "train": ["x"], "pairs": [["x", "y"]]}, "samples.pairs has no meaning"),
        ({"rule": "xset", "train": ["x"], "candidates": "camera"}, "only be 'setup'"),
    ],
)
def test_samples_that_cannot_be(samples: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        loaded(tmp_path, **SPLIT, samples=samples)
    with pytest.raises(UserError, match="'seen' has no meaning"):
        loaded(tmp_path, samples={"rule": "transfer", "pairs": [["x", "y"]]})


# --- Data sets as protocols --------------------------------------------------------------------


def test_a_data_set_with_a_rule_of_its_own(tmp_path: Path) -> None:
    known = made(tmp_path, title="Made", samples={k: CROSS[k] for k in ("rule", "groups")})
    one = find_protocol("made/folds:3", known)
    assert (one.id, one.dataset, one.rule) == ("made/folds:3", "made", "performer-cross-fit")
    assert len(make_rounds(one, everybody())) == 6
    assert (
        find_protocol("made/random:2@1", known).unseen
        == find_protocol("made/random:2@1", known).unseen
    )
    with pytest.raises(UserError, match="is a data set"):
        find_protocol("made", known)
    with pytest.raises(UserError, match="does not say how"):
        find_protocol("made/folds:3", made(tmp_path, title="Made", samples={}))


# --- Statistics --------------------------------------------------------------------------------


def test_the_spread_is_pooled_within_folds() -> None:
    """Against an analysis of variance: its residual mean square is the pooled variance."""
    rng = np.random.default_rng(0)
    folds = [0] * 5 + [1] * 7 + [2] * 4
    values = rng.normal(size=16) + 3.0 * np.array(folds)
    groups = [values[np.array(folds) == f] for f in range(3)]
    total, between = (
        values.var() * 16,
        sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups),
    )
    f = stats.f_oneway(*groups).statistic
    residual = (total - between) / 13
    assert f == pytest.approx(between / 2 / residual)  # the independent check of `residual`
    half = stats.t.ppf(0.975, 13) * math.sqrt(residual / 16)
    found = statistics.class_interval(values, folds)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert found.df == 13
    assert found.name == "95 % t over 16 classes in 3 folds"


def test_one_fold_is_the_plain_t() -> None:
    values = np.random.default_rng(1).normal(size=9)
    found = statistics.class_interval(values, [0] * 9)
    low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_too_few_classes() -> None:
    assert statistics.class_interval([0.1] * 5, [0, 0, 1, 1, 1]) is None
    assert statistics.class_interval([0.1] * 7, [0, 0, 0, 1, 1, 1, 2]) is None
    verdict = statistics.power_gate([0.1, 0.2, 0.3] * 3, "classes", strata=[0, 1] * 4 + [2])
    assert verdict.answer == "cannot tell"
    assert "fewer than two classes" in verdict.reason


def test_strata_take_a_difference_between_folds_out_of_the_spread() -> None:
    noise = [0.0, 0.02, -0.02, 0.01]
    values = [0.3 + n for n in noise] + [0.1 + n for n in noise] + [0.2 + n for n in noise]
    folds = [0] * 4 + [1] * 4 + [2] * 4
    loose, tight = (statistics.power_gate(values, "classes", strata=s) for s in ((), folds))
    assert loose.detectable is not None
    assert tight.detectable is not None
    assert tight.detectable < loose.detectable / 3


def test_a_guess_of_each_subjects_own_candidates_does_not_beat_chance() -> None:
    """Half the subjects guess among 2 classes, half among 10: their mean beats the classes'
    mean guess, and still nobody does better than guessing."""
    rng = np.random.default_rng(0)
    easy, hard = (
        [0.5 + d for d in rng.normal(0, 0.02, 6)],
        [0.1 + d for d in rng.normal(0, 0.02, 6)],
    )
    cells: dict[str, Any] = {"a": {f"e{n}": (100 * v, 100) for n, v in enumerate(easy)}}
    cells |= {f"b{k}": {f"h{n}": (100 * v, 100) for n, v in enumerate(hard)} for k in range(9)}
    guesses = {c: dict.fromkeys(row, 0.5 if c == "a" else 0.1) for c, row in cells.items()}
    plain = record(clips(0), "m", protocol={"unseen": sorted(cells)})
    about = {"cells": cells, "chance": 0.14, "chance_top1": 0.3}

    def verdict(**more: Any) -> Any:
        metrics_ = plain.metrics.model_copy(update=about | more)
        one = plain.model_copy(update={"metrics": metrics_})
        return compare([one])["sections"][0]["rows"][0]["beats_chance"]

    means = [*easy, *hard]
    low = stats.t.interval(0.95, 11, np.mean(means), stats.sem(means))[0]
    assert low > 0.14  # what a single number for all would make of it
    assert verdict(guesses=guesses) is False
    assert verdict(chance_top1=0.14) is True  # all guess alike: 1/K it is


# --- A whole run -------------------------------------------------------------------------------


def test_a_run_over_folds(cli: Any, tmp_path: Path) -> None:
    words = ("--results", tmp_path / "results", "--skeleton-encoder", "toy-mean", "--quiet")
    cli("run", "toy-ridge", "--protocol", "toy-motion/folds:3", *words)
    (folder,) = (tmp_path / "results/runs/toy-motion+folds:3/toy-ridge").glob("[!.]*")
    record = read_record(folder)
    ids, labels, candidates, scores = read_predictions(folder / "predictions.safetensors")
    assert len(ids) == len(set(ids)) == 96  # every clip of all six classes
    assert candidates == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert [len(fold) for fold in record.protocol.folds] == [2, 2, 2]
    fold = {c: n for n, f in enumerate(record.protocol.folds) for c in f}
    for label, row in zip(labels, scores, strict=True):  # candidates: the classes of its fold
        mine = fold[candidates[label]]
        assert [fold[c] == mine for c in candidates] == (~np.isnan(row)).tolist()
    rows = zip(scores, labels, strict=True)
    hits = [candidates[int(np.nanargmax(r))] == candidates[k] for r, k in rows]
    assert record.metrics.top1 == pytest.approx(np.mean(hits))
    assert record.metrics.chance == record.metrics.chance_top1 == pytest.approx(1 / 2)
    assert accuracy.top1_accuracy(scores, labels, []) == pytest.approx(record.metrics.top1)

    said = json.loads(cli("compare", "--json", *words[:2]).stdout)
    (section,) = said["sections"]
    assert (section["folds"], section["headline"]) == (3, "mean_class")
    assert {row["interval"]["name"] for row in section["rows"]} == {
        "95 % t over 6 classes in 3 folds"
    }
    text = cli("compare", *words[:2]).stdout
    assert "96 clips of 6 classes, each unseen in one of 3 folds" in " ".join(text.split())

    refused = cli(
        *("run", "toy-ridge", "--protocol", "toy-motion/folds:3", *words),
        *("--text-control", "shuffled-unseen"),
        check=2,
    ).stderr
    assert "differ in theirs" in " ".join(refused.split())
    cli(
        *("run", "toy-ridge", "--protocol", "toy-motion/folds:2", *words),
        *("--text-control", "shuffled-all", "--draws", "1"),
    )
