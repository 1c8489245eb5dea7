"""Chance: scores that know nothing, so that a table shows what knowing nothing is worth.

The score of a clip and a class is a uniform number in [0, 1) made from three integers: the run's
seed, a hash of the bits of the clip's pooled features and a hash of the bits of the class's text
features. Drawing from a generator would be simpler but wrong here: the referee scores in chunks
and orders of its own choosing and scores some clips twice, so a score may depend on nothing but
the clip and the class themselves. With a hash it does not, to the bit.

Closeness is lost on purpose: features that differ in one bit get unrelated scores, and so do two
seeds. Equal clips score equally, and two classes with equal texts tie. Nothing is learned, so
there is no parameter. The hash is counter-based, sum_c mix(bits_c + c * odd constant), with the
finaliser of splitmix64 (G. Steele et al., "Fast splittable pseudorandom number generators",
OOPSLA 2014); int64 wraps like unsigned 64-bit arithmetic, and integer sums have no rounding that
could depend on the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """No parameters."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}


# --- The hash --------------------------------------------------------------------------------


def signed(constant: int) -> int:
    """An unsigned 64-bit constant as the int64 of the same bits."""
    return constant - (1 << 64) if constant >> 63 else constant


GOLDEN = signed(0x9E3779B97F4A7C15)
FIRST = signed(0xBF58476D1CE4E5B9)
SECOND = signed(0x94D049BB133111EB)


def shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift; int64 alone would copy the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def mix(bits: Tensor) -> Tensor:
    """Finaliser of splitmix64: a bijection of int64 whose output bits look independent."""
    bits = (bits ^ shift(bits, 30)) * FIRST
    bits = (bits ^ shift(bits, 27)) * SECOND
    return bits ^ shift(bits, 31)


def row_hash(rows: Tensor) -> Tensor:
    """(N,) int64 hash of the float32 bits of rows (N, C); 0 and -0 are the same number."""
    bits = (rows.float() + 0.0).contiguous().view(torch.int32).long()
    place = torch.arange(1, rows.shape[1] + 1, device=rows.device) * GOLDEN
    return mix(mix(bits + place).sum(1))


def uniform(bits: Tensor) -> Tensor:
    """float32 in [0, 1) from the upper 24 bits, all that float32 can hold evenly."""
    return shift(bits, 40).float() / (1 << 24)


# --- The method ------------------------------------------------------------------------------


class Chance:
    """Random scores as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Remember the seed; the clips are not looked at."""
        seed = torch.tensor(run.seed & (2**63 - 1), device=run.device)
        self.key = mix(seed + GOLDEN)
        run.progress(1, 1)

    def bind(self, candidates: TextBank) -> None:
        """Hash the candidates' texts, all fields, with the seed's key."""
        texts = torch.cat([text.pooled for text in candidates.fields.values()], dim=1)
        self.classes = mix(row_hash(texts) + self.key)  # (K,)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) uniform numbers."""
        clips = row_hash(inputs.pooled)  # (N,)
        return uniform(mix(clips.unsqueeze(1) + self.classes))

    def state_dict(self) -> State:
        """The seed's ``key``, one int64."""
        return {"key": self.key}

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's key."""
        self.key = state["key"]
