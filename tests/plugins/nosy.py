"""Methods that ask for everything a contract offers, and fail if they get less, or more.

Which setting a method declares is in its name; ``state_dict`` carries what was found out in
``fit`` over to the worker that scores.
"""

from __future__ import annotations

import torch

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    """None."""


def check(condition: object, what: str) -> None:
    """An assertion that optimisation cannot remove."""
    if not condition:
        raise AssertionError(what)


def check_inputs(inputs) -> None:
    """Every view is there, with one row a clip."""
    n = len(inputs)
    check(inputs.tokens.shape[0] == n and inputs.logits.shape == (n, 4), "tokens and logits")
    check(inputs.joint.shape == (inputs.tokens.shape[1],), "one joint a token")
    check(inputs.clips.data.shape[:2] == (n, 3), "raw clips")
    check(int(inputs.clips.lengths.max()) == inputs.clips.data.shape[2], "padded to the longest")


class Inductive:
    """Wants tokens, logits, raw clips and the encoder."""

    def __init__(self, params) -> None:
        self.adapted = 0

    def fit(self, train, run) -> None:
        check_inputs(train.inputs)
        check(run.unseen_texts is None, "an inductive method must not see unseen texts")
        check(int(train.labels.max()) == 3 and int(train.subjects.max()) == 3, "labels, subjects")
        again = run.encoder.encode(train.inputs.clips).pooled
        check(torch.allclose(again, train.inputs.pooled, atol=1e-4), "the encoder that made them")
        check(any(p.requires_grad for p in run.encoder.module().parameters()), "a trainable copy")
        self.mean = train.inputs.pooled.mean(0)

    def take_encoder(self, encoder) -> None:
        check(not hasattr(self, "mean"), "neither after fit nor after load_state_dict")
        self.encoder = encoder

    def bind(self, candidates) -> None:
        self.width = len(candidates)

    def score(self, inputs) -> torch.Tensor:
        check_inputs(inputs)
        again = self.encoder.encode(inputs.clips).pooled
        check(torch.allclose(again, inputs.pooled, atol=1e-4), "the encoder that made them")
        return (inputs.pooled - self.mean)[:, : self.width].contiguous()

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state) -> None:
        self.mean = state["mean"]


class ClassTransductive(Inductive):
    """May read the unseen texts in ``fit``."""

    def fit(self, train, run) -> None:
        check(len(run.unseen_texts) == 2, "the two candidates' texts")
        run.unseen_texts, kept = None, run.unseen_texts
        super().fit(train, run)
        self.mean = self.mean + kept.fields["motion"].pooled.mean() * 0


class Transductive(Inductive):
    """Gets all clips at once before it scores them."""

    def fit(self, train, run) -> None:
        run.unseen_texts = None
        super().fit(train, run)

    def adapt(self, inputs) -> None:
        check_inputs(inputs)
        self.adapted = len(inputs)

    def score(self, inputs) -> torch.Tensor:
        check(self.adapted == 16, "all 16 clips of this half")
        return super().score(inputs)


@hookimpl
def register_methods(registry) -> None:
    for setting in ("inductive", "class-transductive", "transductive"):
        registry.method(
            MethodSpec(
                name=f"nosy-{setting}",
                target=f"{__name__}:{setting.title().replace('-', '')}",
                params=f"{__name__}:Params",
                summary="asks for everything",
                setting=setting,
                wants=("tokens", "logits", "clips"),
                needs_encoder=True,
            )
        )
