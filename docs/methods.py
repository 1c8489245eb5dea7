"""Write what is registered into methods/*.md: facts and parameters of every method, and the index.

    python docs/methods.py

A page's text is written by hand; two parts of it are made here, so that they are never outdated.
Each is between two comments:

    <!-- made: facts -->       paper, setting, what is read, where values come from; below the title
    <!-- made: parameters -->  the table of parameters, below the heading "## Parameters"
    <!-- end -->

A page without them gets them: a table below the heading is replaced, and a page without the
heading gets it at its end. One column of the table is written by hand, too, and is kept, row by
row: the last one, if it is called ``source``. A new method's page begins with a title and its text.
``methods/index.md`` is made whole.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dataset_parts import table

from zsar_bench.catalogue.catalogue import Catalogue, Entry, load

HERE = Path(__file__).resolve().parent
PAGES = HERE / "methods"
DISTRIBUTION = "zsar-bench"  #: whose methods have pages
END = "<!-- end -->"
#: The heading, and all up to the next one.
SECTION = re.compile(r"^(## Param(?:eter)?s\b.*\n)((?:(?!## ).*\n)*)", re.M)
TABLE = re.compile(r"(?:^\|.*\n)+\n?", re.M)
HP = {
    "authors": "by the authors, perhaps on these very classes",
    "untuned": "before any unseen class was scored; not tuned",
}
INDEX = """# Methods

<!-- Made by docs/methods.py. -->

{table}

*Setting*: data that a method may use beyond the seen classes; methods of different settings are
never ranked together. *Reads*: inputs in addition to pooled features and class texts. The same,
with every parameter, in a terminal: `zsar-bench list methods`, `zsar-bench show NAME`.
"""


def ours(catalogue: Catalogue) -> list[Entry]:
    """The methods that this distribution registers, by name."""
    rows = catalogue.data["plugins"]
    plugins = {row["name"] for row in rows if row["distribution"].partition(" ")[0] == DISTRIBUTION}
    return [entry for entry in catalogue.entries("methods") if entry.plugin in plugins]


# --- What is made --------------------------------------------------------------------------------


def reads(entry: Entry) -> str:
    """What a method takes beside pooled features and class texts."""
    spec = entry.spec
    return ", ".join([*spec["wants"], *["the trained encoder"] * spec["needs_encoder"]]) or "-"


def facts(entry: Entry) -> str:
    """The table below a page's title."""
    spec = entry.spec
    rows: list[list[object]] = [
        ["name", f"`{entry.name}`"],
        ["paper", spec["paper"] or "none: a sanity baseline"],
        ["setting", spec["setting"]],
        ["reads beside pooled features", reads(entry)],
        ["class texts", ", ".join(f"`{field}`" for field in spec["text_fields"])],
        ["values of `paper` were set", HP.get(spec["hp"], spec["hp"])],
    ]
    return table(("", ""), rows)


def value(one: Any) -> str:
    """A parameter's value as it is typed after ``--set name=``."""
    return f"`{one if isinstance(one, str) else json.dumps(one)}`"


def _other(profile: dict[str, Any], name: str, default: str) -> str:
    """A profile's value, empty where it is the default."""
    own = value(profile[name]) if name in profile else default
    return "" if own == default else own


def searched(field: dict[str, Any]) -> str:
    """Where ``tune`` looks; empty if it does not."""
    search = field.get("search", {})
    if "choices" in search:
        return ", ".join(map(value, search["choices"]))
    return f"{search['low']:g} to {search['high']:g}" if search else ""


def cells(line: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def sources(section: str) -> dict[str, str]:
    """Parameter, as it is shown, -> where its value is from; empty without such a column."""
    found = TABLE.search(section)
    rows = [cells(line) for line in found[0].strip().splitlines()] if found else [[""]]
    return {row[0]: row[-1] for row in rows[2:]} if rows[0][-1] == "source" else {}


def parameters(entry: Entry, source: dict[str, str]) -> str:
    """The table of all parameters: the profile ``paper``, then those that differ, then meaning."""
    fields = entry.schema.get("properties", {})
    if not fields:
        return "None."
    others = sorted(entry.profiles.keys() - {"paper"}, key=lambda name: (name != "laptop", name))
    published = entry.profiles.get("paper", {})
    tuned = any(map(searched, fields.values()))
    rows: list[list[object]] = []
    for name, field in fields.items():
        default = value(published.get(name, field["default"]))
        shown = [_other(entry.profiles[p], name, default) for p in others]
        speed = " (changes speed only)" if field["kind"] == "runtime" else ""
        meaning = " ".join(field["description"].split()).replace("|", r"\|") + speed
        last = [meaning, source.get(f"`{name}`", "")][: 1 + bool(source)]
        rows.append([f"`{name}`", default, *shown, *[searched(field)] * tuned, *last])
    last = ["meaning", "source"][: 1 + bool(source)]
    return table(("param", "default", *others, *["tuned in"] * tuned, *last), rows)


# --- Pages ---------------------------------------------------------------------------------------


def placed(page: str, name: str, made: str, at: int | None) -> str:
    """A page with ``made`` between its comments; where it has none, they stand at ``at``."""
    block = f"<!-- made: {name} -->\n\n{made}\n\n{END}\n"
    old = re.search(rf"<!-- made: {name} -->\n.*?{END}\n", page, re.S)
    if old:
        return page[: old.start()] + block + page[old.end() :]
    if at is None:
        raise SystemExit(f"there is no place for the {name} in\n{page[:300]}")
    rest = page[at:].lstrip("\n")
    return page[:at].rstrip("\n") + f"\n\n{block}" + (f"\n{rest}" if rest else "")


def page(text: str, entry: Entry) -> str:
    """A method's page with its two pieces as they should be now."""
    text = text.rstrip("\n") + "\n"
    title = re.match(r"# .+\n", text)
    text = placed(text, "facts", facts(entry), title.end() if title else None)
    if not SECTION.search(text):
        text += "\n## Parameters\n"
    before, heading, section, after = SECTION.split(text, 1)
    made = parameters(entry, sources(section))
    if "<!-- made: parameters -->" not in section:
        section = "\n" + TABLE.sub("", section, count=1).lstrip("\n")
    section = placed(heading + section, "parameters", made, len(heading))
    return "\n\n".join(part.strip("\n") for part in (before, section, after) if part) + "\n"


def index(entries: list[Entry]) -> str:
    """The page of all methods."""
    rows: list[list[object]] = [
        [
            f"[{e.name}]({e.name}.md)",
            e.spec["summary"],
            e.spec["setting"],
            reads(e),
            e.spec["paper"] or "-",
        ]
        for e in entries
    ]
    return INDEX.format(table=table(("name", "what it does", "setting", "reads", "paper"), rows))


def pages() -> dict[Path, str]:
    """All pages by their files.

    Raises:
        SystemExit: for a method without a page, and a page without a method.
    """
    entries = ours(load())
    files = {PAGES / f"{entry.name}.md": entry for entry in entries}
    there = {*PAGES.glob("*.md")} - {PAGES / "index.md"}
    if wrong := sorted(path.stem for path in {*files} ^ there):
        raise SystemExit(
            f"a page without a method, or a method without a page: {', '.join(wrong)}. A page "
            f"begins as {PAGES.relative_to(HERE.parent)}/NAME.md with a title."
        )
    made = {file: page(file.read_text("utf-8"), entry) for file, entry in files.items()}
    return made | {PAGES / "index.md": index(entries)}


def main() -> None:
    """Write every page."""
    for file, text in pages().items():
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
