"""Whole runs of a third party's plugin: what they leave, what workers see, faults, kills."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
from conftest import TOY_ENCODERS, Cli
from pydantic import BaseModel
from safetensors.numpy import load_file

from zsar_bench import catalogue, record, sandbox
from zsar_bench.cli.run import execute
from zsar_bench.datasets import open_dataset
from zsar_bench.identity import digest
from zsar_bench.plan import Request, plan_runs, tasks
from zsar_bench.record import read_predictions, read_record
from zsar_bench.runner import RunPlan
from zsar_bench.settings import Assignment
from zsar_bench.shuffling import secret_order

WITNESS = Path(__file__).parent / "plugins" / "witness.py"
SEEN, UNSEEN = ("c1", "c4", "c5", "c6"), ("c2", "c3")
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


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An honest method and one that looks at its batch, on one pair of encoders."""
    folder = tmp_path_factory.mktemp("base")
    cli = Cli(toy_home, toy_site, folder)
    before = {p.name for p in (toy_home / "encoders").glob("*")}
    done = cli.run("toy-ridge", "toy-faulty", "--set", "toy-faulty.fault=batch-stats", "--json")
    results = folder / "results"
    runs = runs_in(results)
    return SimpleNamespace(
        cli=cli,
        results=results,
        answer=json.loads(done.stdout),
        ridge=runs["toy-ridge", 0, 0],
        faulty=runs["toy-faulty", 0, 0],
        new_encoders={p.name for p in (toy_home / "encoders").glob("*")} - before,
    )


def test_a_run_leaves_three_files_and_nothing_else(base: Any) -> None:
    files = sorted(p.relative_to(base.ridge).as_posix() for p in base.ridge.rglob("*"))
    assert files == ["events.jsonl", "predictions.safetensors", "run.json"]
    assert leftovers(base.results) == []
    assert base.ridge.relative_to(base.results).parts[:3] == ("runs", "toy-4-2", "toy-ridge")


def test_the_record_follows_its_schema_and_names_itself(base: Any) -> None:
    about = json.loads((base.ridge / "run.json").read_bytes())
    jsonschema.validate(about, record.Record.model_json_schema())
    assert about["run_id"] == base.ridge.name == digest(about["identity"])[:16]
    assert about["identity"]["seeds"] == [0, 0]
    assert about["method"]["profile"] == "laptop"
    assert about["method"]["hp"] == "untuned"  # declared for 'paper', whose steps these are not
    assert about["environment"]["confinement"] == sandbox.CONFINEMENT
    rounds = about["encoder"]["rounds"]
    assert [r["round"] for r in rounds] == ["half-1", "half-2"]
    assert [tuple(r["train_subjects"]) for r in rounds] == [HALVES[1], HALVES[0]]
    assert [r["train_clips"] for r in rounds] == [4 * 4 * 2] * 2
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
    parts = models(record.Record)
    assert len(parts) == 11
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
    assert len(ids) == len(set(ids)) == 32
    assert [candidates[k] for k in labels] == [truth[i] for i in ids]
    assert scores.shape == (32, 2)
    assert scores.dtype == np.float32


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
        assert m.micro == pytest.approx(right / len(ids))
        shares = [
            sum(c for c, _ in row.values()) / sum(n for _, n in row.values())
            for row in cells.values()
        ]
        assert m.macro == pytest.approx(sum(shares) / len(shares))
        assert {c: {s: list(v) for s, v in r.items()} for c, r in m.cells.items()} == cells
        assert m.chance == 1 / 2
        assert m.largest_class == 16 / 32
        assert m.plugins == {"toy-rank": pytest.approx(ranks / len(ids))}


def test_the_toy_learns_something(base: Any) -> None:
    """Or a test of bytes would hold for a method that returns a constant."""
    m = read_record(base.ridge).metrics
    assert m.tied == 0
    assert m.micro > 0.6


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
        assert (score[-1]["step"], score[-1]["total"]) == (16, 16)
        assert rows.index(fit[-1]) < rows.index(score[0])


def test_methods_share_encoders_and_texts(base: Any) -> None:
    keys = [[r.key for r in read_record(f).encoder.rounds] for f in (base.ridge, base.faulty)]
    assert keys[0] == keys[1]
    assert base.new_encoders <= set(keys[0])  # none, where an earlier test left them
    assert len(set(keys[0])) == 2
    identities = [read_record(f).identity for f in (base.ridge, base.faulty)]
    assert identities[0]["texts"] == identities[1]["texts"]


def test_scores_that_depend_on_the_batch_are_transductive(base: Any) -> None:
    honest, faulty = read_record(base.ridge), read_record(base.faulty)
    assert honest.rescoring.clips == faulty.rescoring.clips == 32  # all there are, below 64
    assert honest.rescoring.largest_change <= honest.rescoring.tolerance
    assert honest.method.setting == "inductive"
    assert faulty.rescoring.largest_change > faulty.rescoring.tolerance
    assert faulty.method.declared_setting == "inductive"
    assert faulty.method.setting == "transductive"
    sections = {s["setting"]: s["rows"] for s in base.answer["sections"]}
    assert [r["method"] for r in sections["inductive"]] == ["toy-ridge"]
    assert [r["method"] for r in sections["transductive"]] == ["toy-faulty"]
    assert all(r["best"] for rows in sections.values() for r in rows)  # ranked apart
    assert sections["transductive"][0]["declared_setting"] == "inductive"


def test_the_same_command_again_starts_nothing(base: Any, tmp_path: Path) -> None:
    files = [p for folder in (base.ridge, base.faulty) for p in folder.iterdir()]
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in files}
    heard = tmp_path / "events"
    done = base.cli.run(
        "toy-ridge",
        "toy-faulty",
        "--set",
        "toy-faulty.fault=batch-stats",
        "--json",
        env={"ZSAR_BENCH_TOY_EVENTS": str(heard)},
    )
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in files} == before
    assert not heard.exists()  # no task was started
    assert json.loads(done.stdout) == base.answer


def test_force_runs_again_to_the_same_bytes(base: Any, tmp_path: Path) -> None:
    results = shutil.copytree(base.results, tmp_path / "results")
    folder = runs_in(results)["toy-ridge", 0, 0]
    (folder / "predictions.safetensors").write_bytes(b"spoilt")
    other = (runs_in(results)["toy-faulty", 0, 0] / "run.json").stat().st_mtime_ns
    base.cli.run("toy-ridge", "--force", "--results", results)
    assert leftovers(results) == []
    assert (folder / "predictions.safetensors").read_bytes() == (
        base.ridge / "predictions.safetensors"
    ).read_bytes()
    assert (runs_in(results)["toy-faulty", 0, 0] / "run.json").stat().st_mtime_ns == other


def test_a_dry_run_lists_what_is_new_and_what_is_cached(base: Any) -> None:
    before = sorted(base.results.rglob("*"))
    done = base.cli.run("toy-ridge", "--seeds", "0,7", "--dry-run", "--json")
    answer = json.loads(done.stdout)
    assert [(r["seeds"], r["state"]) for r in answer["runs"]] == [
        ([0, 0], "cached"),
        ([7, 7], "new"),
    ]
    assert answer["runs"][0]["run"] == base.ridge.name
    states = {t["task"]: t["state"] for t in answer["tasks"]}
    assert states == {
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


def plans(results: Path, *methods: str, sets: tuple[str, ...] = (), **more: Any) -> list[RunPlan]:
    request = Request(
        methods=methods,
        protocol="toy-4-2",
        results=results,
        skeleton_encoder=TOY_ENCODERS[1],
        text_encoder=TOY_ENCODERS[3],
        assignments=tuple(Assignment.parse(s) for s in sets),
        **more,
    )
    return plan_runs(request, catalogue.load())


PAIRS: dict[str, tuple[dict[str, Any], list[tuple[int, int]]]] = {
    "paired": ({"seeds": (3, 4)}, [(3, 3), (4, 4)]),
    "crossed": ({"seeds": (3, 4), "method_seeds": (0, 1)}, [(3, 0), (3, 1), (4, 0), (4, 1)]),
    "held": ({"seeds": (3, 4), "fix_encoder": 9}, [(9, 3), (9, 4)]),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_seeds_become_runs_on_shared_encoders(kind: str, toy_process: Path, tmp_path: Path) -> None:
    options, pairs = PAIRS[kind]
    planned = plans(tmp_path, "toy-ridge", "toy-faulty", **options)
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
    toy_process: Path, tmp_path: Path
) -> None:
    def run_id(*sets: str) -> str:
        return plans(tmp_path, "toy-ridge", sets=sets)[0].run_id

    base = run_id()
    assert run_id("sleep=3", "toy-mean.sleep=1") == base
    assert run_id("ridge=0.02") != base
    assert run_id("toy-mean.hidden=9") != base
    assert run_id("toy-hash.channels=31") != base


# --- What workers see --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def witnessed(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of ``witness`` on two seen and four unseen classes: what it left and what it saw."""
    folder = tmp_path_factory.mktemp("witness")
    cli = Cli(toy_home, toy_site, folder)
    source = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    source = source.replace('id = "toy-4-2"', 'id = "toy-2-4"')
    source = source.replace('["c1", "c4", "c5", "c6"]', '["c6", "c1"]')
    source = source.replace('["c2", "c3"]', '["c4", "c5", "c2", "c3"]')
    protocol = folder / "toy-2-4.toml"
    protocol.write_text(source)
    seen = folder / "seen"
    seen.mkdir()
    words = ("run", "witness", "--protocol", protocol, "--plugin", WITNESS, *TOY_ENCODERS)
    cli(*words, "--quiet", env={"ZSAR_BENCH_TEST_SEEN": str(seen)})
    calls: dict[str, list[dict[str, np.ndarray]]] = {}
    for path in sorted(seen.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns):
        call, pid, _ = path.name.split("-")
        calls.setdefault(f"{call} {pid}", []).append(load_file(path))
    return SimpleNamespace(
        calls=calls, run=runs_in(folder / "results")["witness", 0, 0], home=toy_home
    )


def calls_of(witnessed: Any, kind: str) -> list[list[dict[str, np.ndarray]]]:
    """What each worker saw in calls of one kind."""
    return [rows for key, rows in witnessed.calls.items() if key.startswith(kind)]


def test_fit_and_score_are_workers_of_their_own(witnessed: Any) -> None:
    pids = {
        kind: {k.split()[1] for k in witnessed.calls if k.startswith(kind)}
        for kind in ("fit", "bind", "score")
    }
    assert len(pids["fit"]) == len(pids["bind"]) == 2  # one a half
    assert pids["bind"] == pids["score"]
    assert not pids["fit"] & pids["score"]


def test_fit_sees_seen_clips_and_texts_only(witnessed: Any, toy_process: Path) -> None:
    data = open_dataset("toy-motion")
    keys = {r.round: r.key for r in read_record(witnessed.run).encoder.rounds}
    features = {}
    for half, train in zip(keys, (HALVES[1], HALVES[0]), strict=True):
        rows = []
        for class_id in ("c1", "c6"):
            for subject in train:
                file = witnessed.home / "encoders" / keys[half] / "pooled" / f"{class_id}_{subject}"
                rows.append(load_file(f"{file}.safetensors")["pooled"])
        features[half] = np.concatenate(rows)
    fits = [rows[0] for rows in calls_of(witnessed, "fit")]
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


def test_candidates_and_clips_come_shuffled_and_bare(witnessed: Any, toy_process: Path) -> None:
    unseen = ["c2", "c3", "c4", "c5"]
    run_id = witnessed.run.name
    texts = np.array([words_of(SAID[c]) for c in unseen])
    orders = []
    for rows in calls_of(witnessed, "bind"):
        assert len(rows) == 1
        assert set(rows[0]) == {"texts"}
        order = [int(np.flatnonzero((texts == t).all(axis=1))[0]) for t in rows[0]["texts"]]
        assert sorted(order) == [0, 1, 2, 3]
        orders.append(order)
    expected = [secret_order(4, "candidates", run_id, f"half-{n}").tolist() for n in (1, 2)]
    assert sorted(orders) == sorted(expected)
    several = {tuple(secret_order(4, "candidates", n, "half-1").tolist()) for n in range(50)}
    assert len(several) > 10
    for rows in calls_of(witnessed, "score"):
        assert all(set(r) == {"pooled", "tokens"} for r in rows)  # no labels, ids or subjects
        assert [len(r["pooled"]) for r in rows] == [32] + [1] * 32  # at once, then one by one
        alone = np.concatenate([r["pooled"] for r in rows[1:]])
        assert not np.array_equal(alone, rows[0]["pooled"])  # in another order
        assert set(map(bytes, alone)) == set(map(bytes, rows[0]["pooled"]))


def test_clips_do_not_come_in_the_stores_order(witnessed: Any) -> None:
    keys = [r.key for r in read_record(witnessed.run).encoder.rounds]
    stored = []
    for key, subjects in zip(keys, HALVES, strict=True):
        files = [
            witnessed.home / "encoders" / key / "pooled" / f"{c}_{s}.safetensors"
            for c in ("c2", "c3", "c4", "c5")
            for s in subjects
        ]
        stored.append(np.concatenate([load_file(f)["pooled"] for f in files]))
    for rows in calls_of(witnessed, "score"):
        sent = rows[0]["pooled"]
        assert not any(np.array_equal(sent, s) for s in stored)
        assert any(set(map(bytes, sent)) == set(map(bytes, s)) for s in stored)


def test_scores_come_back_in_the_protocols_order(witnessed: Any) -> None:
    _, _, candidates, scores = read_predictions(witnessed.run / "predictions.safetensors")
    assert candidates == ["c2", "c3", "c4", "c5"]
    expected = [words_of(SAID[c]).sum() for c in candidates]
    assert len(set(expected)) > 2  # or the order could not be told
    np.testing.assert_allclose(scores, np.tile(expected, (len(scores), 1)), rtol=1e-6)


# --- Faults ------------------------------------------------------------------------------------

FAULTS = {
    "os-exit": ("fit", "the worker exited with code 7 before it had finished"),
    "segfault": ("fit", "the worker was killed by SIGSEGV"),
    "exit": ("score", "SystemExit: this is the planted exit"),
    "nan": ("fit", "values that are not finite"),
    "shape": ("fit", "score() returned the shape (16, 1), not (16, 2)"),
}


@pytest.fixture(scope="module")
def faults(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every fault and an honest run in one go, by the local executor."""
    results = tmp_path_factory.mktemp("faults") / "results"
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(toy_site))
        patch.setenv("PYTHONPATH", str(toy_site))
        patch.setenv("ZSAR_BENCH_HOME", str(toy_home))
        patch.chdir(results.parent)
        patch.setattr("zsar_bench.cli.live.Display.say", lambda self, text: said.append(text))
        planned = {
            fault: plans(
                results,
                "toy-faulty",
                sets=(f"toy-faulty.fault={fault}", f"toy-faulty.at={at}"),
            )[0]
            for fault, (at, _) in FAULTS.items()
        }
        planned["none"] = plans(results, "toy-ridge")[0]
        failed = execute(list(planned.values()), catalogue.load(), "local", 2, False, True)
    return SimpleNamespace(plans=planned, failed=failed, said=said, results=results)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_run_with_a_reason(fault: str, faults: Any) -> None:
    plan = faults.plans[fault]
    assert plan.run_id in faults.failed
    assert not plan.done
    assert not plan.folder.exists()
    reason = FAULTS[fault][1]
    assert [s for s in faults.said if s.startswith("failed: toy-faulty") and reason in s]


def test_the_others_go_on(faults: Any) -> None:
    assert faults.plans["none"].done
    assert faults.plans["none"].run_id not in faults.failed
    assert len(faults.failed) == len(FAULTS)
    assert list(runs_in(faults.results)) == [("toy-ridge", 0, 0)]


def test_a_fault_leaves_nothing_that_passes_for_a_result(faults: Any) -> None:
    for fault in FAULTS:
        part = faults.plans[fault].part
        assert not list(part.rglob("round.json"))
        assert not list(part.rglob("scores.safetensors"))
        fitted = bool(list(part.rglob("state.safetensors")))
        assert fitted is (fault in ("exit", "nan", "shape"))  # these fail in score


def jobs(plan: RunPlan, kind: str) -> list[dict[str, Any]]:
    return [json.loads(p.read_bytes()) for p in sorted(plan.part.glob(f"round-*/{kind}.job.json"))]


def strings(value: Any) -> list[str]:
    """Every string anywhere in a JSON value, keys included."""
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *strings(v))]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


def test_the_fit_bundle_names_seen_classes_by_training_performers_only(faults: Any) -> None:
    found = jobs(faults.plans["nan"], "fit")
    assert len(found) == 2
    for job, train in zip(found, (HALVES[1], HALVES[0]), strict=True):
        shards = [(Path(f).stem, row["label"]) for row in job["bundle"] for f in row["features"]]
        assert sorted(shards) == sorted(
            (f"{c}_{s}", label) for label, c in enumerate(SEEN) for s in train
        )
        assert all(set(row) == {"features", "label", "subject", "lengths"} for row in job["bundle"])
        files = {Path(s).stem for s in strings(job) if "/" in s}
        assert not [f for f in files if f.startswith(tuple(f"{c}_" for c in UNSEEN))]
        assert "unseen_texts" not in job


def test_the_seen_texts_hold_no_unseen_class(faults: Any) -> None:
    for job in jobs(faults.plans["nan"], "fit"):
        texts = load_file(job["texts"])
        assert {name.split(".")[0] for name in texts} == {"motion", "description"}
        np.testing.assert_array_equal(texts["motion.pooled"], [words_of(SAID[c]) for c in SEEN])
        for unseen in UNSEEN:
            assert not (texts["motion.pooled"] == words_of(SAID[unseen])).all(axis=1).any()


def test_the_score_job_has_neither_labels_nor_ids_nor_clips(faults: Any) -> None:
    found = jobs(faults.plans["nan"], "score")
    assert len(found) == 2
    for job in found:
        assert "bundle" not in job
        told = strings(job)
        for word in (*UNSEEN, *SEEN, "label", "labels", "subject", "class", "protocol"):
            assert word not in told
        files = {Path(s).name for s in told if s.endswith((".safetensors", ".npy"))}
        assert files == {"state.safetensors", "candidates.safetensors"}
        candidates = load_file(job["texts"])["motion.pooled"]
        expected = np.array([words_of(SAID[c]) for c in UNSEEN])
        assert sorted(candidates.tolist()) == sorted(expected.tolist())


def test_a_failed_run_makes_the_command_exit_with_1(cli: Cli, base: Any, tmp_path: Path) -> None:
    results = shutil.copytree(base.results, tmp_path / "results")
    done = cli.run("toy-faulty", "toy-ridge", "--set", "toy-faulty.fault=raise", "--json", check=1)
    answer = json.loads(done.stdout)
    assert {r["method"]: r["status"] for r in answer["runs"]} == {
        "toy-faulty": "failed",
        "toy-ridge": "done",
    }
    assert (
        "failed: toy-faulty half-1 seed 0: RuntimeError: this is the planted error" in done.stderr
    )
    assert [r["method"] for s in answer["sections"] for r in s["rows"]] == ["toy-ridge"]
    assert set(runs_in(results)) == {("toy-ridge", 0, 0), ("toy-faulty", 0, 0)}  # as before


# --- Kills and races ---------------------------------------------------------------------------


@pytest.fixture
def bare_home(copy_home: Path) -> Path:
    """The store with its secret and data, but no features."""
    for folder in ("encoders", "texts"):
        shutil.rmtree(copy_home / folder, ignore_errors=True)
    assert (copy_home / "secret").is_file()
    return copy_home


def test_killed_anywhere_it_ends_in_the_same_bytes(cli: Cli, base: Any, bare_home: Path) -> None:
    results = cli.cwd / "results"
    words = ("run", "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS, "--quiet")
    options: dict[str, Any] = {"home": bare_home, "checkpoint_seconds": 0}
    encoders = bare_home / "encoders"

    slow = cli.start(*words, "--set", "toy-mean.sleep=0.2", **options)
    wait_for(lambda: list(encoders.glob(".*.part/checkpoint.safetensors")), slow)
    kill(slow)
    assert not [p for p in encoders.iterdir() if not p.name.startswith(".")]

    slow = cli.start(*words, "--set", "sleep=0.2", **options)
    wait_for(lambda: list(results.glob("runs/*/*/.*.part/round-*/checkpoint.safetensors")), slow)
    kill(slow)
    assert runs_in(results) == {}
    time.sleep(0.1)
    assert not list(results.glob("runs/*/*/.*.part/round-*/state.safetensors"))

    cli(*words, **options)
    folder = runs_in(results)["toy-ridge", 0, 0]
    assert leftovers(results) == []
    assert folder.name == base.ridge.name
    assert (folder / "predictions.safetensors").read_bytes() == (
        base.ridge / "predictions.safetensors"
    ).read_bytes()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    first = [next(e for e in events if e["round"] == h)["step"] for h in ("half-1", "half-2")]
    assert max(first) > 1  # continued from a checkpoint, not from the start


def test_two_commands_at_once_make_one_result(cli: Cli, base: Any, bare_home: Path) -> None:
    seen = cli.cwd / "seen"
    seen.mkdir()
    words = ("run", "toy-ridge", "witness", "--plugin", WITNESS, "--protocol", "toy-4-2")
    words = (*words, *TOY_ENCODERS, "--quiet", "--json", "--jobs", "2")
    both = [
        cli.start(*words, home=bare_home, env={"ZSAR_BENCH_TEST_SEEN": str(seen)}) for _ in range(2)
    ]
    said = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert json.loads(said[0][0]) == json.loads(said[1][0])
    results = cli.cwd / "results"
    runs = runs_in(results)
    assert set(runs) == {("toy-ridge", 0, 0), ("witness", 0, 0)}
    assert leftovers(results) == []
    assert [p for p in (bare_home / "encoders").glob(".*")] == []
    assert (runs["toy-ridge", 0, 0] / "predictions.safetensors").read_bytes() == (
        base.ridge / "predictions.safetensors"
    ).read_bytes()
    assert len(list(seen.glob("fit-*.safetensors"))) == 2  # nobody fitted twice


def test_a_file_in_place_of_the_results_folder(cli: Cli) -> None:
    (cli.cwd / "results").write_text("in the way")
    done = cli.run("toy-ridge", check=2)
    assert "Cannot create the folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert (cli.cwd / "results").read_text() == "in the way"
