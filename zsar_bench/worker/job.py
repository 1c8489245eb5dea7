"""What every job of a worker needs: the pipe's end, the plugin's object, the device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from zsar_bench.catalogue.loading import resolve
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Job = dict[str, Any]


class Line(Protocol):
    """The worker's end of the pipe."""

    def say(self, message: dict[str, Any]) -> None:
        """Answer with JSON."""

    def give(self, tensors: dict[str, torch.Tensor]) -> None:
        """Answer with tensors."""

    def progress(self, event: dict[str, Any]) -> None:
        """Report progress; a parent that is gone ends the worker."""

    def requests(self) -> Iterator[Any]:
        """Requests until the parent closes the pipe: dicts, or dicts of tensors."""


def build(job: Job) -> Any:
    """The plugin's object: its class called with its validated parameters."""
    target = resolve(job["target"])
    params = resolve(job["params_target"])
    return target(checked(job["target"], params, job["params"]))


def checked(target: str, params: Any, values: dict[str, Any]) -> Any:
    """A plugin's parameters; rules between them, which no schema can state, included."""
    from pydantic import ValidationError

    try:
        return params(**values)
    except ValidationError as error:
        reasons = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise UserError(
            f"The parameters of {target.rpartition(':')[2]} do not fit: {reasons}."
        ) from None


def device_of(job: Job) -> torch.device:
    import torch

    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    if job.get("deterministic") and device.type == "cuda":
        repeatable()
    return device


def repeatable() -> None:
    """Switch this process to repeatable CUDA operations in whole float32 precision.

    To be called before the first of them: cuBLAS reads its environment variable once. From then
    on an operation without a repeatable form raises ``RuntimeError`` that names it.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
