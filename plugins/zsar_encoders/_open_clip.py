"""Which architecture and which weights an open_clip text tower means, found without open_clip.

A fingerprint is asked for before every run, and importing open_clip takes seven seconds and
all of torch. So the package is read as files here: its architectures are JSON, its list of
pretrained tags is one module that needs nothing of the rest.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from zsar_bench.errors import UserError, unknown
from zsar_encoders._text import sha256

HUB = "hf-hub:"  #: what stands before the name of a repository on the Hugging Face hub
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
VOCABULARY = 49408  #: tokens of CLIP's own tokenizer
#: open_clip's names for a repository's weights, the kind that cannot hold code first.
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_CONFIG = "open_clip_config.json"


def package() -> Path:
    """The folder of the installed open_clip."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError(
            "The package open_clip_torch is not installed.", "Install zsar-bench again."
        )
    return Path(spec.origin).parent


def read_config(model: str, name: str, hint: str) -> dict[str, Any]:
    """The architecture of a model: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and more.

    Args:
        model: open_clip's name for it, the path of a JSON file, or ``hf-hub:`` and a repository.
        name: of the text encoder, for what to type next.
        hint: what else to type next.

    Raises:
        UserError: if there is no such model, or if its text tower is of another kind.
    """
    if model.startswith(HUB):
        path = from_hub(model.removeprefix(HUB), [_CONFIG], hint)
    elif model.endswith(".json"):
        path = existing_file(model, f"{name}.model", hint)
    else:
        configs = {path.stem: path for path in (package() / "model_configs").glob("*.json")}
        if model not in configs:
            raise unknown("open_clip model", model, configs)
        path = configs[model]
    try:
        config = json.loads(path.read_bytes())
        config = config.get("model_cfg", config)
        int(config["embed_dim"]), dict(config["vision_cfg"])
        text = dict(config["text_cfg"])
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not the configuration of an open_clip model: {error}.", hint
        ) from None
    _check_kind(model, text)
    return dict(config)


def _check_kind(model: str, text: dict[str, Any]) -> None:
    """Refuse text towers that are not CLIP's: other tokenizers end and pad a text otherwise."""
    reason = ""
    if text.get("hf_model_name"):
        reason = f"its text tower is the Hugging Face model {text['hf_model_name']}"
    elif text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs"):
        reason = f"it has a tokenizer of its own ({text.get('hf_tokenizer_name') or 'changed'})"
    elif text.get("pool_type", "argmax") != "argmax":
        reason = f"it pools a text by '{text['pool_type']}', not at its end token"
    elif text.get("vocab_size", VOCABULARY) != VOCABULARY:
        reason = f"it knows {text['vocab_size']} tokens, CLIP's tokenizer {VOCABULARY}"
    if reason:
        raise UserError(
            f"The model {model} cannot be used: {reason}.",
            "Supported are open_clip's models with CLIP's own text transformer, such as "
            "ViT-B-32-quickgelu; for others there is --text-encoder sentence-transformers.",
        )


def find_weights(model: str, config: dict[str, Any], weights: str, name: str, hint: str) -> Path:
    """The weights file that a user means; downloads it if it is named and not here.

    Args:
        model, config: the architecture they are for.
        weights: a pretrained tag, a path, or ``hf-hub:`` and a repository.
        name: of the text encoder, for what to type next.
        hint: what else to type next.
    """
    if weights.startswith(HUB):
        return from_hub(weights.removeprefix(HUB), _WEIGHTS, hint)
    if "/" in weights or weights.endswith(SUFFIXES):
        file = existing_file(weights, f"{name}.weights", hint)
        if file.suffix not in SUFFIXES:
            raise UserError(f"{file} is not one of {', '.join(SUFFIXES)}.", hint)
        return file
    tags = _tags()
    entry = tags.get_pretrained_cfg(model, weights)
    if not entry:
        raise _unknown_tag(tags, model, weights, name, hint)
    if bool(entry.get("quick_gelu")) != bool(config.get("quick_gelu")):
        raise UserError(
            f"The weights '{weights}' were trained with QuickGELU, and {model} computes GELU.",
            f"Type: --set {name}.model={model}-quickgelu",
        )
    repository, _, file_name = entry["hf_hub"].rpartition("/")
    if not file_name:
        return from_hub(repository, _WEIGHTS, hint)
    safe = f"{file_name.rpartition('.')[0]}.safetensors"
    return from_hub(repository, [safe, file_name], hint)


def _unknown_tag(tags: ModuleType, model: str, tag: str, name: str, hint: str) -> UserError:
    plain = model.removesuffix("-quickgelu")
    if tags.is_pretrained_cfg(plain, tag):
        return UserError(
            f"The weights '{tag}' were trained with GELU, and {model} computes QuickGELU.",
            f"Type: --set {name}.model={plain}",
        )
    known = tags.list_pretrained_tags_by_model(model)
    if not known:
        return UserError(f"open_clip lists no pretrained weights for {model}.", hint)
    return unknown(f"pretrained weights of {model}", tag, known)


def _tags() -> ModuleType:
    """open_clip's list of pretrained tags: its one module, under a name beside the package's.

    The module would import safetensors' torch part only to download files itself.
    """
    alias = "_zsar_open_clip"
    if alias not in sys.modules:
        parent = ModuleType(alias)
        parent.__path__ = [str(package())]
        sys.modules[alias] = parent
        unwanted = "safetensors.torch"
        before = {unwanted: sys.modules[unwanted]} if unwanted in sys.modules else {}
        sys.modules[unwanted] = None  # type: ignore[assignment]  # importing it fails from here on
        try:
            importlib.import_module(f"{alias}.pretrained")
        finally:
            del sys.modules[unwanted]
            sys.modules.update(before)
    return sys.modules[f"{alias}.pretrained"]


def existing_file(path: str, parameter: str, hint: str) -> Path:
    """A file that a user names.

    Raises:
        UserError: if there is none, or if its path is not complete.
    """
    file = Path(path).expanduser()
    if not file.is_absolute():
        raise UserError(
            f"The path {path} is not complete, and encoders run in a folder of their own.",
            f"Give the whole path: --set {parameter}=/path/to/{file.name}",
        )
    if not file.is_file():
        raise UserError(f"There is no file {file}.", hint)
    return file


def from_hub(repository: str, names: Iterable[str], hint: str) -> Path:
    """The first of a repository's files that exists: from the local cache, else downloaded."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    names = list(names)
    reason = f"it has none of {', '.join(names)}"
    for only_here in (True, False):
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, local_files_only=only_here))
            except LocalEntryNotFoundError as error:  # not cached; later: no network
                reason = _first_line(error)
                if not only_here:
                    break
            except EntryNotFoundError:  # the hub says so: it may have the next
                pass
            except Exception as error:  # no such repository, gated, no disk: the user's to mend
                reason = _first_line(error)
                break
    raise UserError(
        f"{repository} is not on this machine and could not be downloaded: {reason}",
        f"Where there is a network: hf download {repository} {names[0]}\n{hint}",
    )


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]


def fingerprint(config: dict[str, Any], weights: Path) -> str:
    """Hex SHA-256 over all that decides features: architecture, weights, vocabulary, package."""
    parts = {
        "config": config,
        "weights": sha256(weights),
        "vocabulary": sha256(package() / "bpe_simple_vocab_16e6.txt.gz"),
        "open_clip_torch": importlib.metadata.version("open_clip_torch"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
