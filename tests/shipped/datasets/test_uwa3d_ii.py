"""UWA3D II's reader, and MATLAB 7.3 files, on files made here; no real clip is at hand."""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets.mat73 import read_array
from zsar_datasets.uwa3d_ii import MAX_FRAMES, Reader

from kit.toy_mat73 import mat
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

MOST = 10**6


def joints(frames: int = 6) -> np.ndarray:
    return np.random.default_rng(frames).uniform(0.5, 3, (frames, 15, 3))


# --- The format ------------------------------------------------------------------------------

VALUES = np.random.default_rng(0).normal(size=(7, 15, 3)) * 100


@pytest.mark.parametrize(
    "how", [{}, {"compact": True}, {"chunk": (3, 15, 2)}, {"chunk": (7, 15, 3), "packed": False}]
)
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8", "<i2", "<u1", ">i4"])
def test_arrays_are_read_as_they_were_written(how: dict[str, Any], dtype: str) -> None:
    values = np.abs(VALUES).astype(dtype)
    found = read_array(mat(values, **how), "A", MOST)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, values.astype(np.float64))


def test_a_file_that_matlab_wrote() -> None:
    """scipy carries one for its own tests; it holds 0 to 2 pi in steps of a quarter pi."""
    path = Path(scipy.io.__file__).parent / "matlab/tests/data/testhdf5_7.4_GLNX86.mat"
    if not path.is_file():
        pytest.skip("scipy was installed without its tests")
    found = read_array(path.read_bytes(), "testdouble", 100)
    np.testing.assert_allclose(found[:, 0], np.arange(9) * np.pi / 4)


@pytest.mark.parametrize("shape", [(7, 45), (300, 15, 3)])
@pytest.mark.parametrize("kind", ["plain", "chunks", "packed", "shuffled"])
def test_files_of_h5py_are_read_alike(shape: tuple[int, ...], kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    how: dict[str, Any] = {
        "plain": {},
        "chunks": {"chunks": True},
        "packed": {"chunks": True, "compression": "gzip"},
        "shuffled": {"chunks": True, "compression": "gzip", "shuffle": True},
    }[kind]
    values = np.random.default_rng(1).normal(size=shape)
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512, libver="earliest") as written:
        for n in range(40):
            written.create_dataset(f"x{n}", data=[1.0])
        written.create_dataset("A", data=values, **how)
    np.testing.assert_array_equal(read_array(file.getvalue(), "A", MOST), values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a MATLAB 7.3"),
        (b"MATLAB 5.0 MAT-file" + bytes(2000), "not a MATLAB 7.3"),
        (mat(VALUES)[:560], "truncated"),
        (mat(VALUES)[:-200], "truncated"),
        (mat(VALUES, name=b"B"), r"must hold 'A', but holds 'B'"),
        (mat(VALUES, bare=True), "no array of numbers"),
        (mat(VALUES, shape=(2**40, 15, 3)), "numbers, not 1 to"),
        (mat(VALUES, shape=(2**63, 0, 3)), "holds 0 numbers"),
        (mat(VALUES, shape=(700, 15, 3)), "truncated|do not fill"),
        (mat(VALUES, chunk=(7, 15, 3), shape=(70, 15, 3)), "missing"),
        (mat(VALUES, chunk=(7, 15, 3), chunk_claim=(0, 15, 3)), "chunks .* damaged"),
        (mat(VALUES, chunk=(7, 15, 3), chunk_claim=(2**31, 15, 3)), "larger than the variable"),
        (mat(VALUES, chunk=(7, 15, 3), chunk_claim=(8, 15, 3)), "another size"),
        (mat(VALUES.astype(complex).view("V16")), "does not hold real numbers"),
    ],
)
def test_damaged_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read_array(data, "A", MOST)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


def test_a_newer_hdf5_is_refused() -> None:
    data = bytearray(mat(VALUES))
    data[520] = 2
    with pytest.raises(DataError, match="newer"):
        read_array(bytes(data), "A", MOST)


def test_a_tree_that_contains_itself_ends() -> None:
    data = bytearray(mat(VALUES))
    at = data.index(b"TREE")
    data[at + 5] = 1  # no leaf, and its child is itself
    data[at + 32 : at + 40] = struct.pack("<Q", at - 512)
    with pytest.raises(DataError, match="list of contents is damaged"):
        read_array(bytes(data), "A", MOST)


def test_data_that_unpacks_to_more_than_a_chunk_is_refused() -> None:
    chunk = zlib.compress(bytes(7 * 15 * 3 * 8))
    bomb = zlib.compress(bytes(64 * 2**20))
    data = mat(np.zeros((7, 15, 3)), chunk=(7, 15, 3))
    assert data.count(chunk) == 1
    longer = bytearray(data + bomb)
    key = data.index(b"TREE\x01") + 24
    longer[key : key + 4] = struct.pack("<I", len(bomb))
    child = key + 8 + 4 * 8
    longer[child : child + 8] = struct.pack("<Q", len(data) - 512)
    with pytest.raises(DataError, match="another size"):
        read_array(bytes(longer), "A", MOST)


# --- The data set ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("ActionsSkeleton/a01_s03_e02_v04.mat", ClipName("a01_s03_e02_v04", "1", "3", "4")),
        ("a30_s10_e00_v01.mat", ClipName("a30_s10_e00_v01", "30", "10", "1")),
        ("x/a09_s01_v02_e01.mat", ClipName("a09_s01_e01_v02", "9", "1", "2")),
        ("a00_s01_e00_v01.mat", None),
        ("a31_s01_e00_v01.mat", None),
        ("a01_s11_e00_v01.mat", None),
        ("a01_s00_e00_v01.mat", None),
        ("a01_s01_e00_v05.mat", None),
        ("a01_s01_e00.mat", None),
        ("a01_s01_e00_v01.mat\n", None),
        ("a01_s01_e00_v01.png", None),
        ("__MACOSX/a01_s01_e00_v01.mat", None),
        ("", None),
    ],
)
def test_names(name: str, clip: ClipName | None) -> None:
    assert Reader().identify(name) == clip


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("scale", [1, 1000])
def test_a_clip_is_read_in_metres(flat: bool, scale: int) -> None:
    raw = joints() * scale
    clip = Reader().read(mat(raw.reshape(6, 45) if flat else raw, chunk=()))
    assert clip.shape == (6, 1, 15, 3)
    assert clip.dtype == np.float32
    for frame, joint, axis in np.ndindex(6, 15, 3):
        assert clip[frame, 0, joint, axis] == np.float32(raw[frame, joint, axis] / scale)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((6, 20, 3)), "3 x 15 x frames, not 3 x 20 x 6"),
        (np.ones((45, 6)), "not 6 x 45"),
        (np.ones((6, 3, 15)), "not 15 x 3 x 6"),
        (np.full((6, 45), np.nan), "not finite"),
        (np.full((6, 45), np.inf), "not finite"),
        (np.zeros((6, 45)), "cannot be places"),
        (np.full((6, 45), 1e-300), "cannot be places"),
        (np.full((6, 45), 1e9), "cannot be places"),
        (np.ones((MAX_FRAMES + 1, 45), np.int8), "numbers, not 1 to"),
    ],
)
def test_what_is_no_clip_is_refused(values: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Reader().read(mat(values))


@pytest.mark.parametrize("chunk", [(), (3, 15, 3)])
def test_a_signalling_nan_is_refused_without_a_word(chunk: tuple[int, ...]) -> None:
    """numpy would warn of it as it makes a double of a single."""
    values = joints().astype(np.float32)
    values.view(np.uint32)[2, 3, 1] = 0x7F800001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="not finite"):
            Reader().read(mat(values, chunk=chunk))


def test_a_file_of_an_absurd_size_is_refused() -> None:
    with pytest.raises(DataError, match="larger than 16 MiB"):
        Reader().read(bytes(17 * 2**20))


GOOD = [mat(joints()), mat(joints(), chunk=(4, 15, 3)), mat(joints(2), compact=True)]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2))
def test_damaged_files_give_a_clip_or_a_refusal(seed: int, which: int) -> None:
    rng = random.Random(seed)
    out = bytearray(GOOD[which])
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(512, len(out))
        value = rng.choice([0, 1, 255, out[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
        out[at : at + rng.choice([1, 1, 8])] = bytes([value]) * rng.choice([1, 1, 8])
    if rng.random() < 0.2:
        del out[rng.randrange(len(out)) :]
    if rng.random() < 0.2:
        out[600:600] = out[600:900] * 3
    try:
        clip = Reader().read(bytes(out))
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (1, 15, 3)
    assert 0 < len(clip) <= MAX_FRAMES
    assert np.abs(clip).max() <= 50


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_noise_is_refused(noise: bytes, signed: bool) -> None:
    start = GOOD[0][: 512 + 96] if signed else b""
    with pytest.raises(DataError):
        Reader().read(start + noise)
