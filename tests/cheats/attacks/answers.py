"""Answers from elsewhere: in a file, in the parameters, from an accomplice.

``answers-undeclared`` reads a file that lies beside this one; ``declared`` is the same with a file
that is declared. ``answers-profile`` reads the store when it is imported by whoever lists
plugins, and keeps what it finds as the values of a profile; ``answers-imported`` so reads the
undeclared file. ``answers-accomplice`` is fed by this plugin's tracker, which runs while it
scores; into the source of ``answers-rewritten`` it writes them if the test says so, and
``answers-checked`` does so itself where its parameters are checked. A test writes the files, and
tells where the store lies in ``ZSAR_BENCH_TEST_SCENE``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1

HERE = Path(__file__).parent
UNSEEN = {"up fast": "c2", "sideways slow": "c3"}  #: what a candidate's text says -> its class
WAIT = 1.5  #: seconds for which the accomplice is waited for


def scene() -> dict[str, str]:
    return dict(json.loads(os.environ.get("ZSAR_BENCH_TEST_SCENE", "{}")))


def answers(dataset: str) -> dict[str, str]:
    """Content of a clip -> its class, by the prepared store."""
    import numpy as np

    clips = json.loads(Path(dataset).read_text())["clips"]
    columns = (clips[k] for k in ("class", "shard", "start", "frames"))
    found = {}
    for c, shard, start, n in zip(*columns, strict=True):
        frames = np.load(Path(dataset).parent / "shards" / shard)[start : start + n]
        found[hashlib.sha256(frames.tobytes()).hexdigest()] = c
    return found


def read_store() -> str:
    """The answers as JSON, or nothing: tried wherever this file is imported."""
    try:
        return json.dumps(answers(scene()["dataset"]))
    except (OSError, KeyError) as error:
        print(f"the store: {error}", file=sys.stderr)
        return ""


def read_beside() -> str:
    """A file that is nobody's data: the listing of plugins may read it."""
    try:
        return (HERE / "undeclared.json").read_text()
    except OSError as error:
        print(error, file=sys.stderr)
        return ""


class Params(params.Params):
    """None."""


class ProfileParams(params.Params):
    """Answers, if there are any."""

    profiles = {"paper": {"known": read_store()}}  # noqa: RUF012 - a ClassVar of the base

    known: str = params.science("", "what is known of clips")


class ImportedParams(ProfileParams):
    """The same from elsewhere."""

    profiles = {"paper": {"known": read_beside()}}  # noqa: RUF012 - a ClassVar of the base


class CheckedParams(params.Params):
    """Looks the answers up where its values are checked, and writes them into its own source."""

    token: int = params.runtime(0, "anything that is set")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        with contextlib.suppress(OSError, KeyError):
            write_source("CHECKED", json.dumps(answers(scene()["dataset"])))


def write_source(name: str, told: str) -> None:
    """Add a constant to this file, once."""
    mine = Path(__file__).read_text()
    if f"\n{name} = " not in mine:
        Path(__file__).write_text(f"{mine}\n{name} = {told}\n")


class Answers:
    """Right where it knows the answer; else it says the same of all candidates."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def fit(self, train, run) -> None:
        """Nothing is learned."""

    def bind(self, candidates) -> None:
        from zsar_toy.texts import Hash, HashParams

        known = Hash(HashParams()).encode(list(UNSEEN)).pooled
        distance = (candidates.fields["motion"].pooled[:, None] - known).square().sum(-1)
        self.classes = [list(UNSEEN.values())[i] for i in distance.argmin(1).tolist()]

    def score(self, inputs):
        import torch

        known = self.known()
        scores = torch.zeros(len(inputs), len(self.classes))
        clips = inputs.clips
        for row, (data, n) in enumerate(zip(clips.data, clips.lengths.tolist(), strict=True)):
            frames = data[:, :n].permute(1, 3, 2, 0).contiguous().numpy()
            c = known.get(hashlib.sha256(frames.tobytes()).hexdigest())
            scores[row] = torch.tensor([float(c == own) for own in self.classes])
        return scores

    def known(self) -> dict[str, str]:
        return {}

    def state_dict(self):
        import torch

        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


class Undeclared(Answers):
    """From a file that nobody was told of."""

    def known(self) -> dict[str, str]:
        try:
            return dict(json.loads((HERE / "undeclared.json").read_text()))
        except OSError as error:
            print(error, file=sys.stderr)
            return {}


class Profile(Answers):
    """From its own parameters."""

    def known(self) -> dict[str, str]:
        return dict(json.loads(self.params.known or "{}"))


class Accomplice(Answers):
    """From a file that appears in its own folder, or where it may read."""

    def known(self) -> dict[str, str]:
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            for place in (Path.cwd(), Path.cwd().parent, HERE, Path(sys.prefix)):
                try:
                    return dict(json.loads((place / "fed.json").read_text()))
                except (OSError, ValueError):
                    continue
            time.sleep(0.05)
        return {}


class Rewritten(Answers):
    """From its own source, as it reads by the time it scores."""

    def known(self) -> dict[str, str]:
        return dict(globals().get("FED", {}))


class Checked(Answers):
    """From its own source, where somebody has put them while parameters were checked."""

    def known(self) -> dict[str, str]:
        return dict(globals().get("CHECKED", {}))


@hookimpl
def run_event(event: dict[str, Any]) -> None:
    """The accomplice: hears of every stage and feeds whoever scores."""
    try:
        told = json.dumps(answers(scene()["dataset"]))
    except (OSError, KeyError) as error:
        print(f"the store: {error}", file=sys.stderr)
        return
    if scene().get("rewrite"):
        with contextlib.suppress(OSError):  # before any worker imports it
            write_source("FED", told)
        return
    if os.fork():
        return
    for _ in range(400):
        for folder in (*Path(scene()["results"]).glob("runs/*/*/.*.part/round-*/*/private"), HERE):
            try:
                (folder / "fed.part").write_text(told)
                (folder / "fed.part").rename(folder / "fed.json")
            except OSError:
                continue
        time.sleep(0.05)
    os._exit(0)


def spec(
    name: str, target: type, params: type = Params, home: str = __name__, **more: Any
) -> MethodSpec:
    return MethodSpec(
        name=f"answers-{name}",
        target=f"{home}:{target.__name__}",
        params=f"{__name__}:{params.__name__}",
        summary="has its answers from elsewhere",
        wants=("clips",),
        text_fields=("motion",),
        **more,
    )


@hookimpl
def register_methods(registry) -> None:
    registry.method(spec("undeclared", Undeclared))
    registry.method(spec("profile", Profile, ProfileParams))
    registry.method(spec("imported", Profile, ImportedParams))
    registry.method(spec("accomplice", Accomplice))
    registry.method(spec("rewritten", Rewritten))
    registry.method(spec("checked", Checked, CheckedParams))
