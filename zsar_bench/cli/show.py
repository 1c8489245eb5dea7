"""``zsar-bench show``: what one registered thing, protocol or average means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json, print_table
from zsar_bench.data.protocols.protocol import TRANSFER
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue, Entry
    from zsar_bench.data.protocols.protocol import Protocol, ProtocolGroup

Rows = list[dict[str, Any]]


def show(
    name: Annotated[str, typer.Argument(help="A method, encoder, data set or protocol.")],
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Show one thing: parameters with types, defaults and meaning; classes and counts."""
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.compare.published import read_published
    from zsar_bench.data.protocols.lookup import find_group, find_protocol, protocol_files
    from zsar_bench.registry import KINDS

    catalogue = load(plugin or ())
    for kind in KINDS:
        if name in catalogue.data[kind] or name in catalogue.data["conflicts"].get(kind, {}):
            _show_entry(catalogue.find(kind, name), KINDS[kind], catalogue.data["files"], json)
            if json or name not in protocol_files(catalogue):
                return
            console().print()  # a data set and the protocol on it may share a name
    try:
        group = find_group(name, catalogue)
        protocol = None if group else find_protocol(name, catalogue)
    except UserError as error:
        if not error.what.startswith("Unknown protocol '"):
            raise
        known = [n for kind in KINDS for n in catalogue.names(kind)]
        known += protocol_files(catalogue)
        raise unknown("name", name, known, "zsar-bench list") from None
    about = protocol or group
    rows = read_published(catalogue.published_folders)
    published = sum(about is not None and row["protocol"] == about.id for row in rows)
    if group:
        _show_group(group, published, json)
    elif protocol:
        _show_protocol(protocol, published, catalogue, json)


def parameters(entry: Entry) -> Rows:
    """Parameters of a plugin class: name, type, default, value per profile, kind, meaning."""
    rows = []
    for name, field in entry.schema.get("properties", {}).items():
        row = {
            "name": name,
            "type": _type(field),
            "default": field.get("default"),
            "kind": field.get("kind", "science"),
            "meaning": field.get("description", ""),
        }
        for profile, values in entry.profiles.items():
            row[f"profile {profile}"] = values.get(name, field.get("default"))
        rows.append(row)
    return rows


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(str(v) for v in field["enum"])
    if "anyOf" in field:
        return " | ".join(_type(f) for f in field["anyOf"])
    words = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
    }
    bounds = [f"{sign} {field[key]}" for key, sign in words.items() if key in field]
    return " ".join([str(field.get("type", "any")), *bounds])


def _show_entry(entry: Entry, kind: str, files: dict[str, str], json: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    rows = parameters(entry)
    assets = {path: files[path] for path in entry.spec.get("assets", ())}
    if json:
        facts = {"kind": kind, "spec": entry.spec, "code": entry.digest, "assets": assets}
        print_json(facts | {"parameters": rows})
        return
    out = console()
    out.print(Text.assemble((entry.name, "bold"), f" ({kind}, plugin {entry.plugin})"))
    for key, value in entry.spec.items():
        if key in ("name", "plugin", "target", "params", "seconds", "assets") or not value:
            continue
        text = (
            ", ".join(map(str, value))
            if isinstance(value, list | dict)
            else " ".join(str(value).split())
        )
        out.print(f"  {key.replace('_', ' ')}: {text}", markup=False, soft_wrap=False)
    for path, digest in assets.items():
        out.print(f"  reads {path} (sha256 {digest[:12]})", markup=False, soft_wrap=True)
    if not rows:
        return
    out.print("\nParameters (--set name=value), with the values of the profiles that differ:")
    for r in rows:
        differ = [
            f"{p}: {r[f'profile {p}']}" for p in entry.profiles if r[f"profile {p}"] != r["default"]
        ]
        note = "; changes speed only" if r["kind"] == "runtime" else ""
        rest = f"  {', '.join(differ)}  ({r['type']}{note})".replace("    ", "  ")
        out.print(Text.assemble((f"  {r['name']} = {r['default']}", "bold"), rest))
        out.print(Padding(Text(r["meaning"]), (0, 0, 0, 6)))


def _show_group(group: ProtocolGroup, published: int, json: bool) -> None:
    from dataclasses import asdict

    facts = asdict(group) | {"published": published}
    if json:
        print_json(facts)
        return
    _say_title(group.id, group.title)
    _say(facts, ("family", "source", "confidence", "notes"))
    console().print(f"  the mean of: {', '.join(group.of)}", markup=False)
    _say_published(group.id, published)


def _say_title(name: str, title: str) -> None:
    from rich.text import Text

    console().print(Text.assemble((name, "bold"), f": {title}"))


def _say(facts: dict[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        text = " ".join(str(facts[key]).split())
        console().print(f"  {key.replace('_', ' ')}: {text}", markup=False)


def _say_published(name: str, count: int) -> None:
    if count:
        more = f"zsar-bench list published --protocol {name}"
        console().print(f"  published numbers: {count}; see {more}", markup=False)


def _part(protocol: Protocol, class_id: str) -> str:
    """Whether a class is seen or unseen, or when it is its turn."""
    for number, fold in enumerate(protocol.folds, 1):
        if class_id in fold:
            return f"unseen in fold {number}"
    if protocol.rule == TRANSFER:
        return "by part"
    return "unseen" if class_id in protocol.unseen else "seen"


def _division(protocol: Protocol) -> str:
    """Which clips train and which are tested, in words."""
    if protocol.rule == TRANSFER:
        return f"from, to: {'; '.join(' to '.join(pair) for pair in protocol.groups)}"
    if protocol.groups:
        return f"groups of subjects: {'; '.join(', '.join(g) for g in protocol.groups)}"
    column = f"{protocol.divides_by}s".replace("subject", "subject")
    return f"{column} that train: {', '.join(protocol.train)}"


def _show_protocol(protocol: Protocol, published: int, catalogue: Catalogue, json: bool) -> None:
    from zsar_bench.data.clips.store import open_dataset, prepared
    from zsar_bench.data.protocols.protocol import stand_ins

    others = stand_ins(protocol.dataset, catalogue)
    counts: dict[str, int] = {}
    rounds = []
    if protocol.dataset in prepared():
        dataset = open_dataset(protocol.dataset)
        for class_id in dataset.clips["class"]:
            counts[class_id] = counts.get(class_id, 0) + 1
        rounds = [
            {
                "round": r.name,
                "train": len(r.train),
                "test unseen": len(r.test_unseen),
                "test seen": len(r.test_seen),
            }
            for r in make_rounds(protocol, dataset)
        ]
    classes = [
        {
            "id": c.id,
            "name": c.name,
            "part": _part(protocol, c.id),
            "clips": counts.get(c.id),
        }
        for c in protocol.classes
    ]
    facts = {
        "id": protocol.id,
        "title": protocol.title,
        "dataset": protocol.dataset,
        "family": protocol.family,
        "rule": protocol.rule,
        "groups": [list(g) for g in protocol.groups],
        "divided by": protocol.divides_by,
        "train": list(protocol.train),
        "seen": len(protocol.seen),
        "unseen": len(protocol.unseen),
        "folds": [list(fold) for fold in protocol.folds],
        "test_clips": protocol.test_clips,
        "pseudo_unseen": list(protocol.pseudo_unseen),
        "published": published,
        "source": protocol.source,
        "confidence": protocol.confidence,
        "notes": protocol.notes,
        "classes": classes,
        "rounds": rounds,
    }
    if json:
        print_json(facts)
        return
    out = console()
    _say_title(protocol.id, protocol.title)
    _say(facts, ("dataset", "family", "rule", "seen", "unseen", "test_clips", "source"))
    _say(facts, ("confidence", "notes"))
    out.print(f"  {_division(protocol)}", markup=False)
    if protocol.own_candidates:
        out.print("  candidates of a clip: the unseen classes of its own setup", markup=False)
    if protocol.pseudo_unseen:
        ids = ", ".join(protocol.pseudo_unseen)
        out.print(f"  published pseudo-unseen classes (GZSL): {ids}", markup=False)
    _say_published(protocol.id, published)
    if protocol.dataset not in catalogue.names("datasets") and not others:
        out.print("  no installed plugin reads this data set", markup=False)
    if others and not counts:
        out.print(f"  until it is imported: synthetic clips of {others[0].name}", markup=False)
    cells = [
        [c["id"], c["name"], c["part"], c["clips"] if counts else "not imported"] for c in classes
    ]
    print_table("Classes", ("id", "name", "part", "clips"), cells)
    if rounds:
        print_table("Rounds", tuple(rounds[0]), [list(r.values()) for r in rounds])
