"""Search spaces and the points of a search; what an outcome says; keys. No worker is started."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from kit.made_plans import DATASET, PROTOCOL, encoders, plan
from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.search_space import Range, check_ranges, points, space_of
from zsar_bench.catalogue.settings import Assignment, Settings
from zsar_bench.common.classes import ActionClass
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.errors import UserError
from zsar_bench.params import Params, among, between, science
from zsar_bench.plans.selection import PSEUDO_UNSEEN
from zsar_bench.runs.tuning.search import Search
from zsar_bench.runs.tuning.search_outcome import outcome_of
from zsar_bench.runs.tuning.tuned import check_budgets, search_from, tune_command


class Example(Params):
    """A range of every kind, and a parameter without one."""

    lr: float = science(1e-3, "learning rate", search=between(1e-5, 1e-1), gt=0)
    depth: int = science(2, "layers", search=between(1, 12), ge=1)
    loss: Literal["both", "one"] = science("both", "terms", search=among("both", "one"))
    width: int = science(64, "channels", ge=8)
    limit: int | None = science(None, "at most", search=between(1, 100))


SCHEMA = Example.model_json_schema()
SPACE = space_of(SCHEMA)
START = Example().model_dump()


def drawn(count: int, *parts: object, space: tuple[Range, ...] = SPACE) -> list[dict[str, Any]]:
    return [*islice(points(space, START, *parts), count)]


# --- Spaces --------------------------------------------------------------------------------------


def test_a_space_is_what_the_parameters_declare() -> None:
    assert [one.name for one in SPACE] == ["depth", "limit", "loss", "lr"]
    assert [one.whole for one in SPACE] == [True, True, False, False]
    assert [str(one) for one in SPACE] == [
        "1 to 12, whole",
        "1 to 100, whole",
        "one of both, one",
        "1e-05 to 0.1, log",
    ]
    assert [one.name for one in space_of(SCHEMA, ["lr", "depth", "width"])] == ["limit", "loss"]
    check_ranges(SCHEMA)


def refused(**fields: Any) -> str:
    annotations = {name: kind for name, (kind, _) in fields.items()}
    made = {name: value for name, (_, value) in fields.items()}
    schema = type("Own", (Params,), {"__annotations__": annotations, **made}).model_json_schema()
    with pytest.raises(ValueError, match=r"search (range|a multiple)|at most") as error:
        check_ranges(schema)
    return str(error.value)


def test_ranges_beyond_a_parameters_bounds_are_refused() -> None:
    assert "0.5 is less than" in refused(x=(float, science(2.0, "it", between(0.5, 3), ge=1)))
    assert "3 is greater than" in refused(x=(float, science(2.0, "it", between(1, 3), le=2)))
    assert "'integer'" in refused(x=(int, science(2, "it", between(0.5, 3))))
    assert "'string'" in refused(x=(str, science("a", "it", between(1, 3))))
    assert "'c'" in refused(x=(Literal["a", "b"], science("a", "it", among("a", "c"))))
    assert "among" in refused(x=(int, science(8, "it", between(8, 64), multiple_of=8)))
    many = {f"x{n}": (float, science(1.0, "it", between(1, 2))) for n in range(11)}
    assert "11 parameters" in refused(**many)


@pytest.mark.parametrize(
    ("one", "value", "inside"),
    [
        (Range("x", 1, 9), 1, True),
        (Range("x", 1, 9), 9.0, True),
        (Range("x", 1, 9), 0.99, False),
        (Range("x", 1, 9), True, False),
        (Range("x", 1, 9, whole=True), 4, True),
        (Range("x", 1, 9, whole=True), 4.0, False),
        (Range("x", choices=(1, "a", None)), None, True),
        (Range("x", choices=(1, "a")), True, False),
    ],
)
def test_what_lies_in_a_range(one: Range, value: Any, inside: bool) -> None:
    assert one.holds(value) is inside


def test_the_ends_of_a_range_are_in_it() -> None:
    for one in SPACE:
        assert one.holds(one.at(0.0))
        assert one.holds(one.at(1 - 1e-9))
    assert Range("x", 1e-5, 1e-1).at(0.5) == 1e-3  # the middle of the logarithm
    assert [Range("x", choices=("a", "b", "c")).at(u) for u in (0, 0.34, 0.99)] == ["a", "b", "c"]


def test_a_whole_number_is_as_likely_as_the_part_up_to_the_next() -> None:
    one = Range("x", 2, 9, whole=True)
    grid = [one.at((n + 0.5) / 40_000) for n in range(40_000)]
    for k in range(2, 10):
        share = math.log((k + 1) / k) / math.log(10 / 2)
        assert grid.count(k) / len(grid) == pytest.approx(share, abs=1e-3)


# --- Points --------------------------------------------------------------------------------------


def test_the_first_point_is_where_the_search_starts() -> None:
    assert drawn(1) == [{"depth": 2, "limit": None, "loss": "both", "lr": 1e-3}]


def test_a_larger_budget_continues_a_smaller_one() -> None:
    assert drawn(40, "m", "p", 0)[:30] == drawn(30, "m", "p", 0)
    assert drawn(30, "m", "p", 0) == drawn(30, "m", "p", 0)


def test_points_depend_on_method_protocol_and_seed() -> None:
    lists = [drawn(9, *parts)[1:] for parts in (("m", "p", 0), ("n", "p", 0), ("m", "q", 0))]
    lists.append(drawn(9, "m", "p", 1)[1:])
    assert all(a != b for n, a in enumerate(lists) for b in lists[:n])


def test_points_are_pinned() -> None:
    """Whoever changes them makes a search that was begun end as another: raise ``VERSION``."""
    assert [p["lr"] for p in drawn(5, "m", "p", 0)] == [
        0.001,
        0.00574,
        2.973e-05,
        0.00154,
        0.0001108,
    ]


def test_every_point_lies_in_the_space_and_is_another() -> None:
    found = drawn(300, "m")
    assert all(one.holds(p[one.name]) for p in found[1:] for one in SPACE)
    assert len({str(p) for p in found}) == 300


@pytest.mark.parametrize("base", range(4))
def test_points_are_spread_evenly_along_every_parameter(base: int) -> None:
    """Of 30 in a row each third of a range has its share; plain draws would often miss that."""
    space = tuple(Range(f"x{n}", 1.0, math.e**3) for n in range(4))
    start = dict.fromkeys((one.name for one in space), 1.0)
    for seed in range(10):
        found = [*islice(points(space, start, seed), 31)][1:]
        thirds = np.bincount([min(int(math.log(p[f"x{base}"])), 2) for p in found], minlength=3)
        assert thirds.min() >= 7, (seed, thirds)


def test_no_two_parameters_move_together() -> None:
    space = tuple(Range(f"x{n}", 1.0, math.e) for n in range(5))
    start = dict.fromkeys((one.name for one in space), 1.0)
    worst = []
    for seed in range(20):
        found = [*islice(points(space, start, seed), 31)][1:]
        table = np.log([[p[one.name] for one in space] for p in found])
        worst.append(np.abs(np.corrcoef(table.T) - np.eye(5)).max())
    assert np.mean(worst) < 0.5
    assert max(worst) < 0.8


def test_a_space_of_few_values_ends() -> None:
    space = (Range("a", choices=(1, 2)), Range("b", low=1, high=3, whole=True))
    found = [*points(space, {"a": 1, "b": 9}, 0)]
    assert found[0] == {"a": 1, "b": 9}  # outside, and looked at all the same
    assert {(p["a"], p["b"]) for p in found[1:]} == {(a, b) for a in (1, 2) for b in (1, 2, 3)}
    assert len(found) == 7


# --- Searches ------------------------------------------------------------------------------------

CLASSES = tuple(ActionClass(f"a{n}", f"class {n}", "", "") for n in range(1, 11))
ROWS = [(f"a{c}", s) for c in range(1, 11) for s in ("1", "2")]
DATA = Dataset(
    Path("nowhere"),
    DATASET.about
    | {
        "clips": {
            "id": [f"{c}_s{s}" for c, s in ROWS],
            "class": [c for c, _ in ROWS],
            "subject": [s for _, s in ROWS],
            "shard": [f"{c}_{s}.npy" for c, s in ROWS],
            "start": [0] * 20,
            "frames": [5] * 20,
        }
    },
)
EIGHT_TWO: Protocol = replace(
    PROTOCOL,
    id="made-8-2",
    seen=tuple(c.id for c in CLASSES[:8]),
    unseen=("a9", "a10"),
    classes=CLASSES,
)
TUNABLE = Entry("methods", "toy", "toy", "c" * 64, {"wants": []}, SCHEMA, {"paper": {}})


def search(budget: int = 5, seed: int = 0, seeds: tuple[int, ...] = (0,), **more: Any) -> Search:
    from zsar_bench.data.texts.texts import ClassTexts

    texts = ClassTexts("a", 1, {"name": {c.id: c.name for c in CLASSES}})
    params = more.pop("params", Settings("paper", Example().model_dump(), {}))
    machine = more.pop("machine", Machine("cpu", 1))
    protocol = more.pop("protocol", EIGHT_TWO)
    request = SimpleNamespace(assignments=more.pop("assignments", ()))
    plans = [
        plan(
            protocol=protocol,
            method=more.get("method", TUNABLE),
            params=params,
            encoders=encoders(data=DATA, protocol=protocol, seed=s, machine=machine),
            class_texts=texts,
            fields=("name",),
            encoder_seed=s,
            method_seed=s,
            machine=machine,
            rule=more.get("rule", "last"),
            rules=more.get("rules", ()),
        )
        for s in seeds
    ]
    return search_from(plans, request, budget, seed)  # type: ignore[arg-type]


def test_no_clip_of_an_unseen_class_takes_part() -> None:
    """Neither of the protocol's, nor one that any round tests."""
    one = search(seeds=(0, 1))
    clips = DATA.clips
    tested = {i for e in one.base.encoders for i in (*e.round.test_unseen, *e.round.test_seen)}
    assert {clips["class"][i] for e in one.base.encoders for i in e.round.test_unseen} == {
        "a9",
        "a10",
    }
    for fit in one.fits():
        r = one.source(fit).round
        used = {*r.train, *r.test_unseen, *r.test_seen}
        assert used
        assert not used & set(one.base.encoders[fit.round].round.test_unseen)
        assert not {clips["class"][i] for i in used} & {"a9", "a10"}
        assert not used & (tested & {*one.base.encoders[fit.round].round.test_seen})
        assert not {*r.unseen} & {"a9", "a10"}
        assert not {*r.seen} & {*r.unseen}


def test_a_search_has_three_rotations_a_round_a_seed_and_a_trial() -> None:
    one = search(budget=4, seeds=(0, 1))
    fits = [*one.fits()]
    assert len(fits) == 4 * 2 * 2 * 3
    assert len({one.file(f) for f in fits}) == len(fits)
    assert [f.trial for f in fits] == sorted(f.trial for f in fits)
    assert len({one.source(f).key for f in fits}) == 12
    assert {p.rule for p in one.plans} == {PSEUDO_UNSEEN}
    assert one.plan(fits[-1]).params.science == Example().model_dump() | one.trials[3]


KEYED: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "seeds": {"seeds": (0, 1)},
    "starting values": {"params": Settings("paper", Example(width=8).model_dump(), {})},
    "code": {"method": replace(TUNABLE, digest="d" * 64)},
    "fixed": {"assignments": (Assignment("", "lr", "0.001"),)},
    "threads": {"machine": Machine("cpu", 2)},
    "time limit": {"machine": Machine("cpu", 1, timeout=3.0)},
    "classes": {
        "protocol": replace(EIGHT_TWO, seen=(*EIGHT_TWO.seen[1:], "a10"), unseen=("a1", "a9"))
    },
    "held out": {"protocol": replace(EIGHT_TWO, pseudo_unseen=("a1", "a2"))},
}


def test_a_key_covers_all_that_a_fit_depends_on() -> None:
    keys = [search().key, *(search(**changes).key for changes in KEYED.values())]
    assert len({*keys}) == 1 + len(KEYED)


def test_budget_and_name_of_the_profile_are_no_part_of_a_key() -> None:
    assert search(budget=9).key == search(budget=5).key
    assert search(params=Settings("laptop", Example().model_dump(), {})).key == search().key
    assert search(rule="oracle@50", rules=("last", "oracle@50")).key == search().key


def test_a_run_finds_a_search_of_other_seeds_by_its_basis() -> None:
    same = ("seed", "seeds", "time limit")
    for name, changes in KEYED.items():
        assert (search(**changes).basis == search().basis) is (name in same), name


def test_a_recipe_is_the_same_on_every_protocol_but_not_for_every_budget() -> None:
    assert search(**KEYED["classes"]).recipe == search().recipe
    assert search(budget=6).recipe != search().recipe
    assert search(**KEYED["fixed"]).recipe != search().recipe


def test_classes_that_take_turns_are_refused() -> None:
    whole = tuple(c.id for c in CLASSES)
    turns = replace(EIGHT_TWO, seen=whole, unseen=whole, folds=(whole[:5], whole[5:]))
    with pytest.raises(UserError, match="take turns: 10 of them") as error:
        search(protocol=turns)
    assert "one set of unseen classes" in error.value.hint


def test_a_method_without_ranges_is_refused() -> None:
    with pytest.raises(UserError, match="declares no search ranges"):
        search(method=replace(TUNABLE, schema={"properties": {}}))
    every = tuple(Assignment("", one.name, "1") for one in SPACE)
    with pytest.raises(UserError, match="could be searched is set"):
        search(assignments=every)


def test_different_budgets_make_no_table() -> None:
    def tuned(name: str, budget: int) -> Any:
        return SimpleNamespace(
            method=SimpleNamespace(name=name),
            protocol=SimpleNamespace(id="p"),
            tuning=SimpleNamespace(budget=budget),
        )

    check_budgets([tuned("a", 30), tuned("b", 30)])
    with pytest.raises(UserError, match=r"a on p 30, b on p 10 trials") as error:
        check_budgets([tuned("a", 30), tuned("b", 10)])
    assert "--budget 30" in error.value.hint


def test_the_command_that_is_missing_can_be_typed() -> None:
    from zsar_bench.plans.request import Request

    request = Request(
        methods=("m",),
        protocol="p",
        results=Path("results"),
        texts="my texts.toml",
        text_fields=("verb", "noun"),
        threads=2,
        assignments=(Assignment("m", "width", "8"),),
    )
    assert tune_command(request, "m") == (
        "zsar-bench tune m --protocol p --budget 30 --texts 'my texts.toml' "
        "--text-fields verb,noun --threads 2 --set m.width=8"
    )


# --- Outcomes ------------------------------------------------------------------------------------


def found(table: Any, failed: tuple[tuple[int, int, int], ...] = ()) -> dict[str, Any]:
    """The outcome of a search with this table (trials, seeds, parts) of accuracies."""
    table = np.array(table)
    one = search(budget=len(table), seeds=tuple(range(table.shape[1])))
    fits = []
    for fit in one.fits():
        at = (fit.trial, fit.pair, 3 * fit.round + fit.rotation)
        reason = "it broke" if at in failed else ""
        fits.append(
            {
                "accuracy": 0.0 if reason else float(table[at]),
                "part": one.source(fit).round.name,
                "seeds": list(one.seeds[fit.pair]),
                "status": "oom" if reason else "done",
                "reason": reason,
            }
        )
    return outcome_of(one, fits)


def test_accuracies_are_means_and_the_earliest_of_equals_is_best() -> None:
    g = np.random.default_rng(0)
    table = g.uniform(size=(4, 2, 6))
    table[3] = table[1] = table[:, :, :].max(axis=0)
    told = found(table)
    for n, trial in enumerate(told["trials"]):
        assert trial["trial"] == n
        assert trial["accuracy"] == pytest.approx(table[n].mean())
        assert [*trial["parts"].values()] == pytest.approx(table[n].mean(axis=0).tolist())
        assert trial["by_seeds"] == pytest.approx(table[n].mean(axis=1).tolist())
        assert trial["spread"] == pytest.approx(np.std(table[n].mean(axis=0), ddof=1))
    assert told["best"]["trial"] == 1
    assert told["best"]["values"] == told["trials"][1]["values"]
    assert [*told["trials"][0]["parts"]][:2] == ["half-1 rotation-1", "half-1 rotation-2"]


def test_noise_is_what_trials_do_not_share() -> None:
    """Rotations and seeds that are easy for every trial are no noise between trials."""
    trial, part = np.array([0.2, 0.4, 0.5]), np.array([0.0, 0.1, 0.2, 0.3, 0.0, 0.1])
    clean = trial[:, None, None] + part + np.array([0.0, 0.05])[:, None]
    told = found(clean)["noise"]
    assert told["rotations"] == pytest.approx(0.0, abs=1e-9)
    assert told["seeds"] == pytest.approx(0.0, abs=1e-9)
    assert told["not_told_from_best"] == 0
    g = np.random.default_rng(1)
    many = 0.5 + 0.05 * g.standard_normal((60, 1, 6))
    told = found(many)["noise"]
    assert told["rotations"] == pytest.approx(0.05, rel=0.15)
    assert told["difference"] == pytest.approx(told["rotations"] * math.sqrt(2 / 6))
    assert told["not_told_from_best"] > 5
    assert told["seeds"] is None


def test_a_fit_that_fails_counts_as_nothing_and_is_no_noise() -> None:
    table = np.full((3, 1, 6), 0.5)
    told = found(table, failed=((1, 0, 2),))
    assert told["trials"][1]["accuracy"] == pytest.approx(5 * 0.5 / 6)
    assert told["trials"][1]["failed"] == [
        {"part": "half-1 rotation-3", "seeds": [0, 0], "status": "oom", "reason": "it broke"}
    ]
    assert told["best"]["trial"] == 0
    assert told["noise"]["rotations"] == pytest.approx(0.0, abs=1e-9)
