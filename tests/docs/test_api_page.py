"""docs/api.md: made from docstrings, complete, and its examples run."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import zsar_bench as zb
from kit.paths import REFERENCE, ROOT

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def maker() -> types.ModuleType:
    """``docs/api.py``."""
    spec = importlib.util.spec_from_file_location("docs_api", ROOT / "docs" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_docstrings(maker: types.ModuleType) -> None:
    assert maker.page() == PAGE, "type: python docs/api.py"


def test_every_public_name_is_on_the_page(maker: types.ModuleType) -> None:
    told = {n for homes in maker.PAGE.values() for names in homes.values() for n in names}
    specs = {name for name in zb.__all__ if name.endswith("Spec")}  # for authors, see the contracts
    assert {*zb.__all__} - specs - {"API", "__version__"} <= told


def test_types_and_names_agree() -> None:
    stub = ast.parse((ROOT / "zsar_bench" / "__init__.pyi").read_text("utf-8"))
    homes = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*homes} == {*zb.__all__}
    for name, home in homes.items():
        value = getattr(zb, name)
        assert getattr(value, "__module__", home) == home, name


@pytest.mark.parametrize("name", sorted({*zb.__all__} - {"API", "__version__"}))
def test_public_names_are_documented(name: str) -> None:
    thing = getattr(zb, name)
    text = inspect.getdoc(thing) or ""
    assert len(text.splitlines()[0]) > 15
    if inspect.isfunction(thing):
        for argument in inspect.signature(thing).parameters:
            if argument not in ("plugins", "catalogue"):
                assert re.search(rf"\b{argument}\b", text), f"{name}: {argument}"


def test_looking_at_the_front_door_imports_nothing_heavy() -> None:
    code = (
        "import sys, zsar_bench as zb; dir(zb); zb.run; zb.compare; zb.load_results;"
        "print([m for m in ('torch', 'scipy.stats', 'rich.live') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, zsar_bench; print([m for m in ('numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        zb.runn  # noqa: B018


#: The first example in small: what takes a minute is made of the toy's clips.
SMALL = {
    'protocol="stand-in/synse-55-5"': 'protocol="toy-4-2"',
    'params={"st-gcn.max_steps": 20}': 'skeleton_encoder="toy-mean", text_encoder="toy-hash"',
}


def run_examples(folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]) -> object:
    """Run all blocks of the page in this folder, in order; returns the comparison in them."""
    monkeypatch.chdir(folder)
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(REFERENCE)
    assert len(BLOCKS) >= 5
    names: dict[str, object] = {}
    for block in BLOCKS:
        for old, new in changes.items():
            block = block.replace(old, new)
        exec(compile(block, "api.md", "exec"), names)
    runs = names["runs"]
    assert isinstance(runs, list)
    assert [run.record.method.name for run in runs] == ["eszsl", "prototypes", "chance"]
    return names["table"]


def test_the_examples_run_on_a_toy(
    toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(PAGE.count(old) == 1 for old in SMALL)
    assert "toy-4-2" in str(run_examples(tmp_path, monkeypatch, SMALL))


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word by word, on a fresh machine. The gate does this too, where the clips are made anyway."""
    if "ZSAR_BENCH_HOME" not in os.environ:
        monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    assert "SYNTHETIC" in str(run_examples(tmp_path, monkeypatch, {})).upper()
