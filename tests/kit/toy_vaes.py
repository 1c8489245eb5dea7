"""A small world for the methods that are built of VAEs, and what is asked of each of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kit.fakes import FakeContext, random_texts, random_train
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

#: Parameters with which the world below is learnt in about a second.
QUICK: dict[str, Any] = {
    "latent": 12,
    "decoder_relu": False,
    "classifier_relu": False,
    "normalize": "standardize",
    "normalize_text": "standardize",
    "lr": 5e-3,
    "samples": 50,
    "classifier_lr": 1e-2,
}


def bank(*fields: Tensor) -> TextBank:
    """Texts with these pooled features, one tensor (K, D) a field."""
    return TextBank(
        {
            f"field{i}": TextFeatures(f, f.unsqueeze(1), torch.ones(len(f), 1, dtype=torch.bool))
            for i, f in enumerate(fields)
        }
    )


def points() -> tuple[Tensor, Tensor]:
    """Meanings, a pair of directions each: of 30 seen classes and of 6 between them.

    Every field is a view of one of the directions, so that bringing it to unit length costs
    nothing of its meaning.
    """

    def pairs(first: Tensor, second: Tensor) -> Tensor:
        angles = torch.cartesian_prod(2 * torch.pi * first, 2 * torch.pi * second)
        return torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)  # (n, 4)

    seen = pairs(torch.arange(6) / 6, torch.arange(5) / 5)
    return seen, pairs((torch.arange(3) + 0.25) / 3, (torch.arange(2) + 0.2) / 2)


def texts(meanings: Tensor) -> TextBank:
    """Two fields, each a linear view of two of the meaning's dimensions."""
    g = torch.Generator().manual_seed(4)
    views = [torch.randn(2, 10, generator=g) for _ in range(2)]
    return bank(meanings[:, :2] @ views[0], meanings[:, 2:] @ views[1])


def clips(meanings: Tensor, each: int, seed: int) -> tuple[SkeletonInputs, Tensor]:
    """Features that are a linear function of the meaning and a little noise; their classes."""
    view = torch.randn(4, 16, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(len(meanings)).repeat(each)
    noise = torch.randn(len(labels), 16, generator=torch.Generator().manual_seed(seed))
    return SkeletonInputs(meanings[labels] @ view + 0.1 * noise), labels


def accuracies(method: Any) -> tuple[float, float, FakeContext]:
    """Fit in the small world; accuracy over seen and over unseen classes, and the fit's words."""
    seen, unseen = points()
    x, labels = clips(seen, 10, seed=6)
    run = FakeContext(texts(seen))
    method.fit(SeenTrain(x, labels, torch.zeros_like(labels)), run)
    found = []
    for meanings in (seen, unseen):
        x, labels = clips(meanings, 20, seed=7)
        method.bind(texts(meanings))
        found.append(float((method.score(x).argmax(1) == labels).float().mean()))
    return found[0], found[1], run


def fitted(method: Any, train: SeenTrain | None = None, classes: int = 4) -> Any:
    """The method after a fit to noise."""
    run = FakeContext(random_texts(classes, seed=3))
    method.fit(train or random_train(14, classes), run)
    return method


def outcome(method: Any) -> list[Tensor]:
    """All that a fit on noise and the scores after it come to."""
    fitted(method).bind(random_texts(3, seed=8))
    return [*method.state_dict().values(), method.score(random_train(4, 2, seed=9).inputs)]


def differ(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) != len(other) or any(
        a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


TINY: dict[str, Any] = {"latent": 4, "cycles": 3, "batch": 5, "samples": 20, "lr": 1e-3}
CHANGES: dict[str, Any] = {
    "latent": 6,
    "decoder_relu": False,
    "noise": "full",
    "normalize": "standardize",
    "normalize_text": "standardize",
    "cycles": 4,
    "cycle_steps": 7,
    "kl_start": 0.1,
    "cross_start": 0.3,
    "kl_rate": 0.5,
    "quiet_cycles": 0,
    "lr": 1e-2,
    "batch": 7,
    "samples": 10,
    "classifier_steps": 20,
    "classifier_lr": 1e-2,
    "classifier_relu": False,
}
