"""The UTD-MHAD reader on made and on real files, and the data files that belong to it."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tomllib
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from zsar_datasets import DATA
from zsar_datasets.utd_mhad import MAX_FRAMES, Reader

from kit.paths import ROOT
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_bench.specs import DatasetSpec
from zsar_bench.views import Layout

ARCHIVE = ROOT.parent / "shared" / "data" / "utd_mhad" / "utd_mhad_skeleton.zip"
PROTOCOLS = sorted((ROOT / "protocols").glob("purls-utd-mhad-*.toml"))


def values(frames: int = 5) -> np.ndarray:
    """(20, 3, frames) plausible joints, every number different."""
    return np.random.default_rng(frames).uniform(-1, 3, (20, 3, frames))


def mat(compressed: bool = False, **variables: object) -> bytes:
    """A MATLAB 5 file with these variables."""
    out = io.BytesIO()
    savemat(out, variables, do_compression=compressed)
    return out.getvalue()


SMALL = mat(d_skel=values())
PACKED = mat(compressed=True, d_skel=values())


# --- Names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "Skeleton/", "some/where/Skeleton/"])
def test_identify_a_clip(folder: str) -> None:
    name = ClipName("a27_s8_t4", "a27", "8")
    assert Reader().identify(f"{folder}a27_s8_t4_skeleton.mat") == name


@pytest.mark.parametrize(
    "name",
    [
        "Skeleton/Skeleton_joint_order.txt",
        "__MACOSX/Skeleton/a1_s1_t1_skeleton.mat",
        "Skeleton/._a1_s1_t1_skeleton.mat",
        "a0_s1_t1_skeleton.mat",
        "a28_s1_t1_skeleton.mat",
        "a1_s9_t1_skeleton.mat",
        "a1_s1_t5_skeleton.mat",
        "a01_s1_t1_skeleton.mat",
        "a1_s1_t1_depth.mat",
        "a1_s1_t1_skeleton.mat\n",
        "xa1_s1_t1_skeleton.mat",
        "a1_s1_t1_skeleton.mat/",
        "",
    ],
)
def test_identify_nothing_else(name: str) -> None:
    assert Reader().identify(name) is None


# --- Good bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_read_what_was_written(compressed: bool, dtype: type) -> None:
    raw = values(7).astype(dtype)
    clip = Reader().read(mat(compressed, d_skel=raw, other="a note"))
    assert clip.shape == (7, 1, 20, 3)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    for frame, joint, axis in np.ndindex(7, 20, 3):
        assert clip[frame, 0, joint, axis] == np.float32(raw[joint, axis, frame])


def test_big_endian_files_are_read() -> None:
    raw, words = values(), ">II"

    def element(kind: int, payload: bytes) -> bytes:
        return struct.pack(words, kind, len(payload)) + payload + bytes(-len(payload) % 8)

    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    matrix = element(6, struct.pack(words, 6, 0)) + element(5, struct.pack(">iii", 20, 3, 5))
    matrix += element(1, b"d_skel") + element(9, raw.astype(">f8").tobytes(order="F"))
    data = header + element(14, matrix)
    np.testing.assert_array_equal(loadmat(io.BytesIO(data))["d_skel"], raw)
    np.testing.assert_array_equal(Reader().read(data), Reader().read(SMALL))


def test_whole_numbers_may_be_stored_compactly() -> None:
    raw = np.arange(300).reshape(20, 3, 5) % 9
    data = mat(d_skel=raw.astype(np.uint8))
    flags = struct.pack("<II", 6, 8) + b"\x09"  # array flags, class uint8
    assert data.count(flags) == 1
    clip = Reader().read(data.replace(flags, flags[:-1] + b"\x06"))  # class double, as in MATLAB
    np.testing.assert_array_equal(clip[:, 0], raw.transpose(2, 0, 1))


def test_the_longest_clip_is_read() -> None:
    for compressed in (False, True):
        assert len(Reader().read(mat(compressed, d_skel=values(MAX_FRAMES)))) == MAX_FRAMES


# --- Bad bytes -------------------------------------------------------------------------------


def altered(where: tuple[int, int, int], value: float) -> np.ndarray:
    raw = values()
    raw[where] = value
    return raw


def repacked(inner: bytes) -> bytes:
    """A file whose one element is this, compressed."""
    packed = zlib.compress(inner, 9)
    return SMALL[:128] + struct.pack("<II", 15, len(packed)) + packed


def bomb() -> bytes:
    """Some kilobytes that unpack to 64 MB of zeros, in an element that announces them."""
    size = 64 << 20
    return repacked(SMALL[128:132] + struct.pack("<I", size) + SMALL[136:192] + bytes(size))


def forged_frames(frames: int) -> bytes:
    """The small file with another number of frames in its header."""
    dims = struct.pack("<iii", 20, 3, 5)
    assert SMALL.count(dims) == 1
    return SMALL.replace(dims, struct.pack("<iii", 20, 3, frames))


OLD_MATLAB = io.BytesIO()
savemat(OLD_MATLAB, {"d_skel": np.ones((20, 3))}, format="4")

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"1. head;\n2. shoulder_center;\n" * 20, "not a MATLAB 5"),
    "header only in part": (SMALL[:100], "not a MATLAB 5"),
    "nothing after the header": (SMALL[:128], "holds nothing"),
    "truncated tag": (SMALL[:131], "truncated"),
    "truncated": (SMALL[: len(SMALL) // 2], "truncated"),
    "one byte short": (SMALL[:-1], "truncated"),
    "one byte more": (SMALL + b"\0", "truncated"),
    "packed, truncated": (PACKED[: len(PACKED) // 2], "truncated"),
    "packed, damaged": (PACKED[:200] + bytes([PACKED[200] ^ 1]) + PACKED[201:], "damaged"),
    "packed, cut before packing": (repacked(SMALL[128:900]), "truncated"),
    "a value's type changed": (SMALL[:192] + b"\x08" + SMALL[193:], "do not fill"),  # crashes scipy
    "variable's type changed": (SMALL[:128] + b"\x09" + SMALL[129:], "element type 9"),
    "MATLAB 4": (OLD_MATLAB.getvalue(), "not a MATLAB 5"),
    "MATLAB 7.3": (
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n",
        "HDF5",
    ),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
    "variable missing": (mat(skeleton=values()), "holds 'skeleton'"),
    "variable twice": (SMALL + SMALL[128:], "must hold one"),
    "too flat": (mat(d_skel=values()[:, :, 0]), "20 x 3 x frames, not 20 x 3"),
    "too deep": (mat(d_skel=values()[..., None].repeat(2, 3)), "not 20 x 3 x 5 x 2"),
    "25 joints": (mat(d_skel=np.ones((25, 3, 9))), "not 25 x 3 x 9"),
    "axes in another order": (mat(d_skel=np.ones((9, 20, 3))), "not 9 x 20 x 3"),
    "object": (mat(d_skel=values().astype(object)), "not cell"),
    "struct": (mat(d_skel={"x": values()}), "not struct"),
    "text inside": (mat(d_skel="squat"), "not char"),
    "complex": (mat(d_skel=values() * 1j), "not complex"),
    "integers": (mat(d_skel=np.ones((20, 3, 5), np.int16)), "not int16"),
    "logical": (mat(d_skel=np.ones((20, 3, 5), bool)), "not logical"),
    "no frame": (mat(d_skel=np.ones((20, 3, 0))), "frames, this one 0"),
    "one frame": (mat(d_skel=values(1)), "frames, this one 1"),
    "too many frames": (mat(compressed=True, d_skel=np.ones((20, 3, 3001))), "3001|larger"),
    "far too many frames": (mat(d_skel=np.ones((20, 3, 9000))), "larger"),
    "bomb": (bomb(), "larger"),
    "forged frames": (forged_frames(2900), "do not fill"),
    "forged, absurd": (forged_frames(2**31 - 1), "frames"),
    "forged, negative": (forged_frames(-5), "frames"),
    "NaN": (mat(d_skel=altered((3, 1, 2), np.nan)), "not finite"),
    "infinite": (mat(d_skel=altered((3, 1, 2), -np.inf)), "not finite"),
    "zero": (mat(d_skel=np.zeros((20, 3, 5))), "zero"),
    "nearly zero": (mat(d_skel=np.full((20, 3, 5), 1e-300)), "zero"),
    "millimetres": (mat(d_skel=values() * 1000), "metres"),
    "absurd": (mat(d_skel=altered((0, 0, 0), 1e300)), "metres"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD[kind]
    with pytest.raises(DataError) as caught:
        Reader().read(data)
    assert re.search(reason, caught.value.what)
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 200


def test_a_signalling_nan_is_refused_without_a_word() -> None:
    """numpy would warn of it as it makes a double of a single."""
    clip = values().astype(np.float32)
    clip.view(np.uint32)[2, 1, 1] = 0x7F800001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="not finite"):
            Reader().read(mat(d_skel=clip))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of them changed, a stretch repeated or missing, or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        # Mostly near the start: that is where the sizes, types and dimensions are.
        at = rng.randrange(min(len(out), rng.choice([64, 260, len(out)])))
        out[at] = rng.choice([0, 1, 255, out[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    if rng.random() < 0.3:
        start = rng.randrange(len(out))
        del out[start : rng.choice([start + 8, len(out)])]
    return bytes(out)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(["plain", "packed", "inside"]))
def test_damaged_files_give_a_clip_or_a_refusal(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    if kind == "inside":  # damaged before it was packed, so that no checksum saves us
        data = repacked(mutated(SMALL[128:], rng) or b"\0")
    else:
        data = mutated({"plain": SMALL, "packed": PACKED}[kind], rng)
    try:
        clip = Reader().read(data)
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (1, 20, 3)
    assert 2 <= len(clip) <= MAX_FRAMES
    assert np.isfinite(clip).all()
    assert np.abs(clip).max() <= 50


# --- The real files --------------------------------------------------------------------------


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the UTD-MHAD archive is not on this machine")
def test_the_whole_data_set() -> None:
    reader, frames, names = Reader(), [], []
    with zipfile.ZipFile(ARCHIVE) as archive:
        for entry in archive.namelist():
            name = reader.identify(entry)
            if name is None:
                assert not entry.endswith(".mat")
                continue
            data = archive.read(entry)
            clip = reader.read(data)
            raw = loadmat(io.BytesIO(data))["d_skel"]
            np.testing.assert_array_equal(clip[:, 0], raw.transpose(2, 0, 1).astype(np.float32))
            names.append(name)
            frames.append(len(clip))

    assert len(names) == len({n.id for n in names}) == 861
    assert (min(frames), np.median(frames), max(frames)) == (41, 67, 125)
    classes = Counter(n.class_id for n in names)
    short = {"a8", "a23", "a27"}
    assert classes == {f"a{i}": 31 if f"a{i}" in short else 32 for i in range(1, 28)}
    assert {n.subject for n in names} == set("12345678")
    for path in PROTOCOLS:
        protocol = tomllib.loads(path.read_text())
        assert sum(classes[c] for c in protocol["unseen"]) == protocol["samples"]["test_clips"]


# --- Classes, joints, protocols --------------------------------------------------------------


def read_toml(name: str) -> dict:
    return tomllib.loads((DATA / "utd-mhad" / name).read_text())


def test_classes() -> None:
    classes = read_toml("classes.toml")["class"]
    assert [c["id"] for c in classes] == [f"a{i}" for i in range(1, 28)]
    assert all(set(c) == {"id", "name", "verb", "noun"} for c in classes)
    assert len({c["name"] for c in classes}) == 27
    assert all(c["name"] and c["verb"] for c in classes)


def test_layout() -> None:
    raw = read_toml("layout.toml")
    layout = Layout(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
    joints = layout.joints
    assert len(joints) == len(set(joints)) == len(layout.parents) == len(layout.parts) == 20
    assert joints[layout.root] == "hip_center"
    assert sum(v == p for v, p in enumerate(layout.parents)) == 1
    for v in range(20):  # a tree: every joint reaches the root
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


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda p: p.stem)
def test_protocols(path: Path) -> None:
    protocol = tomllib.loads(path.read_text())
    seen, unseen = protocol["seen"], protocol["unseen"]
    sizes = path.stem.removeprefix("purls-utd-mhad-").split("-")
    assert protocol["id"] == path.stem
    assert [len(seen), len(unseen)] == [int(n) for n in sizes]
    assert set(seen) | set(unseen) == {f"a{i}" for i in range(1, 28)}
    assert not set(seen) & set(unseen)
    for ids in (seen, unseen):
        assert ids == sorted(ids, key=lambda c: int(c[1:]))
    assert sorted(p for g in protocol["samples"]["groups"] for p in g) == list("12345678")


def test_there_are_three_protocols() -> None:
    assert len(PROTOCOLS) == 3


def test_published_rows_are_the_fractions_their_remarks_say() -> None:
    published = json.loads((ROOT / "results/published/purls-utd-mhad.json").read_text())
    protocols = {path.stem: tomllib.loads(path.read_text()) for path in PROTOCOLS}
    assert {row["protocol"] for row in published["rows"]} == set(protocols)
    for row in published["rows"]:
        found = re.search(r"(\d+)/(\d+)", " ".join(row["remarks"]))
        assert found
        right, tested = int(found[1]), int(found[2])
        assert row["value"] == round(100 * right / tested, 2)
        assert tested == protocols[row["protocol"]]["samples"]["test_clips"]
        assert "leakage" in row["remarks"][0]


def test_registration() -> None:
    import zsar_datasets

    found: list[DatasetSpec] = []
    zsar_datasets.register_datasets(SimpleNamespace(dataset=found.append))  # type: ignore[arg-type]
    assert zsar_datasets.api == 1
    (spec,) = [s for s in found if s.name == "utd-mhad"]
    assert (spec.name, spec.clips, spec.bodies, spec.fps) == ("utd-mhad", 861, 1, 30.0)
    assert spec.target == f"{Reader.__module__}:{Reader.__name__}"
    assert spec.classes.is_file()
    assert spec.layout.is_file()
    assert set(spec.texts) == {"a", "b"}


def test_registration_of_protocols() -> None:
    installed = pytest.importorskip("zsar_protocols")
    folders: list[tuple[str, Path]] = []
    installed.register_protocols(
        SimpleNamespace(
            protocols=lambda folder: folders.append(("protocols", folder)),
            published=lambda folder: folders.append(("published", folder)),
        )
    )
    assert [kind for kind, _ in folders] == ["protocols", "published"]
    assert len(list(folders[0][1].glob("purls-utd-mhad-*.toml"))) == 3
    assert (folders[1][1] / "purls-utd-mhad.json").is_file()
