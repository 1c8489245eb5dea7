"""Files that plugins' code reads: declared, checked, listed, part of the code's digest."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.command import Cli
from zsar_bench.catalogue import discovery
from zsar_bench.catalogue.answers import merged
from zsar_bench.common.code_digest import file_digest

PLUGIN = """
import tomllib
from pathlib import Path
from zsar_bench import MethodSpec, SkeletonEncoderSpec, TextEncoderSpec
from zsar_bench.hookspecs import hookimpl
from zsar_bench.params import Params

api = 1
HERE = Path(__file__).parent

class P(Params):
    pass

class M:
    fit = bind = score = encode = module = fingerprint = state_dict = load_state_dict = print

WORDS = {"target": f"{__name__}:M", "params": f"{__name__}:P", "summary": "reads a file"}

@hookimpl
def register_methods(registry):
    registry.method(MethodSpec(name="with-asset", assets=ASSETS, **WORDS))
    registry.method(MethodSpec(name="without", **WORDS))

@hookimpl
def register_skeleton_encoders(registry):
    registry.skeleton_encoder(SkeletonEncoderSpec(name="with-asset", assets=ASSETS, **WORDS))

@hookimpl
def register_text_encoders(registry):
    registry.text_encoder(TextEncoderSpec(name="with-asset", assets=ASSETS, **WORDS))
"""
KINDS = ("methods", "skeleton_encoders", "text_encoders")


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here asks what machine this is."""
    monkeypatch.setattr(discovery, "_machine", dict)


def write(folder: Path, assets: str) -> Path:
    """A plugin file with this declaration, and ``table.toml`` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.toml").write_text("rate = 1")
    file = folder / "reader.py"
    file.write_text(PLUGIN.replace("ASSETS", assets))
    return file


def catalogue_of(source: dict[str, str]) -> dict[str, Any]:
    return merged([source], {source["name"]: discovery.part_of(source)}, {})


def find(file: Path) -> dict[str, Any]:
    """The catalogue of one plugin file, as a fresh process finds it."""
    sys.modules.pop("zsar_plugin_reader", None)
    try:
        return catalogue_of({"kind": "file", "name": "reader", "value": str(file)})
    finally:
        sys.modules.pop("zsar_plugin_reader", None)


def digests(found: dict[str, Any]) -> list[str]:
    assert found["plugins"][0]["errors"] == []
    return [found[kind]["with-asset"]["digest"] for kind in KINDS]


ONE = "(HERE / 'table.toml',)"


def test_an_asset_is_part_of_the_digest_byte_by_byte(tmp_path: Path) -> None:
    file = write(tmp_path, ONE)
    found = find(file)
    before, without = digests(found), found["methods"]["without"]["digest"]
    assert without not in before
    (tmp_path / "table.toml").write_text("rate = 1 ")
    found = find(file)
    assert not set(before) & set(digests(found))
    assert found["methods"]["without"]["digest"] == without
    (tmp_path / "table.toml").write_text("rate = 1")
    assert digests(find(file)) == before


def test_the_same_plugin_elsewhere_has_the_same_digests(tmp_path: Path) -> None:
    here, there = write(tmp_path / "here", ONE), write(tmp_path / "far" / "there", ONE)
    assert digests(find(here)) == digests(find(there))


def test_assets_are_among_the_catalogues_files_and_nothing_beside_them_is(tmp_path: Path) -> None:
    (tmp_path / "undeclared.toml").write_text("")
    file = write(tmp_path, ONE)
    asset = tmp_path / "table.toml"
    found = find(file)
    for kind in KINDS:
        assert found[kind]["with-asset"]["assets"] == [str(asset)]
    files = {str(path): file_digest(path) for path in (file, asset)}
    assert found["files"] == files


def test_every_asset_of_a_long_list_counts_in_its_order(tmp_path: Path) -> None:
    found = set()
    for assets in (ONE, "(HERE / 'table.toml', HERE / 'b')", "(HERE / 'b', HERE / 'table.toml')"):
        file = write(tmp_path, assets)
        (tmp_path / "b").write_text("other")
        found |= {digests(find(file))[0]}
    assert len(found) == 3


BAD = {
    "(HERE / 'no.toml',)": "no.toml does not exist",
    "(HERE / 'dangling',)": "dangling does not exist",
    "(HERE / 'folder',)": "folder is a folder; name its files one by one",
    "(HERE / 'out',)": "out leads out of the plugin's package, to",
    "(HERE / 'folder' / '..' / '..' / 'secret',)": "leads out of the plugin's package, to",
    "(HERE / 'folder-out' / 'secret',)": "leads out of the plugin's package, to",
    "(HERE / 'pipe',)": "pipe is not a regular file",
    "(Path('table.toml'),)": "must be a whole path: Path(__file__).parent / ...",
    "(HERE / 'table.toml')": "'assets' must be a tuple of pathlib.Path",
    "(str(HERE / 'table.toml'),)": "'assets' must be a tuple of pathlib.Path",
}


@pytest.mark.parametrize("assets", BAD)
def test_a_bad_asset_is_a_row_that_says_so(
    assets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    file = write(own, assets)
    monkeypatch.chdir(own)
    (tmp_path / "secret").write_text("the answers")
    (own / "folder").mkdir()
    (own / "dangling").symlink_to("nowhere")
    (own / "out").symlink_to(tmp_path / "secret")
    (own / "folder-out").symlink_to(tmp_path)
    os.mkfifo(own / "pipe")
    found = find(file)
    (row,) = found["plugins"]
    assert row["status"] == "partly broken"
    assert [e.partition(":")[0] for e in row["errors"]] == [
        "method with-asset",
        "skeleton encoder with-asset",
        "text encoder with-asset",
    ]
    assert all(BAD[assets] in error for error in row["errors"]), row["errors"]
    assert list(found["methods"]) == ["without"]
    assert not any("secret" in file for file in found["files"])


def test_a_plugins_package_is_where_its_assets_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "boxed"
    (package / "deep").mkdir(parents=True)
    (package / "table.toml").write_text("")
    (package / "deep" / "__init__.py").write_text("from pathlib import Path\n")
    assets = "(HERE.parent / 'table.toml',)"
    (package / "deep" / "reader.py").write_text(PLUGIN.replace("ASSETS", assets))
    (package / "__init__.py").write_text("# a package")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    source = {"kind": "entry-point", "name": "boxed", "value": "boxed.deep.reader"}
    try:
        found = catalogue_of(source)
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "boxed"]:
            del sys.modules[name]
    digests(found)
    # What the module does not load without is listed, too: workers may open listed files only.
    assert {Path(p).relative_to(package).as_posix() for p in found["files"]} == {
        *("__init__.py", "deep/__init__.py", "deep/reader.py", "table.toml")
    }


def test_show_lists_what_code_reads(cli: Cli, tmp_path: Path) -> None:
    file = write(tmp_path / "plugins", ONE)
    asset, of = file.parent / "table.toml", file_digest(file.parent / "table.toml")
    said = cli("show", "with-asset", "--plugin", file, env={"COLUMNS": "400"}).stdout
    assert f"reads {asset} (sha256 {of[:12]})" in said
    told = json.loads(cli("show", "with-asset", "--plugin", file, "--json").stdout)
    assert told["assets"] == {str(asset): of}
    # A data set's, which is shown by the same rule.
    told = json.loads(cli("show", "toy-stand-in", "--json").stdout)
    (path,) = told["assets"]
    assert Path(path) == cli.site / "zsar_toy" / "stand_in.toml"
    assert told["assets"][path] == file_digest(Path(path))
