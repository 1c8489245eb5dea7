"""Write datasets/*.md: a page a data set, one for the stand-ins, and their index.

    python docs/datasets.py

A page is what is registered (``dataset.toml``, ``classes.toml``, ``layout.toml``, class texts,
protocols, published numbers), so that no fact is typed twice, with the text of ``notes/NAME.md``.
A note begins with lines ``key: value``:

    input   what is read, for the index
    path    example of PATH in the import command; none for generated data sets
    run     arguments of ``zsar-bench run`` in the example

and goes on with sections that have a page's own headings; their text ends those of the page, but
begins the first one.
``<!-- include FILE -->`` is a page of the repository without its own heading.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from dataset_parts import (
    STAND_INS,
    Known,
    classes,
    facts,
    folds,
    known,
    number,
    page_link,
    prose,
    protocol_table,
    shape,
    shell,
    table,
    texts,
    variants,
)

from zsar_bench.catalogue.catalogue import Entry, load

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = HERE / "datasets"
NOTES = HERE / "notes"
MADE = "<!-- Made by docs/datasets.py; the words that are not facts are in docs/notes. -->"
PATHS = (
    "The paths are examples: one or several zip archives or folders, as downloaded. The import "
    "lists what it left out and why."
)
HEADINGS = (
    *("What it is", "How to get it", "What to type", "What is read, and how", "Protocols"),
    *("Class texts", "Licence", "Citation"),
)


class Notes(NamedTuple):
    """A file of ``notes/``: its first lines, and its sections."""

    head: dict[str, str]
    sections: dict[str, str]


def read_notes(name: str) -> Notes:
    """The words about a data set.

    Raises:
        SystemExit: for a section that no page has.
    """
    file = NOTES / f"{name}.md"
    first, *rest = re.split(r"^## (.+)\n", file.read_text("utf-8"), flags=re.MULTILINE)
    head = dict(line.split(": ", 1) for line in first.strip().splitlines())
    sections = dict(zip(rest[::2], map(str.strip, rest[1::2]), strict=True))
    if strange := {*sections} - {*HEADINGS}:
        raise SystemExit(f"{file}: no page has a section {', '.join(sorted(strange))}")
    return Notes(head, {title: _included(text) for title, text in sections.items()})


def _included(text: str) -> str:
    def body(match: re.Match[str]) -> str:
        _, *lines = (ROOT / match[1]).read_text("utf-8").splitlines()
        return "\n".join(lines).strip()

    return re.sub(r"<!-- include (\S+) -->", body, text)


def commands(entry: Entry, all_: Known, notes: Notes) -> str:
    """What to type, from raw files to a table."""
    lines = []
    for name in entry.spec["parts"] or [entry.name]:
        path = (notes if name == entry.name else read_notes(name)).head.get("path", "")
        lines.append(f"zsar-bench data import {name} {path}".strip())
    block = shell([*lines, f"zsar-bench run {notes.head['run']}"])
    return f"{block}\n\n{PATHS}"


# --- Pages ---------------------------------------------------------------------------------------


def assemble(title: str, parts: dict[str, list[str]], notes: Notes) -> str:
    """A page of these sections; each ends with what the notes say to it."""
    out = [f"# {title}", MADE]
    for heading in HEADINGS:
        made, words = parts.get(heading, []), notes.sections.get(heading, "")
        body = [words, *made] if heading == HEADINGS[0] else [*made, words]
        if any(body):
            out += [f"## {heading}", *filter(None, body)]
    return "\n\n".join(out) + "\n"


def dataset_page(entry: Entry, all_: Known) -> str:
    """The page of a data set with raw files or parts."""
    notes, spec, name = read_notes(entry.name), entry.spec, entry.name
    parts = {
        "What it is": [facts(entry, all_), classes(entry, all_)],
        "How to get it": [prose(spec["how_to_get"])],
        "What to type": [commands(entry, all_, notes)],
        "Protocols": [protocol_table(name, all_), variants(entry, all_), folds(name, all_)],
        "Class texts": [texts(entry)],
        "Licence": [prose(spec["licence"])],
        "Citation": [prose(spec["citation"])],
    }
    return assemble(spec["title"], parts, notes)


def stand_in_page(all_: Known) -> str:
    """The page of all stand-ins."""
    notes = read_notes(STAND_INS)
    rows: list[list[object]] = []
    for name, entry in all_.stand_ins.items():
        spec = entry.spec
        rest = [*shape(entry), f"{spec['fps']:g}"]
        rows.append([f"`{name}`", page_link(spec["stand_in_for"]), number(spec["clips"]), *rest])
    headings = ("name", "stands in for", "clips", "classes", "joints", "bodies", "frames a second")
    first = next(iter(all_.stand_ins.values()))
    settings = first.schema["properties"].items()
    about = [f"- `{key}` (default {p['default']:g}): {p['description']}." for key, p in settings]
    parts = {
        "What it is": [table(headings, rows)],
        "What to type": [
            shell([f"zsar-bench data import {name}" for name in all_.stand_ins]),
            "Parameters (`--set`):\n\n" + "\n".join(about),
        ],
        "Class texts": [texts(first)],
        "Licence": [prose(first.spec["licence"])],
    }
    return assemble("Stand-ins", parts, notes)


def index_page(all_: Known) -> str:
    """The table of all data sets."""
    rows: list[list[object]] = []
    for name, entry in all_.sets.items():
        spec = entry.spec
        families = Counter(one.family for one in all_.on(name))
        shown = ", ".join(f"{family} ({count})" for family, count in sorted(families.items()))
        own = f"`{name}/folds:3`" if spec["samples"] else "-"
        counts = [*shape(entry), number(spec["clips"])]
        licence = re.split(r"(?<=\.)\s", " ".join(spec["licence"].split()))[0]
        reads = read_notes(name).head["input"]
        rows.append([page_link(name), spec["title"], *counts, reads, shown or own, licence])
    headings = ("name", "title", "classes", "joints", "bodies", "clips", "read", "protocols")
    made = table((*headings, "licence"), rows)
    return f"# Data sets\n\n{MADE}\n\n{made}\n\n{(NOTES / 'index.md').read_text('utf-8')}"


def pages() -> dict[Path, str]:
    """All pages by their files."""
    all_ = known(load())
    made = {PAGES / f"{name}.md": dataset_page(entry, all_) for name, entry in all_.sets.items()}
    made[PAGES / f"{STAND_INS}.md"] = stand_in_page(all_)
    made[PAGES / "index.md"] = index_page(all_)
    return made


def main() -> None:
    """Write every page, and delete those of data sets that are gone."""
    made = pages()
    for file in {*PAGES.glob("*.md")} - {*made}:
        file.unlink()
    PAGES.mkdir(exist_ok=True)
    for file, text in made.items():
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
