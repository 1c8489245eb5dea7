"""Feature-alignment baselines: closed forms and sanity checks, one file a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import MethodSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add what this package has, in alphabetical order."""
    registry.method(
        MethodSpec(
            name="chance",
            target="zsar_alignment.chance:Chance",
            params="zsar_alignment.chance:Params",
            summary="Random scores, drawn from the seed: what knowing nothing is worth.",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="eszsl",
            target="zsar_alignment.eszsl:ESZSL",
            params="zsar_alignment.eszsl:Params",
            summary="Bilinear map from skeleton features to texts, solved in closed form.",
            paper="B. Romera-Paredes, P. H. S. Torr, An embarrassingly simple approach to "
            "zero-shot learning, ICML 2015",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="prototypes",
            target="zsar_alignment.prototypes:Prototypes",
            params="zsar_alignment.prototypes:Params",
            summary="Unseen class prototypes mixed from seen class means by text similarity.",
            paper="after M. Norouzi et al., Zero-shot learning by convex combination of "
            "semantic embeddings, ICLR 2014",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="purls",
            target="zsar_alignment.purls:PURLS",
            params="zsar_alignment.purls:Params",
            summary="Texts of the body, its parts and a motion's phases ask a clip's features by "
            "attention; the global answer is compared with the class text.",
            paper="A. Zhu et al., Part-aware Unified Representation of Language and Skeleton for "
            "Zero-shot Action Recognition, CVPR 2024",
            wants=("tokens",),
            text_fields=(
                *("description", "head", "arms", "torso", "legs"),
                *("start", "middle", "end"),
            ),
            hp="authors",
            batch="batch",
            seconds={"laptop": 20, "paper": 1500},
            leaks=("leak",),
        )
    )
    smie = (
        "Y. Zhou et al., Zero-shot Skeleton-based Action Recognition via Mutual Information "
        "Estimation and Maximization, ACM MM 2023"
    )
    registry.method(
        MethodSpec(
            name="smie",
            target="zsar_alignment.smie:SMIE",
            params="zsar_alignment.smie:Params",
            summary="A network estimates the mutual information of clips and class texts; clips "
            "that lost their moving frames must say less.",
            paper=smie,
            wants=("clips",),
            text_fields=("motion", "description"),
            hp="authors",
            needs_encoder=True,
            batch="batch",
            seconds={"laptop": 30, "paper": 20_000},
        )
    )
    registry.method(
        MethodSpec(
            name="smie-features",
            target="zsar_alignment.smie:SMIE",
            params="zsar_alignment.smie:FeatureParams",
            summary="SMIE without its temporal term, which needs no clips and no encoder.",
            paper=smie,
            text_fields=("motion", "description"),
            hp="authors",
            batch="batch",
            seconds={"laptop": 10, "paper": 300},
        )
    )
