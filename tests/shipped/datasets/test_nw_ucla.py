"""NW-UCLA's reader, classes and protocols, on files made here and on the real archive."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets.nw_ucla import Reader

from kit.paths import SHARED_DATA
from zsar_bench.errors import DataError

ARCHIVE = SHARED_DATA / "nw_ucla" / "nw_ucla_all_sqe.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real archive is not here")
READER = Reader()


def content(frames: object = None, **more: object) -> bytes:
    if frames is None:
        frames = np.random.default_rng(0).normal(size=(4, 20, 3)).tolist()
    return json.dumps({"file_name": "x", "skeletons": frames, "label": 1, **more}).encode()


def test_a_clip_is_read_as_it_was_written() -> None:
    frames = np.random.default_rng(1).normal(size=(4, 20, 3))
    clip = READER.read(content(frames.tolist()))
    assert clip.shape == (4, 1, 20, 3)
    assert clip.dtype == np.float32
    np.testing.assert_array_equal(clip[:, 0], frames.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("all_sqe/a01_s01_e00_v01.json", ("a01_s01_e00_v01", "a01", "1")),
        ("a12_s10_e04_v03.json", ("a12_s10_e04_v03", "a12", "10")),
        ("all_sqe/a07_s01_e00_v01.json", None),
        ("all_sqe/a10_s01_e00_v01.json", None),
        ("all_sqe/a01_s11_e00_v01.json", None),
        ("__MACOSX/all_sqe/a01_s01_e00_v01.json", None),
        ("readme.txt", None),
    ],
)
def test_names(name: str, clip: tuple[str, str, str] | None) -> None:
    found = READER.identify(name)
    assert (found and (found.id, found.class_id, found.subject)) == clip


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        content()[:-9],
        b"[1, 2]",
        b"[" * 100_000,
        json.dumps({"label": 1}).encode(),
        content([]),
        content([[[0.0] * 3] * 19]),
        content([[[0.0] * 3] * 20]),
        content([[[1.0, 2.0, "3"]] * 20]),
        content([[[1.0, 2.0, True]] * 20]),
        content([[[1.0, 2.0, None]] * 20]),
        content([[[1.0, 2.0, float("nan")]] * 20]),
        content([[[1.0, 2.0, 1e9]] * 20]),
        content([[[1.0, 2.0, 3.0]] * 20, [[1.0, 2.0]] * 20]),
        content({"a": 1}),
    ],
)
def test_what_is_not_a_clip_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        READER.read(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**31), st.binary(max_size=6), st.integers(0, 6))
def test_a_damaged_file_is_refused_or_still_a_clip(at: int, new: bytes, cut: int) -> None:
    data = bytearray(content())
    place = at % len(data)
    data[place : place + cut] = new
    try:
        clip = READER.read(bytes(data))
    except DataError:
        return
    assert clip.ndim == 4
    assert np.isfinite(clip).all()


@real
def test_the_real_archive() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        found = [(READER.identify(n), n) for n in archive.namelist()]
        clips = [(clip, READER.read(archive.read(n))) for clip, n in found if clip is not None]
        direct = json.loads(archive.read("all_sqe/a03_s02_e01_v01.json"))["skeletons"]
    assert len(clips) == 1484
    labels = Counter(clip.class_id for clip, _ in clips)
    assert list(dict(sorted(labels.items())).values()) == [
        150, 152, 141, 173, 148, 149, 142, 142, 145, 142,
    ]  # fmt: skip
    lengths = sorted(len(array) for _, array in clips)
    assert (lengths[0], lengths[1], lengths[2] > 1, lengths[-1]) == (1, 1, True, 201)
    array = next(a for clip, a in clips if clip.id == "a03_s02_e01_v01")
    assert array[2, 0, 7, 1] == np.float32(direct[2][7][1])


@real
@pytest.mark.parametrize(("name", "clips"), [("8-2", 298), ("5-5", 758)])
def test_protocols_test_every_unseen_clip_once(cli, tmp_path, name: str, clips: int) -> None:
    home = tmp_path / "home"
    cli("data", "import", "nw-ucla", ARCHIVE, home=home)
    shown = json.loads(cli("show", f"purls-nw-ucla-{name}", "--json", home=home).stdout)
    assert sum(r["test_unseen"] for r in shown["rounds"]) == clips == shown["test_clips"]
