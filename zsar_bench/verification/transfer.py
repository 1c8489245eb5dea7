"""Import of runs from other machines: read, verified, then stored.

Nothing of a source is unpacked: files of known names are read up to a fixed size, and a run's
folder follows from its checked record, never from a name in the source.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.common.checksums import SEAL
from zsar_bench.common.files import fresh_folder, make_folder, write_bytes
from zsar_bench.errors import UserError
from zsar_bench.rawfiles.archives import RawFiles
from zsar_bench.records.files import find_records, place_of, read_record
from zsar_bench.records.gzsl_matrix import FILE as GZSL
from zsar_bench.records.schema import Record
from zsar_bench.verification import recheck
from zsar_bench.verification.recheck import Known

RECORD, PREDICTIONS, EVENTS = "run.json", "predictions.safetensors", "events.jsonl"
LARGEST_RECORD = 16 * 2**20  #: bytes of a record; the longest have a tenth of a megabyte
#: Fields in which equal results of two machines may differ.
LOCAL = {"created", "environment", "seconds", "choices"}


@dataclass(frozen=True)
class Verdict:
    """The verification of one run.

    Attributes:
        source: its folder or name in the archive.
        status: ``imported``, ``kept`` (it exists already), ``sound`` (verified in place) or
            ``refused``.
        about: its place, or why it was refused.
        notes: what could not be checked.
    """

    source: str
    status: str
    about: str
    notes: tuple[str, ...] = ()


def import_runs(source: Path, results: Path, catalogue: Catalogue) -> Iterator[Verdict]:
    """Take over every run below a folder or in a zip archive, one after the other.

    Raises:
        UserError: if the source cannot be read or holds no run.
    """
    files = RawFiles(source)
    places = sorted(str(PurePosixPath(n).parent) for n in files.names if _last(n) == RECORD)
    if not places:
        raise UserError(
            f"There are no runs in {source}.", f"A run is a folder with {RECORD} and {PREDICTIONS}."
        )
    known = Known(catalogue)
    for place in places:
        name = "" if place == "." else f"{place}/"
        try:
            yield _import_one(files, name, results, catalogue, known)
        except UserError as error:
            yield Verdict(place, "refused", error.what)


def check_runs(results: Path, catalogue: Catalogue) -> Iterator[Verdict]:
    """Verify every finished run of a results folder in place.

    Raises:
        UserError: if there is none.
    """
    folders = find_records(results)
    if not folders:
        raise UserError(f"There are no finished runs in {results}.")
    known = Known(catalogue)
    for folder in folders:
        place = folder.relative_to(results / "runs")
        try:
            checked = recheck.check_run(folder, catalogue, known)
            belongs = place_of(checked.record)
            if belongs != place:
                raise UserError(f"it lies in the wrong folder: its record belongs to {belongs}")
            yield Verdict(str(place), "sound", _numbers(checked.record), checked.notes)
        except UserError as error:
            yield Verdict(str(place), "refused", error.what)


def _last(name: str) -> str:
    return PurePosixPath(name).name


def _import_one(
    files: RawFiles, name: str, results: Path, catalogue: Catalogue, known: Known
) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as beside:
        folder = Path(beside)
        for file, data in _parts(files, name).items():
            write_bytes(folder / file, data)
        try:
            checked = recheck.check_run(folder, catalogue, known)
        except UserError as error:
            raise UserError(error.what.replace(f"{folder}/", "")) from None
        place = place_of(checked.record)
        final = results / "runs" / place
        source = name.rstrip("/") or "."
        if final.is_dir():
            differ = _differences(folder, final)
            if differ:
                raise UserError(f"another run of this id is there already; it differs in {differ}")
            return Verdict(source, "kept", str(place), checked.notes)
        make_folder(final.parent)
        with fresh_folder(final) as made:
            for path in folder.iterdir():
                write_bytes(made / path.name, path.read_bytes())
        return Verdict(source, "imported", f"{place}: {_numbers(checked.record)}", checked.notes)


def _parts(files: RawFiles, name: str) -> dict[str, bytes]:
    """The files of one run, by their own names.

    Raises:
        UserError: if one is missing, repeated, a link, too large or not of its kind.
    """
    contents = {}
    for file in (RECORD, PREDICTIONS, EVENTS, GZSL, SEAL):
        count = files.names.count(name + file)
        if count > 1:
            raise UserError(f"{file} is there more than once")
        if not count and file in (EVENTS, GZSL, SEAL):  # optional
            continue
        if not count:
            raise UserError(f"{file} is missing")
        if files.source.is_dir() and _linked(files.source, name + file):
            raise UserError(f"{file} is a link, which may lead to any file of this machine")
        if file == RECORD and files.size(name + file) > LARGEST_RECORD:
            raise UserError(f"{file} has more than {LARGEST_RECORD >> 20} MiB")
        contents[file] = files.read(name + file)
    _check_events(contents.get(EVENTS, b""))
    return contents


def _linked(root: Path, name: str) -> bool:
    """Whether a file, or a folder on the way to it, is a link."""
    parts = PurePosixPath(name).parts
    return any(root.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts)))


def _check_events(data: bytes) -> None:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            sound = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            raise UserError(f"{EVENTS}, line {number}: it is no JSON object")


def _differences(new: Path, stored: Path) -> str:
    """The fields in which two runs of one id differ, apart from ``LOCAL`` ones."""
    try:
        for file in (PREDICTIONS, *([GZSL] if (new / GZSL).exists() else [])):
            if (new / file).read_bytes() != (stored / file).read_bytes():
                return file
    except OSError as error:
        return f"{error.filename} ({error.strerror})"
    new_content, stored_content = (_content(read_record(folder)) for folder in (new, stored))
    return ", ".join(
        sorted(
            k
            for k in new_content.keys() | stored_content.keys()
            if new_content.get(k) != stored_content.get(k)
        )
    )


def _content(record: Record) -> dict[str, object]:
    content = record.model_dump(exclude=LOCAL)
    for round_ in content["encoder"]["rounds"]:
        round_.pop("seconds")
    return content


def _numbers(record: Record) -> str:
    m = record.metrics
    mark = "" if record.origin == "run" else f"; {record.origin}, {record.environment.confinement}"
    return f"top-1 {100 * m.top1:.1f} mean class {100 * m.mean_class:.1f} on {m.clips} clips{mark}"
