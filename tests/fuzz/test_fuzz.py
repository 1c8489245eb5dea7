"""The fuzzing campaign: a short one here, and what it does with parsers that have a bug."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from zsar_datasets import DATA

from benchmarks.fuzz import campaign
from benchmarks.fuzz.__main__ import main
from benchmarks.fuzz.attempt import ACCEPTED, REFUSED, attempt, watched
from benchmarks.fuzz.campaign import Campaign, Tally, run
from benchmarks.fuzz.mutate import MUTATIONS, Chance, Seed, made, mutated
from benchmarks.fuzz.registry import find, names, zipped
from kit import planted_bugs
from kit.memory import limited
from kit.paths import ROOT
from zsar_bench.errors import DataError

INPUTS = 300


@pytest.mark.parametrize("name", names())
def test_only_errors_of_ours_come_out(name: str, tmp_path: Path) -> None:
    seeds, read, confined = find(name)(tmp_path)
    with watched(), limited():
        for seed in seeds:  # only what is damaged is refused, so that damage goes deep
            assert attempt(read, seed.pack(seed.data)).kind == ACCEPTED
        for number in range(INPUTS):
            outcome = attempt(read, made(name, number, seeds), confined=confined)
            again = f"python -m benchmarks.fuzz --replay {name} {number}"
            assert outcome.kind in (ACCEPTED, REFUSED), f"{again}\n{outcome.what}\n{outcome.trace}"


def test_every_reader_is_a_target() -> None:
    abouts = [tomllib.loads(path.read_text("utf-8")) for path in DATA.glob("*/dataset.toml")]
    readers = {about["reader"].partition(":")[0] for about in abouts if "parts" not in about}
    assert len(readers) >= 8
    lacking = {r for r in readers if not any(name.startswith(r) for name in names())}
    assert not lacking


# --- The mutator -----------------------------------------------------------------------------


def test_the_mutator_does_the_same_everywhere() -> None:
    """On every version of Python and every machine, or a replay would read something else."""
    text = b'{"frames": [[0.5, -1, 2e3]], "label": 17}\n' * 9
    seeds = [Seed(text), Seed(bytes(range(256)), hot=((9, 30), (200, 256)))]
    digest = hashlib.sha256()
    for number in range(100):
        digest.update(made("a target", number, seeds) + b"\0\0")
    assert digest.hexdigest() == PINNED
    other = hashlib.sha256(made("a target", 0, seeds, campaign=1)).digest()
    assert other != hashlib.sha256(made("a target", 0, seeds)).digest()


PINNED = "028bbc324c41c20c24e5a679e48976f45faede70226fe00443f1363491b1dd05"


def test_every_mutation_takes_any_bytes() -> None:
    for change in MUTATIONS:
        outcomes = set()
        for number in range(60):
            for data in (b"", b"x", b"one 2 three", bytes(300)):
                chance = Chance(f"{number}")
                at = chance.below(len(data) + 1)
                outcomes.add(change(data, at, b"other 4", chance) != data)
        assert True in outcomes, change.__name__


def test_damage_goes_where_it_is_sent_and_does_not_grow_without_end() -> None:
    data = bytes(5000)
    inside = changed = 0
    for number in range(300):
        out = mutated(data, data, Chance(f"{number}"), hot=((1000, 1010),))
        assert len(out) <= 4 * len(data) + 2**16
        start = next((i for i, b in enumerate(out) if b), None)
        if start is not None:
            changed += 1
            inside += 990 <= start <= 1010
    assert changed > 100
    assert inside > 0.7 * changed


def test_a_part_is_packed_again_with_right_checksums(tmp_path: Path) -> None:
    """Damage in a part of a workbook reaches the part's parser: it is no fault of the archive."""
    seeds, read, _ = find("texts_xlsx")(tmp_path)
    inner = [seed for seed in seeds if not seed.data.startswith(b"PK")]
    assert len(inner) == 5
    for seed in inner:
        whole = seed.pack(seed.data[:-9])
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            assert archive.testzip() is None
        with pytest.raises(DataError, match=r"is damaged: (?!.*archive)"):
            read(whole)
    assert zipped({"a": b"x"}) == zipped({"a": b"x"})


# --- The campaign ----------------------------------------------------------------------------


def campaign_of(*bugs: str, inputs: int = 40, **more: object) -> dict[str, Tally]:
    targets = [f"planted_bugs:{bug}" for bug in bugs]
    found = run(Campaign(targets, inputs, seconds=0.2, **more))  # type: ignore[arg-type]
    return {name.partition(":")[2]: tally for name, tally in found.items()}


def bad_numbers(bug: str, inputs: int = 40) -> list[int]:
    data = [made(f"planted_bugs:{bug}", n, planted_bugs.SEEDS) for n in range(inputs)]
    return [n for n, one in enumerate(data) if planted_bugs.is_bad(one)]


SAID = {
    "key_error": "KeyError: 'missing'",
    "allocates": "MemoryError",
    "hides": "MemoryError, told as DataError",
    "warns": "RuntimeWarning: an overflow",
    "writes": "Escaped: it opens ",
    "reads": "Escaped: it opens /etc/passwd",
    "recurses": "RecursionError",
    "endless": "DataError of more than",
    "clears": "DataError that no terminal shows",
    "exits": "SystemExit: 3",
}


def test_planted_bugs_are_found_counted_and_described() -> None:
    found = campaign_of("fine", "keeps", *SAID)
    for bug in ("fine", "keeps"):
        data = [made(f"planted_bugs:{bug}", n, planted_bugs.SEEDS) for n in range(40)]
        refused = sum(len(one) % 2 for one in data)
        assert (found[bug].bad, found[bug].refused) == (0, refused)
        assert found[bug].accepted == 40 - refused > 0
        assert not found[bug].faults
    for bug, said in SAID.items():
        bad = bad_numbers(bug)
        assert bad, bug
        tally = found[bug]
        assert (tally.foreign, tally.slow, tally.killed) == (len(bad), 0, 0), bug
        assert tally.inputs == 40
        (fault,) = tally.faults.values()
        assert fault["what"].startswith(said)
        assert (fault["number"], fault["count"], fault["kind"]) == (bad[0], len(bad), "foreign")
        assert "planted_bugs.py" in fault["trace"] or bug in ("exits", "recurses")
        assert str(ROOT) not in fault["trace"]  # it is committed: no path of a machine
        assert 10 << 10 < tally.memory < 1 << 20
        assert tally.seconds > 0


def test_memory_that_runs_out_within_walls_is_a_refusal() -> None:
    seeds, read, _ = planted_bugs.allocates(Path())
    bad = next(data for n in range(99) if planted_bugs.is_bad(data := made("x", n, seeds)))
    with watched(), limited():
        assert attempt(read, bad).what.startswith("MemoryError")
        assert attempt(read, bad, confined=True).kind == REFUSED
        hidden = attempt(planted_bugs.hides(Path()).read, bad, confined=True)
    assert hidden.what.startswith("MemoryError, told as DataError")


def test_what_is_slow_grows_or_dies_does_not_end_the_campaign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = campaign_of("sleeps", "grows", "dies", inputs=20)
    monkeypatch.setattr(campaign, "STUCK", 2.0)
    found |= campaign_of("spins", inputs=1 + bad_numbers("spins")[0])
    counts = {bug: (tally.foreign, tally.slow, tally.killed) for bug, tally in found.items()}
    bad = {bug: len(bad_numbers(bug, 20)) for bug in found}
    assert min(bad.values()) > 0
    assert counts == {
        "sleeps": (0, bad["sleeps"], 0),
        "grows": (1, 0, 0),  # the first one keeps what it took
        "dies": (0, 0, bad["dies"]),
        "spins": (0, 0, 1),
    }
    said = {bug: next(iter(tally.faults)) for bug, tally in found.items()}
    assert said["sleeps"].startswith("slow: more than 0.2 s")
    assert "took 300 MiB" in said["grows"] or "took 299 MiB" in said["grows"]
    assert said["dies"] == "killed by SIGSEGV"
    assert said["spins"].startswith("stuck")
    assert "planted_bugs.py" in found["dies"].faults[said["dies"]]["trace"]
    assert str(ROOT) not in found["dies"].faults[said["dies"]]["trace"]
    assert all(found[bug].inputs == 20 for bug in ("sleeps", "grows", "dies"))


def test_reports_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "planted_bugs:key_error",
        "planted_bugs:fine",
        "--inputs",
        "40",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 1
    about = json.loads((tmp_path / "FUZZ.json").read_text())
    assert about["targets"]["planted_bugs:key_error"]["foreign"] == len(bad_numbers("key_error"))
    report = (tmp_path / "FUZZ.md").read_text()
    first = bad_numbers("key_error")[0]
    assert f"--replay planted_bugs:key_error {first}`" in report
    assert "| planted_bugs:fine | 40 |" in report
    assert "Not finished" not in report
    capsys.readouterr()
    kept = tmp_path / "kept"
    assert main(["--replay", "planted_bugs:key_error", str(first), "--save", str(kept)]) == 1
    told = capsys.readouterr().out
    assert "KeyError: 'missing'" in told
    assert "Traceback" in told
    assert planted_bugs.is_bad(kept.read_bytes())
    good = next(n for n in range(40) if n not in bad_numbers("key_error"))
    assert main(["--replay", "planted_bugs:key_error", str(good)]) == 0
    assert capsys.readouterr().out.split()[-1] in ("accepted", "refused")


def test_some_targets_again_keep_what_is_known_of_others(tmp_path: Path) -> None:
    assert (
        main(["planted_bugs:fine", "planted_bugs:keeps", "--inputs", "9", "--out", str(tmp_path)])
        == 0
    )
    before = json.loads((tmp_path / "FUZZ.json").read_text())
    assert main(["planted_bugs:keeps", "--inputs", "5", "--again", "--out", str(tmp_path)]) == 0
    about = json.loads((tmp_path / "FUZZ.json").read_text())
    assert [one["inputs"] for one in about["targets"].values()] == [9, 5]
    kept = about["targets"]["planted_bugs:fine"]
    assert kept == before["targets"]["planted_bugs:fine"] | {
        "date": before["date"],
        "commit": before["commit"],
    }
    report = (tmp_path / "FUZZ.md").read_text()
    assert f"From an earlier campaign, {before['date']}, commit" in report
    assert "| planted_bugs:fine | 9 |" in report


def test_what_was_not_done_is_said(tmp_path: Path) -> None:
    assert (
        main(["planted_bugs:fine", "--inputs", "9", "--minutes", "0", "--out", str(tmp_path)]) == 0
    )
    report = (tmp_path / "FUZZ.md").read_text()
    assert "| planted_bugs:fine | 0 of 9 |" in report
    assert "Not finished within the time, or given up: planted_bugs:fine." in report
    started = time.time()
    found = campaign_of("fine", inputs=100_000, until=started + 1.5)["fine"]
    assert 0 < found.inputs < 100_000
    assert time.time() - started < 60


def test_a_target_that_always_dies_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "DEADLY", 1)
    found = campaign_of("dies", inputs=200)["dies"]
    assert found.killed == 1
    assert found.inputs < 200


def test_children_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    campaign_of("keeps", "dies", inputs=10)
    assert not list(tmp_path.iterdir())
