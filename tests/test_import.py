"""Making prepared data sets: generated ones, many workers, interruptions, large sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsar_bench.catalogue import Entry, load
from zsar_bench.datasets import Dataset, open_dataset, prepared, shard_name
from zsar_bench.environment import Machine
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.importer import ensure_generated, store_name

CLIPS = 6 * 8 * 2  # of toy-stand-in by default


def contents(folder: Path) -> dict[str, str]:
    """File -> SHA-256, hidden ones too."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


# --- Generated data sets -----------------------------------------------------------------------


@pytest.fixture
def home(toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store; the catalogue of the session's one is used."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "catalogue").symlink_to(toy_process / "catalogue")
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(home))
    return home


@pytest.fixture
def entry(home: Path) -> Entry:
    return load().find("datasets", "toy-stand-in")


Generate = Callable[..., Dataset]


@pytest.fixture
def generate(entry: Entry) -> Generate:
    def make(jobs: int = 2, on_event: Any = lambda event: None, **params: Any) -> Dataset:
        return ensure_generated(entry, params, Machine("cpu", 1), on_event, jobs=jobs)

    return make


def test_a_generated_set_is_whole(generate: Generate, entry: Entry, toy_site: Path) -> None:
    from zsar_toy.stand_in import StandIn, StandInParams

    events: list[dict[str, Any]] = []
    data = generate(on_event=events.append)
    assert data.name == "toy-stand-in"
    assert {k: data.about[k] for k in ("stand_in_for", "params", "code")} == {
        "stand_in_for": "toy-motion",
        "params": {"subjects": 8, "noise": 0.0, "style": "plain", "fault": ""},  # no runtime ones
        "code": entry.digest,
    }
    # Every clip is there once, under its name's facts, with the values it has when made alone.
    alone = StandIn(StandInParams())
    named = {clip.id: clip for clip in alone.clips()}
    assert sorted(data.clips["id"]) == sorted(named)
    for i, clip in enumerate(data.read_clips(list(range(len(data))))):
        name = named[data.clips["id"][i]]
        facts = (name.class_id, name.subject, name.camera, name.setup)
        assert tuple(data.clips[c][i] for c in ("class", "subject", "camera", "setup")) == facts
        assert data.clips["shard"][i] == shard_name(*facts[:2], name.setup, name.camera)
        np.testing.assert_array_equal(clip, alone.make([name.id])[0])
    assert not any(problem for _, problem in data.verify())
    assert {e["stage"] for e in events} == {"generate"}
    steps = [e["step"] for e in events]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, CLIPS)
    assert {e["total"] for e in events} == {CLIPS}


def test_it_is_made_once_and_variants_stand_apart(generate: Generate, home: Path) -> None:
    first = generate()
    again = generate(on_event=lambda event: pytest.fail("it was made again"), block=3)
    assert again.about == first.about
    other = generate(noise=0.5, subjects=2)
    assert other.name == "toy-stand-in+noise=0.5,subjects=2"
    assert len(other) == CLIPS // 4
    assert prepared() == ["toy-stand-in", other.name]
    assert other.digest != first.digest
    assert sorted(p.name for p in (home / "data").iterdir()) == prepared()


def test_names_of_variants(entry: Entry) -> None:
    assert store_name(entry, {}) == "toy-stand-in"
    assert store_name(entry, {"noise": 0.0, "subjects": 8, "block": 1}) == "toy-stand-in"
    assert store_name(entry, {"style": "b", "noise": 0.25}) == "toy-stand-in+noise=0.25,style=b"
    odd = {store_name(entry, {"style": text}) for text in ("../x", "a/b", "a b", "x" * 99)}
    assert len(odd) == 4
    assert all(len(name) < 60 and not set(name) & set("/ .") for name in odd)


def test_other_code_makes_it_again(
    generate: Generate, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(subjects=1)
    path = first.folder / "dataset.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"code": "0" * 64}))
    events: list[Any] = []
    second = generate(subjects=1, on_event=events.append)
    assert events
    assert second.about == first.about


def test_what_a_generator_reads_is_its_code(
    entry: Entry, toy_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = toy_site / "zsar_toy" / "stand_in.toml"
    before = asset.read_text()
    try:
        asset.write_text(before.replace("0.25", "0.26"))
        changed = load().find("datasets", "toy-stand-in").digest
    finally:
        asset.write_text(before)
    assert changed != entry.digest
    assert load().find("datasets", "toy-stand-in").digest == entry.digest


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("together", "make() depends on which clips are made together"),
        ("count", r"make() returned"),
        ("nan", "c1_s1_v1: it holds values that are not finite"),
    ],
)
def test_a_generator_is_held_to_its_contract(
    fault: str, reason: str, generate: Generate, home: Path
) -> None:
    with pytest.raises(RunFailed) as caught:
        generate(fault=fault)
    assert reason in caught.value.reason
    assert list((home / "data").iterdir()) == []


def test_its_parameters_are_in_the_catalogue(entry: Entry) -> None:
    assert set(entry.schema["properties"]) == {"subjects", "noise", "style", "block", "fault"}
    assert entry.schema["properties"]["noise"]["kind"] == "science"
    assert entry.spec["stand_in_for"] == "toy-motion"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("toy-stand-in", "."), ["'toy-stand-in' is generated", "data import toy-stand-in"]),
        (("toy-motion",), ["give its raw files", "zsar_toy.make", "data import toy-motion PATH"]),
        (("toy-motion", ".", "--set", "noise=1"), ["has no parameters"]),
        (("toy-stand-in", "--set", "niose=1"), ["has no parameter 'niose'", "noise"]),
        (("toy-stand-in", "--set", "noise=-1"), ["noise = -1", "metres"]),
    ],
)
def test_files_and_generators_are_not_mixed_up(words, said, cli, home: Path) -> None:
    done = cli("data", "import", *words, home=home, check=2)
    for part in said:
        assert part in done.stderr
    assert list((home / "data").iterdir()) == []


def test_generating_on_the_command_line(cli, home: Path) -> None:
    words = ("data", "import", "toy-stand-in", "--set", "subjects=3", "--json")
    facts = json.loads(cli(*words, home=home).stdout)
    assert (facts["dataset"], facts["clips"]) == ("toy-stand-in+subjects=3", 36)
    assert open_dataset("toy-stand-in+subjects=3").clips["camera"][:4] == ["1", "2", "1", "2"]
    assert cli("data", "rm", "toy-stand-in+subjects=3", home=home)
    assert prepared() == []


def test_a_stand_in_needs_parameters(tmp_path: Path) -> None:
    from zsar_bench.registry import Registry
    from zsar_bench.specs import DatasetSpec

    facts = {"name": "x", "target": "x:X", "title": "X", "classes": tmp_path, "layout": tmp_path}
    for half in ({"stand_in_for": "y"}, {"params": "x:P"}):
        with pytest.raises(ValueError, match="go together"):
            Registry().dataset(DatasetSpec(**facts, **half))


def test_shard_names() -> None:
    assert shard_name("A1", "3") == "A1_3.npy"  # as ever where nothing else divides the clips
    assert shard_name("A1", "3", "2", "1") == "A1_3_s2_c1.npy"
    assert shard_name("A1", "3", camera="1") == "A1_3_c1.npy"
    for bad in (("../x", "1"), ("A1", ""), ("A1", "1", "a_b"), ("A1", "1", "", "a.b")):
        with pytest.raises(UserError, match="not plain"):
            shard_name(*bad)
