"""Released features in the place of a trained encoder: kept by content, ranked among themselves.

The encoder's seed and the clips' subjects are not known, so there is no spread over encoders and
no interval.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.common import checksums
from zsar_bench.common.events import Event
from zsar_bench.common.files import locked
from zsar_bench.common.hashing import digest, key
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import UserError
from zsar_bench.features.exported import check_export
from zsar_bench.features.released.folder import FeatureFolder, read_folder, round_folders
from zsar_bench.features.released.store import (
    ReleasedClips,
    check,
    columns,
    features_folder,
    shard_name,
    tend,
    write_store,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.records.parts import EncoderPart, EncoderRound


NAME = "released"


@dataclass(frozen=True)
class ReleasedSet:
    """The released features of a whole run.

    Attributes:
        path: the folder as the user named it.
        protocol: what they are tested on.
        folders: one a round; most releases have one round.
    """

    path: Path
    protocol: Protocol
    folders: tuple[FeatureFolder, ...] = field(repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all arrays; only rows of one hash are ranked with each other."""
        digests = [folder.digest for folder in self.folders]
        return digests[0] if len(digests) == 1 else digest(digests)

    @property
    def counts(self) -> dict[str, int]:
        """Clips of each part."""
        names = [name for folder in self.folders for name in folder.parts]
        return {
            name: sum(len(f.parts[name].labels) for f in self.folders if name in f.parts)
            for name in dict.fromkeys(names)
        }

    @property
    def choice(self) -> tuple[str, str, str]:
        """What, value, reason."""
        parts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        ignored = sorted({name for f in self.folders for name in f.ignored})
        left = f"; not read: {', '.join(ignored)}" if ignored else ""
        return "features", f"{NAME} {self.hash[:12]}", f"--features {self.path}: {parts}{left}"

    @cached_property
    def dataset(self) -> ReleasedClips:
        """The clips of all rounds: round after round, part after part, in their files' order."""
        ids = [c.id for c in self.protocol.classes]
        return ReleasedClips(columns(dict(self.named_folders), ids), self.hash)

    @property
    def named_folders(self) -> list[tuple[str, FeatureFolder]]:
        """Every round's name and folder; a release of one round has no names for rounds."""
        if len(self.folders) == 1:
            return [(NAME, self.folders[0])]
        return [(folder.path.name, folder) for folder in self.folders]

    @cached_property
    def sources(self) -> tuple[ReleasedPlan, ...]:
        """The features of every round."""
        return tuple(ReleasedPlan(self, number) for number in range(len(self.folders)))


def open_released(path: Path, protocol: Protocol) -> ReleasedSet:
    """Read and check released features.

    Args:
        path: a folder as ``released.folder`` describes it, or one of such folders, one a round.
        protocol: they must have its split.

    Raises:
        UserError: naming the file, if they cannot be used with this protocol.
    """
    check_one_split(protocol)
    path = path.expanduser().absolute()
    check_export(path, protocol)
    released = ReleasedSet(
        path,
        protocol,
        tuple(read_folder(folder, protocol) for folder in round_folders(path, protocol)),
    )
    tested = {int(n) for folder in released.folders for n in folder.parts["ztest"].labels}
    lacking = [c for c in protocol.unseen if protocol.place[c] not in tested]
    if lacking:
        raise UserError(
            f"{path}: ztest.npy has no clips of {', '.join(lacking)}, "
            f"unseen in the protocol '{protocol.id}'.",
            "These features are of another split. See: zsar-bench list protocols",
        )
    digests = {folder.digest: folder.path.name for folder in released.folders}
    for folder in released.folders:
        if digests[folder.digest] != folder.path.name:
            twice = f"{folder.path.name} and {digests[folder.digest]}"
            raise UserError(f"{path}: {twice} hold the same features, not two rounds.")
    channels = {folder.channels for folder in released.folders}
    if len(channels) > 1:
        raise UserError(f"{path}: its rounds have different numbers of channels: {channels}.")
    return released


def check_one_split(protocol: Protocol) -> None:
    """Refuse a protocol with several class splits: the layouts of released features have one."""
    if not protocol.one_split:
        raise UserError(
            f"Features of the protocol '{protocol.id}' cannot be brought along or taken away: "
            "its rounds differ in their seen classes.",
            f"For one split: --protocol {protocol.dataset}/random:5@0",
        )


def check_method(method: Entry) -> None:
    """Refuse a method that needs more than pooled features.

    Raises:
        UserError: naming the method and what it needs.
    """
    needed = list(method.spec["wants"])
    if method.spec["needs_encoder"]:
        needed.append("the trained encoder")
    if needed:
        raise UserError(
            f"The method '{method.name}' needs {', '.join(needed)}; "
            "released features hold one pooled vector a clip.",
            "Run it without --features, or see which others there are: zsar-bench list methods",
        )


@dataclass(frozen=True)
class ReleasedPlan:
    """Released features of one round (``sources.FeatureSource``)."""

    whole: ReleasedSet
    number: int
    seed: int = 0  #: the encoder's seed is not known

    @property
    def files(self) -> FeatureFolder:
        return self.whole.folders[self.number]

    @property
    def name(self) -> str:
        return f"{NAME} {self.digest[:12]}"

    @property
    def title(self) -> str:
        return f"features from {self.files.path.name}"

    @property
    def cost(self) -> tuple[str, str, float]:
        return NAME, "", 1.0

    @property
    def digest(self) -> str:
        return self.files.digest

    @property
    def key(self) -> str:
        """Key of the arrays, and of the round's name: the method's seed derives from it."""
        return key(NAME, arrays=self.digest, round=self.round_name)

    @property
    def round_name(self) -> str:
        return self.whole.named_folders[self.number][0]

    @property
    def folder(self) -> Path:
        return features_folder() / self.digest

    @property
    def dataset(self) -> ReleasedClips:
        return self.whole.dataset

    @cached_property
    def round(self) -> Round:
        before = sum(
            len(p.labels) for f in self.whole.folders[: self.number] for p in f.parts.values()
        )
        index: dict[str, list[int]] = {}
        for name, part in self.files.parts.items():
            index[name] = list(range(before, before + len(part.labels)))
            before += len(part.labels)
        seen, classes = {*self.whole.protocol.seen}, self.dataset.clips["class"]
        return Round(
            self.round_name,
            index["train"],
            index["ztest"],  # so the unseen clips of gtest are not needed
            [i for i in index.get("gtest", ()) if classes[i] in seen],
            self.whole.protocol.seen,
            self.whole.protocol.unseen,
        )

    def ready(self, wants: Iterable[str]) -> bool:
        return not checksums.broken(self.folder)

    def take_over(self, wants: Iterable[str], on_event: Event) -> Path:
        """Copy the features into the store, a shard a class and part, unless they are there.

        Raises:
            UserError: if the folder has changed since it was checked.
        """
        if self.ready(wants):
            return self.folder
        lock = self.folder.with_name(f".{self.digest}.lock")
        with locked(lock):
            tend(self.folder)
            if not self.folder.is_dir():
                on_event({"stage": "features", "step": 0, "total": 1})
                files = read_folder(self.files.path, self.whole.protocol)
                if files.digest != self.digest:
                    raise UserError(
                        f"{self.files.path} has changed since this command started.",
                        "Start it again.",
                    )
                write_store(files, self.whole.protocol.dataset, self.folder)
            shutil.rmtree(lock, ignore_errors=True)
        return self.folder

    def retrained(self, rotation: Round) -> ReleasedPlan:
        raise UserError(
            "The rule 'pseudo-unseen' trains encoders without some seen classes, and nobody can "
            "train that of released features again.",
            "Use --selection last.",
        )

    def fit_bundle(self, clips: list[int], wants: Iterable[str]) -> list[dict[str, Any]]:
        """The shards of ``train``, class by class. All clips count as one subject's."""
        labels = self.files.parts["train"].labels.tolist()
        places = [self.whole.protocol.place[class_id] for class_id in self.whole.protocol.seen]
        shards = [shard_name(self.digest, "train", place) for place in places]
        check(shards)
        return [
            {
                "features": [str(features_folder() / shard)],
                "label": number,
                "subject": 0,
                "lengths": [0] * labels.count(place),  # there are no frames
            }
            for number, (place, shard) in enumerate(zip(places, shards, strict=True))
        ]

    def read(self, index: list[int], wants: Iterable[str]) -> dict[str, NDArray[Any]]:
        return {"pooled": self.dataset.rows(index)}

    def raw(self, index: list[int]) -> dict[str, NDArray[Any]]:
        raise AssertionError("a method that wants raw clips is refused with released features")

    def encoder_job(self) -> dict[str, Any]:
        raise AssertionError("a method that needs the encoder is refused with released features")

    def certify(self) -> dict[str, Any]:
        ids = self.dataset.clips["id"]
        return {
            "level": "none",
            "classes": list(self.whole.protocol.seen),  # as the labels say
            "clips": digest(sorted(ids[i] for i in self.round.train)),
            "moved": 0.0,  # nothing was encoded here
            "denied": {},
        }

    def record_round(self) -> EncoderRound:
        from zsar_bench.records.parts import EncoderRound

        return EncoderRound(
            round=self.round_name,
            key=self.key,
            train_clips=len(self.files.parts["train"].labels),
            train_subjects=[],
            seen_accuracy=None,
            seconds=0.0,
        )

    def record_part(self, rounds: list[EncoderRound]) -> EncoderPart:
        from zsar_bench.records.parts import EncoderPart, Released

        whole = self.whole
        expected = whole.protocol.test_clips
        return EncoderPart(
            name=NAME,
            plugin="",
            digest=whole.hash,
            profile="",
            science={},
            origin="released",
            released=Released(
                hash=whole.hash,
                folder=whole.path.name,
                channels=self.files.channels,
                clips=whole.counts,
                dropped_clips=expected - whole.counts["ztest"] if expected else 0,
                train_classes=list(whole.protocol.seen),
            ),
            rounds=rounds,
        )
