"""The stand-in's motion grammar: only documented words, every class there, no two alike."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kit.paths import ROOT
from kit.slow_grammar import BODY, CLIP, FOLDER, GRAMMAR, MOTIONS, MOVE, TURN, VOCABULARY, vector

FACTS = ROOT.parent / "shared" / "facts" / "classes.json"

PAGE = (FOLDER / "GRAMMAR.md").read_text("utf-8")

NTU = [f"A{number}" for number in range(1, 121)]
TWO_PERSONS = {*range(50, 61), *range(106, 121)}
IDS = sorted(MOTIONS, key=lambda name: (len(name), name))


def bodies(phase: dict[str, Any]) -> list[dict[str, Any]]:
    """A phase's first person and, where it is described, its second."""
    return [phase, phase["partner"]] if "partner" in phase else [phase]


def words(motion: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every attribute and value that a motion uses, defaults filled in."""
    defaults = GRAMMAR["defaults"]
    yield from ((name, motion.get(name, defaults[name])) for name in CLIP)
    for phase in motion["phases"]:
        for body in bodies(phase):
            yield from ((name, body.get(name, defaults[name])) for name in BODY)
            for move in body.get("do", []):
                names = TURN if move["limb"] in ("head", "torso") else MOVE
                yield from ((name, move.get(name, defaults.get(name))) for name in names)


@pytest.mark.parametrize("name", IDS)
def test_motion_uses_the_vocabulary(name: str) -> None:
    motion = MOTIONS[name]
    assert set(motion) <= {"name", "phases", *CLIP}
    assert all(value in VOCABULARY[word] for word, value in words(motion))
    assert 1 <= len(motion["phases"]) <= 4
    for phase in motion["phases"]:
        assert set(phase) <= {"share", "do", "partner", *BODY}
        assert set(phase.get("partner", {})) <= {"do", *BODY}
        for body in bodies(phase):
            moved: Counter[tuple[str, bool]] = Counter()
            for move in body.get("do", []):
                assert {"limb"} <= set(move) <= set(MOVE)
                if move["limb"] in ("head", "torso"):
                    assert set(move) <= set(TURN), "head and torso have no target or shape"
                limb = VOCABULARY["limb"][move["limb"]]
                moved.update(zip(limb["limbs"], limb["acting"], strict=True))
            assert max(moved.values(), default=1) == 1, "a limb has two instructions"


@pytest.mark.parametrize("name", IDS)
def test_shares_fill_the_clip(name: str) -> None:
    shares = [phase["share"] for phase in MOTIONS[name]["phases"]]
    assert min(shares) > 0
    assert math.fsum(shares) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", IDS)
def test_second_person_is_described_where_there_is_one(name: str) -> None:
    motion = MOTIONS[name]
    second = motion.get("second", "none")
    assert (second == "none") == ("place" not in motion)
    assert (second == "reacts") == any("partner" in phase for phase in motion["phases"])
    if second == "none":
        targets = {value for word, value in words(motion) if word in ("target", "look")}
        assert not any(value.startswith("partner") for value in targets)


def test_every_class_is_there() -> None:
    own = {name for name in MOTIONS if name.startswith("pku-")}
    assert set(MOTIONS) == {*NTU, *own}
    assert list(GRAMMAR["pku"]) == [str(number) for number in range(1, 52)]
    assert len(set(GRAMMAR["pku"].values())) == 51
    assert own <= set(GRAMMAR["pku"].values()) <= set(MOTIONS)
    pairs = {int(name[1:]) for name in NTU if MOTIONS[name].get("second", "none") != "none"}
    assert pairs == TWO_PERSONS


@pytest.mark.skipif(not FACTS.exists(), reason="the shared class list is not on this machine")
def test_names_are_the_official_ones() -> None:
    facts = json.loads(FACTS.read_text("utf-8"))
    assert {name: MOTIONS[name]["name"] for name in NTU} == facts["ntu_rgbd"]["action_names"]
    assert {int(name[1:]) for name in facts["ntu_rgbd"]["two_person_ids"]} == TWO_PERSONS
    names = facts["pku_mmd"]["class_names"]
    renamed = {"standing up": "standing up (from sitting position)"}
    for number, motion in GRAMMAR["pku"].items():
        assert MOTIONS[motion]["name"] == renamed.get(names[number], names[number])
    pairs = {int(number) for number, m in GRAMMAR["pku"].items() if MOTIONS[m].get("second")}
    assert pairs == set(facts["pku_mmd"]["two_person_ids"])


def test_no_two_motions_are_alike() -> None:
    phases = [json.dumps(motion["phases"], sort_keys=True) for motion in MOTIONS.values()]
    assert len(set(phases)) == len(MOTIONS)
    vectors = {name: vector(motion) for name, motion in MOTIONS.items()}
    for first, second in itertools.combinations(vectors, 2):
        one, two = vectors[first], vectors[second]
        differ = [k for k in {*one, *two} if abs(one.get(k, 0.0) - two.get(k, 0.0)) > 1e-9]
        # a changed value is one entry less and one more: four entries are two values
        assert len(differ) >= 4, f"{first} and {second} differ in {sorted(map(str, differ))} only"


def test_every_word_is_used_and_documented() -> None:
    used = {pair for motion in MOTIONS.values() for pair in words(motion)}
    assert used == {(word, value) for word, values in VOCABULARY.items() for value in values}
    assert set(VOCABULARY) == {*CLIP, *BODY, *MOVE}
    sections = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
    assert list(sections) == [*MOVE, "posture", "locomotion", "look", "lean", *CLIP]
    for word, values in VOCABULARY.items():
        rows = re.findall(r"^\| `([\w-]+)` \|", sections[word], re.M)
        assert rows == list(values), word


def test_defaults_and_documented_numbers() -> None:
    defaults = GRAMMAR["defaults"]
    assert set(defaults) == set(VOCABULARY) - {"limb"}
    assert all(value in VOCABULARY[word] for word, value in defaults.items())
    for name, tempo in VOCABULARY["tempo"].items():
        assert f"| `{name}` | {tempo['cycle']} | {tempo['travel']} |" in PAGE
    for name, size in VOCABULARY["amplitude"].items():
        turns = f"{size['head']:.0f}° | {size['torso']:.0f}°"
        assert f"| `{name}` | {size['hand']} | {size['foot']} | {turns} |" in PAGE
    for name, length in VOCABULARY["length"].items():
        assert f"| `{name}` | {length['seconds']} |" in PAGE
    for name, target in VOCABULARY["target"].items():
        assert re.search(rf"^\| `{name}` \|.*\| {target['normal']} \|$", PAGE, re.M), name
        assert re.search(rf"^\| {target['frame']} \|", PAGE, re.M), name


def test_vocabulary_has_numbers_that_an_engine_can_use() -> None:
    body, units, rules = GRAMMAR["body"], GRAMMAR["units"], GRAMMAR["rules"]
    assert units["L"] == pytest.approx(body["upper_arm"] + body["forearm"] + body["palm"])
    assert units["G"] == pytest.approx(body["thigh"] + body["shin"])
    assert units["T"] == pytest.approx(body["lower_spine"] + body["upper_spine"])
    assert math.fsum(rules["flex_split"]) == pytest.approx(1)
    for name, target in VOCABULARY["target"].items():
        assert len(target["at"]) == 3, name
        assert target["normal"] in ("forward", "back", "side", "up")
        assert target["elbow"] in rules["elbow"]
        assert (target["frame"] == "partner") == ("joint" in target)
        if target["frame"] == "root":  # free space: within an arm's reach
            assert math.dist(target["at"], (0, 0, 0)) <= rules["reach"]
    for name, trajectory in VOCABULARY["trajectory"].items():
        keys = trajectory["keys"]
        times = [row[0] for row in keys]
        assert times == sorted(set(times)), name
        assert times[0] == 0
        assert all(len(row) == 6 for row in keys), name
        assert trajectory["curve"] in ("stops", "smooth")
        assert trajectory["axes"] in ("body", "line", "surface")
        if trajectory["repeats"]:  # cycles join without a jump
            assert times[-1] == 1, name
            assert keys[0][1:] == keys[-1][1:], name
        assert trajectory["travel"] == (keys[0][1] == 1), name
    for posture in VOCABULARY["posture"].values():
        assert posture["idle"] in VOCABULARY["target"]
