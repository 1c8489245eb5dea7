"""Fits in workers: what they depend on, their inputs, their results.

A fit is a stage (``runs.stages``); beside ``stage.sealed`` its folder holds

    checkpoint.sealed        where an interrupted fit continues
    states/<step>.sealed     states for a selection rule
    state.sealed             the final state

Only the parent writes there: a worker sends everything through the pipe, and its own folder is
never read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from zsar_bench.common.checksums import digest_of, write_sealed
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.events import Event
from zsar_bench.common.files import make_folder
from zsar_bench.common.hashing import content_order, derive_seed, digest
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import RunFailed
from zsar_bench.features.source import FeatureSource
from zsar_bench.features.text_embeddings import write_bank
from zsar_bench.plans.controls import RANDOM
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import state_step
from zsar_bench.runs.stages.stage import Stage
from zsar_bench.runs.stages.store import Store
from zsar_bench.sandbox.checkpoint_stream import (
    CHECKPOINT,
    confinement_of,
    empty_folder,
    receive_fit,
    stored_checkpoint,
)
from zsar_bench.sandbox.client import Worker

STATE = "state.sealed"

Json = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One fit of a run.

    Attributes:
        plan: the run.
        source: features; their round has the seen and unseen classes.
        name: of the fit; its seed derives from it.
        clips: indices of the training clips.
        grids: numbers of evenly spaced states to keep.
    """

    plan: RunPlan
    source: FeatureSource
    name: str
    clips: list[int]
    grids: tuple[int, ...] = ()

    @property
    def seed(self) -> int:
        return derive_seed("method", self.plan.method_seed, self.plan.encoder_seed, self.name)

    @cached_property
    def stage(self) -> Stage:
        """The fit as data. Candidates' texts are in it only where the method gets them in a fit,
        so that runs whose candidates have other texts share it."""
        plan, round_ = self.plan, self.source.round
        inputs = {
            "features": self.source.key,  # holds the round's training clips
            "clips": "all" if self.clips == round_.train else self._clip_digest(),
            "classes": round_.seen,
            "texts": _shown_texts(plan, round_, round_.seen),
        }
        if plan.method.spec["setting"] != "inductive":
            classes, _ = shuffled(plan, round_.unseen, round_.name)
            inputs["unseen_texts"] = _shown_texts(plan, round_, classes)
        job = {
            "method": [plan.method.name, plan.method.digest, plan.params.science],
            "seed": self.seed,
            "grids": self.grids,
            "wants": plan.wants,
            "machine": plan.machine.identity,
        }
        return Stage("fit", job, inputs, self.name)

    def _clip_digest(self) -> str:
        ids = self.source.dataset.clips["id"]
        return digest([ids[i] for i in self.clips])

    @property
    def owner(self) -> str:
        """What its sealed files belong to."""
        return self.stage.key

    @property
    def store(self) -> Store:
        return Store(self.plan.results)

    @property
    def folder(self) -> Path:
        return self.store.place(self.stage)

    @property
    def about(self) -> Json:
        """The facts about a finished fit: schedule, states, seconds, digests, confinement."""
        return self.store.about(self.stage)

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
    return Training(plan, source, source.round.name, source.round.train, plan.grids)


@contextmanager
def fitted(training: Training, on_event: Event) -> Iterator[None]:
    """Fit, unless that is done, in a worker that gets seen training clips and seen texts only.
    While the block runs, nobody deletes the states."""

    def report(event: Json) -> None:
        on_event({"stage": "fit", **event})

    def make(folder: Path) -> Json:
        return _fit(training, folder, report)

    with training.store.made(training.stage, make, report):
        yield


def _fit(training: Training, folder: Path, on_event: Event) -> Json:
    """Fit in this folder; returns facts about it."""
    job = fit_job(training, folder, stored_checkpoint(folder, training.owner))
    started = time.monotonic()
    try:
        with Worker(job, Path(job["workdir"]), on_event) as worker:
            total, state = receive_fit(worker, folder, training.owner, sum(training.grids))
    except RunFailed as error:
        raise _with_size_that_fits(training, folder, error) from None
    write_sealed(folder / STATE, state, training.owner)
    kept = sorted(int(p.stem) for p in (folder / "states").glob("*.sealed"))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return {
        "outputs": [STATE, *(f"states/{step}.sealed" for step in kept)],
        "total": total,
        "kept": kept,
        "seconds": round(time.monotonic() - started, 3),
        "bundle": bundle_digest(job),
        "state": hashlib.sha256(state).hexdigest(),
        **confinement_of(worker),
    }


def fit_job(training: Training, folder: Path, checkpoint: str = "") -> Json:
    """The job of a fit; writes the texts it needs and empties the worker's own folder.

    Args:
        training: the fit.
        folder: for the texts and the worker's own folder.
        checkpoint: file to continue from; empty: from the start.
    """
    plan, source = training.plan, training.source
    round_ = source.round
    texts = make_folder(folder) / "seen-texts.safetensors"
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
        seed=training.seed,
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


def bundle_digest(job: Json) -> str:
    """SHA-256 over the inputs of a fit: contents of its files, labels and lengths; no names."""
    total = hashlib.sha256()
    for row in job["bundle"]:
        content = [[digest_of(Path(f)) for f in _files(row)], row["label"], row["subject"]]
        total.update(json.dumps([*content, row["lengths"]]).encode())
    for name in ("texts", "unseen_texts"):
        if name in job:
            total.update(file_digest(Path(job[name])).encode())
    return total.hexdigest()


def _files(row: Json) -> list[str]:
    """Files of a row of a bundle: features, and raw clips where a method wants them."""
    return [*row["features"], *([row["file"]] if "file" in row else [])]


# --- Texts -----------------------------------------------------------------------------------


def write_texts(plan: RunPlan, round_: Round, classes: list[str], path: Path) -> None:
    """Write the text bank that these classes of a round get."""
    given = _given_texts(plan, round_, classes)
    if plan.control is not None:
        plan.control.write_bank(plan.texts, given, classes, path)
    else:
        write_bank(plan.texts, given, path)


def _given_texts(plan: RunPlan, round_: Round, classes: Sequence[str]) -> dict[str, list[str]]:
    """Field -> the text that each of these classes gets, by its own or a control's choice."""
    source = {c: c for c in classes}
    if plan.control is not None:
        source |= plan.control.sources(round_.seen, round_.unseen)
    return {f: [plan.class_texts.fields[f][source[c]] for c in classes] for f in plan.fields}


def _shown_texts(plan: RunPlan, round_: Round, classes: Sequence[str]) -> Json:
    """All that the text bank of these classes depends on."""
    shown: Json = {"encoded": plan.texts.key, "texts": _given_texts(plan, round_, classes)}
    if plan.control is not None and plan.control.kind == RANDOM:  # directions drawn for classes
        shown |= {"control": plan.control.identity, "classes": classes}
    return shown


def shuffled(plan: RunPlan, classes: Sequence[str], name: str) -> tuple[list[str], list[int]]:
    """Classes in the order a worker gets them as candidates, and that order."""
    texts = ["\n".join(plan.class_texts.fields[f][c] for f in plan.fields) for c in classes]
    order = content_order((s.encode() for s in texts), "candidates", plan.fit_id, name).tolist()
    return [classes[i] for i in order], order


# --- Memory ----------------------------------------------------------------------------------


def _with_size_that_fits(training: Training, folder: Path, error: RunFailed) -> RunFailed:
    """An out-of-memory error with the batch size that fits. Only the user may change it."""
    name = training.plan.method.spec.get("batch", "")
    if error.status != "oom" or not name:
        return error
    values = training.plan.params.values
    size = int(values[name]) // 2
    while size and not _fits(training, folder, {**values, name: size}):
        size //= 2
    method = training.plan.method.name
    hint = f"{size} fits: --set {method}.{name}={size}" if size else "not even 1 fits"
    reason = f"{error.reason}; {name}={values[name]} is too large here, {hint}"
    return RunFailed(reason, error.log, "oom")


def _fits(training: Training, folder: Path, values: Json) -> bool:
    """Whether a fit with these parameters gets through its first steps."""
    probe = folder / "probe"
    job = fit_job(training, probe) | {"params": values, "probe": True, "grids": ()}
    try:
        with Worker(job, Path(job["workdir"])) as worker:
            answer = worker.answer()
        return isinstance(answer, dict) and ("probed" in answer or "fitted" in answer)
    except RunFailed as error:
        if error.status != "oom":
            raise
        return False
    finally:
        shutil.rmtree(probe, ignore_errors=True)
