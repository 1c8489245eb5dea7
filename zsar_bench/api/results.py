"""Stored runs: loaded, compared, verified, imported; scores of others evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.api.listing import Plugins
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.catalogue.machine import Machine
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.common.names import NAME
from zsar_bench.data.clips.importer import open_or_make
from zsar_bench.data.protocols.lookup import find_protocol, load_groups
from zsar_bench.data.protocols.protocol import STAND_IN, Protocol, folder_name
from zsar_bench.data.protocols.splits import UnseenClips, unseen_clips
from zsar_bench.data.texts.texts import bare_name
from zsar_bench.errors import UserError
from zsar_bench.plans.choose_data import choose_data, members
from zsar_bench.records.files import find_records
from zsar_bench.records.run import Run

if TYPE_CHECKING:
    from zsar_bench.reporters.comparison import Comparison
    from zsar_bench.verification.transfer import Verdict

ALL = "all"  #: every selection rule, with the gain of each
OnVerdict = Callable[["Verdict"], None]


def load_results(
    results: str | Path = DEFAULT_RESULTS,
    *,
    protocol: str = "",
    method: str | Iterable[str] = (),
    text_set: str | Iterable[str] = (),
    selection: str = "",
    plugins: Plugins = (),
    on_damage: Callable[[str], None] | None = None,
) -> list[Run]:
    """The finished runs of a results folder, in the order of their folders' names.

    Args:
        results: holds ``runs``.
        protocol: id, alias or file; also finds runs on its stand-in, random splits and folds. Of
            an average: those of all its members.
        method: only these methods.
        text_set: only runs with these class texts.
        selection: only runs of this selection rule; empty or ``all``: of every rule.
        plugins: plugin files to load beside the installed ones.
        on_damage: gets a sentence about each damaged run, which is left out; None: the first is
            an error.

    Raises:
        UserError: if there is no run of that kind, or one is damaged.
    """
    folder = Path(results).expanduser()
    places = [""]
    if protocol:
        catalogue = load([Path(file) for file in plugins])
        places = [_folder(name, catalogue) for name in members(protocol, catalogue)]
    runs = [Run(path) for place in places for path in find_records(folder, place)]
    if not runs:
        on_protocol = f" on '{protocol}'" if protocol else ""
        raise UserError(
            f"There are no finished runs{on_protocol} in {results}.",
            "Start some: zsar-bench run METHOD --protocol ID. See: zsar-bench list methods",
        )
    whole = list(sound(runs, on_damage))
    methods, texts = _names(method), _names(text_set)
    kept = [
        run
        for run in whole
        if (not methods or run.record.method.name in methods)
        and (not texts or {run.record.texts.source, bare_name(run.record.texts.source)} & texts)
    ]
    if not kept and (methods or texts):
        raise UserError(f"None of the {len(runs)} runs in {results} has this method and texts.")
    return _of_rule(kept, selection)


def sound(runs: Iterable[Run], on_damage: Callable[[str], None] | None) -> Iterator[Run]:
    """The runs with undamaged records; see ``load_results``."""
    for run in runs:
        try:
            run.record  # noqa: B018  read and checked here, kept by the run
        except UserError as error:
            if on_damage is None:
                raise
            on_damage(error.what)
        else:
            yield run


def _names(given: str | Iterable[str]) -> set[str]:
    return {given} if isinstance(given, str) else {*given}


def _folder(protocol: str, catalogue: Catalogue) -> str:
    """Folder name of a protocol's runs; ``stand-in/`` before it stays."""
    base = protocol.removeprefix(STAND_IN)
    before = STAND_IN if protocol.startswith(STAND_IN) else ""
    return folder_name(f"{before}{find_protocol(base, catalogue).id}")


def _of_rule(runs: list[Run], selection: str) -> list[Run]:
    """The runs of one selection rule; of every rule for none or all."""
    if selection in ("", ALL):
        return runs
    kept = [run for run in runs if run.record.selection == selection]
    if runs and not kept:
        rules = sorted({run.record.selection for run in runs})
        raise UserError(
            f"None of these {len(runs)} runs was selected by '{selection}', "
            f"but by {' or '.join(rules)}.",
            f"Type one of these, or: zsar-bench compare --selection {ALL}",
        )
    return kept


def compare(
    runs: Iterable[Run],
    *,
    published: bool = True,
    rules: bool = False,
    plugins: Plugins = (),
    catalogue: Catalogue | None = None,
) -> Comparison:
    """Stored runs as sections of rows: one section a protocol and setting, best row first.

    Args:
        runs: from ``run`` or ``load_results``; rows that differ in anything but seeds stand apart.
        published: whether numbers that papers print stand beside them.
        rules: whether to add what each method gains by each selection rule.
        plugins: plugin files to load beside the installed ones.
        catalogue: what ``plugins`` would give, where it is loaded already.

    Raises:
        UserError: if a run is damaged.
    """
    from zsar_bench.comparison.published import read_published
    from zsar_bench.comparison.sections import compare as compare_records
    from zsar_bench.reporters.comparison import Comparison

    catalogue = catalogue or load([Path(file) for file in plugins])
    printed = read_published(catalogue.published_folders) if published else []
    records = [run.record for run in runs]
    comparison = compare_records(records, printed, load_groups(catalogue), rules=rules)
    return Comparison(comparison, catalogue)


# --- Verified and imported -----------------------------------------------------------------------


def verify(
    results: str | Path = DEFAULT_RESULTS,
    plugins: Plugins = (),
    on_verdict: OnVerdict | None = None,
) -> list[Verdict]:
    """Verify stored runs in place: seals, ids, labels, and every number anew.

    Args:
        results: holds ``runs``.
        plugins: plugin files to load beside the installed ones.
        on_verdict: gets every verdict as soon as it is there.

    Returns:
        A verdict a run: ``sound`` or ``refused``, with what could not be checked.

    Raises:
        UserError: if there is no run.
    """
    from zsar_bench.verification.transfer import check_runs

    catalogue = load([Path(file) for file in plugins])
    return _each(check_runs(Path(results).expanduser().absolute(), catalogue), on_verdict)


def import_results(
    source: str | Path,
    results: str | Path = DEFAULT_RESULTS,
    plugins: Plugins = (),
    on_verdict: OnVerdict | None = None,
) -> list[Verdict]:
    """Take over runs of another machine, if every number follows from their predictions.

    Args:
        source: a run's folder, a tree of them, or a zip archive of it.
        results: where they are put.
        plugins: plugin files to load beside the installed ones.
        on_verdict: gets every verdict as soon as it is there.

    Returns:
        A verdict a run: ``imported``, ``kept`` (it was there already) or ``refused``.

    Raises:
        UserError: if the source cannot be read or holds no run.
    """
    from zsar_bench.verification.transfer import import_runs

    catalogue = load([Path(file) for file in plugins])
    target = Path(results).expanduser().absolute()
    return _each(import_runs(Path(source).expanduser(), target, catalogue), on_verdict)


def _each(verdicts: Iterable[Verdict], on_verdict: OnVerdict | None) -> list[Verdict]:
    seen = []
    for verdict in verdicts:
        if on_verdict is not None:
            on_verdict(verdict)
        seen.append(verdict)
    return seen


# --- What unfinished runs have left ---------------------------------------------------------------


@dataclass(frozen=True)
class Cleaned:
    """Work of unfinished runs that was deleted.

    Attributes:
        stages: how many pieces of work.
        megabytes: that they took.
        in_use: pieces that a command is making or reading now; they stay.
    """

    stages: int
    megabytes: float
    in_use: int


def clean_results(results: str | Path = DEFAULT_RESULTS) -> Cleaned:
    """Delete what runs that failed or were interrupted have left; their commands begin anew then.

    Finished runs stay, and so do encoders and text embeddings, which are in the store.

    Args:
        results: holds ``runs`` and ``work``.
    """
    from zsar_bench.runs.stages.store import Store

    store = Store(Path(results).expanduser())
    before = store.sizes()
    store.drop(before)
    left = before.keys() & store.sizes().keys()
    gone = [size for key, size in before.items() if key not in left]
    return Cleaned(len(gone), round(sum(gone) / 1e6, 1), len(left))


# --- Scores that were made elsewhere -------------------------------------------------------------


def score_file(
    path: str | Path,
    *,
    protocol: str,
    method: str | None = None,
    results: str | Path = DEFAULT_RESULTS,
    plugins: Plugins = (),
    on_event: Event = ignore_event,
) -> Run:
    """Evaluate scores that were made elsewhere: kept as self-reported, never ranked with runs.

    Args:
        path: ids of clips, classes and one score each: ``.npz`` (ids (N,), classes (K,), scores
            (N, K)), ``.csv`` (id, then a column a class), ``.json``, or ``.safetensors`` as a run
            leaves it.
        protocol: of the test; a stand-in only if it is named.
        method: its name in tables; None: the file's.
        results: where the run is kept.
        plugins: plugin files to load beside the installed ones.
        on_event: gets ``stage``, ``step`` and ``total`` while a stand-in is made.

    Raises:
        UserError: for a file that cannot be read, or whose clips or classes are not the
            protocol's.
    """
    from zsar_bench.common.code_digest import file_digest
    from zsar_bench.verification.score_files import read_scores
    from zsar_bench.verification.self_reported import judge_scores, keep

    file = Path(path)
    name = _method_name(file, method)
    whose, clips = clips_of_test(protocol, load([Path(p) for p in plugins]), on_event)
    scores = read_scores(file)
    made = judge_scores(scores, file.name, file_digest(file), name, whose, clips)
    return Run(keep(Path(results).expanduser().absolute(), *made))


def score_template(
    path: str | Path, *, protocol: str, plugins: Plugins = (), on_event: Event = ignore_event
) -> tuple[Protocol, UnseenClips]:
    """Write the ids and classes of a protocol's test clips as a table to fill in.

    Args:
        path: of a ``.csv`` file that does not exist yet.
        protocol: of the test clips.
        plugins: plugin files to load beside the installed ones.
        on_event: gets ``stage``, ``step`` and ``total`` while a stand-in is made.

    Returns:
        The protocol and its test clips.

    Raises:
        UserError: for a place that is taken.
    """
    from zsar_bench.verification.self_reported import write_template

    file = Path(path)
    whose, clips = clips_of_test(protocol, load([Path(p) for p in plugins]), on_event)
    if file.suffix.lower() != ".csv" or file.exists():
        what = "is there already" if file.exists() else "does not end with .csv"
        raise UserError(f"The template {file} {what}.", "Name another: --template scores.csv")
    write_template(file.expanduser(), whose, clips)
    return whose, clips


def _method_name(path: Path, given: str | None) -> str:
    """The method's name, which becomes a folder's."""
    name = given if given is not None else re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower())
    if not NAME.fullmatch(name):
        raise UserError(
            f"The method's name {name!r} must be small letters, digits, dots and hyphens.",
            "For example: --method my-method",
        )
    return name


def clips_of_test(
    name: str, catalogue: Catalogue, on_event: Event = ignore_event
) -> tuple[Protocol, UnseenClips]:
    """A protocol and its test clips; synthetic ones only where they are named.

    Raises:
        UserError: for an average, and for a data set that is not imported.
    """
    parts = members(name, catalogue)
    if len(parts) > 1:
        raise UserError(
            f"'{name}' is an average; scores are of one protocol.",
            f"Name one of: {', '.join(parts)}",
        )
    wanted = "auto" if name.startswith(STAND_IN) else "real"
    choice = choose_data(parts[0], wanted, catalogue)
    machine = Machine("cpu", 1, plugin_files=tuple(str(p) for p in catalogue.plugin_files))
    clips = unseen_clips(choice.protocol, open_or_make(choice.entry, machine, on_event))
    if not choice.synthetic:
        return choice.protocol, clips
    return replace(choice.protocol, test_clips=len(clips.ids)), clips  # complete by construction
