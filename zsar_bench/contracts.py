"""Interfaces that plugin classes implement. Structural: no inheritance is needed.

Every class is built with its validated parameters (``Params``) as the only argument. State is a
flat mapping of names to tensors. It holds everything that ``bind``, ``score`` or ``encode`` need in
a process without the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, device, nn

    from zsar_bench.views import (
        Clips,
        EncoderTrain,
        Features,
        SeenTrain,
        SkeletonInputs,
        TextBank,
        TextFeatures,
    )

State = Mapping[str, "Tensor"]


class FitContext(Protocol):
    """What a fit gets besides its data, with progress reports and checkpoints.

    Attributes:
        seed: the seed of this fit; ``generator`` is already seeded with it, and so are
            torch's global generators.
        generator: random numbers on ``device``.
        device: where the views' tensors are.
        threads: CPU threads torch may use.
        texts: texts of the seen classes; empty for an encoder.
        unseen_texts: texts of the candidates, in arbitrary order, for methods that declare the
            setting ``class-transductive`` or ``transductive``; None for all others.
        encoder: the trained skeleton encoder of this round, for methods that declare
            ``needs_encoder``; None for all others. It is a copy: training its ``module()`` has
            no effect outside the fit.
        workdir: an empty folder for the fit.
        resume: ``(step, tensors)`` of the last checkpoint of an interrupted fit, or None.
    """

    seed: int
    generator: Generator
    device: device
    threads: int
    texts: TextBank
    unseen_texts: TextBank | None
    encoder: SkeletonEncoder | None
    workdir: Path
    resume: tuple[int, dict[str, Tensor]] | None

    def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
        """Report a finished step. ``state_dict()`` must be complete, because selection rules take
        states here (except at the last step, whose state is that after ``fit``). Tensors are read
        only a few times per second, so a call in every step costs no synchronisation."""

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Offer a checkpoint. ``tensors`` is called only if one is due (every few seconds); it must
        return the complete state, including random generators. The tensors are copied before
        this method returns."""


class Method(Protocol):
    """A zero-shot recogniser. ``fit`` runs in one worker, ``bind`` and ``score`` in another.

    A method of the setting ``transductive`` also has ``adapt(inputs)``. It is called once, between
    ``bind`` and the first ``score``, with all clips to be scored.

    A method that declares ``needs_encoder`` may also have ``take_encoder(encoder)``. It is called
    in the scoring worker, before ``load_state_dict``, with the encoder as ``fit`` got it. A method
    that trains the encoder further includes the encoder's ``state_dict()`` in its own state, and
    loads it into the encoder in ``load_state_dict``.
    """

    def __init__(self, params: Any) -> None: ...

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Learn from seen classes only."""

    def bind(self, candidates: TextBank) -> None:
        """Receive the texts of the candidate classes, in arbitrary order, before any clips.

        The fields are those of ``run.texts``, in the same order.
        """

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) scores of the bound candidates, higher is better; clips are independent."""

    def state_dict(self) -> State:
        """The state that ``bind`` and ``score`` need; the caller copies the tensors."""

    def load_state_dict(self, state: State) -> None:
        """Load a state; tensors are on the run's device, shapes and types are unchanged."""


class SkeletonEncoder(Protocol):
    """A network from clips to features."""

    def __init__(self, params: Any) -> None: ...

    def fit(self, train: EncoderTrain, run: FitContext) -> None:
        """Learn from the seen training clips of a protocol's round."""

    def encode(self, clips: Clips) -> Features:
        """Features of every clip, without gradients; clips are independent."""

    def module(self) -> nn.Module:
        """The trainable network: maps ``Clips`` to ``Features``, with gradients.

        It shares its weights with ``encode`` and ``state_dict``.
        """

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class TextEncoder(Protocol):
    """A frozen text encoder: deterministic, independent of batch and order."""

    def __init__(self, params: Any) -> None: ...

    def fingerprint(self) -> str:
        """Hash of the weights. Must be fast, without importing a deep-learning library."""

    def encode(self, texts: list[str]) -> TextFeatures:
        """Features of the texts, one row each."""


@dataclass(frozen=True)
class ClipName:
    """Facts from a raw file's name: a unique id, the official class id and the subject.

    ``subject`` is empty if subjects are not known; ``camera`` and ``setup`` (recording place or
    session) are empty if there is only one.
    """

    id: str
    class_id: str
    subject: str
    camera: str = ""
    setup: str = ""


class RawSource(Protocol):
    """The files of one folder or archive, for readers whose clips span several files.

    Attributes:
        names: of all files; relative, ``/``-separated.
    """

    @property
    def names(self) -> Sequence[str]: ...

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """A file of ordinary size.

        Raises:
            DataError: if it cannot be read completely, or is too large.
        """

    def open(self, name: str) -> BinaryIO:
        """A file of any size, seekable; the caller closes it.

        Raises:
            DataError: if it cannot be opened.
        """


class Container(Protocol):
    """One or a few files with several clips.

    Attributes:
        clips: names of all clips; ``open`` should determine them quickly.
    """

    @property
    def clips(self) -> Sequence[ClipName]: ...

    def read(self, number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Clip ``number``, with type and errors as of ``DatasetReader.read``."""


class DatasetReader(Protocol):
    """Reads one raw clip from bytes, without state. The harness finds and opens the files.

    A reader may also have

    - ``left_out(name) -> str``: why a file named like a clip is left out, empty for all others;
      such files are listed with this reason;
    - ``aside(name) -> str``: the same for files of a related data set, which are only counted;
    - ``coverage(ids) -> list[str]``: lines about what is missing from the complete data set;
    - ``holds(name) -> bool``: whether this file is a container: it holds several clips, or clips
      that can only be read together with other files. Called before ``identify``;
    - ``open(name, source) -> Container``: that container. Called when files are listed and again
      by every worker, so it should be fast and use little memory. An interrupted import watches
      the files that it reads or opens for changes.
    """

    def identify(self, name: str) -> ClipName | None:
        """Facts of the file with this name (relative, ``/``-separated); None: not a clip."""

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(T, B, V, 3) float32 in metres.

        Raises:
            DataError: for anything but a complete, finite clip of this data set.
        """


class PreparedClips(Protocol):
    """The clips of a prepared data set, for one that is pooled from several.

    Attributes:
        clips: columns over clips, at least ``id``, ``class``, ``subject`` and ``camera``.
        layout: the joint layout, as values of its file.
    """

    @property
    def clips(self) -> dict[str, list[Any]]: ...

    @property
    def layout(self) -> dict[str, Any]: ...

    def read_clips(self, index: list[int]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Clips by their number, each (T, B, V, 3) float32 in metres."""


class DatasetPool(Protocol):
    """Pools clips of several prepared data sets, with common joints and classes."""

    def __init__(self, parts: Mapping[str, PreparedClips]) -> None: ...

    def clips(self) -> list[ClipName]:
        """All its clips; ``setup`` is the name of the part."""

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """These clips, each (T, B, V, 3) float32 in metres."""


class DatasetGenerator(Protocol):
    """Generates the clips of a stand-in data set, deterministically from its parameters."""

    def __init__(self, params: Any) -> None: ...

    def clips(self) -> list[ClipName]:
        """All its clips, with unique ids. Must be fast: no clip is generated yet."""

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """These clips, each (T, B, V, 3) float32 in metres.

        A clip may not depend on which others are made in the same call, nor on earlier calls.
        """
