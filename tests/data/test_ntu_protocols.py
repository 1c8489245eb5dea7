"""The NTU protocols that ship: every part counted from the sample lists that the field shares."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from zsar_datasets import ntu_lists

from kit.paths import ROOT
from zsar_bench.catalogue.catalogue import load
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.lookup import find_protocol, load_all
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import Round, make_rounds

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
    "purls-40-20": ("ntu-60", 5_497, 26_702, 10_990),
    "purls-30-30": ("ntu-60", 8_238, 20_039, 8_249),
    "purls-80-40": ("ntu-120", 17_882, 42_850, 33_037),
    "purls-60-60": ("ntu-120", 25_175, 31_208, 25_744),
    "smie-55-5-split1": ("ntu-60", 1_374, 36_745, 15_113),
    "smie-55-5-split2": ("ntu-60", 1_374, 36_750, 15_113),
    "smie-55-5-split3": ("ntu-60", 1_370, 36_759, 15_117),
    "smie-110-10-split4": ("ntu-120", 4_236, 57_768, 46_683),
    "smie-110-10-split5": ("ntu-120", 3_943, 57_484, 46_976),
    "smie-110-10-split6": ("ntu-120", 3_949, 57_475, 46_970),
    "sadvae-55-5-split1": ("ntu-60", 1_371, 36_754, 15_116),
    "sadvae-55-5-split2": ("ntu-60", 1_372, 36_747, 15_115),
    "sadvae-55-5-split3": ("ntu-60", 1_379, 36_734, 15_108),
    "sadvae-110-10-split1": ("ntu-120", 3_347, 56_950, 47_572),
    "sadvae-110-10-split2": ("ntu-120", 5_746, 59_194, 45_173),
    "sadvae-110-10-split3": ("ntu-120", 4_533, 58_059, 46_386),
    "star-55-5-xsub": ("ntu-60", 1_368, 36_758, 15_119),
    "star-55-5-xview": ("ntu-60", 1_577, 34_522, 17_355),
    "star-48-12-xsub": ("ntu-60", 3_291, 32_070, 13_196),
    "star-48-12-xview": ("ntu-60", 3_787, 30_121, 15_145),
    "star-110-10-xsub": ("ntu-120", 4_249, 57_767, 46_670),
    "star-110-10-xset": ("ntu-120", 4_964, 49_924, 54_513),
    "star-96-24-xsub": ("ntu-120", 9_892, 50_141, 41_027),
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


@cache
def rounds(name: str) -> list[Round]:
    return make_rounds(protocol(name), sample_list(protocol(name).dataset))


@cache
def real_names(dataset: str) -> list[str]:
    """Names from CTR-GCN's statistics."""
    with zipfile.ZipFile(LISTS) as archive:
        path = f"{dataset.replace('-', '')}/statistics/skes_available_name.txt"
        return archive.read(path).decode().split()


def test_every_ntu_protocol_is_here() -> None:
    ours = {p.id for p in load_all(load())[0] if p.dataset.startswith("ntu-")}
    assert ours == set(COUNTS)
    assert len(ours) == 28


@pytest.mark.parametrize("name", COUNTS)
def test_every_part_has_its_published_size(name: str) -> None:
    dataset, unseen, train, seen = COUNTS[name]
    one = protocol(name)
    assert one.dataset == dataset
    assert one.test_clips == unseen
    (only,) = rounds(name)
    assert (len(only.test_unseen), len(only.train), len(only.test_seen)) == (unseen, train, seen)


@real
@pytest.mark.parametrize("name", COUNTS)
def test_the_same_from_the_fields_own_lists(name: str) -> None:
    """Names from CTR-GCN's statistics, cut by hand: no table of ours takes part."""
    one = protocol(name)
    at = {"xsub": slice(9, 12), "xview": slice(5, 8), "xset": slice(1, 4)}[one.rule]
    trains = {int(value) for value in one.train}
    names = real_names(one.dataset)
    found = Counter((f"A{int(n[17:20])}" in one.unseen, int(n[at]) in trains) for n in names)
    _, unseen, train, seen = COUNTS[name]
    assert (found[True, False], found[False, True], found[False, False]) == (unseen, train, seen)
    tested = Counter(f"A{int(n[17:20])}" for n in names if int(n[at]) not in trains)
    (only,) = rounds(name)
    assert Counter(classes(one, only.test_unseen)) == {c: tested[c] for c in one.unseen}
    assert Counter(classes(one, only.test_seen)) == {c: tested[c] for c in one.seen}


def classes(one: Protocol, index: list[int]) -> list[str]:
    column = sample_list(one.dataset).clips["class"]
    return [column[i] for i in index]


@pytest.mark.skipif(not SPLITS.is_file(), reason="the shared facts are not here")
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_published_ones(name: str) -> None:
    one = protocol(name)
    facts = {p["id"]: p for p in json.loads(SPLITS.read_text("utf-8"))["protocols"]}[one.aliases[0]]
    counts = facts["expected_counts_from_usable_sample_list"]
    parts = (counts["test_unseen"], counts["train_seen"], counts["test_seen"])
    assert COUNTS[name][1:] == parts
    (only,) = rounds(name)
    assert Counter(classes(one, only.test_unseen)) == counts["test_unseen_per_class"]
