"""Habits of the field, and answers forged in the harness's place: what the record says of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.cheats import Scene
from kit.paths import ATTACKS
from zsar_bench.catalogue.loading import import_file
from zsar_bench.comparison.controls import judge_shifts
from zsar_bench.metrics import accuracy
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.views import SkeletonInputs, TextBank, TextFeatures

pytestmark = pytest.mark.process

forger = import_file(ATTACKS / "forger.py")
habits = import_file(ATTACKS / "habits.py")
PLUGINS = ("forger", "habits")
FATAL = [f"forger-{kind.__name__.lower()}" for kind in forger.FATAL]
REFUSED = ["either-branch", "true-class-query"]
TRANSDUCTIVE = ["batch-statistics", "inner-classifier", "caching-classifier", "forger-peek"]
FINE = ["habit", "best-constant", "scaler"]


@pytest.fixture(scope="module")
def done(scene: Scene) -> Any:
    """All of them in one command: what it said, and each method's status."""
    methods = [*FATAL, *REFUSED, *TRANSDUCTIVE, *FINE]
    process = scene.run(*methods, plugins=PLUGINS)
    assert process.returncode == 1, process.stderr
    return process, {r["method"]: r["status"] for r in json.loads(process.stdout)["runs"]}


@pytest.mark.parametrize("method", [*FATAL, *REFUSED])
def test_a_forged_or_impossible_answer_fails_its_run_and_no_other(
    method: str, done: Any, scene: Scene
) -> None:
    process, statuses = done
    assert statuses[method] == "failed"
    assert f"failed: {method}" in process.stderr
    assert not list((scene.results / "runs").glob(f"*/{method}/*/run.json"))
    assert [m for m in FINE if statuses[m] != "done"] == []


def test_no_forged_word_reaches_the_terminal(done: Any) -> None:
    said = done[0].stdout + done[0].stderr
    assert "all is well" in said
    assert "\x1b" not in said
    assert "\x07" not in said


@pytest.mark.parametrize("method", TRANSDUCTIVE)
def test_who_looks_at_the_test_clips_together_is_transductive(
    method: str, done: Any, scene: Scene
) -> None:
    about = scene.record(method)
    assert about.method.declared_setting == "inductive"
    assert about.rescoring.clips == 16
    assert about.rescoring.largest_change > about.rescoring.tolerance
    assert about.method.setting == "transductive"


def test_an_honest_method_of_the_same_make_is_inductive(done: Any, scene: Scene) -> None:
    for method in FINE:
        assert scene.record(method).method.setting == "inductive"
        assert scene.record(method).rescoring.largest_change < 1e-6
    certificate = scene.record("habit").certificate
    assert certificate is not None
    assert certificate.confinement.model_dump() == vars(support())  # told before any plugin spoke


def random_inputs(clips: int) -> SkeletonInputs:
    return SkeletonInputs(torch.randn(clips, 5, generator=torch.Generator().manual_seed(0)))


def bound(name: str) -> Any:
    """A habit that has fitted nothing and knows of two candidates."""
    method = habits.METHODS[name][0](habits.Params())
    method.mean = torch.zeros(5)
    text = TextFeatures(torch.zeros(2, 3), torch.zeros(2, 1, 3), torch.ones(2, 1).bool())
    method.bind(TextBank({"motion": text}))
    return method


def test_in_the_same_process_the_cache_would_hide_it() -> None:
    inputs = random_inputs(16)
    for name, hidden in (("inner-classifier", False), ("caching-classifier", True)):
        method = bound(name)
        scores = method.score(inputs)
        again = [method.score(inputs.rows(torch.tensor([n]))) for n in range(16)]
        assert torch.equal(torch.cat(again), scores) == hidden


def test_the_union_of_branches_is_no_prediction() -> None:
    """Either of two branches is right for every clip of two classes; no one matrix is."""
    branches = bound("either-branch").score(random_inputs(16)).numpy()
    labels = np.random.default_rng(0).integers(0, 2, 16)
    right = [accuracy.judge(one, labels).credit for one in branches]
    assert np.maximum(*right).tolist() == [1.0] * 16  # what papers count
    assert np.mean(right) == 0.5  # what any one of them is worth
    with pytest.raises(ValueError, match="scores are"):
        accuracy.judge(branches, labels)


def test_a_true_class_query_is_flagged_where_texts_are_shifted() -> None:
    """PURLS' code asks with the text of the clip's own class, whichever text that has by now."""
    texts = np.random.default_rng(0).standard_normal((5, 8))
    labels = np.arange(40) % 5
    found = {"leaking": [], "honest": []}
    for shift in range(5):
        given = np.roll(texts, -shift, axis=0)
        for name, query in (("leaking", given[labels]), ("honest", texts[labels])):
            credit = accuracy.judge(query @ given.T - (given**2).sum(1) / 2, labels).credit
            found[name].append(float(credit.mean()))
    assert found == {"leaking": [1.0] * 5, "honest": [1.0, 0.0, 0.0, 0.0, 0.0]}
    assert judge_shifts(True, np.mean(found["leaking"]), None, 0.2).verdict == "FAILS"
    assert judge_shifts(True, np.mean(found["honest"]), None, 0.2).verdict == "passes"


def test_no_constant_beats_chance_on_mean_class_accuracy(done: Any, scene: Scene) -> None:
    found = scene.record("best-constant").metrics
    assert (found.mean_class, found.chance, found.tied) == (0.5, 0.5, 0)
    assert found.top1 == found.majority_class == 0.5
    labels = np.array([0] * 9 + [1] * 3 + [2] * 2)  # where classes differ in size, too
    for constant in range(3):
        scores = np.tile(np.eye(3)[constant], (14, 1))
        credit = accuracy.judge(scores, labels).credit
        assert accuracy.mean_class(credit, labels, 3) == pytest.approx(1 / 3)
        assert accuracy.top1(credit) <= accuracy.majority_class(scores, labels)


def test_accuracy_is_per_clip_however_unequal_batches_are() -> None:
    """Five clips in batches of four and one: the mean of batch accuracies would be 0.625."""
    scores, labels = np.eye(2)[[0, 0, 0, 0, 1]], np.array([0, 1, 1, 1, 1])
    batches = [accuracy.judge(scores[b], labels[b]).credit for b in (slice(4), slice(4, 5))]
    assert np.mean([b.mean() for b in batches]) == 0.625
    assert accuracy.top1(accuracy.judge(scores, labels).credit) == pytest.approx(2 / 5)


def test_a_scaler_is_fitted_over_seen_training_clips(done: Any, scene: Scene) -> None:
    (told,) = [e for e in scene.events("scaler") if "spare" in e]
    (one,) = scene.record("scaler").encoder.rounds
    files = (scene.cli.home / "encoders" / one.key / "pooled").glob("c[1456]_[1357].safetensors")
    features = [load_pooled(f) for f in sorted(files)]
    assert told["rows"] == sum(map(len, features)) == 32
    assert told["mean"] == pytest.approx(np.concatenate(features)[:, 0].mean(), abs=1e-5)
    assert told["spare"] == 0
    assert habits.spare_bytes(SkeletonInputs(torch.zeros(9, 5)[:4])) == 100  # it would be seen


def load_pooled(path: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(path)["pooled"]


def test_an_encoder_that_looks_at_its_batch_and_claims_to_be_from_elsewhere(
    done: Any, scene: Scene
) -> None:
    encoders = ("--skeleton-encoder", "batch-encoder", "--text-encoder", "toy-hash")
    process = scene.run("habit", plugins=PLUGINS, encoders=encoders, results="elsewhere")
    assert process.returncode == 0, process.stderr
    about = scene.record("habit", "elsewhere")
    assert about.certificate is not None
    assert about.certificate.encoder_moved > 0.1
    assert about.method.setting == "transductive"
    assert about.rescoring.largest_change < 1e-6  # the method itself is as good as before
    assert about.certificate.encoder_classes == {"xsub": ["c1", "c4", "c5", "c6"]}
    ids = [f"c{c}_s{s}_r{r}" for c in (1, 4, 5, 6) for s in (1, 3, 5, 7) for r in (1, 2)]
    told = hashlib.sha256(json.dumps(sorted(ids), separators=(",", ":")).encode()).hexdigest()
    assert about.certificate.encoder_clips == {"xsub": told}
    assert about.encoder.origin == "certified"
