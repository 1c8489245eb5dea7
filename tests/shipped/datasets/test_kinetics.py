"""Kinetics-skeleton's reader on files made here in the layout of ST-GCN's release."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import DATA
from zsar_datasets.kinetics import Reader, Reader200, parse

from kit.toy_files import Files
from zsar_bench.common.classes import read_classes
from zsar_bench.contracts import ClipName
from zsar_bench.data.clips.import_job import ShardMaker, from_files, list_files
from zsar_bench.data.texts.texts import read_texts
from zsar_bench.errors import DataError, UserError

NAME = "kinetics_val/-0AbCdE_GhI.json"


def person(seed: int, score: float | None = None, lost: tuple[int, ...] = ()) -> dict[str, Any]:
    """Somebody, three decimals as in the release; the ``lost`` joints were not found."""
    rng = np.random.default_rng(seed)
    pose = np.round(rng.uniform(0, 1, (18, 2)), 3)
    scores = np.round(rng.uniform(0.1, 1, 18), 3) if score is None else np.full(18, score)
    for joint in lost:
        pose[joint], scores[joint] = 0, 0
    return {"pose": pose.ravel().tolist(), "score": scores.tolist()}


def content(*frames: tuple[int, list[Any]], label: int = 7, **more: Any) -> bytes:
    data = [{"frame_index": index, "skeleton": people} for index, people in frames]
    return json.dumps({"data": data, "label": "x", "label_index": label, **more}).encode()


SMALL = content((1, [person(1, lost=(3, 17)), person(2)]), (2, []), (3, [person(3)]))


def clip_of(data: bytes, name: str = NAME, reader: Any = None) -> Any:
    return (reader or Reader()).open(name, Files({name: data}))


# --- Names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("kinetics_train/0123456789a.json", "train"),
        ("a/kinetics-skeleton/kinetics_val/-_23456789a.json", "val"),
        ("val/-_23456789a.json", "val"),
        ("kinetics_train_label.json", ""),
        ("kinetics_train/0123456789.json", ""),
        ("kinetics_train/0123456789ab.json", ""),
        ("kinetics_train/0123456789a.json\n", ""),
        ("kinetics_test/0123456789a.json", ""),
        ("0123456789a.json", ""),
        ("__MACOSX/kinetics_val/0123456789a.json", ""),
        ("", ""),
    ],
)
def test_which_files_are_clips(name: str, side: str) -> None:
    assert Reader().holds(name) == bool(side)
    assert Reader().identify(name) is None
    if side:
        (clip,) = clip_of(SMALL, name).clips
        assert clip == ClipName(name.split("/")[-1][:11], "7", "", "", side)


# --- Good files ------------------------------------------------------------------------------


def test_a_clip_is_read_joint_by_joint() -> None:
    first, second, third = person(1, lost=(3, 17)), person(2), person(3)
    clip = clip_of(SMALL).read(0)
    assert clip.shape == (3, 2, 18, 3)
    assert clip.dtype == np.float32
    ranked = sorted([first, second], key=lambda p: -sum(p["score"]))
    for body, one in enumerate(ranked):
        for joint in range(18):
            x, y = one["pose"][2 * joint], one["pose"][2 * joint + 1]
            expected = (x - 0.5, 0.5 - y, 0) if one["score"][joint] else (0, 0, 0)
            np.testing.assert_array_equal(clip[0, body, joint], np.float32(expected))
    assert not clip[1].any()
    assert clip[2, 0, 0, 0] == np.float32(third["pose"][0] - 0.5)
    assert not clip[2, 1].any()
    assert not clip[..., 2].any()


def test_the_two_best_of_the_first_five_people_are_kept() -> None:
    scores = [0.2, 0.9, 0.5, 0.1, 0.9, 1.0]  # the sixth is not looked at; a tie keeps its order
    people = [person(10 + n, score) for n, score in enumerate(scores)]
    clip = parse(content((1, people)))
    for body, n in enumerate([1, 4]):
        pose = np.array(people[n]["pose"]).reshape(18, 2)
        np.testing.assert_array_equal(clip[0, body, :, 0], (pose[:, 0] - 0.5).astype(np.float32))


def test_frames_stand_where_their_index_says() -> None:
    clip = parse(content((5, [person(5)]), (2, [person(2)]), (7, [])))
    assert clip.any(axis=(1, 2, 3)).tolist() == [False, True, False, False, True, False, False]
    assert clip[1, 0, 0, 0] == np.float32(person(2)["pose"][0] - 0.5)


def test_files_that_count_from_0_are_read_too() -> None:
    clip = parse(content((0, [person(1)]), (2, [person(2)])))
    assert clip.any(axis=(1, 2, 3)).tolist() == [True, False, True]


def test_the_longest_clip() -> None:
    assert len(parse(content((300, [person(1)])))) == 300
    assert len(parse(content((0, [person(1)]), (299, [])))) == 300
    with pytest.raises(DataError, match="301 frames"):
        parse(content((0, [person(1)]), (300, [])))


def test_a_file_in_which_nobody_was_found_is_no_clip() -> None:
    reader = Reader()
    assert list(clip_of(content((1, []), (2, [])), reader=reader).clips) == []
    assert clip_of(SMALL, "kinetics_train/0123456789a.json", reader=reader).clips
    assert reader.coverage([]) == ["Files that are no clips, as nobody was found: 1."]


def test_coverage_says_which_half_is_missing() -> None:
    reader = Reader()
    assert len(reader.coverage([])) == 2
    clip_of(SMALL, reader=reader)
    (line,) = reader.coverage([])
    assert line == "There is no clip of kinetics_train: protocols learn from it."


def test_classes_of_the_two_data_sets() -> None:
    assert clip_of(content((1, [person(1)]), label=399)).clips[0].class_id == "399"
    assert clip_of(content((1, [person(1)]), label=199), reader=Reader200()).clips
    with pytest.raises(DataError, match="label_index is 400, but the classes are 0 to 399"):
        clip_of(content((1, [person(1)]), label=400))
    with pytest.raises(DataError, match="label_index is 200, but the classes are 0 to 199"):
        clip_of(content((1, [person(1)]), label=200), reader=Reader200())


# --- Bad files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 times"),
        (b'{"data": []}', "0 times"),
        (SMALL.replace(b'"label_index": 7', b'"label_index": "7"'), "0 times"),
        (SMALL.replace(b'"label_index": 7', b'"label_index": -7'), "0 times"),
        (SMALL.replace(b'"label_index": 7', b'"label_index": 7.5'), "0 times"),
        (SMALL[:-1] + b', "label_index": 8}', "2 times"),
    ],
)
def test_a_file_must_say_its_class_once(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        clip_of(data)


def test_a_class_in_the_wrong_place_is_refused() -> None:
    hidden = json.dumps({"data": [], "x": {"label_index": 7}, "pose": 1}).encode()
    hidden = hidden.replace(b'"data": []', SMALL[1 : SMALL.index(b', "label"')])
    with pytest.raises(DataError, match="wrong place"):
        clip_of(hidden).read(0)


def changed(key: str, value: Any) -> bytes:
    return content((1, [person(1)]), (4, [{**person(1), key: value}]))


POSE, SCORE = person(1)["pose"], person(1)["score"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (SMALL[:-20], "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b"[]", "'data' is not a list"),
        (b'{"data": {}}', "'data' is not a list"),
        (b'{"data": []}', "'data' is not a list"),
        (content(*[(1, [])] * 302), "'data' is not a list of up to 300"),
        (b'{"data": [7]}', "entry 0 of 'data'"),
        (b'{"data": [{"skeleton": []}]}', "entry 0 of 'data'"),
        (content((1, []), (1, [])), "entry 1 of 'data'"),
        (content((301, [])), "entry 0 of 'data'"),
        (content((-1, [])), "entry 0 of 'data'"),
        (content((True, [])), "entry 0 of 'data'"),
        (content((1.0, [])), "entry 0 of 'data'"),  # type: ignore[arg-type]
        (b'{"data": [{"frame_index": 1}]}', "frame 1 has no list"),
        (content((1, [3])), "frame 1: 'pose' is not a list of 36"),
        (changed("pose", POSE[:-1]), "frame 4: 'pose' is not a list of 36"),
        (changed("pose", [*POSE, 1.0]), "frame 4: 'pose' is not a list of 36"),
        (changed("pose", ["0.5", *POSE[1:]]), "frame 4: 'pose' is not a list of 36"),
        (changed("pose", [True, *POSE[1:]]), "frame 4: 'pose' is not a list of 36"),
        (changed("pose", [None, *POSE[1:]]), "frame 4: 'pose' is not a list of 36"),
        (changed("pose", [10**400, *POSE[1:]]), "frame 4: 'pose' holds a number beyond"),
        (changed("pose", [float("nan"), *POSE[1:]]), "frame 4 holds places far outside"),
        (changed("pose", [float("inf"), *POSE[1:]]), "frame 4 holds places far outside"),
        (changed("pose", [170.0, *POSE[1:]]), "frame 4 holds places far outside"),
        (changed("score", SCORE[1:]), "frame 4: 'score' is not a list of 18"),
        (changed("score", [-0.1, *SCORE[1:]]), "frame 4 holds places far outside"),
        (changed("score", [float("nan"), *SCORE[1:]]), "frame 4 holds places far outside"),
        (content((1, []), (2, [])), "nobody is in it"),
        (content((1, [person(1, 0.0)])), "nobody is in it"),
    ],
)
def test_damaged_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        Reader().read(data)
    assert len(caught.value.what) < 200


def test_a_file_of_an_absurd_size_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsar_datasets.kinetics.LARGEST", 100)
    for read in (clip_of, parse):
        with pytest.raises(DataError, match="larger than"):
            read(SMALL)


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(out):
            out[at] = rng.choice([ord(c) for c in '0,.-]}["'] + [0, 255])
        elif kind == 1:
            del out[at : at + rng.choice([1, 5, 60, len(out)])]
        elif kind == 2:
            out[at:at] = out[at : at + rng.choice([5, 60, 600])]
        else:
            out[at:at] = rng.choice([b"9" * 400, b"e999", b"NaN", b"[", b"1e400,", b"null", b"{}"])
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_files_give_a_clip_or_a_refusal(seed: int) -> None:
    try:
        found = clip_of(mutated(SMALL, random.Random(seed)))
        clips = [found.read(n) for n in range(len(found.clips))]
    except DataError:
        return
    for clip in clips:
        assert clip.dtype == np.float32
        assert clip.shape[1:] == (2, 18, 3)
        assert 0 < len(clip) <= 300
        assert np.abs(clip).max() <= 1.5
        assert clip.any()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(DataError):
        Reader().read(noise)
    with pytest.raises(DataError):
        clip_of(noise)


# --- A whole folder, classes and texts -------------------------------------------------------


def test_a_folder_is_imported(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    out.mkdir()
    for side, label in (("train", 3), ("train", 4), ("val", 3), ("val", 9)):
        for n in range(2):
            path = raw / f"kinetics_{side}" / f"{side[:3]}_{label:03}_{n:03}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            people = [] if label == 9 else [person(n)]
            path.write_bytes(content((1, people), (n + 2, people), label=label))
    (raw / "kinetics_val_label.json").write_text("{}")
    here = DATA / "kinetics-skeleton-400"
    files = {name: str(here / f"{name}.toml") for name in ("classes", "layout")}
    spec = {**files, "title": "Kinetics", "bodies": 2, "min_frames": 1}
    listing = list_files(Reader(), spec, [raw])
    assert [(c.id, c.class_id, c.setup) for c in listing["clips"]] == [
        ("tra_003_000", "3", "train"),
        ("tra_003_001", "3", "train"),
        ("val_003_000", "3", "val"),
        ("val_003_001", "3", "val"),
        ("tra_004_000", "4", "train"),
        ("tra_004_001", "4", "train"),
    ]
    assert listing["bad"] == []
    assert [row["count"] for row in listing["aside"].values()] == [1]
    assert listing["coverage"] == ["Files that are no clips, as nobody was found: 2."]
    maker = ShardMaker(from_files(Reader(), [raw]), spec, out, lambda n: None)
    rows = maker.make(listing["clips"])
    assert [row["bad"] for row in rows] == [[]] * 3
    assert [n for row in rows for _, n in row["clips"]] == [2, 3] * 3


@pytest.mark.parametrize("count", [200, 400])
def test_classes_have_numbers_and_no_names(count: int) -> None:
    classes = read_classes(DATA / f"kinetics-skeleton-{count}" / "classes.toml")
    assert [c.id for c in classes] == [str(n) for n in range(count)]
    assert {(c.name, c.verb, c.noun) for c in classes} == {("", "", "")}


def test_a_users_texts_are_enough_and_a_missing_name_is_said(tmp_path: Path) -> None:
    classes = read_classes(DATA / "kinetics-skeleton-200" / "classes.toml")
    own = tmp_path / "own.toml"
    own.write_text("\n".join(f'[{c.id}]\ndescription = "text {c.id}"\n' for c in classes))
    texts = read_texts(str(own), {}, classes)
    assert texts.check_fields(["description"]) == ("description",)
    with pytest.raises(UserError) as caught:
        texts.check_fields(["name", "description"])
    assert caught.value.what == "The text field 'name' is empty for 0, 1, 2, 3, 4."
    assert caught.value.hint == "It has: description. Type: --text-fields description"
    own.write_text("\n".join(f'[{c.id}]\nname = "name {c.id}"\n' for c in classes))
    assert read_texts(str(own), {}, classes).check_fields(["name"]) == ("name",)
