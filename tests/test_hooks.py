"""The hooks: documented, used, and the only way in."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import zsar_bench
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.hookspecs import Hooks
from zsar_bench.registry import KINDS, Registry

HOOKS = sorted(name for name, _ in inspect.getmembers(Hooks, inspect.isfunction))
SOURCES = sorted(Path(zsar_bench.__file__).parent.rglob("*.py"))
#: The harness's own, and words that are also names.
GENERIC = {"table", "json", "markdown", "top1", "mean_class", "chance"}


@pytest.fixture
def catalogue(toy_process) -> Catalogue:
    return load()


def test_there_are_hooks():
    assert {"register_methods", "register_datasets", "run_event"} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_what_it_is_for(hook):
    said = inspect.getdoc(getattr(Hooks, hook))
    assert said
    assert said[0].isupper()
    assert said.endswith(".")


def test_every_hook_is_implemented_by_us_or_by_the_test_package(catalogue):
    implemented = {hook for row in catalogue.data["plugins"] for hook in row["hooks"]}
    assert implemented == set(HOOKS)


def test_a_third_party_can_use_every_hook(catalogue):
    (row,) = [row for row in catalogue.data["plugins"] if row["name"] == "toy"]
    assert row["hooks"] == HOOKS


def test_every_kind_has_a_hook_and_a_door_in_the_registry():
    for kind in KINDS:
        assert f"register_{kind}" in HOOKS
        assert callable(getattr(Registry, kind.removesuffix("s")))


def test_the_harness_names_no_method_encoder_or_data_set(catalogue):
    kinds = ("methods", "skeleton_encoders", "text_encoders", "datasets")
    names = {name for kind in kinds for name in catalogue.names(kind)}
    modules = {
        entry.spec["target"].partition(".")[0].partition(":")[0]
        for kind in kinds
        for entry in catalogue.entries(kind)
    }
    assert {"tdsm", "st-gcn", "minilm", "utd-mhad"} <= names
    assert "zsar_tdsm" in modules
    words = names | {name.replace("-", "_") for name in names} | modules
    pattern = re.compile(
        rf"(?<![\w-])({'|'.join(map(re.escape, sorted(words - GENERIC)))})(?![\w-])", re.IGNORECASE
    )
    assert pattern.search("as tdsm does")
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_core_brings_only_output_and_places(catalogue):
    brought = {kind for kind in KINDS for e in catalogue.entries(kind) if e.plugin == "core"}
    assert brought == {"metrics", "reporters"}
