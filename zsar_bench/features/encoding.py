"""Encoders in workers: trained on a bundle, then they encode clips in a shuffled order.

Every answer is checked: plugin code runs in the worker.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.checksums import Damaged, read_sealed, seal, write_sealed
from zsar_bench.common.events import Event
from zsar_bench.common.files import (
    locked,
    make_folder,
    rename_folder,
    write_bytes,
    write_json,
    writing,
)
from zsar_bench.common.hashing import content_order, derive_seed, secret_draw
from zsar_bench.data.clips.store import by_shard, clip_bundle, flat_clips, shard_file
from zsar_bench.errors import RunFailed
from zsar_bench.features import seals
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.released.released import ReleasedPlan
from zsar_bench.features.seals import ENCODED, STATE
from zsar_bench.features.source import FeatureSource
from zsar_bench.sandbox.checkpoint_stream import (
    confinement_of,
    empty_folder,
    expect,
    receive_fit,
    stored_checkpoint,
)
from zsar_bench.sandbox.client import Worker
from zsar_bench.sandbox.wire import PER_CLIP, PER_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray


FITTED = "state.sealed"  #: the state until all clips of the encoder are encoded
CHUNK = 256  #: clips sent to an encoder at once
ENCODED_AGAIN = 16  #: clips that are encoded a second time, one by one
MOVED = 1e-3  #: share of their spread by which features may then change by rounding


def ensure(source: FeatureSource, wants: Iterable[str], on_event: Event) -> None:
    """Add the features of a round that a method wants and the cache lacks.

    Args:
        source: features made here, or released ones.
        wants: beyond pooled features, e.g. ``tokens``.
        on_event: gets progress events.

    Raises:
        UserError: if released files have changed since they were checked.
    """
    if isinstance(source, ReleasedPlan):
        source.take_over(wants, on_event)
    else:
        assert isinstance(source, EncoderPlan)
        ensure_encoder(source, wants, on_event)


def ensure_encoder(plan: EncoderPlan, wants: Iterable[str], on_event: Event) -> dict[str, Any]:
    """Train the encoder and compute the features that the cache lacks or holds damaged.

    Returns:
        Its ``encoder.json``: training clips and subjects, seen accuracy, seconds.
    """
    folder = plan.folder
    if plan.ready(wants):
        return plan.about
    part = folder.with_name(f".{plan.key}.part")
    with locked(part):
        seals.tend(folder, plan.parts(wants), on_event)
        for wanted in plan.parts(wants):
            if not (folder / wanted).is_dir():
                make(plan, wanted, part, on_event)
        shutil.rmtree(part, ignore_errors=True)
    return plan.about


def make(plan: EncoderPlan, wanted: str, part: Path, on_event: Event) -> None:
    started = time.monotonic()
    trained = (plan.folder / STATE).is_file()
    where = plan.folder if trained else make_folder(part / "encoder")
    state = where / STATE
    if not trained:
        _take_up(part / FITTED, state, plan.key)
    index = [*plan.round.train, *plan.round.test_unseen, *plan.round.test_seen]

    def report(event: dict[str, Any]) -> None:
        on_event({"stage": "encoder", **event})

    job = _job(plan, wanted, part, state)
    with Worker(job, Path(job["workdir"]), report) as worker:
        if not job["state"]:
            _, blob = receive_fit(worker, part, plan.key)
            write_sealed(part / FITTED, blob, plan.key)  # an interrupted command goes on from here
            write_bytes(state, blob)
        expect(worker.answer(), "ready", "its encoder was ready")
        rows = _encode(plan, worker, index, on_event)
    beside = make_folder(where / f".{wanted}")
    _write_features(plan, rows, index, beside)
    moved = _moved(plan, wanted, part, state, rows, index)
    write_json(beside / ENCODED, {"moved": moved, **confinement_of(worker)})
    seal(beside)
    rename_folder(beside, where / wanted)
    if not trained:
        write_json(where / "encoder.json", _about(plan, rows, time.monotonic() - started))
        seal(where, deep=False)
        rename_folder(where, plan.folder)


def _take_up(fitted: Path, state: Path, owner: str) -> None:
    """Take over the state of an encoder that an earlier, killed command has trained."""
    state.unlink(missing_ok=True)
    with contextlib.suppress(Damaged):
        blob = read_sealed(fitted, owner)
        if blob is not None:
            write_bytes(state, blob)


def _job(plan: EncoderPlan, wanted: str, part: Path, state: Path) -> dict[str, Any]:
    """The job that trains the encoder, unless its state exists, and encodes clips."""
    trained = state.is_file()
    bundle = [] if trained else clip_bundle(plan.dataset, plan.round.train, plan.seen)
    job = plan.machine.job(
        "encoder",
        plan.entry,
        plan.settings.values,
        bundle=bundle,
        classes=len(plan.seen),
        layout=plan.dataset.layout,
        seed=derive_seed("encoder", plan.seed, plan.round.name),
        state=str(state) if trained else "",
        checkpoint="" if trained else stored_checkpoint(part, plan.key),
        owner=plan.key,
        wants=["logits"] if wanted == "pooled" else ["tokens"],
        workdir=str(empty_folder(part / "work")),
    )
    reads = [row["file"] for row in bundle] + [f for f in (job["state"], job["checkpoint"]) if f]
    return job | {"reads": reads}


def _moved(
    plan: EncoderPlan,
    wanted: str,
    part: Path,
    state: Path,
    rows: dict[str, NDArray[Any]],
    index: list[int],
) -> float | None:
    """Largest change of features when a new worker encodes some unseen clips again, one at a
    time, as a share of the features' spread.

    Of an encoder that uses batch statistics it is about 1.
    """
    import numpy as np

    places = [n for n, i in enumerate(index) if i in {*plan.round.test_unseen}]
    again = [places[n] for n in secret_draw(len(places), ENCODED_AGAIN)]
    if not again:
        return None
    name = "pooled" if wanted == "pooled" else "tokens"
    job = _job(plan, wanted, part, state)
    largest = 0.0
    with Worker(job, Path(job["workdir"]), lambda event: None) as worker:
        expect(worker.answer(), "ready", "its encoder was ready")
        for place in again:
            once_more = _chunk(plan, worker, [index[place]])[name][0]
            largest = max(largest, float(np.abs(once_more - rows[name][place]).max()))
    return largest / max(float(rows[name].std()), 1e-12)


def _encode(
    plan: EncoderPlan, worker: Worker, index: list[int], on_event: Event
) -> dict[str, NDArray[Any]]:
    """Feature tensors of the clips, row by row as in ``index``; sent shuffled, in smaller chunks
    where memory is short."""
    import numpy as np

    order = content_order(plan.dataset.contents(index), "encode", plan.key)
    out: dict[str, NDArray[Any]] = {}
    size, start = CHUNK, 0
    while start < len(order):
        rows = order[start : start + size]
        answer = _chunk(plan, worker, [index[r] for r in rows])
        if not answer:
            size = max(1, len(rows) // 2)
            continue
        for name, array in answer.items():
            if name in PER_TOKEN:
                out[name] = array
                continue
            if name not in out:
                out[name] = np.empty((len(index), *array.shape[1:]), dtype=array.dtype)
            if out[name].shape[1:] != array.shape[1:]:
                raise RunFailed(f"the skeleton encoder gave {name} of several shapes")
            out[name][rows] = array
        start += len(rows)
        on_event({"stage": "encode", "step": start, "total": len(order)})
    return out


def _chunk(plan: EncoderPlan, worker: Worker, index: list[int]) -> dict[str, NDArray[Any]]:
    """Features of some clips; empty if these are too many for the worker's memory.

    Raises:
        RunFailed: unless they are finite numbers, a row a clip.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    answer = worker.ask(save(flat_clips(plan.dataset, index)))
    if isinstance(answer, dict) and "too many" in answer and len(index) > 1:
        return {}
    try:
        features: dict[str, NDArray[Any]] = load(answer)
        names = {*features}
    except (SafetensorError, TypeError, ValueError, AttributeError):
        names = set()
    if "pooled" not in names or names - {*PER_CLIP, *PER_TOKEN}:
        raise RunFailed("the worker's answer holds no features of these clips")
    for name, array in features.items():
        if name in PER_TOKEN:
            continue
        if array.ndim < 2 or array.shape[0] != len(index) or not np.isfinite(array).all():
            raise RunFailed(f"the skeleton encoder gave a wrong shape or values for {name}")
    return features


def _write_features(
    plan: EncoderPlan, rows: dict[str, NDArray[Any]], index: list[int], folder: Path
) -> None:
    """One feature file a shard, clips in the store's order."""
    from safetensors.numpy import save_file

    place = {clip: row for row, clip in enumerate(index)}
    per_clip = [n for n in rows if n not in PER_TOKEN]
    for shard, clips in by_shard(plan.dataset, index).items():
        at = [place[c] for c in clips]
        tensors = {n: rows[n][at] if n in per_clip else rows[n] for n in rows}
        if "tokens" in tensors:
            del tensors["pooled"]  # it lies in the folder of that name
        file = shard_file(folder, shard)
        with writing(file):
            save_file(tensors, file)


def _about(plan: EncoderPlan, rows: dict[str, NDArray[Any]], seconds: float) -> dict[str, Any]:
    clips, r = plan.dataset.clips, plan.round
    accuracy = None
    if "logits" in rows and r.test_seen:
        guess = rows["logits"][len(r.train) + len(r.test_unseen) :].argmax(1)
        hits = [plan.seen[g] == clips["class"][i] for g, i in zip(guess, r.test_seen, strict=True)]
        accuracy = sum(hits) / len(hits)
    return {
        "encoder": plan.entry.name,
        "dataset": plan.dataset.name,
        "params": plan.settings.values,
        "code": plan.entry.digest,
        "round": r.name,
        "seed": plan.seed,
        "train_clips": len(r.train),
        "train_subjects": sorted({clips["subject"][i] for i in r.train}),
        "train_classes": list(plan.seen),
        "seen_accuracy": accuracy,
        "seconds": round(seconds, 3),
    }
