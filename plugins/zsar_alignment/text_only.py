"""Text-only: candidates ranked by their texts alone, the same ranking for every clip.

A sanity baseline that is blind to the clips it scores. With n_s the number of training clips of
the seen class s, t_s its text and N = sum_s n_s, a candidate with text u scores

    cos( sum_s n_s / N t_s, u ),

its likeness to what the training clips were about, on average. That is ConSE (``conse.py``, all
seen classes mixed) whose classifier never looks: instead of p(s | clip) it answers how frequent
s was. Whatever ConSE, or any method, scores beyond this line is due to the skeleton.

What a reader can take from it:

- Macro accuracy is 1/K whatever the texts, because one class is always right and the others
  never. Anything else is a fault of the referee.
- Micro accuracy is the share of test clips of the one class that is always answered: what a
  method gains in micro accuracy by sending everything to the candidate that reads most like the
  seen classes. A method whose answers pile up on this class has learned a text prior.
- In GZSL it shows to which side texts alone lean: one of S and U is zero.

Class sizes and texts are of the seen training part only. Text fields have unit length and are
joined by channel as in the other baselines. Texts are not centred here: with classes of equal
size the centred mean is zero and has no direction. Candidates with equal texts tie. No number is
reproduced, nothing is random and there is nothing to tune, hence no parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import normalize

from zsar_alignment._features import joined
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """No parameters."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}


# --- The method ------------------------------------------------------------------------------


class TextOnly:
    """The text prior as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.state: dict[str, Tensor] = {}

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Average the seen texts over the training clips; features are not looked at."""
        texts = joined(run.texts)  # (S, D)
        counts = torch.bincount(train.labels, minlength=len(texts)).to(texts.dtype)
        self.state = {"prior": counts / counts.sum() @ texts}
        run.progress(1, 1)

    def bind(self, candidates: TextBank) -> None:
        """Score every candidate: its cosine with the average."""
        prior = normalize(self.state["prior"], dim=0)
        self.scores = (normalize(joined(candidates), dim=1) @ prior).float()  # (K,)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K), every row the same."""
        return self.scores.repeat(len(inputs), 1)

    def state_dict(self) -> State:
        """The average text, ``prior`` (D,) float64."""
        return self.state

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.state = dict(state)
