"""Marked leaks: who asks for labels gets them, is seen to have them, and is ranked with nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from kit.cheats import PROTOCOL
from kit.command import TOY_ENCODERS, Cli, see_plugins
from kit.made_records import BEST, CLOSE, FAR, exactly, record
from kit.paths import PLUGINS
from kit.shown_text import every_text, flat
from zsar_bench.catalogue import catalogue
from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.common.hashing import digest
from zsar_bench.comparison.ranking import leaking, place, unranked
from zsar_bench.comparison.sections import compare
from zsar_bench.errors import UserError
from zsar_bench.records.files import read_record, seal_run
from zsar_bench.runs.score import EvaluationSet, Scorer
from zsar_bench.sandbox.wire import inputs_from_tensors
from zsar_bench.verification import recheck
from zsar_bench.views import SkeletonInputs

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

TOLD = PLUGINS / "told.py"
LEAKS = {"method": {"leak": "labels"}}
REASON = "leak: labels"


# --- Runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The method without a leak, with either, and under shifted texts; never to be changed."""
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "toy-one.toml").write_text(PROTOCOL)
    cli = Cli(toy_home, toy_site, folder, real=False)

    def run(*more: object) -> Any:
        common = ("--protocol", "toy-one.toml", "--plugin", TOLD, *TOY_ENCODERS, "--quiet")
        return json.loads(cli("run", "told", *common, *more, "--json").stdout)

    return SimpleNamespace(
        folder=folder,
        cli=cli,
        off=run(),
        on=run("--set", "leak=true", "--prove"),
        union=run("--set", "union=true"),
        shifted=run("--set", "leak=true", "--text-control", "shuffled-unseen"),
    )


def folder_of(runs: Any, said: Any) -> Path:
    (folder,) = (runs.folder / "results" / "runs").glob(f"*/told/{said['runs'][0]['run']}")
    return folder


def test_without_the_parameter_no_label_reaches_a_worker(runs: Any) -> None:
    """The method fails where it has labels unasked, and it did not fail."""
    about = read_record(folder_of(runs, runs.off))
    assert about.metrics.mean_class == 0.5
    assert (about.method.leak, about.certificate.leak) == ("", "")
    assert "leak" not in about.identity
    assert not [c for c in about.choices if c.what == "leak"]
    assert unranked(about) == ""


def test_with_it_every_clip_has_its_own_label_and_the_record_says_so(runs: Any) -> None:
    about = read_record(folder_of(runs, runs.on))
    assert about.metrics.mean_class == about.metrics.top1 == 1.0
    assert (about.method.leak, about.certificate.leak) == ("labels", "labels")
    assert about.identity["leak"] == "labels"
    (choice,) = [c for c in about.choices if c.what == "leak"]
    assert (choice.value, "never ranked" in choice.reason) == ("leak", True)
    assert unranked(about) == REASON


def test_labels_come_with_clips_that_are_scored_again(runs: Any) -> None:
    about = read_record(folder_of(runs, runs.on))
    assert (about.rescoring.clips, about.rescoring.largest_change) == (16, 0.0)
    assert about.method.setting == "inductive"
    assert about.certificate.proof.stable  # noise moves features, not labels


def test_either_branch_can_be_right(runs: Any) -> None:
    """Two candidates: one of the two branches always is."""
    about = read_record(folder_of(runs, runs.union))
    assert about.metrics.mean_class == 1.0
    assert about.method.leak == "labels"


def test_shifted_texts_do_not_stop_a_leak(runs: Any) -> None:
    (section,) = runs.shifted["controls"]
    (row,) = section["rows"]
    assert section["unranked"] == REASON
    assert row["by_draw"] == [1.0, 1.0]
    assert row["verdict"] == "FAILS"


def test_compare_keeps_it_apart(runs: Any) -> None:
    said = runs.cli("compare", "--json").stdout
    sections = json.loads(said)["sections"]
    assert [(s["unranked"], len(s["rows"])) for s in sections] == [("", 1), (REASON, 2)]
    assert sections[0]["rows"][0]["science"]["leak"] is False
    shown = flat(runs.cli("compare").stdout)
    assert f"toy-one - {REASON}, not ranked" in shown
    assert shown.count(f"({REASON})") >= 2


# --- Checked again ---------------------------------------------------------------------------


def hide(folder: Path, *places: str) -> None:
    """Take the marks of a leak off a record, and make id and seal follow."""
    path = folder / "run.json"
    about = json.loads(path.read_bytes())
    for place_ in places:
        if place_ == "identity":
            del about["identity"]["leak"]
            about["run_id"] = digest(about["identity"])[:16]
        else:
            about[place_]["leak"] = ""
    path.write_text(json.dumps(about))
    seal_run(folder)


@pytest.fixture(scope="module")
def known(toy_home: Path, toy_site: Path) -> Catalogue:
    """The plugins, asked once: two methods of the file are broken, so no answer of it is kept."""
    with pytest.MonkeyPatch.context() as patch:
        see_plugins(patch, toy_home, toy_site)
        return catalogue.load([TOLD])


@pytest.mark.parametrize(
    "places",
    [("method",), ("certificate",), ("identity",), ("identity", "method", "certificate")],
    ids="-".join,
)
def test_a_record_that_hides_its_leak_is_refused(
    runs: Any, known: Catalogue, toy_process: Path, tmp_path: Path, places: tuple[str, ...]
) -> None:
    folder = shutil.copytree(folder_of(runs, runs.on), tmp_path / "run")
    assert recheck.check_run(folder, known).record.method.leak == "labels"
    hide(folder, *places)
    with pytest.raises(UserError, match=r"method\.leak"):
        recheck.check_run(folder, known)


# --- Declared --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("careless", "no science parameter, false at first"),
        ("no-switch", "no science parameter, false at first"),
        ("on-by-profile", "a profile switches on"),
    ],
)
def test_a_leak_is_off_unless_somebody_sets_it(known: Catalogue, name: str, reason: str) -> None:
    assert name not in known.names("methods")
    with pytest.raises(UserError, match=reason):
        known.find("methods", name)
    assert known.find("methods", "told").spec["leaks"] == ["leak", "union"]


# --- What is sent ----------------------------------------------------------------------------


def scorer(leak: str, jitter: bool = False) -> tuple[EvaluationSet, Scorer]:
    """Four clips of three classes, two of them candidates, which a worker gets in turned order."""
    dataset = SimpleNamespace(
        clips={"class": ["c9", "c1", "c2", "c3"]}, contents=lambda index: [b"x"] * len(index)
    )
    source = SimpleNamespace(
        dataset=dataset, read=lambda clips, wants: {"pooled": np.ones((len(clips), 2), np.float32)}
    )
    plan = SimpleNamespace(leak=leak, wants=())
    evaluation = EvaluationSet(plan, source, [1, 2, 3], None, ("c1", "c2"), "n", Path(), "owner")
    evaluation.__dict__["candidates"] = (["c2", "c1"], [1, 0])
    bare = Scorer.__new__(Scorer)
    bare.evaluation = evaluation
    return evaluation, bare


def test_labels_are_places_among_the_candidates_that_are_bound() -> None:
    evaluation, bare = scorer("labels")
    assert evaluation.labels.tolist() == [1, 0, -1]
    sent = load(bare._request(np.array([2, 0]), jitter=0.5))
    assert sent["labels"].tolist() == [-1, 1]
    assert sent["labels"].dtype == np.int64


def test_nothing_more_is_sent_without_a_leak() -> None:
    evaluation, bare = scorer("")
    assert set(load(bare._request(np.array([2, 0])))) == {"pooled"}
    assert "labels" not in evaluation.__dict__, "they were not even looked up"


def test_inputs_carry_labels_along() -> None:
    pooled, labels = torch.randn(3, 2), torch.tensor([1, -1, 0])
    inputs = inputs_from_tensors({"pooled": pooled, "labels": labels})
    assert inputs.rows(torch.tensor([2, 0])).labels.tolist() == [0, 1]
    assert SkeletonInputs(pooled).rows(torch.tensor([0])).labels is None


# --- Tables ----------------------------------------------------------------------------------


def test_leaking_rows_stand_apart_and_carry_no_mark_of_rank() -> None:
    ranked = [record(exactly(FAR), "far"), record(exactly(CLOSE), "close")]
    apart = [record(exactly(BEST), "z-best", **LEAKS), record(exactly(CLOSE), "a-close", **LEAKS)]
    first, second = compare([*apart, *ranked])["sections"]
    assert first == compare(ranked)["sections"][0]
    assert (second["unranked"], second["detectable"]) == (REASON, None)
    assert [r["method"] for r in second["rows"]] == ["a-close", "z-best"]  # by name
    assert not any(r["best"] or r["not_shown_to_differ"] for r in second["rows"])


def test_leaking_rows_are_marked_one_by_one_in_every_format() -> None:
    comparison = compare([record(exactly(r), n, **LEAKS) for n, r in (("one", BEST), ("two", FAR))])
    texts = every_text(comparison)
    for kind in ("table", "markdown"):
        for name in ("one", "two"):
            (line,) = [x for x in texts[kind].splitlines() if f" {name} (" in x]
            assert f"({REASON})" in line
        assert f"{REASON}, not ranked" in texts[kind]
        assert "got the true class of every clip" in flat(texts[kind])
    assert "**" not in texts["markdown"]
    rows = json.loads(texts["json"])["sections"][0]["rows"]
    assert [r["unranked"] for r in rows] == [REASON] * 2


def test_a_leak_and_a_peek_are_both_told() -> None:
    both = record(exactly(BEST), "m", **LEAKS, selection="oracle@50")
    (section,) = compare([both])["sections"]
    assert section["unranked"] == "leak: labels, chosen on test"
    assert leaking(section) == REASON
    assert leaking({"unranked": "chosen on test"}) == ""


def test_selection_rules_of_a_leaking_method_are_marked() -> None:
    science = {"leak": True}
    more = {"method": LEAKS["method"] | {"science": science}}
    records = [record(exactly(FAR), "m", **more, selection=r) for r in ("last", "seen-val")]
    texts = every_text(compare(records, rules=True))
    for kind in ("table", "markdown"):
        (line,) = [x for x in texts[kind].splitlines() if "by selection rule" in x]
        assert f"m ({REASON}) by selection rule; not ranked" in line
    assert place(records[0]) == place(record(exactly(FAR), "m"))
