"""Text controls: who gets whose text, verdicts by hand calculation, and whole runs under them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy import stats
from zsar_alignment import eszsl, prototypes

from kit.command import TOY_ENCODERS, Cli, see_plugins
from kit.fakes import FakeContext, random_texts, random_train
from kit.made_plans import FIXED, PROTOCOL, encoders, method
from kit.made_plans import plan as made_up
from kit.made_records import SUBJECTS, clips, record
from kit.paths import PLUGINS
from kit.toy_plans import plan_without_workers
from zsar_bench.api import running
from zsar_bench.catalogue import catalogue
from zsar_bench.common.hashing import digest
from zsar_bench.comparison.controls import judge_draws, judge_shifts
from zsar_bench.comparison.sections import compare
from zsar_bench.comparison.statistics import Interval
from zsar_bench.errors import UserError
from zsar_bench.features.text_embeddings import read_text_features
from zsar_bench.metrics import accuracy
from zsar_bench.plans.controls import (
    DRAWS,
    KINDS,
    RANDOM,
    SHUFFLED_ALL,
    SHUFFLED_SEEN,
    SHUFFLED_UNSEEN,
    Control,
    plan_controls,
)
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.records.files import (
    find_records,
    load_records,
    read_predictions,
    read_record,
    seal_run,
)
from zsar_bench.records.schema import Record
from zsar_bench.reporters import markdown, table
from zsar_bench.runs.fit import full_training, write_texts
from zsar_bench.runs.schedule.tasks import tasks
from zsar_bench.views import SkeletonInputs, TextBank

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

LEAKY = PLUGINS / "leaky.py"
SEEN_IDS, UNSEEN_IDS = tuple("abcdef"), tuple("uvwx")
EVERY = {*SEEN_IDS, *UNSEEN_IDS}

# --- Who gets whose text -----------------------------------------------------------------------


def sources(kind: str, draw: int) -> dict[str, str]:
    return Control(kind, draw).sources(SEEN_IDS, UNSEEN_IDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_draw_is_a_permutation_and_always_the_same(kind: str) -> None:
    for draw in range(10):
        given = sources(kind, draw)
        assert set(given) == set(given.values()) == EVERY
        assert sources(kind, draw) == given


def test_shifts_by_hand() -> None:
    assert [sources(SHUFFLED_UNSEEN, s)["v"] for s in range(4)] == ["v", "w", "x", "u"]
    assert sources(SHUFFLED_UNSEEN, 1) == {
        **{c: c for c in SEEN_IDS},
        "u": "v",
        "v": "w",
        "w": "x",
        "x": "u",
    }
    for s, c in itertools.product(range(4), UNSEEN_IDS):  # each class meets each text once
        assert (sources(SHUFFLED_UNSEEN, s)[c] == c) == (s == 0)


def test_who_is_moved() -> None:
    seen, everyone = sources(SHUFFLED_SEEN, 0), sources(SHUFFLED_ALL, 0)
    assert all(seen[c] == c for c in UNSEEN_IDS)
    assert any(seen[c] != c for c in SEEN_IDS)
    crossed = [sources(SHUFFLED_ALL, d)[c] in SEEN_IDS for d in range(20) for c in UNSEEN_IDS]
    assert any(crossed)
    assert not all(crossed)
    assert everyone != sources(SHUFFLED_ALL, 1) != sources(RANDOM, 1)


def test_permutations_are_uniform() -> None:
    """All 24 of 4 classes, the identity like any other: without it 1/K would not be expected."""
    drawn = Counter(
        tuple(Control(SHUFFLED_ALL, d).sources(("a", "b"), ("c", "d")).values())
        for d in range(4800)
    )
    assert len(drawn) == 24
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


# --- Identity ----------------------------------------------------------------------------------


def test_a_plain_run_says_nothing_of_controls() -> None:
    assert set(made_up().identity) == set(FIXED)
    assert made_up().run_id == made_up().fit_id == made_up(control=None).run_id


def test_kind_and_draw_are_part_of_the_identity() -> None:
    controls = [Control(kind, draw) for kind in KINDS for draw in (0, 1)]
    ids = {made_up(control=c).run_id for c in controls}
    assert len(ids | {made_up().run_id}) == 9
    assert {made_up(control=c).fit_id for c in controls} == {made_up().run_id}
    pinned = digest(FIXED | {"control": Control(SHUFFLED_ALL, 3).identity})[:16]
    assert pinned == "037d19ad024af49b"


PAIR = replace(PROTOCOL, seen=("a1", "a2"), unseen=("a3", "a4"))


def fit_keys(setting: str, controls: Iterable[Control | None]) -> set[str]:
    """Keys of the fit of a run with two unseen classes under each of these controls."""
    of_pair = {"protocol": PAIR, "encoders": encoders(protocol=PAIR)}
    plans = [made_up(method=method(setting=setting), control=c, **of_pair) for c in controls]
    return {full_training(plan, 0).stage.key for plan in plans}


def test_only_shifts_of_methods_that_cannot_read_candidates_in_fit_share_it() -> None:
    shifts = [Control(SHUFFLED_UNSEEN, s) for s in range(2)]
    assert len(fit_keys("inductive", [None, *shifts])) == 1
    assert len(fit_keys("class-transductive", shifts)) == 2
    assert fit_keys("class-transductive", [None]) == fit_keys("class-transductive", shifts[:1])
    assert not fit_keys("inductive", [None]) & fit_keys("class-transductive", shifts)
    seen_moved = Control(SHUFFLED_SEEN, 1)
    assert seen_moved.sources(PAIR.seen, PAIR.unseen)["a1"] == "a2"
    drawn = [Control(RANDOM, draw) for draw in range(2)]
    assert len(fit_keys("inductive", [None, seen_moved, *drawn])) == 4


# --- What is asked for -------------------------------------------------------------------------


def test_how_many_draws() -> None:
    assert plan_controls(None, None, 5) == [None]
    shifts = plan_controls(SHUFFLED_UNSEEN, None, 5)
    assert shifts == [Control(SHUFFLED_UNSEEN, s) for s in range(5)]
    assert plan_controls(SHUFFLED_UNSEEN, 5, 5) == shifts
    assert plan_controls(RANDOM, 1, 5) == [Control(RANDOM, 0)]
    assert len(plan_controls(SHUFFLED_SEEN, None, 5)) == DRAWS


@pytest.mark.parametrize(
    ("kind", "draws", "reasons"),
    [
        ("shufled-all", None, ["Unknown text control 'shufled-all'", "Did you mean shuffled-all"]),
        (None, 3, ["--draws is about a text control", "--text-control shuffled-all --draws 3"]),
        (SHUFFLED_UNSEEN, 4, ["exactly 5 draws", "Leave --draws out"]),
        (RANDOM, 0, ["1 to 1000, not 0"]),
        (RANDOM, 1001, ["1 to 1000, not 1001"]),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    kind: str | None, draws: int | None, reasons: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        plan_controls(kind, draws, 5)
    for reason in reasons:
        assert reason in str(error.value)


# --- Verdicts ----------------------------------------------------------------------------------


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, 19, "by hand")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "word"),
    [
        (0.18, 0.23, "passes", "holds 1/K"),
        (0.2, 0.2, "passes", "holds 1/K"),
        (0.2 + 1e-16, 0.2 + 1e-16, "passes", "holds 1/K"),  # summed in another order
        (0.151, 0.2499, "passes", "holds 1/K"),
        (0.15, 0.25, "inconclusive", "5.0 points to each side"),
        (0.10, 0.30, "inconclusive", "about 81 draws"),  # 20 (10/5)^2 + 1
        (0.201, 0.23, "FAILS", "a leak"),
        (0.21, 0.91, "FAILS", "a leak"),  # wide, but above
        (1.0, 1.0, "FAILS", "a leak"),
        (0.15, 0.19, "inconclusive", "below 1/K"),
    ],
)
def test_verdicts_over_draws(low: float, high: float, verdict: str, word: str) -> None:
    for kind in (SHUFFLED_ALL, RANDOM):
        finding = judge_draws(kind, 20, interval(low, high), 0.2)
        assert finding.verdict == verdict
        assert word in finding.reason
    assert judge_draws(SHUFFLED_SEEN, 20, interval(low, high), 0.2).verdict == "diagnostic"
    few = judge_draws(RANDOM, 19, interval(low, high), 0.2)
    assert (few.verdict, few.reason) == (
        "inconclusive",
        "19 of the 20 draws that a verdict needs",
    )


@pytest.mark.parametrize(
    ("complete", "mean", "over", "verdict", "word"),
    [
        (True, 0.2, None, "passes", "exactly"),
        (True, 0.2 + 1e-15, interval(0.2, 0.2), "passes", "exactly"),
        (True, 0.2049, interval(0.201, 0.209), "passes", "+0.49 points off"),
        (True, 0.1951, None, "passes", "-0.49 points off"),
        (True, 0.24, interval(0.21, 0.27), "FAILS", "a leak"),
        (True, 0.24, interval(0.19, 0.29), "inconclusive", "candidates' order"),
        (True, 0.24, None, "FAILS", "a leak, or scores that depend"),
        (True, 0.16, interval(0.1, 0.19), "inconclusive", "-4.0 points off"),
        (True, 0.16, None, "inconclusive", "candidates' order"),
        (False, 1.0, interval(0.9, 1.0), "inconclusive", "not all K shifts"),
        (False, 0.2, None, "inconclusive", "not all K shifts"),
    ],
)
def test_verdicts_over_all_shifts(
    complete: bool, mean: float, over: Interval | None, verdict: str, word: str
) -> None:
    finding = judge_shifts(complete, mean, over, 0.2)
    assert finding.verdict == verdict
    assert word in finding.reason


# --- Exactly 1/K -------------------------------------------------------------------------------


def shifted_accuracy(method: Any, bank: TextBank, inputs: SkeletonInputs) -> np.ndarray:
    """(N,) credit of every clip, averaged over all shifts of the candidates' texts."""
    rng = np.random.default_rng(0)
    count = len(bank)
    labels = rng.integers(0, count, len(inputs))
    credit = []
    for shift in range(count):
        given = Control(SHUFFLED_UNSEEN, shift).sources((), [str(k) for k in range(count)])
        method.bind(bank.rows(torch.tensor([int(given[str(k)]) for k in range(count)])))
        credit.append(accuracy.judge(method.score(inputs).numpy(), labels).credit)
    return np.mean(credit, axis=0)


@pytest.mark.parametrize("module", [eszsl, prototypes])
def test_all_shifts_together_give_every_clip_exactly_one_kth(module: Any) -> None:
    maker = {"eszsl": "ESZSL", "prototypes": "Prototypes"}[module.__name__.rpartition(".")[2]]
    method = getattr(module, maker)(module.Params())
    train = random_train(60, 6)
    method.fit(train, FakeContext(random_texts(6)))
    credit = shifted_accuracy(method, random_texts(5, seed=9), random_train(80, 5).inputs)
    np.testing.assert_allclose(credit, 1 / 5, atol=1e-12)


# --- Rows and sections -------------------------------------------------------------------------


def controlled(kind: str, draw: int, seed: int, rate: float, **more: Any) -> Record:
    texts = {"control": kind, "draw": draw}
    return record(clips(seed, rate), texts=texts, **more)


def the_row(records: list[Record]) -> dict[str, Any]:
    comparison = compare(records)
    assert [len(s["rows"]) for s in comparison["controls"]] == [1]
    row: dict[str, Any] = comparison["controls"][0]["rows"][0]
    return row


def test_the_interval_is_over_draws_and_seeds_are_averaged_inside() -> None:
    runs = [
        controlled(SHUFFLED_ALL, d, 100 * d + e, 0.33, seeds=(e, e))
        for d in range(25)
        for e in range(2)
    ]
    means = [np.mean([r.metrics.mean_class for r in runs if r.texts.draw == d]) for d in range(25)]
    row = the_row(runs)
    assert (row["draws"], row["seeds"]) == (25, 2)
    np.testing.assert_allclose(row["by_draw"], means)
    assert row["mean_class"] == pytest.approx(np.mean(means))
    low, high = stats.t.interval(0.95, 24, np.mean(means), stats.sem(means))
    assert (row["interval"]["low"], row["interval"]["high"]) == pytest.approx((low, high))
    assert row["interval"]["name"] == "95 % t over 25 draws"
    assert low < 1 / 3 < high
    assert high - low < 0.1
    assert row["verdict"] == "passes"


def test_a_leak_over_draws_fails() -> None:
    runs = [controlled(RANDOM, d, d, 0.7) for d in range(20)]
    assert the_row(runs)["verdict"] == "FAILS"


def test_controls_are_never_ranked_with_real_rows() -> None:
    runs = [
        record(clips(1, 0.4), "m"),
        *(controlled(SHUFFLED_ALL, d, d, 0.99) for d in range(2)),
        controlled(RANDOM, 0, 5, 0.99, name="other"),
    ]
    comparison = compare(runs)
    assert [[r["method"] for r in s["rows"]] for s in comparison["sections"]] == [["m"]]
    found = [(s["control"], [r["method"] for r in s["rows"]]) for s in comparison["controls"]]
    assert found == [(SHUFFLED_ALL, ["m"]), (RANDOM, ["other"])]
    rows = [s["rows"][0] for s in comparison["controls"]]
    assert rows[0]["plain"] == pytest.approx(runs[0].metrics.mean_class)
    assert rows[1]["plain"] is None
    assert comparison["sections"] == compare(runs[:1])["sections"]


def test_other_texts_are_another_row() -> None:
    runs = [controlled(RANDOM, 0, 1, 0.5), controlled(RANDOM, 0, 2, 0.5)]
    changed = runs[1].texts.model_copy(update={"texts": "other words", "source": "b"})
    runs[1] = runs[1].model_copy(update={"texts": changed})
    (section,) = compare(runs)["controls"]
    assert [r["texts"] for r in section["rows"]] == ["a", "b"]


def shifts(rates: list[float], pairs: tuple[tuple[int, int], ...] = ((0, 0),)) -> list[Record]:
    """Three shifts of every pair of seeds; the same clips are right in one of them each."""
    return [
        controlled(SHUFFLED_UNSEEN, s, 7, rate, seeds=pair)
        for pair in pairs
        for s, rate in enumerate(rates)
    ]


def test_shifts_by_their_records() -> None:
    base = clips(3, 0.0)
    where = np.random.default_rng(1).integers(0, 3, len(base.correct))  # its shift that is right
    runs = [
        record(
            dataclasses.replace(base, correct=(where == s).astype(float)),
            texts={"control": SHUFFLED_UNSEEN, "draw": s},
        )
        for s in range(3)
    ]
    row = the_row(runs)
    assert row["mean_class"] == pytest.approx(1 / 3, abs=1e-15)
    assert (row["verdict"], row["interval"]) == ("passes", None)
    assert row["plain"] == runs[0].metrics.mean_class  # shift 0 is the plain run
    assert the_row(runs[:2])["verdict"] == "inconclusive"


def test_a_seed_without_all_shifts_is_no_verdict() -> None:
    runs = shifts([1.0, 1.0, 1.0], ((0, 0), (1, 1)))
    assert the_row(runs)["verdict"] == "FAILS"
    assert the_row(runs[:-1])["verdict"] == "inconclusive"


def test_an_interval_over_all_shifts_is_one_over_subjects() -> None:
    runs = shifts([0.5, 0.6, 0.7])
    row = the_row(runs)
    each = []
    for p in SUBJECTS:
        values = [clips(7, rate).mean_class(p) for rate in (0.5, 0.6, 0.7)]
        each.append(sum(values) / 3)
    low, high = stats.t.interval(0.95, 7, np.mean(each), stats.sem(each))
    assert (row["interval"]["low"], row["interval"]["high"]) == pytest.approx((low, high))
    assert row["interval"]["name"] == "95 % t over 8 subjects"


def test_reporters_say_that_controls_are_not_ranked() -> None:
    comparison = compare(
        [
            record(clips(1, 0.4)),
            *(controlled(SHUFFLED_ALL, d, d, 0.9) for d in range(20)),
            *shifts([0.2, 0.3, 0.4]),
        ]
    )
    for draw in (markdown.report, table.report):
        text = " ".join(draw(comparison, width=220, color=False).split())
        assert "toy-4-2 - text control shuffled-all; not ranked" in text
        assert "toy-4-2 - text control shuffled-unseen; not ranked" in text
        assert "FAILS" in text
        assert "above 1/K without a text that helps: a leak" in text
        assert "95 % t over 20 draws" in text
        assert "1/K is 33.3 %" in text
    assert json.loads(json.dumps(comparison)) == comparison


# --- Records -----------------------------------------------------------------------------------


def test_records_without_controls_stay_readable(tmp_path: Path) -> None:
    value = json.loads(record(clips(0)).model_dump_json())
    del value["texts"]["control"], value["texts"]["draw"]
    (tmp_path / "run.json").write_text(json.dumps(value))
    seal_run(tmp_path)
    old = read_record(tmp_path)
    assert (old.texts.control, old.texts.draw) == ("", 0)
    assert compare([old])["controls"] == []
    new = controlled(RANDOM, 4, 0, 0.5)
    (tmp_path / "run.json").write_text(new.model_dump_json())
    seal_run(tmp_path)
    assert read_record(tmp_path) == new


# --- Whole runs --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Toy runs of three seen and three unseen classes: plain, all shifts, some draws.

    One half where that will do: workers cost seconds.
    """
    folder = tmp_path_factory.mktemp("controls")
    source = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    for old, new in (
        ('"toy-4-2"', '"toy-3-3"'),
        ('["c1", "c4", "c5", "c6"]', '["c1", "c4", "c6"]'),
        ('["c2", "c3"]', '["c2", "c3", "c5"]'),
        ("test_clips = 32", "test_clips = 48"),
    ):
        assert old in source
        source = source.replace(old, new)
    protocol = folder / "toy-3-3.toml"
    protocol.write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        see_plugins(patch, toy_home, toy_site)
        patch.chdir(folder)
        plan_without_workers(patch)
        known = catalogue.load([LEAKY])

        def planned(method: str, on: Path | str, kind: str | None, **more: Any) -> list[RunPlan]:
            request = Request(
                methods=(method,),
                protocol=str(on),
                results=folder / "results",
                skeleton_encoder=TOY_ENCODERS[1],
                text_encoder=TOY_ENCODERS[3],
                text_control=kind,
                **more,
            )
            runs = running.plan(request, catalogue=known).runs
            return [replace(p, metric_entries=()) for p in runs]

        def half(plans: list[RunPlan]) -> list[RunPlan]:
            return [replace(p, encoders=p.encoders[:1]) for p in plans]

        (plain,) = half(planned("toy-ridge", protocol, None))
        shifted = half(planned("toy-ridge", protocol, SHUFFLED_UNSEEN))
        drawn = {
            kind: planned("toy-ridge", protocol, kind, draws=2)
            for kind in (SHUFFLED_ALL, RANDOM, SHUFFLED_SEEN)
        }
        honest = planned("leaky", "toy-4-2", SHUFFLED_UNSEEN)
        runs = [plain, *shifted, *drawn[SHUFFLED_ALL], *drawn[RANDOM][:1], *honest]
        assert running.PlannedRuns(runs, known, 2).execute() == {}
        # A referee that does not shuffle: clips by class, candidates in the protocol's order.
        for where in ("fit", "score"):
            patch.setattr(
                f"zsar_bench.runs.{where}.content_order",
                lambda contents, *salt: np.arange(len(list(contents))),
            )
        leaking = [replace(p, results=folder / "leaking") for p in honest]
        assert running.PlannedRuns(leaking, known, 2).execute() == {}
    return SimpleNamespace(
        folder=folder,
        protocol=protocol,
        plain=plain,
        shifted=shifted,
        drawn=drawn,
        runs=runs,
        honest=honest,
        leaking=leaking,
    )


def credit_of(plan: RunPlan) -> np.ndarray:
    """(N,) credit of every clip of a finished run."""
    _, labels, _, scores = read_predictions(plan.folder / "predictions.safetensors")
    return accuracy.judge(scores, labels).credit


def test_all_shifts_of_a_run_are_exactly_one_kth_and_shift_0_is_the_plain_run(base: Any) -> None:
    runs = base.shifted
    assert [p.control.draw for p in runs] == [0, 1, 2]
    np.testing.assert_allclose(np.mean([credit_of(p) for p in runs], axis=0), 1 / 3, atol=1e-12)
    assert credit_of(base.plain).mean() > 0.5  # or there were nothing to take away
    first, own = (
        (p.folder / "predictions.safetensors").read_bytes() for p in (runs[0], base.plain)
    )
    assert first == own
    scores = [read_predictions(p.folder / "predictions.safetensors")[3] for p in runs]
    for s in (1, 2):  # candidate k scores as candidate k + s does with its own text
        np.testing.assert_allclose(scores[s], np.roll(scores[0], -s, axis=1), rtol=1e-4, atol=1e-6)


def test_shifts_share_one_fit_and_leave_nothing(base: Any) -> None:
    left = [p.name for p in (base.folder / "results" / "runs").rglob(".*")]
    assert left == []
    assert not (base.folder / "results" / "work").exists()
    fitted = [plan for plan in (base.plain, *base.shifted) if "fit" in stages(plan)]
    assert len(fitted) == 1, "the others found its state"
    assert all("fit" in stages(plan) for plan in base.drawn[SHUFFLED_ALL])


def stages(plan: RunPlan) -> set[str]:
    """What a run's own workers reported."""
    lines = (plan.folder / "events.jsonl").read_text("utf-8").splitlines()
    return {json.loads(line)["stage"] for line in lines}


def test_the_record_names_control_and_draw(base: Any) -> None:
    for plan in base.runs[1:]:
        told = read_record(plan.folder)
        assert (told.texts.control, told.texts.draw) == (plan.control.kind, plan.control.draw)
        assert told.identity["control"] == {"kind": told.texts.control, "draw": told.texts.draw}
        assert told.run_id == digest(told.identity)[:16] == plan.folder.name
    assert "control" not in read_record(base.plain.folder).identity


def test_a_planted_leak_is_flagged(base: Any) -> None:
    def judged(plans: list[RunPlan]) -> dict[str, Any]:
        records, damaged = load_records([p.folder for p in plans])
        assert damaged == []
        return the_row(records)

    leaking = judged(base.leaking)
    assert leaking["by_draw"] == [1.0, 1.0]  # far above 1/2, whatever the text
    assert leaking["verdict"] == "FAILS"
    honest = judged(base.honest)  # the same method under a referee that does shuffle
    assert honest["mean_class"] < 0.75
    assert honest["verdict"] != "FAILS"


def bank_of(plan: RunPlan, classes: list[str], path: Path) -> dict[str, np.ndarray]:
    write_texts(plan, plan.encoders[0].round, classes, path)
    return load_file(path)


CLASSES = ["c6", "c2", "c5", "c1", "c3", "c4"]  # in no special order


@pytest.mark.parametrize("kind", [SHUFFLED_ALL, SHUFFLED_SEEN])
def test_permuted_banks_hold_the_other_classes_texts(
    kind: str, base: Any, toy_process: Path, tmp_path: Path
) -> None:
    for plan in (*base.drawn[kind], *base.shifted):
        own = bank_of(replace(plan, control=None), CLASSES, tmp_path / "own")
        given = bank_of(plan, CLASSES, tmp_path / "given")
        source = plan.control.sources(plan.protocol.seen, plan.protocol.unseen)
        rows = [CLASSES.index(source[c]) for c in CLASSES]
        assert list(given) == list(own)
        for name, tensor in own.items():
            np.testing.assert_array_equal(given[name], tensor[rows])


def test_random_banks_hold_nothing_of_the_texts(
    base: Any, toy_process: Path, tmp_path: Path
) -> None:
    first, second = base.drawn[RANDOM]
    own = bank_of(replace(first, control=None), CLASSES, tmp_path / "own")
    given = bank_of(first, CLASSES, tmp_path / "given")
    other = bank_of(second, CLASSES, tmp_path / "other")
    part = bank_of(first, CLASSES[2:4], tmp_path / "part")
    every = read_text_features(first.texts)
    lengths = {
        "pooled": np.linalg.norm(every["pooled"], axis=-1).mean(),
        "tokens": np.linalg.norm(every["tokens"][every["mask"]], axis=-1).mean(),
    }
    directions = []
    for name, tensor in given.items():
        kind = name.partition(".")[2]
        assert (tensor.shape, tensor.dtype) == (own[name].shape, own[name].dtype)
        np.testing.assert_array_equal(tensor[2:4], part[name])  # in fit as in bind
        if kind == "mask":
            assert sorted(tensor.sum(1)) == sorted(own[name].sum(1))
            continue
        np.testing.assert_allclose(np.linalg.norm(tensor, axis=-1), lengths[kind], rtol=1e-5)
        for bank in (given, other):
            directions.append(bank[name].reshape(-1, bank[name].shape[-1]) / lengths[kind])
    together = np.concatenate(directions)
    cosines = (together @ together.T)[np.triu_indices(len(together), 1)]
    channels = together.shape[1]
    assert abs(cosines.mean()) < 0.01  # unrelated: between classes, fields, draws and tokens
    assert cosines.std() == pytest.approx(channels**-0.5, rel=0.1)
    assert np.abs(cosines).max() < 0.95


def test_draws_differ(base: Any) -> None:
    runs = [base.plain, *base.drawn[SHUFFLED_ALL], base.drawn[RANDOM][0]]
    scores = [read_predictions(p.folder / "predictions.safetensors")[3][:24] for p in runs]
    for one, other in itertools.combinations(scores, 2):
        assert one.shape == other.shape
        assert not np.array_equal(one, other)


# --- The command line --------------------------------------------------------------------------


def words(base: Any, *more: object) -> tuple[object, ...]:
    results = base.folder / "results"
    options = (*TOY_ENCODERS, "--quiet", "--results", results)
    return ("run", "toy-ridge", "--protocol", base.protocol, *options, *more)


def test_a_dry_run_lists_draws(base: Any, cli: Cli) -> None:
    control = ("--text-control", SHUFFLED_ALL, "--draws", 3, "--dry-run")
    answer = json.loads(cli(*words(base, *control, "--json")).stdout)
    # The fixture's runs have no metrics of plugins, which are not part of the identity.
    assert [(r["text_control"], r["draw"], r["state"]) for r in answer["runs"]] == [
        (SHUFFLED_ALL, 0, "cached"),
        (SHUFFLED_ALL, 1, "cached"),
        (SHUFFLED_ALL, 2, "new"),
    ]
    assert [r["run"] for r in answer["runs"][:2]] == [p.run_id for p in base.drawn[SHUFFLED_ALL]]
    assert [t["task"] for t in answer["tasks"] if "toy-ridge" in t["task"]] == [
        "toy-ridge half-1 seed 0 draw 2",
        "toy-ridge half-2 seed 0 draw 2",
        "toy-ridge seed 0 draw 2",
    ]
    said = " ".join(cli(*words(base, *control)).stdout.split())
    assert "3 runs, text control shuffled-all" in said
    assert "draw" in said
    plain = json.loads(cli(*words(base, "--dry-run", "--json")).stdout)
    assert [set(r) & {"draw", "text_control"} for r in plain["runs"]] == [set()]


def test_a_command_runs_one_draw_and_shows_it(base: Any, cli: Cli) -> None:
    control = ("--text-control", RANDOM, "--draws", 1, "--results", "here")
    answer = json.loads(cli(*words(base, *control, "--json")).stdout)
    assert [(r["draw"], r["status"]) for r in answer["runs"]] == [(0, "done")]
    assert answer["sections"] == []
    (section,) = answer["controls"]
    assert section["rows"][0]["verdict"] == "inconclusive"
    assert section["rows"][0]["reason"] == "1 of the 20 draws that a verdict needs"
    (folder,) = find_records(cli.cwd / "here")
    assert folder.name == base.drawn[RANDOM][0].run_id
    same = (base.drawn[RANDOM][0].folder, folder)
    assert len({(f / "predictions.safetensors").read_bytes() for f in same}) == 1
    said = cli("compare", "--results", "here").stdout
    assert "text control random; not ranked" in said


def test_wrong_names_are_refused(base: Any, cli: Cli) -> None:
    for more, reason in (
        (("--text-control", "shuffled"), "Unknown text control 'shuffled'"),
        (("--text-control", SHUFFLED_UNSEEN, "--draws", 2), "exactly 3 draws"),
        (("--draws", 2), "no"),
    ):
        said = cli(*words(base, *more), check=2)
        assert reason in said.stderr
        assert "Traceback" not in said.stderr
        assert said.stdout == ""


def test_shifts_share_one_fit_which_goes_with_the_last_of_them(
    base: Any, toy_process: Path, tmp_path: Path
) -> None:
    moved = [replace(p, results=tmp_path) for p in base.shifted]
    known, fits = catalogue.load(), []
    for some in (moved[1:], moved):
        watcher = SimpleNamespace(record=lambda task, event: fits.append(event.get("stage")))
        assert running.PlannedRuns(some, known, 1).execute(watcher) == {}
        assert not (tmp_path / "work").exists()
        assert tasks(some) == []
    reports = fits.count("fit")
    assert running.PlannedRuns(moved[1:2], known, 1).execute(watcher, force=True) == {}
    assert fits.count("fit") * 2 == reports * 3  # one fit a command, --force fits again
    for plan in moved:
        fitted_once = (plan.folder / "predictions.safetensors").read_bytes()
        there = base.folder / "results" / plan.folder.relative_to(tmp_path)
        assert (there / "predictions.safetensors").read_bytes() == fitted_once
