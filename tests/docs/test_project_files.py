"""Files about the project say what is so: its citation, and the guide for contributors."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from kit.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
CODE = "".join(re.findall(r"```.*?```|`[^`\n]+`", GUIDE, re.DOTALL))
PATHS = sorted(
    word
    for word in set(re.findall(r"[\w./-]+", CODE))
    if ("/" in word or word.endswith((".md", ".txt"))) and not word.startswith(".venv/")
)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["title"].startswith(PROJECT["name"])
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The zsar-bench authors"}]
    assert citation["message"]
    (tdsm,) = citation["references"]
    assert [a["family-names"] for a in tdsm["authors"]] == ["Do", "Kim"]
    assert {"type", "title", "year", "conference"} <= set(tdsm)
    assert tdsm["identifiers"][0]["value"] == "arXiv:2411.10745"


def test_the_guide_names_the_places_it_should():
    assert {".ci/run", "zsar_bench/contracts.py", "tests/shipped/test_conformance.py"} <= set(PATHS)
    assert len(GUIDE.splitlines()) <= 150


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_the_guide_is_there(path: str):
    """It is one of the repository, or one room of the package, named from where it stands."""
    rooms = [room / path for room in (ROOT / "zsar_bench").rglob("*/")]
    assert any(place.exists() for place in (ROOT / path, ROOT / "zsar_bench" / path, *rooms))


def test_what_the_guide_says_of_scripts_is_so():
    assert "--tables" in (ROOT / "results/reference/regenerate.py").read_text("utf-8")
    assert "\nVERSION = " in (ROOT / "zsar_bench/common/hashing.py").read_text("utf-8")
    assert "\n## Tests\n" in (ROOT / "README.md").read_text("utf-8")
