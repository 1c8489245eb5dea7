"""What a plugin's class implements. Structural: nobody has to inherit from these.

Every class is built with its validated parameters (``Params``) as the only argument. State
is a flat mapping of names to tensors and holds everything ``bind``, ``score`` or ``encode``
need in a process that never saw the training data.
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
    """What a fit gets besides its data; also the way it reports and survives a kill.

    Attributes:
        seed: the seed of this fit; ``generator`` is already seeded with it, and so are
            torch's global generators.
        generator: random numbers on ``device``.
        device: where the views' tensors are.
        threads: CPU threads torch may use.
        texts: the seen classes' texts; empty for an encoder.
        unseen_texts: the candidates' texts, in no special order, for methods that declare the
            setting ``class-transductive`` or ``transductive``; None for all others.
        encoder: the trained skeleton encoder of this round, for methods that declare
            ``needs_encoder``; None for all others. It is the fit's own: training its ``module()``
            changes nobody else's.
        workdir: an empty folder of the fit's own.
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
        """Say how far the fit is, after the step: ``state_dict()`` must be whole then, because
        rules that choose among states take some here (never at the last step: that state is
        the one that ``fit`` leaves behind). Tensors are read only when the referee shows a line
        (a few times a second), so that calling this every step costs no synchronisation."""

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Offer a point to continue from. ``tensors`` is called only when one is due
        (every few seconds); it must hold all state, random generators included. The tensors
        are written before this returns, so live ones are fine."""


class Method(Protocol):
    """A zero-shot recogniser. ``fit`` runs in one worker, ``bind`` and ``score`` in another.

    A method of the setting ``transductive`` also has ``adapt(inputs)``: called once between
    ``bind`` and the first ``score`` with all the clips it is going to score.

    A method that declares ``needs_encoder`` may also have ``take_encoder(encoder)``: called in the
    worker that scores, before ``load_state_dict``, with what ``run.encoder`` was when its fit
    began. One that has trained the network on puts the encoder's ``state_dict()`` into its own
    state, and gives it back to the encoder in ``load_state_dict``: so it need not know how any
    encoder is built.
    """

    def __init__(self, params: Any) -> None: ...

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Learn from seen classes only."""

    def bind(self, candidates: TextBank) -> None:
        """Take the candidate classes' texts, in an order of the referee's; no clips yet.

        The fields are those of ``run.texts``, in the same order.
        """

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) scores of the bound candidates, higher is better, each clip on its own."""

    def state_dict(self) -> State:
        """All that ``bind`` and ``score`` need; copied by the caller, so live tensors are fine."""

    def load_state_dict(self, state: State) -> None:
        """Take a state back, tensors on the run's device, shapes and types unchanged."""


class SkeletonEncoder(Protocol):
    """A network from clips to features."""

    def __init__(self, params: Any) -> None: ...

    def fit(self, train: EncoderTrain, run: FitContext) -> None:
        """Learn from the seen training clips of a protocol's round."""

    def encode(self, clips: Clips) -> Features:
        """Features of every clip, each on its own, without gradients."""

    def module(self) -> nn.Module:
        """The trainable network: called with ``Clips`` it gives ``Features``, with gradients.

        It is the encoder's own: ``encode`` and ``state_dict`` follow its weights.
        """

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class TextEncoder(Protocol):
    """A frozen text tower: pure, independent of batch and order."""

    def __init__(self, params: Any) -> None: ...

    def fingerprint(self) -> str:
        """Hash of the weights in use. Must be cheap: imports no deep-learning library."""

    def encode(self, texts: list[str]) -> TextFeatures:
        """Features of the texts, one row each."""


@dataclass(frozen=True)
class ClipName:
    """What a raw file's name says: a unique id, the official class id and the subject.

    ``subject`` is empty where subjects are not known; ``camera`` and ``setup`` (recording place
    or session) where there is only one.
    """

    id: str
    class_id: str
    subject: str
    camera: str = ""
    setup: str = ""


class RawSource(Protocol):
    """The files of one folder or archive, for readers whose clips lie in several of them.

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
            DataError: if it cannot be read whole, or is too large for that.
        """

    def open(self, name: str) -> BinaryIO:
        """A file of any size, seekable; the caller closes it.

        Raises:
            DataError: if it cannot be opened.
        """


class Container(Protocol):
    """A file, or a few, with several clips.

    Attributes:
        clips: names of all of them, as cheap as ``open`` could make it.
    """

    @property
    def clips(self) -> Sequence[ClipName]: ...

    def read(self, number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Clip ``number`` as ``DatasetReader.read`` gives it; same errors."""


class DatasetReader(Protocol):
    """Reads one raw clip; a pure function of bytes. The harness finds and opens the files.

    A reader may also have

    - ``left_out(name) -> str``: why a file that is named like a clip is none, empty for all
      others; such files are listed with that reason;
    - ``aside(name) -> str``: the same for files of a sister data set, which are only counted;
    - ``coverage(ids) -> list[str]``: lines about what these clips lack to the whole data set;
    - ``holds(name) -> bool``: whether this file is a container: it holds several clips, or clips
      that can only be read together with other files. Asked before ``identify``;
    - ``open(name, source) -> Container``: that container. Called when files are listed and again
      by every worker, so it should be quick and keep no more than it must; the files that it
      reads or opens are those an interrupted import watches for changes.
    """

    def identify(self, name: str) -> ClipName | None:
        """What the file of this name (relative, ``/``-separated) holds; None: not a clip."""

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(T, B, V, 3) float32 in metres.

        Raises:
            DataError: for anything that is not a whole, finite clip of this data set.
        """


class PreparedClips(Protocol):
    """The clips of a prepared data set, for one that is pooled from several.

    Attributes:
        clips: columns over clips, at least ``id``, ``class``, ``subject`` and ``camera``.
        layout: the joint layout, as its file says it.
    """

    @property
    def clips(self) -> dict[str, list[Any]]: ...

    @property
    def layout(self) -> dict[str, Any]: ...

    def read_clips(self, index: list[int]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Clips by their number, each (T, B, V, 3) float32 in metres."""


class DatasetPool(Protocol):
    """Puts clips of several prepared data sets together: common joints, common classes."""

    def __init__(self, parts: Mapping[str, PreparedClips]) -> None: ...

    def clips(self) -> list[ClipName]:
        """All its clips; ``setup`` says which part each is from."""

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """These clips, each (T, B, V, 3) float32 in metres."""


class DatasetGenerator(Protocol):
    """Makes the clips of a stand-in data set; the same parameters give the same clips."""

    def __init__(self, params: Any) -> None: ...

    def clips(self) -> list[ClipName]:
        """All its clips, each with an id of its own; quick, because nothing is made yet."""

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """These clips, each (T, B, V, 3) float32 in metres.

        A clip may not depend on which others are made in the same call, nor on earlier calls.
        """
