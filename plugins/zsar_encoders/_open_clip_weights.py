"""The weights of an open_clip text tower: read without running code, checked, and put in place.

An open_clip model begins with random numbers, and none may stay: every name and every shape is
compared first. The architecture is built without memory, so only the text tower takes any.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Parameters of the text tower, by the first part of their names; the rest sees images.
_TEXT = {
    "text",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
}
_LOGITS = ("logit_scale", "logit_bias")  #: how much a match with an image counts: no concern here


def build(config: dict[str, Any]) -> nn.Module:
    """An open_clip model without weights: its parameters have shapes, and no memory."""
    from zsar_encoders._torchvision import make_importable

    make_importable()
    import torch
    from open_clip import CLIP, CoCa, CustomTextCLIP

    config = config | {"vision_cfg": config["vision_cfg"] | {"timm_model_pretrained": False}}
    custom = config.pop("custom_text", False)
    kind = CLIP if not custom else CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with torch.device("meta"):
        return kind(**config)


def load(config: dict[str, Any], weights: Path, hint: str) -> nn.Module:
    """An open_clip model with the weights of its text tower; the image tower stays empty.

    Raises:
        UserError: for a file that cannot be read, or that does not fit the architecture.
    """
    import torch

    try:
        model = build(config)
    except Exception as error:  # from timm, torch and open_clip, each in its own way
        raise UserError(f"open_clip cannot build this architecture: {error!r}", hint) from error
    expected = model.state_dict()
    state = _today(_read(weights, hint), expected)
    _check_fit(state, expected, weights, hint)
    text = {name: tensor.float() for name, tensor in state.items() if _is_text(name)}
    broken = next((n for n, t in text.items() if not torch.isfinite(t).all()), None)
    if broken is not None:
        raise UserError(f"{weights}: {broken} holds values that are not finite.", hint)
    model.load_state_dict(text, strict=False, assign=True)
    tower = getattr(model, "text", model)
    if tower.attn_mask is not None:  # no weight, so in no file: each position sees those before
        size = len(tower.positional_embedding)
        tower.attn_mask = torch.full((size, size), -torch.inf).triu(1)
    for other in ("visual", "text_decoder", "logit_scale", "logit_bias"):
        if hasattr(model, other):
            setattr(model, other, None)
    return model.eval().requires_grad_(False)


def _is_text(name: str) -> bool:
    return name.partition(".")[0] in _TEXT


def _read(file: Path, hint: str) -> dict[str, Tensor]:
    """The tensors of a file; pickles only through torch's reader that builds nothing else."""
    import torch
    from safetensors.torch import load_file

    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty.", hint)
    if _is_program(file):
        raise UserError(
            f"{file} is a TorchScript program, as OpenAI published CLIP, not weights alone.",
            "Name the same weights by their tag, such as openai.",
        )
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            mapped = zipfile.is_zipfile(file)  # the image tower need not be read at all
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # pickle, zip, safetensors: each has errors of its own
        # torch's own message tells how to read it unsafely.
        raise UserError(
            f"{file} cannot be read: it is damaged, or holds more than tensors "
            f"({type(error).__name__}).",
            hint,
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # a checkpoint of open_clip's training
    if not isinstance(state, dict) or not state or not all(isinstance(n, str) for n in state):
        raise UserError(f"{file} holds no named tensors.", hint)
    other = next((n for n, t in state.items() if not isinstance(t, torch.Tensor)), None)
    if other is not None:
        raise UserError(f"{file}: {other} is not a tensor.", hint)
    return state


def _is_program(file: Path) -> bool:
    """Whether a file is a TorchScript archive, which torch would run and not only read."""
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _today(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state under the names that this model uses for it."""
    if all(name.startswith("module.") for name in state):  # trained on several GPUs
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if "text.ln_final.weight" in expected and "ln_final.weight" in state:  # before the custom tower
        state = {f"text.{n}" if _is_text(n) else n: tensor for n, tensor in state.items()}
    return state


def _check_fit(
    state: dict[str, Tensor], expected: dict[str, Tensor], file: Path, hint: str
) -> None:
    """Refuse weights that are not this model's: whole, or its text tower alone."""
    given = {n: tuple(t.shape) for n, t in state.items() if not n.startswith(_LOGITS)}
    wanted = {n: tuple(t.shape) for n, t in expected.items() if not n.startswith(_LOGITS)}
    if all(_is_text(name) for name in given):
        wanted = {n: shape for n, shape in wanted.items() if _is_text(n)}
    reason = ""
    if missing := [n for n in wanted if n not in given]:
        reason = f"{missing[0]} is missing{_more(missing)}"
    elif unexpected := [n for n in given if n not in wanted]:
        reason = f"the model has no {unexpected[0]}{_more(unexpected)}"
    elif odd := [n for n in wanted if given[n] != wanted[n]]:
        sizes = f"{given[odd[0]]}, not {wanted[odd[0]]}"
        reason = f"{odd[0]} has the shape {sizes}{_more(odd)}"
    if reason:
        raise UserError(f"The weights {file} do not fit the model: {reason}.", hint)


def _more(names: list[str]) -> str:
    return f" ({len(names) - 1} more like it)" if len(names) > 1 else ""
