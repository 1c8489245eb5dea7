"""Stand-ins for what the harness hands to a plugin, for tests that need no harness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Generator, Tensor, device

from zsar_bench.contracts import SkeletonEncoder
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures


class FakeContext:
    """A ``contracts.FitContext`` that remembers what it was told.

    Args:
        texts: the seen classes' texts.
        seed: seeds ``generator`` and torch's global generators, as the harness does.
        resume: (step, tensors) of a checkpoint to continue from.
        where: device of ``generator`` and, by promise, of the views.
        kill_at: raise ``KeyboardInterrupt`` at the checkpoint offered after this step.
        every: checkpoints kept every so many steps; 0 keeps none.

    Attributes:
        steps: one (step, total, scalars) for every call of ``progress``.
        checkpoints: the kept (step, tensors), copied.
    """

    def __init__(
        self,
        texts: TextBank,
        seed: int = 0,
        resume: tuple[int, dict[str, Tensor]] | None = None,
        where: str = "cpu",
        kill_at: int | None = None,
        every: int = 0,
        workdir: Path = Path("."),
    ) -> None:
        torch.manual_seed(seed)
        self.seed = seed
        self.device: device = torch.device(where)
        self.generator: Generator = Generator(self.device).manual_seed(seed)
        self.threads = torch.get_num_threads()
        self.texts = texts
        self.unseen_texts: TextBank | None = None
        self.encoder: SkeletonEncoder | None = None
        self.workdir = workdir
        self.resume = resume
        self.steps: list[tuple[int, int, dict[str, float | Tensor]]] = []
        self.checkpoints: list[tuple[int, dict[str, Tensor]]] = []
        self._kill_at = kill_at
        self._every = every

    def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
        """Keep the scalars, unread."""
        self.steps.append((step, total, scalars))

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Keep a copy when one is due; then die, if told to."""
        if step == self._kill_at or (self._every and step % self._every == 0):
            self.checkpoints.append((step, {k: v.clone() for k, v in tensors().items()}))
        if step == self._kill_at:
            raise KeyboardInterrupt


def random_texts(
    classes: int, channels: int = 4, tokens: int = 3, fields: int = 2, seed: int = 1
) -> TextBank:
    """Texts of standard-normal features; the last token of every second class is padding."""
    g = Generator().manual_seed(seed)
    bank = {}
    for i in range(fields):
        mask = torch.ones(classes, tokens, dtype=torch.bool)
        mask[::2, -1] = False
        bank[f"field{i}"] = TextFeatures(
            pooled=torch.randn(classes, channels, generator=g),
            tokens=torch.randn(classes, tokens, channels, generator=g),
            mask=mask,
        )
    return TextBank(bank)


def random_train(clips: int, classes: int, channels: int = 5, seed: int = 2) -> SeenTrain:
    """Standard-normal features; labels and two performers in turn."""
    g = Generator().manual_seed(seed)
    return SeenTrain(
        inputs=SkeletonInputs(torch.randn(clips, channels, generator=g)),
        labels=torch.arange(clips) % classes,
        subjects=torch.arange(clips) % 2,
    )
