"""Words of the field in texts, JSON keys and names: the words that they replaced stay away."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from kit.paths import ROOT
from zsar_bench.cli import app
from zsar_bench.comparison.sections import compare
from zsar_bench.records import parts
from zsar_bench.records.files import read_record
from zsar_bench.records.schema import Record

RUNS = ROOT / "results" / "reference" / "runs" / "stand-in+synse-55-5" / "eszsl"
PACKAGE = ROOT / "zsar_bench"
#: Say instead: subject, top-1, mean class accuracy, confinement, supervisor, reap, launch
#: environment, event log, checkpoint stream, other, evaluation set, pseudo-unseen split,
#: calibration constant, worker pool, ETA, timeout, untrusted input, related data set, difference
#: (b - a), gain from test-set selection, minimum detectable difference, significantly worse,
#: majority class, sensitivity.
OLD = re.compile(
    r"performers?|micro|macro|walls?|walled|wardens?|bur(y|ies|ied)|outfits?|diar(y|ies)|handovers?"
    r"|something else|exams?|rehears\w*|plays? unseen|standings?|crews?|foretells?|patience"
    r"|strangers?|sister|b less a|points bought|gap that shows|shown to be worse|largest class"
    r"|dose and response|price of peeking",
    re.IGNORECASE,
)
#: A frozen rule, official class names, and a published term.
ALLOWED = re.compile(
    r"performer-cross-fit|standing up|(from|to) standing|micro-prototypes?", re.IGNORECASE
)
#: No names: they do not say what a variable holds.
EMPTY = {"found", "one", "own", "each", "told"}


def old(text: str) -> list[str]:
    """The old words in a text, as whole words; a line break counts as a space."""
    text = ALLOWED.sub("", " ".join(text.split()))
    return [m[0] for m in OLD.finditer(text) if not re.match(r"\w", text[m.start() - 1 : m.start()])
            and not re.match(r"\w", text[m.end() : m.end() + 1])]  # fmt: skip


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=str
)
def test_pages(page: Path) -> None:
    assert old(page.read_text("utf-8")) == []


def helps(command: Any, path: str = "zsar-bench") -> Iterator[tuple[str, str]]:
    """Names and help texts of a command, its parameters and its subcommands."""
    yield path, str(command.help)
    for parameter in command.params:
        yield f"{path} {parameter.name}", str(getattr(parameter, "help", ""))
    for name, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, f"{path} {name}")


def test_help_texts() -> None:
    assert [(path, old(text)) for path, text in helps(get_command(app)) if old(text)] == []


def keys(value: Any) -> Iterator[str]:
    """All keys of a JSON value."""
    if isinstance(value, dict):
        yield from map(str, value)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from keys(inner)


def test_json_keys() -> None:
    models = [m for m in vars(parts).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    names = {name for model in (Record, *models) for name in model.model_fields}
    names |= set(keys(compare([read_record(f) for f in sorted(RUNS.iterdir())], rules=True)))
    assert len(names) > 150
    assert [name for name in sorted(names) if old(name.replace("_", " "))] == []


def stored(tree: ast.AST) -> Iterator[str]:
    """Names of variables, parameters and attributes that code sets."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case (
                ast.arg(arg=name) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name))
            ):
                yield name
        yield from stored(node)


def test_variables_say_what_they_hold() -> None:
    files = [*PACKAGE.rglob("*.py")]
    bad = {
        f"{f.relative_to(ROOT)}": EMPTY.intersection(stored(ast.parse(f.read_text())))
        for f in files
    }
    assert {file: names for file, names in bad.items() if names} == {}
