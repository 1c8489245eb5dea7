"""kinect20: the class map, the folds, and the pool itself on made and on real clips."""

from __future__ import annotations

import shutil
import tomllib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from zsar_datasets.kinect20 import LETTERS, Pool

from kit.paths import ROOT
from zsar_bench.catalogue.catalogue import load
from zsar_bench.common.hashing import hash_order
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.splits import candidates_of, make_rounds

DATA = ROOT / "plugins" / "zsar_datasets" / "data"
SHARED = ROOT.parent / "shared" / "data"
ARCHIVES = {
    "utd-mhad": SHARED / "utd_mhad" / "utd_mhad_skeleton.zip",
    "msr-action3d": SHARED / "msr_action3d" / "msr_action3d_skeleton3d.zip",
    "nw-ucla": SHARED / "nw_ucla" / "nw_ucla_all_sqe.zip",
}
CLIPS = {"utd-mhad": 861, "msr-action3d": 557, "nw-ucla": 1482}


def toml(*parts: str) -> dict[str, Any]:
    return tomllib.loads(DATA.joinpath(*parts).read_text("utf-8"))


MERGED = toml("kinect20", "classes.toml")["class"]
#: Class here -> the data sets that have it.
SETS = {row["id"]: {source.split(":")[0] for source in row["of"]} for row in MERGED}


# --- The class map -----------------------------------------------------------------------------


def test_every_class_of_the_three_sets_is_in_one_class() -> None:
    sources = [source for row in MERGED for source in row["of"]]
    own = [f"{name}:{row['id']}" for name in CLIPS for row in toml(name, "classes.toml")["class"]]
    assert sorted(sources) == sorted(own)
    assert len(sources) == 57
    assert len(MERGED) == 41


def test_merges_have_reasons_and_only_they() -> None:
    for row in MERGED:
        assert bool(row.get("why")) == (len(row["of"]) > 1), row["id"]
    twice = [
        row["id"] for row in MERGED if len({s.split(":")[0] for s in row["of"]}) < len(row["of"])
    ]
    assert twice == ["draw-circle"]  # the one whose reason says why


@pytest.mark.parametrize("name", ["a", "b"])
def test_texts_are_those_of_the_first_member(name: str) -> None:
    texts = toml("kinect20", f"texts-{name}.toml")
    for row in MERGED:
        dataset, class_id = row["of"][0].split(":")
        assert texts[row["id"]] == toml(dataset, f"texts-{name}.toml")[class_id]


def test_folds_are_this_draw_and_leave_each_set_three_candidates() -> None:
    groups: dict[tuple[str, ...], list[str]] = {}
    for class_id, names in SETS.items():
        groups.setdefault(tuple(sorted(names)), []).append(class_id)
    dealt = [c for key in sorted(groups) for c in hash_order(groups[key], "kinect20 folds")]
    folds = find_protocol("kinect20", load()).folds
    assert [{*fold} for fold in folds] == [{*dealt[n::3]} for n in range(3)]
    for fold in folds:
        assert min(sum(name in SETS[c] for c in fold) for name in CLIPS) >= 3


# --- The pool on made clips --------------------------------------------------------------------


def part(name: str) -> Any:
    """One clip a class; every joint's x is a number that its name alone decides."""
    layout = toml(name, "layout.toml")
    classes = [row["id"] for row in toml(name, "classes.toml")["class"]]
    values = np.array([float(sum(joint.encode())) for joint in layout["joints"]])

    def read_clips(index: list[int]) -> list[Any]:
        clip = np.zeros((4, 1, len(values), 3), np.float32)
        clip[..., 0] = values
        return [clip + np.float32(n) for n in index]

    count = len(classes)
    columns = {"id": [f"clip{n}" for n in range(count)], "class": classes}
    columns |= {"subject": ["7"] * count, "camera": ["" for _ in classes]}
    return SimpleNamespace(clips=columns, layout=layout, read_clips=read_clips)


def test_the_pool_finds_joints_by_name_and_says_where_clips_are_from() -> None:
    pool = Pool({name: part(name) for name in CLIPS})
    clips = pool.clips()
    assert len(clips) == len({c.id for c in clips}) == 57
    assert {(c.setup, c.subject) for c in clips} == {(n, f"{LETTERS[n]}7") for n in CLIPS}
    assert {c.class_id: {c.setup} for c in clips if c.class_id == "hammer"} == {
        "hammer": {"msr-action3d"}
    }
    wanted = [clips[n] for n in (30, 2, 56, 29)]
    order = toml("kinect20", "layout.toml")["joints"]
    for name, clip in zip(wanted, pool.make([c.id for c in wanted]), strict=True):
        number = int(name.id.rpartition("clip")[2])
        assert clip.shape == (4, 1, 20, 3)
        assert clip.dtype == np.float32
        assert clip[0, 0, :, 0].tolist() == [sum(joint.encode()) + number for joint in order]


# --- The real one ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The pooled set, made by the harness from the three real archives."""
    from zsar_bench.catalogue.machine import Machine
    from zsar_bench.data.clips.import_pool import Work
    from zsar_bench.data.clips.importer import ensure_generated, import_files

    if not all(path.is_file() for path in ARCHIVES.values()):
        pytest.skip("the real archives are not here")
    home = tmp_path_factory.mktemp("kinect20")
    shutil.copytree(toy_store / "catalogue", home / "catalogue")  # asking plugins takes seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAR_BENCH_HOME", str(home))
        catalogue = load()
        machine = Machine("cpu", 1, code=catalogue.code)
        for name, path in ARCHIVES.items():
            entry = catalogue.find("datasets", name)
            import_files(Work(entry, machine, name, sources=(path,), jobs=2))
        entry = catalogue.find("datasets", "kinect20")
        made = ensure_generated(entry, {}, machine, lambda event: None)
        again = ensure_generated(entry, {}, machine, lambda event: pytest.fail("made twice"))
        assert again.digest == made.digest
    return made


def test_real_counts(real: Dataset) -> None:
    assert Counter(real.clips["setup"]) == CLIPS
    assert len({*real.clips["subject"]}) == 28
    assert min(real.clips["frames"]) >= 2
    assert {*zip(real.clips["class"], real.clips["setup"], strict=True)} == {
        (c, name) for c, names in SETS.items() for name in names
    }


def test_every_real_clip_is_tested_once_by_models_that_met_neither(real: Dataset) -> None:
    protocol = find_protocol("kinect20", load())
    rounds = make_rounds(protocol, real)
    assert len(rounds) == 6
    tested = [n for one in rounds for n in one.test_unseen]
    assert len(tested) == protocol.test_clips == 2_900
    assert sorted(tested) == list(range(2_900))
    class_of, subject_of = real.clips["class"], real.clips["subject"]
    guess = 0.0
    for one in rounds:
        assert {class_of[n] for n in one.train}.isdisjoint(class_of[n] for n in one.test_unseen)
        assert {subject_of[n] for n in one.train}.isdisjoint(subject_of[n] for n in one.test_unseen)
        numbers = candidates_of(protocol, real.clips, one)
        assert numbers is not None
        assert min(map(len, numbers)) >= 3
        guess += sum(1 / len(k) for k in numbers)
    assert guess / 2_900 == pytest.approx(0.22, abs=0.005)


def test_real_transfer(real: Dataset) -> None:
    rounds = make_rounds(find_protocol("kinect20-transfer", load()), real)
    assert [(r.name, len(r.seen), len(r.unseen)) for r in rounds] == [
        ("utd-mhad to msr-action3d", 26, 9),
        ("utd-mhad to nw-ucla", 26, 6),
        ("msr-action3d to utd-mhad", 20, 15),
    ]
    tested = [n for one in rounds for n in one.test_unseen]
    assert len(tested) == len({*tested})
