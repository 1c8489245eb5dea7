"""Whole GZSL runs on the toy data: the same ZSL run, and clips of seen classes beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.command import TOY_ENCODERS, Cli
from zsar_bench.comparison.sections import compare
from zsar_bench.data.protocols.splits import Round
from zsar_bench.metrics import accuracy
from zsar_bench.plans.holdouts import ENOUGH, pseudo_unseen_splits
from zsar_bench.plans.selection import validation_subjects
from zsar_bench.records.files import read_predictions, read_record, seal_run
from zsar_bench.records.gzsl_matrix import FILE, read_matrix, write_matrix
from zsar_bench.records.schema import Record
from zsar_bench.reporters import json as json_reporter
from zsar_bench.reporters import markdown, table
from zsar_bench.runs.gzsl import named_numbers, numbers

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes


@pytest.fixture(scope="module")
def base(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run without GZSL, one by each kind, and one by another rule."""
    folder = tmp_path_factory.mktemp("gzsl")
    cli = Cli(toy_home, toy_site, folder, real=False)
    text = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    protocol = folder / "toy-gzsl.toml"
    text = text.replace('"toy-4-2"', '"toy-gzsl"').replace('aliases = ["toy"]', "")
    protocol.write_text(f'{text}\n[gzsl]\npseudo_unseen = ["c1", "c4"]\n')
    words = ("run", "toy-ridge", "--protocol", protocol, *TOY_ENCODERS, "--json")

    def run(*more: object) -> Path:
        return Path(json.loads(cli(*words, *more).stdout)["runs"][0]["folder"])

    folders = {
        "": run(),
        "constant": run("--gzsl", "constant"),
        "gate": run("--gzsl", "gate"),
        "seen-val": run("--gzsl", "constant", "--selection", "seen-val"),
    }
    yield SimpleNamespace(
        cli=cli,
        words=words,
        run=run,
        folders=folders,
        results=folder / "results",
        records={name: read_record(f) for name, f in folders.items()},
    )
    cli.close()


def copied(base: Any, kind: str, to: Path) -> Path:
    """A run that a test may change."""
    place = base.folders[kind].relative_to(base.results)
    return Path(shutil.copytree(base.folders[kind], to / "results" / place))


# --- What is added, and what stays ---------------------------------------------------------------


def test_the_zsl_run_is_the_same(base: Any) -> None:
    plain: Record = base.records[""]
    name = "predictions.safetensors"
    for kind in ("constant", "gate"):
        one: Record = base.records[kind]
        assert (base.folders[kind] / name).read_bytes() == (base.folders[""] / name).read_bytes()
        assert one.metrics == plain.metrics
        assert one.run_id != plain.run_id
        assert one.identity == plain.identity | {"gzsl": kind}
        assert one.certificate.fitted == plain.certificate.fitted
        assert one.certificate.bundles == plain.certificate.bundles


def test_a_run_without_gzsl_says_nothing_of_it(base: Any) -> None:
    written = json.loads((base.folders[""] / "run.json").read_bytes())
    assert written["gzsl"] is None
    assert not (base.folders[""] / FILE).exists()
    assert json.loads((base.folders["gate"] / "run.json").read_bytes())["gzsl"]["kind"] == "gate"


def test_seen_and_unseen_clips_of_new_subjects_are_judged_over_all_classes(base: Any) -> None:
    matrix, part = read_matrix(base.folders["constant"] / FILE), base.records["constant"].gzsl
    assert matrix.candidates == ["c1", "c4", "c5", "c6", "c2", "c3"]
    assert matrix.seen.tolist() == [True] * 4 + [False] * 2
    assert len(matrix.ids) == len({*matrix.ids}) == 96  # every clip once, by the other half's fit
    assert (part.seen_clips, part.unseen_clips) == (64, 32)
    for clip, label, number in zip(matrix.ids, matrix.labels, matrix.rounds, strict=True):
        assert clip.partition("_")[0] == matrix.candidates[label]
        assert (int(clip.split("_s")[1][0]) % 2 == 1) == (number == 0)  # half-1 tests 1, 3, 5, 7
    ids, _, candidates, scores = read_predictions(base.folders[""] / "predictions.safetensors")
    rows = [matrix.ids.index(clip) for clip in ids]
    columns = [matrix.candidates.index(c) for c in candidates]
    np.testing.assert_allclose(matrix.scores[np.ix_(rows, columns)], scores, rtol=1e-5, atol=1e-6)
    assert base.records["constant"].gzsl.rescoring.clips == 64


def test_numbers_follow_from_the_matrix_by_plain_counting(base: Any) -> None:
    matrix, part = read_matrix(base.folders["constant"] / FILE), base.records["constant"].gzsl
    constants = np.array([one.constant for one in part.rounds])[matrix.rounds]
    moved = matrix.scores.astype(np.float64) - constants[:, None] * matrix.seen
    got = accuracy.judge(moved, matrix.labels).credit
    for name, side in (("seen", True), ("unseen", False)):
        mine = matrix.seen[matrix.labels] == side
        assert getattr(part.top1, name) == pytest.approx(got[mine].mean())
        by_class = [got[matrix.labels == c].mean() for c in np.unique(matrix.labels[mine])]
        assert getattr(part.mean_class, name) == pytest.approx(np.mean(by_class))
    for one in (part.top1, part.mean_class):
        assert one.harmonic == pytest.approx(accuracy.harmonic_mean(one.seen, one.unseen))
        assert 0 < one.ausuc < 1
        assert one.oracle_harmonic > 0


def test_rehearsals_meet_no_test_clip_and_no_subject_twice(base: Any) -> None:
    part, record = base.records["constant"].gzsl, base.records["constant"]
    halves = {"half-1": "2468", "half-2": "1357"}
    assert [turn.round for turn in part.rotations] == [*halves]
    for turn, one in zip(part.rotations, part.rounds, strict=True):
        assert turn.held_out == ["c1", "c4"]
        (subject,) = turn.subjects  # one of four
        assert subject in halves[turn.round]
        assert (turn.seen_clips, turn.unseen_clips) == (4, 16)
        assert turn.unseen_of == "training"  # two clips a class are too few
        assert turn.training_clips == 12
        assert one.training_clips == 32
        assert turn.normalized_constant == pytest.approx(turn.constant / turn.size)
        assert one.constant == pytest.approx(turn.normalized_constant * one.size)
        assert turn.encoder not in {r.key for r in record.encoder.rounds}
    assert part.rotations[0].normalized_constant != part.rotations[1].normalized_constant


def test_a_gate_decides_from_what_is_stored(base: Any) -> None:
    matrix, part = read_matrix(base.folders["gate"] / FILE), base.records["gate"].gzsl
    plain = read_matrix(base.folders["constant"] / FILE)
    assert matrix.unseen.shape == (96, 2)
    assert matrix.logits.shape == (96, 4)
    np.testing.assert_array_equal(matrix.scores, plain.scores)
    right = []
    for row, label, number in zip(range(96), matrix.labels, matrix.rounds, strict=True):
        one = part.rounds[number]
        gate = one.gate
        assert gate.k == 2
        read = []
        for said in (
            matrix.unseen[row] / one.spread / gate.temperature,
            matrix.logits[row] / gate.supervised,
        ):
            powers = np.exp(said.astype(float) - said.max())
            read += sorted(powers / powers.sum(), reverse=True)[: gate.k]
        p = 1 / (1 + np.exp(-(np.dot(gate.weights, read) + gate.bias)))
        guess = (
            matrix.logits[row].argmax() if p > gate.threshold else 4 + matrix.unseen[row].argmax()
        )
        right.append(float(guess == label))
    seen = matrix.seen[matrix.labels]
    assert part.top1.seen == pytest.approx(np.mean(np.array(right)[seen]))
    assert part.top1.unseen == pytest.approx(np.mean(np.array(right)[~seen]))
    # What no gate changes.
    other = base.records["constant"].gzsl
    assert part.top1.ausuc == other.top1.ausuc
    assert part.mean_class.oracle_harmonic == other.mean_class.oracle_harmonic
    assert part.rotations == other.rotations


def test_a_rule_chooses_the_state_of_rehearsals_too(base: Any) -> None:
    one = base.records["seen-val"]
    assert one.selection == "seen-val"
    assert [r.training_clips for r in one.gzsl.rounds] == [24, 24]  # of three subjects
    assert one.gzsl.rotations != base.records["constant"].gzsl.rotations


def test_the_same_command_again_is_done(base: Any) -> None:
    stamp = (base.folders["gate"] / "run.json").stat().st_mtime_ns
    assert base.run("--gzsl", "gate") == base.folders["gate"]
    assert (base.folders["gate"] / "run.json").stat().st_mtime_ns == stamp
    left = [p.name for p in base.folders["gate"].parent.iterdir() if p.name.startswith(".")]
    assert left == []


def test_killed_anywhere_it_ends_in_the_same_bytes(base: Any, tmp_path: Path) -> None:
    words = (*base.words, "--gzsl", "gate", "--results", tmp_path, "--jobs", "1")
    slow = ("--set", "toy-ridge.score_sleep=0.05", "--set", "toy-ridge.sleep=0.01")
    seen: set[str] = set()
    parts = ("rotation-0/rotation.json", "round.json", "gzsl/gzsl.json")
    for waited in parts:
        process = base.cli.start(*words, *slow)
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            if [*tmp_path.glob(f"runs/*/*/.*.part/round-*/{waited}")]:
                seen.add(waited)
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        process.wait()
    assert len(seen) >= 2  # the last may be there before the look
    folder = Path(json.loads(base.cli(*words, *slow).stdout)["runs"][0]["folder"])
    assert (folder / FILE).read_bytes() == (base.folders["gate"] / FILE).read_bytes()
    # Which clips are scored again is drawn in secret, so by how much they move is not the same.
    one, other = (r.gzsl.model_dump() for r in (read_record(folder), base.records["gate"]))
    for part in (one, other):
        del part["rescoring"]["largest_change"]
    assert one == other


# --- Compared ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(base: Any) -> Any:
    """The comparison of all runs in every format, and that of those without GZSL."""
    records = list(base.records.values())
    more = [one.model_copy(update={"encoder_seed": 1}) for one in records if one.gzsl]
    part = more[0].gzsl
    numbers = part.mean_class.model_copy(update={"harmonic": part.mean_class.harmonic / 2})
    more[0] = more[0].model_copy(update={"gzsl": part.model_copy(update={"mean_class": numbers})})
    found = compare([*records, *more])
    return SimpleNamespace(
        found=found,
        plain=compare([r for r in records if r.gzsl is None]),
        table=table.report(found, width=160, color=False),
        markdown=markdown.report(found, width=160, color=False),
        json=json.loads(json_reporter.report(found, width=160, color=False)),
        halved=part.mean_class.harmonic,
    )


def test_zsl_tables_do_not_count_gzsl_runs(tables: Any) -> None:
    assert {**tables.found, "gzsl": []} == tables.plain
    assert tables.plain["gzsl"] == []
    assert len(tables.found["sections"][0]["rows"]) == 1


def test_gzsl_rows_stand_in_sections_by_kind_with_mean_and_sd(base: Any, tables: Any) -> None:
    by_constant, by_gate = tables.found["gzsl"]
    assert (by_constant["kind"], by_gate["kind"]) == ("constant", "gate")
    assert (by_constant["seen_clips"], by_constant["unseen_clips"]) == (64, 32)
    assert {row["rule"] for row in by_constant["rows"]} == {"last", "seen-val"}
    (row,) = [row for row in by_constant["rows"] if row["rule"] == "last"]
    whole, half = tables.halved, tables.halved / 2
    assert row["mean_class"]["harmonic"]["mean"] == pytest.approx((whole + half) / 2)
    assert row["mean_class"]["harmonic"]["sd"] == pytest.approx(np.std([whole, half], ddof=1))
    assert row["top1"]["ausuc"]["sd"] == 0
    assert (row["seeds"], row["spread_excludes_encoder"]) == (2, False)
    assert row["zsl"] == base.records[""].metrics.top1
    (alone,) = compare([base.records["gate"]])["gzsl"]
    assert alone["rows"][0]["top1"]["harmonic"]["sd"] is None
    assert tables.json["gzsl"] == tables.found["gzsl"]


def test_every_format_shows_them_with_the_oracle_marked(base: Any, tables: Any) -> None:
    for text in (tables.table, tables.markdown):
        for word in ("GZSL by a constant", "GZSL by a gate", "AUSUC", "best H (oracle)"):
            assert word in text
        number = f"{100 * base.records['gate'].gzsl.top1.seen:.1f}"
        lines = [x for x in text.split("GZSL by a gate")[1].splitlines() if "toy-ridge" in x]
        found = [("top-1" in x, "mean class" in x) for x in lines]
        assert found == [(True, False), (False, True)]
        assert number in lines[0]
    assert "**" not in tables.markdown.split("GZSL by a constant")[1]


# --- Verified ------------------------------------------------------------------------------------


def checked(base: Any, folder: Path, check: int = 0) -> Any:
    return base.cli("results", "check", folder / "results", check=check)


def test_stored_runs_are_sound(base: Any) -> None:
    said = base.cli("results", "check").stdout
    assert said.count("sound") >= 4


def test_a_run_is_imported_with_its_matrix(base: Any, tmp_path: Path) -> None:
    words = ("results", "import", base.results, "--results", tmp_path / "taken")
    base.cli(*words)
    place = base.folders["gate"].relative_to(base.results)
    assert (tmp_path / "taken" / place / FILE).read_bytes() == (
        base.folders["gate"] / FILE
    ).read_bytes()
    assert read_record(tmp_path / "taken" / place) == base.records["gate"]
    base.cli(*words)  # kept


def lie(folder: Path, *way: Any) -> None:
    """Change a value of the record and seal the run again."""
    about = json.loads((folder / "run.json").read_bytes())
    at = about
    for step in way[:-2]:
        at = at[step]
    assert at[way[-2]] != way[-1]
    at[way[-2]] = way[-1]
    (folder / "run.json").write_text(json.dumps(about))
    seal_run(folder)


LIES: dict[str, tuple[Any, ...]] = {
    "H": ("gzsl", "mean_class", "harmonic", 0.99),
    "S": ("gzsl", "top1", "seen", 0.99),
    "U": ("gzsl", "top1", "unseen", 0.99),
    "AUSUC": ("gzsl", "mean_class", "ausuc", 0.99),
    "best H": ("gzsl", "top1", "oracle_harmonic", 0.99),
    "clips": ("gzsl", "seen_clips", 65),
    "samples": ("gzsl", "samples", "0" * 64),
    "constant": ("gzsl", "rounds", 0, "constant", 123.0),
    "normalized_constant": ("gzsl", "rotations", 1, "normalized_constant", -77.0),
    "rotation": ("gzsl", "rotations", 0, "harmonic", 0.99),
    "rotation's clips": ("gzsl", "rotations", 0, "seen_clips", 5),
    "size": ("gzsl", "rounds", 1, "size", 3.0),
    "training clips": ("gzsl", "rounds", 1, "training_clips", 31),
    "tolerance": ("gzsl", "rescoring", "tolerance", 55.0),
    "moved": ("gzsl", "rescoring", "largest_change", 99.0),
    "kind": ("gzsl", "kind", "gate"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_number_that_does_not_follow_is_found(what: str, base: Any, tmp_path: Path) -> None:
    lie(copied(base, "constant", tmp_path), *LIES[what])
    assert "refused" in checked(base, tmp_path, check=1).stdout


@pytest.mark.parametrize("name", ["weights", "bias", "threshold", "temperature", "k", "harmonic"])
def test_a_gate_that_was_not_fitted_is_found(name: str, base: Any, tmp_path: Path) -> None:
    """Also where its numbers on the test are what that gate would reach."""
    folder = copied(base, "gate", tmp_path)
    matrix, gate = read_matrix(folder / FILE), base.records["gate"].gzsl.rounds[0].gate
    value = getattr(gate, name)
    other: Any = [-w for w in value] if name == "weights" else value / 2 if name != "k" else 1
    if name == "k":
        lie(folder, "gzsl", "rounds", 0, "gate", "weights", gate.weights[::2])
    lie(folder, "gzsl", "rounds", 0, "gate", name, other)
    own = numbers(read_record(folder).gzsl.rounds, matrix)
    about = json.loads((folder / "run.json").read_bytes())
    for kind in ("top1", "mean_class"):
        about["gzsl"][kind] = named_numbers(own, kind).model_dump()
    (folder / "run.json").write_text(json.dumps(about))
    seal_run(folder)
    assert "does not follow from its rotations" in checked(base, tmp_path, check=1).stdout


def test_a_part_cannot_be_left_out(base: Any, tmp_path: Path) -> None:
    lie(copied(base, "constant", tmp_path), "gzsl", None)
    assert "identity" in checked(base, tmp_path, check=1).stdout


@pytest.mark.parametrize(
    "what", ["missing", "damaged", "other label", "other clip", "other score", "rotation gone"]
)
def test_a_matrix_that_is_another_is_found(what: str, base: Any, tmp_path: Path) -> None:
    folder = copied(base, "constant", tmp_path)
    matrix = read_matrix(folder / FILE)
    if what == "missing":
        (folder / FILE).unlink()
    elif what == "damaged":
        (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-9])
    elif what == "other label":
        matrix.labels[-1] = (matrix.labels[-1] + 1) % 4
        write_matrix(folder / FILE, matrix)
    elif what == "other score":
        matrix.rotations[0].scores[0] += np.arange(4) * 9
        write_matrix(folder / FILE, matrix)
    elif what == "rotation gone":
        matrix.rotations.pop()
        write_matrix(folder / FILE, matrix)
    else:
        matrix.ids[-1] = "c1_s9_r9"
        write_matrix(folder / FILE, matrix)
    seal_run(folder)
    said = checked(base, tmp_path, check=1).stdout
    assert FILE in said if what in ("missing", "damaged") else "gzsl" in said


# --- Refused -------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "kind": (("--gzsl", "constnt"), "Did you mean constant?"),
    "control": (("--gzsl", "constant", "--text-control", "random"), "exclude each other"),
    "oracle": (("--gzsl", "gate", "--selection", "last,oracle@5"), "chosen on test twice"),
    "features": (("--gzsl", "gate", "--features", "here"), "released features have nothing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_gzsl_is_refused_in_a_sentence(what: str, base: Any) -> None:
    more, said = REFUSED[what]
    words = [w for w in base.words if what != "features" or w not in TOY_ENCODERS]
    assert said in " ".join(base.cli(*words, *more, check=2).stderr.split())


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("toy-4-2", "needs at least 2 classes to hold out"),
        ("toy-motion/folds:3", "rounds or clips differ in theirs"),
    ],
)
def test_protocols_without_gzsl(protocol: str, said: str, base: Any) -> None:
    words = ("run", "toy-ridge", "--protocol", protocol, *TOY_ENCODERS, "--gzsl", "constant")
    assert said in " ".join(base.cli(*words, check=2).stderr.split())


def a_round(repeat: int = 2) -> tuple[Round, dict[str, list[str]]]:
    """Eight seen classes by five training subjects and one that is tested, three unseen."""
    classes = [f"c{n}" for n in range(11)]
    rows = [(c, f"p{p}") for c in classes for p in range(1, 7) for _ in range(repeat)]
    clips = {"class": [c for c, _ in rows], "subject": [p for _, p in rows]}
    known, new = classes[:8], classes[8:]
    train = [i for i, (c, p) in enumerate(rows) if c in known and p != "p6"]
    return Round(
        name="half-1",
        train=train,
        test_unseen=[i for i, (c, p) in enumerate(rows) if c in new and p == "p6"],
        test_seen=[i for i, (c, p) in enumerate(rows) if c in known and p == "p6"],
        seen=tuple(known),
        unseen=tuple(new),
    ), clips


def a_protocol(*pseudo: str) -> Any:
    return SimpleNamespace(id="p", pseudo_unseen=pseudo)


@pytest.mark.parametrize("repeat", [2, ENOUGH])
def test_rehearsals_hold_out_classes_and_subjects(repeat: int) -> None:
    one, clips = a_round(repeat)
    found = pseudo_unseen_splits(a_protocol(), one, clips)
    assert [len(turn.round.unseen) for turn in found] == [2, 2, 2]
    for turn in found:
        (held,) = turn.subjects
        r = turn.round
        tested = {*r.test_unseen, *r.test_seen}
        assert tested | {*r.train} <= {*one.train}
        assert not tested & {*r.train}
        assert {clips["subject"][i] for i in r.test_seen} == {held}
        assert held not in {clips["subject"][i] for i in r.train}
        assert {clips["class"][i] for i in r.train} == {*r.seen}
        assert {clips["class"][i] for i in r.test_unseen} == {*r.unseen}
        known = {clips["subject"][i] for i in r.test_unseen}
        if repeat < ENOUGH:
            assert (turn.unseen_of, len(known)) == ("training", 5)
        else:
            assert (turn.unseen_of, known) == ("validation", {held})


def test_without_new_subjects_there_is_no_gzsl() -> None:
    from dataclasses import replace

    from zsar_bench.errors import UserError

    one, clips = a_round()
    for changed, said in (
        (replace(one, test_seen=[]), "has no such clips."),
        (replace(one, test_seen=[*one.test_seen, one.train[0]]), "test subjects also train"),
    ):
        with pytest.raises(UserError, match=said):
            pseudo_unseen_splits(a_protocol(), changed, clips)
    lonely = replace(one, train=[i for i in one.train if clips["class"][i] != "c3"])
    with pytest.raises(UserError, match="every seen class keeps training clips"):
        pseudo_unseen_splits(a_protocol("c1", "c2"), lonely, clips)
    pairs = zip(clips["subject"], clips["class"], strict=True)
    (held,) = validation_subjects(one, clips)
    bare = {i for i, (p, c) in enumerate(pairs) if p == held and c not in ("c1", "c2")}
    of_others = replace(one, train=[i for i in one.train if i not in bare])
    with pytest.raises(UserError, match=f"'p' tests no seen class on {held}"):
        pseudo_unseen_splits(a_protocol("c1", "c2"), of_others, clips)
    nobody = {**clips, "subject": ["" if s == "p6" else s for s in clips["subject"]]}
    with pytest.raises(UserError, match="new subjects"):
        pseudo_unseen_splits(a_protocol(), one, nobody)
