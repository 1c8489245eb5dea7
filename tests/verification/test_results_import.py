"""Runs of other machines: verified before they are believed, and put nowhere else."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from kit.command import Cli
from kit.paths import REFERENCE
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.cli import app
from zsar_bench.common.hashing import digest
from zsar_bench.errors import UserError
from zsar_bench.records.files import (
    find_records,
    read_predictions,
    read_record,
    seal_run,
    write_predictions,
)
from zsar_bench.verification import recheck
from zsar_bench.verification.transfer import check_runs, import_runs

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

Json = dict[str, Any]
Edit = Callable[[Json], None]


@pytest.fixture(scope="module")
def one_run(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of toy-ridge on toy-4-2; never to be changed."""
    command = Cli(toy_home, toy_site, tmp_path_factory.mktemp("other-machine"), real=False)
    command.run("toy-ridge")
    [folder] = find_records(command.cwd / "results")
    return folder


@pytest.fixture
def theirs(one_run: Path, toy_process: Path, tmp_path: Path) -> Path:
    """The same run in a folder of the test's own."""
    return shutil.copytree(one_run, tmp_path / "theirs" / "run")


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, ["results", *map(str, words)])


def told(source: Path, results: Path) -> list[tuple[str, str]]:
    return [(v.status, v.about) for v in import_runs(source, results, load())]


def edit(folder: Path, change: Edit) -> None:
    """Change a record and seal the run again: a seal is no lock."""
    path = folder / "run.json"
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))
    seal_run(folder)


def renamed(record: Json) -> None:
    """Give a record the id of its identity, as a careful liar would."""
    record["run_id"] = digest(record["identity"])[:16]


# --- The honest ---------------------------------------------------------------------------------


def test_a_run_comes_over_whole_and_is_kept_the_second_time(theirs: Path, tmp_path: Path) -> None:
    done = invoke("import", theirs.parent, "--results", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    record = read_record(theirs)
    place = tmp_path / "mine" / "runs" / "toy-4-2" / "toy-ridge" / record.run_id
    assert {p.name: p.read_bytes() for p in place.iterdir()} == {
        p.name: p.read_bytes() for p in theirs.iterdir()
    }
    assert "imported run: toy-4-2/toy-ridge/" in done.output
    assert f"top-1 {100 * record.metrics.top1:.1f}" in done.output
    assert "not computed again: toy-rank" in done.output
    again = invoke("import", theirs, "--results", tmp_path / "mine")
    assert (again.exit_code, "1 runs: 1 kept." in again.output) == (0, True)


def test_what_differs_by_clock_and_machine_only_is_the_same(theirs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert told(theirs, mine)[0][0] == "imported"

    def later(record: Json) -> None:
        record["created"] = "2030-01-01T00:00:00+00:00"
        record["environment"]["platform"] = "another"
        record["seconds"]["fit"] = 1e6

    edit(theirs, later)
    assert told(theirs, mine)[0][0] == "kept"
    edit(theirs, lambda record: record["method"].update(hp="authors"))
    [(status, about)] = told(theirs, mine)
    assert (status, "it differs in method" in about) == ("refused", True)
    [kept] = find_records(mine)
    assert read_record(kept).method.hp != "authors"


def test_an_archive_is_read_without_unpacking(theirs: Path, tmp_path: Path) -> None:
    archive = tmp_path / "runs.zip"
    with zipfile.ZipFile(archive, "w") as f:
        for path in theirs.iterdir():
            f.write(path, f"../../outside/{path.name}")
        f.writestr("../../outside/evil.py", "print('no')")
        f.writestr("/etc/evil", "no")
    before = set(tmp_path.rglob("*"))
    assert [status for status, _ in told(archive, tmp_path / "mine")] == ["imported"]
    made = set(tmp_path.rglob("*")) - before
    assert all(p.is_relative_to(tmp_path / "mine") for p in made)
    assert {p.name for p in made if p.is_file()} == {p.name for p in theirs.iterdir()}
    assert not (tmp_path.parent / "outside").exists()


def test_a_run_on_data_that_are_not_here_is_taken_as_far_as_it_can_be_checked(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "empty"))
    done = invoke("import", theirs, "--results", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    assert "the data 'toy-motion' are not here" in done.output
    monkeypatch.setattr(recheck, "choose_data", _no_protocol)
    [verdict] = import_runs(theirs, tmp_path / "other", load())
    assert verdict.notes[0] == "the protocol is not here (no such protocol)"


def _no_protocol(*given: Any) -> None:
    raise UserError("no such protocol.")


def test_all_reference_runs_are_what_they_say(toy_process: Path) -> None:
    """Every number of every committed run follows from its predictions, in every schema."""
    catalogue = load()
    some = sorted((REFERENCE / "runs").glob("*/*"))
    folders = [next(folder.iterdir()) for folder in some]
    assert len(folders) >= 30
    here = recheck.Known(catalogue)
    for folder in folders:
        assert recheck.check_run(folder, catalogue, here).record.run_id == folder.name


# --- What is refused ----------------------------------------------------------------------------


def _better(record: Json) -> None:
    record["metrics"]["top1"] += 0.05


def _cells(record: Json) -> None:
    """Move credit between subjects, so that every sum stays as it was."""
    row = record["metrics"]["cells"]["c2"]
    record["metrics"]["cells"]["c2"] = {s: row[t] for s, t in zip(row, [*row][::-1], strict=True)}


def _other_method(record: Json) -> None:
    record["method"]["name"] = "toy-faulty"


def _other_method_and_identity(record: Json) -> None:
    _other_method(record)
    record["identity"]["method"]["name"] = "toy-faulty"


def _params(record: Json) -> None:
    record["method"]["science"]["strength"] = 12345.0


def _seed(record: Json) -> None:
    record["method_seed"] = 7
    record["identity"]["seeds"] = [0, 8]
    renamed(record)


def _protocol(record: Json) -> None:
    record["protocol"]["digest"] = record["identity"]["protocol"] = "0" * 64
    renamed(record)


def _setting(record: Json) -> None:
    record["rescoring"]["largest_change"] = 1e9


def _tolerance(record: Json) -> None:
    record["rescoring"]["largest_change"] = 1e9
    record["rescoring"]["tolerance"] = 1e10


def _unknown(record: Json) -> None:
    record["encoder"]["origin"] = "unknown"


def _climbs(record: Json) -> None:
    record["method"]["name"] = record["identity"]["method"]["name"] = "../../../climbed"
    renamed(record)


def _climbs_by_protocol(record: Json) -> None:
    record["protocol"]["id"] = "../climbed"


def _nan(record: Json) -> None:
    record["metrics"]["mean_class"] = float("nan")


LIES: dict[str, tuple[Edit, str]] = {
    "a better number": (_better, "metrics.top1: the record says"),
    "not a number": (_nan, "metrics.mean_class: the record says nan"),
    "cells": (_cells, "metrics.cells: they do not follow"),
    "another method": (_other_method, "its 'method' is not what the record says"),
    "its identity too": (_other_method_and_identity, "run_id: it is"),
    "parameters": (_params, "its 'method' is not what the record says"),
    "seed": (_seed, "its 'seeds' is not what the record says"),
    "protocol": (_protocol, "has other classes or another sample rule here"),
    "setting": (_setting, "method.setting: the record says inductive"),
    "tolerance": (_tolerance, "rescoring.tolerance: it does not follow"),
    "origin": (_unknown, "origin: it disagrees with the fields that are unknown"),
    "a name that climbs": (_climbs, "method.name: '../../../climbed' is no such name"),
    "a protocol that climbs": (_climbs_by_protocol, "protocol.id: '../climbed' is no such name"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_does_not_follow_is_refused(lie: str, theirs: Path, tmp_path: Path) -> None:
    change, said = LIES[lie]
    edit(theirs, change)
    mine = tmp_path / "deep" / "er" / "mine"
    [(status, about)] = told(theirs, mine)
    assert (status, said in about) == ("refused", True), about
    assert not [p for p in mine.rglob("*") if p.is_file()]
    assert not list(tmp_path.rglob("*climbed*"))


Parts = list[Any]


def _relabel(parts: Parts) -> None:
    parts[1] = 1 - parts[1]


def _reorder(parts: Parts) -> None:
    parts[0] = parts[0][::-1]


def _fewer(parts: Parts) -> None:
    parts[0], parts[1], parts[3] = parts[0][1:], parts[1][1:], parts[3][1:]


def _open_score(parts: Parts) -> None:
    row = int(np.flatnonzero(parts[1] == 0)[0])
    parts[3][row, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_relabel, "labels: 32 of 32 clips have another class in the data here"),
        (_reorder, "labels: "),
        (_fewer, "clips: they are not the protocol's test clips (1 are missing, 0 are others"),
        (_open_score, "predictions: some scores are not finite"),
    ],
)
def test_a_careful_liar_is_caught_by_the_store(
    change: Callable[[Parts], None], said: str, theirs: Path, tmp_path: Path
) -> None:
    """Everything that follows from the predictions is made to follow from the false ones."""
    from zsar_bench.metrics.accuracy import tolerance
    from zsar_bench.metrics.measures import measure

    parts = [*read_predictions(theirs / "predictions.safetensors")]
    change(parts)
    ids, labels, candidates, scores = parts
    write_predictions(theirs / "predictions.safetensors", *parts)
    seal_run(theirs)
    clips = json.loads((Path(_home()) / "data/toy-motion/dataset.json").read_bytes())["clips"]
    who = dict(zip(clips["id"], clips["subject"], strict=True))
    metrics = measure(candidates, labels, [who[i] for i in ids], scores)

    def follow(record: Json) -> None:
        record["metrics"] = json.loads(json.dumps(asdict(metrics)))
        record["protocol"]["samples"] = digest(sorted(ids))
        record["rescoring"]["tolerance"] = tolerance(scores, "float32")

    edit(theirs, follow)
    [(status, about)] = told(theirs, tmp_path / "mine")
    assert (status, said in about) == ("refused", True), about


def _home() -> str:
    import os

    return os.environ["ZSAR_BENCH_HOME"]


def test_a_run_that_is_cut_or_lacks_a_file_is_refused(theirs: Path, tmp_path: Path) -> None:
    (theirs / "seal.json").unlink()
    whole = (theirs / "predictions.safetensors").read_bytes()
    (theirs / "predictions.safetensors").write_bytes(whole[:-8])
    assert "is damaged" in told(theirs, tmp_path / "mine")[0][1]
    (theirs / "predictions.safetensors").unlink()
    assert told(theirs, tmp_path / "mine") == [("refused", "predictions.safetensors is missing")]
    (theirs / "predictions.safetensors").write_bytes(whole)
    (theirs / "events.jsonl").write_text("{}\n[1]\n")
    seal_run(theirs)
    assert told(theirs, tmp_path / "mine")[0][1] == "events.jsonl, line 2: it is no JSON object"
    assert not (tmp_path / "mine").exists()


def test_a_broken_seal_is_a_refusal(theirs: Path, tmp_path: Path) -> None:
    path = theirs / "run.json"
    path.write_bytes(path.read_bytes() + b" ")  # says the same
    [(status, about)] = told(theirs, tmp_path / "mine")
    assert (status, "run.json is damaged" in about) == ("refused", True), about
    assert str(tmp_path) not in about
    (theirs / "seal.json").unlink()
    [(status, about)] = told(theirs, tmp_path / "mine")
    assert (status, "seal.json is damaged: it is missing" in about) == ("refused", True), about
    seal_run(theirs)
    assert told(theirs, tmp_path / "mine")[0][0] == "imported"


def test_links_do_not_bring_files_of_this_machine(theirs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"key": 1}\n')
    (theirs / "events.jsonl").unlink()
    (theirs / "events.jsonl").symlink_to(secret)
    seal_run(theirs)
    [(status, about)] = told(theirs, tmp_path / "mine")
    assert (status, "is a link" in about) == ("refused", True)


def test_one_bad_run_does_not_keep_the_others_out(theirs: Path, tmp_path: Path) -> None:
    shutil.copytree(theirs, theirs.with_name("bad"))
    edit(theirs.with_name("bad"), _better)
    done = invoke("import", theirs.parent, "--results", tmp_path / "mine")
    assert done.exit_code == 1
    assert "2 runs: 1 imported, 1 refused." in done.output
    assert len(find_records(tmp_path / "mine")) == 1


def test_killed_while_writing_nothing_has_a_final_name(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zsar_bench.common.files.rename_folder", die)
    with pytest.raises(KeyboardInterrupt):
        told(theirs, tmp_path / "mine")
    assert find_records(tmp_path / "mine") == []


def test_a_source_without_runs_is_an_error(tmp_path: Path) -> None:
    catalogue = Catalogue({}, [])
    with pytest.raises(UserError, match="There are no runs"):
        list(import_runs(tmp_path, tmp_path / "mine", catalogue))
    with pytest.raises(UserError, match="There are no finished runs"):
        list(check_runs(tmp_path, catalogue))


# --- In place -----------------------------------------------------------------------------------


def test_runs_are_checked_in_place(theirs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    told(theirs, mine)
    [folder] = find_records(mine)
    done = invoke("check", mine)
    assert (done.exit_code, "1 runs: 1 sound." in done.output) == (0, True), done.output
    moved = folder.with_name("0" * 16)
    folder.rename(moved)
    done = invoke("check", mine, "--json")
    assert done.exit_code == 1
    [verdict] = json.loads(done.stdout)
    assert "it lies in the wrong folder" in verdict["about"]
    moved.rename(folder)
    edit(folder, partial(_better))
    [verdict] = json.loads(invoke("check", mine, "--json").stdout)
    assert (verdict["status"], "metrics.top1" in verdict["about"]) == ("refused", True)


def test_self_reported_scores_are_checked_too(theirs: Path, tmp_path: Path) -> None:
    words = ["score", "--protocol", "toy-4-2", "--scores", theirs / "predictions.safetensors"]
    done = CliRunner().invoke(app, [*map(str, words), "--results", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    [(status, about)] = told(tmp_path / "a", tmp_path / "b")
    assert (status, "self-reported, none" in about) == ("imported", True)
    [folder] = find_records(tmp_path / "b")
    edit(folder, lambda record: record["method"]["science"].update(scores="f" * 12))
    told_now = json.loads(invoke("check", tmp_path / "b", "--json").stdout)[0]["about"]
    assert told_now.startswith("method.science: ")
    edit(folder, lambda record: record.update(origin="run"))
    assert "origin: " in json.loads(invoke("check", tmp_path / "b", "--json").stdout)[0]["about"]
