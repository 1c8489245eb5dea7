"""Methods to tune: ``toy-dial`` is best at one place of its range, ``toy-plain`` has no range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import model_validator
from torch import Tensor
from zsar_toy.methods import Ridge, RidgeParams, joined

from zsar_bench.hookspecs import hookimpl
from zsar_bench.params import among, between, science
from zsar_bench.specs import MethodSpec

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext
    from zsar_bench.registry import Registry
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

api = 1

BEST = 2.0  #: value of ``dial`` that adds no noise
SPEED = 6  #: channel of ``toy-mean`` that holds the mean speed
SIGN = 1.0  #: makes the first feature of ``nod fast`` larger than that of ``nod slow``


class DialParams(RidgeParams):
    """``dial`` away from ``BEST`` drowns the scores; ``mood`` may break the fit."""

    profiles = {"paper": {}, "laptop": {"steps": 40}}  # noqa: RUF012 - a ClassVar of the base

    dial: float = science(40.0, "noise grows with its distance", between(0.05, 80.0), gt=0)
    mood: str = science("calm", "whether the fit goes wrong", among("calm", "bad"))

    @model_validator(mode="after")
    def _together(self) -> DialParams:
        if self.mood == "bad" and self.dial > 5:
            raise ValueError("dial is too large for this mood")
        return self


class Dial(Ridge):
    """Tells slow from fast clips, with noise in its scores that depends on the clip alone."""

    params: DialParams

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """As ``toy-ridge``, unless in a bad mood."""
        if self.params.mood == "bad":
            raise RuntimeError("this is the planted error")
        super().fit(train, run)

    def bind(self, candidates: TextBank) -> None:
        """One number a candidate, which happens to be larger for ``nod fast``."""
        super().bind(candidates)
        self.tempo = SIGN * joined(candidates)[:, 0]

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """Speed times that number, beside noise that grows with the distance of ``dial``."""
        scores = inputs.pooled[:, SPEED, None].sign() * self.tempo
        scores = scores / scores.abs().amax(dim=1, keepdim=True)
        weight = math.log(self.params.dial / BEST) ** 2
        columns = torch.arange(scores.shape[1]) + 1
        return scores + weight * torch.sin(1e4 * inputs.pooled.sum(dim=1)[:, None] * columns)


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add both methods."""
    for name, target, params in (
        ("toy-dial", "Dial", "DialParams"),
        ("toy-plain", "Dial", "zsar_toy.methods:RidgeParams"),
    ):
        registry.method(
            MethodSpec(
                name=name,
                target=f"{__name__}:{target}",
                params=params if ":" in params else f"{__name__}:{params}",
                summary="a method of a test of tune",
                seconds={"laptop": 1, "paper": 1},
            )
        )
