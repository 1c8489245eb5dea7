"""Jobs about data sets: listing raw files, and writing shards."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.loading import resolve
from zsar_bench.sandbox import processes
from zsar_bench.specs import generated
from zsar_bench.worker.job import Job, Line, build

SPARE = 0.85  #: share of the memory limit within which a file that takes too much is told by name


def _leave_room(job: Job) -> None:
    """Let an allocation fail before the supervisor has to end the worker: that names the file."""
    most = job["limits"]["bytes"]
    if most is not None and processes.LINUX:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = processes.data_size() + int(SPARE * most)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _origin(job: Job) -> Any:
    """The data set's reader, generator (with parameters) or pool (with parts)."""
    if job["spec"]["stand_in_for"]:
        return build(job)
    target = resolve(job["target"])
    if not job["parts"]:
        return target()
    from zsar_bench.common.files import read_json
    from zsar_bench.data.clips.store import Dataset

    folders = {name: Path(folder) for name, folder in job["parts"].items()}
    return target({n: Dataset(f, read_json(f / "dataset.json")) for n, f in folders.items()})


def run_scan(job: Job, line: Line) -> None:
    from zsar_bench.data.clips.import_job import Note, list_files, list_generated

    _leave_room(job)
    origin, spec = _origin(job), job["spec"]
    if generated(spec):
        listing = list_generated(origin, spec)
    else:
        sources = [Path(s) for s in job["sources"]]
        listing = list_files(origin, spec, sources, Note(Path(job["note"])))
    line.send({"listing": listing})


def run_import(job: Job, line: Line) -> None:
    from zsar_bench.data.clips.import_job import (
        Listed,
        Note,
        ShardMaker,
        from_files,
        from_generator,
    )

    _leave_room(job)
    origin, spec = _origin(job), job["spec"]
    sources, note = [Path(s) for s in job["sources"]], Note(Path(job["note"]))
    take = from_generator(origin) if generated(spec) else from_files(origin, sources, note)
    reported_at, unreported = time.monotonic(), 0

    def report(clips: int) -> None:
        nonlocal reported_at, unreported
        unreported += clips
        if time.monotonic() - reported_at > 0.1:
            line.progress({"clips": unreported})
            reported_at, unreported = time.monotonic(), 0

    maker = ShardMaker(take, spec, Path(job["folder"]), report)
    line.send({"ready": True})
    for request in line.requests():
        rows = maker.make(Listed(*clip) for clip in request["clips"])
        line.progress({"clips": unreported})
        unreported = 0
        line.send({"shards": rows})
