"""Whole runs of a third party's plugin: what they leave, what workers see, faults, kills."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
from pydantic import BaseModel
from safetensors.numpy import load_file, save

from kit.command import TOY_ENCODERS, Cli, see_plugins
from kit.toy_plans import WITNESS, plan_without_workers, plans
from zsar_bench.api import running
from zsar_bench.catalogue import catalogue
from zsar_bench.common.files import locked
from zsar_bench.common.hashing import content_order, digest
from zsar_bench.comparison.sections import compare
from zsar_bench.data.clips.store import open_dataset
from zsar_bench.errors import UserError
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.records import schema
from zsar_bench.records.files import load_records, read_predictions, read_record, write_predictions
from zsar_bench.reporters.progress import make_display
from zsar_bench.runs.finish import stages_of
from zsar_bench.runs.schedule.tasks import tasks
from zsar_bench.runs.stages.store import Store
from zsar_bench.sandbox import launch
from zsar_bench.sandbox.confinement.confine import support

SEEN, UNSEEN = ("c1", "c6"), ("c2", "c3", "c4", "c5")
HALVES = (("1", "3", "5", "7"), ("2", "4", "6", "8"))
SAID = {
    f"c{n}": text
    for n, text in enumerate(
        ("up slow", "up fast", "sideways slow", "sideways fast", "forward slow", "forward fast"), 1
    )
}


def words_of(text: str) -> np.ndarray:
    """What ``toy-hash`` makes of a text, computed again from its description."""
    rows = []
    for word in text.split():
        bits = f"{int.from_bytes(hashlib.sha256(word.encode()).digest(), 'big'):0256b}"[::-1]
        rows.append([1.0 if b == "1" else -1.0 for b in bits[:32]])
    return np.mean(rows, axis=0, dtype=np.float32)


def runs_in(results: Path) -> dict[tuple[str, int, int], Path]:
    """Folders of finished runs by method and seeds."""
    found = {}
    for path in (results / "runs").glob("*/*/[!.]*"):
        one = read_record(path)
        found[one.method.name, one.encoder_seed, one.method_seed] = path
    return found


def leftovers(results: Path) -> list[str]:
    """Hidden files and folders: unfinished work."""
    return [p.name for p in (results / "runs").rglob(".*")]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# --- One run, looked at from all sides ---------------------------------------------------------


FAULTS = {
    "os-exit": "the worker exited with code 7 before it had finished",
    "segfault": "the worker was killed by SIGSEGV",
    "exit": "SystemExit: this is the planted exit",
    "nan": "values that are not finite",
    "shape": "score() returned the shape (32, 3), not (32, 4)",
}
IN_SCORE = ("nan", "shape")  #: the others go wrong in fit


def with_write_access(folder: Path) -> Callable[..., Any]:
    """The rules of workers, and one folder more: ``witness`` has to put somewhere what it saw."""
    real = launch.rules

    def rules(*job: Any) -> Any:
        found = real(*job)
        return replace(found, write=(*found.write, str(folder)))

    return rules


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Honest runs, one that looks at its batch, and one of every fault, all in one go.

    Two seen and four unseen classes, so that orders of candidates can be told apart. The
    faulty ones have one half only: workers cost seconds.
    """
    folder = tmp_path_factory.mktemp("base")
    source = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    for old, new in (
        ('"toy-4-2"', '"toy-2-4"'),
        ('["c1", "c4", "c5", "c6"]', '["c6", "c1"]'),
        ('["c2", "c3"]', '["c4", "c5", "c2", "c3"]'),
        ("test_clips = 32", "test_clips = 64"),
    ):
        assert old in source
        source = source.replace(old, new)
    protocol = folder / "toy-2-4.toml"
    protocol.write_text(source)
    seen, results, said = folder / "seen", folder / "results", []
    seen.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        see_plugins(patch, toy_home, toy_site)
        patch.setenv("ZSAR_BENCH_TEST_SEEN", str(seen))
        patch.chdir(folder)
        patch.setattr(
            "zsar_bench.reporters.progress.Display.say", lambda self, text: said.append(text)
        )
        plan_without_workers(patch)
        patch.setattr(launch, "rules", with_write_access(seen))
        batch = ("toy-faulty.fault=batch-stats",)
        witness, ridge, faulty = plans(
            protocol, results, "witness", "toy-ridge", "toy-faulty", sets=batch
        )
        whole = [replace(witness, metric_entries=()), ridge, replace(faulty, metric_entries=())]
        halves = {}
        for fault in FAULTS:
            one = plans(protocol, folder / "faults", "toy-faulty", sets=(f"fault={fault}",))[0]
            halves[fault] = replace(one, encoders=one.encoders[:1])
        planned = running.PlannedRuns([*whole, *halves.values()], catalogue.load([WITNESS]), 2)
        with make_display(planned.runs, planned.todo, 2, quiet=True) as display:
            failed = planned.execute(display)
    calls: dict[str, list[dict[str, np.ndarray]]] = {}
    for path in sorted(seen.glob("*.safetensors")):
        call, pid, _ = path.name.split("-")
        calls.setdefault(f"{call} {pid}", []).append(load_file(path))
    return SimpleNamespace(
        home=toy_home,
        protocol=protocol,
        words=("run", "--protocol", protocol, "--plugin", WITNESS, *TOY_ENCODERS, "--quiet"),
        results=results,
        witness=witness.folder,
        ridge=ridge.folder,
        faulty=faulty.folder,
        faults=halves,
        failed=failed,
        said=said,
        calls=calls,
    )


def test_a_run_leaves_three_files_their_seal_and_nothing_else(base: Any) -> None:
    files = sorted(p.relative_to(base.ridge).as_posix() for p in base.ridge.rglob("*"))
    assert files == ["events.jsonl", "predictions.safetensors", "run.json", "seal.json"]
    assert leftovers(base.results) == []
    assert base.ridge.relative_to(base.results).parts[:3] == ("runs", "toy-2-4", "toy-ridge")


def test_the_record_follows_its_schema_and_names_itself(base: Any) -> None:
    about = json.loads((base.ridge / "run.json").read_bytes())
    jsonschema.validate(about, schema.Record.model_json_schema())
    assert about["run_id"] == base.ridge.name == digest(about["identity"])[:16]
    assert about["identity"]["seeds"] == [0, 0]
    assert about["method"]["profile"] == "laptop"
    assert about["method"]["hp"] == "untuned"  # declared for 'paper', whose steps these are not
    assert about["environment"]["confinement"] == support().level
    rounds = about["encoder"]["rounds"]
    assert [r["round"] for r in rounds] == ["half-1", "half-2"]
    assert [tuple(r["train_subjects"]) for r in rounds] == [HALVES[1], HALVES[0]]
    assert [r["train_clips"] for r in rounds] == [2 * 4 * 2] * 2
    chosen = {c["what"]: (c["value"], c["reason"]) for c in about["choices"]}
    assert chosen["skeleton encoder"] == ("toy-mean", "named")
    assert chosen["class texts"] == ("a", "first of the data set's text sets")


def models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= models(part)
    return found


def test_every_field_of_the_record_is_documented() -> None:
    parts = models(schema.Record)
    assert len(parts) == 24
    bare = [
        f"{part.__name__}.{name}"
        for part in parts
        for name, field in part.model_fields.items()
        if not field.description
    ]
    assert bare == []
    assert all(part.__doc__ for part in parts)


def test_predictions_cover_every_unseen_clip_once(base: Any, toy_process: Path) -> None:
    data = open_dataset("toy-motion")
    ids, labels, candidates, scores = read_predictions(base.ridge / "predictions.safetensors")
    truth = dict(zip(data.clips["id"], data.clips["class"], strict=True))
    assert candidates == list(UNSEEN)
    assert sorted(ids) == sorted(i for i, c in truth.items() if c in UNSEEN)
    assert len(ids) == len(set(ids)) == 64
    assert [candidates[k] for k in labels] == [truth[i] for i in ids]
    assert scores.shape == (64, 4)
    assert scores.dtype == np.float32


def test_equal_predictions_are_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "predictions.safetensors"
    ids, labels, candidates = ["one", "two", "ä"], np.array([1, 0, 1]), ["c2", "c3"]
    scores = np.arange(6, dtype=np.float32).reshape(3, 2)
    written = set()
    for _ in range(20):  # the library alone would sort its metadata otherwise every other time
        write_predictions(path, ids, labels, candidates, scores)
        written.add(path.read_bytes())
    assert len(written) == 1
    back = read_predictions(path)
    assert (back[0], back[2]) == (ids, candidates)
    np.testing.assert_array_equal(back[1], labels)
    np.testing.assert_array_equal(back[3], scores)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("ids", "candidates", "labels", "scores"),
    [
        ("[" * 5000, '["a", "b"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float32)),
        ("3", '["a", "b"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float32)),
        ('["x"]', '["a", "b"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float32)),
        ('["x", 1]', '["a", "b"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float32)),
        ('["x", "y"]', '["a"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float32)),
        ('["x", "y"]', '["a", "b"]', np.zeros(3, np.int64), np.zeros((2, 2), np.float32)),
        ('["x", "y"]', '["a", "b"]', np.zeros(2, np.int32), np.zeros((2, 2), np.float32)),
        ('["x", "y"]', '["a", "b"]', np.zeros(2, np.int64), np.zeros((2, 2), np.float64)),
        ('["x", "y"]', '["a", "b"]', np.full(2, 2), np.zeros((2, 2), np.float32)),
        ('["x", "y"]', '["a", "b"]', np.full(2, -1), np.zeros((2, 2), np.float32)),
    ],
    ids=["nested", "no list", "fewer ids", "no text", "fewer candidates", "more labels",
         "other labels", "other scores", "no class", "negative"],
)  # fmt: skip
def test_predictions_that_contradict_themselves_are_damaged(
    ids: str, candidates: str, labels: np.ndarray, scores: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.safetensors"
    tensors = {"labels": labels, "scores": scores}
    path.write_bytes(save(tensors, metadata={"ids": ids, "candidates": candidates}))
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(path)


def test_scores_of_a_type_that_numpy_does_not_know_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "predictions.safetensors"
    scores = np.zeros((2, 4), np.uint8)
    about = {"ids": '["x", "y"]', "candidates": '["a", "b", "c", "d"]'}
    blob = save({"labels": np.zeros(2, np.int64), "scores": scores}, metadata=about)
    for name in (b'"F8_E4M3"', b'"F8_E5M2"', b'"BF16"'):
        size = int.from_bytes(blob[:8], "little")
        header = blob[8 : 8 + size].replace(b'"U8"', name)
        path.write_bytes(len(header).to_bytes(8, "little") + header + blob[8 + size :])
        with pytest.raises(UserError, match="is damaged"):
            read_predictions(path)


def test_the_metrics_follow_from_the_predictions(base: Any) -> None:
    for folder in (base.ridge, base.faulty):
        ids, labels, candidates, scores = read_predictions(folder / "predictions.safetensors")
        cells: dict[str, dict[str, list[float]]] = {}
        right, ranks = 0.0, 0
        for name, label, row in zip(ids, labels.tolist(), scores.tolist(), strict=True):
            best = max(row)
            winners = [k for k, value in enumerate(row) if value == best]
            credit = 1 / len(winners) if label in winners else 0.0
            right += credit
            ranks += 1 + sum(value > row[label] for value in row)
            subject = name.split("_s")[1].split("_")[0]
            cell = cells.setdefault(candidates[label], {}).setdefault(subject, [0.0, 0])
            cell[0] += credit
            cell[1] += 1
        m = read_record(folder).metrics
        assert m.clips == len(ids)
        assert m.top1 == pytest.approx(right / len(ids))
        shares = [
            sum(c for c, _ in row.values()) / sum(n for _, n in row.values())
            for row in cells.values()
        ]
        assert m.mean_class == pytest.approx(sum(shares) / len(shares))
        assert {c: {s: list(v) for s, v in r.items()} for c, r in m.cells.items()} == cells
        assert m.chance == 1 / 4
        assert m.majority_class == 16 / 64
        if folder == base.ridge:  # the one that was asked for plugins' metrics
            assert m.plugins == {"toy-rank": pytest.approx(ranks / len(ids))}


def test_the_scores_tell_clips_and_classes_apart(base: Any) -> None:
    """Or a test of bytes would hold for a method that returns a constant."""
    _, _, _, scores = read_predictions(base.ridge / "predictions.safetensors")
    assert len({tuple(row) for row in scores.tolist()}) == 64
    assert read_record(base.ridge).metrics.tied == 0
    assert len(set(scores.argmax(axis=1).tolist())) > 1


def test_events_tell_fit_and_score_of_both_rounds(base: Any) -> None:
    rows = [json.loads(line) for line in (base.ridge / "events.jsonl").read_text().splitlines()]
    assert {(r["round"], r["stage"]) for r in rows} == {
        (half, stage) for half in ("half-1", "half-2") for stage in ("fit", "score")
    }
    for half in ("half-1", "half-2"):
        fit = [r for r in rows if (r["round"], r["stage"]) == (half, "fit")]
        assert (fit[-1]["step"], fit[-1]["total"]) == (40, 40)
        assert all(math.isfinite(r["loss"]) for r in fit)
        score = [r for r in rows if (r["round"], r["stage"]) == (half, "score")]
        assert (score[-1]["step"], score[-1]["total"]) == (32, 32)
        assert rows.index(fit[-1]) < rows.index(score[0])


def test_methods_share_encoders_and_texts(base: Any) -> None:
    keys = [[r.key for r in read_record(f).encoder.rounds] for f in (base.ridge, base.faulty)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2
    made = [json.loads(p.read_bytes()) for p in (base.home / "encoders").glob("*/encoder.json")]
    assert sorted(a["round"] for a in made if a["train_classes"] == list(SEEN)) == [
        "half-1",
        "half-2",
    ]
    identities = [read_record(f).identity for f in (base.ridge, base.faulty)]
    assert identities[0]["texts"] == identities[1]["texts"]


def test_scores_that_depend_on_the_batch_are_transductive(base: Any) -> None:
    honest, faulty = read_record(base.ridge), read_record(base.faulty)
    assert honest.rescoring.clips == faulty.rescoring.clips == 64
    assert honest.rescoring.largest_change <= honest.rescoring.tolerance
    assert honest.method.setting == "inductive"
    assert faulty.rescoring.largest_change > faulty.rescoring.tolerance
    assert faulty.method.declared_setting == "inductive"
    assert faulty.method.setting == "transductive"
    records, _ = load_records([base.ridge, base.faulty])
    sections = {s["setting"]: s["rows"] for s in compare(records)["sections"]}
    assert [r["method"] for r in sections["inductive"]] == ["toy-ridge"]
    assert [r["method"] for r in sections["transductive"]] == ["toy-faulty"]
    assert all(r["best"] for rows in sections.values() for r in rows)  # ranked apart
    assert sections["transductive"][0]["declared_setting"] == "inductive"


def test_the_same_command_again_starts_nothing(base: Any, cli: Cli, tmp_path: Path) -> None:
    files = [p for p in base.results.rglob("*") if p.is_file()]
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in files}
    heard = tmp_path / "events"
    words = (*base.words, "toy-ridge", "witness", "--results", base.results, "--json")
    done = cli(*words, env={"ZSAR_BENCH_TOY_EVENTS": str(heard)})
    assert not heard.exists()  # no task was started
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in files} == before
    assert set(files) == {p for p in base.results.rglob("*") if p.is_file()}
    answer = json.loads(done.stdout)
    assert [(r["folder"], r["status"]) for r in answer["runs"]] == [
        (str(base.ridge), "done"),
        (str(base.witness), "done"),
    ]
    assert {r["method"] for s in answer["sections"] for r in s["rows"]} == {"toy-ridge", "witness"}


def test_a_dry_run_lists_what_is_new_and_what_is_cached(base: Any, cli: Cli) -> None:
    before = sorted(base.results.rglob("*"))
    words = (*base.words, "toy-ridge", "--results", base.results, "--seeds", "0,7")
    answer = json.loads(cli(*words, "--dry-run", "--json").stdout)
    found = [(r["seeds"], r["state"]) for r in answer["runs"]]
    assert found == [([0, 0], "cached"), ([7, 7], "new")]
    assert answer["runs"][0]["run"] == base.ridge.name
    assert {t["task"]: t["state"] for t in answer["tasks"]} == {
        "texts with toy-hash": "cached",
        "toy-mean half-1 seed 7": "new",
        "toy-mean half-2 seed 7": "new",
        "toy-ridge half-1 seed 7": "new",
        "toy-ridge half-2 seed 7": "new",
        "toy-ridge seed 7": "new",
    }
    assert answer["seconds"] > 0
    assert sorted(base.results.rglob("*")) == before


# --- Plans -------------------------------------------------------------------------------------


PAIRS: dict[str, tuple[dict[str, Any], list[tuple[int, int]]]] = {
    "paired": ({"seeds": (3, 4)}, [(3, 3), (4, 4)]),
    "crossed": ({"seeds": (3, 4), "method_seeds": (0, 1)}, [(3, 0), (3, 1), (4, 0), (4, 1)]),
    "held": ({"seeds": (3, 4), "fix_encoder": 9}, [(9, 3), (9, 4)]),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_seeds_become_runs_on_shared_encoders(
    kind: str, base: Any, toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_without_workers(monkeypatch)
    options, pairs = PAIRS[kind]
    planned = plans(base.protocol, tmp_path, "toy-ridge", "toy-faulty", **options)
    assert [(p.method.name, p.encoder_seed, p.method_seed) for p in planned] == [
        (m, *pair) for m in ("toy-ridge", "toy-faulty") for pair in pairs
    ]
    assert len({p.run_id for p in planned}) == len(planned)
    work = tasks(planned)
    kinds = [t.id.partition(":")[0] for t in work]
    assert kinds.count("texts") == 1
    assert kinds.count("encoder") == 2 * len({e for e, _ in pairs})
    assert kinds.count("round") == 2 * len(planned)
    assert kinds.count("run") == len(planned)
    done: set[str] = set()
    for task in work:  # an order that respects needs
        assert set(task.needs) <= done
        done.add(task.id)


def test_runtime_parameters_keep_the_run_and_science_ones_do_not(
    base: Any, toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_without_workers(monkeypatch)

    def run_id(*sets: str) -> str:
        return plans(base.protocol, tmp_path, "toy-ridge", sets=sets)[0].run_id

    assert run_id() == base.ridge.name
    assert run_id("sleep=3", "toy-mean.sleep=1") == base.ridge.name
    others = [run_id(s) for s in ("ridge=0.02", "toy-mean.hidden=9", "toy-hash.channels=31")]
    assert len({base.ridge.name, *others}) == 4


# --- What workers see --------------------------------------------------------------------------


def calls_of(base: Any, kind: str) -> list[list[dict[str, np.ndarray]]]:
    """What each worker saw in calls of one kind."""
    return [rows for key, rows in base.calls.items() if key.startswith(kind)]


def test_fit_and_score_are_workers_of_their_own(base: Any) -> None:
    pids = {
        kind: {k.split()[1] for k in base.calls if k.startswith(kind)}
        for kind in ("fit", "bind", "score")
    }
    assert len(pids["fit"]) == 2  # one a half
    assert len(pids["bind"]) == 4  # one that scores, and one that scores some again
    assert pids["bind"] == pids["score"]
    assert not pids["fit"] & pids["score"]


def test_fit_sees_seen_clips_and_texts_only(base: Any, toy_process: Path) -> None:
    data = open_dataset("toy-motion")
    keys = {r.round: r.key for r in read_record(base.witness).encoder.rounds}
    features = {}
    for half, train in zip(keys, (HALVES[1], HALVES[0]), strict=True):
        rows = []
        for class_id in ("c1", "c6"):
            for subject in train:
                file = base.home / "encoders" / keys[half] / "pooled" / f"{class_id}_{subject}"
                rows.append(load_file(f"{file}.safetensors")["pooled"])
        features[half] = np.concatenate(rows)
    fits = [rows[0] for rows in calls_of(base, "fit")]
    for seen in fits:
        assert set(seen) == {"pooled", "tokens", "labels", "subjects", "texts"}  # as it wants
        np.testing.assert_array_equal(seen["texts"], [words_of(SAID[c]) for c in ("c1", "c6")])
        assert seen["labels"].tolist() == [0] * 8 + [1] * 8
        assert np.bincount(seen["subjects"]).tolist() == [4] * 4
        assert len(seen["tokens"]) == len(seen["pooled"]) == 16

    def same(one: np.ndarray, other: np.ndarray) -> bool:
        return one.shape == other.shape and bool((one == other).all())

    matches = [[same(seen["pooled"], f) for f in features.values()] for seen in fits]
    assert sorted(matches) == [[False, True], [True, False]]
    assert len(data) == 96


def test_candidates_and_clips_come_shuffled_and_bare(base: Any, toy_process: Path) -> None:
    unseen = ["c2", "c3", "c4", "c5"]
    run_id = base.witness.name
    texts = np.array([words_of(SAID[c]) for c in unseen])
    orders = []
    for rows in calls_of(base, "bind"):
        assert len(rows) == 1
        assert set(rows[0]) == {"texts"}
        order = [int(np.flatnonzero((texts == t).all(axis=1))[0]) for t in rows[0]["texts"]]
        assert sorted(order) == [0, 1, 2, 3]
        orders.append(order)
    said = [SAID[c].encode() for c in unseen]
    expected = [content_order(said, "candidates", run_id, f"half-{n}").tolist() for n in (1, 2)]
    assert sorted(orders) == sorted(2 * expected)
    several = {tuple(content_order(said, "candidates", n, "half-1").tolist()) for n in range(50)}
    assert len(several) > 10
    workers = sorted(calls_of(base, "score"), key=len)
    for rows in workers:
        assert all(set(r) == {"pooled", "tokens"} for r in rows)  # no labels, ids or subjects
    assert [[len(r["pooled"]) for r in rows] for rows in workers[:2]] == [[32]] * 2
    assert [[len(r["pooled"]) for r in rows] for rows in workers[2:]] == [[1] * 32] * 2
    at_once = [rows[0]["pooled"] for rows in workers[:2]]
    alone = [np.concatenate([r["pooled"] for r in rows]) for rows in workers[2:]]
    for one in alone:  # the same clips in another order, and in another worker
        same = [set(map(bytes, one)) == set(map(bytes, other)) for other in at_once]
        assert sorted(same) == [False, True]
        assert not np.array_equal(one, at_once[same.index(True)])


def test_clips_do_not_come_in_the_stores_order(base: Any) -> None:
    keys = [r.key for r in read_record(base.witness).encoder.rounds]
    stored = []
    for key, subjects in zip(keys, HALVES, strict=True):
        files = [
            base.home / "encoders" / key / "pooled" / f"{c}_{s}.safetensors"
            for c in ("c2", "c3", "c4", "c5")
            for s in subjects
        ]
        stored.append(np.concatenate([load_file(f)["pooled"] for f in files]))
    for rows in calls_of(base, "score"):
        sent = np.concatenate([r["pooled"] for r in rows])
        assert not any(np.array_equal(sent, s) for s in stored)
        assert any(set(map(bytes, sent)) == set(map(bytes, s)) for s in stored)


def test_scores_come_back_in_the_protocols_order(base: Any) -> None:
    _, _, candidates, scores = read_predictions(base.witness / "predictions.safetensors")
    assert candidates == ["c2", "c3", "c4", "c5"]
    expected = [words_of(SAID[c]).sum() for c in candidates]
    assert len(set(expected)) > 2  # or the order could not be told
    np.testing.assert_allclose(scores, np.tile(expected, (len(scores), 1)), rtol=1e-6)


# --- Faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_run_with_a_reason(fault: str, base: Any) -> None:
    plan = base.faults[fault]
    assert plan.run_id in base.failed
    assert not plan.done
    assert not plan.folder.exists()
    said = [text for text in base.said if text.startswith("failed: toy-faulty half-1")]
    assert len(said) == len(FAULTS)
    assert len([text for text in said if FAULTS[fault] in text]) == 1


def test_the_others_go_on(base: Any) -> None:
    assert len(base.failed) == len(FAULTS)
    assert set(runs_in(base.results)) == {(m, 0, 0) for m in ("toy-ridge", "toy-faulty", "witness")}
    assert runs_in(base.results.with_name("faults")) == {}


def test_a_fault_leaves_nothing_that_passes_for_a_result(base: Any) -> None:
    for fault, plan in base.faults.items():
        assert not list(plan.part.rglob("round.json"))
        assert not list(plan.part.rglob("scores.sealed"))
        fits = [folder / "state.sealed" for folder in fit_folders(plan)]
        assert any(state.is_file() for state in fits) is (fault in IN_SCORE)


def fit_folders(plan: RunPlan) -> list[Path]:
    return [Store(plan.results).folder / key for key in stages_of(plan)]


def jobs(plan: RunPlan, kind: str) -> list[dict[str, Any]]:
    folders = fit_folders(plan) if kind == "fit" else sorted(plan.part.glob("round-*"))
    found = [folder / kind / f"{kind}.job.json" for folder in folders]
    return [json.loads(path.read_bytes()) for path in found if path.is_file()]


def strings(value: Any) -> list[str]:
    """Every string anywhere in a JSON value, keys included."""
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *strings(v))]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


def test_the_fit_bundle_names_seen_classes_by_training_subjects_only(base: Any) -> None:
    found = jobs(base.faults["nan"], "fit")
    for job, train in zip(found, HALVES[1:], strict=True):
        shards = [(Path(f).stem, row["label"]) for row in job["bundle"] for f in row["features"]]
        assert sorted(shards) == sorted(
            (f"{c}_{s}", label) for label, c in enumerate(SEEN) for s in train
        )
        assert all(set(row) == {"features", "label", "subject", "lengths"} for row in job["bundle"])
        files = {Path(s).stem for s in strings(job) if "/" in s}
        assert not [f for f in files if f.startswith(tuple(f"{c}_" for c in UNSEEN))]
        assert "unseen_texts" not in job


def test_the_seen_texts_hold_no_unseen_class(base: Any) -> None:
    for job in jobs(base.faults["nan"], "fit"):
        texts = load_file(job["texts"])
        assert {name.split(".")[0] for name in texts} == {"motion", "description"}
        np.testing.assert_array_equal(texts["motion.pooled"], [words_of(SAID[c]) for c in SEEN])
        for unseen in UNSEEN:
            assert not (texts["motion.pooled"] == words_of(SAID[unseen])).all(axis=1).any()


def test_the_score_job_has_neither_labels_nor_ids_nor_clips(base: Any) -> None:
    found = jobs(base.faults["nan"], "score")
    assert len(found) == 1
    for job in found:
        assert "bundle" not in job
        told = strings(job)
        for word in (*UNSEEN, *SEEN, "label", "labels", "subject", "class", "protocol"):
            assert word not in told
        files = {Path(s).name for s in job["reads"]}
        assert files == {"state.sealed", "candidates.safetensors"}
        assert not [s for s in told if s.endswith(".npy")]
        candidates = load_file(job["texts"])["motion.pooled"]
        expected = np.array([words_of(SAID[c]) for c in UNSEEN])
        assert sorted(candidates.tolist()) == sorted(expected.tolist())


def test_force_runs_again_and_a_failure_is_exit_1(cli: Cli, base: Any, tmp_path: Path) -> None:
    results = shutil.copytree(base.results, tmp_path / "results")
    folder, other = (runs_in(results)[m, 0, 0] for m in ("toy-ridge", "toy-faulty"))
    (folder / "predictions.safetensors").write_bytes(b"spoilt")
    untouched = (other / "run.json").stat().st_mtime_ns
    words = (*base.words, "toy-faulty", "toy-ridge", "--set", "toy-faulty.fault=raise")
    done = cli(*words, "--force", "--json", check=1)
    answer = json.loads(done.stdout)
    assert {r["method"]: r["status"] for r in answer["runs"]} == {
        "toy-faulty": "failed",
        "toy-ridge": "done",
    }
    reason = "RuntimeError: this is the planted error"
    assert f"failed: toy-faulty half-1 seed 0: {reason}" in done.stderr
    assert [r["method"] for s in answer["sections"] for r in s["rows"]] == ["toy-ridge"]
    # The forced run ended in the same bytes, and the other parameters' run was left alone.
    assert same_predictions(folder, base.ridge)
    assert (other / "run.json").stat().st_mtime_ns == untouched
    assert set(runs_in(results)) == set(runs_in(base.results))


# --- Kills and races ---------------------------------------------------------------------------


def same_predictions(one: Path, other: Path) -> bool:
    """Byte by byte."""
    name = "predictions.safetensors"
    return (one / name).read_bytes() == (other / name).read_bytes()


def test_killed_anywhere_it_ends_in_the_same_bytes(cli: Cli, base: Any, copy_home: Path) -> None:
    results, encoders = cli.cwd / "results", copy_home / "encoders"
    words = (*base.words, "toy-ridge")
    options: dict[str, Any] = {"home": copy_home, "checkpoint_seconds": 0}

    slow = cli.start(*words, "--set", "toy-mean.sleep=0.2", **options)
    wait_for(lambda: list(encoders.glob(".*.part/checkpoint.sealed")), slow)
    kill(slow)
    assert not [p for p in encoders.iterdir() if not p.name.startswith(".")]

    slow = cli.start(*words, "--set", "sleep=0.2", **options)
    wait_for(lambda: list(results.glob("work/*/checkpoint.sealed")), slow)
    kill(slow)
    assert runs_in(results) == {}
    assert not list(results.glob("work/*/state.sealed"))

    cli(*words, **options)
    folder = runs_in(results)["toy-ridge", 0, 0]
    assert leftovers(results) == []
    assert folder.name == base.ridge.name
    assert same_predictions(folder, base.ridge)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    first = [next(e for e in events if e["round"] == h)["step"] for h in ("half-1", "half-2")]
    assert max(first) > 1  # continued from a checkpoint, not from the start


def test_two_commands_at_once_make_one_result(cli: Cli, base: Any, tmp_path: Path) -> None:
    heard = tmp_path / "events"
    words = (*base.words, "toy-ridge", "--json")
    env = {"ZSAR_BENCH_TOY_EVENTS": str(heard)}
    both = [cli.start(*words, env=env) for _ in range(2)]
    said = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert json.loads(said[0][0]) == json.loads(said[1][0])
    results = cli.cwd / "results"
    assert set(runs_in(results)) == {("toy-ridge", 0, 0)}
    assert leftovers(results) == []
    assert same_predictions(runs_in(results)["toy-ridge", 0, 0], base.ridge)
    fits = [json.loads(line) for line in heard.read_text().splitlines() if '"fit"' in line]
    halves = [e["round"] for e in fits if e.get("step") == e.get("total") == 40]
    assert sorted(halves) == ["half-1", "half-2"]  # nobody fitted twice


def test_who_waited_for_a_folder_gets_it_though_it_was_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    inside: list[bool] = []

    def wait() -> None:
        with locked(folder):
            inside.append((folder / ".lock").is_file())
            (folder / "work").touch()

    waiter = threading.Thread(target=wait)
    with locked(folder):
        waiter.start()
        time.sleep(0.2)
        assert inside == []
        shutil.rmtree(folder)
    waiter.join(10)
    assert inside == [True]
    assert (folder / "work").is_file()


def test_a_file_in_place_of_the_results_folder(cli: Cli, base: Any) -> None:
    (cli.cwd / "results").write_text("in the way")
    done = cli(*base.words, "toy-ridge", check=2)
    assert "Cannot create the folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert (cli.cwd / "results").read_text() == "in the way"
