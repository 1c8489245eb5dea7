"""Every protocol that has clips, real or made, can be run; every other says what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.paths import SHARED_DATA
from zsar_bench.catalogue.catalogue import load
from zsar_bench.data.protocols.lookup import load_all
from zsar_bench.data.protocols.protocol import Protocol, stand_ins
from zsar_bench.specs import generated

#: Data set -> archive, where the real files are at hand.
REAL = {
    "utd-mhad": "utd_mhad/utd_mhad_skeleton.zip",
    "nw-ucla": "nw_ucla/nw_ucla_all_sqe.zip",
    "msr-action3d": "msr_action3d/msr_action3d_skeleton3d.zip",
    "sbu-kinect": "sbu_interaction/sbu_interaction_skeleton.zip",
    "hdm05": "hdm05_11/hdm05_11_asfamc.zip",
}
OWN = [f"{name}/{kind}" for name in REAL for kind in ("folds:2", "random:3@0")]
QUICK = ["purls-uwa3d-24-6", "sbu-kinect/folds:2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("every") / "home"


def parts_of(dataset: str) -> list[str]:
    """The data sets that must be imported for one."""
    entry = load().find("datasets", dataset)
    return list(entry.spec["parts"]) if generated(entry.spec) else [dataset]


def clips_of(protocol: Protocol) -> str:
    """``real``, ``stand-in`` or nothing."""
    parts = parts_of(protocol.dataset)
    if all(name in REAL and (SHARED_DATA / REAL[name]).is_file() for name in parts):
        return "real"
    return "stand-in" if stand_ins(protocol.dataset, load()) else ""


def runs(name: str, kind: str, cli: Any, home: Path, results: Path) -> None:
    """Closed forms on features that cost nothing: what is checked is that everything fits."""
    words = ("run", "eszsl", "--protocol", name, "--results", results, "--quiet", "--json")
    encoder = ("--skeleton-encoder", "toy-mean")
    if not kind:
        said = cli(*words, *encoder, home=home, check=2).stderr
        assert "class texts" in said or "has not been imported" in said
        return
    if kind == "real":
        own = name.partition("/")[0]
        for part in parts_of(own if own in REAL else named()[name].dataset):
            cli("data", "import", part, SHARED_DATA / REAL[part], "--quiet", home=home)
    said = json.loads(cli(*words, *encoder, home=home).stdout)
    (section,) = said["sections"]
    (row,) = section["rows"]
    assert row["method"] == "eszsl"
    assert section["synthetic"] == (kind == "stand-in")
    assert section["expected_clips"] in (0, section["clips"])


def named() -> dict[str, Protocol]:
    return {p.id: p for p in load_all(load())[0]}


@pytest.mark.parametrize("name", QUICK)
def test_some_protocols(name: str, cli: Any, home: Path, tmp_path: Path) -> None:
    own = name.partition("/")[0]
    kind = clips_of(named()[name]) if own == name else "real" if own in REAL else ""
    if kind == "real" and not (SHARED_DATA / REAL[own]).is_file():
        pytest.skip(f"{own} is not at hand")
    runs(name, kind, cli, home, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*named(), *OWN])
def test_every_protocol(name: str, cli: Any, home: Path, tmp_path: Path) -> None:
    own = name.partition("/")[0]
    kind = "real" if "/" in name else clips_of(named()[name])
    if kind == "real" and "/" in name and not (SHARED_DATA / REAL[own]).is_file():
        pytest.skip(f"{own} is not at hand")
    runs(name, kind, cli, home, tmp_path)
