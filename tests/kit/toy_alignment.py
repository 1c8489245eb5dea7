"""Small worlds for the trained alignment methods, and what is asked of each of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kit.fakes import FakeContext
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(**fields: Tensor) -> TextBank:
    """Texts with these pooled features (K, D); one token each."""
    return TextBank(
        {
            name: TextFeatures(f, f.unsqueeze(1), torch.ones(len(f), 1, dtype=torch.bool))
            for name, f in fields.items()
        }
    )


def random_bank(classes: int, seed: int) -> TextBank:
    """Two fields of different widths."""
    g = rng(seed)
    return bank(
        first=torch.randn(classes, 5, generator=g), second=torch.randn(classes, 7, generator=g)
    )


def random_seen(clips: int = 23, classes: int = 5, channels: int = 6, seed: int = 1) -> SeenTrain:
    """Random features; as those of an encoder with a ReLU, but for a few."""
    g = rng(seed)
    x = 2 * torch.randn(clips, channels, generator=g) + 1
    labels = torch.arange(clips) % classes
    return SeenTrain(SkeletonInputs(x), labels, torch.zeros_like(labels))


def fitted(method: Any, seed: int = 0, train: SeenTrain | None = None) -> Any:
    """The method, fitted on random clips of five classes."""
    train = train or random_seen()
    method.fit(train, FakeContext(random_bank(int(train.labels.max()) + 1, 2), seed))
    return method


def scores(method: Any) -> Tensor:
    """Its scores of random clips and candidates."""
    method.bind(random_bank(4, 3))
    return method.score(random_seen(9, seed=7).inputs)


class World:
    """Looks that are a fixed linear function of texts, with a little noise.

    A class's text is a first and a second word, each with a random vector; the unseen classes put
    words together that are known from other classes.
    """

    WORDS = 6

    def __init__(self, seed: int = 0, width: int = 12, channels: int = 24) -> None:
        g = rng(seed)
        self._first = torch.randn(self.WORDS, width, generator=g)
        self._second = torch.randn(self.WORDS, width, generator=g)
        self._looks = torch.randn(2 * width, channels, generator=g) / width**0.5
        pairs = [(a, b) for a in range(self.WORDS) for b in range(self.WORDS)]
        self.unseen = [p for p in pairs if (p[1] - p[0]) % self.WORDS == 1]  # 6 of 36
        self.seen = [p for p in pairs if p not in self.unseen]

    def texts(self, pairs: list[tuple[int, int]]) -> TextBank:
        a, b = torch.tensor(pairs).unbind(1)
        return bank(verb=self._first[a], noun=self._second[b])

    def clips(self, pairs: list[tuple[int, int]], each: int, seed: int) -> SeenTrain:
        joined = torch.cat([f.pooled for f in self.texts(pairs).fields.values()], dim=1)
        labels = torch.arange(len(pairs)).repeat_interleave(each)
        x = joined[labels] @ self._looks
        x = x + 0.3 * torch.randn(x.shape, generator=rng(seed))
        return SeenTrain(SkeletonInputs(x), labels, torch.zeros_like(labels))

    def accuracy(self, method: Any) -> float:
        """Of a method fitted on the seen classes, over clips of the six unseen ones."""
        method.fit(self.clips(self.seen, 14, 1), FakeContext(self.texts(self.seen)))
        method.bind(self.texts(self.unseen))
        tested = self.clips(self.unseen, 20, 2)
        found = method.score(tested.inputs).argmax(1)
        return float((found == tested.labels).float().mean())


def check_parameters(method: type, params: type[Any], tiny: dict[str, Any], **changes: Any) -> None:
    """Every science parameter is among ``changes``, and a change of it changes scores."""
    science = {
        name
        for name, field in params.model_fields.items()
        if field.json_schema_extra["kind"] == "science"
    }
    assert set(changes) == science
    base = scores(fitted(method(params(**tiny))))
    assert torch.equal(base, scores(fitted(method(params(**tiny)))))
    for name, value in changes.items():
        changed = scores(fitted(method(params(**{**tiny, name: value}))))
        assert not torch.equal(changed, base), name


def check_paper_profile(method: type, params: type[Any]) -> None:
    """The paper's sizes make an epoch on a set smaller than its batch, and on a single class."""
    assert params.profiles["paper"] == {}
    for classes in (5, 1):
        made = fitted(method(params(epochs=1)), train=random_seen(classes=classes))
        assert scores(made).isfinite().all()
    params(**params.profiles["laptop"])
