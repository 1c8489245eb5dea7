"""Makes torchvision importable beside a CPU build of torch; call before what imports it.

open_clip needs torchvision, and transformers (hence sentence-transformers) imports it where
it is installed. Its wheels link CUDA: with a CPU build of torch their compiled operators
cannot be loaded, and importing torchvision then stops at a line of Python that attaches a
shape rule to the operator ``torchvision::nms``, which nobody has declared. Declaring the two
operators by schema is enough for the import; their kernels stay missing, and calling one
raises torchvision's own error. Nothing here calls them.

Measured with torch 2.13.0+cpu and torchvision 0.28.0. Where torchvision loads by itself, as
with a CUDA build, this does nothing.
"""

from __future__ import annotations

import importlib
import importlib.util

_ERROR = "operator torchvision::nms does not exist"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def make_importable() -> None:
    """Import torchvision, declaring its missing operators on exactly the error above."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _ERROR not in str(error):
            raise
        import torch

        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", _SCHEMA)
        importlib.import_module("torchvision")
