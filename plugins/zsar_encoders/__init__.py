"""The skeleton and text encoders that come with zsar-bench. Importing this loads no library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import SkeletonEncoderSpec, TextEncoderSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1


@hookimpl
def register_skeleton_encoders(registry: Registry) -> None:
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="st-gcn",
            target="zsar_encoders.st_gcn:STGCN",
            params="zsar_encoders.st_gcn:Params",
            summary="spatial temporal graph convolutions over joints and their velocities",
            paper="Yan, Xiong & Lin: Spatial Temporal Graph Convolutional Networks for "
            "Skeleton-Based Action Recognition, AAAI 2018",
            fallback_rank=10,
            seconds={"laptop": 45, "paper": 3000},
        )
    )
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="shift-gcn",
            target="zsar_encoders.shift_gcn:ShiftGCN",
            params="zsar_encoders.shift_gcn:Params",
            summary="shifts between joints and in time with pointwise convolutions",
            paper="Cheng et al.: Skeleton-Based Action Recognition with Shift Graph "
            "Convolutional Network, CVPR 2020",
            fallback_rank=20,
            seconds={"laptop": 50, "paper": 35000},
        )
    )


@hookimpl
def register_text_encoders(registry: Registry) -> None:
    registry.text_encoder(
        TextEncoderSpec(
            name="minilm",
            target="zsar_encoders.minilm:MiniLM",
            params="zsar_encoders.minilm:Params",
            summary="all-MiniLM-L6-v2 (384 values) from an installed package, no download",
            paper="Wang et al.: MiniLM, NeurIPS 2020; Reimers & Gurevych: Sentence-BERT, "
            "EMNLP 2019",
            fallback_rank=10,
        )
    )
    registry.text_encoder(
        TextEncoderSpec(
            name="sentence-transformers",
            target="zsar_encoders.sentence_transformers:SentenceTransformers",
            params="zsar_encoders.sentence_transformers:Params",
            summary="any sentence-transformers model, by its name on the hub or its folder",
            paper="Reimers & Gurevych: Sentence-BERT, EMNLP 2019",
            fallback_rank=None,
        )
    )
    registry.text_encoder(
        TextEncoderSpec(
            name="open-clip",
            target="zsar_encoders.open_clip:OpenClip",
            params="zsar_encoders.open_clip:Params",
            summary="text tower of any CLIP-like open_clip model: a pretrained tag or a file",
            paper="Radford et al.: Learning Transferable Visual Models From Natural Language "
            "Supervision, ICML 2021; Cherti et al.: Reproducible scaling laws for contrastive "
            "language-image learning, CVPR 2023",
            fallback_rank=None,
        )
    )
    registry.text_encoder(
        TextEncoderSpec(
            name="tdsm-text",
            target="zsar_encoders.open_clip:OpenClip",
            params="zsar_encoders.open_clip:TDSMParams",
            summary="TDSM's text tower: Stable Diffusion 2.1's ViT-H-14, 35 tokens (4 GB download)",
            paper="Do & Kim: TDSM, ICCV 2025; Cherti et al.: Reproducible scaling laws for "
            "contrastive language-image learning, CVPR 2023",
            fallback_rank=None,
        )
    )
    registry.text_encoder(
        TextEncoderSpec(
            name="grammar",
            target="zsar_encoders.grammar:Grammar",
            params="zsar_encoders.grammar:Params",
            summary="the stand-in's motions as numbers: an oracle for its texts, set 'oracle' only",
            paper="none; plugins/zsar_datasets/stand_in/GRAMMAR.md, section 5",
            fallback_rank=None,
        )
    )
