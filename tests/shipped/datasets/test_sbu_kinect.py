"""SBU Kinect Interaction's reader on files made here and on the real archive."""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import DATA
from zsar_datasets.sbu_kinect import MAX_FRAMES, Reader

from kit.damage import damaged
from kit.paths import SHARED_DATA
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

ARCHIVE = SHARED_DATA / "sbu_interaction" / "sbu_interaction_skeleton.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real archive is not here")
READER = Reader()
GROUPS = tomllib.loads((DATA / "sbu-kinect" / "dataset.toml").read_text())["samples"]["groups"]


def made(frames: int = 4, first: int = 55) -> np.ndarray:
    """(frames, 91): a number and plausible normalised values, every one different."""
    values = np.random.default_rng(frames).uniform(0.1, 2, (frames, 90)).round(5)
    return np.column_stack([np.arange(first, first + frames), values])


def text(rows: np.ndarray) -> bytes:
    lines = (f"{row[0]:.0f}," + ",".join(f"{value:.5g}" for value in row[1:]) for row in rows)
    return ("\r\n".join(lines) + "\r\n").encode()


SMALL = text(made())


@pytest.mark.parametrize("folder", ["", "SBU/", "some/where/"])
def test_names(folder: str) -> None:
    name = ClipName("s07s03_08_002", "08", "s07s03")
    assert READER.identify(f"{folder}s07s03/08/002/skeleton_pos.txt") == name


@pytest.mark.parametrize(
    "name",
    [
        "SBU/s01s02/09/001/skeleton_pos.txt",
        "SBU/s01s02/00/001/skeleton_pos.txt",
        "SBU/s01s08/01/001/skeleton_pos.txt",
        "SBU/s00s02/01/001/skeleton_pos.txt",
        "SBU/s02s02/01/001/skeleton_pos.txt",
        "SBU/s01s02/01/1/skeleton_pos.txt",
        "SBU/s01s02/01/001/depth.txt",
        "SBU/s01s02/01/001/._skeleton_pos.txt",
        "SBUs01s02/01/001/skeleton_pos.txt",
        "__MACOSX/s01s02/01/001/skeleton_pos.txt",
        "SBU/s01s02/01/001/skeleton_pos.txt\n",
        "01/001/skeleton_pos.txt",
        "",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert READER.identify(name) is None


def test_the_normalisation_is_undone() -> None:
    rows = made(2)
    rows[1, 1:4] = [0.25, 0.75, 1.5]  # the first person's head
    rows[1, -3:] = [0.0, 0.0, 2.0]  # the second person's right foot
    clip = READER.read(text(rows))
    assert clip.shape == (2, 2, 15, 3)
    assert clip.dtype == np.float32
    # 1280 - 640, 960 - 1440 and 15000 / 7.8125 millimetres
    np.testing.assert_allclose(clip[1, 0, 0], [0.64, -0.48, 1.92], atol=1e-6)
    np.testing.assert_allclose(clip[1, 1, 14], [1.28, 0.96, 2.56], atol=1e-6)


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n\r\n", b" \n"])
def test_the_end_of_the_text_is_no_frame(ending: bytes) -> None:
    np.testing.assert_array_equal(READER.read(SMALL.rstrip() + ending), READER.read(SMALL))


def test_the_longest_clip_is_read() -> None:
    assert len(READER.read(text(made(MAX_FRAMES)))) == MAX_FRAMES


def altered(value: float, column: int = 7, row: int = 2) -> bytes:
    rows = made()
    rows[row, column] = value
    return text(rows)


BAD = {
    "empty": (b"", "empty"),
    "white": (b"\r\n \r\n", "empty"),
    "cut in a line": (SMALL[: len(SMALL) // 2], "line 3|91"),
    "one person": (text(made()[:, :46]), "line 1 does not hold 91"),
    "spaces for commas": (SMALL.replace(b",", b" "), "line 1 does not hold 91"),
    "a frame missing": (text(made()[[0, 1, 3]]), "numbered"),
    "a frame twice": (text(made()[[0, 1, 1, 2]]), "numbered"),
    "frames in another order": (text(made()[::-1]), "numbered"),
    "number with a fraction": (SMALL.replace(b"\n57,", b"\n57.5,"), "numbered"),
    "a gap": (SMALL.replace(b"\r\n", b"\r\n\r\n", 1), "line 2"),
    "nothing between commas": (SMALL.replace(b",", b",,", 1), "91"),
    "an empty number": (re.sub(rb",[0-9.]+,", b",,", SMALL, count=1), "number"),
    "NaN": (altered(np.nan), "not finite"),
    "infinite": (altered(np.inf), "not finite"),
    "overflow": (SMALL.replace(b",", b"e999,", 1), "not finite"),
    "huge": (altered(1e300), "absurd"),
    "millimetres": (altered(1830.0, column=4), "metres"),
    "behind the camera": (altered(-1.0, column=9), "in front of the camera"),
    "somebody missing": (altered(0.0, column=9), "in front of the camera"),
    "nobody": (text(np.column_stack([np.arange(3), np.zeros((3, 90))])), "in front"),
    "a long number": (SMALL.replace(b",", b"1" * 5000 + b",", 1), "number"),
    "a Python number": (SMALL.replace(b"55,0.", b"5_5,0.", 1), "number"),
    "UTF-16": (SMALL.decode().encode("utf-16"), "number|line"),
    "byte order mark": (b"\xef\xbb\xbf" + SMALL, "number"),
    "binary": (bytes(range(256)) * 9, "line"),
    "too many frames": (text(made(MAX_FRAMES + 1)), "longer"),
    "endless lines": (b"1" + b"\n" * (4 << 20) + b"1", "longer"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD[kind]
    with pytest.raises(DataError) as caught:
        READER.read(data)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.just(SMALL).flatmap(damaged))
def test_a_damaged_file_is_refused_or_still_a_clip(data: bytes) -> None:
    try:
        clip = READER.read(data)
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (2, 15, 3)
    assert len(clip) >= 1
    assert np.abs(clip).max() <= 50
    assert (clip[..., 2] > 0).all()


# --- Who may be in which group ------------------------------------------------------------------


def persons(pair: str) -> set[str]:
    return {pair[1:3], pair[4:6]}


def test_groups_share_no_person() -> None:
    first, second = (set().union(*map(persons, group)) for group in GROUPS)
    assert not first & second
    assert first | second == {f"0{n}" for n in range(1, 8)}


@real
def test_groups_hold_all_pairs_within_them_and_178_clips() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        found = [clip for name in archive.namelist() if (clip := READER.identify(name))]
    pairs = Counter(clip.subject for clip in found)
    assert len(pairs) == 21
    everybody = [set().union(*map(persons, group)) for group in GROUPS]
    for group, members in zip(GROUPS, everybody, strict=True):
        assert group == sorted(pair for pair in pairs if persons(pair) <= members)
    assert [sum(pairs[p] for p in group) for group in GROUPS] == [73, 105]
    for group in GROUPS:  # every class can be seen and unseen in both
        assert len({clip.class_id for clip in found if clip.subject in group}) == 8

    seven = set().union(*everybody)
    others = sorted(seven - {"01"})
    ways = []
    for one in (set(some) for n in range(6) for some in combinations(others, n)):
        sides = one | {"01"}, seven - one - {"01"}
        ways.append([sum(n for p, n in pairs.items() if persons(p) <= side) for side in sides])
    assert len(ways) == 63
    even = sorted((min(way), sum(way)) for way in ways)
    assert even[-2:] == [(73, 178), (80, 165)]
    assert even[-3][0] == 67
    assert max(sum(way) for way in ways) < 282  # no way tests every clip


# --- The real files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips() -> list[tuple[ClipName, np.ndarray, bytes]]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        files = [(READER.identify(name), archive.read(name)) for name in archive.namelist()]
    return [(clip, READER.read(data), data) for clip, data in files if clip is not None]


@real
def test_every_class_and_pair(clips) -> None:
    assert len({clip.id for clip, _, _ in clips}) == len(clips) == 282
    classes = Counter(clip.class_id for clip, _, _ in clips)
    assert [classes[f"0{n}"] for n in range(1, 9)] == [42, 43, 40, 41, 18, 21, 39, 38]
    assert len({clip.subject for clip, _, _ in clips}) == 21
    lengths = [len(array) for _, array, _ in clips]
    assert (min(lengths), np.median(lengths), max(lengths)) == (10, 23, 46)
    assert sum(lengths) == 6822


@real
def test_a_joint_by_hand(clips) -> None:
    array, data = next((a, d) for clip, a, d in clips if clip.id == "s03s05_05_001")
    row = data.decode().splitlines()[3].split(",")
    x, y, z = (float(word) for word in row[1 + 45 + 3 * 8 : 1 + 45 + 3 * 9])
    millimetres = [1280 - 2560 * x, 960 - 1920 * y, 10000 * z / 7.8125]
    np.testing.assert_allclose(array[3, 1, 8] * 1000, millimetres, rtol=1e-5)


@real
def test_persons_come_nearer_part_and_embrace(clips) -> None:
    gaps = defaultdict(list)
    for clip, array, _ in clips:
        gap = np.linalg.norm(array[:, 0, 2] - array[:, 1, 2], axis=-1)  # torso to torso
        gaps[clip.class_id].append((gap[0], gap[-1], gap.min()))
    assert all(last < first for first, last, _ in gaps["01"])
    assert all(last > first for first, last, _ in gaps["02"])
    nearest = {label: np.mean([least for _, _, least in rows]) for label, rows in gaps.items()}
    assert min(nearest, key=lambda label: nearest[label]) == "06"
    assert nearest["06"] < 0.4 < min(value for label, value in nearest.items() if label != "06")


@real
def test_axes_are_metres_upright_and_right_handed(clips) -> None:
    widths, depths, sided, hands = [], [], [], []
    for clip, array, _ in clips:
        joints = array.astype(float)
        heights = joints[0, :, 0, 1] - joints[0, :][:, [11, 14], 1].min(axis=1)
        assert ((heights > 1.0) & (heights < 1.9)).all(), clip.id
        shoulders = joints[:, :, 6] - joints[:, :, 3]  # left to right
        width = np.linalg.norm(shoulders, axis=-1)
        widths.append(width.ravel())
        depths.append((np.abs(shoulders[..., 2]) / width).ravel())
        if clip.class_id == "01":  # face to face
            towards = joints[:, 1, 2] - joints[:, 0, 2]
            up = joints[:, 0, 1] - joints[:, 0, 2]
            sided.append((np.cross(towards, up) * shoulders[:, 0]).sum(axis=1) > 0)
        if clip.class_id == "05":
            right, left = (
                np.linalg.norm(joints[:, 0, hand] - joints[:, 1, hand], axis=-1).min()
                for hand in (8, 5)
            )
            hands.append(right < left)
    assert np.concatenate(sided).mean() > 0.98
    assert sum(hands) >= 16  # of 18: the right hands are shaken
    # Shoulders across the image and shoulders in depth are equally broad: the scales agree.
    width, depth = np.concatenate(widths), np.concatenate(depths)
    across, along = np.median(width[depth < 0.3]), np.median(width[depth > 0.8])
    assert abs(across / along - 1) < 0.05
    assert 0.25 < across < 0.45
