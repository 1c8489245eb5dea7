"""Any sentence-transformers model, named as on the Hugging Face hub or given as a folder.

Reimers & Gurevych, "Sentence-BERT", EMNLP 2019. Pooled features are what the model's own
modules make of the text; token features are the transformer's last hidden states. A named
model is taken from the local cache and downloaded only if it is not there; a run's identity
holds the hash of the files in use, so a model that changes on the hub is another encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsar_bench.errors import UserError
from zsar_bench.params import Params as BaseParams
from zsar_bench.params import runtime, science
from zsar_bench.views import TextFeatures
from zsar_encoders._text import PATTERNS, Tower, check_folder, folder_hash, model_files

_HINT = (
    "Name a model (--set sentence-transformers.model=sentence-transformers/all-mpnet-base-v2) "
    "or a folder (--set sentence-transformers.model=/path/to/folder)."
)


class Params(BaseParams):
    """Which model, and how long a text may be."""

    model: str = science(
        "sentence-transformers/all-MiniLM-L6-v2",
        "name on the hub (organisation/name) or path of a folder",
        min_length=1,
    )
    max_tokens: int = science(
        0, "longest text in tokens, markers included; the rest is cut off; 0: the model's own", ge=0
    )
    device: str = runtime("cpu", "where texts are encoded: cpu or cuda", pattern="^(cpu|cuda)$")


class SentenceTransformers:
    """``contracts.TextEncoder``."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._folder: Path | None = None
        self._tower: Tower | None = None

    def folder(self) -> Path:
        """Where the model's files are; downloads a named model that is not there yet."""
        if self._folder is None:
            self._folder = _find(self.params.model)
            check_folder(self._folder, _HINT)
        return self._folder

    def fingerprint(self) -> str:
        """Hash over weights, configuration and tokenizer."""
        return folder_hash(self.folder())

    def encode(self, texts: list[str]) -> TextFeatures:
        if self._tower is None:
            p = self.params
            self._tower = Tower(self.folder(), p.max_tokens, p.device, _HINT)
        return self._tower.encode(texts)


def _find(model: str) -> Path:
    path = Path(model).expanduser()
    if path.exists() or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        return path.resolve()
    return _from_hub(model if "/" in model else f"sentence-transformers/{model}")


def _from_hub(name: str) -> Path:
    """The snapshot of a named model in the local cache, downloaded if need be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    wanted: dict[str, Any] = {
        "allow_patterns": list(PATTERNS),
        "ignore_patterns": ["onnx/*", "openvino/*"],
    }
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **wanted))
        # Another program may have fetched the configuration only.
        if any(file.suffix == ".safetensors" for file in model_files(folder)):
            return folder
    except Exception:
        pass  # not cached, or not a name at all: the download says which
    try:
        return Path(snapshot_download(name, **wanted))
    except Exception as error:  # no network, no such name, gated: all of them the user's to mend
        first = (str(error) or repr(error)).splitlines()[0]
        raise UserError(
            f"The model {name} is not on this machine and could not be downloaded: {first}", _HINT
        ) from error
