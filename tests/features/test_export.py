"""Exported features: what the files hold, that nothing is overwritten, and the way back in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from kit.command import Cli
from zsar_bench.catalogue import catalogue
from zsar_bench.data.clips.store import open_dataset
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.errors import UserError
from zsar_bench.features.export import check_target
from zsar_bench.features.exported import check_export
from zsar_bench.features.released.released import open_released
from zsar_bench.records.files import read_predictions, read_record

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

SEEN, UNSEEN = ("c1", "c4", "c5", "c6"), ("c2", "c3")
GROUPS = {"half-1": ("1", "3", "5", "7"), "half-2": ("2", "4", "6", "8")}  #: tested
EXPORT = ("features", "export", "--protocol", "toy-4-2", "--skeleton-encoder", "toy-mean")
RUN = ("run", "--protocol", "toy-4-2", "--text-encoder", "toy-hash", "--quiet", "--json")


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both layouts, a certified run of the same encoder, and a run on what was exported."""
    folder = tmp_path_factory.mktemp("export")
    cli = Cli(toy_home, toy_site, folder, real=False)
    about = json.loads(cli(*EXPORT, "--out", "out/folder", "--json").stdout)
    cli(*EXPORT, "--out", "out/one-file", "--layout", "npz", "--quiet")
    runs = {}
    for name, words in (
        ("certified", ("--skeleton-encoder", "toy-mean")),
        ("released", ("--features", "out/folder")),
        ("half", ("--features", "out/folder/half-2")),
    ):
        answer = json.loads(cli(*RUN, "prototypes", *words).stdout)
        runs[name] = Path(answer["runs"][0]["folder"])
    return SimpleNamespace(
        about=about, folder=folder, out=folder / "out", runs=runs, home=toy_home, site=toy_site
    )


def clips_of(home: Path, half: str) -> dict[str, list[tuple[str, str, str, np.ndarray]]]:
    """Part -> (id, class, subject, features) of every clip, straight from the store: which
    clips belong where is read off their names, the features off the cached shards."""
    keys = {}
    for path in (home / "encoders").glob("*/encoder.json"):
        one = json.loads(path.read_bytes())
        plain = one["seed"] == 0 and one["params"].get("steps") == 30
        plain = plain and one["dataset"] == "toy-motion" and len(one["train_subjects"]) == 4
        if plain and tuple(one["train_classes"]) == SEEN and one["encoder"] == "toy-mean":
            keys[one["round"]] = path.parent
    data = json.loads((home / "data" / "toy-motion" / "dataset.json").read_bytes())["clips"]
    parts: dict[str, list[tuple[str, str, str, np.ndarray]]] = {
        "train": [],
        "ztest": [],
        "gtest": [],
    }
    counts: dict[str, int] = {}
    for name, class_id, subject, shard in zip(
        data["id"], data["class"], data["subject"], data["shard"], strict=True
    ):
        row = counts.setdefault(shard, 0)
        counts[shard] += 1
        tested = subject in GROUPS[half]
        if not tested and class_id in UNSEEN:
            continue  # what no part may hold
        features = load_file(keys[half] / "pooled" / f"{Path(shard).stem}.safetensors")["pooled"]
        clip = (name, class_id, subject, features[row])
        if tested:
            parts["gtest"].append(clip)
        if tested and class_id in UNSEEN:
            parts["ztest"].append(clip)
        if not tested:
            parts["train"].append(clip)
    return parts


LABELS = {"train": "train_label", "ztest": "z_label", "gtest": "g_label"}


@pytest.mark.parametrize("half", GROUPS)
def test_the_folder_holds_the_cached_features_with_official_labels(base: Any, half: str) -> None:
    folder = base.out / "folder" / half
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.npy"))
    assert files == sorted(
        [f"{n}.npy" for pair in LABELS.items() for n in pair]
        + ["label_splits/rs4.npy", "label_splits/ru2.npy"]
    )
    for part, clips in clips_of(base.home, half).items():
        features, labels = np.load(folder / f"{part}.npy"), np.load(folder / f"{LABELS[part]}.npy")
        assert (features.dtype, labels.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(features, [c[3] for c in clips])
        assert [f"c{n + 1}" for n in labels] == [c[1] for c in clips]
    assert len(clips_of(base.home, half)["train"]) == 4 * 4 * 2
    assert np.load(folder / "label_splits" / "ru2.npy").tolist() == [1, 2]
    assert np.load(folder / "label_splits" / "rs4.npy").tolist() == [0, 3, 4, 5]


@pytest.mark.parametrize("half", GROUPS)
def test_the_one_file_says_which_clip_is_which(base: Any, half: str) -> None:
    with np.load(base.out / "one-file" / half / "features.npz", allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    for part, clips in clips_of(base.home, half).items():
        np.testing.assert_array_equal(found[part], [c[3] for c in clips])
        assert [f"c{n + 1}" for n in found[LABELS[part]]] == [c[1] for c in clips]
        assert found[f"{part}_id"].tolist() == [c[0] for c in clips]
        assert found[f"{part}_subject"].tolist() == [c[2] for c in clips]
    assert found["class_id"].tolist() == [f"c{n}" for n in range(1, 7)]
    assert found["class_name"][:3].tolist() == ["bob slow", "bob fast", "sway slow"]
    assert (found["ru2"].tolist(), found["rs4"].tolist()) == ([1, 2], [0, 3, 4, 5])
    assert len(found) == 3 * 4 + 2 + 2


def test_features_json_says_how_they_were_made(base: Any, toy_process: Path) -> None:
    about = json.loads((base.out / "folder" / "features.json").read_bytes())
    assert {**about, "folder": str(base.out / "folder")} == base.about  # what --json prints
    assert about["protocol"]["id"] == "toy-4-2"
    assert (about["protocol"]["seen"], about["protocol"]["unseen"]) == ([*SEEN], [*UNSEEN])
    assert about["dataset"] == {
        "id": "toy-motion",
        "digest": open_dataset("toy-motion").digest,
        "synthetic": False,
    }
    certified = read_record(base.runs["certified"])
    encoder = about["encoder"]
    assert (encoder["name"], encoder["seed"]) == ("toy-mean", 0)
    assert encoder["code"] == certified.encoder.digest
    assert encoder["params"] == {
        **certified.encoder.science,
        "sleep": 0.0,
        "encode_sleep": 0.0,
    }
    assert about["protocol"]["digest"] == certified.protocol.digest
    assert len(about["classes"]) == 6
    for one, told in zip(about["rounds"], certified.encoder.rounds, strict=True):
        assert (one["round"], one["folder"], one["key"]) == (told.round, told.round, told.key)
        assert one["seen_accuracy"] == told.seen_accuracy
        assert one["train_clips"] == told.train_clips == 32
        assert one["train_classes"] == [*SEEN]
        assert one["train_subjects"] == told.train_subjects
        for part, clips in clips_of(base.home, one["round"]).items():
            assert one["clips"][part] == {
                "count": len(clips),
                "id": [c[0] for c in clips],
                "subject": [c[2] for c in clips],
            }


def test_the_readme_says_the_same_in_words(base: Any) -> None:
    text = (base.out / "folder" / "README.txt").read_text()
    for words in (
        "toy-4-2",
        "toy-mean",
        "profile paper, seed 0",
        "the 4 seen classes",
        "half-2: trained on 32 clips",
        "train 32, ztest 16, gtest 48",
        "zsar-bench run METHOD --protocol toy-4-2 --features THIS_FOLDER",
        *(one["hash"] for one in base.about["rounds"]),
    ):
        assert words in text
    assert "--features" not in (base.out / "one-file" / "README.txt").read_text()


def test_out_and_in_again_scores_as_the_certified_run(base: Any) -> None:
    """The same features and texts, though orders and files differ."""
    certified, released, half = (
        read_predictions(base.runs[name] / "predictions.safetensors")
        for name in ("certified", "released", "half")
    )
    rounds = [one["clips"]["ztest"]["id"] for one in base.about["rounds"]]
    assert certified[0] == [*rounds[0], *rounds[1]]
    assert released[0] == [f"half-{h}/ztest/{n}" for h in (1, 2) for n in range(16)]
    np.testing.assert_array_equal(certified[1], released[1])
    assert certified[2] == released[2]
    np.testing.assert_allclose(released[3], certified[3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(half[3], certified[3][16:], rtol=1e-5, atol=1e-6)
    assert len({tuple(row) for row in certified[3].tolist()}) == 32
    numbers = [read_record(base.runs[n]).metrics for n in ("certified", "released")]
    assert numbers[0].top1 == numbers[1].top1
    assert numbers[0].mean_class == numbers[1].mean_class


def test_the_hash_is_the_one_a_run_shows(base: Any) -> None:
    half = read_record(base.runs["half"]).encoder.released
    assert half is not None
    assert half.hash == base.about["rounds"][1]["hash"]
    assert half.dropped_clips == 16
    both = read_record(base.runs["released"]).encoder.released
    assert both is not None
    assert (both.dropped_clips, both.clips) == (0, {"train": 64, "ztest": 32, "gtest": 96})


def test_nothing_is_left_beside_and_equal_exports_are_equal_bytes(base: Any) -> None:
    assert sorted(p.name for p in base.out.iterdir()) == ["folder", "one-file"]
    cli = Cli(base.home, base.site, base.folder, real=False)
    before = {p: p.read_bytes() for p in (base.out / "folder").rglob("*") if p.is_file()}
    marker = base.out / "folder" / "mine.txt"
    marker.write_text("x")
    taken = cli(*EXPORT, "--out", "out/folder", "--quiet", check=2)
    assert "holds exported features already. To replace them, add --force." in " ".join(
        taken.stderr.split()
    )
    assert marker.exists()
    cli(*EXPORT, "--out", "out/folder", "--quiet", "--force")
    assert {p: p.read_bytes() for p in (base.out / "folder").rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in base.out.iterdir()) == ["folder", "one-file"]


def test_the_list_shows_encoders_and_released_sets(base: Any) -> None:
    cli = Cli(base.home, base.site, base.folder, real=False)
    rows = json.loads(cli("features", "list", "--json").stdout)
    by_key = {row["key"]: row for row in rows}
    for one in base.about["rounds"]:
        certified, released = by_key[one["key"]], by_key[one["hash"][:16]]
        assert certified["kind"] == "certified"
        assert (certified["name"], certified["dataset"]) == ("toy-mean", "toy-motion")
        assert (certified["clips"], certified["classes"]) == (32, 4)
        assert certified["seconds"] > 0
        assert (released["kind"], released["name"]) == ("released", f"released: {one['round']}")
        assert released["parts"] == {"train": 32, "ztest": 16, "gtest": 48}
    table = cli("features", "list").stdout
    assert "toy-mean" in table
    assert "released: half-1" in table


def test_an_export_is_held_to_its_word(base: Any, tmp_path: Path, toy_process: Path) -> None:
    """Same classes, other clips: the labels of both protocols agree."""
    found = find_protocol("toy-4-2", catalogue.load())
    check_export(base.out / "folder", found)
    groups = (("1", "2", "5", "6"), ("3", "4", "7", "8"))
    other = replace(found, id="toy-others", groups=groups)
    for path in (base.out / "folder", base.out / "folder" / "half-1"):
        with pytest.raises(UserError, match=r"for the protocol 'toy-4-2', not for 'toy-others'"):
            open_released(path, other)
    alone = shutil.copytree(base.out / "folder" / "half-1", tmp_path / "half-1")
    open_released(alone, other)  # nothing but the labels is left to judge by

    copy = shutil.copytree(base.out / "folder", tmp_path / "copy")
    about = json.loads((copy / "features.json").read_bytes())
    about["dataset"]["synthetic"] = True
    (copy / "features.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="holds features of synthetic clips"):
        open_released(copy / "half-2", found)
    for name in ("protocol", "dataset", "rounds"):
        (copy / "features.json").write_text(json.dumps({**about, name: ["x"]}))
        with pytest.raises(UserError, match=r"features\.json is damaged"):
            check_export(copy, found)
    (copy / "features.json").write_text('{"format": "somebody else\'s"}')
    open_released(copy, found)


# --- Refusals ------------------------------------------------------------------------------------


def test_a_place_that_is_taken_is_never_replaced(tmp_path: Path) -> None:
    check_target(tmp_path / "new", "npy", False)
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty", "npz", False)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "features.json").write_text('{"format": "theirs"}')
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "features.json").write_text("[]")
    (tmp_path / "file").write_text("x")
    for name in ("home", "theirs", "list", "file"):
        for force in (False, True):
            with pytest.raises(UserError, match="is no exported feature folder"):
                check_target(tmp_path / name, "npy", force)
    with pytest.raises(UserError, match=r"Unknown layout 'csv'.\nKnown: npy, npz"):
        check_target(tmp_path / "new", "csv", False)


REFUSED = {
    "a parameter that is not there": (("--set", "nosuch=1"), "has no parameter 'nosuch'"),
    "another encoder's parameter": (("--set", "st-gcn.steps=1"), "Unknown name in --set 'st-gcn'"),
    "an unknown profile": (("--profile", "papr"), "Did you mean paper?"),
    "an unknown layout": (("--layout", "mat"), "Unknown layout 'mat'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_cannot_be_are_refused(name: str, cli: Cli, tmp_path: Path) -> None:
    words, told = REFUSED[name]
    done = cli(*EXPORT, *words, "--out", "there", check=2)
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_data_set_the_export_is_of_synthetic_clips_or_refused(
    cli: Cli, tmp_path: Path
) -> None:
    home = tmp_path / "nothing"
    done = cli(*EXPORT, "--data", "real", "--out", "there", home=home, check=2)
    assert "zsar-bench data import toy-motion PATH" in " ".join(done.stderr.split())
    assert not (tmp_path / "there").exists()
    about = json.loads(cli(*EXPORT, "--out", "there", "--json", home=home).stdout)
    assert about["protocol"]["id"] == "stand-in/toy-4-2"
    assert about["dataset"]["synthetic"] is True
    assert "on synthetic clips" in (tmp_path / "there" / "README.txt").read_text()
    for path in ("there", "there/half-1"):
        back = cli(*RUN, "prototypes", "--features", path, home=home, check=2)
        assert "holds features of synthetic clips" in " ".join(back.stderr.split())


def test_seed_and_parameters_make_other_features(cli: Cli, base: Any, tmp_path: Path) -> None:
    words = ("--seed", "3", "--set", "steps=5", "--json")
    about = json.loads(cli(*EXPORT, *words, "--out", tmp_path / "there").stdout)
    encoder = about["encoder"]
    assert (encoder["seed"], encoder["params"]["steps"]) == (3, 5)
    assert encoder["profile"] == "paper (steps=5)"
    hashes = [{one["hash"] for one in a["rounds"]} for a in (about, base.about)]
    assert not hashes[0] & hashes[1]
