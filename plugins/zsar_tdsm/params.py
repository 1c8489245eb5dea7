"""Every choice of TDSM. The defaults are what the authors' code did; see ``method.py``.

Where paper and code disagree, both readings are values of one parameter. ``as-printed`` is the
profile that takes the paper's side each time; what no parameter can say is said in ``method.py``.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from zsar_bench import params
from zsar_bench.params import between, runtime, science
from zsar_tdsm.diffusion import LONG, Prediction
from zsar_tdsm.dit import TextCondition, TextTokens
from zsar_tdsm.objective import Distance


class Params(params.Params):
    """Network, texts, diffusion, loss, optimisation and scoring of TDSM."""

    profiles = {  # noqa: RUF012 - a ClassVar of the base
        "paper": {},
        "as-printed": {
            "distance": "l2",
            "test_noises": 10,
            "position_embedding": True,
            "text_condition": "linear",
            "scaled_attention": False,
            "negatives": "distinct",
            "chain": "respaced",
        },
        "laptop": {
            "width": 128,
            "depth": 2,
            "heads": 4,
            "mlp_ratio": 2.0,
            "local_tokens": 16,
            "normalize": "standardize",
            "normalize_text": "unit-variance",
            "lr": 1e-3,
            "warmup": 30,
            "steps": 350,
            "batch": 64,
            "score_batch": 256,
        },
    }

    # network
    width: int = science(768, "channels of the transformer", ge=2)
    depth: int = science(12, "joint-attention blocks", ge=1)
    heads: int = science(12, "attention heads; must divide the width", ge=1)
    mlp_ratio: float = science(4.0, "hidden width of the MLPs over the width", gt=0)
    time_channels: int = science(256, "channels of the sin/cos step embedding", ge=2, multiple_of=2)
    position_embedding: bool = science(False, "learn one for the skeleton token (paper, not code)")
    scaled_attention: bool = science(
        True, "divide q k by the root of a head's width (code); the paper writes no factor"
    )

    # text and features
    text_tokens: TextTokens = science("both", "read the pooled text, its tokens, or both")
    text_condition: TextCondition = science(
        "mlp", "pooled text into the condition by two layers (code) or one linear map (paper)"
    )
    local_tokens: int = science(35, "text tokens kept; shorter texts are zero-padded", ge=1)
    mask_padding: bool = science(False, "hide padding from the attention (official code: shown)")
    normalize: Literal["none", "standardize"] = science(
        "none", "features as they come, or by mean and deviation of the seen training clips"
    )
    normalize_text: Literal["none", "unit-variance"] = science(
        "none", "texts as they come, or each vector and token to mean 0 and variance 1"
    )

    # diffusion
    timesteps: int = science(50, "length T of the chain", ge=1)
    chain: Literal["unscaled", "respaced"] = science(
        "unscaled",
        "betas from first to last whatever T is (code: a short chain keeps most of the signal), "
        f"or T levels of a chain of {LONG} (paper: it ends in nearly pure noise)",
    )
    beta_start: float = science(0.00085, "first beta", gt=0, lt=1)
    beta_end: float = science(0.012, "last beta", gt=0, lt=1)
    prediction: Prediction = science("epsilon", "what the network predicts: noise, feature or v")

    # loss
    loss: Literal["both", "diffusion", "triplet"] = science("both", "terms of the loss")
    distance: Distance = science(
        "mse",
        "denoising error in loss and score: mean squared error over the channels (code) or the "
        "L2 norm (paper), on whose scale, about the root of the channels, the margin then lies",
    )
    margin: float = science(
        1.0, "tau: gap asked for between wrong and true text", between(0.1, 3.0), ge=0
    )
    triplet_weight: float = science(
        1.0, "lambda: weight of the triplet term", between(0.1, 10.0), ge=0
    )
    negatives: Literal["with-replacement", "distinct"] = science(
        "with-replacement",
        "negative class from all seen classes, collisions masked (code), or another class (paper)",
    )
    training_noise: Literal["fresh", "fixed"] = science(
        "fresh", "new noise for every sample and step, or one noise for the whole fit (ablation)"
    )

    # optimisation
    lr: float = science(1e-4, "peak learning rate of AdamW", between(1e-4, 5e-3), gt=0)
    weight_decay: float = science(0.01, "weight decay of AdamW", between(1e-3, 1.0), ge=0)
    warmup: int = science(100, "steps of linear warm-up before the cosine", ge=0)
    steps: int = science(50_000, "optimiser steps", ge=1)
    batch: int = science(256, "clips a step; each is denoised under two texts", ge=1)
    amp: bool = science(True, "train in bfloat16 autocast on CUDA; no effect elsewhere")

    # scoring
    t_test: int = science(
        25, "step at which clips are noised for scoring; set it with timesteps, below it", ge=0
    )
    test_noises: int = science(3, "fixed noises whose errors are summed (paper: 10)", ge=1)
    score_batch: int = runtime(1024, "rows (clip, noise, class) scored at once", ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        if self.t_test >= self.timesteps:
            # Not moved silently: which step scores is a choice of its own.
            raise ValueError(
                f"t_test ({self.t_test}) must be below timesteps ({self.timesteps}); the middle of "
                f"this chain is --set t_test={self.timesteps // 2}"
            )
        if self.chain == "respaced" and self.timesteps > LONG:
            raise ValueError(f"a respaced chain has at most {LONG} timesteps, not {self.timesteps}")
        return self
