"""The README says what is so."""

from __future__ import annotations

import re

import pytest

from kit.paths import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_the_example_method_is_the_file_that_runs() -> None:
    source = (ROOT / "examples" / "nearest_text.py").read_text("utf-8")
    assert f"```python\n{source}```" in README


def test_the_example_method_runs(cli) -> None:
    cli.run("nearest-text", "--plugin", ROOT / "examples" / "nearest_text.py")


def test_the_example_is_short() -> None:
    lines = (ROOT / "examples" / "nearest_text.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README


SHOWN = ("tdsm", "eszsl", "prototypes", "chance")  #: those that the README's commands run


@pytest.mark.parametrize(
    ("mark", "protocol", "texts"),
    [("table", "stand-in/synse-55-5", "a"), ("kinect20", "kinect20", "ab")],
)
def test_the_tables_are_the_reference_runs(mark: str, protocol: str, texts: str, cli):
    table = re.search(rf"<!-- {mark} -->\n```\n(.*?)```", README, re.DOTALL)
    assert table is not None
    done = cli(
        "compare",
        "--protocol",
        protocol,
        *(word for one in texts for word in ("--texts", one)),
        *(word for one in SHOWN for word in ("--method", one)),
        "--results",
        ROOT / "results" / "reference",
        "--no-published",
        env={"COLUMNS": "90"},
    )
    assert _strip(table[1]) == _strip(done.stdout)


def _strip(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
