"""``cramped``: zsar-toy's method and encoder on a device that holds only so many rows at once.

Beyond that they raise what torch raises where a GPU's memory ends. The limits are runtime
parameters: they change no run's identity.
"""

from __future__ import annotations

import torch
from zsar_toy.encoders import Mean, MeanParams
from zsar_toy.methods import Ridge, RidgeParams

from zsar_bench import MethodSpec, SkeletonEncoderSpec
from zsar_bench.hookspecs import hookimpl
from zsar_bench.params import runtime

api = 1


def hold(rows, limit):
    if rows > limit:
        raise torch.OutOfMemoryError(f"CUDA out of memory: {rows} rows, and room for {limit}")


class CrampedParams(RidgeParams):
    fit_rows: int = runtime(1000, "rows that a step may have", ge=0)
    score_rows: int = runtime(1000, "rows that may be scored at once", ge=0)


class Cramped(Ridge):
    def fit(self, train, run):
        hold(self.params.batch, self.params.fit_rows)
        super().fit(train, run)

    def score(self, inputs):
        hold(len(inputs), self.params.score_rows)
        return super().score(inputs)


class CrampedMeanParams(MeanParams):
    rows: int = runtime(1000, "clips that may be encoded at once", ge=0)


class CrampedMean(Mean):
    def encode(self, clips):
        hold(len(clips), self.params.rows)
        return super().encode(clips)


@hookimpl
def register_methods(registry):
    registry.method(
        MethodSpec(
            name="cramped",
            target=f"{__name__}:Cramped",
            params=f"{__name__}:CrampedParams",
            summary="toy-ridge with little memory",
            batch="batch",
        )
    )


@hookimpl
def register_skeleton_encoders(registry):
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="cramped-mean",
            target=f"{__name__}:CrampedMean",
            params=f"{__name__}:CrampedMeanParams",
            summary="toy-mean with little memory",
        )
    )
