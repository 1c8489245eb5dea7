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
    """Add every method of this package, in alphabetical order."""
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
            name="conse",
            target="zsar_alignment.conse:ConSE",
            params="zsar_alignment.conse:Params",
            summary="A classifier of seen classes says which seen texts to mix; the nearest "
            "candidate text is the answer.",
            paper="M. Norouzi et al., Zero-shot learning by convex combination of semantic "
            "embeddings, ICLR 2014",
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
            name="text-only",
            target="zsar_alignment.text_only:TextOnly",
            params="zsar_alignment.text_only:Params",
            summary="The candidate that reads most like the seen classes, for every clip: what "
            "texts are worth without motion.",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
