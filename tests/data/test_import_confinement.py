"""Readers run confined: what they may reach, what ends them, and what is believed of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsar_bench.data.clips import import_pool
from zsar_bench.data.clips.import_answers import checked_listing, named, take_shards
from zsar_bench.data.clips.import_job import Listed
from zsar_bench.errors import DataError, RunFailed
from zsar_bench.rawfiles.archives import RawFiles
from zsar_bench.sandbox.confinement.confine import support

confined = pytest.mark.skipif(not support().files, reason="this kernel has no Landlock")

#: A clip of ones: what its file says was done. Of twos: it was refused.
NOSY = """
import os, signal, socket
import numpy as np
from zsar_bench.contracts import ClipName
from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import DatasetSpec
from zsar_datasets import DATA

api = 1
folder = DATA / "utd-mhad"


def connect(port):
    with socket.create_connection(("127.0.0.1", int(port)), 5):
        pass


def write(path):
    with open(path, "w") as file:
        file.write("mine")


DO = {
    "read": lambda path: open(path, "rb").read(),
    "write": write,
    "list": os.listdir,
    "connect": connect,
    "die": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "take": lambda size: bytearray(int(size)),
}


class Reader:
    def identify(self, name):
        return ClipName(name.removesuffix(".clip"), "a1", "1") if name.endswith(".clip") else None

    def read(self, data):
        what, _, about = data.decode().partition(" ")
        try:
            DO[what](about)
            outcome = 1
        except OSError:
            outcome = 2
        return np.full((1, 1, 20, 3), outcome, np.float32)


@hookimpl
def register_datasets(registry):
    registry.dataset(DatasetSpec(name="nosy", target="zsar_plugin_nosy:Reader", title="Nosy",
        classes=folder / "classes.toml", layout=folder / "layout.toml", min_frames=1))
"""

Import = Callable[..., tuple[str, dict[str, int]]]


@pytest.fixture
def imported(cli: Any, tmp_path: Path) -> Import:
    """Imports files that say what their reader is to do; what was said, clip -> outcome."""
    home, raw = tmp_path / "home", tmp_path / "raw"
    plugin = tmp_path / "nosy.py"
    plugin.write_text(NOSY)
    raw.mkdir()
    shutil.copytree(cli.home / "catalogue", home / "catalogue")  # asking all plugins takes seconds

    def run(files: dict[str, str], *words: object, check: int = 0) -> tuple[str, dict[str, int]]:
        for name, text in files.items():
            (raw / f"{name}.clip").write_text(text)
        call = ("data", "import", "nosy", raw, "--plugin", plugin, "--jobs", 1, *words)
        done = cli(*call, home=home, check=check)
        if check:
            return " ".join(done.stderr.split()), {}
        about = json.loads((home / "data" / "nosy" / "dataset.json").read_text())["clips"]
        (shard,) = set(about["shard"])
        values = np.load(home / "data" / "nosy" / "shards" / shard)[:, 0, 0, 0]
        return done.stderr, dict(zip(about["id"], values.astype(int).tolist(), strict=True))

    return run


@confined
def test_a_reader_reaches_its_raw_files_and_nothing_else(imported: Import, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    store = tmp_path / "home" / "data"
    (store / "other").mkdir(parents=True)
    (store / "other" / "dataset.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _, outcome = imported(
            {
                "its-own": f"read {tmp_path / 'raw' / 'its-own.clip'}",
                "neighbours": f"read {tmp_path / 'raw' / 'network.clip'}",
                "other-file": f"read {secret}",
                "other-folder": f"list {tmp_path}",
                "store": f"read {store / 'other' / 'dataset.json'}",
                "journal": f"write {store / '.nosy.import' / 'journal.jsonl'}",
                "shards": f"write {store / '.nosy.import' / 'store' / 'shards' / 'x.npy'}",
                "raw": f"write {tmp_path / 'raw' / 'more'}",
                "temporary": "write /tmp/zsar-bench-nosy",
                "network": f"connect {port}",
            }
        )
    allowed = {name for name, value in outcome.items() if value == 1}
    assert allowed == {"its-own", "neighbours"}
    assert set(outcome.values()) == {1, 2}


@confined
def test_a_link_out_of_the_folder_is_not_followed(imported: Import, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("read /dev/null")
    (tmp_path / "raw" / "linked.clip").symlink_to(secret)
    said, _ = imported({"good": "read /dev/null"}, check=2)
    assert "linked.clip: it is a link that leaves the folder" in said
    inside = tmp_path / "raw" / "linked.clip"
    inside.unlink()
    inside.symlink_to("good.clip")
    _, outcome = imported({})
    assert outcome == {"good": 1, "linked": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
def test_what_ends_a_reader_is_an_error_that_names_the_file(imported: Import) -> None:
    said, _ = imported({"big": f"take {1 << 30}"}, "--memory-limit", "600M", check=2)
    assert "big.clip: reading it takes more memory than this import may use" in said
    assert "--memory-limit" in said
    _, outcome = imported({}, "--memory-limit", "2G")
    assert outcome == {"big": 1}
    said, _ = imported({"bad": "die"}, "--force", check=2)
    assert "bad.clip: reading it ended the worker: the worker was killed by SIGSEGV" in said
    said, _ = imported({}, "--force", "--memory-limit", "5 apples", check=2)
    assert "'5 apples' is not a size" in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
def test_a_pickle_that_takes_gigabytes_is_named(cli: Any, tmp_path: Path) -> None:
    """Nine bytes: the memo's place 2^27, for which Python fills two gibibytes."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "ntu60_3danno.pkl").write_bytes(b"\x80\x02Nr" + struct.pack("<I", 2**27) + b".")
    words = ("data", "import", "ntu-60", raw, "--memory-limit", "1G")
    said = cli(*words, home=tmp_path / "home", check=2).stderr
    assert "ntu60_3danno.pkl: reading it takes more memory than this import" in " ".join(
        said.split()
    )


# --- What is believed ------------------------------------------------------------------------

CLIP = Listed("a", "c1", "1", "", "", "c1_1.npy", 0, "a.npy", "a.npy", 9, 1)
OTHER = CLIP._replace(id="b")
LISTING: dict[str, Any] = {
    "clips": [list(CLIP)],
    "skipped": [],
    "bad": [],
    "aside": {"no clip": {"count": 1, "first": ["x"]}},
    "coverage": [],
    "sources": ["/raw"],
}


@pytest.mark.parametrize(
    "changed",
    [
        {"clips": [list(CLIP)[:5]]},
        {"clips": [[*CLIP, 1]]},
        {"clips": [list(CLIP._replace(shard="../../x.npy"))]},
        {"clips": [list(CLIP._replace(class_id="../c", shard="../c_1.npy"))]},
        {"clips": [list(CLIP._replace(size="9"))]},  # type: ignore[arg-type]
        {"clips": 5},
        {"sources": ["/etc"]},
        {"sources": ["/raw/more/x.zip"]},
        {"sources": ["/raw/../etc/x.zip"]},
        {"sources": ["/raw/x.tar"]},
        {"skipped": [{}]},
        {"bad": ["x"]},
        {"aside": []},
        {"coverage": None},
    ],
)
def test_what_no_worker_lists_is_refused(changed: dict[str, Any]) -> None:
    assert checked_listing({"listing": LISTING}, ["/raw"])["clips"] == [CLIP]
    inside = LISTING | {"sources": ["/raw/x.zip"]}
    assert checked_listing({"listing": inside}, ["/raw"])["sources"] == ["/raw/x.zip"]
    with pytest.raises(RunFailed):
        checked_listing({"listing": LISTING | changed}, ["/raw"])


ROW: dict[str, Any] = {
    "shard": "c1_1.npy",
    "clips": [["a", 2]],
    "skipped": [],
    "bad": [],
    "frames": 2,
    "sha256": "0" * 64,
}


def folders(tmp_path: Path) -> tuple[Path, Path]:
    made, shards = tmp_path / "made", tmp_path / "shards"
    made.mkdir()
    shards.mkdir()
    (made / "c1_1.npy").write_bytes(b"four")
    return made, shards


def test_shards_are_moved_and_their_rows_are_plain(tmp_path: Path) -> None:
    made, shards = folders(tmp_path)
    answer = {"shards": [ROW | {"more": "x"}]}
    assert take_shards(answer, [CLIP, OTHER], made, shards) == [ROW]
    assert (shards / "c1_1.npy").read_bytes() == b"four"
    assert not any(made.iterdir())


@pytest.mark.parametrize(
    "rows",
    [
        [],
        5,
        [ROW, ROW],
        [ROW | {"shard": "../x.npy"}],
        [ROW | {"clips": [["c", 2]]}],
        [ROW | {"clips": [["a", 1], ["a", 1]]}],
        [ROW | {"clips": [["a", -2]]}],
        [ROW | {"clips": [["a", True]], "frames": 1}],
        [ROW | {"frames": 3}],
        [ROW | {"sha256": "x"}],
        [ROW | {"bad": [{"file": "a"}]}],
        [{"shard": "c1_1.npy"}],
    ],
)
def test_what_no_worker_makes_is_refused(rows: Any, tmp_path: Path) -> None:
    made, shards = folders(tmp_path)
    with pytest.raises(RunFailed, match="no list of shards"):
        take_shards({"shards": rows}, [CLIP, OTHER], made, shards)
    assert not any(shards.iterdir())


@pytest.mark.parametrize("kind", ["link", "second name", "missing"])
def test_a_shard_that_is_no_plain_file_is_refused(kind: str, tmp_path: Path) -> None:
    made, shards = folders(tmp_path)
    (made / "c1_1.npy").rename(tmp_path / "kept")
    if kind == "link":
        (made / "c1_1.npy").symlink_to(tmp_path / "kept")
    elif kind == "second name":
        os.link(tmp_path / "kept", made / "c1_1.npy")
    with pytest.raises(RunFailed, match="no list of shards"):
        take_shards({"shards": [ROW]}, [CLIP, OTHER], made, shards)
    assert not any(shards.iterdir())


def test_workers_that_hold_a_large_container_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_pool, "free_memory", lambda: 10 << 30)
    clips = [CLIP._replace(id=str(n), part=n, size=1 << 20) for n in range(1600)]
    assert import_pool._fitting({"c1_1.npy": clips}) == 3
    assert import_pool._fitting({"c1_1.npy": clips * 100}) == 1
    assert import_pool._fitting({"c1_1.npy": [CLIP]}) > 1000


def test_only_who_died_over_a_file_names_it(tmp_path: Path) -> None:
    killed, fault = RunFailed("the worker was killed by SIGSEGV"), RunFailed("ValueError: x")
    assert named(killed, tmp_path) is killed
    (tmp_path / "reading").write_text("a.mat")
    error = named(killed, tmp_path)
    assert isinstance(error, DataError)
    assert error.what == "a.mat: reading it ended the worker: the worker was killed by SIGSEGV."
    assert named(fault, tmp_path) is fault
    (tmp_path / "reading").unlink()
    (tmp_path / "reading").symlink_to("/etc/hostname")
    assert named(killed, tmp_path) is killed


def test_a_file_that_may_not_be_read_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"x")
    assert RawFiles(tmp_path).read("a.npy") == b"x"
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="Is a directory"):
        RawFiles(tmp_path).read("folder")
