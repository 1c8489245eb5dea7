"""NTU RGB+D 60 and 120: one ``.skeleton`` text file a clip, Kinect v2, 25 joints, up to six bodies.

A. Shahroudy, J. Liu, T.-T. Ng, G. Wang, "NTU RGB+D: A large scale dataset for 3D human activity
analysis", CVPR 2016; J. Liu et al., "NTU RGB+D 120: A large-scale benchmark for 3D human activity
understanding", TPAMI 2020.

A file such as ``S001C002P003R002A013.skeleton`` (``ntu_skeleton``) is one clip. Two packed forms
that the field passes around are read too (``ntu_npz``, ``ntu_pyskl``).

Which bodies are people (``choose_bodies``) follows the field's preprocessing, written anew from
what it does: P. Zhang et al., "Semantics-guided neural networks for efficient skeleton-based human
action recognition" (SGN), CVPR 2020, github.com/microsoft/SGN at 9939057d, ``data/ntu``, which
CTR-GCN and its many descendants pass on. Ours differs where theirs is an accident of bookkeeping:

- A body that vanishes for a while keeps its place in time; theirs moves up to close the gap.
- The second person's time span starts with the second person; theirs starts at the first frame, so
  that whoever comes before a latecomer is lost.
- If every body is short, all of them stay; theirs stops with an error.

Also theirs: frames in which nobody is left are taken out, so a clip's length is that of what was
seen. Coordinates stay those of the camera; centring and scaling are the encoder's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.contracts import ClipName, Container, RawSource
from zsar_bench.errors import DataError
from zsar_datasets import ntu_lists, ntu_npz, ntu_pyskl
from zsar_datasets.ntu_skeleton import JOINTS, Body, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT = 11  # frames: a body seen no longer is noise
WIDE = 0.8  # of its height: a body broader than this is not a standing or sitting person
MOSTLY_WIDE = 0.69754  # share of such frames that makes a body noise

_HINT = "Get this file again, or leave it out."


class Reader:
    """Reads clips of NTU RGB+D 120, its first half included (``contracts.DatasetReader``)."""

    setups, actions = 32, 120

    def identify(self, name: str) -> ClipName | None:
        """Clip of a file such as ``.../S001C002P003R002A013.skeleton``: class A13, subject 3,
        camera 2, setup 1.

        None for the samples that the authors tell everybody to leave out; see ``left_out``.
        """
        sample = _any_sample(name)
        return None if sample is None else self.clip_of(sample)

    def clip_of(self, sample: ntu_lists.Sample) -> ClipName | None:
        """The clip of a sample of either edition; None if it is none of this one's."""
        if not self._has(sample) or sample.name in ntu_lists.missing():
            return None
        return ClipName(
            sample.name,
            f"A{sample.action}",
            str(sample.performer),
            camera=str(sample.camera),
            setup=str(sample.setup),
        )

    def holds(self, name: str) -> bool:
        """Whether this is a file with many clips: ``NTU60_CS.npz``, ``ntu60_3danno.pkl``, ..."""
        return ntu_npz.holds(name) or ntu_pyskl.holds(name)

    def open(self, name: str, source: RawSource) -> Container:
        """The clips of such a file that are of this edition; those of the other are passed over.

        Raises:
            DataError: if it is no such file, or names cannot be told.
        """
        if ntu_npz.holds(name):
            return ntu_npz.open_file(name, source, self.clip_of)
        return ntu_pyskl.open_file(name, source, self.clip_of)

    def left_out(self, name: str) -> str:
        """Why a file that is named like a clip is none; empty for all others."""
        sample = self._sample(name)
        if sample is None or sample.name not in ntu_lists.missing():
            return ""
        return "the authors of NTU RGB+D list its skeletons as missing or incomplete"

    def aside(self, name: str) -> str:
        """Why a whole clip of the other edition is none of this one; empty for all others."""
        return ""

    def coverage(self, ids: Sequence[str]) -> list[str]:
        """Which setups these clips lack in whole or in part; empty if none."""
        found = [sample for name in ids if (sample := ntu_lists.parse(name))]
        return ntu_lists.lacking(ntu_lists.coverage(found, self.setups))

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 2, 25, 3) float32 in metres; zeros where the first or second person is not seen.

        Raises:
            DataError: for anything that is not a whole file with finite joints of somebody.
        """
        actors = choose_bodies(parse(data))
        length = 1 + max((int(b.frames[-1]) for actor in actors for b in actor), default=-1)
        clip = np.zeros((length, 2, JOINTS, 3), np.float32)
        for place, actor in enumerate(actors):
            for body in actor:
                clip[body.frames, place] = body.joints
        clip = clip[clip.any(axis=(1, 2, 3))]
        if not len(clip):
            raise DataError("nobody is in it", _HINT)
        return clip

    def _sample(self, name: str) -> ntu_lists.Sample | None:
        sample = _any_sample(name)
        return sample if sample is not None and self._has(sample) else None

    def _has(self, sample: ntu_lists.Sample) -> bool:
        return sample.setup <= self.setups and sample.action <= self.actions


class Reader60(Reader):
    """Reads clips of NTU RGB+D (60); files that only NTU RGB+D 120 has are not clips."""

    setups, actions = 17, 60

    def aside(self, name: str) -> str:
        """Says so of files that NTU RGB+D 120 added, which often lie in the same folder."""
        sample = _any_sample(name)
        if sample is None or self._sample(name) is not None:
            return ""
        return "clips that only NTU RGB+D 120 has (data import ntu-120)"


def _any_sample(name: str) -> ntu_lists.Sample | None:
    """The sample of this file of NTU RGB+D 120, its first half included."""
    *folders, base = name.split("/")
    if not base.endswith(".skeleton") or "__MACOSX" in folders:
        return None
    return ntu_lists.parse(base.removesuffix(".skeleton"))


# --- Who is a person -------------------------------------------------------------------------


def choose_bodies(bodies: Sequence[Body]) -> tuple[list[Body], list[Body]]:
    """The bodies that are the first and the second person, noise left out.

    One person may be several bodies, one after the other, where the tracker lost them. A single
    body is taken as it is. Of several:

    1. A body seen in at most 11 frames is noise.
    2. A frame of a body is odd if its joints spread more than 0.8 times as far in x as in y. A body
       with at least 69.754 % odd frames is noise, unless no other is left.
    3. Motion is the variance of all its joints over all its frames, summed over x, y and z, or the
       same without the odd frames if that is less.
    4. By falling motion, the first body is the first person. Every other one continues the first
       person where their time spans do not overlap, else the second; else it is dropped. Spans
       may share one frame, which the later body then fills.

    Args:
        bodies: in order of appearance, which breaks ties.

    Returns:
        The bodies of the first and of the second person, each to be laid down in this order.
    """
    if len(bodies) < 2:
        return list(bodies), []
    people = _people([b for b in bodies if len(b.frames) > SHORT] or list(bodies))
    persons: tuple[list[Body], list[Body]] = ([], [])
    spans: list[tuple[int, int] | None] = [None, None]
    for _, body in sorted(people, key=lambda found: found[0], reverse=True):
        start, end = body.span
        for i, span in enumerate(spans):
            if span is None or min(end, span[1]) <= max(start, span[0]):
                persons[i].append(body)
                spans[i] = (
                    (start, end) if span is None else (min(start, span[0]), max(end, span[1]))
                )
                break
    return persons


def _people(bodies: list[Body]) -> list[tuple[float, Body]]:
    """Steps 2 and 3: how much each of the bodies that look like people moves."""
    people = []
    left = len(bodies)
    for body in bodies:
        x, y = body.joints[:, :, 0], body.joints[:, :, 1]
        odd = np.ptp(x, axis=1) > WIDE * np.ptp(y, axis=1)
        if left > 1 and odd.mean() >= MOSTLY_WIDE:
            left -= 1
            continue
        motion = _motion(body.joints)
        if left > 1 and odd.any():
            motion = min(motion, _motion(body.joints[~odd]))
        people.append((motion, body))
    return people


def _motion(joints: NDArray[np.float64]) -> float:
    return float(joints.reshape(-1, 3).var(axis=0).sum())
