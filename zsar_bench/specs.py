"""What a plugin registers: names, facts and lazy targets, no imported objects.

A *target* is ``"package.module:Name"``. The parent process sees these specs only as JSON in the
catalogue. Targets are imported by workers, and by the discovery child for parameter schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Setting = Literal["inductive", "class-transductive", "transductive"]


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """A method that recognises unseen classes from text.

    Attributes:
        name: short id used on the command line.
        target: class that implements ``contracts.Method``.
        params: class derived from ``params.Params``.
        summary: one sentence.
        paper: citation, empty for a sanity baseline.
        setting: what the method may use beyond seen classes; settings are ranked separately.
        wants: inputs beyond ``pooled``: any of ``tokens``, ``logits``, ``clips``.
        text_fields: text fields that the method uses, fixed before its first scoring.
        hp: origin of the ``paper`` profile's values: ``authors`` (tuned by them, perhaps on the
            same classes) or ``untuned``. Other values count as untuned.
        needs_encoder: whether ``fit`` uses ``run.encoder``; see ``contracts.Method``.
        batch: name of the parameter for the number of clips per step; if a fit runs out of
            memory, the harness searches the largest size that fits and suggests it.
        seconds: profile -> approximate seconds to fit and score one round of a few hundred clips
            on a laptop core; only for estimates before the first run.
        assets: files other than Python that the target reads, as absolute paths within the
            plugin's package; part of its code's digest. A confined worker can open no others.
        leaks: names of parameters, False by default, with which ``score`` gets the true class of
            every clip. Such a run explains a published number; it is marked and not ranked.
    """

    name: str
    target: str
    params: str
    summary: str
    paper: str = ""
    setting: Setting = "inductive"
    wants: tuple[str, ...] = ()
    text_fields: tuple[str, ...] = ("motion", "description")
    hp: str = "untuned"
    needs_encoder: bool = False
    batch: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    assets: tuple[Path, ...] = ()
    leaks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SkeletonEncoderSpec:
    """A network that turns clips into features, trained by the harness on seen classes only.

    ``fallback_rank``: the encoder with the lowest rank is the default. ``seconds``: profile ->
    approximate seconds to train on a few hundred clips on a laptop core; only for estimates.
    ``assets``: as in ``MethodSpec``.
    """

    name: str
    target: str
    params: str
    summary: str
    paper: str = ""
    fallback_rank: int = 100
    seconds: dict[str, float] = field(default_factory=dict)
    assets: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextEncoderSpec:
    """A frozen network that turns class texts into features.

    ``fallback_rank``: the encoder with the lowest rank is the default; with ``None`` it is never
    the default (an encoder that needs a download or a folder). ``assets``: as in ``MethodSpec``;
    downloaded weights are no assets, ``fingerprint()`` identifies them.
    """

    name: str
    target: str
    params: str
    summary: str
    paper: str = ""
    fallback_rank: int | None = None
    assets: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A skeleton data set: its reader or generator, classes, joints and class texts.

    Attributes:
        name: canonical id, which protocols use.
        target: class that implements ``contracts.DatasetReader``; for a stand-in
            ``contracts.DatasetGenerator``, for a pooled one ``contracts.DatasetPool``.
        title: official name.
        classes: TOML file with one table per class: id, name, verb, noun, in official order.
        layout: TOML file of the joint layout (``views.Layout``).
        texts: text-set id -> TOML file with the class texts.
        clips: number of clips of the complete data set, 0 if it has no fixed number.
        min_frames: shorter clips are not stored; they are listed as skipped.
        bodies: largest number of bodies in a clip.
        fps: frames per second.
        how_to_get: where a user gets the raw files, legally.
        licence: terms in one sentence.
        citation: paper to cite.
        stand_in_for: name of the real data set that this generated one replaces; empty
            for a data set with raw files.
        parts: names of the data sets that this one is pooled from; its target then is a
            ``contracts.DatasetPool``.
        params: class derived from ``params.Params``; required for generators, else empty.
        assets: as in ``MethodSpec``.
        samples: default split of the clips for protocols without their own, as the table
            ``samples`` of a protocol file; also for ``<name>/folds:K`` and ``<name>/random:U@S``.
            If empty, every protocol must define it.
    """

    name: str
    target: str
    title: str
    classes: Path
    layout: Path
    texts: dict[str, Path] = field(default_factory=dict)
    clips: int = 0
    min_frames: int = 1
    bodies: int = 1
    fps: float = 30.0
    how_to_get: str = ""
    licence: str = ""
    citation: str = ""
    stand_in_for: str = ""
    parts: tuple[str, ...] = ()
    params: str = ""
    assets: tuple[Path, ...] = ()
    samples: dict[str, Any] = field(default_factory=dict)


def generated(spec: Mapping[str, Any]) -> bool:
    """Whether a data set, given as JSON values, is generated or pooled, not read from raw files."""
    return bool(spec.get("stand_in_for") or spec.get("parts"))


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A measure of one score matrix, computed by the parent, or by a worker if it is a plugin's."""

    name: str
    target: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class ReporterSpec:
    """A function that renders a comparison as text."""

    name: str
    target: str
    summary: str
