"""Seals by themselves: every bit of a folder, a single file, an import's journal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from wounds import STEPS, WOUNDS, flipped

from zsar_bench.catalogue.custom import own_spec
from zsar_bench.common import checksums
from zsar_bench.common.checksums import Damaged, broken, read_sealed, seal, write_sealed
from zsar_bench.common.code_digest import file_digest
from zsar_bench.data.clips.import_pool import Journal
from zsar_bench.errors import UserError

#: One is too large to be read in one go.
FILES = {
    "a.bin": b"first" * 250_000,
    "b.bin": b"second!",
    "deep/c.bin": bytes(range(200)),
    "none.bin": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder."""
    made = tmp_path / "folder"
    for name, data in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    (made / ".lock").write_bytes(b"")
    seal(made)
    return made


def test_the_table_is_what_sha256_says_of_every_file(folder: Path) -> None:
    about = json.loads((folder / "seal.json").read_bytes())
    expected = {n: [len(d), hashlib.sha256(d).hexdigest()] for n, d in FILES.items()}
    assert about["seal"] == {"deep": True, "files": expected, "format": 1}
    assert list(about["seal"]["files"]) == sorted(FILES)
    text = json.dumps(about["seal"], sort_keys=True)
    assert about["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_an_untouched_folder_is_whole_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"hidden files are nobody's")
    (folder / "deep" / ".tmp").mkdir()
    os.utime(folder / "a.bin", (0, 0))
    moved = shutil.move(folder, tmp_path / "moved")
    copied = shutil.copytree(moved, tmp_path / "copied")
    for one in (moved, copied):
        assert broken(one) == []
        checksums.check(one)
    before = (copied / "seal.json").read_bytes()
    seal(copied)
    assert (copied / "seal.json").read_bytes() == before


@pytest.mark.parametrize("name", [n for n in FILES if FILES[n]])
@pytest.mark.parametrize("wound", WOUNDS)
def test_every_wound_of_a_file_is_named(wound: str, name: str, folder: Path) -> None:
    other = "b.bin" if name != "b.bin" else "a.bin"
    WOUNDS[wound](folder / name, folder / other)
    expected = [name] if wound != "swapped" else sorted((name, other))
    assert broken(folder) == expected
    assert broken(folder, [name]) == [name]
    assert broken(folder, ["none.bin"]) == []
    how = "it is missing" if wound == "deleted" else "it is not as it was written"
    with pytest.raises(Damaged) as caught:
        checksums.check(folder, [name], "Do this.")
    assert caught.value.what == f"{folder / name} is damaged: {how}."
    assert caught.value.hint == "Do this."


@pytest.mark.parametrize("step", STEPS)
def test_every_bit_of_every_file_counts_and_those_of_the_seal(step: int, folder: Path) -> None:
    for path in (folder / "b.bin", folder / "seal.json"):
        whole = path.read_bytes()
        for data in flipped(whole, step):
            path.write_bytes(data)
            assert broken(folder) == [path.name], data
        path.write_bytes(whole)
        assert broken(folder) == []


@pytest.mark.parametrize("wound", [w for w in WOUNDS if w != "swapped"])
def test_every_wound_of_the_seal_is_named(wound: str, folder: Path) -> None:
    WOUNDS[wound](folder / "seal.json", folder / "a.bin")
    assert broken(folder) == ["seal.json"]
    with pytest.raises(Damaged, match=r"seal\.json is damaged"):
        checksums.check(folder)


@pytest.mark.parametrize(
    "seal_of_others",
    [b"[]", b"{}", b'{"seal": 3}', b'{"seal": {"files": [], "deep": 1}}', b"[" * 10**5, b"\xff"],
)
def test_a_seal_that_is_none_is_broken(seal_of_others: bytes, folder: Path) -> None:
    (folder / "seal.json").write_bytes(seal_of_others)
    assert broken(folder) == ["seal.json"]


def test_the_seal_of_another_folder_does_not_fit(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "a.bin").write_bytes(b"FIRST")
    seal(other)
    shutil.copy(other / "seal.json", folder)
    assert broken(folder) == ["a.bin"]


def test_added_files_count_unless_they_are_let_be(folder: Path) -> None:
    (folder / "deep" / "seal.json").write_bytes(b"only the outermost is the seal")
    (folder / "z.bin").write_bytes(b"new")
    (folder / "link").symlink_to(folder / "nowhere")
    assert broken(folder) == ["deep/seal.json", "link", "z.bin"]
    assert broken(folder, added=False) == []
    assert broken(folder, ["z.bin"]) == ["z.bin"]
    with pytest.raises(Damaged, match=r"z\.bin is damaged: it does not belong there"):
        checksums.check(folder, ["z.bin"])


def test_a_shallow_seal_leaves_folders_below_alone(folder: Path) -> None:
    seal(folder, deep=False)
    (folder / "deep" / "c.bin").unlink()
    (folder / "deep" / "d.bin").write_bytes(b"new")
    assert broken(folder) == []
    (folder / "d.bin").write_bytes(b"new")
    assert broken(folder) == ["d.bin"]


def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_found(folder: Path) -> None:
    (folder / "a.bin").unlink()
    (folder / "a.bin").mkdir()
    (folder / "none.bin").unlink()
    os.mkfifo(folder / "none.bin")  # of size 0, as the file was; reading it would wait for ever
    assert broken(folder) == ["a.bin", "none.bin"]


def test_a_settled_file_is_read_once_and_again_when_anything_of_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "b.bin"
    read: list[str] = []

    def counted(file: str, mode: str) -> Any:
        read.append(file)
        return open(file, mode)

    monkeypatch.setattr(checksums, "open", counted, raising=False)
    monkeypatch.setattr(checksums, "_SETTLED", -60.0)  # as if all files were old
    for _ in range(3):
        assert broken(folder, ["b.bin"]) == []
    assert read.count(str(path)) == 1
    stamp = path.stat()
    time.sleep(0.05)
    path.write_bytes(b"sEcond!")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a careful copy does
    assert broken(folder, ["b.bin"]) == ["b.bin"]
    assert read.count(str(path)) == 2


def test_a_file_of_just_now_is_not_remembered(folder: Path) -> None:
    assert broken(folder) == []
    stamp = (folder / "b.bin").stat()
    for data in (b"sEcond!", b"second!", b"SECOND!"):  # faster than stamps tick
        (folder / "b.bin").write_bytes(data)
        assert broken(folder) == (["b.bin"] if data != FILES["b.bin"] else [])
    os.utime(folder / "b.bin", (stamp.st_atime + 10**6, stamp.st_mtime + 10**6))  # a clock set back
    assert broken(folder) == ["b.bin"]


def test_what_cannot_be_sealed_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"Cannot read .*link"):
        seal(folder)


# --- Single files --------------------------------------------------------------------------------


def test_a_sealed_file_gives_back_its_content_to_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    assert read_sealed(path, "mine") is None
    for payload in (b"", b"x", bytes(range(256)) * 40):
        write_sealed(path, payload, "mine")
        assert read_sealed(path, "mine") == payload
        for owner in ("", "yours", "mine "):
            with pytest.raises(Damaged, match=r"state\.bin is damaged"):
                read_sealed(path, owner)
    path.rename(tmp_path / "other.bin")
    with pytest.raises(Damaged, match=r"other\.bin is damaged"):
        read_sealed(tmp_path / "other.bin", "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["other.bin"]


@pytest.mark.parametrize("step", STEPS)
def test_every_bit_and_every_cut_of_a_sealed_file_is_found(step: int, tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    write_sealed(path, b"a payload")
    whole = path.read_bytes()
    assert whole.endswith(b"a payload")
    cuts = [whole[:n] for n in range(0, len(whole), step)] + [whole + b"\0"]
    for data in [*cuts, *flipped(whole, step)]:
        path.write_bytes(data)
        with pytest.raises(Damaged, match=r"state\.bin is damaged"):
            read_sealed(path)
    path.write_bytes(whole)
    assert read_sealed(path) == b"a payload"


def test_a_folder_in_the_place_of_a_sealed_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.bin").mkdir()
    with pytest.raises(Damaged, match=r"Cannot read .*state\.bin"):
        read_sealed(tmp_path / "state.bin")


# --- The journal of an unfinished import ---------------------------------------------------------


def journal(folder: Path) -> Journal:
    return Journal(folder, {"a.npy": "ka", "b.npy": "kb"})


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """Two finished shards, a line each."""
    shards = tmp_path / "store" / "shards"
    shards.mkdir(parents=True)
    (shards / "a.npy").write_bytes(b"A" * 50)
    (shards / "b.npy").write_bytes(b"B" * 50)
    notes = journal(tmp_path)
    for name in ("a.npy", "b.npy"):
        path = shards / name
        facts = {"frames": 5, "sha256": file_digest(path)}
        row = {"shard": name, "clips": [["clip", 5]], "skipped": [], "bad": [], **facts}
        notes.add([row])
    assert set(journal(tmp_path).rows) == {"a.npy", "b.npy"}
    return tmp_path


@pytest.mark.parametrize("wound", WOUNDS)
def test_an_import_goes_on_from_whole_shards_only(wound: str, unfinished: Path) -> None:
    shards = unfinished / "store" / "shards"
    WOUNDS[wound](shards / "a.npy", shards / "b.npy")
    assert set(journal(unfinished).rows) == (set() if wound == "swapped" else {"b.npy"})


@pytest.mark.parametrize("step", STEPS)
def test_every_bit_of_a_journals_line_counts(step: int, unfinished: Path) -> None:
    path = unfinished / "journal.jsonl"
    whole = path.read_bytes()
    first, second = whole.splitlines(keepends=True)
    rows = journal(unfinished).rows
    for line in flipped(first.rstrip(), step):
        path.write_bytes(line + b"\n" + second)
        assert journal(unfinished).rows == {"b.npy": rows["b.npy"]}, line
    path.write_bytes(whole)
    assert journal(unfinished).rows == rows


# --- Descriptions of data of one's own -----------------------------------------------------------

OWN = {
    "dataset.toml": b'name = "mine"\ntitle = "two moves"\n',
    "classes.toml": b'[[class]]\nid = "up"\nname = "up"\n',
    "layout.toml": b"joints = []\n",
    "texts-a.toml": b'name = "a"\n',
    "imported.json": b'{"folder": "/there", "clips": 2, "reads": "x"}\n',
}


@pytest.mark.parametrize("name", [*OWN, "seal.json"])
@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_description_is_a_broken_data_set(wound: str, name: str, tmp_path: Path) -> None:
    for file, data in OWN.items():
        (tmp_path / file).write_bytes(data)
    assert own_spec(tmp_path).clips == 2  # of a version before seals
    seal(tmp_path)
    assert own_spec(tmp_path).name == "mine"
    if (wound, name) == ("deleted", "seal.json"):
        return  # looks like that version's
    other = "layout.toml" if name != "layout.toml" else "classes.toml"
    WOUNDS[wound](tmp_path / name, tmp_path / other)
    with pytest.raises(Damaged, match="is damaged"):
        own_spec(tmp_path)
