"""MSR Action3D's reader on files made here and on the real archive."""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import DATA
from zsar_datasets.msr_action3d import LEFT_OUT, MAX_FRAMES, Reader

from kit.damage import damaged
from kit.paths import SHARED_DATA
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

ARCHIVE = SHARED_DATA / "msr_action3d" / "msr_action3d_skeleton3d.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real archive is not here")
READER = Reader()


def made(frames: int = 3) -> np.ndarray:
    """(frames, 20, 4) plausible rows, every number different."""
    return np.random.default_rng(frames).uniform(0.1, 3, (frames, 20, 4)).round(6)


def text(rows: np.ndarray) -> bytes:
    lines = (" ".join(f"{value:f}" for value in row) for row in rows.reshape(-1, rows.shape[-1]))
    return ("\n".join(lines) + "\n").encode()


SMALL = text(made())


@pytest.mark.parametrize("folder", ["", "real_world_coordinates/", "some/where/"])
def test_names(folder: str) -> None:
    name = f"{folder}a20_s01_e03_skeleton3D.txt"
    assert READER.identify(name) == ClipName("a20_s01_e03", "a20", "1")
    assert READER.left_out(name) == ""
    ten = READER.identify(f"{folder}a01_s10_e01_skeleton3D.txt")
    assert ten is not None
    assert ten.subject == "10"


@pytest.mark.parametrize(
    "name",
    [
        "a21_s01_e01_skeleton3D.txt",
        "a00_s01_e01_skeleton3D.txt",
        "a01_s11_e01_skeleton3D.txt",
        "a01_s00_e01_skeleton3D.txt",
        "a01_s01_e04_skeleton3D.txt",
        "a1_s1_e1_skeleton3D.txt",
        "a01_s01_e01_skeleton.txt",
        "a01_s01_e01_skeleton3D.txt.bak",
        "__MACOSX/a01_s01_e01_skeleton3D.txt",
        "a01_s0१_e01_skeleton3D.txt",
        "files_used_in_cvpr12_paper.txt",
        "",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert READER.identify(name) is None
    assert READER.left_out(name) == ""


def test_clips_outside_the_557_are_left_out_with_the_reason() -> None:
    assert len(LEFT_OUT) == 10
    for name in LEFT_OUT:
        assert READER.identify(f"x/{name}_skeleton3D.txt") is None
        assert "557" in READER.left_out(f"x/{name}_skeleton3D.txt")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n \n", ""])
def test_a_clip_is_read_as_it_was_written(ending: str) -> None:
    rows = made()
    clip = READER.read(SMALL.rstrip() + ending.encode())
    assert clip.shape == (3, 1, 20, 3)
    assert clip.dtype == np.float32
    np.testing.assert_array_equal(clip[:, 0], rows[..., :3].astype(np.float32))


def test_windows_lines_are_read() -> None:
    np.testing.assert_array_equal(READER.read(SMALL.replace(b"\n", b"\r\n")), READER.read(SMALL))


def test_frames_without_anybody_are_taken_out() -> None:
    rows = made(6)
    rows[[0, 2, 3]] = 0
    rows[4, 7, :3] = 0  # one joint at the origin does not make a frame empty
    np.testing.assert_array_equal(
        READER.read(text(rows))[:, 0], rows[[1, 4, 5], :, :3].astype(np.float32)
    )


def test_zeros_are_nobody_whatever_the_confidence() -> None:
    rows = made(2)
    rows[0, :, :3] = 0
    assert len(READER.read(text(rows))) == 1


def altered(value: float) -> bytes:
    rows = made()
    rows[1, 5, 2] = value
    return text(rows)


BAD = {
    "empty": (b"", "empty"),
    "white": (b" \n\n", "empty"),
    "nobody": (text(np.zeros((4, 20, 4))), "nobody"),
    "half a frame": (text(made().reshape(-1, 4)[:50]), "whole frames"),
    "cut in a line": (SMALL[:-20], "line 60"),
    "cut after a column": (SMALL[:-10], "line 60"),
    "three columns": (text(made()[..., :3]), "line 1 does not hold 4"),
    "pixels with one more column": (text(np.ones((3, 20, 5))), "line 1 does not hold 4"),
    "a gap": (SMALL.replace(b"\n", b"\n\n", 1), "line 2"),
    "NaN": (altered(np.nan), "not finite"),
    "infinite": (altered(-np.inf), "not finite"),
    "overflow": (SMALL.replace(b"\n", b"e999\n", 1), "not finite"),
    "huge": (altered(1e7), "absurd"),
    "millimetres": (text(made() * 1000), "metres"),
    "a long number": (SMALL.replace(b" ", b"1" * 5000 + b" ", 1), "number"),
    "a Python number": (SMALL.replace(b".", b"_", 1), "number"),
    "a word": (SMALL.replace(b" ", b"x ", 1), "number"),
    "UTF-16": (SMALL.decode().encode("utf-16"), "number|line"),
    "byte order mark": (b"\xef\xbb\xbf" + SMALL, "number"),
    "binary": (bytes(range(256)) * 9, "number|line"),
    "too many frames": (b"1 1 1 1\n" * (20 * MAX_FRAMES + 20), "longer"),
    "endless lines": (b"1 1 1 1" + b"\n" * (9 << 20) + b"1", "longer"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD[kind]
    with pytest.raises(DataError) as caught:
        READER.read(data)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


def test_the_longest_clip_is_read() -> None:
    assert len(READER.read(b"1 1 1 1\n" * (20 * MAX_FRAMES))) == MAX_FRAMES


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.just(SMALL).flatmap(damaged))
def test_a_damaged_file_is_refused_or_still_a_clip(data: bytes) -> None:
    try:
        clip = READER.read(data)
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (1, 20, 3)
    assert clip.any(axis=(1, 2, 3)).all()
    assert np.abs(clip).max() <= 50


# --- The real files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive() -> dict[str, bytes]:
    with zipfile.ZipFile(ARCHIVE) as file:
        return {n: file.read(n) for n in file.namelist() if n.endswith(".txt")}


@pytest.fixture(scope="module")
def clips(archive: dict[str, bytes]) -> list[tuple[ClipName, np.ndarray]]:
    named = [(READER.identify(name), data) for name, data in archive.items()]
    return [(clip, READER.read(data)) for clip, data in named if clip is not None]


@real
def test_the_557_are_those_of_the_paper(archive, clips) -> None:
    (listed,) = [data for name, data in archive.items() if "files_used" in name]
    assert {clip.id for clip, _ in clips} == set(listed.decode().split())
    assert len(clips) == 557
    assert sum(bool(READER.left_out(name)) for name in archive) == 10


@real
def test_every_class_and_subject(clips) -> None:
    classes = Counter(clip.class_id for clip, _ in clips)
    assert [classes[f"a{n:02}"] for n in range(1, 21)] == [
        27, 26, 27, 25, 26, 26, 27, 30, 30, 30, 30, 30, 27, 29, 20, 30, 30, 30, 30, 27,
    ]  # fmt: skip
    subjects = Counter(clip.subject for clip, _ in clips)
    assert [subjects[str(n)] for n in range(1, 11)] == [60, 59, 53, 37, 57, 58, 57, 60, 57, 59]
    about = tomllib.loads((DATA / "msr-action3d" / "dataset.toml").read_text())
    assert about["clips"] == len(clips)
    assert sorted(s for g in about["samples"]["groups"] for s in g) == sorted(subjects)


@real
def test_all_567_files_but_one_hold_somebody(archive) -> None:
    """23,478 frames in all, 1,113 of them zeros, 38 of those in the one file without anybody."""
    frames, seen, empty = 0, 0, []
    for name, data in archive.items():
        if name.endswith("_skeleton3D.txt"):
            frames += len(data.split()) // 80
            try:
                seen += len(READER.read(data))
            except DataError:
                empty.append(name.rpartition("/")[2][:11])
    assert (frames, frames - seen, empty) == (23_478, 1_113, ["a13_s09_e02"])


@real
def test_a_joint_by_hand(archive, clips) -> None:
    data = archive["real_world_coordinates/a01_s01_e02_skeleton3D.txt"]
    line = data.decode().splitlines()[20 * 7 + 12]  # frame 7, right hand
    array = next(a for clip, a in clips if clip.id == "a01_s01_e02")
    assert [f"{value:.5f}" for value in array[7, 0, 12]] == [
        f"{np.float32(word):.5f}" for word in line.split()[:3]
    ]


@real
def test_people_stand_upright_and_wave_with_the_right_hand(clips) -> None:
    """y is up, and the frame is right-handed: facing times up points to the right hip."""
    left_hip, right_hip, hip, neck, head = 4, 5, 6, 2, 19
    sided, other_hand = [], []
    for clip, array in clips:
        joints = array[:, 0].astype(float)
        height = joints[0, head, 1] - joints[0, 17:19, 1].min()
        assert 1.0 < height < 2.1, clip.id
        toes = joints[:, 17] - joints[:, 15] + joints[:, 18] - joints[:, 16]
        right = joints[:, right_hip] - joints[:, left_hip]
        facing = np.cross(toes, joints[:, neck] - joints[:, hip])
        sided.append(((facing * right).sum(axis=1) > 0).mean())
        if clip.class_id == "a01" and joints[:, 11, 1].max() > joints[:, 12, 1].max():
            other_hand.append(clip.id)
    assert np.mean(sided) > 0.98
    assert other_hand == ["a01_s02_e02"]  # of 27 high arm waves
