"""The stand-in's data sets, made on the spot (``contracts.DatasetGenerator``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zsar_bench.contracts import ClipName
from zsar_bench.errors import unknown
from zsar_bench.params import Params as BaseParams
from zsar_bench.params import science
from zsar_datasets.stand_in import samples
from zsar_datasets.stand_in.cameras import measured, on_grid, stand
from zsar_datasets.stand_in.draws import Array, Draws
from zsar_datasets.stand_in.engine import skeletons
from zsar_datasets.stand_in.grammar import grammar, motion_id, motions
from zsar_datasets.stand_in.samples import Sample
from zsar_datasets.stand_in.script import Script, perform
from zsar_datasets.stand_in.subjects import subject

BATCH = 256  #: performances that move at once; speed and memory only
_BODIES, _JOINTS = 2, 25
_CUT = 0.12  # share of its frames that a clip may lack at either end


class Params(BaseParams):
    """The grammar is fixed; what can be changed is how much texts have to do with it."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}

    alignment: float = science(
        1.0,
        "share of the motions' words that stay where the meaning of the class put them; the others "
        "change classes; at 0 only the numbers of persons, phases and moves still tell a class",
        ge=0,
        le=1,
    )


class Generator:
    """Makes the clips of one data set; a clip depends on nothing but its own name."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def samples(self) -> Mapping[str, Sample]:
        """All samples by id."""
        raise NotImplementedError

    def clips(self) -> list[ClipName]:
        """All clips of the stand-in, in a fixed order."""
        return [sample.clip for sample in self.samples().values()]

    def make(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        """(T, 2, 25, 3) metres in the camera's frame each, zeros for an absent second body.

        The same bytes whatever else is made at the same time.

        Raises:
            UserError: for an id that is not one of this data set's.
        """
        known = self.samples()
        for name in ids:
            if name not in known:
                raise unknown("clip", name, known)
        scripts = [self.script(known[name]) for name in ids]
        # Clips of a like length step through their frames together.
        order = sorted(range(len(ids)), key=lambda i: scripts[i].frames)
        made: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            worlds = skeletons([scripts[i] for i in batch])
            for i, world in zip(batch, worlds, strict=True):
                made[i] = _recorded(world, scripts[i], known[ids[i]])
        return [made[i] for i in range(len(ids))]

    def script(self, sample: Sample) -> Script:
        """How the sample's performance goes, before any camera."""
        motion = motions(self.params.alignment)[motion_id(sample.clip.class_id)]
        partner = subject("partner", sample.subject, sample.performance)
        return perform(motion, (subject(sample.subject), partner), sample.performance)


def _recorded(world: Array, script: Script, sample: Sample) -> NDArray[np.float32]:
    """The performance as its camera's Kinect has it, cut at both ends."""
    draws = Draws("cut", grammar()["version"], sample.performance)
    first, last = (int(cut * len(world)) for cut in draws.uniform(0.0, _CUT, (2,)))
    setup = sample.clip.setup or sample.subject  # PKU-MMD: cameras stand anew for everybody
    lined_up = script.bodies == 2 and not script.place[0]
    camera = stand(sample.clip.camera, setup, lined_up, world, sample.performance)
    seen = camera.view(world[first : len(world) - last])
    clip = np.zeros((len(seen), _BODIES, _JOINTS, 3), np.float32)
    clip[:, : script.bodies] = on_grid(measured(seen, sample.clip.id))
    return clip


class Generator60(Generator):
    """Stands in for NTU RGB+D (60)."""

    def samples(self) -> Mapping[str, Sample]:
        return samples.ntu(17)


class Generator120(Generator):
    """Stands in for NTU RGB+D 120."""

    def samples(self) -> Mapping[str, Sample]:
        return samples.ntu(32)


class GeneratorPKU(Generator):
    """Stands in for PKU-MMD."""

    def samples(self) -> Mapping[str, Sample]:
        return samples.pku()
