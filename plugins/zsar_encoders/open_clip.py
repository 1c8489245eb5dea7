"""The text towers of CLIP and its kin: any open_clip model with CLIP's own text transformer.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021; Cherti et al., "Reproducible scaling laws for contrastive language-image learning",
CVPR 2023. Two encoders share this file:

- ``open-clip``: a model and weights of the user's choice. Its tower ``clip`` gives the text
  feature that CLIP compares with images (projected, not normalised) and the last hidden states.
- ``tdsm-text``: what TDSM (Do & Kim, ICCV 2025) conditions on, the text tower of Stable
  Diffusion 2.1. That is ViT-H-14 trained on LAION-2B without its last block: hidden states
  behind the last but one, through the final layer norm. Texts are cut at 35 tokens, the end
  token included; pooled is the hidden state at the end token, without projection.

Every text stands in a row of the model's whole context, zero-padded behind its end token as in
training: a shorter context would ask for other position embeddings. Token features are that
row's first ``max_tokens`` positions, padding included, which official TDSM reads too; the mask
says which of them hold the text. (Token 0 is a word as well, so the end token bounds it.)

Only the text tower takes up memory, in fp32. Weights are checked name by name and shape by
shape, the image tower's too: an open_clip model begins with random numbers, and none may stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from zsar_bench.errors import UserError
from zsar_bench.params import Params as BaseParams
from zsar_bench.params import runtime, science
from zsar_bench.views import TextFeatures
from zsar_encoders._open_clip import HUB, find_weights, fingerprint, read_config
from zsar_encoders._open_clip_weights import load

if TYPE_CHECKING:
    from torch import Tensor, nn

_MODEL = "architecture: open_clip's name, a JSON file, or hf-hub:organisation/name"
_WEIGHTS = "pretrained tag, file (.safetensors, .pt, .pth, .bin), or hf-hub:organisation/name"
_TOWER = "clip: projected text feature, last block; penultimate: last but one block, no projection"
_TOKENS = "longest text in tokens, its two markers included; the rest is cut off; 0: the model's"


class Params(BaseParams):
    """Which model, and what of it."""

    name: ClassVar[str] = "open-clip"
    model: str = science("ViT-B-32-quickgelu", _MODEL, min_length=1)
    weights: str = science("openai", _WEIGHTS, min_length=1)
    tower: Literal["clip", "penultimate"] = science("clip", _TOWER)
    max_tokens: int = science(0, _TOKENS, ge=0)
    device: str = runtime("cpu", "where texts are encoded: cpu or cuda", pattern="^(cpu|cuda)$")

    @property
    def hint(self) -> str:
        """What to type to name weights."""
        return f"A file can be named too: --set {self.name}.weights=/path/to/file.safetensors"


class TDSMParams(Params):
    """TDSM's text tower; with another model, its recipe on that model."""

    name: ClassVar[str] = "tdsm-text"
    model: str = science("ViT-H-14", _MODEL, min_length=1)
    weights: str = science("laion2b_s32b_b79k", _WEIGHTS, min_length=1)
    tower: Literal["clip", "penultimate"] = science("penultimate", _TOWER)
    max_tokens: int = science(35, _TOKENS, ge=0)


class OpenClip:
    """``contracts.TextEncoder``."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._found: tuple[dict[str, Any], Path] | None = None
        self._tower: Tower | None = None

    def found(self) -> tuple[dict[str, Any], Path]:
        """Architecture and weights file; downloads what is named and not here."""
        if self._found is None:
            p = self.params
            config = read_config(p.model, p.name, p.hint)
            self._found = config, find_weights(p.model, config, p.weights, p.name, p.hint)
        return self._found

    def fingerprint(self) -> str:
        """Hash over architecture, weights, vocabulary and the version of open_clip."""
        return fingerprint(*self.found())

    def encode(self, texts: list[str]) -> TextFeatures:
        """Features on the CPU, fp32: pooled (n, D), tokens (n, L, W), mask (n, L).

        L is ``max_tokens`` or the model's context, W the transformer's width; D is W too for
        the penultimate block, and else what the model projects to.
        """
        if self._tower is None:
            config, weights = self.found()
            _check_device(self.params)
            model = load(config, weights, self.params.hint)
            if self.params.weights.startswith(HUB) and self.params.weights != self.params.model:
                _check_same_model(self.params, config)
            self._tower = Tower(model.to(self.params.device), self.params)
        return self._tower.encode(texts)


class Tower:
    """A loaded text tower.

    Args:
        model: CLIP, CustomTextCLIP or CoCa of open_clip, perhaps without its image tower.
        params: what of it is wanted, and where.
    """

    def __init__(self, model: nn.Module, params: Params) -> None:
        self.context: int = getattr(model, "text", model).context_length
        self.length = params.max_tokens or self.context
        if not 3 <= self.length <= self.context:
            raise UserError(
                f"{params.name}.max_tokens = {self.length}, but {params.model} reads 3 to "
                f"{self.context} tokens.",
                f"Type: --set {params.name}.max_tokens={self.context}",
            )
        self.penultimate = params.tower == "penultimate"
        blocks = len(getattr(model, "text", model).transformer.resblocks)
        self.block = blocks - (2 if self.penultimate else 1)  #: whose output is read
        if self.block < 0:
            raise UserError(f"{params.model} has one block, and so no last but one.", params.hint)
        self.device = params.device
        self.model = model

    def encode(self, texts: list[str]) -> TextFeatures:
        """As ``OpenClip.encode``; one text at a time, so that none depends on the others."""
        import torch

        rows = [self._one(text) for text in texts or [""]]
        pooled, tokens, mask = (torch.cat(part)[: len(texts)] for part in zip(*rows, strict=True))
        return TextFeatures(pooled, tokens, mask)

    def _one(self, text: str) -> tuple[Tensor, Tensor, Tensor]:
        import torch
        from open_clip import tokenize

        ids = tokenize(text, self.length)  # (1, L): start, text, end, zeros
        ids = torch.nn.functional.pad(ids, (0, self.context - self.length)).to(self.device)
        with torch.no_grad():
            out = self.model.forward_intermediates(
                text=ids,
                text_indices=[self.block],  # a number would mean the last so many blocks
                normalize_intermediates=True,
                intermediates_only=self.penultimate,
                normalize=False,
            )
        hidden = out["text_intermediates"][0][:, : self.length].float()  # (1, L, W)
        end = ids.argmax(dim=-1)  # the end token has the highest number
        pooled = hidden[:, int(end)] if self.penultimate else out["text_features"].float()
        mask = torch.arange(self.length) <= int(end)
        return pooled.cpu(), hidden.cpu(), mask[None]


def _check_device(params: Params) -> None:
    import torch

    if params.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "There is no CUDA device for the texts.", f"Type: --set {params.name}.device=cpu"
        )


def _check_same_model(params: Params, config: dict[str, Any]) -> None:
    """Refuse a repository's weights for an architecture that computes otherwise than its own.

    Activation, masking and normalisation leave no trace in the shapes of weights.
    """
    from zsar_encoders._torchvision import make_importable

    make_importable()
    from open_clip import CLIPTextCfg

    own = read_config(params.weights, params.name, params.hint)
    try:
        same = CLIPTextCfg(**own["text_cfg"]) == CLIPTextCfg(**config["text_cfg"])
    except TypeError:  # it names what this version of open_clip does not know
        same = False
    if not same or bool(own.get("quick_gelu")) != bool(config.get("quick_gelu")):
        raise UserError(
            f"{params.weights} describes another text tower than {params.model}.",
            f"Type: --set {params.name}.model={params.weights}",
        )
