"""Skeletons become features, once, and are cached by all they depend on.

    <home>/encoders/<key>/state.safetensors, encoder.json, pooled/<shard>.safetensors, tokens/...
    <home>/encoders/<key>/pooled/encoded.json    how the worker was confined that encoded these

Each of the three, the encoder's own two files and the two folders of features, has its own
``seal.json``, for they are made at different times; see ``feature_seals.py``.

An encoder is trained on the seen training clips of one round and then encodes the round's
clips, which reach it shuffled, without labels, ids or file names.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench import feature_seals
from zsar_bench.catalogue import Entry
from zsar_bench.datasets import Dataset
from zsar_bench.environment import Machine
from zsar_bench.errors import RunFailed
from zsar_bench.handover import follow, own_folder, seen_by, stored_checkpoint
from zsar_bench.identity import derive_seed, digest, key
from zsar_bench.paths import (
    home,
    locked,
    make_folder,
    read_json,
    rename_folder,
    write_bytes,
    write_json,
    writing,
)
from zsar_bench.rounds import Round
from zsar_bench.sandbox import Worker
from zsar_bench.seals import Damaged, read_sealed, seal, write_sealed
from zsar_bench.settings import Settings
from zsar_bench.shuffling import content_order, secret_draw
from zsar_bench.tensors import PER_CLIP, PER_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.record import EncoderPart, EncoderRound

Event = Callable[[dict[str, Any]], None]

STATE = "state.safetensors"
FITTED = "state.sealed"  #: the same while the encoder's clips are not all encoded
ENCODED = "encoded.json"  #: beside the features: how they were made
CHUNK = 256  #: clips sent to an encoder at once
ENCODED_AGAIN = 16  #: clips that are encoded a second time, one by one
MOVED = 1e-3  #: share of their spread by which features may move then; more is no rounding


def by_shard(dataset: Dataset, index: Iterable[int]) -> dict[str, list[int]]:
    """Clip indices grouped by shard, in the store's order."""
    groups: dict[str, list[int]] = {}
    for i in sorted(index):
        groups.setdefault(dataset.clips["shard"][i], []).append(i)
    return groups


def shard_file(folder: Path, shard: str) -> Path:
    """Feature file of a shard."""
    return folder / f"{Path(shard).stem}.safetensors"


@dataclass(frozen=True)
class EncoderPlan:
    """One skeleton encoder: which network, trained on which clips, with which seed.

    Attributes:
        entry, settings: the encoder and its parameters.
        dataset, round: the clips.
        seen: official ids of the seen classes, in label order.
        seed: encoder seed.
        machine: where it is trained.
    """

    entry: Entry
    settings: Settings
    dataset: Dataset
    round: Round
    seen: tuple[str, ...]
    seed: int
    machine: Machine = field(repr=False)

    @cached_property
    def key(self) -> str:
        """Key of everything the features depend on."""
        ids = self.dataset.clips["id"]
        r = self.round
        return key(
            "encoder",
            code=self.entry.digest,
            params=self.settings.science,
            data=self.dataset.digest,
            round=r.name,  # the seed of the fit derives from it
            train=digest([ids[i] for i in r.encoder_train]),
            encoded=digest([ids[i] for i in self._rest()]),
            seen=self.seen,
            seed=self.seed,
            machine=self.machine.identity,
        )

    def _rest(self) -> list[int]:
        """The clips that are encoded but not learned from."""
        learned = {*self.round.encoder_train}
        r = self.round
        return [*(i for i in r.train if i not in learned), *r.test_unseen, *r.test_seen]

    @property
    def folder(self) -> Path:
        return home() / "encoders" / self.key

    def parts(self, wants: Iterable[str]) -> list[str]:
        """Feature folders needed: ``pooled`` (with logits) always, ``tokens`` on request."""
        return ["pooled", "tokens"] if "tokens" in wants else ["pooled"]

    def ready(self, wants: Iterable[str]) -> bool:
        """Whether all that is wanted is in the cache, as it was written."""
        return feature_seals.intact(self.folder, self.parts(wants))

    @property
    def about(self) -> dict[str, Any]:
        """``encoder.json``: training clips and performers, seen accuracy, seconds."""
        feature_seals.check(self.folder, "", ["encoder.json"])
        about: dict[str, Any] = read_json(self.folder / "encoder.json")
        return about

    # What follows makes it a ``sources.FeatureSource``.

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def title(self) -> str:
        return f"{self.entry.name} {self.round.name} seed {self.seed}"

    @property
    def cost(self) -> tuple[str, str, float]:
        profile = self.settings.profile.partition(" ")[0]
        declared = float(self.entry.spec["seconds"].get(profile, 60.0))
        return self.entry.name, self.entry.digest, declared

    def ensure(self, wants: Iterable[str], on_event: Event) -> dict[str, Any]:
        return ensure_encoder(self, wants, on_event)

    def retrained(self, one: Round) -> EncoderPlan:
        """The same encoder, trained on another round's clips and classes."""
        return replace(self, round=one, seen=one.seen)

    def fit_bundle(self, clips: list[int], wants: Iterable[str]) -> list[dict[str, Any]]:
        """Training clips' shards with features; raw files are in view only if wanted."""
        wants = tuple(wants)
        bundle = clip_bundle(self.dataset, clips, self.seen, "clips" in wants)
        shards = by_shard(self.dataset, clips)
        for shard, row in zip(shards, bundle, strict=True):
            row["features"] = [str(shard_file(self.folder / p, shard)) for p in self.parts(wants)]
        self._check(shards, wants)
        return bundle

    def _check(self, shards: Iterable[str], wants: Iterable[str]) -> None:
        """Refuse damaged features of these shards before anybody reads them."""
        names = [shard_file(Path(), shard).name for shard in shards]
        for part in self.parts(wants):
            feature_seals.check(self.folder, part, names)

    def read(self, index: list[int], wants: Iterable[str]) -> dict[str, NDArray[Any]]:
        return read_features(self, index, wants)

    def raw(self, index: list[int]) -> dict[str, NDArray[Any]]:
        return flat_clips(self.dataset, index)

    def encoder_job(self) -> dict[str, Any]:
        feature_seals.check(self.folder, "", ["state.safetensors"])
        return {
            "target": self.entry.spec["target"],
            "params_target": self.entry.spec["params"],
            "params": self.settings.values,
            "state": str(self.folder / STATE),
        }

    def certify(self) -> dict[str, Any]:
        ids = self.dataset.clips["id"]
        made = [read_json(f) for f in sorted(self.folder.glob(f"[!.]*/{ENCODED}"))]
        parts = len([p for p in self.folder.glob("[!.]*") if p.is_dir()])
        levels = [m["walls"]["level"] for m in made]
        known = len(made) == parts  # older versions noted nothing beside the features
        return {
            "level": ("process" if "process" in levels else "landlock") if known else "unknown",
            "classes": list(self.seen),
            "clips": digest(sorted(ids[i] for i in self.round.encoder_train)),
            "moved": max((m["moved"] or 0.0 for m in made), default=None) if known else None,
            "denied": {what: n for m in made for what, n in m["denied"].items()},
        }

    def record_round(self) -> EncoderRound:
        from zsar_bench.record import EncoderRound

        about = self.about
        return EncoderRound(
            round=self.round.name,
            key=self.key,
            train_clips=about["train_clips"],
            train_subjects=about["train_subjects"],
            seen_accuracy=about["seen_accuracy"],
            seconds=about["seconds"],
        )

    def record_part(self, rounds: list[EncoderRound]) -> EncoderPart:
        from zsar_bench.record import EncoderPart

        return EncoderPart(
            name=self.entry.name,
            plugin=self.entry.plugin,
            digest=self.entry.digest,
            profile=self.settings.profile,
            science=self.settings.science,
            origin="certified",
            rounds=rounds,
        )


def ensure_encoder(plan: EncoderPlan, wants: Iterable[str], on_event: Event) -> dict[str, Any]:
    """Train the encoder and compute the features that are not in the cache, or damaged there.

    Returns:
        Its ``encoder.json``: training clips and performers, seen accuracy, seconds.
    """
    folder = plan.folder
    if feature_seals.all_sealed(folder, plan.parts(wants)) and plan.ready(wants):
        return plan.about
    part = folder.with_name(f".{plan.key}.part")
    with locked(part):
        feature_seals.tend(folder, plan.parts(wants), on_event)
        for wanted in plan.parts(wants):
            if not (folder / wanted).is_dir():
                _make(plan, wanted, part, on_event)
        shutil.rmtree(part, ignore_errors=True)
    return plan.about


def _make(plan: EncoderPlan, wanted: str, part: Path, on_event: Event) -> None:
    started = time.monotonic()
    trained = (plan.folder / STATE).is_file()
    where = plan.folder if trained else make_folder(part / "encoder")
    state = where / STATE
    if not trained:
        _take_up(part / FITTED, state, plan.key)
    index = [*plan.round.train, *plan.round.test_unseen, *plan.round.test_seen]

    def hear(event: dict[str, Any]) -> None:
        on_event({"stage": "encoder", **event})

    job = _job(plan, wanted, part, state)
    with Worker(job, Path(job["workdir"]), hear) as worker:
        if not job["state"]:
            _, blob = follow(worker, part, plan.key)
            write_sealed(part / FITTED, blob, plan.key)  # an interrupted command goes on from here
            write_bytes(state, blob)
        _expect_ready(worker)
        rows = _encode(plan, worker, index, on_event)
    beside = make_folder(where / f".{wanted}")
    _write_features(plan, rows, index, beside)
    moved = _moved(plan, wanted, part, state, rows, index)
    write_json(beside / ENCODED, {"moved": moved, **seen_by(worker)})
    seal(beside)
    rename_folder(beside, where / wanted)
    if not trained:
        write_json(where / "encoder.json", _about(plan, rows, time.monotonic() - started))
        seal(where, deep=False)
        rename_folder(where, plan.folder)


def _take_up(fitted: Path, state: Path, owner: str) -> None:
    """The state of an encoder that an earlier command was killed encoding with, if it is whole."""
    state.unlink(missing_ok=True)
    with contextlib.suppress(Damaged):
        blob = read_sealed(fitted, owner)
        if blob is not None:
            write_bytes(state, blob)


def _job(plan: EncoderPlan, wanted: str, part: Path, state: Path) -> dict[str, Any]:
    """The job that trains the encoder, if its state is not there yet, and encodes clips."""
    trained = state.is_file()
    bundle = [] if trained else clip_bundle(plan.dataset, plan.round.encoder_train, plan.seen)
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
        workdir=str(own_folder(part / "work")),
    )
    reads = [row["file"] for row in bundle] + [f for f in (job["state"], job["checkpoint"]) if f]
    return job | {"reads": reads}


def _expect_ready(worker: Worker) -> None:
    answer = worker.answer()
    if not isinstance(answer, dict) or "ready" not in answer:
        raise RunFailed("the worker did not say that its encoder was ready")


def _moved(
    plan: EncoderPlan,
    wanted: str,
    part: Path,
    state: Path,
    rows: dict[str, NDArray[Any]],
    index: list[int],
) -> float | None:
    """Largest change of features when some unseen clips are encoded again, one at a time, by a
    worker that met none of them, as a share of the features' spread.

    An encoder that looks at the clips beside a clip (batch statistics) moves by about 1.
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
        _expect_ready(worker)
        for place in again:
            once_more = _chunk(plan, worker, [index[place]])[name][0]
            largest = max(largest, float(np.abs(once_more - rows[name][place]).max()))
    return largest / max(float(rows[name].std()), 1e-12)


def clip_bundle(
    dataset: Dataset, index: list[int], seen: Sequence[str], raw: bool = True
) -> list[dict[str, Any]]:
    """The shards of these clips with their labels: all a training worker may open.

    Every shard is used whole, so that a bundle is a list of files and never a copy.

    Args:
        dataset, index: the clips.
        seen: official ids of the seen classes, in label order.
        raw: whether the raw files are in view; they are checked then.

    Raises:
        Damaged: naming a raw file that is not as it was imported.
    """
    label = {class_id: n for n, class_id in enumerate(seen)}
    subjects = {s: n for n, s in enumerate(sorted({dataset.clips["subject"][i] for i in index}))}
    whole = by_shard(dataset, range(len(dataset)))
    bundle = []
    for shard, rows in by_shard(dataset, index).items():
        if rows != whole[shard]:
            raise AssertionError(f"shard {shard} is used in part: it would show clips not in view")
        bundle.append(
            {
                "label": label[dataset.clips["class"][rows[0]]],
                "subject": subjects[dataset.clips["subject"][rows[0]]],
                "lengths": [dataset.clips["frames"][i] for i in rows],
            }
        )
        if raw:
            dataset.check([shard])
            bundle[-1]["file"] = str(dataset.shard_path(shard))
    return bundle


def flat_clips(dataset: Dataset, index: list[int]) -> dict[str, NDArray[Any]]:
    """Clips as they travel through the pipe: frames end to end, and lengths."""
    import numpy as np

    clips = dataset.read_clips(index)
    lengths = np.array([len(c) for c in clips], dtype=np.int64)
    return {"flat": np.concatenate(clips), "lengths": lengths}


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
    """Features of some clips; nothing if these are too many at once for the worker's memory.

    Raises:
        RunFailed: unless they are finite numbers, a row a clip. A worker is believed nothing:
            plugin code runs in it.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    answer = worker.ask(save(flat_clips(plan.dataset, index)))
    if isinstance(answer, dict) and "too many" in answer and len(index) > 1:
        return {}
    try:
        found: dict[str, NDArray[Any]] = load(answer)
        names = {*found}
    except (SafetensorError, TypeError, ValueError, AttributeError):
        names = set()
    if "pooled" not in names or names - {*PER_CLIP, *PER_TOKEN}:
        raise RunFailed("the worker's answer holds no features of these clips")
    for name, array in found.items():
        if name in PER_TOKEN:
            continue
        if array.ndim < 2 or array.shape[0] != len(index) or not np.isfinite(array).all():
            raise RunFailed(f"the skeleton encoder gave a wrong shape or values for {name}")
    return found


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
        "train_clips": len(r.encoder_train),
        "train_subjects": sorted({clips["subject"][i] for i in r.encoder_train}),
        "train_classes": list(plan.seen),
        "seen_accuracy": accuracy,
        "seconds": round(seconds, 3),
    }


def read_features(
    plan: EncoderPlan, index: list[int], wants: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Feature tensors of clips, row by row as in ``index``.

    Raises:
        Damaged: naming a file that is not as it was written.
    """
    import numpy as np
    from safetensors.numpy import load_file

    plan._check(by_shard(plan.dataset, index), wants)
    names = {"pooled", *wants, *PER_TOKEN}
    rows: dict[str, list[Any]] = {}
    whole = by_shard(plan.dataset, range(len(plan.dataset)))
    loaded: dict[str, dict[str, Any]] = {}
    for i in index:
        shard = plan.dataset.clips["shard"][i]
        if shard not in loaded:
            loaded[shard] = {}
            for part in plan.parts(wants):
                loaded[shard] |= load_file(shard_file(plan.folder / part, shard))
        at = whole[shard].index(i)
        for name, array in loaded[shard].items():
            if name in PER_TOKEN:
                rows[name] = [array]
            elif name in names:
                rows.setdefault(name, []).append(array[at : at + 1])
    return {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in rows.items()}
