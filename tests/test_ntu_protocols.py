"""The NTU protocols that ship: every part counted from the sample lists that the field shares."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from zsar_datasets import ntu_lists

from zsar_bench.catalogue import load
from zsar_bench.datasets import Dataset
from zsar_bench.lookup import find_protocol
from zsar_bench.protocol import Protocol

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
LISTS = SHARED / "data" / "ntu_rgbd" / "ntu_statistics.zip"
SPLITS = SHARED / "facts" / "splits.json"
real = pytest.mark.skipif(not LISTS.is_file(), reason="the real sample lists are not here")

#: id -> (data set, unseen clips on the test side, seen clips that train, seen clips that test)
COUNTS = {
    "synse-55-5": ("ntu-60", 1_368, 36_758, 15_119),
    "synse-48-12": ("ntu-60", 3_291, 32_070, 13_196),
    "synse-110-10": ("ntu-120", 4_249, 57_767, 46_670),
    "synse-96-24": ("ntu-120", 9_892, 50_141, 41_027),
    "star-55-5-xview": ("ntu-60", 1_577, 34_522, 17_355),
    "star-48-12-xview": ("ntu-60", 3_787, 30_121, 15_145),
    "star-110-10-xset": ("ntu-120", 4_964, 49_924, 54_513),
    "star-96-24-xset": ("ntu-120", 11_914, 43_605, 47_563),
}


@cache
def protocol(name: str) -> Protocol:
    return find_protocol(name, load())


@cache
def sample_list(dataset: str) -> Dataset:
    """The data set as a list of samples, from our own tables."""
    setups = {"ntu-60": 17, "ntu-120": 32}[dataset]
    samples = list(ntu_lists.samples(setups))
    columns = {
        "class": [f"A{s.action}" for s in samples],
        "subject": [str(s.performer) for s in samples],
        "camera": [str(s.camera) for s in samples],
        "setup": [str(s.setup) for s in samples],
    }
    return Dataset(Path("nowhere"), {"name": dataset, "clips": columns})


@pytest.mark.parametrize("name", COUNTS)
def test_every_part_has_its_published_size(name: str) -> None:
    dataset, unseen, train, seen = COUNTS[name]
    one = protocol(name)
    assert one.dataset == dataset
    assert one.test_clips == unseen
    (only,) = one.rounds(sample_list(dataset))
    assert (len(only.test_unseen), len(only.train), len(only.test_seen)) == (unseen, train, seen)


@real
@pytest.mark.parametrize("name", COUNTS)
def test_the_same_from_the_fields_own_lists(name: str) -> None:
    """Names from CTR-GCN's statistics, cut by hand: no table of ours takes part."""
    one = protocol(name)
    folder = one.dataset.replace("-", "")
    with zipfile.ZipFile(LISTS) as archive:
        names = archive.read(f"{folder}/statistics/skes_available_name.txt").decode().split()
    at = {"xsub": slice(9, 12), "xview": slice(5, 8), "xset": slice(1, 4)}[one.rule]
    trains = {int(value) for value in one.train}
    found = Counter((f"A{int(n[17:20])}" in one.unseen, int(n[at]) in trains) for n in names)
    _, unseen, train, seen = COUNTS[name]
    assert (found[True, False], found[False, True], found[False, False]) == (unseen, train, seen)


@pytest.mark.skipif(not SPLITS.is_file(), reason="the shared facts are not here")
@pytest.mark.parametrize("name", [*COUNTS, "star-pku-46-5-xview", "star-pku-39-12-xview"])
def test_classes_are_the_published_ones(name: str) -> None:
    one = protocol(name)
    facts = {p["id"]: p for p in json.loads(SPLITS.read_text("utf-8"))["protocols"]}[one.aliases[0]]
    prefix = "A" if one.dataset.startswith("ntu") else ""
    assert list(one.seen) == [f"{prefix}{i + 1}" for i in facts["seen_zero_based"]]
    assert {*one.unseen} == {f"{prefix}{i + 1}" for i in facts["unseen_zero_based"]}
    assert [str(c) for c in facts["seen_official_1_based"]] == list(one.seen)
    names = {c.id: c.name for c in one.classes}
    assert sorted(names[c] for c in one.unseen) == sorted(facts["unseen_names"])
    counts = facts.get("expected_counts_from_usable_sample_list")
    if counts and name in COUNTS:
        assert COUNTS[name][1:] == (
            counts["test_unseen"],
            counts["train_seen"],
            counts["test_seen"],
        )
