"""Raw files, or a generator's clips, into the prepared store: on all cores, and resumable.

The parent sends chunks of whole shards to workers, orders them, writes ``dataset.json`` and renames
the finished folder. The result does not depend on the number of workers or on interruptions.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine, cores
from zsar_bench.catalogue.settings import defaults, one_spelling, science_only
from zsar_bench.common import checksums
from zsar_bench.common.classes import read_classes, read_toml
from zsar_bench.common.events import Event
from zsar_bench.common.files import (
    discard,
    locked,
    make_folder,
    rename_folder,
    write_json,
)
from zsar_bench.common.hashing import digest
from zsar_bench.data.clips.import_answers import checked_listing, named
from zsar_bench.data.clips.import_job import Listed
from zsar_bench.data.clips.import_pool import (
    Journal,
    Say,
    Work,
    WorkerPool,
    _silent,
    by_shard,
    shard_key,
)
from zsar_bench.data.clips.store import (
    COLUMNS,
    FORMAT,
    Dataset,
    data_folder,
    open_dataset,
    prepared,
)
from zsar_bench.errors import DataError, RunFailed, UserError, unknown
from zsar_bench.sandbox.client import run_job
from zsar_bench.specs import generated

SHOWN = 5  #: bad files named in an error


# --- The two ways in ---------------------------------------------------------------------------


def open_or_make(entry: Entry, machine: Machine, on_event: Event) -> Dataset:
    """The prepared data set of an entry; a stand-in or a pooled one is made if need be.

    Args:
        entry: which one.
        machine: where it is made.
        on_event: gets ``stage``, ``step`` and ``total`` while it is.

    Raises:
        UserError: if it has to be imported first.
    """
    if generated(entry.spec):
        return ensure_generated(entry, {}, machine, on_event)
    return open_dataset(entry.name, entry.spec["how_to_get"])


def import_files(work: Work, replace: bool = False) -> Dataset:
    """Read raw files into the prepared store; continues what was interrupted.

    Raises:
        UserError: if the sources hold no clip of the data set.
        DataError: for files that cannot be read, with names and reasons. What was read is kept.
    """
    return _once(work, lambda: not replace and work.store in prepared(), "imported")


def ensure_generated(
    entry: Entry,
    params: Mapping[str, Any],
    machine: Machine,
    on_event: Event,
    say: Say = _silent,
    jobs: int = 0,
    replace: bool = False,
) -> Dataset:
    """The data set that a generator makes with these parameters; made unless it is there.

    It is made again if it is damaged, or if code, classes, joints or parts have changed. Of several
    processes one makes it and the others wait.

    Args:
        entry: a data set that stands in for another, or is pooled from several.
        params: values that differ from the defaults, or all.
        machine: has the plugin files.
        on_event: gets ``{"stage": "generate", "step": clips made, "total": clips in all}``.
        say: gets sentences for the user.
        jobs: workers at once; 0: one a core.
        replace: make it again in any case.
    """
    store = store_name(entry, params)
    values = _values(entry, params)
    work = Work(
        entry, machine, store, params=values, jobs=jobs or cores(), on_event=on_event, say=say
    )
    if not replace and _current(work):
        return open_dataset(store)
    return _once(work, lambda: not replace and _current(work), "made")


def _once(work: Work, made: Callable[[], bool], verb: str) -> Dataset:
    """Make the data set under its lock, unless somebody else was quicker."""
    with locked(work.beside, lambda: work.say(f"{work.store} is being {verb}; waiting.")):
        if made():
            _discard_if_empty(work.beside)
        else:
            _make(work)
    return open_dataset(work.store)


def store_name(entry: Entry, params: Mapping[str, Any]) -> str:
    """Name in the store of a generated data set: ``name``, or ``name+key=value,...``.

    Only science parameters that differ from their defaults are named, sorted. A digest replaces
    names that are too long or no file names.
    """
    changed = _changed(entry, params)
    if not changed:
        return entry.name
    variant = ",".join(f"{key}={_plain(value)}" for key, value in sorted(changed.items()))
    if len(variant) > 80 or not re.fullmatch(r"[A-Za-z0-9_.,=-]+", variant):
        variant = digest(changed)[:16]
    return f"{entry.name}+{variant}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters."""
    fields: dict[str, Any] = entry.schema.get("properties", {})
    values = defaults(entry)
    for name, value in params.items():
        if name not in fields:
            raise unknown(f"parameter of {entry.name}:", name, fields)
        values[name] = one_spelling(value, fields[name])
    return values


def _changed(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    plain, science = defaults(entry), science_only(entry, _values(entry, params))
    return {n: v for n, v in science.items() if v != plain[n]}


def _current(work: Work) -> bool:
    """Whether the store holds the whole data set of this code and these parameters."""
    if work.store not in prepared():
        return False
    expected = {"format": FORMAT, **_origin(work), **_facts(work.entry)}
    try:
        dataset = open_dataset(work.store)
        dataset.check(dataset.about["shards"])
    except UserError as error:
        work.say(f"{error.what} It is made again.")
        return False
    return all(dataset.about.get(name) == value for name, value in expected.items())


def _origin(work: Work) -> dict[str, Any]:
    """Where a generated data set comes from; nothing for one that was read."""
    if not work.generated:
        return {}
    if work.parts:
        digests = {name: part.digest for name, part in work.parts.items()}
        return {"parts": digests, "code": work.entry.digest}
    return {
        "stand_in_for": work.entry.spec["stand_in_for"],
        "params": science_only(work.entry, work.params),
        "code": work.entry.digest,
    }


def _facts(entry: Entry) -> dict[str, Any]:
    """Joints and classes in the data set's own files."""
    return {
        "layout": read_toml(Path(entry.spec["layout"])),
        "classes": [vars(c) for c in read_classes(Path(entry.spec["classes"]))],
    }


# --- The way through ---------------------------------------------------------------------------


def _make(work: Work) -> None:
    """Make the data set; the caller holds the lock. A failure keeps the finished shards."""
    shards = make_folder(work.beside / "store" / "shards")
    try:
        listing = _scanned(work)
        work = _from(work, listing["sources"])
        clips: list[Listed] = listing["clips"]
        groups = by_shard(clips)
        code, spec = work.entry.digest, work.entry.spec
        science = science_only(work.entry, work.params) | _origin(work)
        keys = {s: shard_key(group, code, science, spec) for s, group in groups.items()}
        journal = Journal(work.beside, keys)
        _say_what_is_kept(work, journal)
        todo = {s: group for s, group in groups.items() if s not in journal.rows}
        kept = len(clips) - sum(map(len, todo.values()))
        WorkerPool(work, journal, kept, len(clips)).run(todo, shards)
        content = _about(work, listing, groups, journal)
        write_json(work.beside / "store" / "dataset.json", content)
        journal.clear_strays()
        checksums.seal(work.beside / "store", deep=False)  # the shards' checksums are in that file
    except BaseException:
        _discard_if_empty(work.beside)
        raise
    final = data_folder() / work.store
    if final.is_dir():  # an earlier one, perhaps incomplete
        discard(final)
    rename_folder(work.beside / "store", final)
    shutil.rmtree(work.beside)


def _scanned(work: Work) -> dict[str, Any]:
    """The listing of the sources by a worker; see ``import_job.list_files``."""
    folder = make_folder(work.beside / "scan")
    try:
        answer = run_job(work.job("scan", folder), folder)
        return checked_listing(answer, work.places)
    except RunFailed as error:
        raise named(error, folder) from None


def _from(work: Work, sources: list[str]) -> Work:
    """The work with the sources where its clips were found."""
    if sources == work.places:
        return work
    names = ", ".join(Path(source).name for source in sources)
    work.say(f"No clip lies in the folder itself; reading its archives: {names}.")
    return replace(work, sources=tuple(map(Path, sources)))


def _discard_if_empty(beside: Path) -> None:
    """Delete the folder of an import without any finished shard."""
    if not any((beside / "store" / "shards").glob("[!.]*")):
        shutil.rmtree(beside, ignore_errors=True)


def _say_what_is_kept(work: Work, journal: Journal) -> None:
    if not journal.earlier:
        return
    if journal.rows:
        work.say(
            f"Continuing an unfinished import: {len(journal.rows)} of {len(journal.keys)} "
            "parts are there."
        )
    else:
        work.say("An unfinished import is there, of other files or by other code: starting afresh.")


# --- The result --------------------------------------------------------------------------------


def _about(
    work: Work, listing: dict[str, Any], groups: dict[str, list[Listed]], journal: Journal
) -> dict[str, Any]:
    """The content of ``dataset.json``, in the store's order."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    shards: dict[str, dict[str, Any]] = {}
    bad: list[dict[str, str]] = list(listing["bad"])
    skipped = [*listing["skipped"], *bad]
    for shard, clips in groups.items():
        row = journal.rows[shard]
        bad += row["bad"]
        skipped += row["bad"] + row["skipped"]
        frames = dict(row["clips"])
        start = 0
        for c in clips:
            if c.id in frames:
                values = (c.id, c.class_id, c.subject, c.camera, c.setup, shard, start)
                for column, value in zip(COLUMNS, (*values, frames[c.id]), strict=True):
                    columns[column].append(value)
                start += frames[c.id]
        if frames:
            shards[shard] = {"sha256": row["sha256"], "frames": row["frames"]}
    if bad and work.generated:
        raise RunFailed(f"{work.entry.name} made {bad[0]['file']}: {bad[0]['reason']}")
    if bad and not (work.skip_bad and columns["id"]):
        raise _refusal(bad, sum(map(len, groups.values())))
    return {
        "format": FORMAT,
        "name": work.store,
        "clips": columns,
        "shards": shards,
        "skipped": skipped,
        "aside": listing["aside"],
        "coverage": listing["coverage"],
        "expected_clips": work.entry.spec["clips"],
        **_origin(work),
        **_facts(work.entry),
    }


def _refusal(bad: list[dict[str, str]], total: int) -> DataError:
    lines = [f"  {b['file']}: {b['reason']}" for b in bad[:SHOWN]]
    more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    count = f"{len(bad)} of {total} files"
    return DataError(
        "\n".join([f"{count} cannot be read; nothing was imported:", *lines, *more]),
        "Get these files again, or leave them out with --skip-bad. What was read is kept: "
        "either way the import goes on from here.",
    )
