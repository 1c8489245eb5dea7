"""What a plugin registers: names, one-line facts and lazy targets, never imported objects.

A *target* is ``"package.module:Name"``. The parent process only ever sees these specs as
JSON in the catalogue; targets are imported by workers (and once, for parameter schemas, by
the discovery child).
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
        setting: what the method may see beyond the seen classes; ranked separately.
        wants: inputs beyond ``pooled``: any of ``tokens``, ``logits``, ``clips``.
        text_fields: the method's text recipe, frozen before its first scoring.
        hp: where the ``paper`` profile's values come from: ``authors`` (tuned by them, perhaps
            on these very classes) or ``untuned``. Any other values count as untuned.
        needs_encoder: whether ``fit`` uses ``run.encoder``, and ``take_encoder`` what it was.
        batch: name of the parameter that says how many clips a step holds; where a fit runs out
            of memory the referee looks for the size that fits, and says it.
        seconds: profile -> rough seconds to fit and score one round of a few hundred clips
            on a laptop core; only for estimates before the first run.
        assets: files other than Python that the target reads, each by its whole path and within
            the plugin's package; part of its code's digest. Confined, it can open no others.
        leaks: names of parameters, false unless somebody sets them, under which ``score`` asks
            for what no honest method has: the true class of every clip it scores. Such a run
            explains a printed number; it is marked and ranked with no other.
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

    ``fallback_rank``: lowest wins where nobody names an encoder. ``seconds``: profile -> rough
    seconds to train on a few hundred clips on a laptop core; only for estimates. ``assets``: as
    in ``MethodSpec``.
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

    ``fallback_rank``: lowest wins where nobody names an encoder; ``None`` is never chosen
    by default (an encoder that needs a download or a folder). ``assets``: as in ``MethodSpec``;
    weights from elsewhere are no assets: ``fingerprint()`` tells them apart.
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
        name: canonical id, e.g. the one protocols name.
        target: class that implements ``contracts.DatasetReader``; for a stand-in
            ``contracts.DatasetGenerator``, for a pooled one ``contracts.DatasetPool``.
        title: official name.
        classes: TOML file with one table a class: id, name, verb, noun, in official order.
        layout: TOML file of the joint layout (``views.Layout``).
        texts: text-set id -> TOML file with the class texts.
        clips: number of clips of the complete data set, 0 if it has no fixed number.
        min_frames: shorter clips are left out of the store, and listed.
        bodies: largest number of bodies in a clip.
        fps: frames a second.
        how_to_get: where a user gets the raw files, legally.
        licence: terms in one sentence.
        citation: paper to cite.
        stand_in_for: name of the real data set that this generated one stands in for; empty
            for a data set with raw files.
        parts: names of the data sets that this one is pooled from; its target then is a
            ``contracts.DatasetPool``.
        params: class derived from ``params.Params``; generators only, and they must have one.
        assets: as in ``MethodSpec``.
        samples: how clips are divided by protocols that do not say so themselves, as the table
            ``samples`` of a protocol file; also for ``<name>/folds:K`` and ``<name>/random:U@S``.
            Empty: every protocol must say it.
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
    """Whether a data set, given as JSON values, is made here instead of read from raw files."""
    return bool(spec.get("stand_in_for") or spec.get("parts"))


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A number computed by the parent (ours) or a worker (a plugin's) from one score matrix."""

    name: str
    target: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class ReporterSpec:
    """A rendering of a comparison: text in, text out."""

    name: str
    target: str
    summary: str
