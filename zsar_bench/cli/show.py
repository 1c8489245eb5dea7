"""``zsar-bench show``: one registered entry, protocol or average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json, print_table

if TYPE_CHECKING:
    from zsar_bench.api.listing import Description, ProtocolDetails
    from zsar_bench.data.protocols.protocol import Protocol, ProtocolGroup


def show(
    name: Annotated[str, typer.Argument(help="A method, encoder, data set or protocol.")],
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Show one thing: parameters with types, defaults and meaning; classes and counts."""
    from zsar_bench.api.listing import count_published, description_of, details, protocol_of_name
    from zsar_bench.catalogue.catalogue import load
    from zsar_bench.data.protocols.lookup import protocol_files
    from zsar_bench.data.protocols.protocol import ProtocolGroup

    catalogue = load(plugin or ())
    description = description_of(name, catalogue)
    if description is not None:
        _show_description(description, json)
        if json or name not in protocol_files(catalogue):
            return
        console().print()  # a data set and the protocol on it may share a name
    protocol = protocol_of_name(name, catalogue)
    if isinstance(protocol, ProtocolGroup):
        _show_group(protocol, count_published(catalogue, protocol.id), json)
    else:
        _show_protocol(details(protocol, catalogue), json)


def _show_description(description: Description, json: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    entry, rows = description.entry, description.parameters
    if json:
        facts = {
            "kind": description.kind,
            "spec": entry.spec,
            "code": entry.digest,
            "assets": description.assets,
        }
        print_json(facts | {"parameters": rows})
        return
    out = console()
    out.print(Text.assemble((entry.name, "bold"), f" ({description.kind}, plugin {entry.plugin})"))
    for key, value in description.facts.items():
        text = (
            ", ".join(map(str, value))
            if isinstance(value, list | dict)
            else " ".join(str(value).split())
        )
        out.print(f"  {key.replace('_', ' ')}: {text}", markup=False, soft_wrap=False)
    for path, digest in description.assets.items():
        out.print(f"  reads {path} (sha256 {digest[:12]})", markup=False, soft_wrap=True)
    if not rows:
        return
    out.print("\nParameters (--set name=value), with the values of the profiles that differ:")
    for row in rows:
        differ = [
            f"{profile}: {row[f'profile {profile}']}"
            for profile in entry.profiles
            if row[f"profile {profile}"] != row["default"]
        ]
        note = "; changes speed only" if row["kind"] == "runtime" else ""
        values_text = f"  {', '.join(differ)}  ({row['type']}{note})".replace("    ", "  ")
        out.print(Text.assemble((f"  {row['name']} = {row['default']}", "bold"), values_text))
        out.print(Padding(Text(row["meaning"]), (0, 0, 0, 6)))


def _show_group(group: ProtocolGroup, published: int, json: bool) -> None:
    from dataclasses import asdict

    facts = asdict(group) | {"published": published}
    if json:
        print_json(facts)
        return
    _print_title(group.id, group.title)
    _print_facts(facts, ("family", "source", "confidence", "notes"))
    console().print(f"  the mean of: {', '.join(group.of)}", markup=False)
    _print_published(group.id, published)


def _print_title(name: str, title: str) -> None:
    from rich.text import Text

    console().print(Text.assemble((name, "bold"), f": {title}"))


def _print_facts(facts: dict[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        text = " ".join(str(facts[key]).split())
        console().print(f"  {key.replace('_', ' ')}: {text}", markup=False)


def _print_published(name: str, count: int) -> None:
    if count:
        more = f"zsar-bench list published --protocol {name}"
        console().print(f"  published numbers: {count}; see {more}", markup=False)


def _part(protocol: Protocol, class_id: str) -> str:
    """Whether a class is seen or unseen, or in which fold it is unseen."""
    from zsar_bench.data.protocols.protocol import TRANSFER

    for number, fold in enumerate(protocol.folds, 1):
        if class_id in fold:
            return f"unseen in fold {number}"
    if protocol.rule == TRANSFER:
        return "by part"
    return "unseen" if class_id in protocol.unseen else "seen"


def _division(protocol: Protocol) -> str:
    """Which clips train and which are tested, in words."""
    from zsar_bench.data.protocols.protocol import TRANSFER

    if protocol.rule == TRANSFER:
        return f"from, to: {'; '.join(' to '.join(pair) for pair in protocol.groups)}"
    if protocol.groups:
        return f"groups of subjects: {'; '.join(', '.join(g) for g in protocol.groups)}"
    return f"{protocol.divides_by}s that train: {', '.join(protocol.train)}"


def _show_protocol(details: ProtocolDetails, json: bool) -> None:
    protocol = details.protocol
    classes = [
        {
            "id": c.id,
            "name": c.name,
            "part": _part(protocol, c.id),
            "clips": details.clips.get(c.id),
        }
        for c in protocol.classes
    ]
    rounds = [vars(size) for size in details.rounds]
    facts = {
        "id": protocol.id,
        "title": protocol.title,
        "dataset": protocol.dataset,
        "family": protocol.family,
        "rule": protocol.rule,
        "groups": [list(g) for g in protocol.groups],
        "divided_by": protocol.divides_by,
        "train": list(protocol.train),
        "seen": len(protocol.seen),
        "unseen": len(protocol.unseen),
        "folds": [list(fold) for fold in protocol.folds],
        "test_clips": protocol.test_clips,
        "pseudo_unseen": list(protocol.pseudo_unseen),
        "published": details.published,
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
    _print_title(protocol.id, protocol.title)
    _print_facts(facts, ("dataset", "family", "rule", "seen", "unseen", "test_clips", "source"))
    _print_facts(facts, ("confidence", "notes"))
    out.print(f"  {_division(protocol)}", markup=False)
    if protocol.own_candidates:
        out.print("  candidates of a clip: the unseen classes of its own setup", markup=False)
    if protocol.pseudo_unseen:
        ids = ", ".join(protocol.pseudo_unseen)
        out.print(f"  published pseudo-unseen classes (GZSL): {ids}", markup=False)
    _print_published(protocol.id, details.published)
    if not details.readable and not details.stand_in:
        out.print("  no installed plugin reads this data set", markup=False)
    if details.stand_in and not details.clips:
        out.print(f"  until it is imported: synthetic clips of {details.stand_in}", markup=False)
    cells = [
        [c["id"], c["name"], c["part"], c["clips"] if details.clips else "not imported"]
        for c in classes
    ]
    print_table("Classes", ("id", "name", "part", "clips"), cells)
    if rounds:
        headings = tuple(key.replace("_", " ") for key in rounds[0])
        print_table("Rounds", headings, [list(row.values()) for row in rounds])
