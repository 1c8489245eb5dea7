"""``zsar-bench list``: everything registered, and what papers print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json, print_table
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue

Rows = Sequence[dict[str, Any]]


def _rows(function: str, *arguments: str) -> Callable[[Catalogue], Rows]:
    """Rows of a function of ``zsar_bench.api.listing``, imported on use."""

    def rows(catalogue: Catalogue) -> Rows:
        from zsar_bench.api import listing

        return [asdict(row) for row in getattr(listing, function)(catalogue, *arguments)]

    return rows


def _published(catalogue: Catalogue) -> Rows:
    from zsar_bench.api.listing import published_of

    return [{"name": row["method"], **row} for row in published_of(catalogue)]


LISTS: dict[str, Callable[[Any], Rows]] = {
    "methods": _rows("methods_of"),
    "skeleton-encoders": _rows("entries_of", "skeleton_encoders"),
    "text-encoders": _rows("entries_of", "text_encoders"),
    "datasets": _rows("datasets_of"),
    "protocols": _rows("protocols_of"),
    "published": _published,
    "metrics": _rows("entries_of", "metrics"),
    "reporters": _rows("entries_of", "reporters"),
    "plugins": _rows("plugins_of"),
}
WIDE = ("how_to_get", "average_of", "aliases")  #: only in JSON
#: Of published numbers, which have many more keys: columns by heading.
PUBLISHED = {
    "name": "method",
    "protocol": "protocol",
    "metric": "metric",
    "value": "value",
    "variant": "variant",
    "printed by": "reported_by",
    "flags": "flags",
}
#: Headings left out first where the terminal is narrow.
EXPENDABLE = (
    *("printed by", "variant", "hp", "inputs", "package", "plugin", "text sets", "family", "rule"),
    *("profiles", "setting"),
)
#: Of methods: without a summary, which their pages have.
EXPENDABLE_OF_METHODS = (
    *("plugin", "text fields", "summary", "profiles", "inputs", "hp", "setting"),
)


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
    from zsar_bench.api.listing import published_of
    from zsar_bench.catalogue.catalogue import load

    if what and what not in LISTS:
        raise unknown("list", what, LISTS)
    if (protocol or method) and what != "published":
        raise UserError(
            "--protocol and --method choose among published numbers.",
            "Type: zsar-bench list published --protocol ID",
        )
    catalogue = load(plugin or ())
    if what == "published":
        _print_published(published_of(catalogue, protocol, method), json)
        return
    if what:
        _print(what, LISTS[what](catalogue), json)
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
        print_json(rows)
    elif not rows:
        console().print("None.")
    else:
        keys = [k for k in rows[0] if k not in WIDE and any(r[k] not in ("", ()) for r in rows)]
        cells = [[_cell(row[key]) for key in keys] for row in rows]
        expendable = EXPENDABLE_OF_METHODS if what == "methods" else EXPENDABLE
        headings = [key.replace("_", " ") for key in keys]
        print_table(what, headings, cells, expendable=expendable)


def _print_published(rows: Rows, json: bool) -> None:
    if json:
        print_json(rows)
    elif not rows:
        console().print("None.")
    else:
        plain = {"metric": "top1", "variant": "", "reported_by": "", "flags": ()}
        cells = [[_cell((plain | row)[key] or "") for key in PUBLISHED.values()] for row in rows]
        used = [n for n in range(len(PUBLISHED)) if any(row[n] for row in cells)]
        headings = [[*PUBLISHED][n] for n in used]
        cells = [[row[n] for n in used] for row in cells]
        print_table("published", headings, cells, expendable=EXPENDABLE)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
