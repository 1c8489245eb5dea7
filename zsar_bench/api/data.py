"""Data sets in the prepared store: imported, listed, verified, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.api.listing import Plugins
from zsar_bench.catalogue.catalogue import Catalogue, Entry, load
from zsar_bench.catalogue.machine import Machine, cores
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.errors import UserError
from zsar_bench.plans.request import parse_size
from zsar_bench.specs import generated

if TYPE_CHECKING:
    from zsar_bench.data.clips.import_pool import Work
    from zsar_bench.data.clips.store import Dataset
    from zsar_bench.data.custom.importing import OwnData

    WorkOn = Callable[[Entry, str, tuple[Path, ...]], Work]  #: data set, name in the store, files


@dataclass(frozen=True)
class Imported:
    """A data set in the store, and the result of its import.

    Attributes:
        dataset: its clips: ``clips`` (columns), ``about``, ``digest``.
        seconds: that it took; None if nothing was read.
        remark: why nothing was read; empty otherwise.
        expected: clips of the complete data set; 0 if there is no fixed number.
        enough_for, lacking: protocols with, and without, the clips they need; empty for a
            complete data set.
    """

    dataset: Dataset
    seconds: float | None
    remark: str
    expected: int
    enough_for: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Files that were left out: ``file`` and ``reason``."""
        return list(self.dataset.about["skipped"])

    @property
    def complete(self) -> bool:
        """Whether all clips of the data set are there."""
        return not self.expected or len(self.dataset) == self.expected


@dataclass(frozen=True)
class Stored:
    """A data set in the store."""

    name: str
    clips: int
    classes: int
    subjects: int
    megabytes: float
    digest: str


@dataclass(frozen=True)
class Verified:
    """A data set whose shards were checked; ``damaged``: shard -> what is wrong with it."""

    name: str
    shards: int
    damaged: dict[str, str]


def import_data(
    name: str | Path,
    *paths: str | Path,
    force: bool = False,
    skip_bad: bool = False,
    params: Mapping[str, Any] | None = None,
    jobs: int = 0,
    memory_limit: int | str | None = None,
    plugins: Plugins = (),
    on_event: Event = ignore_event,
    on_note: Callable[[str], None] | None = None,
) -> Imported:
    """Read raw files, or a folder of the user's own, into the store; or generate a stand-in.

    Killed or interrupted, the same call goes on where it stopped.

    Args:
        name: a data set, or a folder that describes one of the user's own.
        paths: zip archives or folders with raw files; none for a generated data set.
        force: replace an earlier import.
        skip_bad: leave out files that cannot be read, and list them, instead of refusing.
        params: parameters of a generated data set.
        jobs: workers at once; 0: one a core.
        memory_limit: bytes, or a text such as ``"4G"``, that a worker may use; None: 4 GiB.
        plugins: plugin files to load beside the installed ones.
        on_event: gets ``stage``, ``step`` and ``total``.
        on_note: gets sentences for the user.

    Raises:
        UserError: for unknown names, missing files, and files that cannot be what they claim.
        RunFailed: if a plugin's reader fails.
    """
    from zsar_bench.data.clips.import_pool import Work

    files = [Path(file) for file in plugins]
    sources = tuple(Path(path) for path in paths)
    catalogue = load(files)
    note = on_note or (lambda text: None)
    size = parse_size(memory_limit) if isinstance(memory_limit, str) else memory_limit
    machine = _machine(catalogue, size)
    started = time.monotonic()
    custom = custom_folder(str(name), sources, catalogue)

    def work_on(entry: Entry, store: str, sources: tuple[Path, ...]) -> Work:
        return Work(
            entry,
            machine,
            store,
            sources=sources,
            jobs=jobs or cores(),
            skip_bad=skip_bad,
            on_event=on_event,
            say=note,
        )

    if custom is not None:
        if params:
            raise UserError("Your own data are read from files; there are no parameters to --set.")
        dataset, remark = _import_folder(custom, catalogue, work_on, force)
        catalogue = load(files)  # with the new data set
    else:
        dataset, remark = _import_named(
            catalogue.find("datasets", str(name)), sources, params or {}, work_on, force
        )
    seconds = None if remark else time.monotonic() - started
    expected = int(dataset.about["expected_clips"] or 0)
    imported = Imported(dataset, seconds, remark, expected)
    if imported.complete:
        return imported
    enough_for, lacking = _usable(dataset, catalogue)
    return replace(imported, enough_for=enough_for, lacking=lacking)


def _import_named(
    entry: Entry,
    sources: tuple[Path, ...],
    params: Mapping[str, Any],
    work_on: WorkOn,
    force: bool,
) -> tuple[Dataset, str]:
    """A plugin's data set, and why nothing was read, if so."""
    from zsar_bench.data.clips.importer import ensure_generated, import_files, store_name
    from zsar_bench.data.clips.store import open_dataset, prepared

    values = _params(entry, sources, params)
    made = generated(entry.spec)
    work = work_on(entry, store_name(entry, values) if made else entry.name, sources)
    if sources and work.store in prepared() and not force:
        remark = f"Already imported; {', '.join(map(str, sources))} was not read."
        return open_dataset(work.store), remark
    if made:
        how = (work.machine, work.on_event, work.say, work.jobs)
        return ensure_generated(entry, values, *how, replace=force), ""
    return import_files(work, replace=force), ""


def _params(entry: Entry, sources: tuple[Path, ...], params: Mapping[str, Any]) -> dict[str, Any]:
    """A generator's parameters; refuses files for it, and parameters or no files for a reader."""
    from zsar_bench.catalogue.settings import Assignment, resolve

    spec, name = entry.spec, entry.name
    if generated(spec) and sources:
        raise UserError(
            f"'{name}' is generated; it reads no files.", f"Type: zsar-bench data import {name}"
        )
    if spec["stand_in_for"]:
        given = [Assignment.of(key, value) for key, value in params.items()]
        return resolve(entry, "paper", [a.for_owner(name) for a in given]).values
    how_to_get = " ".join(spec["how_to_get"].split())
    if params:
        raise UserError(f"'{name}' has no parameters to --set.")
    if not sources and not generated(spec):
        raise UserError(
            f"To import '{name}', give its raw files. {how_to_get}".strip(),
            f"Then type: zsar-bench data import {name} PATH",
        )
    for path in sources:
        if not path.expanduser().exists():
            raise UserError(f"There is no file or folder {path}.", how_to_get)
    return {}


def _usable(dataset: Dataset, catalogue: Catalogue) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Protocols that have the clips they need in an incomplete data set, and those that do not."""
    from zsar_bench.data.protocols.lookup import load_all
    from zsar_bench.data.protocols.splits import make_rounds

    ready, lacking = [], []
    for protocol in load_all(catalogue)[0]:
        if protocol.dataset != dataset.name:
            continue
        try:
            make_rounds(protocol, dataset)
        except UserError:
            lacking.append(protocol.id)
        else:
            ready.append(protocol.id)
    return tuple(ready), tuple(lacking)


def _machine(catalogue: Catalogue, memory: int | None) -> Machine:
    """Where the workers of an import compute; they may read the code of these plugins."""
    return Machine(
        "cpu",
        1,
        plugin_files=tuple(str(p) for p in catalogue.plugin_files),
        code=catalogue.code,
        code_state=catalogue.code_state,
        memory=memory,
    )


# --- A folder of the user's own ------------------------------------------------------------------


def custom_folder(name: str, paths: Sequence[Path], catalogue: Catalogue) -> OwnData | None:
    """The folder of the user's own data that a name, or a name and a path, mean.

    Returns:
        The folder, checked; None if a plugin's data set is meant.

    Raises:
        UserError: for a folder that is faulty, or not described at all.
    """
    from zsar_bench.catalogue.custom import ABOUT, TARGET
    from zsar_bench.data.custom.importing import is_own, read_own

    known = catalogue.data["datasets"].get(name)
    if not paths:
        made = known is not None and generated(known)
        if not made and is_own(Path(name)):
            return read_own(Path(name))
        if known is None and "/" in name and Path(name).expanduser().is_dir():
            raise UserError(
                f"The folder {name} holds no {ABOUT}, which says what the data set is.",
                "Write one as docs/own-data.md shows, or name a data set before the folder.",
            )
        return None
    if known is not None and known["target"] != TARGET:
        return None
    if len(paths) != 1 or not is_own(paths[0]):
        if known is None:
            return None
        raise UserError(
            f"'{name}' is a data set of your own: give the one folder that holds its {ABOUT}.",
            "Type: zsar-bench data import FOLDER",
        )
    folder = read_own(paths[0])
    if folder.description.name != name:
        raise UserError(
            f"{folder.folder / ABOUT} describes '{folder.description.name}', not '{name}'.",
            f"Type: zsar-bench data import {paths[0]}",
        )
    return folder


def _import_folder(
    custom: OwnData, catalogue: Catalogue, work_on: WorkOn, force: bool
) -> tuple[Dataset, str]:
    """Read a folder into the store and register it; a sentence if the clips were not read."""
    from zsar_bench.data.clips.importer import import_files
    from zsar_bench.data.custom.importing import import_own

    def read(entry: Entry) -> Dataset:
        return import_files(work_on(entry, entry.name, (custom.folder,)), replace=True)

    return import_own(custom, catalogue, read, force)


# --- The store -----------------------------------------------------------------------------------


def list_data() -> list[Stored]:
    """The data sets in the store, by name."""
    from zsar_bench.data.clips.store import open_dataset, prepared

    rows = []
    for name in prepared():
        dataset = open_dataset(name)
        rows.append(
            Stored(
                name=name,
                clips=len(dataset),
                classes=len({*dataset.clips["class"]}),
                subjects=len({*dataset.clips["subject"]} - {""}),
                megabytes=round(dataset.size / 1e6, 1),
                digest=dataset.digest,
            )
        )
    return rows


def verify_data(name: str | None = None) -> list[Verified]:
    """Check every stored shard against its checksum.

    Args:
        name: a data set; None: all.

    Raises:
        UserError: if it is not in the store.
    """
    from zsar_bench.common.checksums import Damaged
    from zsar_bench.data.clips.store import open_dataset, prepared

    rows = []
    for dataset in [name] if name else prepared():
        try:
            shards = list(open_dataset(dataset).verify())
        except Damaged:
            shards = [("dataset.json", "is damaged, so the shards cannot be checked")]
        damaged = {shard: problem for shard, problem in shards if problem}
        rows.append(Verified(dataset, len(shards), damaged))
    return rows


def remove_data(name: str) -> None:
    """Remove a data set, or its unfinished import, from the store; raw files stay.

    Raises:
        UserError: if there is none of this name.
    """
    from zsar_bench.catalogue.custom import custom_names, delete_custom
    from zsar_bench.data.clips.store import forget, prepared, remove, unfinished

    half, custom = name in unfinished(), name in custom_names()
    if half:
        forget(name)
    if name in prepared() or not (half or custom):
        remove(name)
    if custom:  # last: killed before, the same call goes on
        delete_custom(name)
