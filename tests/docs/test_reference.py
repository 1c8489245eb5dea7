"""The committed reference runs: whole, recomputable, and their page is not stale."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kit.paths import REFERENCE
from kit.reference_scripts import load_script
from zsar_bench.records.files import find_records, read_predictions, read_record
from zsar_bench.records.gzsl_matrix import FILE, read_matrix
from zsar_bench.records.schema import Record

#: One test a protocol: thousands of tests of a millisecond each took minutes.
PROTOCOLS = sorted(path.name for path in (REFERENCE / "runs").iterdir())
SETTINGS = {"pgfa": "transductive", "star-all-texts": "class-transductive"}


@functools.cache
def runs(protocol: str) -> dict[Path, Record]:
    """Folder -> record of the runs on one protocol."""
    folders = [folder for folder in find_records(REFERENCE) if folder.parents[1].name == protocol]
    assert folders
    return {folder: read_record(folder) for folder in folders}


def every() -> Iterator[Record]:
    """All records."""
    return (record for protocol in PROTOCOLS for record in runs(protocol).values())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("regenerate")


def test_there_is_a_run_for_every_method_protocol_text_set_and_seed(script: ModuleType) -> None:
    found = defaultdict(int)
    for r in every():
        kind = r.gzsl.kind if r.gzsl else ""
        row = (r.protocol.id, r.method.name, r.texts.source, r.selection, kind, bool(r.method.leak))
        found[*row, r.encoder_seed, r.method_seed] += 1
    wanted = {(*run, run[-1]) for run in script.wanted()}  # each encoder with its method's seed
    assert set(found) == wanted
    assert set(found.values()) == {1}
    assert {r.protocol.id.replace("/", "+") for r in every()} == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_stored_scores_give_the_recorded_numbers(protocol: str) -> None:
    for folder, record in runs(protocol).items():
        ids, labels, candidates, scores = read_predictions(folder / "predictions.safetensors")
        best = scores == np.nanmax(scores, axis=1, keepdims=True)  # NaN: no candidate
        hits = best[np.arange(len(labels)), labels] / best.sum(axis=1)
        classes = [hits[labels == label].mean() for label in np.unique(labels)]
        assert len(set(ids)) == len(ids) == record.protocol.expected_clips == record.metrics.clips
        assert candidates == record.protocol.unseen, folder
        assert record.metrics.top1 == pytest.approx(np.mean(hits), abs=1e-12), folder
        assert record.metrics.mean_class == pytest.approx(np.mean(classes), abs=1e-12), folder
        assert record.method.setting == SETTINGS.get(record.method.name, "inductive"), folder
        assert record.environment.dirty is False, f"{folder} was made from uncommitted code"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_stored_matrix_gives_the_recorded_balance(protocol: str) -> None:
    """Each round's constant comes off the seen scores, and the highest score of a clip wins."""
    for folder, record in runs(protocol).items():
        assert (record.gzsl is not None) == (folder / FILE).is_file(), folder
        if record.gzsl is None:
            continue
        part, matrix = record.gzsl, read_matrix(folder / FILE)
        constants = np.array([one.constant for one in part.rounds])
        moved = matrix.scores - constants[matrix.rounds, None] * matrix.seen.astype(float)
        hits, seen = moved.argmax(axis=1) == matrix.labels, matrix.seen[matrix.labels]
        s, u = hits[seen].mean(), hits[~seen].mean()
        found = (part.top1.seen, part.top1.unseen, part.top1.harmonic)
        assert found == pytest.approx((s, u, 2 * s * u / (s + u)), abs=1e-12), folder
        assert (seen.sum(), (~seen).sum()) == (part.seen_clips, part.unseen_clips), folder


def test_no_encoder_saw_a_subject_it_is_tested_on() -> None:
    for record in every():
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
