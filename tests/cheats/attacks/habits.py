"""Habits of the field, as plugins: what papers' code does that makes a number incomparable.

``either-branch``, ``true-class-query``: need the clips' labels, which the contract has no place
for. ``best-constant``: one class for all clips. ``batch-statistics``, ``inner-classifier``,
``caching-classifier``, ``dodger``: look at the test clips together. ``scaler``: is fitted over
whatever rows are there. ``batch-encoder``: encodes a clip by what stands beside it, and claims
to have been trained elsewhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from zsar_bench import MethodSpec, SkeletonEncoderSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    """None."""


class Habit:
    """Scores are differences of standardised features: deterministic, and not constant."""

    def __init__(self, params: Params) -> None:
        pass

    def fit(self, train, run) -> None:
        self.mean = train.inputs.pooled.mean(dim=0)

    def bind(self, candidates) -> None:
        self.width = len(candidates)

    def score(self, inputs):
        return (inputs.pooled - self.mean)[:, : self.width].contiguous()

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state) -> None:
        self.mean = state["mean"]


class EitherBranch(Habit):
    """Two branches; a clip is to count as right if either is."""

    def score(self, inputs):
        import torch

        one = super().score(inputs)
        return torch.stack([one, -one])


class TrueClassQuery(Habit):
    """Wants to ask a clip about its own class's text."""

    def score(self, inputs, labels):
        import torch

        return torch.nn.functional.one_hot(labels, self.width).float()


class BestConstant(Habit):
    """The same class for every clip: whichever was best on test."""

    def score(self, inputs):
        import torch

        return torch.eye(self.width)[:1].expand(len(inputs), -1).contiguous()


class BatchStatistics(Habit):
    """Standardises test clips by their own mean and spread."""

    def score(self, inputs):
        x = inputs.pooled
        x = (x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp_min(1e-3)
        return x[:, : self.width].contiguous()


class InnerClassifier(Habit):
    """Fits a classifier inside ``score``: two means of the clips in view, nearest first."""

    def score(self, inputs):
        import torch

        x = inputs.pooled
        means = x[:: max(1, len(x) - 1)][: self.width]
        means = torch.cat([means] * self.width)[: self.width]
        for _ in range(10):
            nearest = torch.cdist(x, means).argmin(dim=1)
            means = torch.stack(
                [x[nearest == k].mean(dim=0) if (nearest == k).any() else m
                 for k, m in enumerate(means)]
            )  # fmt: skip
        return -torch.cdist(x, means)


class CachingClassifier(InnerClassifier):
    """The same, with its answers kept by the clips' content: asked again, it says the same."""

    def __init__(self, params: Params) -> None:
        self.known: dict[bytes, Any] = {}

    def score(self, inputs):
        import torch

        keys = [row.numpy().tobytes() for row in inputs.pooled]
        if any(k not in self.known for k in keys):
            self.known |= dict(zip(keys, super().score(inputs), strict=True))
        return torch.stack([self.known[k] for k in keys])


class Dodger(Habit):
    """Computes which clips will be scored again and looks at the others together only.

    All that this takes is in a worker's hands: the run's id is in the name of its folder.
    """

    def score(self, inputs):
        from zsar_bench.common.hashing import content_order

        scores = super().score(inputs)
        contents = []
        for data, n in zip(inputs.clips.data, inputs.clips.lengths.tolist(), strict=True):
            frames = data[:, :n].permute(1, 3, 2, 0).contiguous().numpy()
            contents.append(hashlib.sha256(frames.tobytes()).digest())
        parts = Path.cwd().parts
        run = next(p for p in parts if p.endswith(".part"))[1:-5]
        number = next(int(p.removeprefix("round-")) for p in parts if p.startswith("round-"))
        again = content_order(contents, "again", run, ROUNDS[number])
        safe = again[-(-RESCORED // len(ROUNDS)) :].tolist()
        if len(inputs) > 1:
            scores[safe] = scores[safe] - scores.mean(dim=0)
        return scores


class Scaler(Habit):
    """Tells what it was fitted over, and whether tensors hold more than they show."""

    def fit(self, train, run) -> None:
        super().fit(train, run)
        run.progress(1, 1, rows=len(train), mean=self.mean[0], spare=spare_bytes(train, run.texts))

    def score(self, inputs):
        if more := spare_bytes(inputs):
            raise RuntimeError(f"{more} bytes beyond the view")
        return super().score(inputs)


def spare_bytes(*views: Any) -> int:
    """Bytes in the storage of the views' tensors beyond what they show."""
    import torch

    found = 0
    for view in views:
        for value in vars(view).values():
            if isinstance(value, torch.Tensor):
                found += value.untyped_storage().nbytes() - value.numel() * value.element_size()
            elif isinstance(value, dict):
                found += spare_bytes(*value.values())
            elif hasattr(value, "__dataclass_fields__"):
                found += spare_bytes(value)
    return found


class BatchEncoder:
    """Means of joints, less those of the batch."""

    classes = ("c2", "c3")
    trained_on = "another data set, honestly"

    def __init__(self, params: Params) -> None:
        pass

    def fit(self, train, run) -> None:
        """Nothing: it was trained elsewhere."""

    def encode(self, clips):
        import torch

        from zsar_bench.views import Features

        x = torch.stack(
            [d[:, :n].mean(dim=1).flatten() for d, n in zip(clips.data, clips.lengths, strict=True)]
        )
        return Features(pooled=x - x.mean(dim=0), logits=torch.zeros(len(x), 4))

    def module(self):
        import torch

        return torch.nn.Identity()

    def state_dict(self):
        import torch

        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


ROUNDS = ("xsub",)  #: of the protocol that ``dodger`` is written for
RESCORED = 4  #: clips of a run that are scored again, in its test

METHODS: dict[str, tuple[type, tuple[str, ...]]] = {
    "habit": (Habit, ()),
    "either-branch": (EitherBranch, ()),
    "true-class-query": (TrueClassQuery, ()),
    "best-constant": (BestConstant, ()),
    "batch-statistics": (BatchStatistics, ()),
    "inner-classifier": (InnerClassifier, ()),
    "caching-classifier": (CachingClassifier, ()),
    "dodger": (Dodger, ("clips",)),
    "scaler": (Scaler, ()),
}


@hookimpl
def register_methods(registry) -> None:
    for name, (target, wants) in METHODS.items():
        registry.method(
            MethodSpec(
                name=name,
                target=f"{__name__}:{target.__name__}",
                params=f"{__name__}:Params",
                summary="a habit of the field",
                wants=wants,
            )
        )


@hookimpl
def register_skeleton_encoders(registry) -> None:
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="batch-encoder",
            target=f"{__name__}:BatchEncoder",
            params=f"{__name__}:Params",
            summary="encodes a clip by what stands beside it",
        )
    )
