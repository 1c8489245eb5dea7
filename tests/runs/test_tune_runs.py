"""Whole searches of a toy method on the toy data set, and runs with what they found."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.command import TOY_ENCODERS, Cli
from kit.faults import descendants, gone, stop, wait_for
from kit.paths import TESTS
from zsar_bench.comparison.sections import compare
from zsar_bench.data.clips.store import Dataset
from zsar_bench.features import encoders, encoding
from zsar_bench.records.files import read_predictions, read_record, seal_run
from zsar_bench.reporters.markdown import report

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

PLUGIN = TESTS / "plugins" / "tunable.py"
BEST = 2.0  #: as in the plugin
BUDGET = 12


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished search, and the words that make it again."""
    folder = tmp_path_factory.mktemp("tune")
    cli = Cli(toy_home, toy_site, folder, real=False)
    text = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    protocol = folder / "toy-pu.toml"
    text = text.replace('"toy-4-2"', '"toy-pu"').replace('aliases = ["toy"]', "")
    protocol.write_text(f'{text}\n[gzsl]\npseudo_unseen = ["c5", "c6"]\n')
    common = ("--protocol", protocol, *TOY_ENCODERS, "--plugin", PLUGIN)
    words = ("tune", "toy-dial", *common, "--budget", BUDGET)
    said = json.loads(cli(*words, "--json").stdout)
    yield SimpleNamespace(
        cli=cli,
        words=words,
        common=common,
        found=said["searches"][0],
        folder=Path(said["searches"][0]["folder"]),
        tune=lambda *more, **options: cli(*words, *more, **options),
        run=lambda *more, **options: cli("run", *more, *common, **options),
    )
    cli.close()


def trials(folder: Path) -> dict[str, bytes]:
    """What the fits of a search found, without the time they took."""
    found = {}
    for file in sorted(folder.glob("trials/*.json")):
        about = json.loads(file.read_bytes())
        about.pop("seconds")
        found[file.name] = json.dumps(about).encode()
    return found


# --- Searches ------------------------------------------------------------------------------------


def test_the_known_best_value_is_found(base: Any) -> None:
    """Only points near ``BEST`` have no noise, and the values a search starts from are far off."""
    first = base.found["trials"][0]
    assert (first["values"], first["trial"]) == ({"dial": 40.0, "mood": "calm"}, 0)
    calm = [t for t in base.found["trials"] if t["values"]["mood"] == "calm"]
    nearest = min(calm, key=lambda t: abs(math.log(t["values"]["dial"] / BEST)))
    assert base.found["best"]["accuracy"] == max(t["accuracy"] for t in calm)
    assert nearest["accuracy"] == base.found["best"]["accuracy"]
    assert abs(math.log(base.found["best"]["values"]["dial"] / BEST)) < math.log(3)
    assert base.found["best"]["accuracy"] > first["accuracy"] + 0.1
    assert len(base.found["trials"]) == BUDGET
    assert base.found["held_out"] == {f"half-{n} rotation-1": ["c5", "c6"] for n in (1, 2)}


def test_trials_that_fail_count_as_nothing(base: Any) -> None:
    bad = [t for t in base.found["trials"] if t["values"]["mood"] == "bad"]
    kinds = set()
    for trial in bad:
        refused = trial["values"]["dial"] > 5  # by a rule between two parameters
        kinds.add(refused)
        said = "dial is too large for this mood" if refused else "this is the planted error"
        assert trial["accuracy"] == 0.0
        assert [f["status"] for f in trial["failed"]] == ["failed", "failed"]
        assert said in trial["failed"][0]["reason"]
    assert kinds == {True, False}


def test_a_trial_is_the_last_state_of_the_rule_pseudo_unseen(base: Any) -> None:
    """A run by that rule says the same of the same parameters, by another way through the code."""
    trial = next(t for t in base.found["trials"] if 0.5 < t["accuracy"] < 1.0 or t["trial"] == 0)
    sets = [w for k, v in trial["values"].items() for w in ("--set", f"{k}={v}")]
    more = ("--selection", "pseudo-unseen", "--results", "rule", "--json")
    answer = json.loads(base.run("toy-dial", *sets, *more).stdout)
    record = read_record(Path(answer["runs"][0]["folder"]))
    last = {v.round: v.accuracies[-1][1] for v in record.states.validation}
    assert {n.partition(" ")[0]: a for n, a in trial["parts"].items()} == last
    encoders = {json.loads(f.read_bytes())["encoder"] for f in base.folder.glob("trials/*.json")}
    assert encoders == {v.encoder for v in record.states.validation}  # shared with the rule


def test_the_same_command_makes_nothing_again(base: Any) -> None:
    stamps = {f: f.stat().st_mtime_ns for f in base.folder.glob("trials/*.json")}
    before = (base.folder / "tuning.json").read_bytes()
    shown = base.tune("--quiet").stdout
    assert {f: f.stat().st_mtime_ns for f in base.folder.glob("trials/*.json")} == stamps
    assert (base.folder / "tuning.json").read_bytes() == before
    assert "12 trials on pseudo-unseen classes" in shown
    assert "best" in shown
    assert "zsar-bench run toy-dial --protocol toy-pu --tuned" in shown
    assert not [*base.folder.glob(".*")]


def test_a_dry_run_says_what_would_be_searched(base: Any) -> None:
    said = json.loads(base.tune("--budget", 15, "--dry-run", "--json").stdout)
    (one,) = said["searches"]
    assert one["space"]["dial"] == {"low": 0.05, "high": 80.0, "whole": False}
    assert one["trials"][:BUDGET] == [t["values"] for t in base.found["trials"]]
    assert (one["fits"], said["fits_to_make"]) == (30, 6)
    assert "log" in base.tune("--dry-run").stdout
    assert not (base.cli.cwd / "elsewhere").exists()
    base.tune("--dry-run", "--results", "elsewhere")
    assert not (base.cli.cwd / "elsewhere").exists()


def watch(seen: set[str], patch: pytest.MonkeyPatch) -> None:
    """Collect the classes of all clips that functions of the parent take out of a data set."""

    def watched(module: Any, name: str, dataset_of: Callable[[Any], Dataset]) -> None:
        real = getattr(module, name)

        def call(*words: Any, **more: Any) -> Any:
            classes = dataset_of(words[0]).clips["class"]
            seen.update(classes[i] for i in words[1])
            return real(*words, **more)

        patch.setattr(module, name, call)

    for module in (encoding, encoders):
        watched(module, "clip_bundle", lambda dataset: dataset)
        watched(module, "flat_clips", lambda dataset: dataset)
    watched(encoders, "read_features", lambda view: view.dataset)
    watched(Dataset, "contents", lambda dataset: dataset)


def sent(base: Any, folder: Path, *words: object) -> set[str]:
    """Classes of all clips that reach a worker when this command starts without any encoder."""
    home = shutil.copytree(base.cli.home, folder / "home")
    shutil.rmtree(home / "encoders")
    seen: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        watch(seen, patch)
        more = ("--results", folder / "results", "--quiet")
        assert base.cli(*words, *more, home=home, cwd=folder, check=None).returncode == 0
    return seen


def test_no_unseen_clip_is_opened_or_sent(base: Any, tmp_path: Path) -> None:
    """Every function through which clips reach a worker is watched, encoders' work included."""
    for name in ("tune", "run"):
        (tmp_path / name).mkdir()
    searched = sent(base, tmp_path / "tune", *base.words, "--budget", 2)
    assert searched == {"c1", "c4", "c5", "c6"}
    ran = sent(base, tmp_path / "run", "run", "toy-dial", *base.common)
    assert ran >= searched | {"c2", "c3"}  # or nothing was watched


# --- Killed and continued ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_killed_and_continued(base: Any, how: signal.Signals, tmp_path: Path) -> None:
    slow = ("--set", "sleep=0.05", "--results", tmp_path, "--budget", 4, "--jobs", 1)
    process = base.cli.start(*base.words, *slow)
    wait_for(lambda: len([*tmp_path.glob("tuning/*/*/*/trials/*.json")]) >= 2, process)
    family = descendants(process.pid)
    took = stop(process, how, alone=True)
    said = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[how], said
    if how == signal.SIGINT:
        assert took < 2
        assert "The same command continues where this one stopped." in said[1]
    gone(family, tmp_path)
    (folder,) = tmp_path.glob("tuning/*/*/*")
    assert not (folder / "tuning.json").exists()
    there = {f: f.stat().st_mtime_ns for f in folder.glob("trials/*.json")}
    assert 2 <= len(there) < 8
    assert not [f for f in there if "interrupted" in f.read_text()]
    quick = ("--results", tmp_path, "--jobs", 1, "--quiet")  # a sleep changes no search
    base.tune(*quick, "--budget", 4)
    assert {f: f.stat().st_mtime_ns for f in there} == there
    whole = trials(base.folder)
    assert trials(folder) == {name: whole[name] for name in sorted(whole)[:8]}
    base.tune(*quick, "--budget", 6)
    assert {f: f.stat().st_mtime_ns for f in there} == there
    assert trials(folder) == {name: whole[name] for name in sorted(whole)[:12]}


def test_a_damaged_trial_is_named(base: Any, tmp_path: Path) -> None:
    shutil.copytree(base.cli.cwd / "results" / "tuning", tmp_path / "tuning")
    file = min(tmp_path.glob("tuning/*/*/*/trials/*.json"))
    about = json.loads(file.read_bytes())
    file.write_text(json.dumps(about | {"accuracy": 7.0}))
    done = base.tune("--results", tmp_path, check=2)
    assert file.name in done.stderr.replace("\n", "")
    assert "Delete it" in done.stderr


# --- Runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(base: Any) -> Any:
    """A tuned run, the same by hand, and one of another method without a search."""
    answer = json.loads(base.run("toy-dial", "--tuned", "--json").stdout)
    values = base.found["best"]["values"]
    sets = [w for k, v in values.items() for w in ("--set", f"{k}={v}")]
    hand = json.loads(base.run("toy-dial", *sets, "--json").stdout)
    return SimpleNamespace(
        record=read_record(Path(answer["runs"][0]["folder"])),
        folder=Path(answer["runs"][0]["folder"]),
        hand=read_record(Path(hand["runs"][0]["folder"])),
        by_hand=Path(hand["runs"][0]["folder"]),
    )


def test_a_tuned_run_says_where_its_values_come_from(base: Any, tuned: Any) -> None:
    method = tuned.record.method
    assert method.hp == "tuned"
    assert method.science | base.found["best"]["values"] == method.science
    assert method.profile == f"laptop (tuned, budget {BUDGET})"
    told = method.tuning
    assert (told.budget, told.trials, told.trial) == (
        BUDGET,
        BUDGET,
        base.found["best"]["trial"],
    )
    assert told.accuracy == base.found["best"]["accuracy"]
    assert told.base_accuracy == base.found["trials"][0]["accuracy"]
    assert told.space == base.found["space"]
    assert told.search == base.found["digest"]
    assert tuned.record.identity["tuning"] == told.identity


def test_by_hand_the_same_values_are_another_run_of_equal_scores(tuned: Any) -> None:
    assert tuned.hand.method.science == tuned.record.method.science
    assert tuned.hand.method.tuning is None
    assert tuned.hand.method.hp == "untuned"
    assert tuned.hand.run_id != tuned.record.run_id
    a, b = (
        read_predictions(f / "predictions.safetensors")[3] for f in (tuned.folder, tuned.by_hand)
    )
    np.testing.assert_array_equal(a, b)


def test_a_table_says_that_rows_were_not_searched_alike(tuned: Any) -> None:
    both = report(compare([tuned.record, tuned.hand]), width=200, color=False)
    assert "Not the same search for every row" in both
    assert f"laptop (tuned, budget {BUDGET})" in both
    alone = compare([tuned.record])
    (row,) = alone["sections"][0]["rows"]
    assert (row["hp"], row["tuning"]["budget"]) == ("tuned", BUDGET)
    text = report(alone, width=200, color=False)
    assert f"Every row was tuned with {BUDGET} trials" in text
    assert "tuned with" not in report(compare([tuned.hand]), width=200, color=False)


def test_two_budgets_are_two_rows(tuned: Any) -> None:
    method = tuned.record.method
    longer = method.tuning.model_copy(update={"budget": 40, "recipe": "another"})
    other = tuned.record.model_copy(update={"method": method.model_copy(update={"tuning": longer})})
    section = compare([tuned.record, other])["sections"][0]
    assert len(section["rows"]) == 2
    text = report(compare([tuned.record, other]), width=200, color=False)
    assert "Not the same search for every row: 1 tuned with 12 trials, 1 with 40" in text


@pytest.mark.parametrize("which", ["folder", "by_hand"])
def test_a_search_cannot_be_claimed(base: Any, tuned: Any, which: str, tmp_path: Path) -> None:
    """Nor can one be left out of the record of a run that has it."""
    results = tmp_path / "theirs"
    folder = getattr(tuned, which)
    place = results / "runs" / folder.parents[1].name / folder.parent.name / folder.name
    shutil.copytree(folder, place)
    check = ("results", "check", results, "--plugin", PLUGIN)
    assert "sound" in base.cli(*check).stdout
    about = json.loads((place / "run.json").read_bytes())
    about["method"] |= {"hp": "untuned" if which == "folder" else "tuned"}
    (place / "seal.json").unlink()
    (place / "run.json").write_text(json.dumps(about))
    seal_run(place)
    assert "method.hp" in base.cli(*check, check=1).stdout.replace("\n", "")


def test_a_run_needs_the_search_of_exactly_its_kind(base: Any) -> None:
    done = base.run("toy-dial", "--tuned", "--text-fields", "name", check=2)
    assert "There is no finished search of 'toy-dial' on 'toy-pu'" in done.stderr
    assert "--text-fields name" in done.stderr
    assert "zsar-bench tune toy-dial" in done.stderr
    done = base.run("toy-dial", "--tuned", "--set", "dial=3", check=2)
    assert "--set dial=3" in done.stderr


def test_methods_without_ranges_are_refused(base: Any) -> None:
    done = base.cli("tune", "toy-plain", *base.common, check=2)
    assert "declares no search ranges" in done.stderr
    done = base.run("toy-plain", "--tuned", check=2)
    assert "declares no search ranges" in done.stderr


def test_nobody_chooses_among_searches(base: Any, tmp_path: Path) -> None:
    shutil.copytree(base.cli.cwd / "results" / "tuning", tmp_path / "tuning")
    base.tune("--results", tmp_path, "--seed", 1, "--budget", 1, "--quiet")
    done = base.run("toy-dial", "--tuned", "--results", tmp_path, check=2)
    assert "There are 2 finished searches" in done.stderr


def test_an_outcome_that_was_edited_is_refused(base: Any, tmp_path: Path) -> None:
    shutil.copytree(base.cli.cwd / "results" / "tuning", tmp_path / "tuning")
    (file,) = tmp_path.glob("tuning/*/*/*/tuning.json")
    about = json.loads(file.read_bytes())
    about["best"]["values"]["dial"] = BEST
    file.write_text(json.dumps(about))
    done = base.run("toy-dial", "--tuned", "--results", tmp_path, check=2)
    assert "is not as the search left it" in done.stderr


def test_random_splits_are_refused(base: Any) -> None:
    done = base.run("toy-dial", "--tuned", "--splits", 2, check=2)
    assert "--splits makes others of it" in done.stderr
