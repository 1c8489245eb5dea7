"""``forger-...``: methods that speak to the parent themselves, in the harness's place.

A worker runs the plugin's code in the harness's own process, so the plugin can find the pipe and
say anything. It may not be believed, and may not end anything but its own run.
"""

from __future__ import annotations

import gc
import os
import struct
from typing import Any

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    """None."""


def pipe() -> Any:
    """The worker's end of the pipe, wherever the harness holds it."""
    return next(o for o in gc.get_objects() if type(o).__name__ == "Pipe")


def frame(kind: bytes, payload: bytes, length: int | None = None) -> None:
    line = pipe()
    line._answers.write(struct.pack("<cQ", kind, len(payload) if length is None else length))
    line._answers.write(payload)
    line._answers.flush()


class Forger:
    """An honest method, up to the moment of forging."""

    def __init__(self, params: Params) -> None:
        self.peeked = 0

    def fit(self, train, run) -> None:
        self.forge_fit()

    def bind(self, candidates) -> None:
        self.width = len(candidates)
        self.forge_bind()

    def score(self, inputs):
        self.forge_score(len(inputs))
        return inputs.pooled[:, : self.width].contiguous()

    def forge_fit(self) -> None:
        """Before the state is handed over."""

    def forge_bind(self) -> None:
        """Before any clip has come."""

    def forge_score(self, clips: int) -> None:
        """Before scores are handed over."""

    def state_dict(self):
        import torch

        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


class Fitted(Forger):
    """Says that it has fitted, gives nothing and is gone."""

    def forge_fit(self) -> None:
        pipe().send({"fitted": True, "total": 1})
        os._exit(0)


class Words(Forger):
    """Progress that is no progress."""

    def forge_fit(self) -> None:
        pipe().send({"progress": "words"})


class Infinite(Forger):
    """A schedule without end."""

    def forge_fit(self) -> None:
        pipe().send({"progress": {"step": float("inf"), "total": float("nan")}})


class Nested(Forger):
    """JSON as deep as a parser's stack."""

    def forge_fit(self) -> None:
        frame(b"J", b"[" * 200_000)


class Confinement(Forger):
    """Better walls than stand."""

    def forge_fit(self) -> None:
        kinds = ("files", "tcp", "signals", "system_calls", "capabilities")
        pipe().send({"confinement": {"level": "fortress", "abi": 99, **dict.fromkeys(kinds, True)}})


class Frame(Forger):
    """A frame of a kind that there is not, and of more bytes than there are."""

    def forge_fit(self) -> None:
        frame(b"X", b"", 1 << 40)


class Escape(Forger):
    """An error that would rename the reader's terminal and clear it."""

    def forge_fit(self) -> None:
        pipe().send({"error": {"kind": "failed", "what": "\x1b]0;owned\x07\x1b[2Jall is well"}})


class User(Forger):
    """An error that the user is to have made."""

    def forge_fit(self) -> None:
        pipe().send({"error": {"kind": "user", "what": ["no", "text"], "hint": {"a": 1}}})


class Broadcast(Forger):
    """One clip's scores for all of them."""

    def forge_score(self, clips: int) -> None:
        import torch

        pipe().send_tensors({"scores": torch.ones(1, self.width)})


class Wide(Forger):
    """Scores of another type."""

    def forge_score(self, clips: int) -> None:
        import torch

        pipe().send_tensors({"scores": torch.ones(clips, self.width, dtype=torch.float64)})


class Unasked(Forger):
    """JSON in the place of scores."""

    def forge_score(self, clips: int) -> None:
        pipe().send({"scores": [[1.0] * self.width] * clips})


class Peek(Forger):
    """Says "bound" while it still binds, and binds with the clips that come."""

    def forge_bind(self) -> None:
        from safetensors.torch import load

        from zsar_bench.sandbox.wire import receive

        line = pipe()
        send, requests = type(line).send, line.requests
        send(line, {"bound": self.width})
        request = load(receive(line._requests)[1])
        self.centre = request["pooled"].mean(dim=0)
        line.send = lambda message: None if "bound" in message else send(line, message)

        def more():
            yield request
            yield from requests()

        line.requests = more

    def score(self, inputs):
        return (inputs.pooled - self.centre)[:, : self.width].contiguous()


#: What ends the run that says it, and what is only seen through.
FATAL = (
    Fitted,
    Words,
    Infinite,
    Nested,
    Confinement,
    Frame,
    Escape,
    User,
    Broadcast,
    Wide,
    Unasked,
)
SEEN_THROUGH = (Peek,)


@hookimpl
def register_methods(registry) -> None:
    for kind in (*FATAL, *SEEN_THROUGH):
        registry.method(
            MethodSpec(
                name=f"forger-{kind.__name__.lower()}",
                target=f"{__name__}:{kind.__name__}",
                params=f"{__name__}:Params",
                summary="answers in the harness's place",
            )
        )
