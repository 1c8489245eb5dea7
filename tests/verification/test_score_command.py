"""Scores that were made elsewhere: every format, every fault, and what is kept of them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from kit.command import Cli
from zsar_bench.cli import app
from zsar_bench.comparison.sections import compare
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import UnseenClips, unseen_clips
from zsar_bench.errors import UserError
from zsar_bench.records.files import find_records, read_predictions, read_record, write_predictions
from zsar_bench.records.schema import Record
from zsar_bench.reporters import markdown, table
from zsar_bench.verification import score_files, self_reported
from zsar_bench.verification.score_files import Scores, read_scores

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

UNSEEN = ["c2", "c3"]
NAMES = {"c2": "Raise Quickly", "c3": "swing slowly"}


def store(home: Path) -> dict[str, list[Any]]:
    """Columns of the toy's clips, read without the product."""
    return json.loads((home / "data" / "toy-motion" / "dataset.json").read_bytes())["clips"]


@pytest.fixture
def truth(toy_process: Path) -> dict[str, str]:
    """The unseen test clips of toy-4-2 and their classes: all clips of two classes."""
    clips = store(toy_process)
    return {i: c for i, c in zip(clips["id"], clips["class"], strict=True) if c in UNSEEN}


@pytest.fixture
def made(truth: dict[str, str]) -> Scores:
    """Random scores in no order."""
    g = np.random.default_rng(3)
    ids = sorted(truth)
    g.shuffle(ids)
    return Scores(ids, ["c3", "c2"], g.normal(size=(32, 2)).astype(np.float32).astype(float))


def write(path: Path, found: Scores) -> Path:
    """The scores in the format of the path's ending."""
    if path.suffix == ".npz":
        np.savez(
            path, ids=np.array(found.ids), classes=np.array(found.classes), scores=found.scores
        )
    elif path.suffix == ".json":
        rows = [[None if np.isnan(v) else v for v in row] for row in found.scores.tolist()]
        path.write_text(json.dumps({"ids": found.ids, "classes": found.classes, "scores": rows}))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as f:
            lines = csv.writer(f)
            lines.writerow(["id", *found.classes])
            for clip, row in zip(found.ids, found.scores.tolist(), strict=True):
                lines.writerow([clip, *("" if np.isnan(v) else repr(v) for v in row)])
    else:
        about = {"ids": json.dumps(found.ids), "candidates": json.dumps(found.classes)}
        tensors = {"scores": found.scores.astype(np.float32)}
        tensors["labels"] = np.full(len(found.ids), 99)  # a lie, and not even a possible one
        save_file(tensors, path, metadata=about)
    return path


@cache
def toy_test() -> tuple[Protocol, UnseenClips]:
    """toy-4-2 and its clips; the first test that asks needs the toy's home."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.data.clips.store import open_dataset
    from zsar_bench.plans.choose_data import choose_data

    protocol = choose_data("toy-4-2", "real", load()).protocol
    return protocol, unseen_clips(protocol, open_dataset("toy-motion"))


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, ["score", "--protocol", "toy-4-2", *map(str, words)])


def judged(*words: object) -> Record:
    done = invoke(*words, "--json")
    if done.exception is not None:
        raise done.exception
    return read_record(Path(json.loads(done.stdout)["runs"][0]["folder"]))


@pytest.mark.parametrize("ending", ["npz", "csv", "json", "safetensors"])
def test_every_format_gives_the_accuracy_that_argmax_gives(
    ending: str, made: Scores, truth: dict[str, str], tmp_path: Path
) -> None:
    record = judged("--scores", write(tmp_path / f"mine.{ending}", made))
    best = [made.classes[int(row.argmax())] for row in made.scores]
    right = [guess == truth[clip] for clip, guess in zip(made.ids, best, strict=True)]
    by_class = [
        np.mean([r for r, i in zip(right, made.ids, strict=True) if truth[i] == c]) for c in UNSEEN
    ]
    assert record.metrics.top1 == pytest.approx(np.mean(right))
    assert record.metrics.mean_class == pytest.approx(np.mean(by_class))
    assert record.metrics.clips == len(truth) == 32
    assert {s for row in record.metrics.cells.values() for s in row} == set("12345678")
    [run] = find_records(tmp_path / "results")
    ids, labels, candidates, _ = read_predictions(run / "predictions.safetensors")
    assert {i: candidates[n] for i, n in zip(ids, labels, strict=True)} == truth


def test_order_names_and_format_do_not_matter_and_scores_do(made: Scores, tmp_path: Path) -> None:
    first = judged("--scores", write(tmp_path / "mine.npz", made))
    names = {c["id"]: c["name"] for c in _classes()}
    turned = Scores(
        made.ids[::-1], [names["c2"].upper(), names["c3"]], made.scores[::-1, ::-1].copy()
    )
    again = judged("--scores", write(tmp_path / "mine.csv", turned))
    assert again == first  # the run is there already and is kept
    moved = made.scores.copy()
    moved[0, 0] += 0.25
    other = judged("--scores", write(tmp_path / "mine.json", Scores(made.ids, made.classes, moved)))
    assert other.run_id != first.run_id
    named = judged("--scores", tmp_path / "mine.npz", "--method", "other")
    assert named.run_id != first.run_id
    assert len(find_records(tmp_path / "results")) == 3
    [section] = compare([first, other, named])["sections"]
    assert [(row["method"], row["seeds"]) for row in section["rows"]] == [
        ("mine", 1), ("mine", 1), ("other", 1),
    ]  # fmt: skip
    assert len({(row["method"], row["variant"]) for row in section["rows"]}) == 3


def _classes() -> list[dict[str, str]]:
    import zsar_toy

    from zsar_bench.common.files import parse_toml

    path = Path(zsar_toy.__file__).parent / "data" / "classes.toml"
    return parse_toml(path.read_text())["class"]


def test_the_record_claims_nothing_that_is_not_known(made: Scores, tmp_path: Path) -> None:
    record = judged("--scores", write(tmp_path / "mine.npz", made))
    assert (record.origin, record.environment.confinement) == ("self-reported", "none")
    assert record.encoder.origin == record.method.setting == record.selection == "unknown"
    assert record.encoder.name == record.texts.encoder == record.texts.source == "unknown"
    assert (record.encoder.rounds, record.texts.fields) == ([], [])
    assert record.method.science == {"scores": record.identity["scores"][:12]}
    assert record.method.digest == record.encoder.digest == record.environment.torch == ""
    assert record.certificate is None
    assert record.rescoring.clips == 0
    assert record.choices[0].reason == "mine.npz"


def test_a_runs_own_predictions_give_its_numbers_and_are_never_ranked_with_it(
    cli: Cli, toy_process: Path
) -> None:
    cli.run("toy-ridge")
    [run] = find_records(cli.cwd / "results")
    done = cli(
        "score", "--protocol", "toy-4-2", "--scores", run / "predictions.safetensors",
        "--method", "toy-ridge",
    )  # fmt: skip
    assert "self-reported, unconfined" in done.stdout
    records = [read_record(folder) for folder in find_records(cli.cwd / "results")]
    [foreign] = [r for r in records if r.origin == "self-reported"]
    [own] = [r for r in records if r.origin == "run"]
    assert foreign.metrics == own.metrics.model_copy(update={"plugins": {}})
    assert foreign.protocol == own.protocol
    sections = compare(records)["sections"]
    assert len(sections) == 2
    assert all(len(section["rows"]) == 1 for section in sections)
    [apart] = [s for s in sections if s["unranked"] == "self-reported"]
    assert [row["confinement"] for row in apart["rows"]] == ["none"]
    for draw in (table.report, markdown.report):
        drawn = draw(compare([foreign]), width=200, color=False)
        assert "self-reported, not ranked" in drawn
        assert "unconfined" in drawn


# --- What is refused ----------------------------------------------------------------------------

Change = Callable[[Scores], Scores]
FAULTS: dict[str, tuple[Change, str]] = {
    "missing": (
        lambda s: Scores(s.ids[4:], s.classes, s.scores[4:]),
        "4 clips of the 32 test clips are missing: ",
    ),
    "unknown": (
        lambda s: Scores([*s.ids, "x1"], s.classes, np.vstack([s.scores, [0, 1]])),
        "1 clips are no test clips: x1.",
    ),
    "twice": (
        lambda s: Scores([*s.ids, s.ids[0]], s.classes, np.vstack([s.scores, [0, 1]])),
        "1 clips are there more than once: ",
    ),
    "missing class": (
        lambda s: Scores(s.ids, s.classes[:1], s.scores[:, :1]),
        "1 classes of the 2 candidates are missing: c2.",
    ),
    "seen class": (
        lambda s: Scores(s.ids, [*s.classes, "c1"], np.hstack([s.scores, s.scores[:, :1]])),
        "1 classes are no candidates: c1.",
    ),
    "class twice": (
        lambda s: Scores(s.ids, ["c2", "c3", "c2"], np.hstack([s.scores, s.scores[:, :1]])),
        "1 classes are there more than once: c2.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ending", ["npz", "csv", "json", "safetensors"])
def test_ids_and_classes_must_be_the_tests(
    fault: str, ending: str, made: Scores, toy_process: Path, tmp_path: Path
) -> None:
    change, said = FAULTS[fault]
    found = read_scores(write(tmp_path / f"mine.{ending}", change(made)))
    with pytest.raises(UserError) as caught:
        self_reported.arrange(found, "mine", *toy_test())
    assert said in caught.value.what


def test_what_is_refused_leaves_nothing(made: Scores, tmp_path: Path) -> None:
    lacking = Scores(made.ids[4:], made.classes, made.scores[4:])
    done = invoke("--scores", write(tmp_path / "mine.npz", lacking))
    assert isinstance(done.exception, UserError)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_are_finite(value: float, made: Scores, tmp_path: Path) -> None:
    made.scores[5, 1] = value
    made.scores[7, 1] = value
    for ending in ("npz", "csv", "safetensors"):
        found = read_scores(write(tmp_path / f"mine.{ending}", made))
        with pytest.raises(UserError, match="2 of 64 scores are not finite or left open"):
            self_reported.arrange(found, "mine", *toy_test())


def test_no_one_loses_by_rounding(made: Scores) -> None:
    made.scores[3] = [1.0, 1.0 + 1e-12]
    with pytest.raises(UserError, match="1 clips differ in digits that float32 does not hold"):
        self_reported.arrange(made, "mine", *toy_test())
    made.scores[3] = [1e300, 0.0]
    with pytest.raises(UserError, match="too large"):
        self_reported.arrange(made, "mine", *toy_test())


class Bomb:
    """A pickle that writes a file when it is read."""

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("exploded"), "yes"))


def bomb(path: Path) -> None:
    np.savez(path, ids=np.array([Bomb()], dtype=object), classes=np.array(["c2"]), scores=[[1.0]])


def npz_of(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def huge(path: Path) -> None:
    """An array whose header claims a terabyte."""
    head = io.BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**5)}
    np.lib.format.write_array_header_1_0(head, about)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (("ids", ["a"]), ("classes", ["c2"])):
            data = io.BytesIO()
            np.save(data, np.array(array))
            archive.writestr(f"{name}.npy", data.getvalue())
        archive.writestr("scores.npy", head.getvalue() + bytes(64))


TEXTS = {
    "empty.csv": ("", "first line must be 'id'"),
    "head.csv": ("id,c2,c3\n", "it holds no scores"),
    "cells.csv": ("id,c2,c3\na,1\n", "line 2 has 2 cells, not 3"),
    "word.csv": ("id,c2,c3\na,1,much\n", "line 2: 'much' is no number"),
    "python.csv": ("id,c2,c3\na,1,1_0\n", "line 2: '1_0' is no number"),
    "open.csv": ('id,c2,c3\n"a,1,2\n', "line 2: unexpected end of data"),
    "list.json": ("[1]", "must hold an object"),
    "deep.json": ("[" * 10**5, "is not valid JSON"),
    "lacks.json": ('{"ids": [], "classes": []}', "its list 'scores' is missing"),
    "true.json": ('{"ids": ["a"], "classes": ["c2"], "scores": [[true]]}', "holds 'True'"),
    "rows.json": ('{"ids": ["a"], "classes": ["c2"], "scores": [[1, 2]]}', "no list of 1 numbers"),
    "ids.json": ('{"ids": [1], "classes": ["c2"], "scores": [[1]]}', "'ids' is no list of texts"),
    "more.json": ('{"ids": ["a", "b"], "classes": ["c"], "scores": [[1]]}', "it must be 2 x 1"),
    "cut.safetensors": ("\x08", "is damaged or holds no tensor 'scores'"),
    "cut.npz": ("PK\x03\x04", "is not a readable zip archive"),
    "scores.txt": ("1 2 3", "Unknown kind of score file '.txt'"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_files_are_errors_that_name_the_place(name: str, tmp_path: Path) -> None:
    text, said = TEXTS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_scores(tmp_path / name)
    assert said in caught.value.what


def test_arrays_of_objects_are_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb(tmp_path / "bomb.npz")
    with pytest.raises(UserError, match="Python objects"):
        read_scores(tmp_path / "bomb.npz")
    assert not Path("exploded").exists()
    with np.load(tmp_path / "bomb.npz", allow_pickle=True) as f:  # it would have gone off
        list(f["ids"])
    assert Path("exploded").exists()


def test_sizes_are_known_before_memory_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge(tmp_path / "huge.npz")
    with pytest.raises(UserError, match="should have 800000000128 bytes"):
        read_scores(tmp_path / "huge.npz")
    monkeypatch.setattr(score_files, "MOST_SCORES", 63)
    many = Scores([f"a{n}" for n in range(32)], ["c2", "c3"], np.zeros((32, 2)))
    for ending in ("npz", "csv", "json", "safetensors"):
        with pytest.raises(UserError, match="more than any test has"):
            read_scores(write(tmp_path / f"many.{ending}", many))
    monkeypatch.setattr(score_files, "LARGEST", 100)
    with pytest.raises(UserError, match="more than 0"):
        read_scores(tmp_path / "many.npz")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no such file"):
        read_scores(tmp_path / "endless.csv")


@pytest.mark.parametrize("name", ["../../x", "A b", ".x", "-", "x" * 65, "[red]", "\x1b[31m"])
def test_a_methods_name_is_a_folders(
    name: str, made: Scores, toy_process: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "mine.npz", made)
    with pytest.raises(UserError, match="method's name"):
        judged("--scores", path, f"--method={name}")


# --- Clips that differ in their candidates ------------------------------------------------------


def protocol(**more: Any) -> Protocol:
    from zsar_bench.common.classes import ActionClass

    classes = tuple(ActionClass(f"k{n}", f"class {n}", "", "") for n in range(6))
    ids = tuple(c.id for c in classes)
    texts = dict.fromkeys(("title", "family", "source", "confidence", "notes"), "")
    texts |= {"id": "p", "dataset": "d"}
    values: dict[str, Any] = {"seen": ids, "unseen": ids, "aliases": (), "test_clips": 0, **more}
    return Protocol(**texts, classes=classes, **values)


def dataset(rows: list[tuple[str, str, str]]) -> Any:
    """Clips of (class, subject, setup)."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    ids = [f"clip-{n}" for n in range(len(rows))]
    clips = dict(zip(("class", "subject", "setup"), columns, strict=True)) | {"id": ids}
    return SimpleNamespace(clips=clips, digest="0" * 64)


def _judge(p: Protocol, tested: UnseenClips, scores: np.ndarray) -> Record:
    found = Scores(tested.ids, tested.candidates, scores)
    return self_reported.judge_scores(found, "f", "0" * 64, "m", p, tested)[0]


def test_folds_compare_a_clip_with_its_own_fold_only() -> None:
    folds = (("k0", "k1", "k2"), ("k3", "k4", "k5"))
    p = protocol(rule="performer-cross-fit", groups=(("a",), ("b",)), folds=folds)
    tested = unseen_clips(p, dataset([(f"k{k}", s, "") for k in range(6) for s in "ab"]))
    assert sorted(tested.ids) == sorted(f"clip-{n}" for n in range(12))
    scores = np.zeros((12, 6))
    for row, label in enumerate(tested.labels):
        fold = folds[int(label >= 3)]
        scores[row, label] = 1.0
        other = [n for n in range(6) if f"k{n}" not in fold]
        scores[row, other] = 9.0  # higher, but no question
        assert tested.mask[row].tolist() == [f"k{n}" in fold for n in range(6)]
    assert _judge(p, tested, scores).metrics.top1 == 1.0
    assert _judge(p, tested, np.where(tested.mask, scores, np.nan)).metrics.chance == pytest.approx(
        1 / 3
    )
    scores[0, tested.labels[0]] = np.nan
    with pytest.raises(UserError, match="1 of 36 scores"):
        _judge(p, tested, scores)


def test_pooled_data_compare_a_clip_with_its_own_part_only() -> None:
    p = protocol(
        rule="xsub", groups=(), train=("a",), seen=("k0", "k1"), unseen=("k2", "k3", "k4", "k5"),
        own_candidates=True,
    )  # fmt: skip
    part = {"k2": "x", "k3": "x", "k4": "y", "k5": "y"}
    rows = [(c, s, part.get(c, "x")) for c in (f"k{n}" for n in range(6)) for s in "ab"]
    tested = unseen_clips(p, dataset(rows))
    for row, label in enumerate(tested.labels):
        own = {c for c in part if part[c] == part[tested.candidates[label]]}
        assert {c for c, m in zip(tested.candidates, tested.mask[row], strict=True) if m} == own
    assert _judge(p, tested, tested.mask * 1.0).metrics.top1 == 0.5  # a tie of two


# --- The template -------------------------------------------------------------------------------


def test_a_filled_template_is_judged(truth: dict[str, str], tmp_path: Path) -> None:
    done = invoke("--template", tmp_path / "mine.csv")
    assert done.exit_code == 0, done.output
    with (tmp_path / "mine.csv").open() as f:
        head, *rows = csv.reader(f)
    assert head == ["id", "c2", "c3"]
    assert sorted(r[0] for r in rows) == sorted(truth)
    order = [truth[r[0]] for r in rows]
    assert order != sorted(order)  # the order tells nothing about classes
    assert order != sorted(order, reverse=True)
    with pytest.raises(UserError, match="64 of 64 scores are not finite or left open"):
        judged("--scores", tmp_path / "mine.csv")
    with (tmp_path / "full.csv").open("w", newline="") as f:
        csv.writer(f).writerows(
            [head, *([r[0], *(int(truth[r[0]] == c) for c in head[1:])] for r in rows)]
        )
    assert judged("--scores", tmp_path / "full.csv").metrics.top1 == 1.0
    again = invoke("--template", tmp_path / "mine.csv")
    assert isinstance(again.exception, UserError)


def test_real_clips_are_never_replaced_by_synthetic_ones(
    toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "empty"))
    (tmp_path / "mine.csv").write_text("id,c2,c3\na,1,2\n")
    done = invoke("--scores", tmp_path / "mine.csv")
    assert isinstance(done.exception, UserError)
    assert "has not been imported" in done.exception.what


def test_predictions_of_write_predictions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    scores = np.array([[1, 2], [3, np.nan]], dtype=np.float32)
    write_predictions(path, ["a", "b"], np.array([0, 1]), ["c2", "c3"], scores)
    found = read_scores(path)
    assert (found.ids, found.classes) == (["a", "b"], ["c2", "c3"])
    np.testing.assert_array_equal(found.scores, scores.astype(float))
