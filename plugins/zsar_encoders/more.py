"""Encoders that came after the first committed runs; a plugin of its own beside the package's.

Encoders import from ``zsar_encoders`` itself, so the code digest of each covers its ``__init__``:
one line more there would give every stored run of ``st-gcn`` and ``shift-gcn`` another identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import SkeletonEncoderSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1


@hookimpl
def register_skeleton_encoders(registry: Registry) -> None:
    """Add ``ctr-gcn``."""
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="ctr-gcn",
            target="zsar_encoders.ctr_gcn:CTRGCN",
            params="zsar_encoders.ctr_gcn:Params",
            summary="graph convolutions whose topology is refined for every channel and clip",
            paper="Chen et al.: Channel-wise Topology Refinement Graph Convolution for "
            "Skeleton-Based Action Recognition, ICCV 2021",
            fallback_rank=30,
            seconds={"laptop": 50, "paper": 12000},
        )
    )
