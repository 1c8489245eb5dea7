"""Parts of the pages that ``datasets.py`` writes: what is registered, as tables and sentences."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.common.classes import read_classes, read_toml
from zsar_bench.comparison.published import read_published
from zsar_bench.data.protocols.lookup import load_all
from zsar_bench.data.protocols.protocol import CROSS_FIT, TRANSFER, Protocol, ProtocolGroup

PLUGIN = "datasets"  #: whose data sets have pages; own ones of this machine's user have none
STAND_INS = "stand-ins"  #: name of their page
DIVISIONS = {
    "xsub": "cross-subject",
    "xview": "cross-view",
    "xset": "cross-setup",
    "split": "the release's split",
}


class Known(NamedTuple):
    """Everything registered that pages are made of.

    Attributes:
        sets: the data sets with raw files or parts, then the stand-ins, each by name.
        protocols, groups: all of them.
        published: id of a protocol or group -> how many numbers papers print on it.
    """

    sets: dict[str, Entry]
    stand_ins: dict[str, Entry]
    protocols: list[Protocol]
    groups: list[ProtocolGroup]
    published: Counter[str]

    def on(self, name: str) -> list[Protocol | ProtocolGroup]:
        """The protocols on a data set and the means over some of them, by id."""
        mine: dict[str, Protocol | ProtocolGroup] = {
            p.id: p for p in self.protocols if p.dataset == name
        }
        mine |= {g.id: g for g in self.groups if g.of[0] in mine}
        return [mine[key] for key in sorted(mine)]


def known(catalogue: Catalogue) -> Known:
    """What the catalogue has for the pages."""
    entries = {e.name: e for e in catalogue.entries("datasets") if e.plugin == PLUGIN}
    protocols, groups = load_all(catalogue)
    rows = read_published(catalogue.published_folders)
    return Known(
        {n: e for n, e in entries.items() if not e.spec["stand_in_for"]},
        {n: e for n, e in entries.items() if e.spec["stand_in_for"]},
        protocols,
        groups,
        Counter(row["protocol"] for row in rows),
    )


def table(headings: tuple[str, ...], rows: list[list[object]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def prose(text: str) -> str:
    """A text of a TOML file, its addresses as links."""
    return re.sub(r"https?://[^\s,;]*[\w/]", r"<\g<0>>", " ".join(text.split()))


def page_link(name: str) -> str:
    return f"[{name}]({name}.md)"


def number(count: int) -> str:
    return f"{count:,}" if count else "-"


def shell(lines: list[str]) -> str:
    """Commands, as a block."""
    return "\n".join(["```sh", *lines, "```"])


def shape(entry: Entry) -> list[object]:
    """How many classes, joints and bodies a data set has."""
    joints = read_toml(Path(entry.spec["layout"]))["joints"]
    return [len(read_classes(Path(entry.spec["classes"]))), len(joints), entry.spec["bodies"]]


def facts(entry: Entry, all_: Known) -> str:
    """The table of what can be counted, and the joints."""
    spec = entry.spec
    layout = read_toml(Path(spec["layout"]))
    count, joints, bodies = shape(entry)
    stand_ins = [n for n, e in all_.stand_ins.items() if e.spec["stand_in_for"] == entry.name]
    shown: dict[str, object] = {
        "name": f"`{entry.name}`",
        "pooled from": ", ".join(map(page_link, spec["parts"])),
        "clips": number(spec["clips"]) if spec["clips"] else "not counted",
        "shortest clip": f"{spec['min_frames']} frames" if spec["min_frames"] > 1 else "",
        "classes": count,
        "joints": joints,
        "bodies": "one" if bodies == 1 else f"up to {bodies}",
        "frames a second": f"{spec['fps']:g}",
        "stand-in before import": ", ".join(f"[{n}]({STAND_INS}.md)" for n in stand_ins),
    }
    root = next(j for n, j in enumerate(layout["joints"]) if layout["parents"][n] == n)
    order = f"Joints, from 0: {', '.join(layout['joints'])}. The root of their tree is `{root}`."
    rows: list[list[object]] = [[key, value] for key, value in shown.items() if value]
    return f"{table(('', ''), rows)}\n\n{order}"


def classes(entry: Entry, all_: Known) -> str:
    """Every class with its id; of a pooled data set also what it was made of and why."""
    file = Path(entry.spec["classes"])
    rows = read_toml(file)["class"]
    if any("of" in row for row in rows):
        return _class_map(rows, all_)
    if not any(row["name"] for row in rows):
        return f"Classes have the numbers {rows[0]['id']} to {rows[-1]['id']}, without names."
    listed = "; ".join(f"{row['id']} {row['name']}" for row in rows)
    return f"Classes, by their official ids: {listed}."


def _class_map(rows: list[dict[str, Any]], all_: Known) -> str:
    names = {
        f"{part}:{c.id}": f"{c.name} ({part} {c.id})"
        for part, entry in all_.sets.items()
        for c in read_classes(Path(entry.spec["classes"]))
    }
    merged = [row for row in rows if len(row["of"]) > 1]
    alone = [f"`{r['id']}`: {names[r['of'][0]]}" for r in rows if len(r["of"]) == 1]
    cells: list[list[object]] = [
        [f"`{r['id']}`", ", ".join(names[one] for one in r["of"]), prose(r["why"])] for r in merged
    ]
    return "\n\n".join(
        [
            f"Merged classes ({len(merged)} of {len(rows)}), with the reason:",
            table(("class", "merged from", "reason"), cells),
            f"The other {len(alone)} are classes of one data set:",
            "\n".join(f"- {one}" for one in alone),
        ]
    )


def division(one: Protocol) -> str:
    """How a protocol's clips are divided into train and test, in a few words."""
    if one.rule == CROSS_FIT:
        return f"subject cross-fit, {len(one.groups)} groups"
    if one.rule == TRANSFER:
        return "from part to part: " + ", ".join(f"{a} to {b}" for a, b in one.groups)
    return DIVISIONS[one.rule] + (f", by {one.column}" if one.column else "")


def protocol_table(name: str, all_: Known) -> str:
    """The protocols on a data set; empty if there are none."""
    rows: list[list[object]] = []
    for one in all_.on(name):
        published = number(all_.published[one.id])
        if isinstance(one, ProtocolGroup):
            what = f"mean of {', '.join(f'`{i}`' for i in one.of)}"
            rows.append([f"`{one.id}`", one.family, "", what, "", published])
            continue
        count = f"{len(one.seen)} / {len(one.unseen)}"
        count = f"{len(one.classes)} in {len(one.folds)} folds" if one.folds else count
        count = "by part" if one.rule == TRANSFER else count
        clips = number(one.test_clips)
        rows.append([f"`{one.id}`", one.family, count, division(one), clips, published])
    if not rows:
        return ""
    headings = ("protocol", "family", "seen / unseen", "division", "test clips", "published")
    return (
        f"{table(headings, rows)}\n\n*Test clips*: of unseen classes, on the complete data set; a "
        "dash: the protocol does not state them. *Published*: how many published numbers it has "
        "(`zsar-bench list published --protocol ID`). Source, classes and remarks of each: "
        "`zsar-bench show ID`."
    )


def variants(entry: Entry, all_: Known) -> str:
    """Protocols that need no file: folds and random splits, and how they divide clips."""
    name, samples = entry.name, entry.spec["samples"]
    if not samples:
        base = next((p.id for p in all_.on(name) if isinstance(p, Protocol)), "")
        other = f" `{base}/folds:3` has every class unseen once." if base else ""
        return f"The data set has no division of its own; every protocol defines one.{other}"
    if samples["rule"] == CROSS_FIT:
        groups = (f"({n}) {', '.join(g)}" for n, g in enumerate(samples["groups"], 1))
        how = f"each group of subjects is tested by models of the others: {'; '.join(groups)}"
    else:
        how = f"{DIVISIONS[samples['rule']]}, trained on {', '.join(samples['train'])}"
    return (
        f"`{name}/folds:3` has every class unseen once, in three folds; `{name}/random:5@0` draws "
        f"five unseen classes with seed 0. Both divide clips by the data set's own rule: {how}."
    )


def folds(name: str, all_: Known) -> str:
    """The folds that protocols on this data set have written down."""
    parts = []
    for one in all_.on(name):
        if isinstance(one, Protocol) and one.folds:
            lines = [f"{n}. {', '.join(f'`{c}`' for c in f)}" for n, f in enumerate(one.folds, 1)]
            parts.append(f"Folds of `{one.id}`, each unseen once:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def texts(entry: Entry) -> str:
    """The sets of class texts, and where they are from."""
    rows: list[list[object]] = []
    home = ""
    for set_, path in entry.spec["texts"].items():
        data = read_toml(Path(path))
        tables = [value for value in data.values() if isinstance(value, dict)]
        home = Path(path).parent.name if set_ == "a" else home
        row = [f"`{set_}`", data["version"], ", ".join(tables[0]), data.get("style", "")]
        rows.append(row)
    if not rows:
        return "None are included: running needs `--texts` with files of your own."
    whose = f" The sets are those of [{home}]({home}.md)." if home != entry.name else ""
    whose = "" if entry.spec["stand_in_for"] else whose
    return (
        f"{table(('set', 'version', 'fields', 'style'), rows)}\n\nFields `name`, `verb` and "
        f"`noun` come from the class list.{whose} The texts were frozen before any unseen clip was "
        "scored with them; choose a set with `--texts`."
    )
