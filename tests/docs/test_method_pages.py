"""Every method of ours has a page, and what a page says of its parameters is what is registered.

A new method's page is ``docs/methods/NAME.md``: a title, then words (the idea in five lines,
``## Equations``, ``## Parameters``, ``## Differences from the authors' code``, ``## Citation``).
Its facts and its table of parameters are not typed: ``python docs/methods.py`` puts them below the
title and below ``## Parameters``, each between two comments, in the place of any table there.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kit.paths import ROOT
from zsar_bench.catalogue.discovery import _collect
from zsar_bench.catalogue.loading import resolve
from zsar_bench.hookspecs import GROUP
from zsar_bench.specs import MethodSpec

DOCS = ROOT / "docs"
POINTS = importlib.metadata.entry_points(group=GROUP)
OURS = {p.name: p for p in POINTS if p.dist and p.dist.name == "zsar-bench"}
METHODS: dict[str, MethodSpec] = {
    name: spec
    for _, point in sorted(OURS.items())
    for name, spec in _collect(point.load())[0].specs["methods"].items()
}
every = pytest.mark.parametrize("name", sorted(METHODS))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``docs/methods.py``; its folder leaves the path again: other packages have such names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        spec = importlib.util.spec_from_file_location("docs_methods", DOCS / "methods.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    sys.modules.pop("dataset_parts")
    return module


# --- Pages -----------------------------------------------------------------------------------


def test_no_page_is_missing_or_stale(script: ModuleType) -> None:
    made = script.pages()
    assert {f.stem for f in made} == {*METHODS, "index"}
    for file, text in made.items():
        assert file.read_text("utf-8") == text, "type: python docs/methods.py"


@every
def test_a_page_has_every_parameter_with_its_values(name: str) -> None:
    """Read from the class itself, not as the script reads it."""
    page = (DOCS / "methods" / f"{name}.md").read_text("utf-8")
    section = page.split("\n## Param")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    params = resolve(METHODS[name].params)
    values = {
        p: params(**changes).model_dump(mode="json") for p, changes in params.profiles.items()
    }
    assert [row[0] for row in rows[2:]] == [f"`{field}`" for field in params.model_fields]
    if not params.model_fields:
        return
    heads = rows[0]
    if heads[-1] == "source":  # somebody's words
        rows = [row[:-1] for row in rows]
        heads = rows[0]
    assert heads[:3] == ["param", "default", "laptop"]
    assert heads[-1] == "meaning"
    assert {*values} == {"paper", *heads[2:-1]} - {"tuned in"}
    for row, (field, info) in zip(rows[2:], params.model_fields.items(), strict=True):
        told = dict(zip(heads, row, strict=True))
        for profile in values:
            cell = told["default" if profile == "paper" else profile] or told["default"]
            value = values[profile][field]
            assert cell == f"`{value if isinstance(value, str) else json.dumps(value)}`"
        assert " ".join(info.description.split()) in told["meaning"].replace(r"\|", "|")
        search = info.json_schema_extra.get("search", {})
        for bound in search.get("choices", [*search.values()]):
            number = isinstance(bound, int | float) and not isinstance(bound, bool)
            shown = f"{bound:g}" if number else f"`{bound}`"
            assert shown.casefold() in told["tuned in"].casefold()


@every
def test_a_page_cites_and_explains(name: str) -> None:
    page = (DOCS / "methods" / f"{name}.md").read_text("utf-8")
    spec = METHODS[name]
    assert f"| paper | {spec.paper or 'none: a sanity baseline'} |" in page
    assert f"| setting | {spec.setting} |" in page
    assert re.search(r"^## Equations$", page, re.M)
    assert not spec.paper or re.search(r"^## Citation$", page, re.M)
    for one in spec.wants:
        assert re.search(rf"^\| reads beside pooled features \| .*\b{one}\b", page, re.M)


@every
def test_the_index_leads_to_the_page(name: str) -> None:
    index = (DOCS / "methods" / "index.md").read_text("utf-8")
    assert f"\n| [{name}]({name}.md) | {METHODS[name].summary} |" in index


# --- The script ------------------------------------------------------------------------------


def entry(**fields: Any) -> SimpleNamespace:
    """What the catalogue holds of a method with one parameter, or with ``fields``."""
    spec = {
        "paper": "A. Author, A paper, 2026",
        "setting": "inductive",
        "wants": ["tokens"],
        "needs_encoder": True,
        "text_fields": ["verb", "noun"],
        "hp": "authors",
    }
    width = {
        "default": 8,
        "kind": "science",
        "description": "a | b",
        "search": {"low": 2, "high": 9},
    }
    return SimpleNamespace(
        name="one",
        spec=spec,
        schema={"properties": fields or {"width": width}},
        profiles={"paper": {}, "laptop": {"width": 4}},
    )


TABLE = r"""| param | default | laptop | tuned in | meaning |
| --- | --- | --- | --- | --- |
| `width` | `8` | `4` | 2 to 9 | a \| b |"""


SOURCES = (" source |", " --- |", r" code \| paper |")


def test_a_page_of_words_gets_facts_and_parameters(script: ModuleType) -> None:
    page = script.page("# One\n\nIdea.\n\n## Parameters\n\nWords.\n\n## Citation\n\nC.\n", entry())
    told = re.split(r"<!-- .*? -->", page)
    assert [part.strip() for part in told[::2]] == [
        "# One",
        "Idea.\n\n## Parameters",
        "Words.\n\n## Citation\n\nC.",
    ]
    assert "| reads beside pooled features | tokens, the trained encoder |" in told[1]
    assert "| class texts | `verb`, `noun` |" in told[1]
    assert told[3].strip() == TABLE
    assert script.page(page, entry()) == page


@pytest.mark.parametrize("heading", ["## Parameters", "## Params", "## Parameters of the method"])
def test_a_typed_table_is_replaced_and_others_stay(script: ModuleType, heading: str) -> None:
    typed = "| param | default |\n| --- | --- |\n| `width` | 7 |"
    other = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    parts = ("# One", "Idea.", other, heading, "Before.", typed, "After.", "## Results", other)
    page = script.page("\n\n".join(parts) + "\n", entry())
    assert page.count(other) == 2
    assert typed not in page
    assert page.count(TABLE) == 1
    assert page.index(heading) < page.index(TABLE) < page.index("Before.") < page.index("After.")
    assert "\n\n\n" not in page
    assert script.page(page, entry()) == page


def test_a_column_of_sources_is_kept_row_by_row(script: ModuleType) -> None:
    typed = "| name | default | source |\n| --- | --- | --- |\n"
    typed += "| `depth` | 7 | nobody |\n| `width` | 7 | code \\| paper |\n"
    page = script.page(f"# One\n\nIdea.\n\n## Parameters\n\n{typed}", entry())
    rows = [f"{row}{end}" for row, end in zip(TABLE.splitlines(), SOURCES, strict=True)]
    assert "\n".join(rows) in page
    assert "nobody" not in page
    assert script.page(page, entry()) == page


def test_a_page_without_the_heading_gets_it_at_its_end(script: ModuleType) -> None:
    page = script.page("# One\n\nIdea.", entry())
    assert page.endswith(f"## Parameters\n\n<!-- made: parameters -->\n\n{TABLE}\n\n<!-- end -->\n")
    assert script.page(page, entry()) == page


def test_a_stale_table_is_made_anew_and_words_around_it_stay(script: ModuleType) -> None:
    page = script.page("# One\n\nIdea.\n\n## Parameters\n\nWords.\n\n## Citation\n\nC.\n", entry())
    new = {"depth": {"default": True, "kind": "runtime", "description": "how deep"}}
    again = script.page(page, entry(**new))
    made = "| param | default | laptop | meaning |\n| --- | --- | --- | --- |\n"
    made += "| `depth` | `true` |  | how deep (changes speed only) |"
    assert again == page.replace(TABLE, made)


def test_a_page_without_a_title_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no place for the facts"):
        script.page("Idea.\n", entry())
