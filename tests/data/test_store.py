"""The prepared store: imports from folders and archives, what is refused, and what remains."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from zsar_datasets.utd_mhad import Reader

from kit.paths import SHARED_DATA
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.cli import main
from zsar_bench.common import checksums
from zsar_bench.common.files import fresh_folder
from zsar_bench.data.clips.import_job import ShardMaker, from_files, list_files
from zsar_bench.data.clips.store import COLUMNS, Dataset, open_dataset, prepared, remove
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.errors import UserError
from zsar_bench.rawfiles import archives

ARCHIVE = SHARED_DATA / "utd_mhad" / "utd_mhad_skeleton.zip"

Clips = dict[str, np.ndarray]

# --- Raw files and commands --------------------------------------------------------------------


def raw_clips() -> Clips:
    """Three classes, three subjects, one or two trials: name -> (20, 3, T) float64."""
    rng = np.random.default_rng(0)
    clips = {}
    for action in (1, 2, 10):
        for subject in (1, 2, 8):
            for trial in range(1, 2 + (subject == 2)):
                frames = 4 + len(clips)
                name = f"a{action}_s{subject}_t{trial}"
                clips[name] = rng.uniform(-1, 3, (20, 3, frames))
    return clips


def mat(**variables: object) -> bytes:
    """A MATLAB 5 file with these variables."""
    out = io.BytesIO()
    savemat(out, variables)
    return out.getvalue()


def as_files(clips: Clips) -> dict[str, bytes]:
    """Raw files, as the archive holds them."""
    files = {f"Skeleton/{name}_skeleton.mat": mat(d_skel=clip) for name, clip in clips.items()}
    return files | {"Skeleton/Skeleton_joint_order.txt": b"1. head\n"}


def as_folder(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def as_zip(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture(scope="session")
def known(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the catalogue only: asking plugins takes seconds."""
    home = tmp_path_factory.mktemp("known")
    shutil.copytree(toy_store / "catalogue", home / "catalogue")
    return home


@pytest.fixture
def home(known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of the test's own."""
    home = shutil.copytree(known, tmp_path / "home")
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command line in this process; imports still start their worker."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["zsar-bench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return run


def import_utd(command: Command, source: Path, *words: str) -> Said:
    return command("data", "import", "utd-mhad", source, "--quiet", *words)


def contents(folder: Path) -> list[str]:
    """Every file and folder below, hidden ones too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


# --- What an import leaves ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_import_holds_what_was_written(
    kind: str, command: Command, home: Path, tmp_path: Path
) -> None:
    clips = raw_clips()
    make = as_folder if kind == "folder" else as_zip
    said = import_utd(command, make(as_files(clips), tmp_path / f"raw.{kind}"), "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts.pop("seconds") > 0
    assert facts == {
        "dataset": "utd-mhad",
        "clips": 12,
        "expected_clips": 861,
        "classes": 3,
        "subjects": 3,
        "frames": (frames := sum(c.shape[2] for c in clips.values())),
        "megabytes": round((frames * 20 * 3 * 4 + 9 * 128) / 1e6, 1),  # a header a shard
        "skipped": [],
        "aside": {"no clip": {"count": 1, "first": ["Skeleton/Skeleton_joint_order.txt"]}},
        "coverage": [],
    }
    # One shard a class and subject, nothing else, and no scrap of the worker's.
    shards = {f"a{a}_{s}.npy" for a in (1, 2, 10) for s in (1, 2, 8)}
    folder = home / "data" / "utd-mhad"
    assert contents(home / "data") == sorted(
        ["utd-mhad", "utd-mhad/dataset.json", "utd-mhad/seal.json", "utd-mhad/shards"]
        + [f"utd-mhad/shards/{s}" for s in shards]
    )
    data = open_dataset("utd-mhad")
    assert set(data.about["shards"]) == shards
    assert set(data.clips) == set(COLUMNS)
    assert {len(column) for column in data.clips.values()} == {len(clips)} == {len(data)}
    # Classes in official order (a10 after a2), then subjects, then trials.
    assert data.clips["id"][:5] == ["a1_s1_t1", "a1_s2_t1", "a1_s2_t2", "a1_s8_t1", "a2_s1_t1"]
    assert data.clips["class"] == ["a1"] * 4 + ["a2"] * 4 + ["a10"] * 4
    read = data.read_clips(list(range(len(data))))
    for name, clip, frames, action, subject, shard in zip(
        data.clips["id"],
        read,
        data.clips["frames"],
        data.clips["class"],
        data.clips["subject"],
        data.clips["shard"],
        strict=True,
    ):
        raw = clips[name]
        assert clip.shape == (raw.shape[2], 1, 20, 3) == (frames, 1, 20, 3)
        assert clip.dtype == np.float32
        np.testing.assert_array_equal(clip[:, 0], raw.transpose(2, 0, 1).astype(np.float32))
        assert name.startswith(f"{action}_s{subject}_t")
        assert shard == f"{action}_{subject}.npy"
    for shard, facts in data.about["shards"].items():
        whole = np.load(folder / "shards" / shard, allow_pickle=False)
        rows = [i for i, s in enumerate(data.clips["shard"]) if s == shard]
        assert facts["frames"] == len(whole) == sum(data.clips["frames"][i] for i in rows)
        np.testing.assert_array_equal(whole, np.concatenate([read[i] for i in rows]))
    assert data.layout["joints"][3] == "hip_center"
    assert [c["id"] for c in data.about["classes"]] == [f"a{n}" for n in range(1, 28)]


def test_folder_and_archive_give_the_same_data(command: Command, tmp_path: Path) -> None:
    files = as_files(raw_clips())
    assert import_utd(command, as_folder(files, tmp_path / "raw")).code == 0
    first = open_dataset("utd-mhad").about
    archive = as_zip(dict(reversed(files.items())), tmp_path / "raw.zip")
    assert import_utd(command, archive, "--force").code == 0
    assert open_dataset("utd-mhad").about == first


def test_the_digest_follows_the_content(command: Command, tmp_path: Path) -> None:
    def digest_of(clips: Clips) -> str:
        source = as_zip(as_files(clips), tmp_path / "raw.zip")
        assert import_utd(command, source, "--force").code == 0
        return open_dataset("utd-mhad").digest

    clips = raw_clips()
    base = digest_of(clips)
    moved = clips | {"a2_s8_t1": clips["a2_s8_t1"].copy()}
    moved["a2_s8_t1"][7, 1, 2] += 0.001
    renamed = {("a1_s1_t2" if n == "a1_s1_t1" else n): c for n, c in clips.items()}
    fewer = {n: c for n, c in clips.items() if n != "a10_s2_t2"}
    digests = [base, *(digest_of(c) for c in (moved, renamed, fewer))]
    assert len(set(digests)) == 4
    assert digest_of(clips) == base


def test_what_is_already_there_is_not_read_again(command: Command, tmp_path: Path) -> None:
    clips = raw_clips()
    assert import_utd(command, as_zip(as_files(clips), tmp_path / "raw.zip")).code == 0
    digest = open_dataset("utd-mhad").digest
    del clips["a1_s1_t1"]
    other = as_zip(as_files(clips), tmp_path / "other.zip")
    said = import_utd(command, other)
    assert said.code == 0
    assert "Already imported" in said.out
    assert "--force" in said.out
    assert open_dataset("utd-mhad").digest == digest
    assert import_utd(command, other, "--force").code == 0
    assert len(open_dataset("utd-mhad")) == 11


def test_a_refused_replacement_leaves_the_old_data(command: Command, tmp_path: Path) -> None:
    assert import_utd(command, as_zip(as_files(raw_clips()), tmp_path / "raw.zip")).code == 0
    digest = open_dataset("utd-mhad").digest
    before = contents(tmp_path / "home" / "data")
    bad = as_folder({"a1_s1_t1_skeleton.mat": b""}, tmp_path / "bad")
    assert import_utd(command, bad, "--force").code == 2
    assert open_dataset("utd-mhad").digest == digest
    assert contents(tmp_path / "home" / "data") == before


def test_a_set_may_have_more_shards_than_a_process_may_hold_files(
    stored: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NTU RGB+D 120 has 57,000 shards; a process may often hold 1,024 files."""
    import resource

    from zsar_bench.worker.model_jobs import read_clips

    index = list(range(len(stored)))[::-1]
    expected = [np.array(clip) for clip in stored.read_clips(index)]
    bundle = [
        {"file": str(stored.shard_path(shard)), "lengths": [facts["frames"]]}
        for shard, facts in stored.about["shards"].items()
    ]
    used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 30
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, before[1]))  # and 9 shards
    try:
        clips = stored.read_clips(index)
        contents = stored.contents(index)
        whole = read_clips(bundle, stored.layout)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for clip, values in zip(clips, expected, strict=True):
        np.testing.assert_array_equal(clip, values)
    assert contents == [hashlib.sha256(clip.tobytes()).digest() for clip in expected]
    assert int(whole.lengths.sum()) == sum(len(clip) for clip in expected)


# --- list, verify, rm --------------------------------------------------------------------------


@pytest.fixture
def stored(command: Command, home: Path, tmp_path: Path) -> Dataset:
    """The test's store with one imported data set."""
    assert import_utd(command, as_folder(as_files(raw_clips()), tmp_path / "raw")).code == 0
    return open_dataset("utd-mhad")


def test_list_and_remove(stored: Dataset, command: Command, home: Path) -> None:
    rows = json.loads(command("data", "list", "--json").out)
    assert [(r["name"], r["clips"], r["classes"], r["subjects"]) for r in rows] == [
        ("utd-mhad", 12, 3, 3)
    ]
    assert rows[0]["digest"] == stored.digest
    assert command("data", "rm", "utd-mhad").code == 0
    assert contents(home / "data") == []
    assert json.loads(command("data", "list", "--json").out) == []
    said = command("data", "rm", "utd-mhad")
    assert said.code == 2
    assert "Unknown prepared data set 'utd-mhad'" in said.err


def test_removal_killed_half_way_is_a_removal(
    stored: Dataset, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove("utd-mhad")
    assert prepared() == []
    assert not (home / "data" / "utd-mhad").exists()


def test_removing_what_was_never_there_suggests_the_nearest(
    stored: Dataset, command: Command
) -> None:
    for name in ("utd-mhat", "../data/utd-mhad"):
        said = command("data", "rm", name)
        assert said.code == 2
        assert "utd-mhad" in said.err
    assert prepared() == ["utd-mhad"]


def test_verify_finds_a_flipped_bit_and_a_missing_shard(stored: Dataset, command: Command) -> None:
    said = command("data", "verify")
    assert said.code == 0
    assert "9 shards, all sound" in said.out
    flipped, missing = stored.shard_path("a2_8.npy"), stored.shard_path("a10_1.npy")
    data = bytearray(flipped.read_bytes())
    data[-100] ^= 1
    flipped.write_bytes(data)
    missing.unlink()
    assert {s: p for s, p in stored.verify() if p} == {
        "a2_8.npy": "has changed",
        "a10_1.npy": "is missing",
    }
    said = command("data", "verify", "utd-mhad")
    assert said.code == 1
    assert "2 damaged" in said.out
    assert "a2_8.npy has changed" in said.out
    assert "a10_1.npy is missing" in said.out
    assert "zsar-bench data import utd-mhad PATH --force" in said.err
    rows = json.loads(command("data", "verify", "--json").out)
    assert set(rows[0]["damaged"]) == {"a2_8.npy", "a10_1.npy"}


def test_a_store_without_the_data_set_says_how_to_get_it(home: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset("utd-mhad", "Get it there.")
    assert caught.value.what == "The data set 'utd-mhad' has not been imported. Get it there."
    assert caught.value.hint == "Then type: zsar-bench data import utd-mhad PATH"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"format": 1, "na', "is damaged"),
        (b"[" * 10_000, "is damaged"),
        (b'{"format": 99, "clips": {}}', "another version"),
        (b"{}", "another version"),
    ],
)
def test_a_damaged_store_is_named(content: bytes, words: str, stored: Dataset) -> None:
    (stored.folder / "dataset.json").write_bytes(content)
    checksums.seal(stored.folder, deep=False)
    with pytest.raises(UserError, match=words) as caught:
        open_dataset("utd-mhad")
    assert str(stored.folder) in caught.value.what


# --- Bad input ---------------------------------------------------------------------------------

GOOD = mat(d_skel=raw_clips()["a1_s1_t1"])
NAN = raw_clips()["a1_s1_t1"]
NAN[3, 1, 2] = np.nan

BAD_FILES = {
    "truncated": (GOOD[:-40], "truncated"),
    "cut in its header": (GOOD[:90], "not a MATLAB 5 file"),
    "empty": (b"", "empty"),
    "NaN": (mat(d_skel=NAN), "not finite"),
    "wrong joints": (mat(d_skel=np.ones((25, 3, 5))), "20 x 3 x frames, not 25 x 3 x 5"),
    "wrong variable": (mat(skeleton=np.ones((20, 3, 5))), "d_skel"),
    "text": (b"frame 1: 0.1 0.2 0.3\n" * 30, "not a MATLAB 5 file"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_file_is_refused_with_name_and_reason(
    fault: str, command: Command, home: Path, tmp_path: Path
) -> None:
    data, reason = BAD_FILES[fault]
    files = as_files(raw_clips()) | {"Skeleton/a2_s2_t1_skeleton.mat": data}
    before = contents(home)
    said = import_utd(command, as_folder(files, tmp_path / "raw"))
    assert said.code == 2
    assert "1 of 12 files cannot be read; nothing was imported" in said.err
    assert "Skeleton/a2_s2_t1_skeleton.mat: " in said.err
    assert reason in said.err
    assert "--skip-bad" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert prepared() == []
    # What was read is kept for the next try, under no name that anybody takes for a data set.
    new = [p for p in contents(home) if p not in before and p != "data"]
    assert all(p.startswith("data/.utd-mhad.import") for p in new)


def test_many_bad_files_are_counted_and_a_few_named(command: Command, tmp_path: Path) -> None:
    files = dict.fromkeys(as_files(raw_clips()), b"")
    said = import_utd(command, as_folder(files, tmp_path / "raw"))
    assert said.code == 2
    assert "12 of 12 files cannot be read" in said.err
    assert said.err.count("the file is empty") == 5
    assert "and 7 more" in said.err


def test_skip_bad_leaves_out_and_lists(command: Command, home: Path, tmp_path: Path) -> None:
    files = as_files(raw_clips())
    for name in ("a2_s2_t1", "a1_s1_t1"):  # one of a shard's two, and a shard's only one
        files[f"Skeleton/{name}_skeleton.mat"] = b""
    raw = as_folder(files, tmp_path / "raw")
    said = import_utd(command, raw, "--skip-bad")
    assert said.code == 0, said.err
    assert "10 clips" in said.out
    assert "The complete data set has 861 clips." in said.out
    names = [f"Skeleton/{name}_skeleton.mat" for name in ("a1_s1_t1", "a2_s2_t1")]
    assert f"left out: 2 files: the file is empty ({', '.join(names)})" in said.out
    data = open_dataset("utd-mhad")
    assert len(data) == 10
    assert [row["reason"] for row in data.about["skipped"]] == ["the file is empty"] * 2
    assert not (data.folder / "shards" / "a1_1.npy").exists()
    row = data.clips["id"].index("a2_s2_t2")
    assert data.clips["start"][row] == 0
    expected = raw_clips()["a2_s2_t2"].transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(data.read_clips([row])[0][:, 0], expected)
    assert not any(problem for _, problem in data.verify())


def test_skip_bad_does_not_import_nothing(command: Command, home: Path, tmp_path: Path) -> None:
    raw = as_folder(dict.fromkeys(as_files(raw_clips()), b""), tmp_path / "raw")
    said = import_utd(command, raw, "--skip-bad")
    assert said.code == 2
    assert contents(home / "data") == []


def no_clip(folder: Path) -> Path:
    return as_folder({"Skeleton/readme.txt": b"no clip", "a1_s1_t1.mat": GOOD}, folder)


def empty_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def twice(folder: Path) -> Path:
    return as_folder({f"{d}/a1_s1_t1_skeleton.mat": GOOD for d in ("one", "two")}, folder)


def not_a_zip(path: Path) -> Path:
    path.write_bytes(b"These are not the bytes you are looking for.\n" * 20)
    return path


def empty_file(path: Path) -> Path:
    path.touch()
    return path


def cut_zip(path: Path) -> Path:
    path.write_bytes(as_zip(as_files(raw_clips()), path).read_bytes()[:-300])
    return path


def future_zip(path: Path) -> Path:
    """An archive whose first entry asks for version 25.5 of the format."""
    data = bytearray(as_zip(as_files(raw_clips()), path).read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 255
    path.write_bytes(data)
    return path


BAD_SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder without a clip": (no_clip, "holds no clip of UTD-MHAD"),
    "empty folder": (empty_folder, "holds no clip of UTD-MHAD"),
    "the same clip twice": (
        twice,
        "one/a1_s1_t1_skeleton.mat and two/a1_s1_t1_skeleton.mat are the same clip 'a1_s1_t1'",
    ),
    "empty archive": (lambda path: as_zip({}, path), "holds no clip of UTD-MHAD"),
    "archive without a clip": (lambda path: as_zip({"a.txt": b"x"}, path), "holds no clip"),
    "not an archive": (not_a_zip, "is not a readable zip archive"),
    "an empty file": (empty_file, "is not a readable zip archive"),
    "a cut archive": (cut_zip, "is not a readable zip archive"),
    "an archive of the future": (future_zip, "is not a readable zip archive"),
    "nothing": (lambda path: path, "There is no file or folder"),
}


@pytest.mark.parametrize("fault", BAD_SOURCES)
def test_a_bad_source_is_refused(fault: str, command: Command, home: Path, tmp_path: Path) -> None:
    make, reason = BAD_SOURCES[fault]
    source = make(tmp_path / "source")
    said = import_utd(command, source)
    assert said.code == 2, said.err
    assert reason in said.err
    if fault != "the same clip twice":
        assert str(source) in said.err
    assert "Traceback" not in said.err
    assert prepared() == []
    assert [p for p in contents(home) if p.startswith("data/")] == []


def test_a_missing_path_says_where_the_data_are(command: Command, tmp_path: Path) -> None:
    assert "personal.utdallas.edu" in import_utd(command, tmp_path / "nowhere").err


def test_an_unknown_data_set_suggests_the_nearest(command: Command, tmp_path: Path) -> None:
    said = command("data", "import", "utd-mhat", tmp_path)
    assert said.code == 2
    assert "Did you mean utd-mhad?" in said.err


def test_a_corrupt_entry_is_named(command: Command, home: Path, tmp_path: Path) -> None:
    path = as_zip(as_files(raw_clips()), tmp_path / "raw.zip")
    name = "Skeleton/a2_s2_t2_skeleton.mat"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
    data = bytearray(path.read_bytes())
    names = struct.unpack_from("<HH", data, entry.header_offset + 26)
    end = entry.header_offset + 30 + sum(names) + entry.compress_size
    for at in range(end - 30, end - 20):
        data[at] ^= 0xFF
    path.write_bytes(data)
    said = import_utd(command, path)
    assert said.code == 2
    assert f"{name}: the archive is damaged here" in said.err
    assert prepared() == []


def test_names_that_climb_out_write_nothing_outside(
    command: Command, home: Path, tmp_path: Path
) -> None:
    names = {
        "../../outside/a1_s1_t1_skeleton.mat": "a1_s1_t1",
        f"{tmp_path}/absolute/a2_s2_t1_skeleton.mat": "a2_s2_t1",
        "..\\..\\a10_s8_t1_skeleton.mat": None,  # a file of that very name, and no clip
    }
    everywhere = contents(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    source = as_zip(dict.fromkeys(names, GOOD), work / "raw.zip")
    assert import_utd(command, source).code == 0
    new = [p for p in contents(tmp_path) if p not in everywhere]
    assert all(p.startswith(("home/data", "work")) for p in new)
    assert contents(home / "data" / "utd-mhad") == [
        "dataset.json",
        "seal.json",
        "shards",
        "shards/a1_1.npy",
        "shards/a2_2.npy",
    ]
    assert open_dataset("utd-mhad").clips["id"] == [v for v in names.values() if v]


# --- The importer itself -----------------------------------------------------------------------


@pytest.fixture
def spec(home: Path) -> dict[str, Any]:
    return load().find("datasets", "utd-mhad").spec


@dataclass
class Made:
    """What a worker says of a source: clips (id, frames), files left out, and bad ones."""

    clips: dict[str, int]
    skipped: list[dict[str, str]]
    bad: list[dict[str, str]]


def import_here(spec: dict[str, Any], source: Path, folder: Path, reader: Any = None) -> Made:
    """A worker's part of an import, in this process and with a reader of the test's."""
    folder.mkdir()
    listing = list_files(reader or Reader(), spec, [source])
    take = from_files(reader or Reader(), [source])
    rows = ShardMaker(take, spec, folder, lambda clips: None).make(listing["clips"])
    return Made(
        {name: frames for row in rows for name, frames in row["clips"]},
        listing["skipped"] + [s for row in rows for s in row["skipped"]],
        [b for row in rows for b in row["bad"]],
    )


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_file_over_the_size_limit_is_refused(
    kind: str, spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = as_files(raw_clips())
    largest = max(files, key=lambda n: len(files[n]))
    monkeypatch.setattr(archives, "LARGEST_FILE", len(files[largest]) - 1)
    make = as_folder if kind == "folder" else as_zip
    source = make(files, tmp_path / "raw")
    made = import_here(spec, source, tmp_path / "out")
    assert made.bad == [{"file": largest, "reason": "larger than 0 MiB"}]
    assert len(made.clips) == 11
    monkeypatch.setattr(archives, "LARGEST_FILE", len(files[largest]))
    assert len(import_here(spec, source, tmp_path / "fine").clips) == 12


def test_an_entry_that_lies_about_its_size_is_not_unpacked(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = as_zip({"a1_s1_t1_skeleton.mat": bytes(1 << 20)}, tmp_path / "raw.zip")
    data = bytearray(bomb.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)  # the directory's uncompressed size
    bomb.write_bytes(data)
    monkeypatch.setattr(archives, "LARGEST_FILE", 4096)
    (bad,) = import_here(spec, bomb, tmp_path / "out").bad
    assert "the archive is damaged here" in bad["reason"]


class KnowsBetter(Reader):
    """Knows one file that is named like a clip and is none."""

    def identify(self, name: str) -> Any:
        return None if self.left_out(name) else super().identify(name)

    def left_out(self, name: str) -> str:
        return "withdrawn by its authors" if "a1_s1_t1_" in name else ""


def test_what_a_reader_leaves_out_and_what_is_too_short_is_listed(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    clips = raw_clips()
    source = as_folder(as_files(clips), tmp_path / "raw")
    least = 8  # the clips have 4, 5, 6, ... frames, and the one left out 4
    spec = spec | {"min_frames": least}
    made = import_here(spec, source, tmp_path / "out", KnowsBetter())
    reasons = [row["reason"] for row in made.skipped]
    assert reasons[0] == "withdrawn by its authors"
    assert reasons[1:] == ["too short: fewer than 8 frames"] * 3  # 5, 6 and 7
    assert min(made.clips.values()) == least
    assert len(made.clips) + len(reasons) == len(clips)
    assert "a1_s1_t1" not in made.clips


class BrokenReader(Reader):
    """Returns what it was told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def read(self, data: bytes) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (np.ones((5, 1, 20, 3)), "float32"),
        ([1.0, 2.0], "float32"),
        (np.ones((5, 20, 3), np.float32), r"the shape is \(5, 20, 3\)"),
        (np.ones((5, 2, 20, 3), np.float32), r"not \(frames, 1, 20, 3\)"),
        (np.ones((0, 1, 20, 3), np.float32), "the shape is"),
        (np.full((5, 1, 20, 3), np.inf, np.float32), "not finite"),
    ],
)
def test_a_reader_is_held_to_its_contract(
    answer: Any, reason: str, spec: dict[str, Any], tmp_path: Path
) -> None:
    source = as_folder({"a1_s1_t1_skeleton.mat": GOOD}, tmp_path / "raw")
    made = import_here(spec, source, tmp_path / "out", BrokenReader(answer))
    assert re.search(reason, made.bad[0]["reason"])
    assert not made.clips
    assert list((tmp_path / "out").iterdir()) == []


class Failing(Reader):
    """Has a bug."""

    def read(self, data: bytes) -> Any:
        raise IndexError("list index out of range")


def test_a_reader_that_fails_says_on_which_file(spec: dict[str, Any], tmp_path: Path) -> None:
    source = as_folder({"a1_s1_t1_skeleton.mat": GOOD}, tmp_path / "raw")
    with pytest.raises(ValueError, match=r"fails on a1_s1_t1_skeleton.mat \(IndexError: list"):
        import_here(spec, source, tmp_path / "out", Failing())
    assert list((tmp_path / "out").iterdir()) == []


# --- Killed ------------------------------------------------------------------------------------

SLOW = """
import os, time
from pathlib import Path
import zsar_datasets.utd_mhad
from zsar_datasets import DATA
from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import DatasetSpec

api = 1
folder = DATA / "utd-mhad"


class Reader(zsar_datasets.utd_mhad.Reader):
    def read(self, data):
        time.sleep(float(os.environ.get("ZSAR_BENCH_TEST_SLEEP", "0")))
        return super().read(data)


@hookimpl
def register_datasets(registry):
    registry.dataset(DatasetSpec(name="slow", target="zsar_plugin_slow:Reader", title="Slow",
        classes=folder / "classes.toml", layout=folder / "layout.toml"))
"""


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def workers_on(folder: Path) -> Iterator[int]:
    """Running supervisors, and their workers, whose job file lies below a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "zsar_bench.worker.supervisor" in words and any(str(folder) in w for w in words):
            yield int(path.parent.name)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_killed_in_mid_import_nothing_has_the_final_name(home: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text(SLOW)
    raw = as_folder(as_files(raw_clips()), tmp_path / "raw")
    words = [sys.executable, "-m", "zsar_bench", "data", "import", "slow", str(raw), "--quiet"]
    words += ["--plugin", str(plugin)]
    process = subprocess.Popen(
        words,
        env=os.environ | {"ZSAR_BENCH_TEST_SLEEP": "0.25"},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    data = home / "data"
    wait_for(lambda: process.poll() is not None or any(data.glob(".slow*/*/shards/*.npy")))
    os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    assert not (data / "slow").exists()
    assert prepared() == []
    wait_for(lambda: not list(workers_on(data)), 10)  # no orphan works on
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert prepared() == ["slow"]
    assert len(open_dataset("slow")) == 12
    assert not any(problem for _, problem in open_dataset("slow").verify())


# --- The real data -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """UTD-MHAD as it is, imported from its archive by the command."""
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE} is not here")
    home = shutil.copytree(known, tmp_path_factory.mktemp("real") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAR_BENCH_HOME", str(home))
        words = [sys.executable, "-m", "zsar_bench", "data", "import", "utd-mhad", str(ARCHIVE)]
        done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert (facts["clips"], facts["classes"], facts["subjects"]) == (861, 27, 8)
        assert facts["skipped"] == []
        yield open_dataset("utd-mhad")


def test_all_of_utd_mhad(real: Dataset) -> None:
    assert len(real) == 861
    assert len(real.about["shards"]) == 27 * 8
    assert set(real.clips["subject"]) == set("12345678")
    per_class = Counter(real.clips["class"])
    short = {"a8", "a23", "a27"}  # the data set's README: 32 clips a class, but 31 here
    assert per_class == {f"a{n}": 31 if f"a{n}" in short else 32 for n in range(1, 28)}
    frames = real.clips["frames"]
    assert (min(frames), int(np.median(frames)), max(frames)) == (41, 67, 125)
    assert not any(problem for _, problem in real.verify())


def test_the_store_holds_the_archives_numbers(real: Dataset) -> None:
    from scipy.io import loadmat

    with zipfile.ZipFile(ARCHIVE) as archive:
        for row in range(0, 861, 41):
            name = real.clips["id"][row]
            with archive.open(f"Skeleton/{name}_skeleton.mat") as file:
                raw = loadmat(io.BytesIO(file.read()))["d_skel"]
            stored = real.read_clips([row])[0]
            np.testing.assert_array_equal(stored[:, 0], raw.transpose(2, 0, 1).astype(np.float32))


@pytest.fixture
def catalogue(known: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(known))
    return load()


@pytest.mark.parametrize(
    ("name", "test_clips"),
    [("purls-utd-mhad-22-5", 160), ("purls-utd-mhad-18-9", 287), ("purls-utd-mhad-14-13", 416)],
)
def test_the_protocols_on_the_real_data(
    name: str, test_clips: int, real: Dataset, catalogue: Catalogue
) -> None:
    protocol = find_protocol(name, catalogue)
    seen, unseen = name.split("-")[-2:]
    assert (len(protocol.seen), len(protocol.unseen)) == (int(seen), int(unseen))
    classes, subjects = real.clips["class"], real.clips["subject"]
    rounds = make_rounds(protocol, real)
    assert len(rounds) == 2
    for one in rounds:
        assert {classes[i] for i in one.train} == set(protocol.seen)
        assert {classes[i] for i in one.test_seen} == set(protocol.seen)
        assert {classes[i] for i in one.test_unseen} == set(protocol.unseen)
        trained = {subjects[i] for i in one.train}
        tested = {subjects[i] for i in [*one.test_unseen, *one.test_seen]}
        assert not trained & tested
        assert trained | tested == set("12345678")
        assert len(trained) == 4
    tested = [i for one in rounds for i in one.test_unseen]
    assert len(tested) == test_clips == protocol.test_clips
    assert len(set(tested)) == test_clips
    assert set(tested) == {i for i, c in enumerate(classes) if c in protocol.unseen}


def test_an_import_sweeps_up_what_a_killed_one_left(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".set.{dead.pid}.0123abcd.part"
    own = tmp_path / f".set.{os.getpid()}.0123abcd.part"
    other = tmp_path / f".settle.{dead.pid}.0123abcd.part"
    for folder in (left, own, other):
        folder.mkdir()
    with fresh_folder(tmp_path / "set") as folder:
        (folder / "file").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["set", own.name, other.name])
