"""The pages about data: none is missing or stale, and what they tell somebody to type is so."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from kit.paths import ROOT
from zsar_bench.api.results import ALL
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.cli import app
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.protocol import STAND_IN
from zsar_bench.plans.holdouts import KINDS

DOCS = ROOT / "docs"
DATA = ROOT / "plugins" / "zsar_datasets" / "data"
PARTS = ("utd-mhad", "msr-action3d", "nw-ucla")  #: of kinect20
FILES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "notes")
#: A file's name before its block, if it has one; the language; the block.
BLOCK = re.compile(r"(?:^`([\w./-]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(file: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(file.read_text("utf-8"))


def commands(file: Path) -> list[str]:
    shells = [text for _, language, text in blocks(file) if language == "sh"]
    return [line for text in shells for line in text.splitlines() if line]


COMMANDS = [(file, line) for file in FILES for line in commands(file)]
ROWS = [pytest.param(f, line, id=f"{f.stem}: {line}") for f, line in COMMANDS]


@pytest.fixture(scope="module", autouse=True)
def _nobodys_store(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No data; what is known of the plugins is there, since asking them takes seconds."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(toy_store / "catalogue", home / "catalogue")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAR_BENCH_HOME", str(home))
        yield


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``docs/datasets.py``; its folder leaves the path again: other packages have such names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        spec = importlib.util.spec_from_file_location("docs_datasets", DOCS / "datasets.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    sys.modules.pop("dataset_parts")
    return module


# --- Pages ---------------------------------------------------------------------------------------


def test_no_page_is_stale(script: ModuleType) -> None:
    made = script.pages()
    assert {*made} == {*(DOCS / "datasets").glob("*.md")}
    for file, text in made.items():
        assert file.read_text("utf-8") == text, "type: python docs/datasets.py"


def test_every_data_set_has_a_page_that_the_index_links() -> None:
    index = (DOCS / "datasets" / "index.md").read_text("utf-8")
    names = sorted(file.parent.name for file in DATA.glob("*/dataset.toml"))
    assert len(names) >= 13
    assert re.findall(r"^\| \[([\w-]+)\]\(\1\.md\)", index, re.M) == names
    for name in names:
        page = (DOCS / "datasets" / f"{name}.md").read_text("utf-8")
        about = tomllib.loads((DATA / name / "dataset.toml").read_text("utf-8"))
        flat = re.sub(r"[<>]", "", page)
        for key in ("title", "how_to_get", "licence", "citation"):
            assert " ".join(about[key].split()) in flat
        clips = f"{about['clips']:,}" if "clips" in about else "not counted"
        assert f"| clips | {clips} |" in page


def test_every_stand_in_is_on_their_page(catalogue: Catalogue) -> None:
    page = (DOCS / "datasets" / "stand-ins.md").read_text("utf-8")
    made = [e for e in catalogue.entries("datasets") if e.spec["stand_in_for"]]
    assert len(made) >= 3
    for entry in made:
        assert f"| `{entry.name}` | [{entry.spec['stand_in_for']}]" in page


def test_every_protocol_is_on_its_data_sets_page() -> None:
    files = {f.stem: tomllib.loads(f.read_text("utf-8")) for f in ROOT.glob("protocols/*.toml")}
    assert len(files) >= 59
    for name, data in files.items():
        one = files[data["average"]["of"][0]] if "average" in data else data
        page = (DOCS / "datasets" / f"{one['dataset']}.md").read_text("utf-8")
        (row,) = re.findall(rf"^\| `{name}` \| .*$", page, re.M)
        if "average" not in data and "seen" in data:
            assert f"| {len(data['seen'])} / {len(data['unseen'])} |" in row
        if "test_clips" in data:
            assert f"| {data['test_clips']:,} |" in row


def test_kinect20_tells_all_that_was_promised(catalogue: Catalogue) -> None:
    page = (DOCS / "datasets" / "kinect20.md").read_text("utf-8")
    rows = tomllib.loads((DATA / "kinect20" / "classes.toml").read_text("utf-8"))["class"]
    for row in rows:
        (line,) = re.findall(rf"^(?:\| `{row['id']}` \||- `{row['id']}`:).*$", page, re.M)
        for source in row["of"]:
            assert f"({source.replace(':', ' ')})" in line
        assert " ".join(row.get("why", "").split()) in line
    for number, fold in enumerate(find_protocol("kinect20", catalogue).folds, 1):
        assert f"\n{number}. {', '.join(f'`{c}`' for c in fold)}\n" in page
    power = (ROOT / "results" / "reference" / "POWER.md").read_text("utf-8")
    assert all(line in page for line in power.splitlines() if line.startswith("|"))
    clips = {name: catalogue.find("datasets", name).spec["clips"] for name in PARTS}
    usual = clips.pop("msr-action3d")
    rest = sum(clips.values())
    whole = 566  # tests/test_msr_action3d.py: all 567 files but one hold somebody
    told = " ".join(page.split())
    assert f"{rest + usual:,} clips with MSR-Action3D's usual {usual}" in told
    assert f"set's {whole} clips that are not empty there would be {rest + whole:,}." in told


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_links_lead_to_pages(file: Path) -> None:
    """The site has nothing else; what lies outside is named, not linked."""
    text = re.sub(r"^```.*?^```$", "", file.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
        if not link.startswith("http"):
            assert (file.parent / link).resolve() in FILES, link


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_that_are_named_are_there(file: Path) -> None:
    text = file.read_text("utf-8")
    named = re.findall(r"`((?:results|plugins|protocols|zsar_bench)/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- Commands ------------------------------------------------------------------------------------


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A command's name and its parameters, as the command line takes them; nothing is run."""
    program, *words = shlex.split(line)
    assert program == "zsar-bench"
    command: Any = typer.main.get_command(app)
    names = []
    while hasattr(command, "commands"):
        names.append(words.pop(0))
        assert names[-1] in command.commands, line
        command = command.commands[names[-1]]
    return " ".join(names), command.make_context(command.name, words).params


def test_there_are_commands_on_every_page_of_a_data_set() -> None:
    with_some = {file.stem for file, _ in COMMANDS}
    assert {f.stem for f in FILES if f.parent.name == "datasets"} - with_some == {"index"}


def test_an_unknown_option_is_found() -> None:
    with pytest.raises(Exception, match="--protocoll"):
        parsed("zsar-bench run eszsl --protocoll synse-55-5")
    with pytest.raises(AssertionError):
        parsed("zsar-bench datta import ntu-60 x.zip")


@pytest.mark.parametrize(("file", "line"), ROWS)
def test_a_command_can_be_typed(
    file: Path, line: str, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, _, text in blocks(file):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
    command, words = parsed(line)
    if file.stem == "own-data":
        return  # tests/data/test_own_data.py does what it says
    sets = catalogue.names("datasets")
    if file.stem == "selection":
        assert command in ("run", "compare")
        find_protocol(words["protocol"], catalogue)
        assert words["selection"] == {"run": "seen-val", "compare": ALL}[command]
        return
    if file.stem == "tuning":  # what they do: tests/runs/test_tune_runs.py
        assert command in ("tune", "run")
        find_protocol(words["protocol"], catalogue)
        assert {*words["methods"]} <= {*catalogue.names("methods")}
        assert words["budget"] == 30 if command == "tune" else words["tuned"]
        return
    if file.stem == "gzsl":  # what they do: tests/runs/test_gzsl_runs.py
        assert command in ("run", "compare")
        find_protocol(words["protocol"], catalogue)
        if command == "run":
            assert {*words["methods"]} <= {*catalogue.names("methods")}
            assert words["gzsl"] in KINDS
        return
    if file.stem == "results":  # what they do: tests/verify
        assert command in ("score", "results import", "results check")
        if command == "score":
            find_protocol(words["protocol"], catalogue)
        return
    assert command in ("data import", "run")
    if command == "data import":
        assert words["name"] in sets
    if command == "run":
        assert {*words["methods"]} <= {*catalogue.names("methods")}
        name = words["protocol"].removeprefix(STAND_IN)
        dataset = find_protocol(name, catalogue).dataset
        assert dataset in sets
        assert file.stem in (dataset, "stand-ins", "trust", *words["methods"])
        texts = {"oracle", *catalogue.find("datasets", dataset).spec["texts"]}
        assert not words["texts"] or words["texts"] in texts or words["texts"].endswith(".csv")
        assert words["text_encoder"] in ("", None, *catalogue.names("text_encoders"))


def test_a_page_imports_its_data_set_before_it_runs(catalogue: Catalogue) -> None:
    for name in (file.parent.name for file in DATA.glob("*/dataset.toml")):
        lines = [parsed(line) for line in commands(DOCS / "datasets" / f"{name}.md")]
        imported = [words["name"] for command, words in lines if command == "data import"]
        assert imported == (catalogue.find("datasets", name).spec["parts"] or [name])
        assert [command for command, _ in lines][-1] == "run"
