"""What is registered, published and installed, as typed rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue.catalogue import Catalogue, Entry, load
from zsar_bench.errors import UserError, unknown
from zsar_bench.registry import KINDS

if TYPE_CHECKING:
    from zsar_bench.data.protocols.protocol import Protocol, ProtocolGroup

Plugins = Iterable[str | Path]
TARGETS = ("name", "plugin", "target", "params", "seconds", "assets")  #: not facts for a reader


@dataclass(frozen=True)
class PluginRow:
    """A skeleton encoder, text encoder, metric or reporter."""

    name: str
    plugin: str  #: who registers it
    summary: str


@dataclass(frozen=True)
class MethodRow:
    """A method.

    Attributes:
        setting: ``inductive``, ``class-transductive`` or ``transductive``, as declared.
        inputs: what ``score`` gets: ``pooled``, and ``tokens``, ``logits`` or ``clips``.
        text_fields: its text recipe.
        profiles: named sets of parameters.
        hp: where its hyper-parameters come from: ``authors`` or ``untuned``.
    """

    name: str
    setting: str
    inputs: tuple[str, ...]
    text_fields: tuple[str, ...]
    profiles: tuple[str, ...]
    hp: str
    plugin: str
    summary: str
    paper: str


@dataclass(frozen=True)
class DatasetRow:
    """A data set; ``clips`` of the complete one, ``imported``: whether it is in the store."""

    name: str
    title: str
    clips: int
    imported: bool
    text_sets: tuple[str, ...]
    plugin: str
    how_to_get: str


@dataclass(frozen=True)
class ProtocolRow:
    """A protocol, or an average of several.

    Attributes:
        seen, unseen: number of classes; of an average, of its first member.
        test_clips: unseen test clips of the complete data set; None if there is no fixed number.
        rule: sample rule; of an average, of how many.
        average_of: its members, if it is an average.
    """

    name: str
    dataset: str
    seen: int | None
    unseen: int | None
    test_clips: int | None
    rule: str
    family: str
    average_of: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class PluginStatus:
    """An installed plugin, ``ok`` or ``broken`` with its ``errors``."""

    name: str
    status: str
    source: str
    package: str
    errors: tuple[str, ...]


def list_methods(plugins: Plugins = ()) -> list[MethodRow]:
    """All registered methods, by name.

    Args:
        plugins: plugin files to load beside the installed ones.
    """
    return methods_of(_load(plugins))


def list_skeleton_encoders(plugins: Plugins = ()) -> list[PluginRow]:
    """All registered skeleton encoders, by name."""
    return entries_of(_load(plugins), "skeleton_encoders")


def list_text_encoders(plugins: Plugins = ()) -> list[PluginRow]:
    """All registered text encoders, by name."""
    return entries_of(_load(plugins), "text_encoders")


def list_metrics(plugins: Plugins = ()) -> list[PluginRow]:
    """All registered metrics, by name."""
    return entries_of(_load(plugins), "metrics")


def list_reporters(plugins: Plugins = ()) -> list[PluginRow]:
    """All registered reporters, by name."""
    return entries_of(_load(plugins), "reporters")


def list_datasets(plugins: Plugins = ()) -> list[DatasetRow]:
    """All data sets that a plugin or the user has described, by name."""
    return datasets_of(_load(plugins))


def list_protocols(plugins: Plugins = ()) -> list[ProtocolRow]:
    """All protocols and averages, by id."""
    return protocols_of(_load(plugins))


def list_published(
    protocol: str = "", method: str = "", plugins: Plugins = ()
) -> list[dict[str, Any]]:
    """Numbers that papers print, as ``results/published`` has them.

    Args:
        protocol: id or alias; empty: all.
        method: as the papers name it; empty: all.
        plugins: plugin files to load beside the installed ones.

    Raises:
        UserError: for an unknown protocol.
    """
    return published_of(_load(plugins), protocol, method)


def list_plugins(plugins: Plugins = ()) -> list[PluginStatus]:
    """All installed plugins, broken ones with their errors."""
    return plugins_of(_load(plugins))


def protocol(name: str, plugins: Plugins = ()) -> Protocol | ProtocolGroup:
    """A protocol, or an average of protocols, by id, alias or file.

    Args:
        name: an id, ``DATASET/random:5@0``, or a file as ``my-protocol.toml``.
        plugins: plugin files to load beside the installed ones.

    Returns:
        Seen and unseen classes in the data set's order, sample rule, source.

    Raises:
        UserError: if there is none of this name, or its file is faulty.
    """
    return protocol_of_name(name, _load(plugins))


# --- The same of a loaded catalogue --------------------------------------------------------------


def _load(plugins: Plugins) -> Catalogue:
    return load([Path(file) for file in plugins])


def methods_of(catalogue: Catalogue) -> list[MethodRow]:
    """See ``list_methods``."""
    return [
        MethodRow(
            name=e.name,
            setting=e.spec["setting"],
            inputs=("pooled", *e.spec["wants"]),
            text_fields=tuple(e.spec["text_fields"]),
            profiles=tuple(e.profiles),
            hp=e.spec["hp"],
            plugin=e.plugin,
            summary=e.spec["summary"],
            paper=e.spec["paper"],
        )
        for e in catalogue.entries("methods")
    ]


def entries_of(catalogue: Catalogue, kind: str) -> list[PluginRow]:
    """Name, plugin and summary of every entry of one kind."""
    return [PluginRow(e.name, e.plugin, e.spec["summary"]) for e in catalogue.entries(kind)]


def datasets_of(catalogue: Catalogue) -> list[DatasetRow]:
    """See ``list_datasets``."""
    from zsar_bench.data.clips.store import prepared

    imported = prepared()
    return [
        DatasetRow(
            name=e.name,
            title=e.spec["title"],
            clips=e.spec["clips"],
            imported=e.name in imported,
            text_sets=tuple(e.spec["texts"]),
            plugin=e.plugin,
            how_to_get=e.spec["how_to_get"],
        )
        for e in catalogue.entries("datasets")
    ]


def protocols_of(catalogue: Catalogue) -> list[ProtocolRow]:
    """See ``list_protocols``."""
    from zsar_bench.data.protocols.lookup import load_all

    protocols, groups = load_all(catalogue)
    rows = {
        p.id: ProtocolRow(
            name=p.id,
            dataset=p.dataset,
            seen=len(p.seen),
            unseen=len(p.unseen),
            test_clips=p.test_clips or None,
            rule=p.rule,
            family=p.family,
            average_of=(),
            aliases=p.aliases,
        )
        for p in protocols
    }
    for group in groups:
        first = rows.get(group.of[0])
        rows[group.id] = ProtocolRow(
            name=group.id,
            dataset=first.dataset if first else "",
            seen=first.seen if first else None,
            unseen=first.unseen if first else None,
            test_clips=None,
            rule=f"average of {len(group.of)}",
            family=group.family,
            average_of=group.of,
            aliases=group.aliases,
        )
    return [rows[name] for name in sorted(rows)]


def published_of(
    catalogue: Catalogue, protocol: str = "", method: str = ""
) -> list[dict[str, Any]]:
    """See ``list_published``."""
    from zsar_bench.comparison.published import choose, read_published
    from zsar_bench.data.protocols.lookup import find_id

    rows = read_published(catalogue.published_folders)
    return choose(rows, find_id(protocol, catalogue) if protocol else "", method)


def count_published(catalogue: Catalogue, protocol: str) -> int:
    """How many numbers papers print on a protocol of this very id; it may be the user's own."""
    return sum(row["protocol"] == protocol for row in published_of(catalogue))


def plugins_of(catalogue: Catalogue) -> list[PluginStatus]:
    """See ``list_plugins``."""
    return [
        PluginStatus(
            name=row["name"],
            status=row["status"],
            source=row["source"],
            package=row["distribution"],
            errors=tuple(row["errors"]),
        )
        for row in catalogue.data["plugins"]
    ]


# --- One thing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Description:
    """One registered thing.

    Attributes:
        kind: e.g. ``method``.
        entry: of its plugin.
        facts: the parts of it for readers, by name.
        assets: file that it reads -> SHA-256.
        parameters: a row a parameter: ``name``, ``type``, ``default``, ``kind``, ``meaning`` and,
            for each profile, ``profile NAME``.
    """

    kind: str
    entry: Entry
    facts: dict[str, Any]
    assets: dict[str, str]
    parameters: list[dict[str, Any]]


def describe(name: str, plugins: Plugins = ()) -> Description:
    """A method, encoder, data set, metric or reporter by name: its facts and parameters.

    Raises:
        UserError: if nothing is registered under this name, or two plugins claim it.
    """
    catalogue = _load(plugins)
    description = description_of(name, catalogue)
    if description is None:
        raise unknown("name", name, _known(catalogue), "zsar-bench list")
    return description


def description_of(name: str, catalogue: Catalogue) -> Description | None:
    """The same of a loaded catalogue; None if nothing is registered under this name."""
    for kind, word in KINDS.items():
        if name in catalogue.data[kind] or name in catalogue.data["conflicts"].get(kind, {}):
            entry = catalogue.find(kind, name)
            files = catalogue.data["files"]
            return Description(
                kind=word,
                entry=entry,
                facts={k: v for k, v in entry.spec.items() if k not in TARGETS and v},
                assets={path: files[path] for path in entry.spec.get("assets", ())},
                parameters=_parameters(entry),
            )
    return None


def protocol_of_name(name: str, catalogue: Catalogue) -> Protocol | ProtocolGroup:
    """See ``protocol``; the error for an unknown name suggests names of all kinds."""
    from zsar_bench.data.protocols.lookup import find_group, find_protocol

    try:
        return find_group(name, catalogue) or find_protocol(name, catalogue)
    except UserError as error:
        if not error.what.startswith("Unknown protocol '"):
            raise
        raise unknown("name", name, _known(catalogue), "zsar-bench list") from None


@dataclass(frozen=True)
class RoundSize:
    """Clips of one round of a protocol."""

    round: str
    train: int
    test_unseen: int
    test_seen: int


@dataclass(frozen=True)
class ProtocolDetails:
    """A protocol with what this machine has for it.

    Attributes:
        protocol: as ``protocol`` gives it.
        published: how many numbers papers print on it.
        clips: class id -> clips in the store; empty where its data set is not imported.
        rounds: sizes; empty where its data set is not imported.
        stand_in: the synthetic data set that it runs on until then; empty if there is none.
        readable: whether an installed plugin reads its data set.
    """

    protocol: Protocol
    published: int
    clips: dict[str, int]
    rounds: list[RoundSize]
    stand_in: str
    readable: bool


def details(protocol: Protocol, catalogue: Catalogue) -> ProtocolDetails:
    """What this machine has for a protocol.

    Raises:
        UserError: if its data set is imported, but lacks clips that a round needs.
    """
    from zsar_bench.data.clips.store import open_dataset, prepared
    from zsar_bench.data.protocols.protocol import stand_ins
    from zsar_bench.data.protocols.splits import make_rounds

    clips: dict[str, int] = {}
    rounds = []
    if protocol.dataset in prepared():
        dataset = open_dataset(protocol.dataset)
        clips = dict(Counter(dataset.clips["class"]))
        rounds = [
            RoundSize(r.name, len(r.train), len(r.test_unseen), len(r.test_seen))
            for r in make_rounds(protocol, dataset)
        ]
    substitutes = stand_ins(protocol.dataset, catalogue)
    return ProtocolDetails(
        protocol=protocol,
        published=count_published(catalogue, protocol.id),
        clips=clips,
        rounds=rounds,
        stand_in=substitutes[0].name if substitutes else "",
        readable=protocol.dataset in catalogue.names("datasets"),
    )


def _known(catalogue: Catalogue) -> list[str]:
    from zsar_bench.data.protocols.lookup import protocol_files

    names = [name for kind in KINDS for name in catalogue.names(kind)]
    return [*names, *protocol_files(catalogue)]


def _parameters(entry: Entry) -> list[dict[str, Any]]:
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
