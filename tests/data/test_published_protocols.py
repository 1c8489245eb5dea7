"""All protocols that ship: whole, uniquely named, and what their sources say."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from zsar_datasets.stand_in.samples import pku

from kit.paths import REFERENCE, SHARED
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.lookup import find_group, find_id, find_protocol, load_all
from zsar_bench.data.protocols.protocol import (
    CROSS_FIT,
    STAND_IN,
    Protocol,
    ProtocolGroup,
    on_stand_in,
)
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.records.files import find_records, read_record

SPLITS, CLASSES = SHARED / "facts" / "splits.json", SHARED / "facts" / "classes.json"
facts_here = pytest.mark.skipif(not SPLITS.is_file(), reason="the shared facts are not here")

#: data set -> its classes as numbers from 0 -> official ids
OFFICIAL = {
    "ntu-60": [f"A{n}" for n in range(1, 61)],
    "ntu-120": [f"A{n}" for n in range(1, 121)],
    "pku-mmd": [str(n) for n in range(1, 52)],
    "utd-mhad": [f"a{n}" for n in range(1, 28)],
    "nw-ucla": ["a01", "a02", "a03", "a04", "a05", "a06", "a08", "a09", "a11", "a12"],
    "uwa3d-ii": [str(n) for n in range(1, 31)],
    "kinetics-skeleton-200": [str(n) for n in range(200)],
    "kinetics-skeleton-400": [str(n) for n in range(400)],
}
#: the data sets' names in the facts
NAMES = {
    "ntu-60": "NTU-60",
    "ntu-120": "NTU-120",
    "pku-mmd": "PKU-MMD I",
    "uwa3d-ii": "uwa3dii",
    "kinetics-skeleton-200": "Kinetics-skeleton 200",
    "kinetics-skeleton-400": "Kinetics-skeleton 400",
}


@cache
def catalogue() -> Catalogue:
    return load()


@cache
def shipped() -> tuple[list[Protocol], list[ProtocolGroup]]:
    protocols, groups = load_all(catalogue())
    return [p for p in protocols if p.dataset in OFFICIAL], groups


def protocols() -> list[Protocol]:
    return shipped()[0]


@cache
def facts() -> dict[str, Any]:
    return json.loads(SPLITS.read_text("utf-8"))


def fact_of(one: Protocol) -> dict[str, Any]:
    names = {one.id, *one.aliases}
    (found,) = [p for p in facts()["protocols"] if p["id"] in names]
    return found


def test_there_are_57_and_seven_means() -> None:
    assert len(protocols()) == 57
    assert len(shipped()[1]) == 7
    assert {p.dataset for p in protocols()} == set(OFFICIAL)


def test_classes_are_divided_and_official() -> None:
    for one in protocols():
        assert not {*one.seen} & {*one.unseen}, one.id
        assert sorted(one.seen + one.unseen) == sorted(OFFICIAL[one.dataset]), one.id
        assert [c.id for c in one.classes] == OFFICIAL[one.dataset], one.id
        assert {*one.pseudo_unseen} <= {*one.seen}, one.id
        assert one.source, one.id
        assert one.confidence, one.id


def test_every_name_means_one_thing() -> None:
    everything = [*protocols(), *shipped()[1]]
    names = [name for one in everything for name in (one.id, *one.aliases)]
    assert [n for n, count in Counter(names).items() if count > 1] == []
    for one in everything:
        for name in (one.id, *one.aliases):
            assert find_id(name, catalogue()) == one.id
            assert bool(find_group(name, catalogue())) == isinstance(one, ProtocolGroup)


@facts_here
def test_every_fact_is_here_once() -> None:
    assert len(facts()["protocols"]) == 57
    for fact in facts()["protocols"]:
        assert fact_of(find_protocol(fact["id"], catalogue())) is fact


@facts_here
def test_data_sets_and_classes_are_the_published_ones() -> None:
    for one in protocols():
        fact, official = fact_of(one), OFFICIAL[one.dataset]
        assert fact["dataset"] == NAMES.get(one.dataset, one.dataset)
        assert len(official) == fact["n_classes"]
        assert {*one.unseen} == {official[i] for i in fact["unseen_zero_based"]}, one.id
        assert {*one.seen} == {official[i] for i in fact["seen_zero_based"]}, one.id
        if "seen_official_1_based" in fact:
            assert {*one.seen} == {str(i) for i in fact["seen_official_1_based"]}, one.id
            assert {*one.unseen} == {str(i) for i in fact["unseen_official_1_based"]}, one.id
            names = {c.id: c.name for c in one.classes}
            assert Counter(names[c] for c in one.unseen) == Counter(fact["unseen_names"]), one.id


@facts_here
def test_pseudo_unseen_classes_are_the_published_ones() -> None:
    published = facts()["gzsl"]["synse_gating"]["pseudo_unseen"]
    found = {p.aliases[0]: p for p in protocols() if p.pseudo_unseen}
    assert set(found) == set(published)
    for name, fact in published.items():
        one = found[name]
        assert sorted(one.pseudo_unseen) == sorted(fact["pseudo_unseen_official"])
        places = sorted(one.place[c] for c in one.pseudo_unseen)
        assert places == sorted(fact["pseudo_unseen_zero_based"])
        names = {c.id: c.name for c in one.classes}
        assert sorted(names[c] for c in one.pseudo_unseen) == sorted(fact["names"])
        assert len(one.pseudo_unseen) == len(one.unseen)


@facts_here
def test_clips_are_divided_as_published() -> None:
    """Which rule, by the words of the source; subjects, cameras and setups by its lists."""
    ntu = json.loads(CLASSES.read_text("utf-8"))["ntu_rgbd"]
    trains = {
        ("ntu-60", "xsub"): ntu["cross_subject_60"]["train_subjects"],
        ("ntu-120", "xsub"): ntu["cross_subject_120"]["train_subjects"],
        ("ntu-60", "xview"): ntu["cross_view_60"]["train_cameras"],
        ("ntu-120", "xset"): ntu["cross_setup_120"]["train_setups"],
        ("pku-mmd", "xview"): ["M", "R"],
        ("pku-mmd", "xsub"): ["train"],
        ("kinetics-skeleton-200", "split"): ["train"],
        ("kinetics-skeleton-400", "split"): ["train"],
    }
    for one in protocols():
        said = fact_of(one)["evaluation"]
        if one.rule == CROSS_FIT:
            assert said == "not stated in the released text", one.id
            continue
        words = {"xview": r"\(xview\)", "xset": r"\(xset\)", "split": "train/val parts"}
        assert re.search(words.get(one.rule, r"cross-subject|\(xsub\)"), said), one.id
        assert list(one.train) == [str(v) for v in trains[one.dataset, one.rule]], one.id
        counts = fact_of(one).get("expected_counts_from_usable_sample_list", {})
        assert one.test_clips == counts.get("test_unseen", 0), one.id


def test_pku_is_divided_by_recordings_and_its_stand_in_by_subjects() -> None:
    found = [p for p in protocols() if p.dataset == "pku-mmd" and p.rule == "xsub"]
    assert len(found) == 11
    for one in found:
        assert (one.divides_by, one.train) == ("setup", ("train",))
        made = on_stand_in(one, "stand-in-pku-mmd")
        assert made.divides_by == "subject"
        assert made.train == tuple(str(n) for n in range(1, 58))
        (only,) = make_rounds(made, stand_in_samples())
        seen, unseen = len(one.seen), len(one.unseen)
        parts = (len(only.train), len(only.test_seen), len(only.test_unseen))
        assert parts == (57 * seen, 9 * seen, 9 * unseen)


@cache
def stand_in_samples() -> Dataset:
    """PKU-MMD's stand-in as a list of samples: each of 66 subjects does each class once."""
    clips = [sample.clip for sample in pku().values()]
    columns = {
        "class": [c.class_id for c in clips],
        "subject": [c.subject for c in clips],
        "camera": [c.camera for c in clips],
        "setup": [c.setup for c in clips],
    }
    return Dataset(Path("nowhere"), {"name": "stand-in-pku-mmd", "clips": columns})


def test_means_are_over_the_splits_of_one_family() -> None:
    by_id = {p.id: p for p in protocols()}
    for group in shipped()[1]:
        members = [by_id[name] for name in group.of]
        assert len(members) == 3
        assert {p.id[: p.id.index("-split")] for p in members} == {group.id[: -len("-avg")]}
        for one in members:
            assert find_group(one.id, catalogue()) is None
    everything = {name for group in shipped()[1] for name in group.of}
    assert everything == {p.id for p in protocols() if "-split" in p.id}


def test_the_reference_runs_are_still_of_these_protocols() -> None:
    runs = find_records(REFERENCE)
    recorded = {
        (r.protocol.id, r.protocol.dataset, r.protocol.digest) for r in map(read_record, runs)
    }
    assert recorded
    for name, dataset, digest in recorded:
        one = find_protocol(name.removeprefix(STAND_IN), catalogue())
        one = on_stand_in(one, dataset) if name.startswith(STAND_IN) else one
        assert (one.id, one.dataset, one.digest) == (name, dataset, digest)
