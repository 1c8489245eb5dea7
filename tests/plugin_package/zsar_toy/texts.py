"""``toy-hash``: hashed words. Importing it loads no torch, so that its fingerprint is cheap."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from zsar_bench.params import Params, science
from zsar_bench.views import TextFeatures

if TYPE_CHECKING:
    from torch import Tensor


class HashParams(Params):
    """What can be changed about ``toy-hash``."""

    channels: int = science(32, "values a word", ge=1, le=256)


class Hash:
    """Every word is a vector of +1 and -1 from its SHA-256; a text is their mean."""

    def __init__(self, params: HashParams) -> None:
        self.params = params

    def fingerprint(self) -> str:
        """There are no weights: a fixed name."""
        return "toy-hash-1"

    def encode(self, texts: list[str]) -> TextFeatures:
        """Features of the texts, one row each."""
        import torch

        words = [text.lower().replace(",", " ").replace(".", " ").split() for text in texts]
        longest = max(map(len, words))
        tokens = torch.zeros(len(texts), longest, self.params.channels)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, line in enumerate(words):
            for column, word in enumerate(line):
                tokens[row, column] = self._vector(word)
                mask[row, column] = True
        pooled = torch.stack([t[m].mean(dim=0) for t, m in zip(tokens, mask, strict=True)])
        return TextFeatures(pooled=pooled, tokens=tokens, mask=mask)

    def _vector(self, word: str) -> Tensor:
        import torch

        bits = int.from_bytes(hashlib.sha256(word.encode()).digest())
        return torch.tensor([1.0 if bits >> i & 1 else -1.0 for i in range(self.params.channels)])
