"""Files that hold several clips, or need others beside them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsar_bench.contracts import ClipName, RawSource
from zsar_bench.data.clips.import_job import Listed, ShardMaker, from_files, list_files
from zsar_bench.errors import DataError
from zsar_bench.rawfiles.archives import LARGEST_FILE, RawFiles

CLASSES = '[[class]]\nid = "A"\nname = "a"\n[[class]]\nid = "B"\nname = "b"\n'
LAYOUT = 'joints = ["j", "k"]\n'


class Book:
    """``x.book``: a line a clip, class and first value; values are scaled by ``x.scale``."""

    opened = 0

    def holds(self, name: str) -> bool:
        return name.endswith(".book")

    def identify(self, name: str) -> ClipName | None:
        return ClipName(name, "A", "1") if name.endswith(".one") else None

    def read(self, data: bytes) -> Any:
        return _clip(float(data))

    def open(self, name: str, source: RawSource) -> Any:
        type(self).opened += 1
        with source.open(name) as file:
            lines = file.read().decode().split()
        scale = float(source.read(name.replace(".book", ".scale")))
        stem = Path(name).stem
        if not lines:
            raise DataError("it is empty")

        class Inside:
            def __init__(self) -> None:
                self.clips = [ClipName(f"{stem}-{n}", x[0], "") for n, x in enumerate(lines)]

            def read(self, number: int) -> Any:
                return _clip(scale * float(lines[number][1:]))

        return Inside()


def _clip(value: float) -> Any:
    return np.full((3, 1, 2, 3), value, np.float32)


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "classes.toml").write_text(CLASSES)
    (tmp_path / "layout.toml").write_text(LAYOUT)
    files = {name: str(tmp_path / f"{name}.toml") for name in ("classes", "layout")}
    return {**files, "title": "Books", "bodies": 1, "min_frames": 1}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "x.book").write_text("A1 B2 A3")
    (folder / "x.scale").write_text("10")
    (folder / "y.book").write_text("B4")
    (folder / "y.scale").write_text("100")
    (folder / "z.one").write_text("7")
    (folder / "notes.txt").write_text("no clip")
    return folder


def rows(listing: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(c.id, c.shard, c.part) for c in listing["clips"]]


def test_clips_of_containers_are_listed_beside_plain_files(spec: Any, raw: Path) -> None:
    listing = list_files(Book(), spec, [raw])  # type: ignore[arg-type]
    assert rows(listing) == [
        ("x-0", "A_-.npy", 0),
        ("x-2", "A_-.npy", 2),
        ("z.one", "A_1.npy", -1),
        ("x-1", "B_-.npy", 1),
        ("y-0", "B_-.npy", 0),
    ]
    assert listing["bad"] == []
    # What belongs to a container is not counted as "no clip".
    assert listing["aside"] == {"no clip": {"count": 1, "first": ["notes.txt"]}}


def test_every_clip_is_read_from_its_place(spec: Any, raw: Path, tmp_path: Path) -> None:
    clips = list_files(Book(), spec, [raw])["clips"]  # type: ignore[arg-type]
    Book.opened = 0
    made = ShardMaker(from_files(Book(), [raw]), spec, tmp_path, lambda n: None).make(clips)  # type: ignore[arg-type]
    assert Book.opened == 2  # each container once, however many shards its clips go to
    assert [row["shard"] for row in made] == ["A_-.npy", "A_1.npy", "B_-.npy"]
    assert np.load(tmp_path / "A_-.npy")[::3, 0, 0, 0].tolist() == [10, 30]
    assert np.load(tmp_path / "B_-.npy")[::3, 0, 0, 0].tolist() == [20, 400]


def stamps(spec: Any, raw: Path) -> dict[str, int]:
    listing = list_files(Book(), spec, [raw])  # type: ignore[arg-type]
    return {c.id: c.stamp for c in listing["clips"]}


def test_a_change_of_any_file_it_is_made_of_is_a_change(spec: Any, raw: Path) -> None:
    before = stamps(spec, raw)
    (raw / "x.scale").write_text("11.")
    after = stamps(spec, raw)
    assert {i for i in before if before[i] != after[i]} == {"x-0", "x-1", "x-2"}


def test_a_container_that_cannot_be_listed_is_bad(spec: Any, raw: Path) -> None:
    (raw / "y.scale").unlink()
    listing = list_files(Book(), spec, [raw])  # type: ignore[arg-type]
    assert listing["bad"] == [{"file": "y.book", "reason": "there is no file y.scale beside it"}]
    assert [c.id for c in listing["clips"]] == ["x-0", "x-2", "z.one", "x-1"]


def test_nothing_but_bad_containers(spec: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "x.book").write_text("")
    (folder / "x.scale").write_text("1")
    with pytest.raises(DataError, match=r"x\.book: it is empty"):
        list_files(Book(), spec, [folder])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_inside_an_archive(spec: Any, raw: Path, tmp_path: Path, kind: int) -> None:
    packed = tmp_path / "raw.zip"
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for path in sorted(raw.iterdir()):
            archive.write(path, path.name)
    clips = list_files(Book(), spec, [packed])["clips"]  # type: ignore[arg-type]
    taken = list(from_files(Book(), [packed])(clips))  # type: ignore[arg-type]
    assert [clip[0, 0, 0, 0] for clip in taken] == [10, 30, 7, 20, 400]  # type: ignore[index]


def test_large_files_inside_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsar_bench.rawfiles.archives.LARGEST_FILE", 10)
    assert LARGEST_FILE > 10
    packed = tmp_path / "raw.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("stored", b"0123456789abcdef")
        archive.writestr("deflated", b"0123456789abcdef", zipfile.ZIP_DEFLATED)
    files = RawFiles(packed)
    with files.open("stored") as file:
        file.seek(12)
        assert file.read() == b"cdef"
        file.seek(3)
        assert file.read(2) == b"34"
    with pytest.raises(DataError, match="compressed and larger"):
        files.open("deflated")
    with pytest.raises(DataError, match="no file missing"):
        files.open("missing")


def test_an_entry_without_a_name_is_no_file(tmp_path: Path) -> None:
    packed = tmp_path / "raw.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", b"first")
        archive.writestr("b/", b"")
    data = packed.read_bytes()
    central = data.index(b"PK\x01\x02")  # of a: its name becomes empty, its extra field "a"
    fields = (0).to_bytes(2, "little") + (1).to_bytes(2, "little")
    packed.write_bytes(data[: central + 28] + fields + data[central + 32 :])
    assert RawFiles(packed).names == []


@pytest.mark.parametrize(
    ("at", "new", "why"),
    [
        (4, b"\xff", "damaged"),  # properties of LZMA
        (9, b"\xff" * 6, "damaged"),  # its data
        (5, b"\xff" * 4, "dictionary"),  # four gigabytes, to unpack a few bytes
    ],
)
def test_a_damaged_lzma_entry(at: int, new: bytes, why: str, tmp_path: Path) -> None:
    packed = tmp_path / "raw.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"0123")
    assert RawFiles(packed).read("a") == b"0123"
    data = bytearray(packed.read_bytes())
    start = 30 + 1  # behind the entry's header and name
    data[start + at : start + at + len(new)] = new
    packed.write_bytes(data)
    with pytest.raises(DataError, match=why):
        RawFiles(packed).read("a")


def test_a_container_by_itself(spec: Any, raw: Path) -> None:
    """The file that is named stands for itself, whatever lies beside it; so it must be enough."""

    class Alone(Book):
        def open(self, name: str, source: RawSource) -> Any:
            assert list(source.names) == ["y.book"]
            return super().open(name, _With(source, {"y.scale": b"100"}))

    clips = list_files(Alone(), spec, [raw / "y.book"])["clips"]  # type: ignore[arg-type]
    assert [c.id for c in clips] == ["y-0"]
    (clip,) = from_files(Alone(), [raw / "y.book"])(clips)  # type: ignore[arg-type]
    assert clip[0, 0, 0, 0] == 400  # type: ignore[index]


class _With:
    """A source and some files more."""

    def __init__(self, source: RawSource, more: dict[str, bytes]) -> None:
        self.source, self.more = source, more

    def open(self, name: str) -> Any:
        return self.source.open(name)

    def read(self, name: str) -> bytes:
        return self.more[name]


def test_a_listed_clip_survives_json() -> None:
    clip = Listed("i", "A", "", "", "", "A_-.npy", 0, "x.book", "x.book", 5, 6, 2)
    assert Listed(*list(clip)) == clip
