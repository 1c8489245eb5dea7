"""``toy-ridge``, an honest method whose fit can be killed, and ``toy-faulty``, which goes wrong."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from zsar_bench.params import Params, runtime, science
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext, State


class RidgeParams(Params):
    """What can be changed about ``toy-ridge``; both profiles are known to it."""

    profiles = {"paper": {}, "laptop": {"steps": 40}}  # noqa: RUF012 - a ClassVar of the base

    ridge: float = science(0.01, "weight of the squared norm of the map", ge=0)
    steps: int = science(60, "steps of gradient descent", ge=1, le=100_000)
    batch: int = science(16, "clips a step", ge=1)
    lr: float = science(0.1, "learning rate", gt=0)
    sleep: float = runtime(0.0, "seconds to wait after every step", ge=0)
    score_sleep: float = runtime(0.0, "seconds that scoring waits", ge=0)


class Ridge:
    """A linear map from pooled features to texts, scored by the inner product."""

    def __init__(self, params: RidgeParams) -> None:
        self.params = params

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Minibatch gradient descent; a checkpoint offered every step."""
        p = self.params
        x, texts = train.inputs.pooled, joined(run.texts)
        self.mean, self.spread = x.mean(dim=0), x.std(dim=0).clamp_min(1e-3)
        self.centre = texts.mean(dim=0)
        x, targets = (x - self.mean) / self.spread, (texts - self.centre)[train.labels]
        self.map = torch.zeros(x.shape[1], targets.shape[1], device=x.device)
        start = 0
        if run.resume is not None:
            start, state = run.resume
            self.map = state["map"].to(run.device)
            run.generator.set_state(state["generator"])
        for step in range(start, p.steps):
            rows = torch.randint(len(x), (p.batch,), generator=run.generator, device=x.device)
            error = x[rows] @ self.map - targets[rows]
            gradient = x[rows].T @ error / p.batch + p.ridge * self.map
            self.map = self.map - p.lr / x.shape[1] * gradient
            if p.sleep:
                time.sleep(p.sleep)
            run.checkpoint(
                step + 1, lambda: {"map": self.map, "generator": run.generator.get_state()}
            )
            run.progress(step + 1, p.steps, loss=error.square().mean())

    def bind(self, candidates: TextBank) -> None:
        """Turn every text into a classifier of features."""
        texts = joined(candidates) - self.centre
        self.classifiers = texts / texts.norm(dim=1, keepdim=True)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K)."""
        time.sleep(self.params.score_sleep)
        return (inputs.pooled - self.mean) / self.spread @ self.map @ self.classifiers.T

    def state_dict(self) -> State:
        """The map, and what standardises its two sides."""
        names = ("map", "mean", "spread", "centre")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        for name, value in state.items():
            setattr(self, name, value)


def joined(texts: TextBank) -> Tensor:
    """(K, sum of D): every field's pooled features side by side."""
    return torch.cat([text.pooled for text in texts.fields.values()], dim=1)


class FaultyParams(RidgeParams):
    """``fault`` says what goes wrong, ``at`` where (only where a fault can happen anywhere)."""

    fault: Literal[
        "none", "raise", "exit", "os-exit", "segfault", "print", "nan", "shape", "batch-stats"
    ] = science("none", "what goes wrong: nan, shape and batch-stats in score, others as 'at' says")
    at: Literal["fit", "bind", "score"] = science("fit", "where it goes wrong")


class Faulty(Ridge):
    """``toy-ridge``, except for its fault."""

    params: FaultyParams

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """As ``toy-ridge``, then the fault."""
        super().fit(train, run)
        self._go_wrong("fit")

    def bind(self, candidates: TextBank) -> None:
        """As ``toy-ridge``, then the fault."""
        super().bind(candidates)
        self._go_wrong("bind")

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """As ``toy-ridge``, then the fault."""
        scores = super().score(inputs)
        self._go_wrong("score")
        if self.params.fault == "nan":
            scores[0, 0] = float("nan")
        if self.params.fault == "shape":
            return scores[:, :-1]
        if self.params.fault == "batch-stats":  # looks at the other clips: transductive
            return scores - scores.mean(dim=0)
        return scores

    def _go_wrong(self, where: str) -> None:
        if where != self.params.at:
            return
        match self.params.fault:
            case "raise":
                raise RuntimeError("this is the planted error")
            case "exit":
                sys.exit("this is the planted exit")
            case "os-exit":
                os._exit(7)
            case "segfault":
                ctypes.string_at(0)
            case "print":
                print("this is the planted print " * 1000)
