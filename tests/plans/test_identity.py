"""When two runs are the same run: pinned digests, and what does and does not change them."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.command import see_plugins
from kit.made_plans import (
    DATASET,
    FIXED,
    PROTOCOL,
    TEXTS,
    encoders,
    entry,
    plan,
    settings,
    text_plan,
)
from kit.paths import REFERENCE
from zsar_bench.catalogue.catalogue import Catalogue, Entry, load
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Assignment, Settings, resolve
from zsar_bench.common import hashing
from zsar_bench.common.hashing import derive_seed, digest, key
from zsar_bench.data.clips.importer import store_name
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.texts.texts import ClassTexts
from zsar_bench.errors import UserError
from zsar_bench.records.files import find_records, read_record

# --- Pinned ------------------------------------------------------------------------------------
# A failure here means that every stored run gets a new identity. If that is meant (the harness
# computes something else from the same inputs), raise identity.VERSION and pin the new values.


def test_the_version_is_pinned() -> None:
    assert hashing.VERSION == 1


def test_the_run_id_is_pinned() -> None:
    assert digest(FIXED)[:16] == "32783af45b0af830"


def test_the_canonical_form_is_pinned() -> None:
    text = '{"a":[1,2.5,null,true,"\\u00e4"],"b":{"c":{}}}'
    value = {"b": {"c": {}}, "a": [1, 2.5, None, True, "ä"]}
    assert digest(value) == hashlib.sha256(text.encode("ascii")).hexdigest()


def test_keys_are_pinned() -> None:
    assert key("encoder", seed=1, code="abc") == "096679a6ed4c5604"
    whole = {"version": 1, "kind": "encoder", "seed": 1, "code": "abc"}
    assert key("encoder", seed=1, code="abc") == digest(whole)[:16]


@pytest.mark.parametrize(
    ("parts", "seed"),
    [
        (("encoder", 0, "half-1"), 3_674_458_938_382_322_957),
        (("encoder", 1, "half-1"), 820_053_444_516_799_478),
        (("method", 0, 0, "half-2"), 8_256_561_487_113_343_119),
        ((), 724_655_455_495_936_113),
    ],
)
def test_derived_seeds_are_pinned(parts: tuple[object, ...], seed: int) -> None:
    assert derive_seed(*parts) == seed


def test_derived_seeds_fit_into_every_generator() -> None:
    seeds = [derive_seed("any", n) for n in range(2000)]
    assert len(set(seeds)) == 2000
    assert all(0 <= s < 2**63 for s in seeds)
    assert max(seeds) > 2**62  # not cut to fewer bits


def test_the_machine_is_pinned() -> None:
    assert Machine("cpu", 2).identity == {"device": "cpu", "threads": 2}
    assert Machine("cpu", 2, deterministic=True).identity == {"device": "cpu", "threads": 2}
    cuda = {"device": "cuda", "threads": 2}
    assert Machine("cuda", 2, "its name", ("a.py",)).identity == cuda
    assert Machine("cuda", 2, deterministic=True).identity == cuda | {"deterministic": True}


def test_a_whole_run_is_pinned() -> None:
    assert plan().run_id == "20c5026b48a96d03"


# --- The canonical form ------------------------------------------------------------------------


def test_the_order_of_keys_does_not_count_but_that_of_lists_does() -> None:
    backwards = {k: FIXED[k] for k in reversed(FIXED)}
    backwards["method"] = {k: FIXED["method"][k] for k in reversed(FIXED["method"])}
    assert digest(backwards) == digest(FIXED)
    assert digest(FIXED | {"seeds": [3, 0]}) != digest(FIXED)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_a_canonical_form_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"params": [value]})


def test_types_are_told_apart() -> None:
    values: list[Any] = [1, 1.5, "1", True, None, [1], {"1": 1}, [], {}, ""]
    assert len({digest(v) for v in values}) == len(values)


def test_kinds_of_computation_are_told_apart() -> None:
    assert key("encoder", seed=0) != key("texts", seed=0)


# --- Whole plans -------------------------------------------------------------------------------


def other_data() -> Dataset:
    clips = DATASET.clips | {"frames": [5] * 7 + [6]}
    return Dataset(Path("nowhere"), DATASET.about | {"clips": clips})


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "method": lambda: {"method": entry("methods", "other")},
    "method code": lambda: {"method": entry("methods", "toy", "d" * 64)},
    "science param": lambda: {"params": settings(rate=0.2)},
    "another science param": lambda: {"params": settings(rate=0.1, extra=None)},
    "encoder code": lambda: {"encoders": encoders(code="9" * 64)},
    "encoder param": lambda: {"encoders": encoders(science={"width": 5})},
    "encoder seed of the features": lambda: {"encoders": encoders(seed=1)},
    "data": lambda: {"encoders": encoders(data=other_data())},
    "encoder seed": lambda: {"encoder_seed": 1},
    "method seed": lambda: {"method_seed": 1},
    "both seeds": lambda: {"encoder_seed": 1, "method_seed": 1},
    "text encoder code": lambda: {"texts": text_plan(entry=entry("text_encoders", "tower"))},
    "text encoder param": lambda: {"texts": text_plan(settings=settings(size=4))},
    "text encoder weights": lambda: {"texts": text_plan(fingerprint="weights-2")},
    "text of a class": lambda: {
        "class_texts": ClassTexts(
            "a", 1, {**TEXTS.fields, "motion": {**TEXTS.fields["motion"], "a4": "other words"}}
        )
    },
    "texts exchanged between classes": lambda: {
        "class_texts": ClassTexts(
            "a",
            1,
            {**TEXTS.fields, "motion": {**TEXTS.fields["motion"], "a4": "motion a3", "a3": "m a4"}},
        )
    },
    "fields": lambda: {"fields": ("motion",)},
    "order of fields": lambda: {"fields": ("name", "motion")},
    "rule": lambda: {"rule": "seen-val"},
    "GZSL by a constant": lambda: {"gzsl": "constant"},
    "GZSL by a gate": lambda: {"gzsl": "gate"},
    "threads": lambda: {"machine": Machine("cpu", 2)},
    "device": lambda: {"machine": Machine("cuda", 1)},
    "deterministic": lambda: {"machine": Machine("cuda", 1, deterministic=True)},
    "deterministic encoder": lambda: {
        "encoders": encoders(machine=Machine("cuda", 1, deterministic=True))
    },
    "encoder trained on CUDA": lambda: {"encoders": encoders(machine=Machine("cuda", 1))},
    "deterministic text encoder": lambda: {
        "texts": text_plan(machine=Machine("cuda", 1, deterministic=True))
    },
    "unseen classes": lambda: {
        "protocol": replace(PROTOCOL, seen=("a1", "a2"), unseen=("a3", "a4"))
    },
    "subjects of the halves": lambda: {"protocol": replace(PROTOCOL, groups=(("1",), ("2", "3")))},
}


def test_every_part_of_the_identity_changes_the_run() -> None:
    ids = {"": plan().run_id} | {name: plan(**make()).run_id for name, make in CHANGES.items()}
    assert all(len(i) == 16 and set(i) <= set("0123456789abcdef") for i in ids.values())
    by_id: dict[str, list[str]] = {}
    for name, run_id in ids.items():
        by_id.setdefault(run_id, []).append(name)
    assert [names for names in by_id.values() if len(names) > 1] == []


def test_gzsl_leaves_orders_and_fits_as_they_are() -> None:
    assert plan(gzsl="gate").fit_id == plan().fit_id
    assert "gzsl" not in plan().identity


def test_mixed_precision_is_another_run() -> None:
    on = plan(machine=Machine("cuda", 1), params=settings(amp=True))
    off = plan(machine=Machine("cuda", 1), params=settings(amp=False))
    assert on.precision == "mixed"
    assert off.precision == "float32"
    assert plan(params=settings(amp=True)).precision == "float32"  # never on a CPU
    assert on.identity["precision"] != off.identity["precision"]


SURE = Machine("cpu", 1, deterministic=True)

SAME: dict[str, Callable[[], dict[str, Any]]] = {
    "runtime param": lambda: {"params": Settings("paper", {"rate": 0.1}, {"batch": 99})},
    "name of the profile": lambda: {"params": Settings("laptop", {"rate": 0.1}, {"batch": 8})},
    "results folder": lambda: {"results": Path("elsewhere")},
    "reasons of choices": lambda: {"choices": (("device", "cpu", "named"),)},
    "metrics of plugins": lambda: {"metric_entries": (entry("metrics", "theirs"),)},
    "runtime param of the encoder": lambda: {
        "encoders": tuple(
            replace(e, settings=Settings("laptop", {"width": 4}, {"batch": 1})) for e in encoders()
        )
    },
    "deterministic on a CPU": lambda: (
        dict.fromkeys(("machine",), SURE)
        | {"encoders": encoders(machine=SURE), "texts": text_plan(machine=SURE)}
    ),
    "name of the accelerator": lambda: {"machine": Machine("cpu", 1, "some name")},
    "words about the protocol": lambda: {"protocol": replace(PROTOCOL, title="T", notes="N")},
}


@pytest.mark.parametrize("name", SAME)
def test_what_cannot_change_a_score_keeps_the_run(name: str) -> None:
    assert plan(**SAME[name]()).run_id == plan().run_id


# --- Every plugin's parameters -----------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(toy_home: Path, toy_site: Path) -> Catalogue:
    """Our plugins and a third party's."""
    with pytest.MonkeyPatch.context() as patch:
        see_plugins(patch, toy_home, toy_site)
        return load()


def varied(entry: Entry) -> Iterator[tuple[str, str, Settings]]:
    """Each parameter set to another legal value: its name, its kind, and all settings then."""
    plain = resolve(entry, "laptop", ())
    for name, about in entry.schema["properties"].items():
        now = plain.values[name]
        tries = [*about.get("enum", ()), not now, None, "another", "cuda", "h", [3, 5], 1]
        if isinstance(now, int | float):
            tries = [*tries, now + 1, now - 1, now * 2, now / 2, now + 8, now - 8]
        if isinstance(now, list):
            tries = [*tries, *([[v] * len(now) for v in now]), now[:-1], [*now, *now[-1:]]]
        for value in tries:
            if value == now:
                continue
            try:
                text = value if isinstance(value, str) else json.dumps(value)
                found = resolve(entry, "laptop", [Assignment(entry.name, name, text)])
            except UserError:
                continue
            if found.values[name] != now:
                yield name, about["kind"], found
                break
        else:
            pytest.fail(f"{entry.name}: no other value of {name} was found: {about}")


def run_of(entry: Entry, settings: Settings) -> str:
    """The run in which this plugin takes part with these settings."""
    if entry.kind == "methods":
        return plan(method=entry, params=settings).run_id
    if entry.kind == "text_encoders":
        return plan(texts=text_plan(entry=entry, settings=settings)).run_id
    own = tuple(replace(e, entry=entry, settings=settings) for e in encoders())
    return plan(encoders=own).run_id


def test_every_science_parameter_of_every_plugin_makes_another_run(registered: Catalogue) -> None:
    walked = 0
    for section in ("methods", "skeleton_encoders", "text_encoders"):
        for one in registered.entries(section):
            plain = run_of(one, resolve(one, "laptop", ()))
            ids = {name: (kind, run_of(one, s)) for name, kind, s in varied(one)}
            assert set(ids) == set(one.schema["properties"])
            science = [run_id for kind, run_id in ids.values() if kind == "science"]
            assert len({plain, *science}) == 1 + len(science), one.name
            runtime = {run_id for kind, run_id in ids.values() if kind == "runtime"}
            assert runtime <= {plain}, one.name
            walked += len(ids)
    assert walked > 80


def test_every_science_parameter_of_a_generator_makes_other_data(registered: Catalogue) -> None:
    made = [e for e in registered.entries("datasets") if e.schema]
    assert len(made) >= 4
    for one in made:
        plain = store_name(one, {})
        names = {n: (kind, store_name(one, {n: s.values[n]})) for n, kind, s in varied(one)}
        science = [name for kind, name in names.values() if kind == "science"]
        assert science
        assert len({plain, *science}) == 1 + len(science), one.name
        assert {name for kind, name in names.values() if kind == "runtime"} <= {plain}


def test_a_value_has_one_spelling_in_an_identity(registered: Catalogue) -> None:
    ridge = registered.find("methods", "toy-ridge")

    def run_id(text: str) -> str:
        return run_of(ridge, resolve(ridge, "laptop", [Assignment.parse(text)]))

    assert run_id("ridge=1") == run_id("ridge=1.0") == run_id("toy-ridge.ridge=1e0")
    assert run_id("ridge=0.01") == run_of(ridge, resolve(ridge, "laptop", ()))


# --- Code and committed runs -------------------------------------------------------------------


def test_the_code_of_committed_runs_is_still_the_plugins(registered: Catalogue) -> None:
    # Whoever makes a digest cover more must leave the digests of these plugins as they are.
    here = f"{sys.version_info.major}.{sys.version_info.minor}."
    records = [read_record(folder) for folder in find_records(REFERENCE)]
    same = [r for r in records if r.environment.python.startswith(here)]
    if not same:
        pytest.skip(f"no committed run was made by Python {here}x, whose syntax trees are its own")
    for kind, parts in (
        ("methods", {(r.method.name, r.method.digest) for r in same}),
        ("skeleton_encoders", {(r.encoder.name, r.encoder.digest) for r in same}),
        ("text_encoders", {(r.texts.encoder, r.texts.digest) for r in same}),
    ):
        # Some runs are older than the last change of their encoder.
        assert {(name, registered.find(kind, name).digest) for name, _ in parts} <= parts


def test_committed_runs_bear_the_id_of_their_identity() -> None:
    for folder in find_records(REFERENCE):
        record = read_record(folder)
        assert record.run_id == folder.name == digest(record.identity)[:16]
        assert record.identity["version"] == hashing.VERSION


def test_where_a_run_lives() -> None:
    one = plan(results=Path("some") / "where")
    assert one.folder == Path("some/where/runs/made-3-1/toy") / one.run_id
    assert one.part.parent == one.folder.parent
    assert one.part.name.startswith(".")  # never taken for a finished run


def test_the_features_of_the_two_halves_have_different_keys() -> None:
    first, second = encoders()
    assert first.key != second.key
    assert first.key == encoders()[0].key


@pytest.mark.parametrize("change", ["name", "test_unseen", "test_seen"])
def test_features_depend_on_the_rounds_name_and_on_the_clips_they_are_made_of(change: str) -> None:
    # The name seeds the fit; the tested clips decide which feature files there are.
    first = encoders()[0]
    kept = {"name": first.round.name, "test_unseen": [], "test_seen": []}
    other = replace(first.round, **{change: "another" if change == "name" else kept[change]})
    assert replace(first, round=other).key != first.key


def test_one_digest_a_prepared_data_set() -> None:
    assert DATASET.digest == Dataset(Path("moved"), DATASET.about | {"skipped": []}).digest
    assert DATASET.digest != other_data().digest
