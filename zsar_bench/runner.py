"""One run: every round fitted and scored in workers, then joined with labels by the parent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue import Entry
from zsar_bench.controls import SHUFFLED_UNSEEN, Control
from zsar_bench.environment import Machine
from zsar_bench.errors import RunFailed
from zsar_bench.identity import VERSION, derive_seed, digest
from zsar_bench.paths import locked, make_folder, rename_folder, write_bytes, write_json
from zsar_bench.protocol import Protocol
from zsar_bench.rounds import Round
from zsar_bench.sandbox import Worker, run_job
from zsar_bench.settings import Settings
from zsar_bench.shuffling import content_order
from zsar_bench.sources import FeatureSource
from zsar_bench.text_features import TextPlan, write_bank
from zsar_bench.texts import ClassTexts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.record import Record

Event = Callable[[dict[str, Any]], None]

SCORE_CHUNK = 128  #: clips scored at once
RESCORED = 64  #: clips of a run that are scored again, one at a time


@dataclass(frozen=True)
class RunPlan:
    """Everything that determines one run. Two plans of equal identity are the same run."""

    protocol: Protocol
    method: Entry
    params: Settings
    encoders: tuple[FeatureSource, ...]  #: one a round; trained here or released
    texts: TextPlan
    class_texts: ClassTexts
    fields: tuple[str, ...]
    rule: str
    encoder_seed: int
    method_seed: int
    machine: Machine
    results: Path
    choices: tuple[tuple[str, str, str], ...] = ()
    control: Control | None = None  #: None: the classes have their own texts
    metric_entries: tuple[Entry, ...] = field(default=(), repr=False)

    @property
    def wants(self) -> tuple[str, ...]:
        return tuple(self.method.spec["wants"])

    @property
    def precision(self) -> str:
        """Mixed only on an accelerator, and only if the method has not switched it off."""
        mixed = self.machine.device != "cpu" and bool(self.params.science.get("amp"))
        return "mixed" if mixed else "float32"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score, as JSON values."""
        control = {} if self.control is None else {"control": self.control.identity}
        return self._plain_identity | control

    @cached_property
    def _plain_identity(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "protocol": self.protocol.digest,
            "method": {
                "name": self.method.name,
                "code": self.method.digest,
                "params": self.params.science,
            },
            "features": [plan.key for plan in self.encoders],
            "texts": {
                "features": self.texts.key,
                "classes": self.class_texts.digest(self.fields),
                "fields": list(self.fields),
            },
            "rule": self.rule,
            "seeds": [self.encoder_seed, self.method_seed],
            "precision": self.precision,
            "machine": self.machine.identity,
        }

    @cached_property
    def run_id(self) -> str:
        return digest(self.identity)[:16]

    @cached_property
    def plain_id(self) -> str:
        """Id of the same run without a text control; all draws share its orders of clips and
        candidates: a leak by position must not average out."""
        return digest(self._plain_identity)[:16]

    @property
    def folder(self) -> Path:
        """Final place; a folder of this name is complete."""
        return self.results / "runs" / self.protocol.folder / self.method.name / self.run_id

    @property
    def part(self) -> Path:
        """Where the run lives until it is complete."""
        return self.folder.with_name(f".{self.run_id}.part")

    @property
    def fit_part(self) -> Path:
        """Where the fitted states live. Shifts of the candidates' texts share one fit, if the
        method cannot have read these texts in it."""
        inductive = self.method.spec.get("setting") == "inductive"
        if inductive and self.control is not None and self.control.kind == SHUFFLED_UNSEEN:
            return self.folder.with_name(f".{self.plain_id}.fit")
        return self.part

    @property
    def done(self) -> bool:
        return (self.folder / "run.json").is_file()


def run_round(plan: RunPlan, number: int, on_event: Event) -> None:
    """Fit and score one round; leaves ``scores.safetensors`` and ``round.json`` in its folder."""
    folder = plan.part / f"round-{number}"
    with locked(folder):
        if plan.done or (folder / "round.json").is_file():
            return
        encoder, one = plan.encoders[number], plan.encoders[number].round
        events: list[dict[str, Any]] = []

        def hear(event: dict[str, Any]) -> None:
            event = {"round": one.name, **event}
            events.append({"time": round(time.time(), 3), **event})
            on_event(event)

        started = time.monotonic()
        fit_folder = plan.fit_part / folder.name
        with nullcontext() if fit_folder == folder else locked(fit_folder):
            _fit(plan, number, fit_folder, hear)
        fitted = time.monotonic()
        scores, change, again = _score(plan, encoder, one, folder, hear)
        from safetensors.numpy import save

        write_bytes(folder / "scores.safetensors", save({"scores": scores}))
        write_json(
            folder / "round.json",
            {
                "fit": round(fitted - started, 3),
                "score": round(time.monotonic() - fitted, 3),
                "rescored": again,
                "largest_change": change,
                "events": events,
            },
        )


def _bank(plan: RunPlan, one: Round, classes: list[str], path: Path) -> None:
    if plan.control is not None:
        source = plan.control.sources(one.seen, one.unseen)
        given = {
            f: {c: plan.class_texts.fields[f][source[c]] for c in classes} for f in plan.fields
        }
        plan.control.write_bank(plan.texts, given, classes, path)
        return
    texts = {f: [plan.class_texts.fields[f][c] for c in classes] for f in plan.fields}
    write_bank(plan.texts, texts, path)


def _fit(plan: RunPlan, number: int, folder: Path, hear: Event) -> None:
    """Fit in a worker whose bundle holds seen training clips and seen texts only."""
    if (folder / "state.safetensors").is_file():
        return
    encoder = plan.encoders[number]
    texts = folder / "seen-texts.safetensors"
    _bank(plan, encoder.round, list(encoder.round.seen), texts)
    job = plan.machine.job(
        "fit",
        plan.method,
        plan.params.values,
        bundle=encoder.fit_bundle(plan.wants),
        clips="clips" in plan.wants,
        wants=plan.wants,
        layout=encoder.dataset.layout,
        texts=str(texts),
        fields=plan.fields,
        seed=derive_seed("method", plan.method_seed, plan.encoder_seed, encoder.round.name),
        state=str(folder / "state.safetensors"),
        workdir=str(folder),
        encoder=encoder.encoder_job() if plan.method.spec["needs_encoder"] else None,
    )
    if plan.method.spec["setting"] != "inductive":
        unseen = folder / "unseen-texts.safetensors"
        _bank(plan, encoder.round, _shuffled_candidates(plan, encoder.round)[0], unseen)
        job["unseen_texts"] = str(unseen)
    run_job(job, folder, lambda e: hear({"stage": "fit", **e}))


def _score(
    plan: RunPlan, encoder: FeatureSource, one: Round, folder: Path, hear: Event
) -> tuple[NDArray[np.float32], float, int]:
    """Scores (n, K) of the round's unseen clips and classes; the re-scoring's change."""
    import numpy as np

    seeds = (plan.plain_id, one.name)
    candidates, shuffled = _shuffled_candidates(plan, one)
    contents = encoder.dataset.contents(one.test_unseen)
    order = content_order(contents, "clips", *seeds)
    texts = folder / "candidates.safetensors"
    _bank(plan, one, candidates, texts)
    transductive = plan.method.spec["setting"] == "transductive"
    job = plan.machine.job(
        "score",
        plan.method,
        plan.params.values,
        texts=str(texts),
        fields=plan.fields,
        layout=encoder.dataset.layout,
        state=str(plan.fit_part / folder.name / "state.safetensors"),
        seed=derive_seed("score", plan.method_seed, plan.encoder_seed, one.name),
        workdir=str(folder),
        adapt=transductive,
    )
    inputs = encoder.read(one.test_unseen, plan.wants)
    scores = np.empty((len(order), len(candidates)), dtype=np.float32)
    with Worker(job, folder, hear) as worker:
        worker.answer()  # bound to the candidates; only now may clips come
        if transductive:
            worker.ask(_request(plan, encoder, one, inputs, order))
        for start in range(0, len(order), SCORE_CHUNK):
            rows = order[start : start + SCORE_CHUNK]
            scores[rows] = _ask(plan, worker, encoder, one, inputs, rows)
            hear({"stage": "score", "step": start + len(rows), "total": len(order)})
        again = content_order(contents, "again", *seeds)[: -(-RESCORED // len(plan.encoders))]
        change = 0.0
        for row in again:
            once_more = _ask(plan, worker, encoder, one, inputs, np.array([row]))
            change = max(change, float(np.abs(once_more - scores[row]).max()))
    back = np.empty_like(shuffled)
    back[shuffled] = np.arange(len(shuffled))
    return np.ascontiguousarray(scores[:, back]), change, len(again)


def _shuffled_candidates(plan: RunPlan, one: Round) -> tuple[list[str], NDArray[np.int64]]:
    """The unseen classes in the order a worker gets them, and that order."""
    said = ["\n".join(plan.class_texts.fields[f][c] for f in plan.fields) for c in one.unseen]
    order = content_order((s.encode() for s in said), "candidates", plan.plain_id, one.name)
    return [one.unseen[i] for i in order], order


def _request(
    plan: RunPlan,
    encoder: FeatureSource,
    one: Round,
    inputs: dict[str, Any],
    rows: NDArray[np.int64],
) -> bytes:
    """Some clips as a score worker gets them: features and whatever else the method wants."""
    import numpy as np
    from safetensors.numpy import save

    fixed = ("joint", "part", "phase")
    request = {n: a if n in fixed else np.ascontiguousarray(a[rows]) for n, a in inputs.items()}
    if "clips" in plan.wants:
        request |= encoder.raw([one.test_unseen[r] for r in rows])
    return save(request)


def _ask(
    plan: RunPlan,
    worker: Worker,
    encoder: FeatureSource,
    one: Round,
    inputs: dict[str, Any],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Scores of some clips, in the worker's order of candidates."""
    import numpy as np
    from safetensors.numpy import load

    answer = worker.ask(_request(plan, encoder, one, inputs, rows))
    scores: NDArray[np.float32] = load(answer)["scores"]
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise RunFailed(f"score() gave {bad} values that are not finite")
    return scores


def finish_run(plan: RunPlan, on_event: Event) -> Record:
    """Join the rounds with labels, compute the metrics and give the run its final name."""
    from zsar_bench.outcome import assemble, read_round
    from zsar_bench.record import read_record, seal_run, write_predictions

    with locked(plan.part):
        if not plan.done:
            record, predictions = assemble(plan)
            out = make_folder(plan.part / "out")
            write_predictions(out / "predictions.safetensors", *predictions)
            lines = (e for n in range(len(plan.encoders)) for e in read_round(plan, n)["events"])
            write_bytes(out / "events.jsonl", _json_lines(lines))
            write_bytes(out / "run.json", record.model_dump_json(indent=1).encode() + b"\n")
            seal_run(out)
            rename_folder(out, plan.folder)
        shutil.rmtree(plan.part, ignore_errors=True)
    if plan.fit_part != plan.part and all(p.done for p in _shifts(plan)):
        shutil.rmtree(plan.fit_part, ignore_errors=True)
    return read_record(plan.folder)


def _shifts(plan: RunPlan) -> list[RunPlan]:
    """All runs that use this one's fit."""
    count = len(plan.protocol.unseen)
    return [replace(plan, control=Control(SHUFFLED_UNSEEN, shift)) for shift in range(count)]


def _json_lines(rows: Any) -> bytes:
    import json

    return "".join(json.dumps(row) + "\n" for row in rows).encode()
