"""The front door on the toy: what a command does is a call, and both say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zsar_bench as zb
from kit.command import Cli
from zsar_bench.api import requests, running
from zsar_bench.runs.schedule.tasks import Task

pytestmark = pytest.mark.usefixtures("workers_here")
TOY: dict[str, Any] = {"skeleton_encoder": "toy-mean", "text_encoder": "toy-hash"}


class Watcher:
    """An observer of one's own."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def record(self, task: Task, event: dict[str, Any]) -> None:
        self.events.append((task.id.partition(":")[0], event))


def test_runs_come_back_in_order_and_as_the_command_makes_them(
    cli: Cli, toy_process: Path, tmp_path: Path
) -> None:
    watcher = Watcher()
    runs = zb.run(
        ["toy-ridge", "chance"],
        "toy-4-2",
        seeds="0-1",
        params={"toy-ridge.steps": 20},
        results=tmp_path / "called",
        progress=watcher,
        **TOY,
    )
    names = [(run.record.method.name, run.record.method_seed) for run in runs]
    assert names == [("toy-ridge", 0), ("toy-ridge", 1), ("chance", 0), ("chance", 1)]
    assert runs[0].record.method.science["steps"] == 20
    assert {"state": "started"} in [event for kind, event in watcher.events if kind == "round"]
    assert [kind for kind, event in watcher.events if event.get("state") == "done"].count(
        "run"
    ) == 4
    sets = ("--set", "toy-ridge.steps=20", "--seeds", "0-1", "--results", tmp_path / "typed")
    cli.run("toy-ridge", "chance", *sets)
    for run in runs:
        (typed,) = (tmp_path / "typed").glob(f"runs/*/*/{run.id}")
        assert (typed / "predictions.safetensors").read_bytes() == (
            run.folder / "predictions.safetensors"
        ).read_bytes()


def test_what_a_run_holds(toy_run: Path) -> None:
    run = zb.Run(toy_run)
    found = run.predictions()
    assert found.scores.shape == (len(found.ids), len(found.candidates)) == (32, 2)
    credit = (found.scores.argmax(axis=1) == found.labels).mean()
    assert run.record.metrics.top1 == pytest.approx(float(credit))
    assert np.isfinite(found.scores).all()
    assert run.gzsl() is None
    assert {"fit", "score"} <= {event["stage"] for event in run.events()}
    assert run.id in repr(run)


def test_a_run_that_fails_is_an_error_and_the_others_are_kept(
    toy_process: Path, tmp_path: Path
) -> None:
    with pytest.raises(zb.RunFailed, match=r"1 of 2 runs failed: failed: .*planted") as failed:
        zb.run(
            ["toy-faulty", "toy-ridge"],
            "toy-4-2",
            params={"toy-faulty.fault": "raise", "toy-faulty.at": "score"},
            results=tmp_path,
            **TOY,
        )
    assert failed.value.status == "failed"
    (kept,) = zb.load_results(tmp_path)
    assert kept.record.method.name == "toy-ridge"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "toy-rigde"}, "Unknown method 'toy-rigde'"),
        ({"protocol": "toy-4-3"}, "Unknown protocol"),
        ({"params": {"setps": 3}}, "setps"),
        ({"params": {"steps": "many"}}, "steps"),
        ({"seeds": "0-"}, "list of 1 to"),
        ({"memory_limit": "much"}, "much"),
        ({"selection": "first"}, "Unknown selection rule"),
        ({"data": "fake"}, "Unknown kind of data"),
        ({"profile": "huge"}, "Unknown profile"),
        ({"methods": ()}, "No method was named"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    options: dict[str, Any], message: str, toy_process: Path, tmp_path: Path
) -> None:
    given = {"methods": "toy-ridge", "protocol": "toy-4-2", "results": tmp_path} | TOY | options
    with pytest.raises(zb.UserError, match=message):
        zb.run(**given)
    assert not (tmp_path / "runs").exists()


def test_synthetic_clips_are_a_warning(toy_process: Path, tmp_path: Path) -> None:
    """Nothing falls back silently, in Python neither."""
    request = requests.make_request("toy-ridge", "toy-4-2", data="stand-in", results=tmp_path)
    from zsar_bench.catalogue.catalogue import load

    choice = requests.data_of(request, load())
    assert choice.synthetic
    import dataclasses

    asked = dataclasses.replace(choice, reason="toy-motion is not imported")
    with pytest.warns(requests.SyntheticData, match="SYNTHETIC"):
        requests.warn_of_synthetic(asked)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        requests.warn_of_synthetic(choice)  # asked for by name


def test_results_are_loaded_compared_verified(
    cli: Cli, toy_process: Path, toy_run: Path, tmp_path: Path
) -> None:
    results = toy_run.parents[3]
    (run,) = zb.load_results(results, protocol="toy-4-2", method="toy-ridge")
    assert run.folder == toy_run
    table = zb.compare([run])
    typed = json.loads(cli("compare", "--results", results, "--json").stdout)
    assert json.loads(table.to_json()) == typed
    assert table.sections[0].rows[0].top1 == run.record.metrics.top1
    assert "toy-ridge" in table.to_markdown()
    assert "toy-ridge" in str(table)
    verdicts = zb.verify(results)
    assert [verdict.status for verdict in verdicts] == ["sound"]
    assert [v.status for v in zb.import_results(toy_run, tmp_path / "other")] == ["imported"]
    assert [v.status for v in zb.import_results(toy_run, tmp_path / "other")] == ["kept"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "toy-4-3"}, "Unknown protocol"),
        ({"method": "eszsl"}, "has this method and texts"),
        ({"selection": "oracle@50"}, "but by last"),
    ],
)
def test_results_that_are_not_there(
    options: dict[str, Any], message: str, toy_process: Path, toy_run: Path
) -> None:
    with pytest.raises(zb.UserError, match=message):
        zb.load_results(toy_run.parents[3], **options)


def test_scores_of_others(toy_process: Path, toy_run: Path, tmp_path: Path) -> None:
    found = zb.Run(toy_run).predictions()
    file = tmp_path / "theirs.npz"
    np.savez(file, ids=found.ids, classes=found.candidates, scores=found.scores)
    run = zb.score_file(file, protocol="toy-4-2", results=tmp_path / "results")
    assert run.record.origin == "self-reported"
    assert run.record.metrics.top1 == zb.Run(toy_run).record.metrics.top1
    protocol, clips = zb.score_template(tmp_path / "empty.csv", protocol="toy-4-2")
    assert (protocol.id, len(clips.ids)) == ("toy-4-2", 32)
    assert len((tmp_path / "empty.csv").read_text().splitlines()) == 33


def test_lists_are_typed(toy_process: Path) -> None:
    rows = {row.name: row for row in zb.list_methods()}
    assert rows["toy-ridge"].plugin == "toy"
    assert "pooled" in rows["toy-ridge"].inputs
    assert {row.name: row for row in zb.list_datasets()}["toy-motion"].imported
    (toy,) = [row for row in zb.list_protocols() if row.name == "toy-4-2"]
    assert (toy.seen, toy.unseen, toy.average_of) == (4, 2, ())
    assert zb.protocol("toy-4-2").unseen
    assert zb.describe("toy-ridge").kind == "method"
    assert {row["name"] for row in zb.describe("toy-ridge").parameters} >= {"steps", "ridge"}
    assert any(plugin.name == "toy" for plugin in zb.list_plugins())
    assert [stored.name for stored in zb.list_data()] == ["toy-motion"]
    with pytest.raises(zb.UserError, match="Did you mean toy-ridge"):
        zb.describe("toy-rigde")


def test_a_plan_is_looked_at_before_it_is_made(toy_process: Path, tmp_path: Path) -> None:
    request = requests.make_request("toy-ridge", "toy-4-2", seeds=[3], results=tmp_path, **TOY)
    planned = running.plan(request, jobs=1)
    assert [run.run_id for run in planned.runs] == [planned.runs[0].run_id]
    assert planned.done == []
    assert {task.id.partition(":")[0] for task in planned.todo} == {
        "texts",
        "encoder",
        "round",
        "run",
    }
    seconds, _ = planned.seconds
    assert seconds > 0
    assert planned.execute() == {}
    assert [run.folder for run in planned.done] == [planned.runs[0].folder]
    assert running.plan(request, jobs=1).todo == []
