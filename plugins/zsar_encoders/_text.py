"""What the text encoders built on sentence-transformers share.

Texts are encoded one at a time: a class has a few short sentences, and so a text's features
are the same bytes whatever is encoded with it and in whatever order (padding to a longer
neighbour would change the last bits). Only safetensors are loaded, never pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import UserError
from zsar_bench.views import TextFeatures

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: What decides a model's output: weights, configuration, tokenizer.
PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
#: Files of these patterns that decide nothing.
_NOISE = {"data_config.json", "train_script.txt", "eval_results.json", "requirements.txt"}
_CHUNK = 1 << 22


def model_files(folder: Path) -> list[Path]:
    """The files that decide the output, relative to the folder, sorted by name."""
    found = {
        path.relative_to(folder)
        for pattern in PATTERNS
        for path in folder.rglob(pattern)
        if path.is_file() and path.name not in _NOISE
    }
    # ``onnx`` and ``openvino`` hold the same model for engines that are not used here.
    return sorted(p for p in found if p.parts[0] not in ("onnx", "openvino"))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """Hex SHA-256 over the names and bytes of ``model_files``."""
    lines = [f"{path.as_posix()} {sha256(folder / path)}\n" for path in model_files(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_folder(folder: Path, hint: str) -> None:
    """Refuse a folder that does not hold a model with safetensors weights.

    Raises:
        UserError: naming the folder and what is wrong with it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", hint)
    names = model_files(folder)
    if not any(n.name in ("config.json", "modules.json") for n in names):
        raise UserError(f"{folder} holds no model: neither config.json nor modules.json.", hint)
    weights = [n for n in names if n.suffix == ".safetensors"]
    if not weights:
        raise UserError(f"{folder} holds no *.safetensors weights (pickles are not read).", hint)
    for pickled in folder.rglob("pytorch_model*.bin"):
        # A module behind the transformer would be read from its pickle without asking.
        if not list(pickled.parent.glob("*.safetensors")):
            raise UserError(f"{pickled} is a pickle without safetensors beside it.", hint)
    for name in names:
        if name.suffix == ".json":
            try:
                json.loads((folder / name).read_bytes())
            except ValueError as error:
                raise UserError(f"{folder / name} is not valid JSON: {error}.", hint) from None


class Tower:
    """A sentence-transformers model from a local folder, fp32, frozen, silent.

    Args:
        folder: where the model is.
        max_tokens: longest text in tokens; 0: the model's own limit.
        device: ``cpu`` or ``cuda``.
        hint: what to tell a user whose model cannot be loaded.
    """

    def __init__(self, folder: Path, max_tokens: int, device: str, hint: str) -> None:
        check_folder(folder, hint)
        self._model = _load(folder, device, hint)
        if max_tokens:
            longest = self._model.max_seq_length
            # Beyond its own limit a model has no position embeddings.
            self._model.max_seq_length = min(max_tokens, longest or max_tokens)

    def encode(self, texts: list[str]) -> TextFeatures:
        """Features on the CPU: pooled (n, D), tokens (n, L, D') zero-padded, mask (n, L).

        ``pooled`` is the embedding the model's own modules define, normalisation included;
        ``tokens`` are the transformer's last hidden states. D' differs from D only for a
        model that ends in a layer which changes the width. L is the longest text here.
        """
        import torch

        outputs: list[Any] = []
        with torch.inference_mode(), _quiet():
            for text in texts:
                outputs += self._model.encode(
                    [text], output_value=None, convert_to_numpy=False, show_progress_bar=False
                )
        if not outputs:
            none = torch.zeros(0, self._model.get_embedding_dimension() or 0)
            return TextFeatures(none, none[:, None][:, :0], torch.zeros(0, 0, dtype=torch.bool))
        hidden = [o["token_embeddings"].float().cpu() for o in outputs]
        real = [o["attention_mask"].bool().cpu() for o in outputs]
        pad = torch.nn.utils.rnn.pad_sequence
        mask = pad(real, batch_first=True, padding_value=False)
        return TextFeatures(
            pooled=torch.stack([o["sentence_embedding"].float().cpu() for o in outputs]),
            tokens=pad(hidden, batch_first=True) * mask[..., None],
            mask=mask,
        )


def _load(folder: Path, device: str, hint: str) -> SentenceTransformer:
    from zsar_encoders._torchvision import make_importable

    make_importable()
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        with _quiet():
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
    except Exception as error:  # the libraries raise anything from OSError to KeyError
        first = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"{folder} cannot be loaded as a text encoder: {first}", hint) from error
    _check_complete(model, folder, hint)
    return model.eval().requires_grad_(False)


def _check_complete(model: SentenceTransformer, folder: Path, hint: str) -> None:
    """Refuse weights that lack a parameter: transformers would fill it with random numbers."""
    from safetensors import safe_open

    stored: set[str] = set()
    for name in model_files(folder):
        if name.suffix == ".safetensors":
            with safe_open(folder / name, "pt") as file:
                stored |= {_plain(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    # Files may carry a prefix such as ``bert.`` or lack it, so the ends are compared. The
    # pooler is in few files and feeds neither tokens nor pooled features.
    ends = {".".join(key.split(".")[i:]) for key in stored for i in range(key.count(".") + 1)}
    inner = model.transformers_model
    names = [n for n, _ in inner.named_parameters()] if inner is not None else []
    missing = [n for n in map(_plain, names) if n not in ends and not n.startswith("pooler.")]
    if missing:
        raise UserError(
            f"The weights in {folder} lack {len(missing)} of {len(names)} parameters, "
            f"{missing[0]} among them.",
            hint,
        )


def _plain(name: str) -> str:
    """A parameter's name in today's spelling (old checkpoints say gamma and beta)."""
    head, _, last = name.rpartition(".")
    today = {"gamma": "weight", "beta": "bias"}.get(last, last)
    return f"{head}.{today}" if head else today


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from logging: the command line owns the terminal."""
    loggers = [logging.getLogger(n) for n in ("transformers", "sentence_transformers")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
