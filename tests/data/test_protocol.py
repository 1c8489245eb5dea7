"""Protocol files: what is refused at load and how, lookup, and which clips train and test."""

from __future__ import annotations

import itertools
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.made_protocols import CLASSES, FIELDS, catalogue, toml, write
from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.files import load_protocol
from zsar_bench.data.protocols.lookup import find_group, find_id, find_protocol, load_all
from zsar_bench.data.protocols.protocol import (
    Protocol,
    ProtocolGroup,
    dataset_entry,
    on_stand_in,
    random_split,
)
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.errors import UserError


def load(path: Path) -> Protocol:
    return load_protocol(path, CLASSES, catalogue())


def refusal(path: Path) -> UserError:
    """The error of a file, which always names the file."""
    with pytest.raises(UserError) as caught:
        load(path)
    assert path.name in caught.value.what
    assert "\n" not in caught.value.what.rstrip("\n")
    return caught.value


# --- Files that are fine -----------------------------------------------------------------------


def test_a_sound_file(tmp_path: Path) -> None:
    one = load(write(tmp_path, confidence="sure", notes="Notes."))
    assert (one.id, one.title, one.dataset) == ("made-4-2", "Made 4/2", "made")
    assert (one.family, one.source, one.confidence, one.notes) == (
        "tests",
        "this file",
        "sure",
        "Notes.",
    )
    assert one.aliases == ("made", "an official long name")
    assert one.seen == ("a1", "a3", "a4", "a6")  # in the data set's order, not the file's
    assert one.unseen == ("a2", "a5")
    assert one.groups == (("1", "3"), ("2", "4"))
    assert one.rule == "performer-cross-fit"
    assert one.test_clips == 8
    assert [c.id for c in one.classes] == [c.id for c in CLASSES]


def test_optional_fields_may_be_missing(tmp_path: Path) -> None:
    one = load(write(tmp_path, aliases=None))
    assert (one.confidence, one.notes, one.aliases) == ("", "", ())


def test_the_digest_is_of_what_decides_the_clips(tmp_path: Path) -> None:
    base = load(write(tmp_path)).digest
    assert load(write(tmp_path, seen=["a1", "a3", "a4", "a6"], unseen=["a2", "a5"])).digest == base
    assert load(write(tmp_path, title="Another", notes="More", aliases=None)).digest == base
    other = FIELDS["samples"] | {"groups": [["1", "4"], ["2", "3"]]}
    assert load(write(tmp_path, samples=other)).digest != base
    assert load(write(tmp_path, seen=["a1", "a3", "a4"], unseen=["a2", "a5", "a6"])).digest != base


# --- Files that are refused --------------------------------------------------------------------

CLASS_FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "overlapping": ({"unseen": ["a2", "a5", "a3"]}, ["a3", "both seen and unseen"]),
    "missing": ({"seen": ["a1", "a4", "a6"]}, ["a3", "neither seen nor unseen"]),
    "unknown seen": ({"seen": ["a1", "a3", "a4", "a66"]}, ["'a66'", "'seen'", "a6"]),
    "unknown unseen": ({"unseen": ["a2", "b5"]}, ["'b5'", "'unseen'", "a5"]),
    "repeated seen": ({"seen": ["a1", "a3", "a4", "a6", "a4"]}, ["'seen' repeats a4"]),
    "repeated unseen": ({"unseen": ["a2", "a5", "a2"]}, ["'unseen' repeats a2"]),
    "numbers": ({"unseen": [2, 5]}, ["'2'", "'unseen'"]),
    "lists of lists": ({"unseen": [["a2"], ["a5"]]}, ["a2", "'unseen'"]),
    "no unseen": ({"unseen": []}, ["'unseen' must be a list of class ids, and not empty"]),
    "seen is text": ({"seen": "a1 a3 a4 a6"}, ["'seen' must be a list"]),
}


@pytest.mark.parametrize("fault", CLASS_FAULTS)
def test_faulty_class_lists_are_refused(fault: str, tmp_path: Path) -> None:
    changes, words = CLASS_FAULTS[fault]
    message = str(refusal(write(tmp_path, **changes)))
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", [f for f in FIELDS if f != "aliases"])
def test_every_required_field_is_missed(name: str, tmp_path: Path) -> None:
    assert f"'{name}' is missing" in refusal(write(tmp_path, **{name: None})).what


def test_an_unknown_field_suggests_the_nearest(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, unsen=["a2"]))
    assert "'unsen'" in error.what
    assert "unseen" in error.hint


DIVIDED = {"rule": "xsub", "train": ["1"], "test_clips": 8}
SAMPLE_FAULTS: dict[str, tuple[Any, str]] = {
    "another rule": (FIELDS["samples"] | {"rule": "cross-subject"}, "samples.rule"),
    "not a table": ("performer-cross-fit", "samples.rule"),
    "no rule": ({"groups": [["1"], ["2"]], "test_clips": 1}, "samples.rule"),
    "no groups": ({"rule": "performer-cross-fit", "test_clips": 1}, "samples.groups"),
    "one group": (FIELDS["samples"] | {"groups": [["1", "2"]]}, "samples.groups"),
    "an empty group": (FIELDS["samples"] | {"groups": [["1"], []]}, "samples.groups"),
    "a subject twice": (FIELDS["samples"] | {"groups": [["1", "2"], ["2"]]}, "samples.groups"),
    "subjects as numbers": (FIELDS["samples"] | {"groups": [[1], [2]]}, "samples.groups"),
    "subjects in lists": (FIELDS["samples"] | {"groups": [[["1"]], ["2"]]}, "samples.groups"),
    "groups of text": (FIELDS["samples"] | {"groups": ["13", "24"]}, "samples.groups"),
    "groups of numbers": (FIELDS["samples"] | {"groups": [1, 2]}, "samples.groups"),
    "train in a cross-fit": (FIELDS["samples"] | {"train": ["1"]}, "samples.train"),
    "groups in a division": (FIELDS["samples"] | {"rule": "xsub"}, "samples.groups"),
    "a division of nobody": ({"rule": "xsub", "train": [], "test_clips": 8}, "samples.train"),
    "a division by number": ({"rule": "xview", "train": [2], "test_clips": 8}, "training camera"),
    "a setup twice": ({"rule": "xset", "train": ["2", "2"]}, "training setup"),
    "count of nothing": (FIELDS["samples"] | {"test_clips": 0}, "samples.test_clips"),
    "count as text": (FIELDS["samples"] | {"test_clips": "8"}, "samples.test_clips"),
    "a misspelt entry": (FIELDS["samples"] | {"test_clip": 8}, "test_clip"),
    "a column in a cross-fit": (FIELDS["samples"] | {"column": "setup"}, "samples.column"),
    "a stand-in's cross-fit": (FIELDS["samples"] | {"stand-in": {}}, "samples.stand-in"),
    "a column of clips": (DIVIDED | {"column": "class"}, "samples.column"),
    "a column by number": (DIVIDED | {"column": 1}, "samples.column"),
    "no table": (DIVIDED | {"stand-in": ["1"]}, "samples.stand-in"),
    "an empty table": (DIVIDED | {"stand-in": {}}, "samples.stand-in.train"),
    "a misspelt one": (DIVIDED | {"stand-in": {"trains": ["1"]}}, "samples.stand-in"),
    "its column": (DIVIDED | {"stand-in": {"train": ["1"], "column": "id"}}, "samples.stand-in"),
    "a subject twice there": (DIVIDED | {"stand-in": {"train": ["1", "1"]}}, "stand-in.train"),
}


@pytest.mark.parametrize("fault", SAMPLE_FAULTS)
def test_faulty_sample_rules_are_refused(fault: str, tmp_path: Path) -> None:
    samples, field = SAMPLE_FAULTS[fault]
    assert field in refusal(write(tmp_path, samples=samples)).what


GZSL_FAULTS: dict[str, tuple[Any, str]] = {
    "not a table": (["a1"], "'gzsl' must hold"),
    "another word": ({"pseudo_unseen": ["a1"], "rule": "gate"}, "'gzsl' must hold"),
    "no word": ({}, "'gzsl' must hold"),
    "text": ({"pseudo_unseen": "a1"}, "'gzsl' must hold"),
    "nobody": ({"pseudo_unseen": []}, "'gzsl' must hold"),
    "an unseen class": ({"pseudo_unseen": ["a1", "a2"]}, "'a2'"),
    "an unknown class": ({"pseudo_unseen": ["a7"]}, "'a7'"),
    "a class twice": ({"pseudo_unseen": ["a3", "a3"]}, "repeats a3"),
    "a list in the list": ({"pseudo_unseen": [["a3"]]}, "gzsl.pseudo_unseen"),
    "every seen class": ({"pseudo_unseen": ["a1", "a3", "a4", "a6"]}, "no seen class"),
}


@pytest.mark.parametrize("fault", GZSL_FAULTS)
def test_faulty_pseudo_unseen_classes_are_refused(fault: str, tmp_path: Path) -> None:
    gzsl, words = GZSL_FAULTS[fault]
    assert words in refusal(write(tmp_path, gzsl=gzsl)).what


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "../elsewhere"), ("id", "a b"), ("id", ""), ("aliases", "made"), ("aliases", [1])],
)
def test_names_that_could_not_be_names_are_refused(field: str, value: Any, tmp_path: Path) -> None:
    assert f"'{field}'" in refusal(write(tmp_path, **{field: value})).what


HUGE = "0x" + "f" * 5000  #: a number that Python reads but does not write


@pytest.mark.parametrize("field", ["seen", "unseen", "folds", "aliases", "dataset", "samples"])
@pytest.mark.parametrize("value", [f"[{HUGE}]", f"[[{HUGE}]]", f"{{a = [{HUGE}]}}", HUGE])
def test_numbers_without_end_are_no_toml(field: str, value: str, tmp_path: Path) -> None:
    path = write(tmp_path, **{field: None})
    path.write_text(f"{field} = {value}\n{path.read_text('utf-8')}", "utf-8")
    assert "not valid TOML" in refusal(path).what


@pytest.mark.parametrize("field", ["id", "title", "family", "source", "confidence", "notes"])
@pytest.mark.parametrize("value", ["0x7fff", "1", "[1]", "1979-05-27", "nan"])
def test_what_is_to_be_read_is_text(field: str, value: str, tmp_path: Path) -> None:
    path = write(tmp_path, **{field: None})
    path.write_text(f"{field} = {value}\n{path.read_text('utf-8')}", "utf-8")
    assert refusal(path).what == f"Protocol file {path}: '{field}' must be a text."


@pytest.mark.parametrize(
    "content",
    [
        b"id = ",
        b"\xff\xfe",
        b"id = 1\nid = 2\n",
        b"PK\x03\x04",
        b"seen = [a1]",
        b"id = " + b"9" * 5000,  # more digits than Python turns into a number
        b"id = " + b"[" * 3000,  # deeper than Python calls itself
    ],
    ids=lambda content: content[:20],
)
def test_what_is_not_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "made-4-2.toml"
    path.write_bytes(content)
    assert "not valid TOML" in refusal(path).what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "Cannot read" in refusal(tmp_path / "none.toml").what


def test_an_unknown_data_set_suggests_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        dataset_entry("mad", catalogue())
    assert "'mad'" in caught.value.what
    assert "made" in caught.value.hint


def test_without_its_data_set_a_protocol_can_still_be_looked_at(tmp_path: Path) -> None:
    classes = {"seen": ["a10", "a2", "b1"], "unseen": ["a1"]}
    one = load_protocol(write(tmp_path, dataset="theirs", **classes), None, catalogue())
    assert [c.id for c in one.classes] == ["a1", "a2", "a10", "b1"]
    assert [c.name for c in one.classes] == ["a1", "a2", "a10", "b1"]
    assert (one.seen, one.unseen) == (("a2", "a10", "b1"), ("a1",))
    wrong = {"seen": ["a2", 3], "unseen": ["a2"]}
    for ids in (wrong, {"seen": "a2"}, {"seen": ["a1", "a2"], "unseen": ["a2"]}):
        with pytest.raises(UserError, match=r"made-4-2\.toml"):
            load_protocol(write(tmp_path, dataset="theirs", **ids), None, catalogue())


# --- Lookup ------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path) -> Catalogue:
    """A catalogue with ``made-4-2`` and ``made-3-3``."""
    classes = tmp_path / "classes.toml"
    classes.write_text("".join(f'[[class]]\nid = "{c.id}"\nname = "{c.name}"\n' for c in CLASSES))
    folder = tmp_path / "protocols"
    folder.mkdir()
    write(folder)
    three = {"seen": ["a1", "a2", "a3"], "unseen": ["a4", "a5", "a6"], "aliases": None}
    write(folder, "made-3-3", id="made-3-3", **three)
    return catalogue(folder, classes=classes)


@pytest.mark.parametrize("name", ["made-4-2", "made", "an official long name"])
def test_found_by_id_and_by_alias(name: str, known: Catalogue) -> None:
    one = find_protocol(name, known)
    assert one.id == "made-4-2"
    assert [c.name for c in one.classes] == [c.name for c in CLASSES]


def test_found_by_file(known: Catalogue, tmp_path: Path) -> None:
    path = write(tmp_path, "my-own", id="my-own")
    assert find_protocol(str(path), known).id == "my-own"


def test_a_near_miss_is_suggested(known: Catalogue) -> None:
    with pytest.raises(UserError) as caught:
        find_protocol("made-42", known)
    assert caught.value.what == "Unknown protocol 'made-42'."
    assert "Did you mean made-4-2" in caught.value.hint
    assert "zsar-bench list protocols" in caught.value.hint


def test_far_off_the_known_are_listed(known: Catalogue) -> None:
    with pytest.raises(UserError) as caught:
        find_protocol("zzz", known)
    assert "Known: made-3-3, made-4-2." in caught.value.hint


def test_an_id_must_be_its_files_name(known: Catalogue, tmp_path: Path) -> None:
    write(tmp_path / "protocols", "other-name")
    with pytest.raises(UserError, match="is not its file's name"):
        find_protocol("other-name", known)


def test_two_files_for_one_id_are_refused(known: Catalogue, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    write(second)
    known.data["protocol_folders"].append(str(second))
    with pytest.raises(UserError) as caught:
        find_protocol("made-3-3", known)
    assert caught.value.what.count("made-4-2.toml") == 2


def test_an_id_or_alias_parses_what_it_needs(
    known: Catalogue, tmp_path: Path, parsed: Counter[str]
) -> None:
    for number in range(5):
        name = f"other-{number}"
        write(tmp_path / "protocols", name, id=name, aliases=[f"alias {number}"])
    for name in ("made-4-2", "alias 3"):
        parsed.clear()
        assert find_protocol(name, known)
        assert len(parsed) == 2, "itself and the classes"
        assert max(parsed.values()) == 1
    parsed.clear()
    with pytest.raises(UserError, match="Unknown protocol"):
        find_protocol("nobody", known)
    assert len(parsed) == 7, "before saying so, every file"
    assert max(parsed.values()) == 1


def test_an_alias_may_be_spelt_with_escapes(known: Catalogue, tmp_path: Path) -> None:
    path = write(tmp_path / "protocols", "odd", id="odd", aliases=["ODD"])
    path.write_text(path.read_text().replace("ODD", "\\u006fdd one"))
    assert find_protocol("odd one", known).id == "odd"


def test_all_are_loaded_with_every_file_read_once(
    known: Catalogue, tmp_path: Path, parsed: Counter[str]
) -> None:
    averaging(tmp_path / "protocols")
    protocols, groups = load_all(known)
    assert [p.id for p in protocols] == ["made-3-3", "made-4-2"]
    assert [g.id for g in groups] == ["both"]
    assert len(parsed) == 4, "three files and the classes of both"
    assert max(parsed.values()) == 1


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text was parsed."""
    counts: Counter[str] = Counter()
    loads = tomllib.loads

    def count(text: str) -> dict[str, Any]:
        counts[text] += 1
        return loads(text)

    monkeypatch.setattr(tomllib, "loads", count)
    return counts


# --- Averages ------------------------------------------------------------------------------------


def averaging(folder: Path, name: str = "both", **changes: Any) -> Path:
    """A file that averages the two known protocols, with some fields changed."""
    fields = {
        "id": "both",
        "title": "Both",
        "source": "a table",
        "aliases": ["mean of both"],
        "average": {"of": ["made-4-2", "made-3-3"]},
    }
    path = folder / f"{name}.toml"
    values = {k: v for k, v in (fields | changes).items() if v is not None}
    path.write_text("".join(f"{k} = {toml(v)}\n" for k, v in values.items()), "utf-8")
    return path


@pytest.mark.parametrize("name", ["both", "mean of both"])
def test_an_average_is_found_by_id_and_alias(name: str, known: Catalogue, tmp_path: Path) -> None:
    averaging(tmp_path / "protocols", notes="Of two.", confidence="sure", family="tests")
    one = find_group(name, known)
    assert one == ProtocolGroup(
        id="both",
        title="Both",
        source="a table",
        aliases=("mean of both",),
        of=("made-4-2", "made-3-3"),
        family="tests",
        confidence="sure",
        notes="Of two.",
    )
    assert find_id(name, known) == "both"
    with pytest.raises(UserError, match="average of several protocols: made-4-2, made-3-3"):
        find_protocol(name, known)


def test_a_protocol_is_no_average(known: Catalogue, tmp_path: Path) -> None:
    path = averaging(tmp_path / "protocols")
    for name in ("made", "made-4-2", "made/random:2@1", str(tmp_path / "protocols/made-4-2.toml")):
        assert find_group(name, known) is None
    with pytest.raises(UserError, match="Unknown protocol 'bth'"):
        find_group("bth", known)
    with pytest.raises(UserError, match="is none itself"):
        find_protocol(str(path), known)


AVERAGE_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no title": ({"title": None}, "'title' is missing"),
    "no source": ({"source": None}, "'source' is missing"),
    "classes": ({"seen": ["a1"]}, "'seen'"),
    "not a table": ({"average": ["made-4-2", "made-3-3"]}, "'average' must hold"),
    "one": ({"average": {"of": ["made-4-2"]}}, "two or more"),
    "one twice": ({"average": {"of": ["made-4-2", "made-4-2"]}}, "different"),
    "more words": ({"average": {"of": ["made-4-2", "made-3-3"], "by": "mean"}}, "'of' alone"),
    "an unknown one": ({"average": {"of": ["made-4-2", "made-3-4"]}}, "'made-3-4'"),
    "itself": ({"average": {"of": ["made-4-2", "both"]}}, "'both'"),
    "a bad id": ({"id": "a b"}, "'id'"),
    "another id": ({"id": "other"}, "is not its file's name"),
}


@pytest.mark.parametrize("fault", AVERAGE_FAULTS)
def test_faulty_averages_are_refused(fault: str, known: Catalogue, tmp_path: Path) -> None:
    changes, words = AVERAGE_FAULTS[fault]
    averaging(tmp_path / "protocols", **changes)
    for load_it in (lambda: find_group("both", known), lambda: load_all(known)):
        with pytest.raises(UserError) as caught:
            load_it()
        assert words in caught.value.what
        assert "both.toml" in caught.value.what


# --- Rounds ------------------------------------------------------------------------------------

CLIPS = list(itertools.product([c.id for c in CLASSES], "12345", (1, 2)))  # 5 is in no group


def dataset(rows: list[tuple[str, str, int]]) -> Dataset:
    columns = {
        "id": [f"{c}_s{s}_t{t}" for c, s, t in rows],
        "class": [c for c, _, _ in rows],
        "subject": [s for _, s, _ in rows],
        "camera": [str(t) for _, _, t in rows],
        "setup": [str((int(s) + t) % 3) for _, s, t in rows],
        "shard": [f"{c}_{s}.npy" for c, s, _ in rows],
        "start": [10 * (t - 1) for _, _, t in rows],
        "frames": [10] * len(rows),
    }
    return Dataset(Path("nowhere"), {"name": "made", "clips": columns})


def test_the_rounds_of_a_cross_fit(tmp_path: Path) -> None:
    data = dataset(CLIPS)
    first, second = make_rounds(load(write(tmp_path)), data)
    assert (first.name, second.name) == ("half-1", "half-2")

    def named(index: list[int]) -> set[str]:
        assert len(set(index)) == len(index)
        return {data.clips["id"][i] for i in index}

    def ids(classes: str, subjects: str) -> set[str]:
        return {f"a{c}_s{s}_t{t}" for c in classes for s in subjects for t in (1, 2)}

    assert named(first.train) == ids("1346", "24")
    assert named(first.test_unseen) == ids("25", "13")
    assert named(first.test_seen) == ids("1346", "13")
    assert named(second.train) == ids("1346", "13")
    assert named(second.test_unseen) == ids("25", "24")
    assert named(second.test_seen) == ids("1346", "24")


def test_three_groups_are_three_rounds(tmp_path: Path) -> None:
    samples = FIELDS["samples"] | {"groups": [["1"], ["2", "3"], ["4"]]}
    rounds = make_rounds(load(write(tmp_path, samples=samples)), dataset(CLIPS))
    assert [r.name for r in rounds] == ["group-1", "group-2", "group-3"]
    of = dataset(CLIPS).clips["subject"]
    assert [{of[i] for i in r.train} for r in rounds] == [set("234"), set("14"), set("123")]
    assert [{of[i] for i in r.test_unseen} for r in rounds] == [set("1"), set("23"), set("4")]


def test_without_training_clips_of_a_class_there_is_no_round(tmp_path: Path) -> None:
    rows = [r for r in CLIPS if not (r[0] == "a3" and r[1] in "24")]
    with pytest.raises(UserError) as caught:
        make_rounds(load(write(tmp_path)), dataset(rows))
    assert "half-1" in caught.value.what
    assert "no training clips of a3" in caught.value.what
    assert "zsar-bench data import made" in caught.value.hint


def test_without_test_clips_there_is_no_round(tmp_path: Path) -> None:
    rows = [r for r in CLIPS if not (r[0] in ("a2", "a5") and r[1] in "24")]
    with pytest.raises(UserError, match="half-2: the imported data has no test clips"):
        make_rounds(load(write(tmp_path)), dataset(rows))


# --- Divisions, random splits and stand-ins ---------------------------------------------------

DIVISIONS = {
    "xsub": (["1", "4"], lambda c, s, t: s in "14"),
    "xview": (["2"], lambda c, s, t: t == 2),
    "xset": (["0"], lambda c, s, t: (int(s) + t) % 3 == 0),
    "split": (["0", "2"], lambda c, s, t: (int(s) + t) % 3 != 1),
}


def divided(tmp_path: Path, rule: str = "xsub", **more: Any) -> Protocol:
    return load(write(tmp_path, samples={"rule": rule, "train": DIVISIONS[rule][0]} | more))


@pytest.mark.parametrize("rule", DIVISIONS)
def test_a_division_is_one_round(rule: str, tmp_path: Path) -> None:
    trains = DIVISIONS[rule][1]
    one = divided(tmp_path, rule, test_clips=12)
    (only,) = make_rounds(one, dataset(CLIPS))
    assert (only.name, one.rule, one.groups, one.test_clips) == (rule, rule, (), 12)
    seen = {"a1", "a3", "a4", "a6"}
    assert only.train == [i for i, c in enumerate(CLIPS) if c[0] in seen and trains(*c)]
    assert only.test_seen == [i for i, c in enumerate(CLIPS) if c[0] in seen and not trains(*c)]
    unseen = [i for i, c in enumerate(CLIPS) if c[0] not in seen and not trains(*c)]
    assert only.test_unseen == unseen


def test_what_divides_is_in_the_digest(tmp_path: Path) -> None:
    digests = {divided(tmp_path, rule).digest for rule in DIVISIONS}
    digests |= {divided(tmp_path, train=["1"]).digest, load(write(tmp_path)).digest}
    digests |= {divided(tmp_path, column="setup").digest}
    assert len(digests) == 7
    assert divided(tmp_path, column="subject").digest == divided(tmp_path).digest
    assert divided(tmp_path).test_clips == 0, "nobody has counted: no number is expected"


def test_a_division_may_name_its_column(tmp_path: Path) -> None:
    one = divided(tmp_path, train=["0"], column="setup")
    assert (one.rule, one.column, one.divides_by) == ("xsub", "setup", "setup")
    (only,), (same,) = (
        make_rounds(one, dataset(CLIPS)),
        make_rounds(divided(tmp_path, "xset"), dataset(CLIPS)),
    )
    assert replace(only, name="xset") == same
    assert divided(tmp_path).divides_by == "subject"


def test_a_stand_in_may_be_divided_by_what_it_has(tmp_path: Path) -> None:
    plain = divided(tmp_path, train=["1", "4"])
    one = divided(tmp_path, train=["train"], column="setup", **{"stand-in": {"train": ["1", "4"]}})
    assert one.digest != plain.digest
    made = on_stand_in(one, "made-up")
    assert made == on_stand_in(plain, "made-up"), "as if nobody had named a column"
    assert on_stand_in(random_split(one, "random:2@1"), "made-up").train == ("1", "4")
    other = {"train": ["2"], "column": "camera"}
    seen_by = on_stand_in(divided(tmp_path, train=["1"], **{"stand-in": other}), "made-up")
    assert (seen_by.divides_by, seen_by.train) == ("camera", ("2",))
    assert seen_by.rule == "xsub"


def test_pseudo_unseen_classes_go_where_their_seen_ones_go(tmp_path: Path) -> None:
    plain = load(write(tmp_path))
    one = load(write(tmp_path, gzsl={"pseudo_unseen": ["a4", "a1"]}))
    assert plain.pseudo_unseen == ()
    assert one.pseudo_unseen == ("a1", "a4")
    assert one.digest == plain.digest, "a choice inside the training clips"
    assert on_stand_in(one, "made-up").pseudo_unseen == ("a1", "a4")
    assert random_split(one, "random:2@1").pseudo_unseen == ()


def test_a_random_split_keeps_data_and_rule(known: Catalogue) -> None:
    base = find_protocol("made", known)
    one = find_protocol("made/random:3@7", known)
    assert (one.id, one.family_of) == ("made-4-2/random:3@7", "made-4-2")
    assert (len(one.seen), len(one.unseen)) == (3, 3)
    assert sorted(one.seen + one.unseen) == [c.id for c in CLASSES]
    assert (one.dataset, one.rule, one.groups) == (base.dataset, base.rule, base.groups)
    assert one.test_clips == 0
    assert one == find_protocol("made-4-2/random:3@7", known), "a draw is the same everywhere"
    draws = {find_protocol(f"made/random:3@{seed}", known).unseen for seed in range(40)}
    assert len(draws) > 10  # of 20
    counts = [sum(c.id in d for d in draws) for c in CLASSES]
    assert min(counts) > 0


@pytest.mark.parametrize("words", ["6@0", "0@1", "3", "3@", "@3", "3@-1", "x@1", "3@1x", ""])
def test_a_random_split_that_cannot_be(words: str, known: Catalogue) -> None:
    with pytest.raises(UserError) as caught:
        find_protocol(f"made/random:{words}", known)
    assert "fewer than 6 unseen" in caught.value.what
    assert "made-4-2/random:2@0" in caught.value.hint


def test_on_a_stand_in_it_is_another_protocol(known: Catalogue) -> None:
    base = find_protocol("made", known)
    one = on_stand_in(base, "made-up")
    assert (one.id, one.dataset, one.stand_in_for) == ("stand-in/made-4-2", "made-up", "made")
    assert (one.synthetic, base.synthetic) == (True, False)
    assert one.digest != base.digest
    assert one.folder == "stand-in+made-4-2"
    split = random_split(one, "random:2@1")
    other = on_stand_in(random_split(base, "random:2@1"), "made-up")
    assert replace(other, title=split.title) == split, "the order does not matter"
    assert split.folder == "stand-in+made-4-2+random:2@1"
