"""NTU RGB+D: its reader, which bodies are people, sample lists, classes and joints."""

from __future__ import annotations

import json
import os
import random
import re
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import DATA, ntu_lists, ntu_skeleton
from zsar_datasets.ntu import Reader, Reader60, choose_bodies
from zsar_datasets.ntu_lists import EVALUATIONS, Sample
from zsar_datasets.ntu_skeleton import LARGEST, Body

from kit import paths
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_bench.views import Layout

SHARED = Path(os.environ.get("ZSAR_BENCH_TEST_DATA") or paths.SHARED)
ARCHIVE = SHARED / "data" / "ntu_rgbd" / "ntu_skeleton_samples.zip"
LISTS = SHARED / "data" / "ntu_rgbd" / "ntu_statistics.zip"
FACTS = SHARED / "facts"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real NTU files are not here")
READER = Reader()

Frame = Sequence[tuple[int, object]]  # (tracking id, (25, 3) joints) of every body


def body_lines(number: int, joints: object) -> list[str]:
    """The 27 lines of one body; joints may hold numbers or texts."""
    rest = "276.0976 190.0662 1032.328 514.0889 -0.1705678 0.04232755 0.9718983 -0.1566168 2"
    rows = [f"{x} {y} {z} {rest}" for x, y, z in joints]  # type: ignore[attr-defined]
    return [f"{number} 0 1 1 1 1 0 -0.1159187 0.1413209 2", "25", *rows]


def skeleton(frames: Iterable[Frame], end: str = "\r\n") -> bytes:
    """A ``.skeleton`` file, as a Kinect's writer leaves it."""
    frames = list(frames)
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for number, joints in frame:
            lines += body_lines(number, joints)
    return (end.join(lines) + end).encode()


def person(frames: int, move: float = 0.1, at: float = 0.0, wide: int = 0) -> np.ndarray:
    """(frames, 25, 3): an upright figure that sways by ``move``; the first ``wide`` frames lie.

    All figures are of one shape, so that only ``move`` (and lying) makes them differ in motion.
    """
    rng = np.random.default_rng(0)
    joints = rng.uniform(-1, 1, (1, 25, 3)) * [0.2, 0.9, 0.1] + [at, 0, 3]
    joints = joints + move * np.sin(np.arange(frames) / 3)[:, None, None] * [1, 0, 0]
    joints[:wide, :, [0, 1]] = joints[:wide, :, [1, 0]]
    return np.round(joints, 7)


def film(length: int, *bodies: tuple[int, int, np.ndarray]) -> list[list[tuple[int, object]]]:
    """Frames in which each (id, first frame, joints) is present."""
    frames: list[list[tuple[int, object]]] = [[] for _ in range(length)]
    for number, start, joints in bodies:
        for t, pose in enumerate(joints):
            frames[start + t].append((number, pose))
    return frames


# --- Names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "nturgb+d_skeletons/", "some/where/"])
def test_identify_a_clip(folder: str) -> None:
    found = READER.identify(f"{folder}S001C002P003R002A013.skeleton")
    assert found == ClipName("S001C002P003R002A013", "A13", "3", camera="2", setup="1")
    last = READER.identify(f"{folder}S032C003P106R002A120.skeleton")
    assert last == ClipName("S032C003P106R002A120", "A120", "106", camera="3", setup="32")


@pytest.mark.parametrize(
    "name",
    [
        "S001C002P003R002A013.txt",
        "S001C002P003R002A013.skeleton.npy",
        "S001C002P003R002A013",
        "._S001C002P003R002A013.skeleton",
        "__MACOSX/S001C002P003R002A013.skeleton",
        "S000C002P003R002A013.skeleton",
        "S033C002P003R002A073.skeleton",
        "S001C004P003R002A013.skeleton",
        "S001C002P107R002A013.skeleton",
        "S001C002P000R002A013.skeleton",
        "S001C002P003R003A013.skeleton",
        "S001C002P003R002A000.skeleton",
        "S001C002P003R002A061.skeleton",  # setup 1 has the actions of NTU-60
        "S018C002P008R002A013.skeleton",
        "S018C002P008R002A121.skeleton",
        "S001C002P003R002A013.skeleton\n",
        "S٠٠١C002P003R002A013.skeleton",
        "S001C002P003R002A013.skeleton/",
        "",
    ],
)
def test_identify_nothing_else(name: str) -> None:
    assert READER.identify(name) is None
    assert READER.left_out(name) == ""


def test_samples_without_skeletons_are_left_out_with_the_reason() -> None:
    for name in ("S001C002P005R002A008.skeleton", "a/S032C003P067R002A077.skeleton"):
        assert READER.identify(name) is None
        assert "missing or incomplete" in READER.left_out(name)
    assert READER.left_out("S001C002P003R002A013.skeleton") == ""


def test_ntu_60_is_the_first_seventeen_setups() -> None:
    reader = Reader60()
    assert reader.identify("S017C002P003R002A060.skeleton") is not None
    assert reader.identify("S018C002P008R002A061.skeleton") is None
    assert reader.left_out("S032C003P067R002A077.skeleton") == ""


# --- Good files ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_one_body_is_read_as_it_was_written(end: str) -> None:
    joints = person(20)
    clip = READER.read(skeleton(film(20, (7, 0, joints)), end))
    assert clip.shape == (20, 2, 25, 3)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    np.testing.assert_array_equal(clip[:, 0], joints.astype(np.float32))
    assert not clip[:, 1].any()


def test_the_one_who_moves_more_is_the_first_person() -> None:
    calm, lively = person(30, move=0.05), person(30, move=0.5, at=1)
    for bodies in ([(1, 0, calm), (2, 0, lively)], [(1, 0, lively), (2, 0, calm)]):
        clip = READER.read(skeleton(film(30, *bodies)))
        np.testing.assert_array_equal(clip[:, 0], lively.astype(np.float32))
        np.testing.assert_array_equal(clip[:, 1], calm.astype(np.float32))


def test_frames_without_a_body_are_taken_out_and_absences_keep_their_place() -> None:
    first, second = person(30, move=0.5), person(40, move=0.05, at=1)
    frames = film(45, (1, 0, first), (2, 0, second))
    frames[10], frames[20] = frames[10][1:], []  # the first is away, then both are
    clip = READER.read(skeleton(frames))
    assert len(clip) == 39  # and nobody is in the last five
    assert not clip[10, 0].any()
    np.testing.assert_array_equal(clip[10, 1], second[10].astype(np.float32))
    np.testing.assert_array_equal(clip[11, 0], first[11].astype(np.float32))
    np.testing.assert_array_equal(clip[20, 0], first[21].astype(np.float32))
    assert not clip[29:, 0].any()
    np.testing.assert_array_equal(clip[29:, 1], second[30:].astype(np.float32))


@pytest.mark.parametrize(
    "noise",
    [person(11, move=3), person(30, move=3, wide=21)],
    ids=["too short", "mostly too wide"],
)
def test_a_third_body_that_is_noise_is_dropped(noise: np.ndarray) -> None:
    first, second = person(30, move=0.5), person(30, move=0.05, at=1)
    clip = READER.read(skeleton(film(30, (9, 0, noise), (1, 0, first), (2, 0, second))))
    np.testing.assert_array_equal(clip[:, 0], first.astype(np.float32))
    np.testing.assert_array_equal(clip[:, 1], second.astype(np.float32))


def test_frames_that_hold_only_noise_are_taken_out() -> None:
    frames = film(40, (9, 0, person(5)), (1, 10, person(30)))
    assert len(READER.read(skeleton(frames))) == 30


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b" ", b"  "),
        lambda data: data.replace(b" ", b"\t"),
        lambda data: data.replace(b"\r\n", b" \r\n"),
        lambda data: data.replace(b"\r\n", b"\r\n "),
        lambda data: data.replace(b" 1032.328", b"  1032.328", 1),
        lambda data: data[:-2],
        lambda data: data + b"\r\n\r\n ",
    ],
)
def test_white_space_does_not_matter(change: Callable[[bytes], bytes]) -> None:
    data = skeleton(film(12, (1, 0, person(12)), (2, 0, person(12, at=1))))
    np.testing.assert_array_equal(READER.read(change(data)), READER.read(data))


def test_only_coordinates_must_be_numbers() -> None:
    data = skeleton(film(12, (1, 0, person(12))))
    odd = data.replace(b" 276.0976 190.0662", b" -1.#IND NaN")  # out of the colour camera's sight
    np.testing.assert_array_equal(READER.read(odd), READER.read(data))


def texts_of(value: float) -> st.SearchStrategy[str]:
    forms = ("{:.7g}", "{!r}", "{:.3f}", "{:+.4f}", "{:.12e}", "{:.16f}", "{:.0f}")
    return st.sampled_from([form.format(value) for form in forms])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.floats(-9, 9).flatmap(texts_of),
            st.floats(-1e-3, 1e-3).flatmap(texts_of),
            st.integers(-(10**16), 10**16).map(str),
            st.sampled_from(["0", "-0", "-0.0", ".5", "-.5", "5.", "1E-05", "00.10", "+1"]),
        ),
        min_size=1,
        max_size=80,
    )
)
def test_numbers_are_read_exactly_as_python_does(texts: list[str]) -> None:
    data = " ".join(["what stands before", *texts]).encode()
    ends = np.cumsum([len(b"what stands before"), *(1 + len(t) for t in texts)])
    found = ntu_skeleton._decimals(data, ends[:-1] + 1, ends[1:])
    expected = np.array([float(t) for t in texts])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


# --- Who is a person -------------------------------------------------------------------------


def body(start: int, joints: np.ndarray) -> Body:
    return Body(np.arange(start, start + len(joints)), joints)


def test_a_single_body_is_taken_as_it_is() -> None:
    for joints in (person(3), person(30, wide=30)):
        alone = body(5, joints)
        assert choose_bodies([alone]) == ([alone], [])
    assert choose_bodies([]) == ([], [])


def test_eleven_frames_are_noise_and_twelve_are_not() -> None:
    long, eleven, twelve = body(0, person(30)), body(0, person(11)), body(0, person(12, at=1))
    assert choose_bodies([long, eleven]) == ([long], [])
    assert sum(map(len, choose_bodies([long, twelve]))) == 2


def test_if_all_are_short_all_stay() -> None:
    calm, lively = body(0, person(9, move=0.1)), body(0, person(9, move=1))
    assert choose_bodies([calm, lively]) == ([lively], [calm])


def test_a_body_is_noise_from_seventy_percent_wide_frames_on() -> None:
    upright = body(0, person(100))
    for wide, people in ((69, 2), (70, 1)):
        assert (
            sum(map(len, choose_bodies([body(0, person(100, at=1, wide=wide)), upright]))) == people
        )


def test_the_last_body_is_never_noise() -> None:
    first, last = body(0, person(30, wide=30)), body(0, person(30, at=1, wide=30))
    assert choose_bodies([first, last]) == ([last], [])


def test_wide_frames_do_not_count_as_motion() -> None:
    upright = body(0, person(40, move=0.2))
    flight = np.where(np.arange(40) < 10, 5, 0)[:, None, None]  # for the first ten frames
    flies = body(0, person(40, move=0.1) + flight)
    assert choose_bodies([flies, upright]) == ([flies], [upright])
    flies_lying = body(0, person(40, move=0.1, wide=10) + flight)
    assert choose_bodies([flies_lying, upright]) == ([upright], [flies_lying])


def test_someone_lost_and_found_again_is_one_person() -> None:
    before, after = body(0, person(20, move=0.5)), body(20, person(20, move=0.4))
    other = body(0, person(40, move=0.05, at=1))
    assert choose_bodies([before, other, after]) == ([before, after], [other])
    one_shared = body(19, person(20, move=0.4))
    assert choose_bodies([before, other, one_shared]) == ([before, one_shared], [other])
    two_shared = body(18, person(20, move=0.4))
    assert choose_bodies([before, other, two_shared]) == ([before], [two_shared])


def test_the_second_person_may_also_be_lost_and_found() -> None:
    lead = body(0, person(60, move=0.5))
    late, early = body(40, person(20, move=0.2)), body(5, person(20, move=0.1))
    assert choose_bodies([early, late, lead]) == ([lead], [late, early])


def test_a_third_person_is_dropped() -> None:
    people = [body(0, person(40, move=move)) for move in (0.1, 0.5, 0.3)]
    assert choose_bodies(people) == ([people[1]], [people[2]])


def test_ties_keep_the_order_of_appearance() -> None:
    first, second = body(0, person(20)), body(0, person(20))
    assert choose_bodies([first, second]) == ([first], [second])
    assert choose_bodies([second, first]) == ([second], [first])


# --- Bad files -------------------------------------------------------------------------------

GOOD = skeleton(film(4, (1, 0, person(4)), (2, 1, person(3, at=1))))
LINES = GOOD.split(b"\r\n")


def altered(line: int, text: bytes) -> bytes:
    """The good file with another line; line 0 counts frames, 1 bodies, 2 is a body's, 3 says 25."""
    return b"\r\n".join([*LINES[:line], text, *LINES[line + 1 :]])


def joint(xyz: bytes) -> bytes:
    return altered(9, xyz + b" 1 1 1 1 1 1 1 1 2")


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\r\n", "empty"),
    "zeros": (bytes(1000), "number of frames"),
    "binary": (bytes(range(256)) * 40, "number of frames"),
    "an archive": (b"PK\x03\x04" + bytes(500), "number of frames"),
    "no frame": (b"0\r\n", "no frame holds a body"),
    "frames without bodies": (b"3\r\n0\r\n0\r\n0\r\n", "no frame holds a body"),
    "one line": (b"4", "truncated"),
    "half a file": (GOOD[: len(GOOD) // 2], "truncated|does not hold"),
    "without its last frame": (b"\r\n".join(LINES[:-55]), "truncated"),
    "without its last line": (b"\r\n".join(LINES[:-2]) + b"\r\n", "truncated"),
    "a line cut in half": (GOOD[:-20], "does not hold a joint's 12"),
    "a frame more announced": (altered(0, b"5"), "truncated"),
    "a frame less announced": (altered(0, b"3"), "goes on after its last frame, in line 140"),
    "a body more announced": (altered(1, b"2"), "does not hold a body's 10"),
    "a body less announced": (altered(1, b"0"), "number of bodies"),
    "negative frames": (altered(0, b"-4"), "number of frames"),
    "fractional frames": (altered(0, b"4.0"), "number of frames"),
    "absurd frames": (altered(0, b"4000000000"), "at most 1000"),
    "endless frames": (altered(0, b"4" * 5000), "at most 1000"),
    "absurd bodies": (altered(1, b"7"), "at most 6"),
    "twenty joints": (altered(3, b"20"), "announce 25 joints"),
    "absurd joints": (altered(3, b"999999"), "at most 25"),
    "words for joints": (altered(3, b"many"), "number of joints"),
    "body id in words": (altered(2, b"Bob 0 1 1 1 1 0 0.1 0.1 2"), "body's id"),
    "body id beyond 64 bits": (altered(2, b"9" * 40 + b" 0 1 1 1 1 0 0.1 0.1 2"), "body's id"),
    "nine values of a body": (altered(2, b"1 0 1 1 1 1 0 0.1 0.1"), "body's 10 values"),
    "eleven values of a joint": (joint(b"1 2"), "line 10 does not hold a joint's 12"),
    "thirteen values of a joint": (joint(b"1 2 3 4"), "line 10 does not hold a joint's 12"),
    "a joint's value in the next line": (
        joint(b"1 2").replace(LINES[10], b"0 " + LINES[10], 1),
        "does not hold a joint's 12",
    ),
    "a blank line": (altered(9, b""), "does not hold a joint's 12"),
    "one body twice": (skeleton([[(1, person(1)[0]), (1, person(1)[0])]]), "twice in one frame"),
    "words": (joint(b"0.1 here 0.3"), "'here' stands where a coordinate"),
    "two points": (joint(b"0.1 0.2.3 0.3"), "stands where a coordinate"),
    "two signs": (joint(b"0.1 --2 0.3"), "stands where a coordinate"),
    "a sign alone": (joint(b"0.1 - 0.3"), "stands where a coordinate"),
    "a point alone": (joint(b"0.1 . 0.3"), "stands where a coordinate"),
    "a sign inside": (joint(b"0.1 1-2 0.3"), "stands where a coordinate"),
    "decimal commas": (joint(b"0,1 0,2 0,3"), "stands where a coordinate"),
    "underscores": (joint(b"0.1 0.2_1 0.3"), "stands where a coordinate"),
    "hexadecimal": (joint(b"0.1 0x1p2 0.3"), "stands where a coordinate"),
    "other digits": (joint("0.1 ٣ 0.3".encode()), "stands where a coordinate"),
    "long nonsense": (joint(b"0.1 " + b"1z" * 500 + b" 0.3"), "stands where a coordinate"),
    "NaN": (joint(b"0.1 nan 0.3"), "not finite"),
    "infinite": (joint(b"0.1 -inf 0.3"), "not finite"),
    "overflowing": (joint(b"0.1 1e999 0.3"), "not finite"),
    "absurd": (joint(b"0.1 1e300 0.3"), "metres"),
    "millimetres": (skeleton(film(4, (1, 0, person(4) * 1000))), "metres"),
    "all zero": (skeleton(film(4, (1, 0, np.zeros((4, 25, 3))))), "nobody"),
    "too large": (GOOD + b" " * LARGEST, "larger than 8 MiB"),
    "lines without end": (b"1\r\n" + b"\n" * (LARGEST - 4) + b"x", "lines"),
    "what follows": (GOOD + b"0\r\n", "goes on after its last frame"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD[kind]
    with pytest.raises(DataError) as caught:
        READER.read(data)
    assert re.search(reason, caught.value.what), caught.value.what
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 200


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few changed to ones that files hold, and a stretch doubled or missing."""
    out = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5, 20])):
        at = rng.randrange(min(len(out), rng.choice([8, 60, len(out)])))
        out[at] = rng.choice(b"0123456789.-+eE \r\n\t_naif\x00\xff")
    if rng.random() < 0.5:
        start = rng.randrange(len(out))
        end = start + rng.choice([1, 2, 8, 200, 3000])
        out[start:end] = rng.choice([b"", out[start:end] * 2, b" ", b"\n", b"1e9"])
    return bytes(out)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_damaged_files_give_a_clip_or_a_refusal(seed: int) -> None:
    try:
        clip = READER.read(mutated(GOOD, random.Random(seed)))
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (2, 25, 3)
    assert 1 <= len(clip) <= 1000
    assert np.isfinite(clip).all()
    assert np.abs(clip).max() <= 50


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        READER.read(data)


# --- The real files --------------------------------------------------------------------------


def plain(data: bytes) -> list[np.ndarray]:
    """The obvious reader: of every frame the x, y and z of every body, (bodies, 25, 3)."""
    lines = iter(data.decode().splitlines())
    frames = []
    for _ in range(int(next(lines))):
        bodies = []
        for _ in range(int(next(lines))):
            next(lines)
            joints = range(int(next(lines)))
            bodies.append([[float(v) for v in next(lines).split()[:3]] for _ in joints])
        frames.append(np.array(bodies, np.float32))
    return frames


def real_files() -> dict[str, bytes]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {n: archive.read(n) for n in archive.namelist() if n.endswith(".skeleton")}


@real
def test_real_files_are_what_the_obvious_reader_finds() -> None:
    lengths = {}
    for name, data in real_files().items():
        clip, expected = READER.read(data), np.array(plain(data))
        found = READER.identify(name)
        assert found is not None
        assert found.id == name.rpartition("/")[2].removesuffix(".skeleton")
        lengths[found.id] = len(clip)
        if expected.shape[1] == 1:
            np.testing.assert_array_equal(clip[:, :1], expected)
            assert not clip[:, 1].any()
        else:
            swapped = not np.array_equal(clip[0], expected[0])
            np.testing.assert_array_equal(clip[:, ::-1] if swapped else clip, expected)
    assert lengths == {
        "S001C001P001R001A001": 103,
        "S001C001P001R001A011": 82,
        "S001C003P008R002A058": 70,
        "S002C001P003R001A003": 100,
        "S003C001P015R001A034": 71,
        "S004C002P003R001A017": 124,
    }


@real
def test_joints_of_known_clips_by_hand() -> None:
    files = {name.rpartition("/")[2][:20]: data for name, data in real_files().items()}
    clip = READER.read(files["S001C001P001R001A001"])
    assert clip[0, 0, 0].tolist() == np.float32([0.2181153, 0.1725972, 3.785547]).tolist()
    assert clip[-1, 0, -1].tolist() == np.float32([0.1140334, 0.7601054, 3.444]).tolist()
    shake = READER.read(files["S001C003P008R002A058"])  # hands, by two
    assert shake.any(axis=(2, 3)).all()
    assert np.float32([0.7201789, 0.1647426, 3.561895]).tolist() in shake[0, :, 0].tolist()


@real
def test_reading_is_much_faster_than_plain() -> None:
    """Measured 3.4 to 3.7 times; half of that here, because machines that test are busy."""
    files = list(real_files().values())

    def seconds(read: Callable[[bytes], object]) -> float:
        best = 1e9
        for _ in range(5):
            start = time.process_time()
            for data in files:
                read(data)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(plain) > 2 * seconds(READER.read)


# --- Sample lists ----------------------------------------------------------------------------

#: Protocol -> setups, unseen actions, and of these: all clips, clips of training and of test
#: subjects, then the seen clips of training and of test subjects.
# fmt: off
SYNSE = {
    "synse-ntu60-55-5": (17, (11, 12, 20, 27, 57), (4701, 3333, 1368, 36758, 15119)),
    "synse-ntu60-48-12": (
        17, (4, 6, 10, 13, 16, 41, 43, 48, 52, 57, 59, 60), (11312, 8021, 3291, 32070, 13196),
    ),
    "synse-ntu120-110-10": (
        32, (5, 14, 38, 44, 50, 66, 89, 96, 100, 107), (9508, 5259, 4249, 57767, 46670),
    ),
    "synse-ntu120-96-24": (
        32,
        (6, 10, 12, 17, 19, 21, 23, 30, 36, 40, 46, 50, 60, 69, 71, 82, 85, 88, 94, 95, 105, 114,
         115, 120),
        (22777, 12885, 9892, 50141, 41027),
    ),
}
# fmt: on


@pytest.mark.parametrize(("setups", "usable", "left_out"), [(17, 56578, 302), (32, 113945, 535)])
def test_counts_of_samples(setups: int, usable: int, left_out: int) -> None:
    samples = list(ntu_lists.samples(setups))
    assert len(set(samples)) == len(samples) == usable
    assert samples == sorted(samples)
    assert len({s.performer for s in samples}) == (40 if setups == 17 else 106)
    assert {s.action for s in samples} == set(range(1, 61 if setups == 17 else 121))
    missing = [n for n in ntu_lists.missing() if int(n[1:4]) <= setups]
    assert len(missing) == left_out
    assert all(ntu_lists.parse(n) for n in missing)
    assert all(ntu_lists.parse(s.name) == s for s in samples[::97])


@pytest.mark.parametrize(
    ("evaluation", "train", "test"),
    [
        ("xsub60", 40091, 16487),
        ("xview60", 37646, 18932),
        ("xsub120", 63026, 50919),
        ("xset120", 54468, 59477),
    ],
)
def test_counts_of_the_standard_evaluations(evaluation: str, train: int, test: int) -> None:
    setups, trains = EVALUATIONS[evaluation]
    assert Counter(map(trains, ntu_lists.samples(setups))) == {True: train, False: test}


@pytest.mark.parametrize("protocol", SYNSE)
def test_counts_of_the_synse_protocols(protocol: str) -> None:
    setups, unseen, expected = SYNSE[protocol]
    cells = Counter((s.action in unseen, ntu_lists.xsub(s)) for s in ntu_lists.samples(setups))
    counts = [cells[True, True], cells[True, False], cells[False, True], cells[False, False]]
    assert (counts[0] + counts[1], *counts) == expected


def test_coverage_says_which_setups_are_there() -> None:
    here = [s for s in ntu_lists.samples(17) if s.setup in (2, 3)]
    some = [*here[5:], here[-1], Sample(1, 2, 5, 2, 8)]  # one twice; one that nobody has
    found = ntu_lists.coverage(some, 17)
    assert list(found) == list(range(1, 18))
    assert found[2][0] == found[2][1] - 5
    assert found[3][0] == found[3][1]
    assert found[1][0] == 0
    assert sum(whole for _, whole in found.values()) == 56578


def test_what_a_download_lacks_in_words() -> None:
    whole = list(ntu_lists.samples())
    assert READER.coverage([s.name for s in whole]) == []
    first = [s for s in whole if s.setup <= 17]
    assert Reader60().coverage([s.name for s in first]) == []
    assert READER.coverage([s.name for s in first]) == [
        "Setups that are missing: 18 to 32.",
        "Setups that are whole: 1 to 17.",
        "That is all of NTU RGB+D: its protocols need `data import ntu-60`.",
    ]
    odd = [s for s in first if s.setup in (2, 3, 5) and (s.setup != 3 or s.action > 1)]
    here, all_ = ntu_lists.coverage(odd, 17)[3]
    assert here < all_
    assert Reader60().coverage([s.name for s in odd]) == [
        "Setups that are missing: 1, 4, 6 to 17.",
        f"Setups that are incomplete: 3 ({here} of {all_}).",
        "Setups that are whole: 2, 5.",
    ]


def test_files_of_the_other_edition() -> None:
    reader = Reader60()
    assert "NTU RGB+D 120" in reader.aside("in/S018C002P008R002A061.skeleton")
    for name in ("S017C002P003R002A060.skeleton", "S018C002P008R002A061.txt", "notes.txt"):
        assert reader.aside(name) == ""
    assert READER.aside("S018C002P008R002A061.skeleton") == ""  # one of its own


def test_a_part_of_a_mixed_download(cli: Any, tmp_path: Path) -> None:
    """Two archives, as the authors offer them, each with some of its files."""
    names = ["S001C001P001R001A001", "S001C002P001R001A001", "S001C002P005R002A008"]
    more = ["S018C001P008R001A061", "S020C003P044R002A119"]
    for number, part in enumerate((names, more)):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            for name in part:
                frames = film(14, (7, 0, person(14)))
                archive.writestr(f"nturgb+d_skeletons/{name}.skeleton", skeleton(frames))
    home, sources = tmp_path / "home", (tmp_path / "0.zip", tmp_path / "1.zip")
    said = cli("data", "import", "ntu-60", *sources, home=home).stdout
    assert "ntu-60, 2 clips, 1 classes, 1 subjects, 28 frames" in said
    assert "The complete data set has 56578 clips." in said
    assert "Setups that are missing: 2 to 17." in said
    assert "Setups that are incomplete: 1 (2 of " in said
    assert "Protocols that lack clips of some class: " in said
    assert "left out: 1 file: the authors of NTU RGB+D list" in said
    assert "not read: 2 files: clips that only NTU RGB+D 120 has" in said
    facts = json.loads(cli("data", "import", "ntu-120", *sources, "--json", home=home).stdout)
    assert facts["clips"] == 4
    assert facts["aside"] == {}
    about = json.loads((home / "data" / "ntu-120" / "dataset.json").read_text())
    assert about["clips"]["shard"] == [
        "A1_1_s1_c1.npy",
        "A1_1_s1_c2.npy",
        "A61_8_s18_c1.npy",
        "A119_44_s20_c3.npy",
    ]
    none = cli("data", "import", "ntu-60", sources[1], "--force", home=home, check=2).stderr
    assert "holds no clip of NTU RGB+D (2 files: clips that only NTU RGB+D 120 has" in none


@pytest.mark.skipif(not LISTS.is_file(), reason="the field's sample lists are not here")
@pytest.mark.parametrize(("folder", "setups"), [("ntu60", 17), ("ntu120", 32)])
def test_the_lists_are_those_of_the_field(folder: str, setups: int) -> None:
    with zipfile.ZipFile(LISTS) as archive:

        def column(name: str) -> list[str]:
            return archive.read(f"{folder}/statistics/{name}.txt").decode().split()

        names = column("skes_available_name")
        columns = ("setup", "camera", "performer", "replication", "label")
        rows = zip(*(map(int, column(n)) for n in columns), strict=True)
        named = {name: Sample(*row) for name, row in zip(names, rows, strict=True)}
    assert [s.name for s in ntu_lists.samples(setups)] == sorted(names)
    assert all(ntu_lists.parse(name) == sample for name, sample in named.items())
    prefix = "NTU_RGBD120" if setups == 32 else "NTU_RGBD"
    text = (LISTS.parent / f"{prefix}_samples_with_missing_skeletons.txt").read_text()
    expected = set(re.findall(r"^S\w+$", text, re.MULTILINE))
    assert {n for n in ntu_lists.missing() if int(n[1:4]) <= setups} == expected


@pytest.mark.skipif(not FACTS.is_dir(), reason="the facts are not here")
def test_lists_and_classes_agree_with_the_facts() -> None:
    facts = json.loads((FACTS / "classes.json").read_text())
    assert {c["id"]: c["name"] for c in classes("ntu-120")} == facts["ntu_rgbd"]["action_names"]
    assert {c["id"]: c["name"] for c in classes("pku-mmd")} == facts["pku_mmd"]["class_names"]
    for edition, last in (("60", 40), ("120", 106)):
        subjects = facts["ntu_rgbd"][f"cross_subject_{edition}"]
        everyone = set(range(1, last + 1))
        assert everyone & ntu_lists.TRAIN_PERFORMERS == set(subjects["train_subjects"])
        assert everyone - ntu_lists.TRAIN_PERFORMERS == set(subjects["test_subjects"])
    splits = json.loads((FACTS / "splits.json").read_text())["protocols"]
    unseen = {p["id"]: p.get("unseen_official_1_based") for p in splits}
    for protocol, (_, actions, _) in SYNSE.items():
        assert [f"A{a}" for a in actions] == unseen[protocol]


# --- Classes and joints ----------------------------------------------------------------------


def classes(dataset: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = tomllib.loads((DATA / dataset / "classes.toml").read_text())[
        "class"
    ]
    return rows


@pytest.mark.parametrize(
    ("dataset", "ids"),
    [
        ("ntu-60", [f"A{i}" for i in range(1, 61)]),
        ("ntu-120", [f"A{i}" for i in range(1, 121)]),
        ("pku-mmd", [str(i) for i in range(1, 52)]),
    ],
)
def test_classes(dataset: str, ids: list[str]) -> None:
    rows = classes(dataset)
    assert [c["id"] for c in rows] == ids
    assert all(set(c) == {"id", "name", "verb", "noun"} for c in rows)
    assert all(c["name"] and c["verb"] for c in rows)
    assert len({c["name"] for c in rows}) == len({(c["verb"], c["noun"]) for c in rows}) == len(ids)
    for path in DATA.joinpath(dataset).glob("texts-*.toml"):
        texts = tomllib.loads(path.read_text())
        assert texts["dataset"] == dataset
        assert [k for k, v in texts.items() if isinstance(v, dict)] == ids


def test_the_three_class_lists_agree() -> None:
    assert classes("ntu-60") == classes("ntu-120")[:60]
    by_name = {c["name"]: (c["verb"], c["noun"]) for c in classes("ntu-120")}
    for row in classes("pku-mmd"):
        assert by_name.get(row["name"], (row["verb"], row["noun"])) == (row["verb"], row["noun"])


@pytest.mark.parametrize("dataset", ["ntu-120", "pku-mmd"])
def test_layout(dataset: str) -> None:
    raw = tomllib.loads((DATA / dataset / "layout.toml").read_text())
    layout = Layout(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
    joints = layout.joints
    assert len(joints) == len(set(joints)) == len(layout.parents) == len(layout.parts) == 25
    assert joints[layout.root] == "spine_base"
    assert sum(v == p for v, p in enumerate(layout.parents)) == 1
    for v in range(25):  # a tree: every joint reaches the root
        seen = set()
        while v != layout.root:
            assert v not in seen
            seen.add(v)
            v = layout.parents[v]
    for v, joint in enumerate(joints):
        other = layout.mirror[v]
        assert layout.mirror[other] == v
        assert layout.parts[other] == layout.parts[v]
        assert layout.mirror[layout.parents[v]] == layout.parents[other]
        swapped = {"left": "right", "right": "left"}
        side, _, rest = joint.partition("_")
        assert joints[other] == (f"{swapped[side]}_{rest}" if side in swapped else joint)
    assert set(layout.parts) == {"head", "arms", "torso", "legs"}
    assert (joints[layout.left_hip], joints[layout.right_hip]) == ("left_hip", "right_hip")
    assert layout.up == 1


@pytest.mark.skipif(not FACTS.is_dir(), reason="the facts are not here")
def test_bones_are_the_fields() -> None:
    layout = tomllib.loads((DATA / "ntu-120" / "layout.toml").read_text())
    facts = json.loads((FACTS / "classes.json").read_text())["ntu_rgbd"]["skeleton_layout"]
    bones = {frozenset((v, p)) for v, p in enumerate(layout["parents"]) if v != p}
    field = facts["bone_pairs_1_based_child_parent"]
    assert bones == {frozenset((a - 1, b - 1)) for a, b in field}
