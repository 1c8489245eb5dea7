"""The oracle's text encoder: reads motions of the stand-in's grammar, not language.

A text of the set ``oracle`` lists the entries of a class's motion with their weights. Its pooled
feature is that vector over all entries of the grammar, of unit length: two classes are as near to
each other as their motions are. So a method that is given these texts shows what it could do if a
text encoder understood everything; the rest of its error is its own and the skeleton encoder's.
"""

from __future__ import annotations

from zsar_datasets.stand_in.grammar import fingerprint
from zsar_datasets.stand_in.oracle import entries, parse

from zsar_bench.errors import UserError
from zsar_bench.params import Params as BaseParams
from zsar_bench.views import TextFeatures


class Params(BaseParams):
    """Nothing can be changed about it."""


class Grammar:
    """``contracts.TextEncoder``."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fingerprint(self) -> str:
        """Hash of the grammar, which fixes the order of the entries."""
        return fingerprint()

    def encode(self, texts: list[str]) -> TextFeatures:
        """Pooled (K, D) and tokens (K, L, D), one token an entry; the tokens' sum is pooled.

        Raises:
            UserError: for a text that is no line of the grammar's entries.
        """
        import torch

        place = {name: i for i, name in enumerate(entries())}
        lines = [_entries(text) for text in texts]
        longest = max(map(len, lines), default=0)
        tokens = torch.zeros(len(lines), longest, len(place))
        mask = torch.zeros(len(lines), longest, dtype=torch.bool)
        for k, line in enumerate(lines):
            size = sum(weight**2 for weight in line.values()) ** 0.5
            for i, (name, weight) in enumerate(line.items()):
                tokens[k, i, place[name]] = weight / size
                mask[k, i] = True
        return TextFeatures(tokens.sum(dim=1), tokens, mask)


def _entries(text: str) -> dict[str, float]:
    try:
        found = parse(text)
    except ValueError as error:
        raise UserError(
            f"The text encoder 'grammar' reads the entries of the stand-in's motion grammar; "
            f"'{str(error)[:60]}' is none.",
            "Type: --texts oracle --text-fields motion",
        ) from None
    if not any(found.values()):
        raise UserError("The text encoder 'grammar' got a text without weight.")
    return found
