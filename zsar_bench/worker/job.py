"""Helpers of all jobs: the pipe, the plugin's object, the device."""

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
    """The worker's side of the pipe."""

    def send(self, message: dict[str, Any]) -> None:
        """Send JSON."""

    def send_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Send tensors."""

    def progress(self, event: dict[str, Any]) -> None:
        """Report progress. Raises ``BrokenStream`` if the parent has ended."""

    def requests(self) -> Iterator[Any]:
        """Requests until the parent closes the pipe: dicts, or dicts of tensors."""


def build(job: Job) -> Any:
    """The plugin's object: its class called with its validated parameters."""
    target = resolve(job["target"])
    params = resolve(job["params_target"])
    return target(checked(job["target"], params, job["params"]))


def checked(target: str, params: Any, values: dict[str, Any]) -> Any:
    """A plugin's validated parameters, including rules between them, which no schema states."""
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
        use_deterministic()
    return device


def use_deterministic() -> None:
    """Switch this process to deterministic CUDA operations in full float32 precision.

    Call it before the first CUDA operation: cuBLAS reads its environment variable once. Afterwards
    an operation without a deterministic version raises a ``RuntimeError`` that names it.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
