"""TDSM: triplet diffusion for skeleton-text matching, the reference method of zsar-bench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import MethodSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add ``tdsm``."""
    registry.method(
        MethodSpec(
            name="tdsm",
            target="zsar_tdsm.method:TDSM",
            params="zsar_tdsm.params:Params",
            summary="A diffusion transformer denoises skeleton features under a class text; "
            "the class that denoises best is the answer.",
            paper="Do and Kim, Bridging the Skeleton-Text Modality Gap: Diffusion-Powered "
            "Modality Alignment for Zero-shot Skeleton-based Action Recognition, ICCV 2025, "
            "arXiv 2411.10745",
            setting="inductive",
            text_fields=("motion", "description"),
            hp="authors",
            batch="batch",
            seconds={"laptop": 30, "paper": 2_000_000},  # paper: 50 000 steps of a 250 M network
        )
    )
