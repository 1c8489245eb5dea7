"""Fits in workers: their inputs, their results, and where these are kept.

    <fit>/seen-texts.safetensors   texts of the seen classes
    <fit>/checkpoint.sealed        where an interrupted fit continues
    <fit>/states/<step>.sealed     states for a selection rule
    <fit>/state.sealed             the final state
    <fit>/fit.json                 schedule, states and digests of the inputs; written last

Only the parent writes there: a worker sends everything through the pipe, and its own folder is
never read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zsar_bench.common.checksums import digest_of, write_sealed
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.events import Event
from zsar_bench.common.files import make_folder, read_json, write_json
from zsar_bench.common.hashing import content_order, derive_seed
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import RunFailed
from zsar_bench.features.source import FeatureSource
from zsar_bench.features.text_embeddings import write_bank
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import state_step
from zsar_bench.sandbox.checkpoint_stream import (
    CHECKPOINT,
    confinement_of,
    empty_folder,
    receive_fit,
    stored_checkpoint,
)
from zsar_bench.sandbox.client import Worker

STATE = "state.sealed"


@dataclass(frozen=True)
class Training:
    """One fit of a run.

    Attributes:
        plan: the run.
        source: features; their round has the seen and unseen classes.
        name: of the fit; its seed derives from it.
        clips: indices of the training clips.
        folder: where it is kept.
        grids: numbers of evenly spaced states to keep.
    """

    plan: RunPlan
    source: FeatureSource
    name: str
    clips: list[int]
    folder: Path
    grids: tuple[int, ...] = ()

    @property
    def about(self) -> dict[str, Any]:
        """``fit.json``."""
        about: dict[str, Any] = read_json(self.folder / "fit.json")
        return about

    @property
    def done(self) -> bool:
        return (self.folder / "fit.json").is_file()

    @property
    def owner(self) -> str:
        """What its sealed files belong to."""
        return f"{self.plan.fit_id} {self.name}"

    def state(self, point: int, grid: int) -> Path:
        """The file of the state at a point of a grid."""
        return self.states(grid)[point - 1]

    def states(self, grid: int) -> list[Path]:
        """The files of the states at every point of a grid, in order."""
        schedule = self.about
        steps = (
            state_step(p, grid, schedule["total"], schedule["kept"]) for p in range(1, grid + 1)
        )
        return [self.folder / (STATE if s is None else f"states/{s}.sealed") for s in steps]


def full_training(plan: RunPlan, number: int) -> Training:
    """The fit of a round on all its seen training clips."""
    source = plan.encoders[number]
    folder = plan.fit_part / f"round-{number}"
    return Training(plan, source, source.round.name, source.round.train, folder, plan.grids)


def fit(training: Training, on_event: Event) -> None:
    """Fit in a worker that gets seen training clips and seen texts only."""
    if training.done:
        return
    folder = make_folder(training.folder)
    job = fit_job(training, stored_checkpoint(folder, training.owner))
    started = time.monotonic()
    try:
        with Worker(job, Path(job["workdir"]), on_event) as worker:
            total, state = receive_fit(worker, folder, training.owner, sum(training.grids))
    except RunFailed as error:
        raise _with_size_that_fits(training, error) from None
    write_sealed(folder / STATE, state, training.owner)
    kept = sorted(int(p.stem) for p in (folder / "states").glob("*.sealed"))
    write_json(
        folder / "fit.json",
        {
            "total": total,
            "kept": kept,
            "seconds": round(time.monotonic() - started, 3),
            "bundle": bundle_digest(job),
            "state": hashlib.sha256(state).hexdigest(),
            **confinement_of(worker),
        },
    )
    (folder / CHECKPOINT).unlink(missing_ok=True)


def fit_job(training: Training, checkpoint: str = "") -> dict[str, Any]:
    """The job of a fit; writes the texts it needs and empties the worker's own folder.

    Args:
        training: the fit.
        checkpoint: file to continue from; empty: from the start.
    """
    plan, source, folder = training.plan, training.source, training.folder
    round_ = source.round
    texts = folder / "seen-texts.safetensors"
    write_texts(plan, round_, list(round_.seen), texts)
    bundle = source.fit_bundle(training.clips, plan.wants)
    reads = [file for row in bundle for file in _files(row)]
    job = plan.machine.job(
        "fit",
        plan.method,
        plan.params.values,
        bundle=bundle,
        clips="clips" in plan.wants,
        wants=plan.wants,
        layout=source.dataset.layout,
        texts=str(texts),
        fields=plan.fields,
        seed=derive_seed("method", plan.method_seed, plan.encoder_seed, training.name),
        grids=training.grids,
        checkpoint=checkpoint,
        owner=training.owner,
        workdir=str(empty_folder(folder / "fit")),
        encoder=source.encoder_job() if plan.method.spec["needs_encoder"] else None,
    )
    reads += [str(texts), *([checkpoint] if checkpoint else [])]
    reads += [job["encoder"]["state"]] if job["encoder"] else []
    if plan.method.spec["setting"] != "inductive":
        unseen = folder / "unseen-texts.safetensors"
        write_texts(plan, round_, shuffled(plan, round_.unseen, round_.name)[0], unseen)
        job["unseen_texts"] = str(unseen)
        reads.append(str(unseen))
    return job | {"reads": reads}


def bundle_digest(job: dict[str, Any]) -> str:
    """SHA-256 over the inputs of a fit: contents of its files, labels and lengths; no names."""
    total = hashlib.sha256()
    for row in job["bundle"]:
        content = [[digest_of(Path(f)) for f in _files(row)], row["label"], row["subject"]]
        total.update(json.dumps([*content, row["lengths"]]).encode())
    for name in ("texts", "unseen_texts"):
        if name in job:
            total.update(file_digest(Path(job[name])).encode())
    return total.hexdigest()


def _files(row: dict[str, Any]) -> list[str]:
    """Files of a row of a bundle: features, and raw clips where a method wants them."""
    return [*row["features"], *([row["file"]] if "file" in row else [])]


# --- Texts -----------------------------------------------------------------------------------


def write_texts(plan: RunPlan, round_: Round, classes: list[str], path: Path) -> None:
    """Write the text bank that these classes of a round get."""
    if plan.control is not None:
        source = plan.control.sources(round_.seen, round_.unseen)
        given = {
            f: {c: plan.class_texts.fields[f][source[c]] for c in classes} for f in plan.fields
        }
        plan.control.write_bank(plan.texts, given, classes, path)
        return
    texts = {f: [plan.class_texts.fields[f][c] for c in classes] for f in plan.fields}
    write_bank(plan.texts, texts, path)


def shuffled(plan: RunPlan, classes: Sequence[str], name: str) -> tuple[list[str], list[int]]:
    """Classes in the order a worker gets them as candidates, and that order."""
    texts = ["\n".join(plan.class_texts.fields[f][c] for f in plan.fields) for c in classes]
    order = content_order((s.encode() for s in texts), "candidates", plan.fit_id, name).tolist()
    return [classes[i] for i in order], order


# --- Memory ----------------------------------------------------------------------------------


def _with_size_that_fits(training: Training, error: RunFailed) -> RunFailed:
    """An out-of-memory error with the batch size that fits. Only the user may change it."""
    name = training.plan.method.spec.get("batch", "")
    if error.status != "oom" or not name:
        return error
    values = training.plan.params.values
    size = int(values[name]) // 2
    while size and not _fits(training, {**values, name: size}):
        size //= 2
    method = training.plan.method.name
    hint = f"{size} fits: --set {method}.{name}={size}" if size else "not even 1 fits"
    reason = f"{error.reason}; {name}={values[name]} is too large here, {hint}"
    return RunFailed(reason, error.log, "oom")


def _fits(training: Training, values: dict[str, Any]) -> bool:
    """Whether a fit with these parameters gets through its first steps."""
    probe = replace(training, folder=make_folder(training.folder / "probe"), grids=())
    job = fit_job(probe) | {"params": values, "probe": True}
    try:
        with Worker(job, Path(job["workdir"])) as worker:
            answer = worker.answer()
        return isinstance(answer, dict) and ("probed" in answer or "fitted" in answer)
    except RunFailed as error:
        if error.status != "oom":
            raise
        return False
    finally:
        shutil.rmtree(probe.folder, ignore_errors=True)
