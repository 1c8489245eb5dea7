"""Stand-ins for what the harness hands to a plugin, for tests that need no harness."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
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
    """Standard-normal features; labels and two subjects in turn."""
    g = Generator().manual_seed(seed)
    return SeenTrain(
        inputs=SkeletonInputs(torch.randn(clips, channels, generator=g)),
        labels=torch.arange(clips) % classes,
        subjects=torch.arange(clips) % 2,
    )


def tiny_clip(folder: Path, seed: int = 0, **changes: Any) -> dict[str, str]:
    """A CLIP of three blocks with random weights: ``model`` and ``weights`` for ``open-clip``.

    Args:
        folder: where the two files are written, ``clip.json`` and ``clip.safetensors``.
        seed: of the weights.
        changes: to the configuration; those of ``text_cfg`` are added to its own.
    """
    from zsar_encoders._open_clip_weights import build

    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    config = {"embed_dim": 24, "vision_cfg": vision} | changes
    config["text_cfg"] = text | changes.get("text_cfg", {})
    g = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    state = {n: 0.3 * torch.randn(shape, generator=g) for n, shape in shapes.items()}
    state |= {n: 1 + t for n, t in state.items() if "ln_" in n and n.endswith("weight")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clip.json").write_text(json.dumps(config))
    save_file(state, folder / "clip.safetensors")
    return {"model": str(folder / "clip.json"), "weights": str(folder / "clip.safetensors")}
