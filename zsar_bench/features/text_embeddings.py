"""Features of texts, cached by everything they depend on.

    <home>/texts/<key>.sealed     safetensors, sealed (``seals.write_sealed``)

A file that is damaged is made again.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings
from zsar_bench.common.checksums import Damaged, read_sealed, write_sealed
from zsar_bench.common.events import Event
from zsar_bench.common.files import home, locked, write_bytes
from zsar_bench.common.hashing import key
from zsar_bench.errors import RunFailed
from zsar_bench.sandbox.checkpoint_stream import empty_folder
from zsar_bench.sandbox.client import Worker, run_job

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TextPlan:
    """Texts and the frozen encoder for them.

    Attributes:
        entry, settings: the text encoder and its parameters.
        fingerprint: of its weights.
        texts: distinct texts, in a fixed order.
        machine: where they are encoded.
    """

    entry: Entry
    settings: Settings
    fingerprint: str
    texts: tuple[str, ...]
    machine: Machine = field(repr=False)

    @cached_property
    def key(self) -> str:
        """Key of everything the text features depend on."""
        return key(
            "texts",
            code=self.entry.digest,
            params=self.settings.science,
            fingerprint=self.fingerprint,
            texts=self.texts,
            machine=self.machine.identity,
        )

    @property
    def file(self) -> Path:
        return home() / "texts" / f"{self.key}.sealed"


def text_fingerprint(entry: Entry, settings: Settings, machine: Machine) -> str:
    """Hash of a text encoder's weights, computed in a worker."""
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder:
        answer = run_job(machine.job("print", entry, settings.values), Path(folder))
    return str(answer["fingerprint"])


def ensure_texts(plan: TextPlan, on_event: Event) -> Path:
    """Encode the texts unless they are in the cache, whole; returns the file of their features."""
    if _read(plan) is not None:
        return plan.file
    part = plan.file.with_name(f".{plan.key}.part")
    with locked(part):
        if _read(plan) is None:
            if plan.file.exists():
                note = f"{plan.file} is damaged; it is made again."
                on_event({"stage": "texts", "note": note})
            on_event({"stage": "texts", "step": 0, "total": len(plan.texts)})
            write_sealed(plan.file, _encode(plan, empty_folder(part / "work"), on_event))
        shutil.rmtree(part, ignore_errors=True)
    return plan.file


def _encode(plan: TextPlan, workdir: Path, on_event: Event) -> bytes:
    """Features of the texts from a worker.

    Raises:
        RunFailed: unless they are finite numbers, a row a text.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    job = plan.machine.job(
        "texts", plan.entry, plan.settings.values, texts=plan.texts, workdir=str(workdir)
    )
    with Worker(job, workdir, on_event) as worker:
        blob = worker.answer()
    try:
        tensors = load(blob)
        pooled, tokens, mask = (tensors[name] for name in ("pooled", "tokens", "mask"))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        raise RunFailed("the worker's answer holds no features of texts") from None
    if (
        {*tensors} != {"pooled", "tokens", "mask"}
        or [a.dtype.str for a in (pooled, tokens, mask)] != ["<f4", "<f4", "|b1"]
        or (pooled.ndim, tokens.ndim, len(pooled)) != (2, 3, len(plan.texts))
        or tokens.shape[:2] != mask.shape
        or len(tokens) != len(pooled)
    ):
        raise RunFailed("the text encoder's shapes or types do not fit each other or the texts")
    if not (np.isfinite(pooled).all() and np.isfinite(tokens).all()):
        raise RunFailed("the text encoder gave values that are not finite")
    return bytes(blob)


def _read(plan: TextPlan) -> bytes | None:
    """The cached features; None if they are missing or damaged."""
    with contextlib.suppress(Damaged):
        return read_sealed(plan.file)
    return None


def read_text_features(plan: TextPlan) -> dict[str, NDArray[Any]]:
    """The encoded texts: ``pooled``, ``tokens`` and ``mask``, a row for each of ``plan.texts``.

    Raises:
        Damaged: naming the file, if it was damaged or deleted since ``ensure_texts``.
    """
    from safetensors.numpy import load

    payload = _read(plan)
    if payload is None:
        raise Damaged(
            f"{plan.file} is damaged or gone.", "Type the same command again: it is made anew."
        )
    features: dict[str, NDArray[Any]] = load(payload)
    return features


def bank_tensors(plan: TextPlan, fields: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    """The text bank of some classes as tensors named ``field.part``.

    Args:
        plan: encoded texts.
        fields: field -> the K classes' texts, in order.
    """
    features = read_text_features(plan)
    row = {text: i for i, text in enumerate(plan.texts)}
    return {
        f"{name}.{part}": features[part][[row[t] for t in texts]]
        for name, texts in fields.items()
        for part in ("pooled", "tokens", "mask")
    }


def write_bank(plan: TextPlan, fields: dict[str, list[str]], path: Path) -> None:
    """Write the text bank of some classes: field -> the K classes' texts, in order."""
    from safetensors.numpy import save

    write_bytes(path, save(bank_tensors(plan, fields)))
