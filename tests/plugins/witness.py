"""``witness``: a method that writes down everything it is shown, and scores by text alone.

What it saw goes to the folder named by ``ZSAR_BENCH_TEST_SEEN``, one safetensors file a call.
The score of a candidate is the sum of its text's features, so a test knows which column is
whose; it wants tokens, so that its encoder work is not that of ``toy-ridge``.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    """None."""


COUNT = itertools.count()  #: calls of this process: files' times are too coarse to order them


def write_down(call: str, **tensors: torch.Tensor | None) -> None:
    """One file a call; it appears whole."""
    folder = Path(os.environ["ZSAR_BENCH_TEST_SEEN"])
    given = {k: v.clone().contiguous() for k, v in tensors.items() if v is not None}
    path = folder / f"{call}-{os.getpid()}-{next(COUNT):04d}"
    save_file(given, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path.with_suffix(".safetensors"))


class Witness:
    """See the module."""

    def __init__(self, params: Params) -> None:
        pass

    def fit(self, train, run) -> None:
        texts = run.texts.fields["motion"].pooled
        inputs = train.inputs
        write_down(
            "fit",
            pooled=inputs.pooled,
            tokens=inputs.tokens,
            logits=inputs.logits,
            clips=None if inputs.clips is None else inputs.clips.data,
            labels=train.labels,
            subjects=train.subjects,
            texts=texts,
        )
        self.texts = texts

    def bind(self, candidates) -> None:
        self.texts = candidates.fields["motion"].pooled
        write_down("bind", texts=self.texts)

    def score(self, inputs) -> torch.Tensor:
        clips = None if inputs.clips is None else inputs.clips.data
        seen = {"tokens": inputs.tokens, "logits": inputs.logits, "clips": clips}
        write_down("score", pooled=inputs.pooled, **seen)
        return self.texts.sum(dim=1).expand(len(inputs), -1)

    def state_dict(self):
        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


@hookimpl
def register_methods(registry) -> None:
    registry.method(
        MethodSpec(
            name="witness",
            target=f"{__name__}:Witness",
            params=f"{__name__}:Params",
            summary="writes down what it is shown",
            wants=("tokens",),
            text_fields=("motion",),
        )
    )
