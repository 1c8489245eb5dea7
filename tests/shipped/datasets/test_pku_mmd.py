"""PKU-MMD's reader on files made here in the layout of its readme; there are no real ones."""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import DATA
from zsar_datasets.pku_mmd import INTERACTIONS, Reader, ReaderII, main_actor_first

from kit.toy_files import Files
from zsar_bench.contracts import ClipName
from zsar_bench.data.clips.import_job import ShardMaker, from_files, list_files
from zsar_bench.errors import DataError

SKELETONS, LABELS = "Data/PKU_Skeleton_Renew", "Label/Train_Label_PKU_final"
SPLIT = "Split/cross-subject.txt"
LIST = b"Training videos: \n0002-L, 0002-M, 0002-R, \nValidataion videos: \n0007-L, 0007-M\n"


def recording(frames: int, second: range = range(0), seed: int = 0) -> bytes:
    """A skeleton file as the public one is written: six decimals, lines after the first indented;
    the second body is seen in the frames ``second``, counted from 0, and moves less."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.uniform(-1, 3, (frames, 2, 25, 3)), 6)
    values[:, 1] = np.round(1 + values[:, 1] / 10, 6)
    values[[t for t in range(frames) if t not in second], 1] = 0
    lines = [" ".join(f"{v:.6f}" for v in frame.ravel()) for frame in values]
    return ("\n ".join(lines) + "\n").encode()


def by_hand(data: bytes, first: int, last: int) -> list[list[float]]:
    """Frames ``first`` to ``last``, counted from 1: 150 numbers each, read the slow way."""
    return [[float(v) for v in line.split()] for line in data.decode().splitlines()][
        first - 1 : last
    ]


def folder(stem: str, skeleton: bytes, labels: bytes, **more: bytes) -> Files:
    files = {f"{SKELETONS}/{stem}.txt": skeleton, f"{LABELS}/{stem}.txt": labels}
    return Files(files | more)


def opened(labels: bytes, frames: int = 30, reader: Any = None, **kinds: Any) -> Any:
    files = folder("0002-L", recording(frames, **kinds), labels)
    return (reader or Reader()).open(f"{SKELETONS}/0002-L.txt", files)


# --- What is what ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Data/PKU_Skeleton_Renew/0002-L.txt", 1),
        ("PKUMMDv1/Data/0364-R.txt", 1),
        ("skeleton/0002-M.txt", 1),
        ("0002-M.txt", 1),
        ("Labelled data/skeletons/0002-M.txt", 1),
        ("v2/skeleton/A01N13-R.txt", 2),
        ("Datav2/A26N01-L.txt", 2),
        ("Label/Train_Label_PKU_final/0002-L.txt", 0),
        ("PKU data/labels/0002-L.txt", 0),
        ("Labelv2/A01N13-R.txt", 0),
        ("__MACOSX/Data/0002-L.txt", 0),
        ("Data/0002-X.txt", 0),
        ("Data/1002-L.txt", 0),
        ("Data/٠٠٠٢-L.txt", 0),
        ("Data/0002-L.avi", 0),
        ("Split/cross-subject.txt", 0),
        ("Split/cross-view.txt", 0),
        ("", 0),
    ],
)
def test_which_files_are_recordings(name: str, part: int) -> None:
    assert (Reader().holds(name), ReaderII().holds(name)) == (part == 1, part == 2)
    assert Reader().identify(name) is None


def test_clips_are_named_as_the_field_names_them() -> None:
    labels = b"23,1,10,2\n1,11,20,1\n23,21,25,2\n"
    files = folder("0002-R", recording(30), labels)
    assert list(Reader().open(f"{SKELETONS}/0002-R.txt", files).clips) == [
        ClipName("F002V003C023L001", "23", "", "R"),
        ClipName("F002V003C001L002", "1", "", "R"),
        ClipName("F002V003C023L003", "23", "", "R"),
    ]
    files = folder("A10N08-M", recording(30), b"2,3,9\n51,12,20,2\r\n\n")
    assert list(ReaderII().open(f"{SKELETONS}/A10N08-M.txt", files).clips) == [
        ClipName("A010N008V002C002L001", "2", "8", "M"),
        ClipName("A010N008V002C051L002", "51", "8", "M"),
    ]


@pytest.mark.parametrize("name", [SPLIT, "cross_subject.txt", "Split/Cross-Subject.txt"])
def test_sides_are_those_of_the_authors_list(name: str) -> None:
    for stem, side in (("0002-L", "train"), ("0007-M", "test"), ("0009-L", "")):
        files = folder(stem, recording(30), b"1,1,9,1\n", **{name: LIST})
        (clip,) = Reader().open(f"{SKELETONS}/{stem}.txt", files).clips
        assert clip.setup == side


def test_the_lists_of_both_parts_may_lie_side_by_side() -> None:
    second = b"Training videos:\nA01N01-L\nValidataion videos: A01N11-L,A02N11-L"
    lists = {SPLIT: LIST, "Split/cross_subject_v2.txt": second}
    files = folder("A01N11-L", recording(9), b"1,1,9,1\n", **lists)
    assert ReaderII().open(f"{SKELETONS}/A01N11-L.txt", files).clips[0].setup == "test"
    files = folder("0002-L", recording(9), b"1,1,9,1\n", **lists)
    assert Reader().open(f"{SKELETONS}/0002-L.txt", files).clips[0].setup == "train"


# --- Good files ------------------------------------------------------------------------------


def test_an_interval_has_its_first_and_its_last_frame() -> None:
    data = recording(40)
    found = opened(b"3,1,4,2\n3,5,5,2\n3,30,40,2\n", 40)
    for n, (first, last) in enumerate([(1, 4), (5, 5), (30, 40)]):
        clip = found.read(n)
        frames = by_hand(data, first, last)
        assert clip.shape == (last - first + 1, 2, 25, 3)
        assert clip.dtype == np.float32
        for t, joint, axis in np.ndindex(len(clip), 25, 3):
            assert clip[t, 0, joint, axis] == np.float32(frames[t][3 * joint + axis])
        assert not clip[:, 1].any()


def test_two_people_are_two_bodies() -> None:
    data = recording(20, second=range(5, 15))
    clip = opened(b"12,4,17,2\n", 20, second=range(5, 15)).read(0)
    frames = np.array(by_hand(data, 4, 17), np.float32).reshape(14, 2, 25, 3)
    np.testing.assert_array_equal(clip, frames)
    assert clip[:, 1].any(axis=(1, 2)).tolist() == [False] * 2 + [True] * 10 + [False] * 2


def test_who_moves_more_is_the_main_actor() -> None:
    line = recording(20, second=range(20)).decode().splitlines()
    swapped = [" ".join(x.split()[75:] + x.split()[:75]) for x in line]
    files = folder("0002-L", "\n".join(swapped).encode(), b"12,1,20,2\n")
    clip = Reader().open(f"{SKELETONS}/0002-L.txt", files).read(0)
    np.testing.assert_array_equal(clip, opened(b"12,1,20,2", 20, second=range(20)).read(0))


def test_spread_counts_only_frames_in_which_a_body_is_seen() -> None:
    bodies = np.zeros((4, 2, 2, 3))
    bodies[:, 0] = [[1, 0, 0], [3, 0, 0]]  # x spreads by 1 in every frame: 1.0 in all
    bodies[0, 1] = [[0.1, 5, 9], [1.9, 5, 9]]  # seen once, far away: 0.9
    assert main_actor_first(bodies) == [0, 1]
    bodies[0, 1] = [[0.1, 5, 9], [2.3, 5, 9]]  # 1.1
    assert main_actor_first(bodies) == [1, 0]
    assert main_actor_first(bodies[:, [0, 0]]) == [0, 1]


def test_frames_in_which_nobody_is_seen_are_taken_out() -> None:
    lines = recording(10).decode().splitlines()
    lines[3] = lines[4] = " ".join(["0.000000"] * 150)
    files = folder("0002-L", "\n".join(lines).encode(), b"1,3,6,2\n1,4,5,2\n")
    found = Reader().open(f"{SKELETONS}/0002-L.txt", files)
    assert len(found.read(0)) == 2
    with pytest.raises(DataError, match="nobody is in F002V001C001L002"):
        found.read(1)


def test_a_long_recording_is_read_in_pieces() -> None:
    """Its lines fill several of the pieces in which files are read."""
    lines = recording(2).decode().splitlines()
    data = "\n".join(lines[t % 2] for t in range(2400)) + "\n"
    assert len(data) > 2 * 2**20
    files = folder("0002-L", data.encode(), b"1,1,3,2\n1,1200,1203,2\n1,2399,2400,1\n1,1,2400,1\n")
    found = Reader().open(f"{SKELETONS}/0002-L.txt", files)
    both = np.array([[float(v) for v in x.split()[:75]] for x in lines], np.float32)
    for n, (first, last) in enumerate([(1, 3), (1200, 1203), (2399, 2400), (1, 2400)]):
        expected = both[[(t - 1) % 2 for t in range(first, last + 1)]]
        np.testing.assert_array_equal(found.read(n)[:, 0].reshape(-1, 75), expected)


# --- Labels that do not fit ------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"", b"\n\n \n"])
def test_labels_beyond_the_end_are_cut_or_refused(end: bytes) -> None:
    data = recording(12).rstrip() + end
    files = folder("0002-L", data, b"1,10,12,2\n1,10,13,2\n1,12,4000,2\n1,13,20,2\n1,900,950,2\n")
    found = Reader().open(f"{SKELETONS}/0002-L.txt", files)
    assert [len(found.read(n)) for n in range(3)] == [3, 3, 1]
    for n in (3, 4):
        with pytest.raises(DataError, match=f"L00{n + 1} starts with frame .*beyond the end"):
            found.read(n)


def test_a_reversed_interval_is_refused_alone() -> None:
    found = opened(b"1,9,8,2\n1,8,8,2\n")
    assert len(found.clips) == 2
    with pytest.raises(DataError, match=r"F002V001C001L001 ends \(frame 8\) before .*\(frame 9\)"):
        found.read(0)
    assert len(found.read(1)) == 1


def test_frame_0_is_the_first_frame() -> None:
    found = opened(b"1,0,3,2\n1,1,3,2\n1,0,0,2\n")
    np.testing.assert_array_equal(found.read(0), found.read(1))
    with pytest.raises(DataError, match="before it starts"):
        found.read(2)


def test_a_clip_longer_than_any_is_refused() -> None:
    with pytest.raises(DataError, match="5001 frames"):
        opened(b"1,1,5001,2\n").read(0)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (b"", "has 0 lines"),
        (b"\n \n", "has 0 lines"),
        (b"1,1,2\n" * 1001, "has 1001 lines"),
        (b"0,1,9,2\n", "line 1 names class 0"),
        (b"1,1,9,2\n52,10,20,2\n", "line 2 names class 52"),
        (b"1,1\n", "line 1 is"),
        (b"1,1,9,2,7\n", "line 1 is"),
        (b"1,1,nine,2\n", "line 1 is"),
        (b"1,-1,9,2\n", "line 1 is"),
        (b"1,1,99999999999999999999,2\n", "line 1 is"),
        (b"1 1 9 2\n", "line 1 is"),
        (b"-0.304560 0.212575 2.728912\n", "line 1 is"),
        (b"\0" * 100, "line 1 is"),
        (b"1,1,9,2\n" * 200_000, "larger than 1 MiB"),
    ],
)
def test_faulty_labels_refuse_the_recording(labels: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        opened(labels)
    assert "0002-L.txt" in caught.value.what
    assert len(caught.value.what) < 200


@pytest.mark.parametrize("action", sorted(INTERACTIONS))
def test_part_ii_has_no_interactions(action: int) -> None:
    files = folder("A01N01-L", recording(9), b"%d,1,9,2\n" % action)
    with pytest.raises(DataError, match=f"names class {action}"):
        ReaderII().open(f"{SKELETONS}/A01N01-L.txt", files)


def test_a_recording_needs_exactly_one_label_file() -> None:
    name = f"{SKELETONS}/0002-L.txt"
    with pytest.raises(DataError, match=r"0 label files 0002-L\.txt") as caught:
        Reader().open(name, Files({name: recording(5), f"{LABELS}/0002-M.txt": b"1,1,2,2"}))
    assert "one folder" in caught.value.hint
    twice = folder("0002-L", recording(5), b"1,1,2,2", **{"labels/0002-L.txt": b"1,1,2,2"})
    with pytest.raises(DataError, match="2 label files"):
        Reader().open(name, twice)


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (b"0002-L, 0002-M", "'0002-L' stands where"),
        (b"Training videos:\n0002-L, 2-M\n", "'2-M' stands where"),
        (b"Training videos:\n0002-L\nValidataion videos:\n0002-L", "0002-L is on both sides"),
        (b"\xff\xfe\x00T", "stands where"),
        (b"Training" + b" " * 100_000, "'Training' stands where"),
        (b"\n" * 2**21, "larger than 1 MiB"),
    ],
)
def test_a_faulty_list_of_sides_refuses_the_recording(listed: bytes, reason: str) -> None:
    files = folder("0002-L", recording(9), b"1,1,9,1\n", **{SPLIT: listed})
    with pytest.raises(DataError, match=reason):
        Reader().open(f"{SKELETONS}/0002-L.txt", files)


def test_two_lists_must_agree() -> None:
    other = b"Training videos:\n0007-L\n"
    files = folder(
        "0002-L", recording(9), b"1,1,9,1\n", **{SPLIT: LIST, "cross_subject.txt": other}
    )
    with pytest.raises(DataError, match="disagree about 0007-L"):
        Reader().open(f"{SKELETONS}/0002-L.txt", files)


# --- Damaged skeletons -----------------------------------------------------------------------


def with_line(line: bytes) -> Any:
    lines = recording(9).split(b"\n")
    lines[4] = line
    files = folder("0002-L", b"\n".join(lines), b"1,3,9,2\n")
    return Reader().open(f"{SKELETONS}/0002-L.txt", files)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "frame 5 does not hold 150"),
        (b"1.0 " * 149, "frame 5 does not hold 150"),
        (b"1.0 " * 151, "frame 5 does not hold 150"),
        (b"1.0 " * 149 + b"x", "frame 5 holds something else"),
        (b"1.0 " * 149 + b"1_0", "frame 5 does not hold 150"),
        (b"1.0 " * 149 + b"nan", "a joint is nan m away"),
        (b"1.0 " * 149 + b"-inf", "a joint is inf m away"),
        (b"1.0 " * 149 + b"1e300", "a joint is"),
        (b"1.0 " * 149 + b"51", "a joint is 51 m away"),
        (b"1.0 " * 150 + b" " * 9000, "frame 5 does not hold 150"),
        (b"1" * 2**21, "longer than those of any recording"),
    ],
)
def test_damaged_frames_are_refused(line: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        with_line(line).read(0)


def test_a_recording_of_an_absurd_size_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsar_datasets.pku_mmd.LARGEST", 1000)
    with pytest.raises(DataError, match="larger than"):
        opened(b"1,1,9,2")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, repeats and long numbers."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 20])):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] = rng.choice([0, 10, 32, 44, 255, rng.randrange(256)])
        elif kind == 1:
            del out[at : at + rng.choice([1, 8, len(out)])]
        elif kind == 2:
            out[at:at] = out[at : at + rng.choice([5, 200])] * rng.choice([1, 3])
        elif kind == 3:
            out[at:at] = rng.choice([b"9" * 400, b"1e999", b"-", b"\n\n", b"nan", b",,", b"\r\n"])
        else:
            out[at:at] = rng.randbytes(rng.randrange(9))
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["skeleton", "labels", "list", "noise"]))
def test_damaged_files_give_clips_or_a_refusal(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    files = {"skeleton": recording(6), "labels": b"1,1,3,2\n44,2,6,1\n", "list": LIST}
    if kind == "noise":
        files = {name: rng.randbytes(rng.randrange(300)) for name in files}
    else:
        files[kind] = mutated(files[kind], rng)
    source = folder("0002-L", files["skeleton"], files["labels"], **{SPLIT: files["list"]})
    try:
        found = Reader().open(f"{SKELETONS}/0002-L.txt", source)
    except DataError:
        return
    for n, name in enumerate(found.clips):
        assert 1 <= int(name.class_id) <= 51
        assert name.setup in ("", "train", "test")
        try:
            clip = found.read(n)
        except DataError:
            continue
        assert clip.dtype == np.float32
        assert clip.shape[1:] == (2, 25, 3)
        assert len(clip)
        assert clip.any(axis=(1, 2, 3)).all()
        assert np.abs(clip).max() <= 50


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_alone_are_no_clip(data: bytes) -> None:
    with pytest.raises(DataError):
        Reader().read(data)


# --- A whole folder --------------------------------------------------------------------------

INTERVALS = {
    "0002": [(1, 3, 9), (34, 10, 20), (12, 20, 29)],
    "0003": [(1, 1, 30)],
    "0007": [(51, 2, 30), (1, 31, 40), (1, 9, 8)],
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three recordings from three views, labels, the authors' lists, and what does not belong."""
    files = {SPLIT: LIST, "Split/cross-view.txt": b"Training videos:\n0002-M\n", "README.txt": b"x"}
    for number, rows in INTERVALS.items():
        labels = "".join(f"{a},{first},{last},2\n" for a, first, last in rows).encode()
        for view in "LMR":
            files[f"{LABELS}/{number}-{view}.txt"] = labels
            if (number, view) != ("0007", "R"):  # labels without their skeletons
                files[f"{SKELETONS}/{number}-{view}.txt"] = recording(30, seed=ord(view))
    files["v2/skeleton/A01N01-L.txt"] = recording(9)
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def spec() -> dict[str, Any]:
    here = DATA / "pku-mmd"
    files = {name: str(here / f"{name}.toml") for name in ("classes", "layout")}
    return {**files, "title": "PKU-MMD I", "bodies": 2, "min_frames": 1}


def test_a_whole_folder_is_listed(raw: Path) -> None:
    listing = list_files(Reader(), spec(), [raw])
    clips = listing["clips"]
    assert len(clips) == 3 * 3 + 3 * 1 + 2 * 3
    assert Counter(c.camera for c in clips) == {"L": 7, "M": 7, "R": 4}
    assert Counter(c.setup for c in clips) == {"train": 9, "": 3, "test": 6}
    assert Counter(c.class_id for c in clips) == {"1": 10, "34": 3, "12": 3, "51": 2}
    assert {c.subject for c in clips} == {""}
    assert {c.shard for c in clips if c.class_id == "51"} == {
        "51_-_stest_cL.npy",
        "51_-_stest_cM.npy",
    }
    assert listing["bad"] == []
    assert {why: row["count"] for why, row in listing["aside"].items()} == {
        "label files without their skeleton file": 1,
        "files of the other part of PKU-MMD (data import pku-mmd-ii)": 1,
        "no clip": 2,
    }


def test_a_whole_folder_becomes_shards(raw: Path, tmp_path: Path) -> None:
    clips = list_files(Reader(), spec(), [raw])["clips"]
    out = tmp_path / "out"
    out.mkdir()
    maker = ShardMaker(from_files(Reader(), [raw]), spec(), out, lambda n: None)
    rows = maker.make(clips)
    frames = {clip: n for row in rows for clip, n in row["clips"]}
    assert frames["F002V001C001L001"] == 7
    assert frames["F003V003C001L001"] == 30
    assert frames["F007V002C051L001"] == 29
    assert len(frames) == 18 - 4  # of 0007, one interval is beyond the end and one reversed
    assert sorted(bad["reason"].split(" (")[0] for row in rows for bad in row["bad"]) == [
        "F007V001C001L002 starts with frame 31, beyond the end of the recording",
        "F007V001C001L003 ends",
        "F007V002C001L002 starts with frame 31, beyond the end of the recording",
        "F007V002C001L003 ends",
    ]


def test_coverage_says_what_cannot_be_run(raw: Path) -> None:
    lines = list_files(Reader(), spec(), [raw])["coverage"]
    assert lines == [
        "Recordings: 8 of 1,076.",
        "The authors' list of sides does not name 3 recordings, such as F003V001: "
        "cross-subject protocols leave them out.",
    ]
    (raw / SPLIT).unlink()
    for path in raw.rglob("*-R.txt"):
        path.unlink()
    lines = list_files(Reader(), spec(), [raw])["coverage"]
    assert lines[0] == "Recordings: 6 of 1,076."
    assert lines[1].startswith("Views that are missing: R. Cross-view")
    assert lines[2].startswith("The authors' list of sides (Split/cross-subject.txt")
    assert lines[2].endswith("cross-subject protocols cannot be run.")
    assert len(lines) == 3


def test_a_folder_of_labels_only_says_so(raw: Path) -> None:
    from zsar_bench.errors import UserError

    with pytest.raises(UserError, match="9 files: label files without their skeleton file"):
        list_files(Reader(), spec(), [raw / "Label" / "Train_Label_PKU_final" / ".."])


# --- Facts -----------------------------------------------------------------------------------


def test_the_classes_of_part_ii_are_part_i_s_without_interactions() -> None:
    first, second = (
        tomllib.loads((DATA / name / "classes.toml").read_text())["class"]
        for name in ("pku-mmd", "pku-mmd-ii")
    )
    assert second == [row for row in first if int(row["id"]) not in INTERACTIONS]
    assert len(second) == 41
    assert {int(row["id"]) for row in second} == ReaderII.actions
    assert {int(row["id"]) for row in first} == Reader.actions
