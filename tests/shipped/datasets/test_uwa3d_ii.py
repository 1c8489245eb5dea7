"""UWA3D II's reader, and MATLAB 7.3 files, on files made here; no real clip is at hand."""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets.mat73 import read_array
from zsar_datasets.uwa3d_ii import MAX_FRAMES, Reader

from kit.toy_mat73 import mat
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError, UserError

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
def test_variables_are_found_among_others(shape: tuple[int, ...], kind: str) -> None:
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


def written(make: Callable[[Any], object]) -> bytes:
    """A file as a function of h5py's file makes it."""
    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512) as file:
        make(file)
    return out.getvalue()


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(7, 15, 3), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "A", shape=(7, 15, 3))
    file.create_virtual_dataset("A", layout)


PLACE = h5py.ExternalLink("/etc/passwd", "/A")
ELSEWHERE = [("/etc/passwd", 0, 7 * 15 * 3 * 8)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a MATLAB 7.3"),
        (b"MATLAB 5.0 MAT-file" + bytes(2000), "not a MATLAB 7.3"),
        (mat(VALUES)[:560], "truncated"),
        (mat(VALUES)[:-200], "truncated"),
        (mat(VALUES, name="B"), r"must hold 'A', but holds 'B'"),
        (written(lambda file: None), r"must hold 'A', but holds nothing"),
        (written(lambda file: file.create_group("A")), "no array of numbers"),
        (written(lambda file: file.create_dataset("A", data=h5py.Empty("f8"))), "no array of num"),
        (written(lambda f: f.create_dataset("A", (2**40, 15, 3), "f8", chunks=(1, 15, 3))),
         "numbers, not 1 to"),
        (written(lambda file: file.create_dataset("A", (0, 15, 3), "f4")), "holds 0 numbers"),
        (written(lambda f: f.create_dataset("A", (7, 15, 3), "f4", chunks=(2**22, 15, 3),
                                            maxshape=(None, 15, 3))), "larger than the variable"),
        (written(lambda f: f.create_dataset("A", data=VALUES, compression="lzf")), "packed in a"),
        (written(lambda f: f.create_dataset("A", data=VALUES.astype(complex))), "not hold real"),
        (written(lambda file: file.create_dataset("A", data="text")), "not hold real numbers"),
        (written(lambda file: file.update({"A": h5py.SoftLink("/B")})), "another file or place"),
        (written(lambda file: file.update({"A": PLACE})), "in another file or place"),
        (written(lambda f: f.create_dataset("A", (7, 15, 3), "f8", external=ELSEWHERE)),
         "in another file"),
        (written(virtual), "in another file"),
    ],
)  # fmt: skip
def test_damaged_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read_array(data, "A", MOST)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


def test_without_h5py_it_is_said_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mat(joints())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'zsar-bench\[uwa3d\]'") as caught:
        Reader().read(whole)
    assert not isinstance(caught.value, DataError)  # it is no fault of the file
    with pytest.raises(DataError, match=r"not a MATLAB 7\.3"):
        Reader().read(b"MATLAB 5.0 MAT-file" + bytes(2000))


def test_data_that_unpacks_to_more_than_a_chunk_is_refused() -> None:
    chunk = zlib.compress(bytes(7 * 15 * 3 * 8), 4)
    bomb = zlib.compress(bytes(64 * 2**20), 4)
    data = mat(np.zeros((7, 15, 3)), chunk=(7, 15, 3))
    assert data.count(chunk) == 1
    longer = bytearray(data + bomb)
    key = data.index(b"TREE\x01") + 24
    longer[key : key + 4] = struct.pack("<I", len(bomb))
    child = key + 8 + 4 * 8
    longer[child : child + 8] = struct.pack("<Q", len(data) - 512)
    end = data.index(b"\x89HDF") + 40  # where the file says that it ends
    longer[end : end + 8] = struct.pack("<Q", len(longer) - 512)
    with pytest.raises(DataError):
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
    except (DataError, MemoryError):
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (1, 15, 3)
    assert 0 < len(clip) <= MAX_FRAMES
    assert np.abs(clip).max() <= 50


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_noise_is_refused(noise: bytes, signed: bool) -> None:
    start = GOOD[0][: 512 + 96] if signed else b""
    with pytest.raises((DataError, MemoryError)):
        Reader().read(start + noise)
