"""``zsar-bench data import FOLDER``: a data set of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.cli.common import progress_bar
from zsar_bench.errors import UserError
from zsar_bench.specs import generated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsar_bench.catalogue import Catalogue, Entry
    from zsar_bench.datasets import Dataset
    from zsar_bench.environment import Machine
    from zsar_bench.own.importing import OwnData


def named_folder(name: str, paths: Sequence[Path], catalogue: Catalogue) -> OwnData | None:
    """The folder of one's own data that ``data import NAME [PATH]`` means.

    Returns:
        The folder, checked; None if the command means a plugin's data set.

    Raises:
        UserError: for a folder that is faulty, or not described at all.
    """
    from zsar_bench.own.description import ABOUT
    from zsar_bench.own.importing import is_own, read_own
    from zsar_bench.own.store import TARGET

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
    own = read_own(paths[0])
    if own.description.name != name:
        raise UserError(
            f"{own.folder / ABOUT} describes '{own.description.name}', not '{name}'.",
            f"Type: zsar-bench data import {paths[0]}",
        )
    return own


def import_machine(catalogue: Catalogue, memory_limit: str | None) -> Machine:
    """Where the workers of an import compute; they may read the code of these plugins."""
    from zsar_bench.environment import Machine
    from zsar_bench.limits import parse_size

    return Machine(
        "cpu",
        1,
        plugin_files=tuple(str(path) for path in catalogue.plugin_files),
        code=catalogue.code,
        code_state=catalogue.code_state,
        memory=None if memory_limit is None else parse_size(memory_limit),
    )


def import_folder(
    own: OwnData,
    catalogue: Catalogue,
    force: bool,
    jobs: int,
    skip_bad: bool,
    silent: bool,
    memory_limit: str | None = None,
) -> tuple[Dataset, str]:
    """Read a folder into the store and register it.

    Args:
        own: the folder.
        catalogue: what there is already.
        force: read clips that were read before.
        jobs: workers at once; 0: one a core.
        skip_bad: leave out what cannot be read, instead of refusing everything.
        silent: show no progress.
        memory_limit: of a worker, such as ``4G``.

    Returns:
        The data set, and a sentence if the clips were not read.
    """
    from zsar_bench.environment import cores
    from zsar_bench.importer import Work, import_files
    from zsar_bench.own.importing import import_own

    machine = import_machine(catalogue, memory_limit)
    with progress_bar(f"import {own.description.name}", silent) as (on_event, say):

        def read(entry: Entry) -> Dataset:
            work = Work(
                entry,
                machine,
                entry.name,
                sources=(own.folder,),
                jobs=jobs or cores(),
                skip_bad=skip_bad,
                on_event=on_event,
                say=say,
            )
            return import_files(work, replace=True)

        return import_own(own, catalogue, read, force)
