"""Features of skeletons, cached by everything they depend on.

    <home>/encoders/<key>/state.safetensors, encoder.json, pooled/<shard>.safetensors, tokens/...
    <home>/encoders/<key>/pooled/confinement.json   how the encoding worker was confined

The encoder's two files and each folder of features have a ``seal.json`` of their own, since they
are made at different times; see ``seals.py``.

An encoder is trained on the seen training clips of one round and then encodes the round's
clips, which reach it shuffled, without labels, ids or file names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings
from zsar_bench.common.files import home, read_json
from zsar_bench.common.hashing import digest, key
from zsar_bench.data.clips.store import Dataset, by_shard, clip_bundle, flat_clips, shard_file
from zsar_bench.data.protocols.splits import Round
from zsar_bench.features import seals
from zsar_bench.features.seals import ENCODED, STATE
from zsar_bench.sandbox.wire import PER_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.records.parts import EncoderPart, EncoderRound


@dataclass(frozen=True)
class EncoderPlan:
    """One skeleton encoder: which network, trained on which clips, with which seed.

    Attributes:
        entry, settings: the encoder and its parameters.
        dataset, round: the clips.
        seen: official ids of the seen classes, in label order.
        seed: encoder seed.
        machine: where it is trained.
    """

    entry: Entry
    settings: Settings
    dataset: Dataset
    round: Round
    seen: tuple[str, ...]
    seed: int
    machine: Machine = field(repr=False)

    @cached_property
    def key(self) -> str:
        """Key of everything the features depend on."""
        ids = self.dataset.clips["id"]
        r = self.round
        return key(
            "encoder",
            code=self.entry.digest,
            params=self.settings.science,
            data=self.dataset.digest,
            round=r.name,  # the seed of the fit derives from it
            train=digest([ids[i] for i in r.train]),
            encoded=digest([ids[i] for i in self._rest()]),
            seen=self.seen,
            seed=self.seed,
            machine=self.machine.identity,
        )

    def _rest(self) -> list[int]:
        """The clips that are encoded but not learned from."""
        return [*self.round.test_unseen, *self.round.test_seen]

    @property
    def folder(self) -> Path:
        return home() / "encoders" / self.key

    def parts(self, wants: Iterable[str]) -> list[str]:
        """Feature folders needed: ``pooled`` (with logits) always, ``tokens`` on request."""
        return ["pooled", "tokens"] if "tokens" in wants else ["pooled"]

    def ready(self, wants: Iterable[str]) -> bool:
        """Whether all that is wanted is in the cache and whole."""
        return seals.intact(self.folder, self.parts(wants))

    @property
    def about(self) -> dict[str, Any]:
        """``encoder.json``: training clips and subjects, seen accuracy, seconds."""
        seals.check(self.folder, "", ["encoder.json"])
        about: dict[str, Any] = read_json(self.folder / "encoder.json")
        return about

    # The interface of ``source.FeatureSource``.

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def title(self) -> str:
        return f"{self.entry.name} {self.round.name} seed {self.seed}"

    @property
    def cost(self) -> tuple[str, str, float]:
        profile = self.settings.profile.partition(" ")[0]
        declared = float(self.entry.spec["seconds"].get(profile, 60.0))
        return self.entry.name, self.entry.digest, declared

    def retrained(self, rotation: Round) -> EncoderPlan:
        """The same encoder, trained on another round's clips and classes."""
        return replace(self, round=rotation, seen=rotation.seen)

    def fit_bundle(self, clips: list[int], wants: Iterable[str]) -> list[dict[str, Any]]:
        """Training clips' shards with features; raw files only if wanted."""
        wants = tuple(wants)
        bundle = clip_bundle(self.dataset, clips, self.seen, "clips" in wants)
        shards = by_shard(self.dataset, clips)
        for shard, row in zip(shards, bundle, strict=True):
            row["features"] = [str(shard_file(self.folder / p, shard)) for p in self.parts(wants)]
        self._check(shards, wants)
        return bundle

    def _check(self, shards: Iterable[str], wants: Iterable[str]) -> None:
        """Refuse damaged features of these shards."""
        names = [shard_file(Path(), shard).name for shard in shards]
        for part in self.parts(wants):
            seals.check(self.folder, part, names)

    def read(self, index: list[int], wants: Iterable[str]) -> dict[str, NDArray[Any]]:
        return read_features(self, index, wants)

    def raw(self, index: list[int]) -> dict[str, NDArray[Any]]:
        return flat_clips(self.dataset, index)

    def encoder_job(self) -> dict[str, Any]:
        seals.check(self.folder, "", [STATE])
        return {
            "target": self.entry.spec["target"],
            "params_target": self.entry.spec["params"],
            "params": self.settings.values,
            "state": str(self.folder / STATE),
        }

    def certify(self) -> dict[str, Any]:
        from zsar_bench.records.parts import weakest_level

        ids = self.dataset.clips["id"]
        made = [read_json(f) for f in sorted(self.folder.glob(f"[!.]*/{ENCODED}"))]
        return {
            "level": weakest_level(m["confinement"]["level"] for m in made),
            "classes": list(self.seen),
            "clips": digest(sorted(ids[i] for i in self.round.train)),
            "moved": max((m["moved"] or 0.0 for m in made), default=None),
            "denied": {what: n for m in made for what, n in m["denied"].items()},
        }

    def record_round(self) -> EncoderRound:
        from zsar_bench.records.parts import EncoderRound

        content = self.about
        return EncoderRound(
            round=self.round.name,
            key=self.key,
            train_clips=content["train_clips"],
            train_subjects=content["train_subjects"],
            seen_accuracy=content["seen_accuracy"],
            seconds=content["seconds"],
        )

    def record_part(self, rounds: list[EncoderRound]) -> EncoderPart:
        from zsar_bench.records.parts import EncoderPart

        return EncoderPart(
            name=self.entry.name,
            plugin=self.entry.plugin,
            digest=self.entry.digest,
            profile=self.settings.profile,
            science=self.settings.science,
            origin="certified",
            rounds=rounds,
        )


def read_features(
    plan: EncoderPlan, index: list[int], wants: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Feature tensors of clips, row by row as in ``index``.

    Raises:
        Damaged: naming a file that is not as it was written.
    """
    import numpy as np
    from safetensors.numpy import load_file

    plan._check(by_shard(plan.dataset, index), wants)
    names = {"pooled", *wants, *PER_TOKEN}
    rows: dict[str, list[Any]] = {}
    whole = by_shard(plan.dataset, range(len(plan.dataset)))
    loaded: dict[str, dict[str, Any]] = {}
    for i in index:
        shard = plan.dataset.clips["shard"][i]
        if shard not in loaded:
            loaded[shard] = {}
            for part in plan.parts(wants):
                loaded[shard] |= load_file(shard_file(plan.folder / part, shard))
        at = whole[shard].index(i)
        for name, array in loaded[shard].items():
            if name in PER_TOKEN:
                rows[name] = [array]
            elif name in names:
                rows.setdefault(name, []).append(array[at : at + 1])
    return {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in rows.items()}
