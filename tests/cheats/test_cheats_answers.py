"""Answers that were found elsewhere: denied, or told by the record. What cannot be told is
sampled evasion: a method that knows which clips are scored again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.cheats import Scene
from zsar_bench.api import running
from zsar_bench.records.schema import Record

pytestmark = pytest.mark.process

METHODS = ("answers-undeclared", "answers-profile")


@pytest.fixture(scope="module")
def scene(scene: Scene) -> Scene:
    """The module's scene, with answers beside the plugins."""
    known = scene.unconfined("answers", call="answers", argument=scene.targets["dataset"])
    assert len(known) == 96, "this is no attack"
    for name in ("undeclared", "declared"):
        (scene.folder / "cheats" / f"{name}.json").write_text(json.dumps(known))
    return scene


def run(
    scene: Scene, *methods: str, plugins: tuple[str, ...], words: tuple[str, ...] = ()
) -> dict[str, Record]:
    where = {"dataset": scene.targets["dataset"], "results": str(scene.results)}
    env = {"ZSAR_BENCH_TEST_SCENE": json.dumps(where)}
    process = scene.run(*methods, *words, plugins=plugins, env=env)
    assert process.returncode == 0, process.stderr
    return {m: scene.record(m) for m in methods}


@pytest.fixture(scope="module")
def found(scene: Scene) -> dict[str, Record]:
    """The records of those who were not to find any answers, and of one who may."""
    source = scene.plugins("answers")[0]
    as_it_was = source.read_text()
    check = ("--set", "answers-checked.token=1")
    methods = (*METHODS, "answers-checked", "answers-accomplice", "answers-imported")
    records = run(scene, *methods, plugins=("answers",), words=check)
    assert source.read_text() == as_it_was
    return records


@pytest.mark.parametrize("method", [*METHODS, "answers-checked"])
def test_it_has_no_answers(method: str, found: dict[str, Record]) -> None:
    one = found[method].metrics
    assert (one.clips, one.tied, one.top1, one.mean_class) == (16, 16, 0.5, 0.5)


def test_a_tracker_that_may_have_helped_is_named(found: dict[str, Record]) -> None:
    """No walls stand around trackers, which are the user's own: this one feeds a method."""
    assert found["answers-accomplice"].metrics.top1 == 1.0
    for record in found.values():
        (choice,) = [c for c in record.choices if c.what == "trackers"]
        assert "answers" in choice.value
        assert "not confined" in choice.reason


def test_a_source_that_changes_meanwhile_fails_its_runs(scene: Scene) -> None:
    source = scene.plugins("answers")[0]
    as_it_was = source.read_text()
    where = {"dataset": scene.targets["dataset"], "results": str(scene.results), "rewrite": "yes"}
    env = {"ZSAR_BENCH_TEST_SCENE": json.dumps(where)}
    done = scene.run("answers-rewritten", plugins=("answers",), env=env, results="rewritten")
    rewritten = source.read_text()
    source.write_text(as_it_was)
    assert rewritten != as_it_was, "this is no attack"
    assert done.returncode == 1
    assert "files have changed" in done.stderr
    assert json.loads(done.stdout)["sections"] == []


def test_what_was_read_when_plugins_were_listed_is_told(
    scene: Scene, found: dict[str, Record]
) -> None:
    """The listing may read what is no data and no result; its finds are parameters, and shown."""
    known = json.loads((scene.folder / "cheats" / "undeclared.json").read_text())
    assert found["answers-imported"].metrics.top1 == 1.0
    assert json.loads(found["answers-imported"].method.science["known"]) == known
    assert found["answers-profile"].method.science["known"] == ""


def test_what_it_reached_for_is_in_the_record(scene: Scene, found: dict[str, Record]) -> None:
    certificate = found["answers-undeclared"].certificate
    assert certificate is not None
    path = scene.folder / "cheats" / "undeclared.json"
    assert [n for what, n in certificate.denied.items() if str(path) in what and "score" in what]


def test_a_declared_file_is_read_and_told(scene: Scene) -> None:
    """Nobody can know what is in it; but it is hashed, and shown."""
    method = "answers-declared"
    one = run(scene, method, plugins=("answers", "declared"), words=("--prove",))[method]
    assert one.metrics.top1 == 1.0
    assert one.certificate is not None
    proof = one.certificate.proof
    assert proof is not None
    assert proof.refit_identical
    assert not proof.stable, "answers kept by content do not survive a little noise"
    flags = [w for file in scene.plugins("answers", "declared") for w in ("--plugin", file)]
    file = scene.folder / "cheats" / "declared.json"
    shown = scene.cli("show", method, *flags).stdout
    assert file.name in "".join(shown.split())
    file.write_text(file.read_text() + "\n")
    again = scene.run(method, "--dry-run", plugins=("answers", "declared"))
    assert json.loads(again.stdout)["runs"][0]["run"] != one.run_id


def test_a_method_cannot_know_which_clips_are_scored_again(
    scene: Scene, toy_process: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dodger`` computes them and looks at the other clips together; a fourth is asked again."""
    from zsar_bench.catalogue import catalogue
    from zsar_bench.plans.request import Request

    monkeypatch.setenv("ZSAR_BENCH_HOME", str(scene.cli.home))
    monkeypatch.setattr("zsar_bench.runs.round.RESCORED", 4)
    known = catalogue.load(scene.plugins("habits"))
    request = Request(
        methods=("dodger",),
        protocol=str(scene.protocol),
        results=scene.folder / "dodged",
        skeleton_encoder="toy-mean",
        text_encoder="toy-hash",
    )
    (plan,) = running.plan(request, catalogue=known).runs
    assert not running.PlannedRuns([plan], known, 1).execute()
    about = scene.record("dodger", "dodged")
    assert about.rescoring.clips == 4
    assert about.method.setting == "transductive"
