"""Data of one's own: what a folder may hold, what is refused, and the way from there to a run."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.paths import ROOT
from zsar_bench.catalogue.catalogue import load
from zsar_bench.catalogue.custom import read_description
from zsar_bench.common.classes import ActionClass
from zsar_bench.contracts import ClipName
from zsar_bench.data.clips.store import open_dataset
from zsar_bench.data.custom.clips import read_clip
from zsar_bench.data.custom.importing import read_own
from zsar_bench.data.custom.reader import Reader, read_manifest
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.errors import DataError, UserError
from zsar_bench.rawfiles.archives import RawFiles

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

PAGE = (ROOT / "docs" / "own-data.md").read_text("utf-8")
#: A file's name before its block, if it has one; the language; the block.
BLOCKS = re.findall(r"(?:^`([\w./-]+)`:\n\n)?^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)

ABOUT = 'name = "mine"\ntitle = "two moves"\n'
LAYOUT = """
joints = ["hips", "left_hip", "right_hip", "head"]
parents = [0, 0, 0, 0]
parts = ["torso", "legs", "legs", "head"]
mirror = [0, 2, 1, 3]
left_hip = 1
right_hip = 2
"""
SHAPE = (2, 4, 3)
CLASSES = (ActionClass("up", "rise", "", ""), ActionClass("down", "sink", "", ""))
MANIFEST = b"clip,class,subject\nclips/a.npy,up,p1\nclips/b.csv,down,p2\n"


def numbers(frames: int = 5, bodies: int = 0, seed: int = 0) -> np.ndarray:
    """(T, V, 3), or with bodies (T, B, V, 3): plausible joints, every number different."""
    shape = (frames, bodies, *SHAPE[1:]) if bodies else (frames, *SHAPE[1:])
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def npy(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def comma(clip: np.ndarray, header: str = "") -> bytes:
    out = io.StringIO(header)
    out.seek(0, io.SEEK_END)
    csv.writer(out).writerows(clip.reshape(len(clip), -1).tolist())
    return out.getvalue().encode()


def jason(frames: Any, **more: Any) -> bytes:
    return json.dumps({"frames": frames, **more}).encode()


def write(folder: Path, **files: str | bytes | None) -> Path:
    """A data set of two clips; ``dataset_toml="..."`` writes another dataset.toml, None leaves
    it out."""
    given: dict[str, str | bytes | None] = {
        "dataset.toml": ABOUT,
        "layout.toml": LAYOUT,
        "manifest.csv": MANIFEST,
        "clips/a.npy": npy(numbers(seed=1)),
        "clips/b.csv": comma(numbers(seed=2)),
    }
    given |= {name.replace("__", "/").replace("_", "."): data for name, data in files.items()}
    for name, data in given.items():
        if data is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


# --- Clips -----------------------------------------------------------------------------------

ONE = numbers(bodies=1)
TWO = numbers(bodies=2)


@pytest.mark.parametrize(
    ("file", "data", "expected"),
    [
        ("a.npy", npy(ONE), ONE),
        ("a.npy", npy(ONE[:, 0]), ONE),
        ("a.npy", npy(TWO), TWO),
        ("a.npy", npy(np.asfortranarray(TWO)), TWO),
        ("a.npy", npy(TWO.astype(">f8")), TWO),
        ("a.npy", npy(TWO.astype(np.float16)), TWO.astype(np.float16)),
        ("a.csv", comma(ONE), ONE),
        ("a.csv", comma(TWO), TWO),
        ("a.csv", comma(ONE, 'hips_x,"hips, y"\n'), ONE),
        ("a.csv", b"\xef\xbb\xbf\n" + comma(ONE).replace(b",", b" , ") + b"\n\n", ONE),
        ("a.json", jason(ONE[:, 0].tolist()), ONE),
        ("a.json", jason(TWO.tolist(), fps=30, by={"name": ["a"]}), TWO),
        ("a.json", b"\xef\xbb\xbf" + jason(ONE.tolist()), ONE),
    ],
)
def test_a_clip_is_read_as_it_was_written(file: str, data: bytes, expected: np.ndarray) -> None:
    clip = read_clip(file, data, SHAPE)
    assert clip.dtype == np.float32
    assert clip.shape == (5, *SHAPE)
    np.testing.assert_array_equal(clip[:, : expected.shape[1]], expected.astype(np.float32))
    assert not clip[:, expected.shape[1] :].any()


def test_every_version_of_npy_is_read() -> None:
    for version in (1, 0), (2, 0), (3, 0):
        out = io.BytesIO()
        np.lib.format.write_array(out, ONE, version)
        np.testing.assert_array_equal(
            read_clip("a.npy", out.getvalue(), SHAPE)[:, :1], ONE.astype(np.float32)
        )


def header(text: str, values: bytes = b"") -> bytes:
    """A .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + values


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 4, 3), }\n"
PLAIN = npy(ONE)
LINE = ",".join("1" * 11)  # eleven numbers, one too few


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("a.npy", b"", "empty"),
        ("a.npy", b"PK\x03\x04 and so on", "not a .npy"),
        ("a.npy", PLAIN[:40], "header is damaged"),
        ("a.npy", PLAIN[:-1], "needs 480"),
        ("a.npy", PLAIN + b"x", "needs 480"),
        ("a.npy", header(HUGE), "needs 9599999999904"),
        ("a.npy", header("[" * 9000), "no plain array"),
        ("a.npy", npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "no plain array"),
        ("a.npy", npy(np.zeros(3, [("a", "f4")])), "no plain array"),
        ("a.npy", npy((ONE * 1000).astype(np.int16)), "<i2 values"),
        ("a.npy", npy(ONE[0, 0]), r"its shape is (4, 3), not (frames, 4, 3)"),
        ("a.npy", npy(ONE[:0]), "its shape is (0, 1, 4, 3)"),
        ("a.npy", npy(numbers(bodies=3)), "(frames, 1 to 2, 4, 3)"),
        ("a.npy", npy(ONE[:, :, :3]), "its shape is (5, 1, 3, 3)"),
        ("a.npy", npy(np.where(ONE[0, 0, 0, 0] == ONE, np.nan, ONE)), "not finite"),
        ("a.npy", npy(ONE * 1e300), "no metres"),
        ("a.npy", npy(ONE * 1000), "no metres"),
        ("a.npy", npy(np.zeros_like(ONE)), "same place"),
        ("a.npy", npy(np.zeros((100_001, 4, 3), np.float16)), "100001 frames"),
        ("a.csv", b"x,y,z\n", "no line of numbers"),
        ("a.csv", f"{LINE}\n".encode(), "line 1: 11 columns, not 12"),
        ("a.csv", comma(ONE) + LINE.encode(), "line 6: 11 columns, not 12"),
        ("a.csv", comma(ONE) + comma(TWO), "line 6: 24 columns, not 12"),
        ("a.csv", comma(ONE).replace(b",", b";"), "columns, not 12"),
        ("a.csv", comma(ONE) + f"{LINE},".encode(), "line 6, column 12: '' is no finite"),
        ("a.csv", comma(ONE) + f"{LINE},nan".encode(), "line 6, column 12: 'nan'"),
        ("a.csv", comma(ONE) + f"{LINE},1_0".encode(), "line 6, column 12: '1_0'"),
        ("a.csv", comma(ONE) + f"{LINE},{'9' * 9999}".encode(), "line 6, column 12"),
        ("a.csv", comma(ONE) + f'{LINE},"1'.encode(), "not CSV"),
        ("a.csv", comma(ONE).decode().encode("utf-16"), "not UTF-8"),
        ("a.json", jason([]), "no list 'frames'"),
        ("a.json", b"[1, 2]", "no list 'frames'"),
        ("a.json", jason(ONE.tolist())[:-5], "not valid JSON"),
        ("a.json", b"[" * 100_000, "more lists than its numbers"),
        ("a.json", b'{"frames": ' + b"[[]," * 100_000, "more lists than its numbers"),
        ("a.json", jason([[[1.0, 2.0, "3"]] * 4]), "frame 0 holds other things"),
        ("a.json", jason([[[1.0, 2.0, True]] * 4]), "frame 0 holds other things"),
        ("a.json", jason([[[1.0, 2.0, None]] * 4]), "frame 0 holds other things"),
        ("a.json", jason([[[1.0, 2.0, 10**400]] * 4]), "frame 0 is not a regular array"),
        ("a.json", b'{"frames": [[[' + b"9" * 9999 + b"]]]}", "not valid JSON"),
        ("a.json", jason([[[1.0, 2.0]] * 3 + [[1.0]]]), "frame 0 is not a regular array"),
        ("a.json", jason([ONE[0, 0].tolist(), ONE[1].tolist()]), "frame 1 has the shape"),
        ("a.json", jason([[[[[[1.0]]]]]]), "frame 0 holds other things"),
        ("a.json", jason([1.0, 2.0]), "its shape is (2,)"),
        ("a.mat", b"MATLAB", "none of .npy, .csv, .json"),
    ],
)
def test_what_is_no_clip_is_refused_with_the_reason(file: str, data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        read_clip(file, data, SHAPE)


def test_a_clip_that_absent_bodies_would_blow_up_is_refused() -> None:
    clip = np.zeros((90_000, 1, 200, 3), np.float16)
    clip[:, :, 0] = 1
    with pytest.raises(DataError, match="more than 512 MiB"):
        read_clip("a.npy", npy(clip), (8, 200, 3))


# --- The manifest ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_manifest_is_read_as_it_was_written(start: bytes, end: bytes) -> None:
    lines = [b"class, clip,setup,subject,id,camera", b'up,"a, b/./c.npy",s1, p1,one,c1', b"", b""]
    lines.insert(3, b"down,x.json,s1,p2,two,c2")
    rows, classes = read_manifest(start + end.join(lines), CLASSES)
    assert [(row.line, row.file) for row in rows] == [(2, "a, b/c.npy"), (4, "x.json")]
    assert [row.clip for row in rows] == [
        ClipName("one", "up", "p1", "c1", "s1"),
        ClipName("two", "down", "p2", "c2", "s1"),
    ]
    assert classes == CLASSES


def test_a_manifest_may_name_the_classes_and_leave_out_the_rest() -> None:
    data = b"clip,class,subject\nb/x.npy,sink,\na/x.npy,rise,\nc.npy,sink,\n"
    rows, classes = read_manifest(data, ())
    assert [c.id for c in classes] == [c.name for c in classes] == ["sink", "rise"]
    assert [row.clip.id for row in rows] == ["b/x", "a/x", "c"]
    assert {(row.clip.subject, row.clip.camera, row.clip.setup) for row in rows} == {("", "", "")}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "manifest.csv is empty"),
        ("clip,class,subject", "lists no clip"),
        ("clip;class;subject", "line 1: columns are separated by commas, not by ';'"),
        ("clip,klass,subject", r"line 1: there is no column 'klass'.\nDid you mean class"),
        ("clip,class", "line 1: the column 'subject' is missing"),
        ("clip,class,subject,clip", "line 1: the column 'clip' is there twice"),
        ("clip,class,subject\na.npy,up", "line 2: 2 columns, but the header has 3"),
        ("clip,class,subject\n\na.npy,upp,p", r"line 3, column 'class': .*'upp'.*\n.*mean up\?"),
        ("clip,class,subject\na.npy,rise,p", r"column 'class': .*'rise'.*\nDid you mean up\?"),
        ("clip,class,subject\na.npy,,p", "line 2, column 'class': empty"),
        ("clip,class,subject\na.npy,up,the boss", "column 'subject': 'the boss' is not 1 to 40"),
        (f"clip,class,subject\na.npy,up,{'p' * 41}", "column 'subject'"),
        ("clip,class,subject\n,up,p", "column 'clip': '' names no file"),
        ("clip,class,subject\n/etc/a.npy,up,p", "is an absolute path"),
        ("clip,class,subject\nC:/a.npy,up,p", "is an absolute path"),
        ("clip,class,subject\na\\b.npy,up,p", "must be written with /"),
        ("clip,class,subject\na/../../b.npy,up,p", "leads out of the folder"),
        ("clip,class,subject\na\x1b[31m.npy,up,p", "cannot be shown"),
        ("clip,class,subject\na.mat,up,p", "does not end in .npy, .csv or .json"),
        (f"clip,class,subject\n{'a' * 200}.npy,up,p", "is too long"),
        ("clip,class,subject\na.npy,up,p\n./a.npy,up,p", "line 3, column 'clip': .* in line 2"),
        ("clip,class,subject\na.npy,up,p\na.csv,up,p", "line 3, column 'id': 'a' .* in line 2"),
        ("clip,class,subject\na.npy,up,p\nb.npy,up,", "line 3, column 'subject': empty, unlike"),
        ('clip,class,subject\na.npy,up,"p', "line 2: this is not CSV"),
        ("clip,class,subject\na.npy,up,\udcff", "line 2: this is not UTF-8"),
    ],
)
def test_a_faulty_manifest_is_refused_with_line_and_column(lines: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(lines.encode("utf-8", "surrogateescape"), CLASSES)


def test_names_that_are_no_ids_need_a_list_of_classes() -> None:
    with pytest.raises(DataError, match=r"'sit down' is not .*\n.*classes\.toml"):
        read_manifest(b"clip,class,subject\na.npy,sit down,p", ())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("layout.toml", '"torso"', "0x" + "f" * 5000),
        ("layout.toml", "[0, 0, 0, 0]", f"[0, 0, 0, {'[' * 3000}]"),
        ("dataset.toml", '"mine"', "9" * 5000),
    ],
)
def test_numbers_and_lists_without_end_are_no_toml(name: str, old: str, new: str) -> None:
    files = {"dataset.toml": ABOUT, "layout.toml": LAYOUT}
    assert old in files[name]
    files[name] = files[name].replace(old, new, 1)
    with pytest.raises(DataError, match=f"{name} is not valid TOML"):
        read_description(files, lambda n: files[n].encode())


# --- Fuzz ------------------------------------------------------------------------------------


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Random bytes, and this file with flips, cuts, repeats and long numbers in it."""
    place = st.integers(0, len(data))
    flip = st.tuples(place, st.binary(min_size=1, max_size=4)).map(
        lambda p: data[: p[0]] + p[1] + data[p[0] + len(p[1]) :]
    )
    cut = st.tuples(place, place).map(lambda p: data[: min(p)] + data[max(p) :])
    repeat = st.tuples(place, place, st.integers(2, 50)).map(
        lambda p: data[: max(p[:2])] + data[min(p[:2]) : max(p[:2])] * p[2] + data[max(p[:2]) :]
    )
    long = st.tuples(place, st.sampled_from([b"9" * 400, b"-1e999", b"9" * 5000, b"[" * 2000]))
    return st.one_of(
        st.binary(max_size=200),
        flip,
        cut,
        repeat,
        long.map(lambda p: data[: p[0]] + p[1] + data[p[0] :]),
    )


FILES = {
    "a.npy": npy(numbers(frames=2, bodies=2)),
    "a.csv": comma(numbers(frames=2), "a,b\n"),
    "a.json": jason(numbers(frames=2).round(2).tolist()),
}


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_clip_is_refused_or_still_a_clip(file: str, data: st.DataObject) -> None:
    try:
        clip = read_clip(file, data.draw(damaged(FILES[file])), SHAPE)
    except DataError:
        return
    assert clip.shape[1:] == SHAPE
    assert np.isfinite(clip).all()


@settings(max_examples=300, deadline=None)
@given(damaged(MANIFEST), st.sampled_from([(), CLASSES]))
def test_a_damaged_manifest_is_refused_or_still_one(
    data: bytes, classes: tuple[ActionClass, ...]
) -> None:
    try:
        rows, found = read_manifest(data, classes)
    except DataError:
        return
    assert rows
    for row in rows:
        assert row.clip.class_id in {c.id for c in found}
        assert Path("/x", row.file).resolve().is_relative_to("/x")


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["dataset.toml", "layout.toml", "classes.toml"]))
def test_a_damaged_description_is_refused_or_still_one(data: st.DataObject, name: str) -> None:
    listed = '[[class]]\nid = "up"\nname = "rise"\n[[class]]\nid = "down"\nname = "sink"\n'
    files = {"dataset.toml": ABOUT + "bodies = 2\n", "layout.toml": LAYOUT, "classes.toml": listed}
    files = {n: text.encode() for n, text in files.items()}
    files[name] = data.draw(damaged(files[name]))
    try:
        found = read_description(files, files.__getitem__)
    except DataError:
        return
    assert found.shape[1] == len(found.layout["parents"])


# --- The folder ------------------------------------------------------------------------------


def test_the_reader_lists_and_reads_what_the_manifest_says(tmp_path: Path) -> None:
    source = RawFiles(write(tmp_path, dataset_toml=ABOUT + "bodies = 2\n"))
    reader = Reader()
    assert [name for name in source.names if reader.holds(name)] == ["manifest.csv"]
    opened = reader.open("manifest.csv", source)
    assert [clip.id for clip in opened.clips] == ["clips/a", "clips/b"]
    for number, seed in enumerate((1, 2)):
        clip = opened.read(number)
        assert clip.shape == (5, 2, 4, 3)
        np.testing.assert_array_equal(clip[:, 0], numbers(seed=seed).astype(np.float32))


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = RawFiles(write(tmp_path, clips__a_npy=b"junk"))
    opened = Reader().open("manifest.csv", source)
    with pytest.raises(DataError, match=r"clips/a\.npy: it is not a \.npy file"):
        opened.read(0)
    (tmp_path / "clips" / "b.csv").unlink()
    with pytest.raises(DataError, match=r"line 3, column 'clip': there is no file 'clips/b\.csv'"):
        Reader().open("manifest.csv", RawFiles(tmp_path))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"layout_toml": None}, "There is no layout.toml"),
        ({"manifest_csv": None}, "There is no manifest.csv"),
        ({"dataset_toml": "name = "}, "dataset.toml is not valid TOML"),
        ({"dataset_toml": 'name = "a"'}, "dataset.toml: the field 'title' is missing"),
        ({"dataset_toml": ABOUT + 'licens = "free"'}, "'licens'.\nDid you mean licence"),
        ({"dataset_toml": ABOUT + "fps = 0"}, "'fps' must lie between"),
        ({"dataset_toml": ABOUT + "fps = nan"}, "'fps' must lie between"),
        ({"dataset_toml": ABOUT + "bodies = true"}, "'bodies' must be a whole number"),
        ({"dataset_toml": 'name = "../x"\ntitle = "t"'}, "the 'name' '../x' must match"),
        ({"dataset_toml": ABOUT + '[samples]\nrule = "xsup"'}, "samples.rule must be one of"),
        (
            {"dataset_toml": ABOUT + '[samples]\nrule = "xsub"\ntrain = ["p3"]'},
            "the subject 'p3', whom manifest.csv does not have",
        ),
        ({"classes_toml": '[[class]]\nid = "up"\nname = "a"'}, "at least two"),
        ({"classes_toml": '[[class]]\nid = "up"\n' * 2}, "the 'name' of up is missing"),
        ({"classes_toml": '[[class]]\nid = "a"\nname = "b"\n' * 2}, "is there already"),
        ({"classes_toml": "class = [1, 2]"}, "class number 1: this is no table"),
        ({"layout_toml": LAYOUT.replace("[0, 0, 0, 0]", "[1, 0, 0, 0]")}, "exactly one joint"),
        ({"layout_toml": LAYOUT.replace("[0, 0, 0, 0]", "[0, 2, 1, 0]")}, "circle at 'left_hip'"),
        ({"layout_toml": LAYOUT.replace("[0, 0, 0, 0]", "[0, 0, 0]")}, "one entry for each"),
        ({"layout_toml": LAYOUT.replace("[0, 0, 0, 0]", "[0, 0, 0, 4]")}, "from 0 to 3"),
        ({"layout_toml": LAYOUT.replace("[0, 2, 1, 3]", "[0, 2, 3, 1]")}, "not the other way"),
        ({"layout_toml": LAYOUT.replace("left_hip = 1", "left_hip = 3")}, "mirror each other"),
        ({"layout_toml": LAYOUT.replace('"head"]\nm', '"hat"]\nm')}, "'hat'"),
        ({"layout_toml": LAYOUT + "up = 3"}, "'up' must be"),
        ({"texts-a_toml": '[up]\nmotion = "u"'}, "there are no texts for down"),
    ],
)
def test_a_faulty_folder_is_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        read_own(write(tmp_path, **files))


def link_clip(folder: Path, outside: Path) -> None:
    (folder / "clips" / "a.npy").unlink()
    (folder / "clips" / "a.npy").symlink_to(outside / "a.npy")


def link_layout(folder: Path, outside: Path) -> None:
    (folder / "layout.toml").unlink()
    (folder / "layout.toml").symlink_to(outside / "layout.toml")


@pytest.mark.parametrize("link", [link_clip, link_layout])
def test_links_that_leave_the_folder_are_refused(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    folder = write(tmp_path / "mine")
    (outside := tmp_path / "elsewhere").mkdir()
    (outside / "a.npy").write_bytes(npy(numbers()))
    (outside / "layout.toml").write_text(LAYOUT)
    read_own(folder)
    link(folder, outside)
    with pytest.raises(DataError, match="is a link that leaves the folder"):
        read_own(folder)


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    shutil.move(folder / "clips" / "a.npy", folder / "real.npy")
    (folder / "clips" / "a.npy").symlink_to("../real.npy")
    (tmp_path / "alias").symlink_to(folder)
    assert read_own(folder).clips == read_own(tmp_path / "alias").clips == 2


# --- In the store ----------------------------------------------------------------------------


@pytest.fixture
def home(toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, also for code called here; its plugins are discovered."""
    shutil.copytree(toy_process / "catalogue", tmp_path / "home" / "catalogue")
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_folder_becomes_a_data_set_and_goes_again(cli, home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", notes_txt="of my own")
    told = facts(cli("data", "import", "mine/", "--json", home=home))
    assert (told["dataset"], told["clips"], told["classes"], told["subjects"]) == (
        "mine",
        2,
        2,
        2,
    )
    assert told["aside"] == {"not in manifest.csv": {"count": 1, "first": ["notes.txt"]}}
    dataset = open_dataset("mine")
    assert dataset.clips["id"] == ["clips/a", "clips/b"]
    for clip, seed in zip(dataset.read_clips([0, 1]), (1, 2), strict=True):
        np.testing.assert_array_equal(clip[:, 0], numbers(seed=seed).astype(np.float32))
    shutil.move(folder, tmp_path / "moved")
    entry = load().find("datasets", "mine")
    assert (entry.plugin, entry.spec["title"], entry.spec["clips"]) == ("core", "two moves", 2)
    cli("data", "rm", "mine", home=home)
    assert "mine" not in load().names("datasets")
    assert not [*(home / "own").iterdir(), *(home / "data").iterdir()]


def test_importing_again_takes_over_what_changed(cli, home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")

    def again(*words: str) -> str:
        return cli("data", "import", "mine/", *words, home=home).stdout

    again()
    first = open_dataset("mine").digest
    write(folder, clips__a_npy=npy(numbers(seed=3)))
    assert "were not read" in again()
    assert open_dataset("mine").digest == first
    assert "Imported: mine" in again("--force")
    second = open_dataset("mine").digest
    assert second != first

    write(folder, clips__a_npy=npy(numbers(seed=3)), dataset_toml=ABOUT + "fps = 25\n")
    assert "were not read" in again()
    assert load().find("datasets", "mine").spec["fps"] == 25
    assert open_dataset("mine").digest == second

    write(folder, manifest_csv=MANIFEST.replace(b"b.csv,down", b"b.csv,along"))
    assert "Imported: mine" in again()
    assert {c["id"] for c in open_dataset("mine").about["classes"]} == {"up", "along"}
    classes = tomllib.loads((home / "own" / "mine" / "classes.toml").read_text())
    assert [c["id"] for c in classes["class"]] == ["up", "along"]


def test_an_import_that_fails_leaves_what_was_there(cli, home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    cli("data", "import", "mine/", home=home)
    before = open_dataset("mine").digest
    write(folder, clips__a_npy=b"junk", dataset_toml=ABOUT + "bodies = 2\n")
    done = cli("data", "import", "mine/", check=2, home=home)
    assert "clips/a.npy: it is not a .npy file" in done.stderr
    assert open_dataset("mine").digest == before
    assert load().find("datasets", "mine").spec["bodies"] == 1
    assert [path.name for path in (home / "own").iterdir()] == ["mine"]
    told = facts(cli("data", "import", "mine/", "--skip-bad", "--json", home=home))
    assert told["clips"] == 1
    assert load().find("datasets", "mine").spec["bodies"] == 2


@pytest.mark.parametrize(
    ("about", "words", "said"),
    [
        (ABOUT.replace("mine", "utd-mhad"), ("mine/",), "the plugin 'datasets' has the data set"),
        (ABOUT.replace("mine", "pku-mmd"), ("mine/",), "is taken"),
        (ABOUT, ("other", "mine/"), "describes 'mine', not 'other'"),
        (ABOUT, ("mine/", "--set", "a=1"), "no parameters to --set"),
        (ABOUT, ("mine/clips",), "holds no dataset.toml"),
        (ABOUT, ("x" * 5000,), "Unknown data set"),
    ],
)
def test_names_and_folders_that_do_not_fit(
    cli, home: Path, tmp_path: Path, about: str, words: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "mine", dataset_toml=about)
    done = cli("data", "import", *words, check=2, home=home)
    assert said in done.stderr.replace("\n", " ")
    assert not [*home.glob("own/*"), *home.glob("data/*")]


def test_a_damaged_description_breaks_itself_only(cli, home: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine")
    cli("data", "import", "mine", "mine/", home=home)
    (home / "own" / "mine" / "layout.toml").write_text("joints = ")
    found = load()
    assert "top1" in found.names("metrics")
    with pytest.raises(UserError, match="The data set 'mine' of plugin 'core' is broken"):
        found.find("datasets", "mine")
    cli("data", "import", "mine/", home=home)
    assert load().find("datasets", "mine").spec["clips"] == 2


def test_a_plugin_that_comes_later_with_the_name(cli, home: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine")
    cli("data", "import", "mine/", home=home)
    plugin = tmp_path / "later.py"
    plugin.write_text(
        "from pathlib import Path\nfrom zsar_bench.hookspecs import hookimpl\n"
        "from zsar_bench.specs import DatasetSpec\napi = 1\n"
        "class Reader:\n    identify = read = print\n"
        "@hookimpl\ndef register_datasets(registry):\n"
        "    spec = dict(title='later', classes=Path('c'), layout=Path('l'))\n"
        "    registry.dataset(DatasetSpec(name='mine', target=f'{__name__}:Reader', **spec))\n"
    )
    with pytest.raises(UserError, match=r"core and later\.\n.*zsar-bench data rm mine"):
        load([plugin]).find("datasets", "mine")
    done = cli("data", "import", "mine/", "--plugin", plugin, check=2, home=home)
    assert "the plugin 'later' has" in done.stderr


# --- Protocols and runs ----------------------------------------------------------------------

ON_MINE = """
id = "mine-1-1"
title = "one of two"
dataset = "mine"
family = "mine"
source = "this test"
seen = ["up"]
unseen = ["down"]
"""
DIVIDED = '[samples]\nrule = "xsub"\ntrain = ["p1"]\n'


def protocol(text: str) -> Protocol:
    Path("on-mine.toml").write_text(text)
    return find_protocol("on-mine.toml", load())


def test_a_protocol_may_leave_the_division_to_the_data_set(cli, home: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine")
    cli("data", "import", "mine/", home=home)
    with pytest.raises(UserError, match="the field 'samples' is missing"):
        protocol(ON_MINE)
    write(tmp_path / "mine", dataset_toml=ABOUT + DIVIDED)
    cli("data", "import", "mine/", home=home)
    left = protocol(ON_MINE)
    said = protocol(ON_MINE + DIVIDED)
    assert left.digest == said.digest
    (one,) = make_rounds(left, open_dataset("mine"))
    assert (one.train, one.test_unseen, one.test_seen) == ([0], [1], [])
    other = protocol(ON_MINE + DIVIDED.replace("p1", "p2"))
    assert other.train == ("p2",)


def test_the_division_serves_protocols_without_a_file(cli, home: Path, tmp_path: Path) -> None:
    more = b"c.npy,up,p2\nd.npy,down,p1\n"  # so that whichever is unseen has its clips
    clip = {f"{name}_npy": npy(numbers(seed=n)) for n, name in enumerate("cd", 3)}
    write(tmp_path / "mine", dataset_toml=ABOUT + DIVIDED, manifest_csv=MANIFEST + more, **clip)
    cli("data", "import", "mine/", home=home)
    found = find_protocol("mine/random:1@0", load())
    clips = open_dataset("mine").clips
    (one,) = make_rounds(found, open_dataset("mine"))
    assert {clips["subject"][n] for n in one.train} == {"p1"}
    assert {clips["class"][n] for n in one.train} == {*found.seen}
    assert {clips["subject"][n] for n in one.test_unseen} == {"p2"}
    assert {clips["class"][n] for n in one.test_unseen} == {*found.unseen}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has written all files of the page."""
    folder = tmp_path_factory.mktemp("page")
    for name, language, text in BLOCKS:
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        elif language == "python":
            subprocess.run([sys.executable, "-c", text], cwd=folder, check=True, timeout=60)
    return folder


def test_the_page_shows_the_beginning_of_its_manifest(followed: Path) -> None:
    (shown,) = [text for _, _, text in BLOCKS if text.startswith("clip,")]
    written = (followed / "my-data" / "manifest.csv").read_text().splitlines()
    assert len(written) == 1 + 48
    assert shown.replace(".npy", ".csv").splitlines() == written[:3]


def test_the_page_names_every_field(followed: Path) -> None:
    from zsar_bench.catalogue import custom
    from zsar_bench.data.custom import reader

    words = {*re.findall(r"`([\w.]+)", PAGE)}
    about = {*custom.REQUIRED, *custom.OPTIONAL} - {"samples"}
    assert "[samples]" in PAGE
    assert {*about, *reader.REQUIRED, *reader.OPTIONAL, *reader.SUFFIXES} <= words
    layout = tomllib.loads((followed / "my-data" / "layout.toml").read_text())
    assert set(layout) == set(custom.LAYOUT_FIELDS)


def test_the_page_does_what_it_says(cli, home: Path, followed: Path) -> None:
    commands = [
        line for _, lang, text in BLOCKS if lang == "sh" for line in text.splitlines() if line
    ]
    assert len(commands) >= 5
    said = {}
    for line in commands:
        program, *words = line.split()
        assert program == "zsar-bench"
        said[line] = cli(*words, cwd=followed, home=home).stdout
    told = " ".join(said.values())
    assert "Imported: my-data, 48 clips, 6 classes, 4 subjects" in told
    assert re.search(
        r"my-data .*six gestures, made up .*48 .*yes", said["zsar-bench list datasets"]
    )
    assert "16 clips of 2 unseen classes (4 seen), 4 subjects" in " ".join(told.split())
    runs = [json.loads(p.read_text()) for p in followed.rglob("run.json")]
    assert sorted((run["protocol"]["id"], run["method"]["name"]) for run in runs) == [
        ("my-4-2", "chance"),
        ("my-4-2", "eszsl"),
    ]
    for line in ("zsar-bench show my-data/folds:3", commands[-1]):
        assert "my-data/" in said[line]


def test_without_class_texts_the_class_list_serves(cli, home: Path, followed: Path) -> None:
    bare = shutil.copytree(followed / "my-data", home.parent / "bare")
    (bare / "texts-a.toml").unlink()
    cli("data", "import", bare, home=home)
    run = ("run", "chance", "--protocol", followed / "my-protocol.toml", "--dry-run", "--json")
    assert "--text-fields name" in cli(*run, check=2, home=home).stderr
    told = facts(cli(*run, "--text-fields", "name", home=home))
    assert "class-list" in json.dumps(told)
