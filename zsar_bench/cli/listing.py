"""``zsar-bench list``: everything registered, and what papers print."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json, print_table
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue

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
    from zsar_bench.data.clips.store import prepared

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
    from zsar_bench.data.protocols.lookup import load_all

    protocols, groups = load_all(catalogue)
    rows = {
        p.id: {
            "name": p.id,
            "dataset": p.dataset,
            "seen": len(p.seen),
            "unseen": len(p.unseen),
            "tested": p.test_clips or "-",
            "rule": p.rule,
            "family": p.family,
            "average of": [],
            "aliases": list(p.aliases),
        }
        for p in protocols
    }
    for g in groups:
        first = rows.get(g.of[0], {})
        alike = {k: first.get(k, "-") for k in ("dataset", "seen", "unseen")}
        rows[g.id] = {
            "name": g.id,
            **alike,
            "tested": "-",
            "rule": f"average of {len(g.of)}",
            "family": g.family,
            "average of": list(g.of),
            "aliases": list(g.aliases),
        }
    return [rows[name] for name in sorted(rows)]


def _published(catalogue: Catalogue) -> Rows:
    from zsar_bench.compare.published import read_published

    return [
        {
            "name": row["method"],
            "protocol": row["protocol"] or "-",
            "metric": row.get("metric", "top1"),
            "value": row["value"],
            "variant": row.get("variant", ""),
            "printed by": row.get("reported_by", ""),
            "flags": ", ".join(row.get("flags", ())),
            "row": row,
        }
        for row in read_published(catalogue.published_folders)
    ]


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
    "published": _published,
    "metrics": _simple("metrics"),
    "reporters": _simple("reporters"),
    "plugins": _plugins,
}
WIDE = ("how to get", "average of", "aliases", "row")  #: only in JSON
#: Headings left out first where the terminal is narrow.
EXPENDABLE = (
    *("printed by", "variant", "hp", "inputs", "package", "plugin", "texts", "family", "rule"),
    *("profiles", "setting"),
)
#: Of methods: whose they are says more than a sentence, which their pages have.
EXPENDABLE_OF_METHODS = ("plugin", "texts", "summary", "profiles", "inputs", "hp", "setting")


def list_things(
    what: Annotated[str, typer.Argument(help=f"One of: {', '.join(LISTS)}.")] = "",
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Published numbers of this one only.")
    ] = "",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="Published numbers of this one only.")
    ] = "",
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """List what is registered; without a word, everything in short."""
    from zsar_bench.catalogue.catalogue import load

    if what and what not in LISTS:
        raise unknown("list", what, LISTS)
    if (protocol or method) and what != "published":
        raise UserError(
            "--protocol and --method choose among published numbers.",
            "Type: zsar-bench list published --protocol ID",
        )
    catalogue = load(plugin or ())
    if what:
        rows = LISTS[what](catalogue)
        if protocol or method:
            rows = _chosen(rows, protocol, method, catalogue)
        _print(what, rows, json)
        return
    everything = {
        name: list(dict.fromkeys(r["name"] for r in rows(catalogue)))
        for name, rows in LISTS.items()
    }
    if json:
        print_json(everything)
        return
    print_table("zsar-bench", ("what", "names"), [[k, ", ".join(v)] for k, v in everything.items()])
    console().print("More: zsar-bench list WHAT, zsar-bench show NAME", style="dim")


def _print(what: str, rows: Rows, json: bool) -> None:
    if json:
        print_json([row.get("row", row) for row in rows])
    elif not rows:
        console().print("None.")
    else:
        headings = [h for h in rows[0] if h not in WIDE and any(r[h] != "" for r in rows)]
        cells = [[_cell(r[h]) for h in headings] for r in rows]
        expendable = EXPENDABLE_OF_METHODS if what == "methods" else EXPENDABLE
        print_table(what, headings, cells, expendable=expendable)


def _chosen(rows: Rows, protocol: str, method: str, catalogue: Catalogue) -> Rows:
    """The published rows of a protocol, named by id or alias, and of a method."""
    from zsar_bench.compare.published import choose
    from zsar_bench.data.protocols.lookup import find_id

    wanted = find_id(protocol, catalogue) if protocol else ""
    kept = {id(row) for row in choose([row["row"] for row in rows], wanted, method)}
    return [row for row in rows if id(row["row"]) in kept]


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
