"""The catalogue from its parts: what each plugin brings, joined, and what no two may both have.

A part is what ``discovery.part_of`` says of one plugin. Joined anew by each command, it can be
kept by itself: one plugin that is added or changed leaves the answers of all others as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from zsar_bench.registry import KINDS

Json = dict[str, Any]
#: ``kind`` ("entry-point" or "file"), ``name``, ``value``, and ``distribution`` or ``before``.
Source = dict[str, Any]


def empty_row(source: Source) -> Json:
    """A plugin's line in the list of plugins, as long as nothing is known of it."""
    return {
        "name": source["name"],
        "kind": source["kind"],
        "source": source["value"],
        "distribution": source.get("distribution", ""),
        "status": "ok",
        "errors": [],
        "hooks": [],
    }


def first_of_each_name(sources: Iterable[Source]) -> dict[str, Source]:
    """Name -> the first plugin of this name, which is the only one that is asked."""
    first: dict[str, Source] = {}
    for source in sources:
        first.setdefault(source["name"], source)
    return first


def merged(sources: Iterable[Source], parts: Mapping[str, Json], machine: Json) -> Json:
    """The catalogue: sections, ``plugins``, folders, ``conflicts``, ``files`` and ``machine``.

    Args:
        sources: all plugins, in order.
        parts: name -> part of the first plugin of that name.
        machine: what torch says of this machine.
    """
    catalogue: Json = {kind: {} for kind in KINDS}
    catalogue |= {"plugins": [], "protocol_folders": [], "published_folders": [], "conflicts": {}}
    catalogue |= {"files": {}, "machine": machine}
    sources = list(sources)
    first = first_of_each_name(sources)
    for source in sources:
        name = source["name"]
        if source is not first[name]:
            taken = f"the name '{name}' is already taken by {first[name]['value']}"
            row = {**empty_row(source), "status": "broken", "errors": [taken]}
            catalogue["plugins"].append(row)
            continue
        part = parts[name]
        catalogue["plugins"].append(part["row"])
        for listed in ("protocol_folders", "published_folders"):
            catalogue[listed] += part[listed]
        catalogue["files"] |= part["files"]
        for kind, entries in part["entries"].items():
            for thing, entry in entries.items():
                _place(catalogue, kind, thing, {**entry, "plugin": name})
    for kind in ("skeleton_encoders", "text_encoders"):
        _tell_apart(catalogue[kind])
    return catalogue


def _place(catalogue: Json, kind: str, name: str, entry: Json) -> None:
    """Add an entry; a name two plugins claim belongs to neither."""
    conflicts = catalogue["conflicts"].setdefault(kind, {})
    if name in conflicts:
        conflicts[name].append(entry["plugin"])
    elif name in catalogue[kind]:
        conflicts[name] = [catalogue[kind].pop(name)["plugin"], entry["plugin"]]
    else:
        catalogue[kind][name] = entry


def _tell_apart(entries: dict[str, Json]) -> None:
    """Classes of one file have one digest, and caches are found by it: where several of them are
    registered, the class counts, too. (Methods are told apart by their names.)"""
    targets: dict[str, set[str]] = {}
    for entry in entries.values():
        targets.setdefault(entry["digest"], set()).add(entry["target"].partition(":")[2])
    for entry in entries.values():
        if len(targets[entry["digest"]]) > 1:
            text = json.dumps([entry["digest"], entry["target"].partition(":")[2]])
            entry["digest"] = hashlib.sha256(text.encode()).hexdigest()
