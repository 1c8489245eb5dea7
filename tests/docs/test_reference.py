"""The committed reference runs: whole, recomputable, and their page is not stale."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kit.paths import REFERENCE
from kit.reference_scripts import load_script
from zsar_bench.records.files import find_records, read_predictions, read_record
from zsar_bench.records.gzsl_matrix import FILE, read_matrix

RUNS = find_records(REFERENCE)
GZSL = [folder for folder in RUNS if (folder / FILE).is_file()]
SETTINGS = {"pgfa": "transductive", "star-all-texts": "class-transductive"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("regenerate")


def test_there_is_a_run_for_every_method_protocol_text_set_and_seed(script: ModuleType) -> None:
    found = defaultdict(int)
    for folder in RUNS:
        r = read_record(folder)
        kind = r.gzsl.kind if r.gzsl else ""
        row = (r.protocol.id, r.method.name, r.texts.source, r.selection, kind, bool(r.method.leak))
        found[*row, r.encoder_seed, r.method_seed] += 1
    wanted = {(*run, run[-1]) for run in script.wanted()}  # each encoder with its method's seed
    assert set(found) == wanted
    assert set(found.values()) == {1}


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: f"{p.parent.name}-{p.name[:6]}")
def test_the_stored_scores_give_the_recorded_numbers(folder: Path) -> None:
    record = read_record(folder)
    ids, labels, candidates, scores = read_predictions(folder / "predictions.safetensors")
    hits = defaultdict(list)
    for label, row in zip(labels.tolist(), scores.tolist(), strict=True):
        highest = max(score for score in row if score == score)  # NaN: no candidate
        best = [k for k, score in enumerate(row) if score == highest]
        hits[label].append((label in best) / len(best))
    everything = [h for class_hits in hits.values() for h in class_hits]
    assert len(set(ids)) == len(ids) == record.protocol.expected_clips == record.metrics.clips
    assert candidates == record.protocol.unseen
    assert record.metrics.top1 == pytest.approx(np.mean(everything), abs=1e-12)
    assert record.metrics.mean_class == pytest.approx(
        np.mean([np.mean(h) for h in hits.values()]), abs=1e-12
    )
    assert record.method.setting == SETTINGS.get(record.method.name, "inductive")
    assert record.environment.dirty is False, "made from uncommitted code"


@pytest.mark.parametrize("folder", GZSL, ids=lambda p: f"{p.parent.name}-{p.name[:6]}")
def test_the_stored_matrix_gives_the_recorded_balance(folder: Path) -> None:
    """Clip by clip: the round's constant comes off the seen scores, and the highest one wins."""
    part = read_record(folder).gzsl
    matrix = read_matrix(folder / FILE)
    assert part is not None
    constants = [one.constant for one in part.rounds]
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for label, number, scores in zip(matrix.labels, matrix.rounds, matrix.scores, strict=True):
        moved = [
            float(score) - constants[number] * bool(seen)
            for score, seen in zip(scores, matrix.seen, strict=True)
        ]
        hits[bool(matrix.seen[label])].append(int(np.argmax(moved)) == label)
    s, u = np.mean(hits[True]), np.mean(hits[False])
    found = (part.top1.seen, part.top1.unseen, part.top1.harmonic)
    assert found == pytest.approx((s, u, 2 * s * u / (s + u)), abs=1e-12)
    assert (len(hits[True]), len(hits[False])) == (part.seen_clips, part.unseen_clips)


def test_no_encoder_saw_a_subject_it_is_tested_on() -> None:
    for folder in RUNS:
        record = read_record(folder)
        tested = {s for row in record.metrics.cells.values() for s in row}
        trained = [set(one.train_subjects) for one in record.encoder.rounds]
        if record.protocol.rule == "transfer":  # a letter says which part a subject is of
            letters = [{s[0] for s in people} for people in trained]
            assert letters == [{one.round[0]} for one in record.encoder.rounds]
            pairs = [one.round.split(" to ") for one in record.encoder.rounds]
            assert all(source != target for source, target in pairs)
        elif len(trained) > 1:  # a cross-fit: each is tested by a model that never met him
            assert set.union(*trained) == tested
            assert not set.intersection(*trained)
        else:
            assert record.protocol.rule == "xsub"
            assert not trained[0] & tested


def test_the_page_is_what_the_runs_say(script: ModuleType) -> None:
    assert (REFERENCE / "README.md").read_text("utf-8") == script.page()
