"""``zsar-bench list`` and ``zsar-bench show``: everything registered, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json, print_table
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from zsar_bench.catalogue import Catalogue, Entry

Rows = list[dict[str, Any]]


def _methods(catalogue: Catalogue) -> Rows:
    return [
        {
            "name": e.name,
            "setting": e.spec["setting"],
            "inputs": ", ".join(["pooled", *e.spec["wants"]]),
            "texts": ", ".join(e.spec["text_fields"]),
            "profiles": ", ".join(e.profiles),
            "hp": e.spec["hp"],
            "plugin": e.plugin,
            "summary": e.spec["summary"],
            "paper": e.spec["paper"],
        }
        for e in catalogue.entries("methods")
    ]


def _simple(kind: str) -> Callable[[Catalogue], Rows]:
    def rows(catalogue: Catalogue) -> Rows:
        return [
            {"name": e.name, "plugin": e.plugin, "summary": e.spec["summary"]}
            for e in catalogue.entries(kind)
        ]

    return rows


def _datasets(catalogue: Catalogue) -> Rows:
    from zsar_bench.datasets import prepared

    imported = prepared()
    return [
        {
            "name": e.name,
            "title": e.spec["title"],
            "clips": e.spec["clips"],
            "imported": e.name in imported,
            "texts": ", ".join(e.spec["texts"]),
            "plugin": e.plugin,
            "how to get": e.spec["how_to_get"],
        }
        for e in catalogue.entries("datasets")
    ]


def _protocols(catalogue: Catalogue) -> Rows:
    from zsar_bench.lookup import protocol_files
    from zsar_bench.protocol import load_protocol

    rows = []
    for path in protocol_files(catalogue).values():
        p = load_protocol(path, None, catalogue)
        rows.append(
            {
                "name": p.id,
                "dataset": p.dataset,
                "seen": len(p.seen),
                "unseen": len(p.unseen),
                "test clips": p.test_clips or "-",
                "rule": p.rule,
                "family": p.family,
            }
        )
    return rows


def _plugins(catalogue: Catalogue) -> Rows:
    return [
        {
            "name": row["name"],
            "status": row["status"],
            "source": row["source"],
            "package": row["distribution"],
            "error": "; ".join(row["errors"]),
        }
        for row in catalogue.data["plugins"]
    ]


LISTS: dict[str, Callable[[Any], Rows]] = {
    "methods": _methods,
    "skeleton-encoders": _simple("skeleton_encoders"),
    "text-encoders": _simple("text_encoders"),
    "datasets": _datasets,
    "protocols": _protocols,
    "metrics": _simple("metrics"),
    "executors": _simple("executors"),
    "reporters": _simple("reporters"),
    "plugins": _plugins,
}
WIDE = ("paper", "how to get")  #: only in JSON
EXPENDABLE = ("hp", "inputs", "package", "plugin", "texts", "family", "profiles", "setting")


def list_things(
    what: Annotated[str, typer.Argument(help=f"One of: {', '.join(LISTS)}.")] = "",
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """List what is registered; without a word, everything in short."""
    from zsar_bench.catalogue import load

    if what and what not in LISTS:
        raise unknown("list", what, LISTS)
    catalogue = load(plugin or ())
    if what:
        rows = LISTS[what](catalogue)
        if json:
            print_json(rows)
        elif not rows:
            console().print("None.")
        else:
            headings = [h for h in rows[0] if h not in WIDE]
            cells = [[_cell(r[h]) for h in headings] for r in rows]
            print_table(what, headings, cells, expendable=EXPENDABLE)
        return
    everything = {name: [r["name"] for r in rows(catalogue)] for name, rows in LISTS.items()}
    if json:
        print_json(everything)
        return
    print_table("zsar-bench", ("what", "names"), [[k, ", ".join(v)] for k, v in everything.items()])
    console().print("More: zsar-bench list WHAT, zsar-bench show NAME", style="dim")


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def show(
    name: Annotated[str, typer.Argument(help="A method, encoder, data set or protocol.")],
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Show one thing: parameters with types, defaults and meaning; classes and counts."""
    from zsar_bench.catalogue import load
    from zsar_bench.lookup import find_protocol, protocol_files
    from zsar_bench.protocol import stand_ins
    from zsar_bench.registry import KINDS

    catalogue = load(plugin or ())
    for kind in KINDS:
        if name in catalogue.data[kind] or name in catalogue.data["conflicts"].get(kind, {}):
            _show_entry(catalogue.find(kind, name), KINDS[kind], json)
            return
    names = [n for kind in KINDS for n in catalogue.names(kind)]
    try:
        protocol = find_protocol(name, catalogue)
    except UserError as error:
        if not error.what.startswith("Unknown protocol"):
            raise
        known = [*names, *protocol_files(catalogue)]
        raise unknown("name", name, known, "zsar-bench list") from None
    _show_protocol(protocol, stand_ins(protocol.dataset, catalogue), json)


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


def _show_entry(entry: Entry, kind: str, json: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    rows = parameters(entry)
    if json:
        print_json({"kind": kind, "spec": entry.spec, "code": entry.digest, "parameters": rows})
        return
    out = console()
    out.print(f"[bold]{entry.name}[/] ({kind}, plugin {entry.plugin})")
    for key, value in entry.spec.items():
        if key in ("name", "plugin", "target", "params", "seconds") or not value:
            continue
        text = (
            ", ".join(map(str, value))
            if isinstance(value, list | dict)
            else " ".join(str(value).split())
        )
        out.print(f"  {key.replace('_', ' ')}: {text}", markup=False, soft_wrap=False)
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


def _show_protocol(protocol: Any, others: list[Entry], json: bool) -> None:
    from zsar_bench.datasets import open_dataset, prepared
    from zsar_bench.rounds import DIVISIONS

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
            for r in protocol.rounds(dataset)
        ]
    classes = [
        {
            "id": c.id,
            "name": c.name,
            "part": "unseen" if c.id in protocol.unseen else "seen",
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
        "train": list(protocol.train),
        "seen": len(protocol.seen),
        "unseen": len(protocol.unseen),
        "test_clips": protocol.test_clips,
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
    out.print(f"[bold]{protocol.id}[/]: {protocol.title}")
    for key in (
        "dataset",
        "family",
        "rule",
        "seen",
        "unseen",
        "test_clips",
        "source",
        "confidence",
        "notes",
    ):
        text = " ".join(str(facts[key]).split())
        out.print(f"  {key.replace('_', ' ')}: {text}", markup=False)
    if protocol.groups:
        groups = "; ".join(", ".join(g) for g in protocol.groups)
        out.print(f"  groups of performers: {groups}", markup=False)
    else:
        column = f"{DIVISIONS[protocol.rule]}s".replace("subject", "performer")
        out.print(f"  {column} that train: {', '.join(protocol.train)}", markup=False)
    if others and not counts:
        out.print(f"  until it is imported: synthetic clips of {others[0].name}", markup=False)
    cells = [
        [c["id"], c["name"], c["part"], c["clips"] if counts else "not imported"] for c in classes
    ]
    print_table("Classes", ("id", "name", "part", "clips"), cells)
    if rounds:
        print_table("Rounds", tuple(rounds[0]), [list(r.values()) for r in rounds])
