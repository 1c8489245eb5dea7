"""Making prepared data sets: generated ones, many workers, interruptions, large sets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsar_bench.catalogue.catalogue import Entry, load
from zsar_bench.catalogue.machine import Machine
from zsar_bench.data.clips.import_job import list_files
from zsar_bench.data.clips.importer import ensure_generated, store_name
from zsar_bench.data.clips.store import Dataset, open_dataset, prepared, shard_name
from zsar_bench.errors import RunFailed, UserError

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
        return ensure_generated(
            entry, params, Machine("cpu", 1, code=load().code), on_event, jobs=jobs
        )

    return make


def test_a_generated_set_is_whole(generate: Generate, entry: Entry, toy_process: Path) -> None:
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
    assert store_name(entry, {"noise": 1}) == store_name(entry, {"noise": 1.0})
    assert store_name(entry, {"subjects": 7.0}) == store_name(entry, {"subjects": 7})
    with pytest.raises(UserError, match="Did you mean noise"):
        store_name(entry, {"niose": 1})
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
    site = shutil.copytree(toy_site, tmp_path / "site")  # all test processes share the other
    path = [str(site) if p == str(toy_site) else p for p in sys.path]
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setenv("PYTHONPATH", str(site))
    asset = site / "zsar_toy" / "stand_in.toml"
    before = asset.read_text()
    asset.write_text(before.replace("0.25", "0.26"))
    changed = load().find("datasets", "toy-stand-in").digest
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
    assert shard_name("A1", "") == "A1_-.npy"  # subjects are not known
    for bad in (("../x", "1"), ("A1", "1", "a_b"), ("A1", "1", "", "a.b")):
        with pytest.raises(UserError, match="not plain"):
            shard_name(*bad)


# --- Many workers, interruptions ---------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_number_of_workers_changes_nothing(
    jobs: int, cli, home: Path, toy_home: Path, toy_raw: Path
) -> None:
    cli("data", "import", "toy-motion", toy_raw, "--jobs", jobs, home=home)
    expected = contents(toy_home / "data" / "toy-motion")
    assert contents(home / "data" / "toy-motion") == expected
    assert contents(home / "data") == {f"toy-motion/{n}": d for n, d in expected.items()}


def slow(cli, home: Path, *words: object, sleep: float = 0.02) -> subprocess.Popen[str]:
    env = {"ZSAR_BENCH_TOY_SLEEP": str(sleep)}
    return cli.start("data", "import", "toy-stand-in", "--jobs", 2, *words, home=home, env=env)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


def kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def inodes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_ino for p in folder.glob("[!.]*.npy")}


@pytest.mark.skipif(sys.platform != "linux", reason="workers die with their parent on Linux")
def test_killed_again_and_again_it_continues(cli, home: Path, generate: Generate) -> None:
    data = home / "data"
    expected = contents(generate().folder)
    shutil.rmtree(data / "toy-stand-in")
    beside = data / ".toy-stand-in.import"
    journal, shards = beside / "journal.jsonl", beside / "store" / "shards"
    kept: dict[str, int] = {}
    for _ in range(3):
        process, start = slow(cli, home), len(inodes(shards))
        wait_for(lambda start=start: len(inodes(shards)) > start + 12, process)
        kill(process)
        assert prepared() == []
        now = {n: i for n, i in inodes(shards).items() if f'"{n}"' in journal.read_text()}
        assert kept.items() <= now.items()  # what was there has not been made again
        kept = now
        with journal.open("a") as file:
            file.write('[{"shard": "c1_1_s2_c1.npy", "cli')  # a kill in the middle of a line
    (shards / ".c1_1.npy.77").touch()  # one in the middle of a shard,
    (shards / "c9_9_s9_c9.npy").touch()  # one between a shard and its line,
    damaged = sorted(kept)[0]
    (shards / damaged).write_bytes(b"")  # and a machine that lost power
    done = cli("data", "import", "toy-stand-in", home=home)
    assert f"Continuing an unfinished import: {len(kept) - 1} of 96 parts" in done.stderr
    assert contents(data) == {f"toy-stand-in/{n}": d for n, d in expected.items()}
    final = inodes(data / "toy-stand-in" / "shards")
    assert {n for n, i in kept.items() if final[n] == i} >= set(kept) - {damaged}


@pytest.mark.skipif(sys.platform != "linux", reason="workers die with their parent on Linux")
def test_other_code_does_not_continue(cli, home: Path, toy_site: Path) -> None:
    cli.site = shutil.copytree(toy_site, cli.cwd / "site")  # all test processes share the other
    beside = home / "data" / ".toy-stand-in.import"
    process = slow(cli, home)
    wait_for(lambda: lines(beside / "journal.jsonl") >= 2, process)
    kill(process)
    asset = cli.site / "zsar_toy" / "stand_in.toml"
    asset.write_text(asset.read_text().replace("0.25", "0.5"))
    done = cli("data", "import", "toy-stand-in", home=home)
    assert "starting afresh" in done.stderr
    clips = open_dataset("toy-stand-in").read_clips(list(range(96)))
    assert all(np.ptp(clip[:, 0, 2], axis=0).max() > 0.6 for clip in clips)  # none of the old


def test_an_interrupt_keeps_what_is_done(cli, home: Path) -> None:
    beside = home / "data" / ".toy-stand-in.import"
    process = slow(cli, home)
    wait_for(lambda: lines(beside / "journal.jsonl") >= 2, process)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "The same command continues" in said
    listed = cli("data", "list", home=home).stdout
    assert "Unfinished: toy-stand-in." in listed
    cli("data", "rm", "toy-stand-in", home=home)
    assert list((home / "data").iterdir()) == []
    assert (
        "Unknown prepared data set" in cli("data", "rm", "toy-stand-in", home=home, check=2).stderr
    )


def test_of_two_at_once_one_works(cli, home: Path) -> None:
    journal = home / "data" / ".toy-stand-in.import" / "journal.jsonl"
    first = slow(cli, home, sleep=0.1)
    wait_for(lambda: lines(journal) >= 1, first)
    second = slow(cli, home, sleep=60)  # it would take for ever if it did anything
    refused = cli("data", "rm", "toy-stand-in", home=home, check=2)
    assert "is being imported right now" in refused.stderr
    said = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "waiting" not in said[0]
    assert "toy-stand-in is being made; waiting." in said[1]
    assert sorted(p.name for p in (home / "data").iterdir()) == ["toy-stand-in"]
    assert len(open_dataset("toy-stand-in")) == CLIPS


def test_a_dead_holders_lock_holds_nothing(cli, home: Path) -> None:
    beside = home / "data" / ".toy-stand-in.import"
    beside.mkdir()
    (beside / ".lock").touch()
    (beside / "journal.jsonl").write_text("no journal\n{}\n[1]\n")
    cli("data", "import", "toy-stand-in", home=home)
    assert sorted(p.name for p in (home / "data").iterdir()) == ["toy-stand-in"]


def test_after_bad_files_only_their_shards_are_read_again(
    cli, home: Path, toy_raw: Path, toy_home: Path, tmp_path: Path
) -> None:
    raw = shutil.copytree(toy_raw, tmp_path / "raw")
    good = (raw / "c2_s3_r1.npy").read_bytes()
    (raw / "c2_s3_r1.npy").write_bytes(good[:-9])
    (raw / "c4_s5_r2.npy").unlink()
    (raw / "c4_s5_r2.npy").symlink_to(tmp_path / "nowhere")
    words = ("data", "import", "toy-motion", raw)
    refused = cli(*words, home=home, check=2).stderr
    assert "2 of 96 files cannot be read; nothing was imported" in refused
    assert "c2_s3_r1.npy: it is not a whole .npy file" in refused
    assert "c4_s5_r2.npy: No such file or directory" in refused
    assert "What was read is kept" in refused
    shards = home / "data" / ".toy-motion.import" / "store" / "shards"
    kept = inodes(shards)
    # Left out: it goes on from there. (A copy, to go two ways from here.)
    twin = shutil.copytree(home, tmp_path / "twin")
    facts = json.loads(cli(*words, "--skip-bad", "--json", home=twin).stdout)
    assert (facts["clips"], len(facts["skipped"])) == (94, 2)
    # Replaced: as if nothing had ever been wrong.
    (raw / "c2_s3_r1.npy").write_bytes(good)
    (raw / "c4_s5_r2.npy").unlink()
    shutil.copy(toy_raw / "c4_s5_r2.npy", raw)
    said = cli(*words, home=home).stderr
    assert "Continuing an unfinished import: 46 of 48 parts are there." in said
    data = home / "data" / "toy-motion"
    assert contents(data) == contents(toy_home / "data" / "toy-motion")
    again = {name for name, i in inodes(data / "shards").items() if kept[name] != i}
    assert again <= {"c2_3.npy", "c4_5.npy"}


def test_a_changed_file_is_read_again(cli, home: Path, toy_raw: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(toy_raw, tmp_path / "raw")
    (raw / "c1_s1_r1.npy").write_bytes(b"")
    cli("data", "import", "toy-motion", raw, home=home, check=2)
    moved = np.load(raw / "c2_s3_r1.npy") + np.float32(1)
    np.save(raw / "c2_s3_r1.npy", moved)  # as long as before
    cli("data", "import", "toy-motion", raw, "--skip-bad", home=home)
    data = open_dataset("toy-motion")
    (stored,) = data.read_clips([data.clips["id"].index("c2_s3_r1")])
    np.testing.assert_array_equal(stored, moved)


# --- Sources -----------------------------------------------------------------------------------


def packed(files: list[Path], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"in/{file.name}")
    return path


def test_several_sources_are_one_data_set(
    cli, home: Path, toy_raw: Path, toy_home: Path, tmp_path: Path
) -> None:
    files = sorted(toy_raw.iterdir())
    one, two = packed(files[:30], tmp_path / "one.zip"), packed(files[30:70], tmp_path / "two.zip")
    three = tmp_path / "three"
    three.mkdir()
    for file in files[70:]:
        shutil.copy(file, three)
    cli("data", "import", "toy-motion", two, three, one, home=home)
    expected = contents(toy_home / "data" / "toy-motion")
    assert contents(home / "data" / "toy-motion") == expected
    again = packed(files[29:31], tmp_path / "again.zip")
    refused = cli("data", "import", "toy-motion", one, again, "--force", home=home, check=2).stderr
    clip = files[29].stem
    same = f"one.zip: in/{clip}.npy and again.zip: in/{clip}.npy are the same clip '{clip}'"
    assert same in refused
    assert contents(home / "data" / "toy-motion") == expected


def encrypt(path: Path, names: set[str]) -> None:
    """Set the flag that says so, in the headers and in the directory."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    at = 0
    for entry in entries:
        at = data.index(b"PK\x01\x02", at + 1)
        if entry.filename in names:
            data[entry.header_offset + 6] |= 1
            data[at + 8] |= 1
    path.write_bytes(data)


def test_encrypted_archives(cli, home: Path, toy_raw: Path, tmp_path: Path) -> None:
    path = packed(sorted(toy_raw.iterdir()), tmp_path / "raw.zip")
    encrypt(path, {"in/c1_s1_r1.npy"})
    words = ("data", "import", "toy-motion", path)
    said = cli(*words, home=home, check=2).stderr
    assert "1 of 96 files" in said
    assert "in/c1_s1_r1.npy: it is encrypted; unpack the archive with its password" in said
    with zipfile.ZipFile(path) as archive:
        encrypt(path, set(archive.namelist()))
    said = cli(*words, home=home, check=2).stderr
    assert f"{path}: every clip is encrypted." in said
    assert "Unpack the archive with its password" in said


def test_a_folder_of_archives_as_downloaded(cli, home: Path, toy_raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    packed(sorted(toy_raw.iterdir()), folder / "toy.zip")
    (folder / "more.7z").write_bytes(b"7z\xbc\xaf")
    done = cli("data", "import", "toy-motion", folder, home=home)
    assert "96 clips" in done.stdout
    cli("data", "rm", "toy-motion", home=home)
    (folder / "toy.zip").rename(tmp_path / "toy.zip")
    said = cli("data", "import", "toy-motion", folder, home=home, check=2).stderr
    assert "holds no clip of Toy Motion, but archives: more.7z." in said
    assert "Give the zip archives themselves" in said
    (tmp_path / "toy.zip").rename(folder / "toy.zip")
    said = cli("data", "import", "toy-motion", folder / "more.7z", home=home, check=2).stderr
    assert "is not a readable zip archive: it is a 7z archive" in said
    whole = (folder / "toy.zip").read_bytes()
    (folder / "toy.zip").write_bytes(whole[: len(whole) // 2])
    said = cli("data", "import", "toy-motion", folder / "toy.zip", home=home, check=2).stderr
    assert "its end is missing, so it was not downloaded whole" in said
    assert list((home / "data").iterdir()) == []


class Knowing:
    """A reader that knows a sister data set and what a whole one would be."""

    def identify(self, name: str) -> Any:
        from zsar_bench.contracts import ClipName

        return ClipName(name, "c1", "1") if name.startswith("clip") else None

    def aside(self, name: str) -> str:
        return "of the sister" if name.startswith("sister") else ""

    def coverage(self, ids: list[str]) -> list[str]:
        return [f"{9 - len(ids)} are missing"]


def test_what_a_reader_may_know_besides(entry: Entry, tmp_path: Path) -> None:
    for name in ("clip1", "sister1", "sister2", "sister3", "sister4", "notes.txt"):
        (tmp_path / name).touch()
    listing = list_files(Knowing(), entry.spec, [tmp_path])  # type: ignore[arg-type]
    assert [clip.id for clip in listing["clips"]] == ["clip1"]
    assert listing["coverage"] == ["8 are missing"]
    assert listing["aside"] == {
        "no clip": {"count": 1, "first": ["notes.txt"]},
        "of the sister": {"count": 4, "first": ["sister1", "sister2", "sister3"]},
    }
    (tmp_path / "clip1").unlink()
    with pytest.raises(UserError, match=r"no clip of .* \(4 files: of the sister"):
        list_files(Knowing(), entry.spec, [tmp_path])  # type: ignore[arg-type]


# --- Large sets --------------------------------------------------------------------------------


MEASURED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from zsar_bench.data.clips.import_job import Listed, ShardMaker

def peak_memory():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024

clips, frames = int(sys.argv[1]), int(sys.argv[2])
take = lambda listed: (np.full((frames, 1, 5, 3), i, np.float32) for i, _ in enumerate(listed))
spec = {"layout": sys.argv[3], "bodies": 1, "min_frames": 1}
maker = ShardMaker(take, spec, Path(sys.argv[4]), lambda clips: None)
maker.make([Listed("warm", "c1", "1", "", "", "warm.npy")])
before = peak_memory()
maker.make(Listed(str(n), "c1", "1", "", "", "big.npy") for n in range(clips))
print(peak_memory() - before)
"""


def test_a_shard_of_any_size_needs_the_memory_of_a_clip(entry: Entry, tmp_path: Path) -> None:
    clips, frames = 60, 50_000  # 3 MB each, 180 MB in all
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(clips), str(frames), entry.spec["layout"], tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 30e6
    shard = np.load(tmp_path / "big.npy", mmap_mode="r")
    assert shard.shape == (clips * frames, 1, 5, 3)
    assert [shard[n * frames + 7, 0, 4, 2] for n in range(clips)] == list(range(clips))
    small = np.load(tmp_path / "warm.npy")
    np.save(tmp_path / "saved.npy", small)
    assert (tmp_path / "warm.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_a_full_disk_is_said(entry: Entry, tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
    done = subprocess.run(
        [sys.executable, "-c", limited + MEASURED, "9", "50000", entry.spec["layout"], tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"UserError: Cannot write {tmp_path}/" in done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.glob("*.npy")) == list(tmp_path.glob(".*.npy*")) == []


@pytest.mark.slow
def test_as_many_files_as_ntu_120(
    home: Path, toy_process: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """114,480 small files in two archives: under 1.5 GiB in every process."""
    from zsar_toy.make import clip

    archives = [zipfile.ZipFile(tmp_path / f"{n}.zip", "w") for n in (1, 2)]
    raw = tmp_path / "clip.npy"
    for number in range(1, 7):
        np.save(raw, clip(number, 1, 1))
        data = raw.read_bytes()
        for subject in range(1, 107):
            for repetition in range(1, 181):
                name = f"c{number}_s{subject}_r{repetition}.npy"
                archives[subject % 2].writestr(name, data)
    for archive in archives:
        archive.close()
    words = ["data", "import", "toy-motion", *(archive.filename for archive in archives)]
    script = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'zsar_bench', *sys.argv[1:], '--json'])\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(json.dumps({'rss': used * 1024, 'code': done.returncode}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    *facts, measured = done.stdout.splitlines()
    about, measured = json.loads("\n".join(facts)), json.loads(measured)
    with capsys.disabled():
        print(f"\n{about['clips']} clips, {about['seconds']} s, {measured['rss'] / 1e6:.0f} MB")
    assert measured["code"] == 0
    assert about["clips"] == 6 * 106 * 180
    assert measured["rss"] < 1.5 * 2**30
