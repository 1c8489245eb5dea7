"""A small world whose clips have joints and phases, and whose texts speak of parts and phases."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

PARTS = ("head", "arms", "torso", "legs")
PHASES = ("start", "middle", "end")
FIELDS = ("name", "description", "motion", *PARTS, *PHASES)
PART_OF_JOINT = (0, 1, 1, 2, 3, 3)  #: head, two arms, torso, two legs
JOINT = torch.arange(6).repeat_interleave(3)
PART = torch.tensor(PART_OF_JOINT).repeat_interleave(3)
PHASE = torch.arange(3).repeat(6)


class World:
    """Classes are points (K, 3); texts and tokens are fixed linear views of them.

    Args:
        classes: K.
        channels, width: of tokens and of texts.
        noise: of the tokens of a clip.
    """

    def __init__(
        self, classes: int, channels: int = 8, width: int = 10, noise: float = 0.1, seed: int = 0
    ) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.noise = noise
        self.points = torch.randn(classes, 3, generator=self.g)
        self.points /= self.points.norm(dim=1, keepdim=True)
        self.views = {f: torch.randn(3, width, generator=self.g) for f in FIELDS}
        self.looks = torch.randn(len(JOINT), 3, channels, generator=self.g)

    def texts(self, classes: Tensor) -> TextBank:
        """All fields of some classes."""
        bank = {}
        for name, view in self.views.items():
            pooled = self.points[classes] @ view
            mask = torch.ones(len(classes), 1, dtype=torch.bool)
            bank[name] = TextFeatures(pooled, pooled.unsqueeze(1), mask)
        return TextBank(bank)

    def clips(self, classes: Tensor, each: int, **more: Any) -> tuple[SkeletonInputs, Tensor]:
        """``each`` clips of every class, and the row of a clip's class in ``classes``."""
        labels = torch.arange(len(classes)).repeat(each)
        tokens = torch.einsum("nd,mdc->nmc", self.points[classes[labels]], self.looks)
        tokens = tokens + self.noise * torch.randn(tokens.shape, generator=self.g)
        inputs = SkeletonInputs(tokens.mean(1), tokens, joint=JOINT, part=PART, phase=PHASE, **more)
        return inputs, labels

    def train(self, classes: Tensor, each: int) -> SeenTrain:
        """Training clips of the seen classes."""
        inputs, labels = self.clips(classes, each)
        return SeenTrain(inputs, labels, torch.zeros_like(labels))
