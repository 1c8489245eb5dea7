"""NTU RGB+D from CTR-GCN's .npz files and PYSKL's pickles, in files made here as theirs are."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import ntu_lists, ntu_npz, ntu_pyskl
from zsar_datasets.ntu import Reader, Reader60
from zsar_datasets.ntu_lists import Sample
from zsar_datasets.ntu_npz import Evaluation, official

from kit import toy_files
from kit.memory import limited
from kit.paths import SHARED_DATA
from zsar_bench.errors import DataError
from zsar_bench.rawfiles.archives import RawFiles

LISTS = SHARED_DATA / "ntu_rgbd" / "ntu_statistics.zip"
READER = Reader()


class Files(toy_files.Files):
    """Files that remember which of them was opened last."""

    opened: BinaryIO

    def open(self, name: str) -> BinaryIO:
        self.opened = super().open(name)
        return self.opened


def film(frames: int, bodies: int = 1, seed: int = 0) -> np.ndarray:
    """(bodies, frames, 25, 3) float32."""
    return np.random.default_rng(seed).normal(size=(bodies, frames, 25, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "npz", "pkl"),
    [
        ("NTU60_CS.npz", True, False),
        ("ntu/NTU60_CV.npz", True, False),
        ("NTU120_CSub.npz", True, False),
        ("NTU120_CSet.npz", True, False),
        ("NTU60_CS-unpacked.npz", True, False),
        ("NTU60_features.npz", False, False),
        ("x_train.npy", False, False),
        ("__MACOSX/NTU60_CS.npz", False, False),
        ("ntu60_3danno.pkl", False, True),
        ("nturgbd/ntu120_3danno.pkl", False, True),
        ("ntu60_hrnet.pkl", False, True),
        ("val_label.pkl", False, False),
        ("S001C001P001R001A001.skeleton", False, False),
    ],
)
def test_names(name: str, npz: bool, pkl: bool) -> None:
    assert (ntu_npz.holds(name), ntu_pyskl.holds(name)) == (npz, pkl)
    assert READER.holds(name) == (npz or pkl)
    assert READER.identify(name) is None or not (npz or pkl)


# --- CTR-GCN's .npz --------------------------------------------------------------------------

NAME = "NTU60_CS.npz"
TRAIN = [Sample(1, 1, 1, 1, 5), Sample(1, 2, 1, 1, 60), Sample(1, 1, 2, 1, 1)]
TEST = [Sample(2, 1, 3, 1, 7), Sample(1, 1, 3, 1, 2)]


def toy(classes: int) -> list[Evaluation]:
    assert classes in (60, 120)
    return [Evaluation("toy", TRAIN, TEST), Evaluation("other", TRAIN + TEST, TRAIN)]


def rows(films: Sequence[np.ndarray], dtype: str = "f4") -> np.ndarray:
    """(clips, 300, 150): bodies beside each other, zeros after the end and for nobody."""
    x = np.zeros((len(films), 300, 150), dtype)
    for row, one in zip(x, films, strict=True):
        for body, joints in enumerate(one):
            row[: len(joints), 75 * body : 75 * (body + 1)] = joints.reshape(-1, 75)
    return x


def one_hot(chosen: Sequence[Sample], classes: int = 60) -> np.ndarray:
    return np.eye(classes)[[sample.action - 1 for sample in chosen]]


FILMS = [film(4), film(300, 2, 1), film(90, 1, 2), film(1, 2, 3), film(70, 1, 4)]


def parts(dtype: str = "f4", **changed: Any) -> dict[str, Any]:
    made = {
        "x_train": rows(FILMS[:3], dtype),
        "y_train": one_hot(TRAIN),
        "x_test": rows(FILMS[3:], dtype),
        "y_test": one_hot(TEST),
    }
    return {k: v for k, v in {**made, **changed}.items() if v is not None}


def npz(save: Callable[..., None] = np.savez, **changed: Any) -> bytes:
    file = io.BytesIO()
    save(file, **parts(**changed))
    return file.getvalue()


def opened(data: bytes, reader: Reader = READER) -> ntu_npz.Clips:
    return ntu_npz.open_file(NAME, Files({NAME: data}), reader.clip_of, toy)


@pytest.mark.parametrize("dtype", ["f4", "f2", ">f8"])
def test_rows_are_clips_with_their_names(dtype: str) -> None:
    found = opened(npz(dtype=dtype))
    assert [clip.id for clip in found.clips] == [s.name for s in TRAIN + TEST]
    first = found.clips[0]
    assert (first.class_id, first.subject, first.camera, first.setup) == ("A5", "1", "1", "1")
    for number in (4, 0, 3, 1, 2):  # in any order
        clip = found.read(number)
        one = FILMS[number].astype(dtype)
        assert clip.shape == (one.shape[1], 2, 25, 3)
        assert clip.dtype == np.float32
        np.testing.assert_array_equal(clip[:, 0], one[0].astype(np.float32))
        if len(one) == 2:
            np.testing.assert_array_equal(clip[:, 1], one[1].astype(np.float32))
        else:
            assert not clip[:, 1].any()


def test_a_person_who_is_there_twice_is_one() -> None:
    """As in CTR-GCN's NTU120 files; two people whose joints differ somewhere stay two."""
    alone = np.concatenate([FILMS[2], FILMS[2]])
    pair = alone.copy()
    pair[1, 89, 24, 2] += 0.01
    found = opened(npz(x_train=rows([alone, pair, FILMS[0]])))
    clip = found.read(0)
    np.testing.assert_array_equal(clip[:, 0], FILMS[2][0])
    assert not clip[:, 1].any()
    np.testing.assert_array_equal(found.read(1)[:, 1], pair[1])


def test_frames_of_nobody_are_left_out() -> None:
    one = film(10)
    one[0, 3:5] = 0
    clip = opened(npz(x_train=rows([one, FILMS[0], FILMS[0]]))).read(0)
    np.testing.assert_array_equal(clip[:, 0], one[0, [0, 1, 2, 5, 6, 7, 8, 9]])


def test_labels_may_be_of_any_number_and_compressed() -> None:
    for kind in ("u1", "f4", "?", ">i8"):
        changed = {f"y_{k}": one_hot(v).astype(kind) for k, v in (("train", TRAIN), ("test", TEST))}
        assert len(opened(npz(**changed)).clips) == 5
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in parts().items():
            with archive.open(_info(f"{name}.npy", name[0] == "y"), "w") as member:
                np.lib.format.write_array(member, array)
    assert len(opened(file.getvalue()).clips) == 5


def _info(name: str, deflated: bool) -> zipfile.ZipInfo:
    about = zipfile.ZipInfo(name)
    about.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    return about


def test_each_edition_takes_its_own_clips() -> None:
    new = [*TRAIN[:2], Sample(18, 1, 41, 1, 61)]

    def mixed(classes: int) -> list[Evaluation]:
        return [Evaluation("mixed", new, TEST)]

    data = npz(y_train=one_hot(new, 120), y_test=one_hot(TEST, 120))
    files = Files({"NTU120_CSub.npz": data})
    both = {
        reader: ntu_npz.open_file("NTU120_CSub.npz", files, reader.clip_of, mixed)
        for reader in (READER, Reader60())
    }
    assert [len(found.clips) for found in both.values()] == [5, 4]
    old = both.popitem()[1]
    assert [c.id for c in old.clips] == [s.name for s in new[:2] + TEST]
    np.testing.assert_array_equal(old.read(2)[:, 1], FILMS[3][1])  # rows are not renumbered


def test_samples_that_their_authors_leave_out_are_no_clips() -> None:
    gone = ntu_lists.parse(sorted(ntu_lists.missing())[0])
    assert gone is not None
    chosen = [gone, *TRAIN[1:]]
    data = npz(y_train=one_hot(chosen))
    found = ntu_npz.open_file(
        NAME, Files({NAME: data}), READER.clip_of, lambda _: [Evaluation("a", chosen, TEST)]
    )
    assert [c.id for c in found.clips] == [s.name for s in chosen[1:] + TEST]


def wrong_label() -> np.ndarray:
    return one_hot([TRAIN[0], Sample(1, 2, 1, 1, 59), TRAIN[2]])


WRONG = {
    "a label": (
        {"y_train": wrong_label()},
        r"row 1 of y_train is of class A59, .* S001C002P001R001A060 \(1 rows disagree\)",
    ),
    "another order": ({"y_test": one_hot(TEST[::-1])}, r"\(2 rows disagree\)"),
    "a row less": ({"y_test": one_hot(TEST[:1])}, r"3 clips to train and 1 to test.*toy \(3 and 2"),
    "rows of values, not of labels": ({"x_test": rows(FILMS[3:4])}, "x_test.npy has the shape"),
    "two ones": ({"y_test": np.eye(60)[[1, 2]] + np.eye(60)[[1, 3]]}, "a single one"),
    "two different ones": ({"y_test": np.eye(60)[[6, 1]] + np.eye(60)[[7, 2]]}, "a single one"),
    "no one": ({"y_test": np.zeros((2, 60))}, "a single one"),
    "NaN": ({"y_test": np.full((2, 60), np.nan)}, "a single one"),
    "labels as numbers": ({"y_test": np.array([6, 1])}, "y_test.npy has the shape"),
    "other classes": ({"y_test": one_hot(TEST, 61)}, "y_test.npy has the shape"),
    "classes differ": ({"y_test": one_hot(TEST, 120)}, "different classes"),
    "labels by columns": ({"y_test": np.asfortranarray(one_hot(TEST))}, "y_test.npy has the shape"),
    "no labels": ({"y_test": None}, "not x_train, y_train, x_test and y_test"),
    "text": ({"y_test": np.array([["a"] * 60] * 2)}, "y_test.npy holds <U1, not numbers"),
    "objects": ({"x_test": np.array([None, 1])}, "Python objects"),
    "objects as labels": ({"y_test": np.array([[None] * 60] * 2)}, "Python objects"),
    "values by columns": ({"x_test": np.asfortranarray(rows(FILMS[3:]))}, "x_test.npy has the sh"),
    "short clips": ({"x_test": np.zeros((2, 299, 150), "f4")}, "x_test.npy has the shape"),
    "five dimensions": ({"x_test": np.zeros((2, 3, 300, 25, 2), "f4")}, "x_test.npy has the sh"),
    "whole numbers": ({"x_test": np.zeros((2, 300, 150), "i4")}, "holds int32"),
    "nothing": ({"x_test": np.zeros((0, 300, 150), "f4")}, "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_does_not_fit_is_refused(name: str) -> None:
    changed, told = WRONG[name]
    files = Files({NAME: npz(**changed)})
    with pytest.raises(DataError, match=told) as caught:
        ntu_npz.open_file(NAME, files, READER.clip_of, toy)
    assert caught.value.hint
    assert files.opened.closed


def test_a_compressed_file_says_how_to_unpack_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"x_train.npy is compressed.*zip -0 NTU60_CS.npz"
    ) as caught:
        opened(npz(np.savez_compressed))
    assert caught.value.hint.startswith("unzip NTU60_CS.npz")


def with_bytes(data: bytes, old: bytes, new: bytes, last: bool = False) -> bytes:
    """The first or last occurrence replaced; as long as before."""
    at = data.rindex(old) if last else data.index(old)
    assert len(old) == len(new)
    return data[:at] + new + data[at + len(old) :]


def central(data: bytes, name: str, at: int, new: bytes) -> bytes:
    """Bytes of a member's entry in the table of contents replaced."""
    start = data.rindex(name.encode()) - 46 + at
    assert data[start - at : start - at + 4] == b"PK\x01\x02"
    return data[:start] + new + data[start + len(new) :]


def damaged() -> dict[str, bytes]:
    good = npz()
    more = io.BytesIO(good)
    with zipfile.ZipFile(more, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("y_test.npy", b"")
    return {
        "empty": b"",
        "text": b"x_train",
        "only an array": good[good.index(b"\x93NUMPY") :][:2000],
        "encrypted": central(good, "x_test.npy", 8, b"\x01\x00"),
        "bzip2": central(good, "y_test.npy", 10, b"\x0c\x00"),
        "LZMA values": central(good, "x_test.npy", 10, b"\x0e\x00"),
        "unknown packing": central(good, "y_test.npy", 10, b"\xff\x00"),
        "a member twice": more.getvalue(),
        "starts elsewhere": central(good, "x_test.npy", 42, b"\x01\x00\x00\x00"),
        "starts beyond": central(good, "x_test.npy", 42, b"\xff\xff\xff\x7f"),
        "larger than it is": central(good, "x_train.npy", 20, b"\xff\xff\xff\x7f" * 2),
        "labels larger": central(good, "y_train.npy", 20, b"\xff\xff\xff\x7f" * 2),
        "a header of gigabytes": with_bytes(
            good, b"\x93NUMPY\x01\x00v\x00{'de", b"\x93NUMPY\x02\x00\xff\xff\xff\xff'd"
        ),
        "another shape": with_bytes(good, b"(3, 300, 150)", b"(2, 300, 225)"),
        "negative": with_bytes(good, b"(3, 300, 150)", b"(3,-300,-150)"),
        "more values than there are": with_bytes(good, b"(3, 300, 150)", b"(9, 300, 150)"),
        "labels changed": with_bytes(
            good, struct.pack("<d", 1), struct.pack("<d", 2), last=True
        ),
        "a table of gigabytes": b"PK\x01\x02" * 2**21
        + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 2**23, 0, 0),
    }  # fmt: skip


def test_a_damaged_archive_is_refused() -> None:
    for name, data in damaged().items():
        with pytest.raises(DataError) as caught:
            opened(data)
        assert caught.value.what, name


@pytest.mark.parametrize(
    ("value", "told"), [(np.nan, "not finite"), (np.inf, "not finite"), (60, "60 m"), (None, "nob")]
)
def test_a_row_that_is_no_clip_is_refused_alone(value: float | None, told: str) -> None:
    x = rows(FILMS[:3])
    if value is None:
        x[1] = 0
    else:
        x[1, 2, 80] = value
    found = opened(npz(x_train=x))
    with pytest.raises(DataError, match=told):
        found.read(1)
    assert found.read(0).shape == (4, 2, 25, 3)


def test_a_file_cut_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(npz())
    found = ntu_npz.open_file(NAME, RawFiles(tmp_path), READER.clip_of, toy)
    assert found.read(4).any()
    os.truncate(path, 300_000)
    with pytest.raises(DataError, match="truncated"):
        found.read(4)


SMALL = npz(dtype="f2")
#: Every place but those inside the values, where nothing can go wrong that a value cannot.
PLACES = [n for n in range(len(SMALL)) if SMALL[max(0, n - 60) : n + 60].strip(b"\0")]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 2**31), min_size=1, max_size=3),
    st.binary(max_size=6) | st.just(b"\xff" * 8) | st.just(b"9" * 30),
    st.integers(0, 8),
    st.sampled_from(["change", "cut", "repeat"]),
)
def test_a_mutated_npz_gives_data_errors(places: list[int], new: bytes, cut: int, how: str) -> None:
    data = bytearray(SMALL)
    for at in places:
        place = min(PLACES[at % len(PLACES)] if at % 4 else len(data) - 1 - at % 900, len(data))
        if how == "cut":
            del data[place:]
        elif how == "repeat":
            data[place:place] = data[place : place + 40 * (cut + 1)]
        else:
            data[place : place + cut] = new
    all_data_errors(lambda: opened(bytes(data)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_no_npz(data: bytes, table: bool) -> None:
    if table:  # an end of a table of contents, so that all before it is read as one
        data += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 4, 4, len(data), 0, 0)
    with pytest.raises(DataError):
        opened(data)


def all_data_errors(open_it: Callable[[], Any]) -> None:
    """Opening and reading give clips, or DataErrors."""
    try:
        found = open_it()
    except DataError:
        return
    for number in range(len(found.clips)):
        try:
            clip = found.read(number)
        except DataError:
            continue
        assert clip.shape[1:] == (2, 25, 3)
        assert np.isfinite(clip).all()


# The official lists

SIZES = {
    "xsub60": (40_091, 16_487),
    "xview60": (37_646, 18_932),
    "xsub120": (63_026, 50_919),
    "xset120": (54_468, 59_477),
}


def test_official_files_have_the_published_sizes() -> None:
    assert {e.name: e.sizes for classes in (60, 120) for e in official(classes)} == SIZES


@pytest.mark.skipif(not LISTS.is_file(), reason="the field's sample lists are not here")
@pytest.mark.parametrize("name", SIZES)
def test_the_order_is_that_of_the_fields_lists(name: str) -> None:
    """What the pipeline does: the places of each id in its column, one id after the other."""
    edition = name[-2:] if name.endswith("60") else "120"
    column = {"xsub": "performer", "xview": "camera", "xset": "setup"}[name.removesuffix(edition)]
    with zipfile.ZipFile(LISTS) as archive:
        folder = f"ntu{edition}/statistics"
        names = np.array(archive.read(f"{folder}/skes_available_name.txt").decode().split())
        ids = np.array(archive.read(f"{folder}/{column}.txt").decode().split()).astype(int)
    subjects = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
    subjects |= {45, 46, 47, 49, *range(50, 60), 70, 74, 78, *range(80, 87), 89, *range(91, 96)}
    subjects = (subjects | {97, 98, 100, 103}) - {51}
    train = {"performer": subjects, "camera": {2, 3}, "setup": {*range(2, 33, 2)}}[column]
    for trains, chosen in zip((True, False), _evaluation(name)[1:], strict=True):
        order = [i for i in sorted({*ids.tolist()}) if (i in train) == trains]
        places = np.concatenate([np.flatnonzero(ids == i) for i in order])
        assert [s.name for s in chosen] == names[places].tolist()


def _evaluation(name: str) -> Evaluation:
    return next(e for classes in (60, 120) for e in official(classes) if e.name == name)


def sparse(path: Path, chosen: Evaluation, filled: dict[int, np.ndarray]) -> None:
    """A file of official size whose values are a hole, but for some rows of the test side."""
    size = 300 * 150 * 4
    with zipfile.ZipFile(path, "w") as archive:
        for side, some in (("train", chosen.train), ("test", chosen.test)):
            with archive.open(f"x_{side}.npy", "w", force_zip64=True) as member:
                about = {"descr": "<f4", "fortran_order": False, "shape": (len(some), 300, 150)}
                np.lib.format.write_array_header_1_0(member, about)
                start = archive.fp.tell()  # type: ignore[union-attr]
                for row, one in filled.items() if side == "test" else ():
                    archive.fp.seek(start + row * size)  # type: ignore[union-attr]
                    archive.fp.write(rows([one]).tobytes())  # type: ignore[union-attr]
                archive.fp.seek(start + len(some) * size)  # type: ignore[union-attr]
                member._file_size += len(some) * size  # type: ignore[attr-defined]
            with archive.open(f"y_{side}.npy", "w") as member:
                np.lib.format.write_array(member, one_hot(some))


def test_a_file_of_full_size(tmp_path: Path) -> None:
    """10 GB, nearly all a hole: named in full, and any row read, without going through it."""
    hole = tmp_path / "hole"
    with hole.open("wb") as file:
        file.truncate(2**24)
    if hole.stat().st_blocks > 2**10:
        pytest.skip("this file system has no holes")
    chosen = _evaluation("xsub60")
    sparse(tmp_path / NAME, chosen, {16_486: FILMS[3], 8_000: FILMS[0]})
    assert (tmp_path / NAME).stat().st_size > 56_578 * 180_000
    source = RawFiles(tmp_path)
    found = READER.open(NAME, source)
    ids = [clip.id for clip in found.clips]
    assert ids == [s.name for s in [*chosen.train, *chosen.test]]
    assert sorted(ids) == [s.name for s in ntu_lists.samples(17)]
    assert ids[0] == "S001C001P001R001A001"
    assert {clip.subject for clip in found.clips[:3000]} == {"1", "2"}  # not by name
    assert Reader60().open(NAME, source).clips == found.clips
    np.testing.assert_array_equal(found.read(40_091 + 16_486)[:, 1], FILMS[3][1])
    np.testing.assert_array_equal(found.read(40_091 + 8_000)[:, 0], FILMS[0][0])
    with pytest.raises(DataError, match="nobody"):
        found.read(5)
    order = Evaluation("xsub60", *(sorted(side) for side in chosen[1:]))
    sparse(tmp_path / NAME, order, {})
    with pytest.raises(DataError, match=r"row 834 of y_train .*39,172 rows disagree"):
        READER.open(NAME, RawFiles(tmp_path))


def test_without_the_official_number_names_are_not_guessed() -> None:
    with pytest.raises(
        DataError, match=r"3 clips to train and 2 to test.*xsub60 .40,091 and 16,48"
    ):
        READER.open(NAME, Files({NAME: npz()}))


# --- PYSKL's pickles -------------------------------------------------------------------------

PKL = "ntu60_3danno.pkl"


def annotation(sample: Sample, one: np.ndarray, **changed: Any) -> dict[str, Any]:
    made = {
        "frame_dir": sample.name,
        "label": sample.action - 1,
        "keypoint": one,
        "total_frames": one.shape[1],
    }
    return {**made, **changed}


def content(samples: Sequence[Sample] = (*TRAIN, *TEST), dtype: str = "f2") -> dict[str, Any]:
    names = [sample.name for sample in samples]
    films = [FILMS[n % len(FILMS)].astype(dtype) for n in range(len(names))]
    return {
        "split": {"xsub_train": names[:3], "xsub_val": names[3:]},
        "annotations": [annotation(s, f) for s, f in zip(samples, films, strict=True)],
    }


def opened_pkl(data: bytes, reader: Reader = READER) -> Any:
    return reader.open(PKL, Files({PKL: data}))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_annotations_are_clips(protocol: int, dtype: str) -> None:
    found = opened_pkl(pickle.dumps(content(dtype=dtype), protocol))
    assert [clip.id for clip in found.clips] == [s.name for s in TRAIN + TEST]
    last = found.clips[4]
    assert (last.class_id, last.subject, last.camera, last.setup) == ("A2", "3", "1", "1")
    for number in (3, 1, 0, 4, 2):
        clip = found.read(number)
        one = FILMS[number].astype(dtype).astype(np.float32)
        assert clip.shape == (one.shape[1], 2, 25, 3)
        assert clip.dtype == np.float32
        np.testing.assert_array_equal(clip.swapaxes(0, 1)[: len(one)], one)
        assert not clip[:, len(one) :].any()


def test_numbers_of_numpy_and_a_missing_split_will_do() -> None:
    one = content()["annotations"][0]
    one |= {"label": np.int64(one["label"]), "total_frames": np.int32(one["total_frames"])}
    for protocol in (2, 4):
        assert len(opened_pkl(pickle.dumps({"annotations": [one]}, protocol)).clips) == 1


def test_each_edition_takes_its_own_annotations() -> None:
    gone = ntu_lists.parse(sorted(ntu_lists.missing())[0])
    assert gone is not None
    data = pickle.dumps(content([TRAIN[0], Sample(18, 1, 41, 1, 61), gone, TEST[0]]), 2)
    assert [c.class_id for c in opened_pkl(data).clips] == ["A5", "A61", "A7"]
    old = opened_pkl(data, Reader60())
    assert [c.class_id for c in old.clips] == ["A5", "A7"]
    assert len(old.read(1)) == FILMS[3].shape[1]


def image_joints(bodies: int = 1) -> np.ndarray:
    return np.ones((bodies, 5, 17, 2), np.float16)


ONE = TRAIN[0]
FAULTS: dict[str, tuple[Any, str]] = {
    "no dict": ([annotation(ONE, FILMS[0])], "no list 'annotations'"),
    "no annotations": ({"split": {}}, "no list 'annotations'"),
    "an empty list": ({"annotations": []}, "no list 'annotations'"),
    "an annotation of None": ({"annotations": [None]}, "annotation 0 is no dict"),
    "a label": ([annotation(ONE, FILMS[0], label=5)], "should have the label 4, but has 5"),
    "a label from 1": ([annotation(ONE, FILMS[0], label=ONE.action)], "should have the label 4"),
    "a label that is true": ([annotation(TRAIN[2], FILMS[0], label=False)], "no such number"),
    "a huge label": ([annotation(ONE, FILMS[0], label=2**600)], "no such number"),
    "an unknown name": (
        [annotation(ONE, FILMS[0], frame_dir="S099C001P001R001A001")],
        "names 'S099C001P001R001A001', which is no sample",
    ),
    "a path": ([annotation(ONE, FILMS[0], frame_dir=f"a/{ONE.name}")], "which is no sample"),
    "no name": ([annotation(ONE, FILMS[0], frame_dir=None)], "names nothing"),
    "a name twice": ([annotation(ONE, FILMS[0])] * 2, f"holds {ONE.name} twice"),
    "joints of images": ([annotation(ONE, image_joints())], "17 joints found in images"),
    "joints of images, two bodies": ([annotation(ONE, image_joints(2))], "17 joints found"),
    "no joints": ([annotation(ONE, FILMS[0], keypoint=None)], "has no joints"),
    "joints as a list": ([annotation(ONE, FILMS[0], keypoint=[1.0])], "has no joints"),
    "whole numbers": ([annotation(ONE, FILMS[0].astype("i2"))], "has no joints"),
    "one clip's shape": ([annotation(ONE, FILMS[0], keypoint=FILMS[0][0])], "has no joints"),
    "other joints": ([annotation(ONE, np.ones((1, 4, 20, 3), "f4"))], "has the shape"),
    "frames": ([annotation(ONE, FILMS[0], total_frames=5)], "'total_frames'"),
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", FAULTS)
def test_a_pickle_that_makes_no_sense_is_refused(name: str, protocol: int) -> None:
    made, told = FAULTS[name]
    if type(made) is list and name != "no dict":
        made = {"annotations": made}
    files = Files({PKL: pickle.dumps(made, protocol)})
    with pytest.raises(DataError) as caught:
        READER.open(PKL, files)
    assert told in caught.value.what
    assert caught.value.hint
    assert files.opened.closed


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    sentinel = tmp_path / "run"

    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {sentinel}",)

    made = content()
    made["annotations"].append(Attack())
    data = pickle.dumps(made, 2)
    pickle.loads(data)
    assert sentinel.exists(), "it is no attack"
    sentinel.unlink()
    with pytest.raises(DataError, match=r"it asks for 'posix.system'.*nothing was run"):
        opened_pkl(data)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (film(4, 3), "3 bodies"),
        (film(4, 0), "0 bodies"),
        (film(0, 1), "0 frames"),
        (film(1001, 1), "1001 frames"),
        (np.full((1, 4, 25, 3), np.nan, "f2"), "not finite"),
        (np.full((1, 4, 25, 3), 51, "f2"), "51 m"),
        (np.zeros((2, 4, 25, 3), "f2"), "nobody"),
    ],
)
def test_an_annotation_that_is_no_clip_is_refused_alone(one: np.ndarray, told: str) -> None:
    found = opened_pkl(
        pickle.dumps({"annotations": [annotation(ONE, one), annotation(TEST[0], FILMS[0])]}, 4)
    )
    with pytest.raises(DataError, match=told):
        found.read(0)
    assert len(found.read(1)) == 4


HONEST = [pickle.dumps(content([ONE, TEST[0]]), protocol) for protocol in range(6)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(HONEST),
    st.lists(st.integers(0, 2**31), min_size=1, max_size=3),
    st.binary(max_size=6) | st.just(b"\xff" * 8) | st.just(b"9" * 30),
    st.integers(0, 8),
    st.sampled_from(["change", "cut", "repeat"]),
)
def test_a_mutated_pickle_gives_data_errors(
    good: bytes, places: list[int], new: bytes, cut: int, how: str
) -> None:
    data = bytearray(good)
    for at in places:
        place = min(at % 1200 if at % 3 else len(data) - 1 - at % 500, len(data))
        if how == "cut":
            del data[max(0, place) :]
        elif how == "repeat":
            data[place:place] = data[place : place + 5 * (cut + 1)]
        else:
            data[place : place + cut] = new
    with limited(), suppress(MemoryError):  # one wrong length asks for all memory there is
        all_data_errors(lambda: opened_pkl(bytes(data)))


def test_a_folder_with_a_pickle_is_imported(cli: Any, tmp_path: Path) -> None:
    raw, home = tmp_path / "raw", tmp_path / "home"
    raw.mkdir()
    (raw / PKL).write_bytes(pickle.dumps(content(), 2))
    facts = json.loads(cli("data", "import", "ntu-60", raw, "--json", home=home).stdout)
    assert facts["clips"] == 5
    about = json.loads((home / "data" / "ntu-60" / "dataset.json").read_text())
    assert sorted(about["clips"]["id"]) == sorted(s.name for s in TRAIN + TEST)
    images = {"annotations": [annotation(ONE, image_joints())]}
    (raw / "ntu60_hrnet.pkl").write_bytes(pickle.dumps(images, 2))
    said = cli("data", "import", "ntu-60", raw, "--force", home=home, check=2).stderr
    assert "ntu60_hrnet.pkl: it holds 17 joints found in images" in " ".join(said.split())
