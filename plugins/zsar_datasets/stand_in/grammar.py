"""The motion grammar as Python sees it: defaults filled in, words exchanged, motions as numbers."""

from __future__ import annotations

import hashlib
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from zsar_datasets.stand_in.draws import Draws

FILE = Path(__file__).parent / "grammar.toml"
CLIP = ("hand", "length", "second", "place")
BODY = ("posture", "locomotion", "look", "lean")
MOVE = ("target", "trajectory", "tempo", "repetition", "amplitude", "symmetry", "shape")
TURN = ("trajectory", "tempo", "repetition", "amplitude")  #: of head and torso
TURNS = ("head", "torso")  #: limbs without a target, symmetry and shape


@dataclass(frozen=True)
class Move:
    """What one limb does during a phase; fields are GRAMMAR.md's words of a move."""

    limb: str
    target: str
    trajectory: str
    tempo: str
    repetition: str
    amplitude: str
    symmetry: str
    shape: str

    @property
    def words(self) -> tuple[str, ...]:
        """The attributes that count for this limb, itself left out."""
        return TURN if self.limb in TURNS else MOVE


@dataclass(frozen=True)
class Body:
    """What one person does during a phase."""

    posture: str
    locomotion: str
    look: str
    lean: str
    do: tuple[Move, ...]


@dataclass(frozen=True)
class Phase:
    """A part of a clip; ``partner`` is the second person where the motion describes one."""

    share: float
    first: Body
    partner: Body | None


@dataclass(frozen=True)
class Motion:
    """How a class moves; ``name`` is for people only."""

    name: str
    hand: str
    length: str
    second: str
    place: str
    phases: tuple[Phase, ...]

    def second_body(self, phase: Phase) -> Body:
        """What the second person does in a phase, as far as words say."""
        if self.second == "mirrors":
            return phase.first
        if self.second == "reacts" and phase.partner is not None:
            return phase.partner
        return _body({"look": "partner"} if self.second != "none" else {})


@cache
def grammar() -> Mapping[str, Any]:
    """The grammar file: body, units, rules, defaults, vocabulary, motions."""
    return tomllib.loads(FILE.read_text("utf-8"))


@cache
def fingerprint() -> str:
    """SHA-256 of the grammar file."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


@cache
def motions(alignment: float = 1.0) -> Mapping[str, Motion]:
    """All motions by id, their words exchanged as far as ``alignment`` says (``exchanged``)."""
    written = {name: _motion(data) for name, data in grammar()["motion"].items()}
    return exchanged(written, alignment) if alignment < 1 else written


def motion_id(class_id: str) -> str:
    """The motion of a class: NTU's ids are motions, PKU-MMD's are looked up."""
    return str(grammar()["pku"].get(class_id, class_id))


def _body(data: Mapping[str, Any]) -> Body:
    defaults = grammar()["defaults"]
    moves = tuple(
        Move(limb=m["limb"], **{word: m.get(word, defaults[word]) for word in MOVE})
        for m in data.get("do", [])
    )
    return Body(**{word: data.get(word, defaults[word]) for word in BODY}, do=moves)


def _motion(data: Mapping[str, Any]) -> Motion:
    defaults = grammar()["defaults"]
    phases = tuple(
        Phase(p["share"], _body(p), _body(p["partner"]) if "partner" in p else None)
        for p in data["phases"]
    )
    words = {word: data.get(word, defaults[word]) for word in CLIP}
    return Motion(name=data["name"], phases=phases, **words)


# --- Words exchanged between classes ---------------------------------------------------------

# Where a word stands: motion, phase (-1: the clip's), body, move (-1: the body's), attribute.
Slot = tuple[str, int, int, int, str]


def exchanged(motions: Mapping[str, Motion], alignment: float) -> dict[str, Motion]:
    """The motions with a share of 1 - ``alignment`` of their words exchanged between classes.

    Every attribute's words stand in one fixed random order; the first of them, as many as the
    share says, move on by one place in a circle. So every word keeps its frequency, a class stays
    one consistent motion, and what is exchanged at 0.8 is also exchanged at 0.5. The limbs of one
    ``do`` move together, among those with as many moves of hands and feet and of head and torso,
    so that no limb is named twice. What is not a word of a body stays: the number of phases and
    of persons, shares, and who follows whom.
    """
    pools: defaultdict[str, list[tuple[Slot, Any]]] = defaultdict(list)
    for slot, value in (item for name, m in motions.items() for item in _words(name, m)):
        pools[_pool(slot, value)].append((slot, value))
    words: dict[Slot, Any] = {}
    for pool, items in sorted(pools.items()):
        items = Draws("exchange", grammar()["version"], pool).shuffled(items)
        moved = round((1 - alignment) * len(items))
        values = [value for _, value in items]
        values[:moved] = values[1:moved] + values[: min(1, moved)]
        words.update(zip((slot for slot, _ in items), values, strict=True))
    return {name: _rewritten(name, motion, words) for name, motion in motions.items()}


def _words(name: str, motion: Motion) -> list[tuple[Slot, Any]]:
    """All words of a motion that may be exchanged."""
    out: list[tuple[Slot, Any]] = [
        ((name, -1, 0, -1, "hand"), motion.hand),
        ((name, -1, 0, -1, "length"), motion.length),
    ]
    if motion.second != "none":
        out.append(((name, -1, 0, -1, "place"), motion.place))
    for p, phase in enumerate(motion.phases):
        for b, body in enumerate((phase.first, phase.partner)):
            if body is None:
                continue
            out += [((name, p, b, -1, word), getattr(body, word)) for word in BODY]
            out.append(((name, p, b, -1, "limb"), tuple(m.limb for m in body.do)))
            for i, move in enumerate(body.do):
                out += [((name, p, b, i, word), getattr(move, word)) for word in move.words]
    return out


def _pool(slot: Slot, value: Any) -> str:
    """Words of one pool may take each other's place."""
    *_, attribute = slot
    if attribute != "limb":
        return attribute
    kinds = ["turn" if limb in TURNS else "limb" for limb in value]
    return f"limb {' '.join(kinds)}"


def _rewritten(name: str, motion: Motion, words: Mapping[Slot, Any]) -> Motion:
    def body(p: int, b: int, old: Body | None) -> Body | None:
        if old is None:
            return None
        limbs = words[name, p, b, -1, "limb"]
        moves = tuple(
            replace(m, limb=limbs[i], **{w: words[name, p, b, i, w] for w in m.words})
            for i, m in enumerate(old.do)
        )
        return replace(old, do=moves, **{w: words[name, p, b, -1, w] for w in BODY})

    phases = []
    for p, phase in enumerate(motion.phases):
        first = body(p, 0, phase.first)
        assert first is not None
        phases.append(Phase(phase.share, first, body(p, 1, phase.partner)))
    return replace(
        motion,
        hand=words[name, -1, 0, -1, "hand"],
        length=words[name, -1, 0, -1, "length"],
        place=words.get((name, -1, 0, -1, "place"), motion.place),
        phases=tuple(phases),
    )


# --- A motion as numbers ---------------------------------------------------------------------


def vector(motion: Motion) -> dict[str, float]:
    """GRAMMAR.md, section 5: entries such as ``1/one-hand/target/mouth`` with their weights."""
    sums: defaultdict[str, float] = defaultdict(float)
    for word in CLIP if motion.second != "none" else CLIP[:-1]:
        sums[f"{word}/{getattr(motion, word)}"] = 1.0
    for phase in motion.phases:
        pair = [phase.first, motion.second_body(phase)]
        for number, body in enumerate(pair[: 1 if motion.second == "none" else 2], 1):
            for word in BODY:
                sums[f"{number}/{word}/{getattr(body, word)}"] += phase.share
            for move in body.do:
                for word in move.words:
                    sums[f"{number}/{move.limb}/{word}/{getattr(move, word)}"] += phase.share
    return dict(sums)
