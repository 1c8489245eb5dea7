"""The data that plugin code gets: tensors, without labels of unseen clips, ids or paths.

Shapes: N clips, C channels, T frames, V joints, B bodies, M tokens per clip, K classes,
L text tokens, D text channels, S seen classes. Tensors are float32 on the run's device
unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch import Tensor, device


@dataclass(frozen=True)
class Layout:
    """The joints of a data set.

    Attributes:
        joints: V joint names.
        parents: (V,) index of each joint's parent, the root's is its own index.
        parts: (V,) body part of each joint: head, arms, torso or legs.
        mirror: (V,) index of the joint on the other side of the body, itself if central.
        left_hip, right_hip: the joints whose axis defines the facing direction.
        up: index of the vertical axis (0, 1 or 2).
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    parts: tuple[str, ...]
    mirror: tuple[int, ...]
    left_hip: int
    right_hip: int
    up: int = 1

    @property
    def root(self) -> int:
        """Index of the joint that is its own parent."""
        return next(v for v, p in enumerate(self.parents) if v == p)


class _Rows:
    """Moving and slicing, shared by the views whose tensors run over clips."""

    def _map(self, change: object) -> Self:
        from torch import Tensor

        values = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            values[f.name] = change(value) if isinstance(value, Tensor) else value  # type: ignore[operator]
            if isinstance(value, _Rows):
                values[f.name] = value._map(change)
        return type(self)(**values)

    def to(self, where: device | str) -> Self:
        """The same view with every tensor on another device."""
        return self._map(lambda t: t.to(where))


@dataclass(frozen=True)
class Clips(_Rows):
    """Raw skeleton clips.

    Attributes:
        data: (N, C=3, T, V, B) metres in the camera's frame, zero after a clip's end and
            for an absent body.
        lengths: (N,) int64 number of valid frames.
        layout: the joints.
    """

    data: Tensor
    lengths: Tensor
    layout: Layout

    def __len__(self) -> int:
        return int(self.lengths.shape[0])

    def rows(self, index: Tensor) -> Clips:
        """The clips at ``index`` (n,), cut to the longest of them."""
        lengths = self.lengths[index]
        longest = int(lengths.max()) if len(lengths) else 0
        return Clips(self.data[index, :, :longest], lengths, self.layout)


@dataclass(frozen=True)
class Features(_Rows):
    """Features of N clips by a skeleton encoder.

    Attributes:
        pooled: (N, C).
        tokens: (N, M, C) before pooling, or None.
        logits: (N, S) over the classes the encoder was trained on, or None.
        joint, part, phase: (M,) int64: joint, body part and third of the clip that a token
            covers, -1 if it covers several; None without tokens. ``part`` counts
            head, arms, torso, legs from 0; ``phase`` start, middle, end from 0.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    logits: Tensor | None = None
    joint: Tensor | None = None
    part: Tensor | None = None
    phase: Tensor | None = None


@dataclass(frozen=True)
class SkeletonInputs(_Rows):
    """The clips that a method is fitted on or scores: features, and raw clips if it wants them.

    Attributes:
        labels: None, except for scoring in runs that are marked as leaking
            (``MethodSpec.leaks``): (N,) int64, index of the true class among the bound
            candidates, -1 if it is none of them.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    logits: Tensor | None = None
    joint: Tensor | None = None
    part: Tensor | None = None
    phase: Tensor | None = None
    clips: Clips | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return int(self.pooled.shape[0])

    def rows(self, index: Tensor) -> SkeletonInputs:
        """The inputs at ``index`` (n,)."""
        return SkeletonInputs(
            pooled=self.pooled[index],
            tokens=None if self.tokens is None else self.tokens[index],
            logits=None if self.logits is None else self.logits[index],
            joint=self.joint,
            part=self.part,
            phase=self.phase,
            clips=None if self.clips is None else self.clips.rows(index),
            labels=None if self.labels is None else self.labels[index],
        )


@dataclass(frozen=True)
class TextFeatures(_Rows):
    """Features of K texts, one per row.

    Attributes:
        pooled: (K, D).
        tokens: (K, L, D'); most towers have D' = D. Values at padded positions are up to the
            encoder, but may not depend on the other texts.
        mask: (K, L) bool, True at real tokens.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return int(self.pooled.shape[0])


@dataclass(frozen=True)
class TextBank:
    """The texts of K classes, field by field. Row k of every field is the same class.

    Attributes:
        fields: text-field name (``name``, ``motion``, ...) -> features, in the order requested.
    """

    fields: dict[str, TextFeatures]

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def to(self, where: device | str) -> TextBank:
        """The same texts on another device."""
        return TextBank({name: text.to(where) for name, text in self.fields.items()})

    def rows(self, index: Tensor) -> TextBank:
        """The classes at ``index`` (n,)."""
        return TextBank(
            {
                name: TextFeatures(t.pooled[index], t.tokens[index], t.mask[index])
                for name, t in self.fields.items()
            }
        )


@dataclass(frozen=True)
class SeenTrain:
    """The seen training clips of one round.

    Attributes:
        inputs: features of N clips.
        labels: (N,) int64 in [0, S): row of the class in the seen text bank.
        subjects: (N,) int64 in [0, P): number of the subject, in arbitrary order; all 0 if the
            subjects are not known (released features).
    """

    inputs: SkeletonInputs
    labels: Tensor
    subjects: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class EncoderTrain:
    """The seen training clips for an encoder; fields as in ``SeenTrain``.

    ``classes`` is S, the number of seen classes.
    """

    clips: Clips
    labels: Tensor
    subjects: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.clips)
