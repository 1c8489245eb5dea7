"""The stand-in: motions look like their words, bodies stay whole, bytes depend on names alone."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from zsar_datasets import DATA, ntu_lists
from zsar_datasets.stand_in import cameras, oracle, samples
from zsar_datasets.stand_in.curves import keys_at, smooth, trajectory_index
from zsar_datasets.stand_in.draws import Draws
from zsar_datasets.stand_in.engine import MIRROR, skeletons
from zsar_datasets.stand_in.generator import (
    Generator,
    Generator60,
    Generator120,
    GeneratorPKU,
    Params,
)
from zsar_datasets.stand_in.grammar import (
    FILE,
    Body,
    Motion,
    Move,
    Phase,
    exchanged,
    motions,
    vector,
)
from zsar_datasets.stand_in.script import Script, perform
from zsar_datasets.stand_in.subjects import Subject, subject
from zsar_encoders.grammar import Grammar as GrammarEncoder
from zsar_encoders.grammar import Params as EncoderParams

from kit.slow_grammar import GRAMMAR, MOTIONS, VOCABULARY
from kit.slow_grammar import vector as slow_vector
from zsar_bench.common.classes import read_classes
from zsar_bench.data.texts.texts import read_texts
from zsar_bench.errors import UserError

Array = NDArray[np.float64]
WORDS = motions()
FPS = GRAMMAR["rules"]["frames_per_second"]
HEAD, PELVIS = 3, 0
# joints of (left, right) limbs
SHOULDER, ELBOW, WRIST, HAND = (4, 8), (5, 9), (6, 10), (7, 11)
HIP, KNEE, ANKLE, FOOT = (12, 16), (13, 17), (14, 18), (15, 19)
RIGID = [  # bones that are never blended: (joint, joint, name in [body] or None)
    *((0, 1, "lower_spine"), (1, 20, "upper_spine"), (20, 2, "neck"), (2, 3, None)),
    *((20, SHOULDER[i], None) for i in (0, 1)),
    *((SHOULDER[i], ELBOW[i], "upper_arm") for i in (0, 1)),
    *((ELBOW[i], WRIST[i], "forearm") for i in (0, 1)),
    *((WRIST[i], HAND[i], "palm") for i in (0, 1)),
    *((0, HIP[i], None) for i in (0, 1)),
    *((HIP[i], KNEE[i], "thigh") for i in (0, 1)),
    *((KNEE[i], ANKLE[i], "shin") for i in (0, 1)),
    *((ANKLE[i], FOOT[i], None) for i in (0, 1)),
]
PEOPLE = (subject("test", 1), subject("test", 2))


def still(person: Subject, **changes: object) -> Subject:
    """The same person without habits, swaying and tempo of their own."""
    plain = {
        "pace": 1.0,
        "amplitude": 1.0,
        "stoop": 0.0,
        "gaze": 0.0,
        "sway": 0.0,
        "weave": 0.0,
        "haste": 0.0,
        "habit": np.zeros((4, 3)),
        "timing": np.ones(4),
    }
    return dataclasses.replace(person, **{**plain, **changes})


def played(*names: str, people: tuple[Subject, Subject] = PEOPLE) -> list[tuple[Script, Array]]:
    """Scripts and world skeletons of motions."""
    scripts = [perform(WORDS[name], people, "take", name) for name in names]
    return list(zip(scripts, skeletons(scripts), strict=True))


@cache
def every() -> tuple[tuple[Script, Array], ...]:
    """All motions, once."""
    return tuple(played(*WORDS))


def end_of(script: Script, phase: int) -> int:
    """The last frame of a phase (counted from 1) of body one."""
    return script.late[0] + round(script.starts[phase] + script.seconds[phase] * FPS) - 1


def acting(script: Script, body: int = 0) -> int:
    """0 if the acting side is the left one, else 1."""
    return 0 if script.acting[body] > 0 else 1


def far(a: Array, b: Array) -> Array:
    return np.asarray(np.linalg.norm(a - b, axis=-1))


def check_body(script: Script, world: Array, jump: float = 0.5) -> None:
    """What is true of every clip whatever its words: whole bones, no limb beyond its reach."""
    assert world.shape == (script.frames, script.bodies, 25, 3)
    assert np.isfinite(world).all()
    assert world[..., 1].min() >= 0.01 - 1e-12
    rules = GRAMMAR["rules"]
    for b in range(script.bodies):
        person, clip = script.subjects[b], world[:, b]
        above = clip[..., 1] > 0.01 + 1e-9  # what lies on the floor was lifted there
        for one, two, name in RIGID:
            whole = above[:, one] & above[:, two]
            sizes = far(clip[whole, one], clip[whole, two])
            if name and len(sizes):
                assert sizes == pytest.approx(getattr(person.bones, name), abs=1e-9)
            elif len(sizes):
                assert np.ptp(sizes) < 1e-9, (one, two)
        for roots, ends, size in ((SHOULDER, HAND, person.L), (HIP, ANKLE, person.G)):
            for i in (0, 1):
                whole = above[:, roots[i]] & above[:, ends[i]]
                reach = far(clip[whole, roots[i]], clip[whole, ends[i]]) / size
                assert (reach <= rules["reach"] + 1e-9).all()
                assert (reach >= rules["nearest"] - 1e-9).all()
    step = far(world[1:], world[:-1])
    assert step[..., :21].max() < jump, "a joint jumps"
    assert step.max() < jump + 0.4, "a finger jumps"


# --- bodies ----------------------------------------------------------------------------------


def test_all_motions_keep_bodies_whole() -> None:
    for script, world in every():
        check_body(script, world)


def test_second_body_only_where_the_motion_has_one_and_face_to_face() -> None:
    for (name, motion), (_, world) in zip(WORDS.items(), every(), strict=True):
        assert world.shape[1] == (1 if motion.second == "none" else 2), name
        if motion.second != "none" and motion.place not in ("behind", "beside"):
            left = world[0, :, HIP[0]] - world[0, :, HIP[1]]
            ahead = np.cross(left, [0, 1, 0])
            between = world[0, 1, PELVIS] - world[0, 0, PELVIS]
            assert ahead[0] @ between > 0, name
            assert ahead[1] @ between < 0, name


@pytest.mark.parametrize("name", ["A1", "A8", "A26", "A43", "A60", "A79", "A117"])
def test_left_handed_people_do_the_mirrored_motion(name: str) -> None:
    right = tuple(dataclasses.replace(person, left=False) for person in PEOPLE)
    left = tuple(dataclasses.replace(person, left=True) for person in PEOPLE)
    (_, one), (_, two) = (*played(name, people=right), *played(name, people=left))  # type: ignore[arg-type]
    assert np.allclose(one[:, :, list(MIRROR)] * [-1, 1, 1], two, atol=1e-9)


def test_a_tenth_of_people_are_left_handed() -> None:
    share = np.mean([subject("crowd", i).left for i in range(900)])
    assert 0.07 < share < 0.13


# --- meaning ---------------------------------------------------------------------------------


def test_drinking_brings_the_hand_to_the_mouth() -> None:
    [(script, world)] = played("A1")
    a = acting(script)
    at = world[end_of(script, 2)]
    assert far(at[0, HAND[a]], at[0, HEAD]) < 0.2
    assert far(at[0, HAND[1 - a]], at[0, HEAD]) > 0.5
    assert far(world[0, 0, HAND[a]], world[0, 0, HEAD]) > 0.5


def test_targets_are_met_where_the_table_puts_them() -> None:
    """Overhead and side-mid, worked out by hand from [vocabulary.target] and an upright trunk."""
    people = (still(PEOPLE[0]), still(PEOPLE[1]))
    for name, phase, target in (("A95", 2, "overhead"), ("A97", 1, "side-mid")):
        [(script, world)] = played(name, people=people)
        at = world[end_of(script, phase), 0]
        side, up, ahead = VOCABULARY["target"][target]["at"]
        for i, out in ((0, 1.0), (1, -1.0)):
            goal = at[SHOULDER[i]] + people[0].L * np.array([out * side, up, ahead])
            assert far(at[HAND[i]], goal) < 0.12, "targets are missed by centimetres, not more"


def test_kicks_raise_the_foot_that_acts() -> None:
    for name, high in (("A24", 0.25), ("A51", 0.5), ("A102", 0.5)):
        [(script, world)] = played(name)
        a = acting(script)
        assert world[:, 0, ANKLE[a], 1].max() > high, name
        assert world[:, 0, ANKLE[1 - a], 1].max() < 0.2, name


def test_feet_stay_planted_while_standing() -> None:
    for name in ("A1", "A10", "A23", "A36", "A95"):
        [(_, world)] = played(name)
        for foot in ANKLE:
            assert np.ptp(world[:, 0, foot, [0, 2]], axis=0).max() < 0.02, name


def test_sitting_lowers_the_hips_by_the_height_of_the_posture() -> None:
    [(script, world)] = played("A8", people=(still(PEOPLE[0]), PEOPLE[1]))
    postures = VOCABULARY["posture"]
    drop = (postures["standing"]["height"] - postures["sitting"]["height"]) * PEOPLE[0].G
    lower = world[0, 0, PELVIS, 1] - world[end_of(script, 3), 0, PELVIS, 1]
    assert lower == pytest.approx(drop, abs=1e-6)


def test_clapping_hands_meet_and_part_in_time() -> None:
    people = (still(PEOPLE[0]), PEOPLE[1])
    [(script, world)] = played("A10", people=people)
    first, last = script.late[0] + round(script.starts[2]), end_of(script, 2)
    apart = far(world[first : last + 1, 0, HAND[0]], world[first : last + 1, 0, HAND[1]])
    cycle = 0.5 * 1.2 * script.slack  # fast, `part`
    claps = math.floor(script.seconds[2] / cycle + 0.5)
    peaks = sum(
        1
        for before, now, after in zip(apart, apart[1:], apart[2:], strict=False)
        if before < now >= after and now > apart.mean()
    )
    assert abs(peaks - claps) <= 1, "hands were already there: no time goes into travel"
    assert apart.max() > apart.min() + 0.1


def test_jumping_leaves_the_floor_and_hopping_on_one_foot() -> None:
    [(_, world)] = played("A27")
    both = np.minimum(world[:, 0, ANKLE[0], 1], world[:, 0, ANKLE[1], 1])
    assert both.max() > both[0] + 0.1
    [(script, world)] = played("A26")
    ankles = world[:, 0, list(ANKLE), 1]
    hop = ankles[ankles.min(axis=1) > ankles.min() + 0.02]
    assert len(hop)
    a = acting(script)
    assert (hop[len(hop) // 2 :, 1 - a] > hop[len(hop) // 2 :, a]).all()


def test_falling_ends_on_the_floor() -> None:
    [(_, world)] = played("A43")
    assert world[0, 0, HEAD, 1] > 1.2
    assert world[-1, 0, :, 1].max() < 0.7


def test_two_persons_meet_and_part() -> None:
    people = (still(PEOPLE[0]), still(PEOPLE[1]))
    [(script, world)] = played("A59", people=people)
    gap = far(world[:, 0, PELVIS], world[:, 1, PELVIS])
    arm = (people[0].L + people[1].L) / 2
    assert gap[0] > gap[-1] + 1.0
    assert gap[-1] == pytest.approx(VOCABULARY["place"]["near"]["distance"] * arm, abs=0.15)
    [(_, world)] = played("A60", people=people)
    gap = far(world[:, 0, PELVIS], world[:, 1, PELVIS])
    assert gap[-1] > gap[0] + 1.0
    [(script, world)] = played("A58", people=people)
    a, b = acting(script), acting(script, 1)
    shake = world[end_of(script, 2)]
    assert far(shake[0, HAND[a]], shake[1, HAND[b]]) < 0.25


def test_walking_feet_take_turns_and_do_not_slide() -> None:
    [(script, world)] = played("A92", people=(still(PEOPLE[0]), PEOPLE[1]))
    first, last = script.late[0] + round(script.starts[3]), end_of(script, 3)
    feet = world[first : last + 1, 0, list(ANKLE)]
    speed = far(feet[1:, :, [0, 2]], feet[:-1, :, [0, 2]])
    assert (speed.min(axis=1) < 0.02).all(), "one foot always carries"
    assert (speed.max(axis=0) > 0.03).all(), "both feet walk"
    way = world[last, 0, PELVIS, 2] - world[first, 0, PELVIS, 2]
    tall = PEOPLE[0].bones.stature
    assert way == pytest.approx(0.45 * tall / script.slack * (last - first) / FPS, abs=0.05), (
        "0.45 statures a second"
    )


# --- words -----------------------------------------------------------------------------------


def test_a_motion_as_numbers_is_what_the_page_says() -> None:
    for name, data in MOTIONS.items():
        slow = {"/".join(map(str, k)): v for k, v in slow_vector(data).items()}
        assert vector(WORDS[name]) == pytest.approx(slow), name


def spoken(motion: Motion) -> Counter[tuple[str, object]]:
    """All words of a motion that can be exchanged."""
    out: Counter[tuple[str, object]] = Counter()
    out.update([("hand", motion.hand), ("length", motion.length)])
    if motion.second != "none":
        out.update([("place", motion.place)])
    for body in (b for p in motion.phases for b in (p.first, p.partner) if b is not None):
        out.update((w, getattr(body, w)) for w in ("posture", "locomotion", "look", "lean"))
        for move in body.do:
            out.update((word, getattr(move, word)) for word in ("limb", *move.words))
    return out


def changed(alignment: float) -> set[tuple[str, int, int, int, str]]:
    """Places whose word is another one at this alignment."""
    out = set()
    for name, motion in motions(alignment).items():
        for p, (phase, old) in enumerate(zip(motion.phases, WORDS[name].phases, strict=True)):
            for b, (body, was) in enumerate(
                ((phase.first, old.first), (phase.partner, old.partner))
            ):
                if body is None or was is None:
                    continue
                for i, (move, before) in enumerate(zip(body.do, was.do, strict=True)):
                    fields = dataclasses.asdict(move)
                    out |= {(name, p, b, i, w) for w in fields if fields[w] != getattr(before, w)}
    return out


def test_exchanged_words_keep_their_frequency_and_are_nested() -> None:
    whole = sum((spoken(m) for m in WORDS.values()), Counter())
    assert exchanged(WORDS, 1.0) == WORDS
    moved = {}
    for alignment in (0.8, 0.5, 0.0):
        mixed = motions(alignment)
        assert sum((spoken(m) for m in mixed.values()), Counter()) == whole
        assert all(m.second == WORDS[n].second for n, m in mixed.items())
        moved[alignment] = changed(alignment)
        for motion in mixed.values():
            for body in (b for p in motion.phases for b in (p.first, p.partner) if b):
                limbs = [
                    pair
                    for move in body.do
                    for pair in zip(
                        VOCABULARY["limb"][move.limb]["limbs"],
                        VOCABULARY["limb"][move.limb]["acting"],
                        strict=True,
                    )
                ]
                assert len(set(limbs)) == len(limbs)
    assert len(moved[0.8]) < len(moved[0.5]) < len(moved[0.0])
    # A word that was exchanged may meet its like again; otherwise what moved stays moved.
    assert len(moved[0.8] & moved[0.5]) > 0.95 * len(moved[0.8])
    assert len(moved[0.5] & moved[0.0]) > 0.95 * len(moved[0.5])


def test_at_zero_motions_say_nothing_about_their_class() -> None:
    """A motion is no nearer to its class's written words than to another class's."""
    singles = [n for n, m in WORDS.items() if m.second == "none"]
    targets = {
        name: Counter(m.target for p in motion.phases for m in p.first.do if "target" in m.words)
        for name, motion in WORDS.items()
    }
    mixed = motions(0.0)
    own = other = 0.0
    for name in singles:
        new = Counter(
            m.target for p in mixed[name].phases for m in p.first.do if "target" in m.words
        )
        own += (new & targets[name]).total()
        other += sum((new & targets[n]).total() for n in singles) / len(singles)
    assert own < 1.25 * other


def random_motion(draw: random.Random) -> Motion:
    """Any words at all."""
    pick = lambda word: draw.choice(list(VOCABULARY[word]))  # noqa: E731

    def body() -> Body:
        limbs = draw.choice(
            [
                (),
                ("one-hand",),
                ("other-hand", "one-foot"),
                ("one-hand", "other-hand", "head"),
                ("both-hands", "both-feet"),
                ("joined-hands", "torso", "one-foot"),
                ("head", "torso", "both-feet"),
            ]
        )
        moves = tuple(
            Move(limb, *(pick(w) for w in Move.__dataclass_fields__ if w != "limb"))
            for limb in limbs
        )
        return Body(*(pick(w) for w in ("posture", "locomotion", "look", "lean")), do=moves)

    count = draw.randint(1, 4)
    phases = tuple(
        Phase(1 / count, body(), body() if draw.random() < 0.5 else None) for _ in range(count)
    )
    return Motion("any", pick("hand"), pick("length"), pick("second"), pick("place"), phases)


def test_every_combination_of_words_is_defined() -> None:
    draw = random.Random(1)
    scripts = [perform(random_motion(draw), PEOPLE, "any", i) for i in range(60)]
    scripts += [perform(m, PEOPLE, "mixed", name) for name, m in motions(0.0).items()]
    for script, world in zip(scripts, skeletons(scripts), strict=True):
        check_body(script, world, jump=1.0)  # such as kicks overhead in bursts
        assert np.abs(world).max() < 15.0


# --- numbers ---------------------------------------------------------------------------------


def slow_keys(name: str, c: float) -> list[float]:
    """The columns w, n, u, s, r of a trajectory at c, row by row and value by value."""
    entry = VOCABULARY["trajectory"][name]
    rows = entry["keys"]
    if len(rows) == 1:
        return [float(v) for v in rows[0][1:]]
    i = max(k for k in range(len(rows) - 1) if rows[k][0] <= c)
    width = rows[i + 1][0] - rows[i][0]
    x = (c - rows[i][0]) / width
    out = []
    for column in range(1, 6):
        one, two = rows[i][column], rows[i + 1][column]
        if entry["curve"] == "stops":
            out.append(one + (two - one) * (10 * x**3 - 15 * x**4 + 6 * x**5))
            continue

        def slope(k: int, column: int = column) -> float:
            before = rows[k - 1] if k else [rows[-2][0] - 1, *rows[-2][1:]]
            after = rows[k + 1] if k + 1 < len(rows) else [rows[1][0] + 1, *rows[1][1:]]
            return float((after[column] - before[column]) / (after[0] - before[0]))

        out.append(
            (2 * x**3 - 3 * x**2 + 1) * one
            + (x**3 - 2 * x**2 + x) * width * slope(i)
            + (3 * x**2 - 2 * x**3) * two
            + (x**3 - x**2) * width * slope(i + 1)
        )
    return out


@pytest.mark.parametrize("name", list(VOCABULARY["trajectory"]))
def test_trajectories_follow_their_keys(name: str) -> None:
    times = np.array([0.0, 0.1, 0.25, 0.33, 0.5, 0.62, 0.87, 0.999, 1.0])
    keys = np.array(keys_at(np.full(len(times), trajectory_index(name)), times))
    for i, c in enumerate(times):
        assert keys[:, i] == pytest.approx(slow_keys(name, float(c)), abs=1e-9)


def test_minimum_jerk() -> None:
    x = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0])
    assert smooth(x) == pytest.approx([0, 0, 0.103515625, 0.5, 1, 1])


def test_draws_are_named_even_and_bell_shaped() -> None:
    assert Draws("a", 1).uniform(0, 1) == Draws("a", 1).uniform(0, 1)
    assert Draws("a", 1).uniform(0, 1) != Draws("a", 2).uniform(0, 1)
    even, bell = Draws("e").uniform(2, 4, (20_000,)), Draws("b").bell(0.5, (20_000,))
    assert even.mean() == pytest.approx(3, abs=0.02)
    assert 2 <= even.min() < even.max() < 4
    assert bell.mean() == pytest.approx(0, abs=0.02)
    assert bell.std() == pytest.approx(0.5, rel=0.02)
    assert np.abs(bell).max() <= 0.5 * 3.5
    assert {Draws("w", i).whole(2, 4) for i in range(60)} == {2, 3, 4}
    assert sorted(Draws("s").shuffled(range(9))) == list(range(9))


# --- cameras and sensors ---------------------------------------------------------------------


def test_cameras_see_one_performance_by_rigid_motions() -> None:
    [(_, world)] = played("A7")
    views = [cameras.stand(name, "9", False, world, "A7").view(world) for name in ("1", "2", "3")]
    for view in views:
        assert view[..., 2].min() > 1.0, "in front of the camera"
        for a, b in itertools.combinations((0, 3, 7, 14), 2):
            assert far(view[:, 0, a], view[:, 0, b]) == pytest.approx(
                far(world[:, 0, a], world[:, 0, b]), abs=1e-9
            )
        volumes = [
            np.linalg.det(np.stack([v[40, 0, j] - v[40, 0, 0] for j in (3, 7, 14)]))
            for v in (view, world)
        ]
        assert volumes[0] == pytest.approx(volumes[1], abs=1e-9), "not mirrored"
    left = views[1][0, 0, SHOULDER[0], 0] - views[1][0, 0, SHOULDER[1], 0]
    assert left < 0, "as a Kinect: a person who faces it has the left shoulder at the smaller x"
    assert not np.allclose(views[0], views[2], atol=0.1)


def test_cameras_stand_45_degrees_apart() -> None:
    [(_, world)] = played("A7")
    ahead = [cameras.stand(n, "3", False, world, "t").axes[2] * [1, 0, 1] for n in "123"]
    for one, two in itertools.pairwise(ahead):
        cos = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert np.degrees(np.arccos(cos)) == pytest.approx(45)


def test_sensor_noise_is_worse_for_hands_than_for_the_trunk() -> None:
    clip = np.zeros((400, 1, 25, 3)) + np.array([0, 0, 3])
    noise = cameras.measured(clip, "noise") - clip
    jitter = np.diff(noise, n=2, axis=0).std(axis=(0, 3))[0] / np.sqrt(6)
    assert jitter[0] < 0.002
    assert 0.003 < jitter[7] < 0.02
    assert np.abs(noise).max() < 0.5


# --- data sets -------------------------------------------------------------------------------

CASES: list[tuple[type[Generator], int]] = [
    (Generator60, 2400),
    (Generator120, 6540),
    (GeneratorPKU, 3366),
]


@pytest.mark.parametrize(("kind", "count"), CASES)
def test_sample_lists(kind: type[Generator], count: int) -> None:
    names = kind(Params()).clips()
    assert len(names) == len({n.id for n in names}) == count
    assert len({(n.subject, n.class_id) for n in names}) == count, "one clip a person and class"
    for name in names:
        sample = ntu_lists.parse(name.id)
        if sample is not None:
            assert (str(sample.camera), str(sample.setup)) == (name.camera, name.setup)
            assert (str(sample.performer), f"A{sample.action}") == (name.subject, name.class_id)
            assert name.id not in ntu_lists.missing()


def test_both_sides_of_every_evaluation_hold_every_class() -> None:
    for setups, rule in ntu_lists.EVALUATIONS.values():
        sides: dict[bool, set[int]] = {True: set(), False: set()}
        for name in samples.ntu(setups):
            sample = ntu_lists.parse(name)
            assert sample is not None
            sides[rule(sample)].add(sample.action)
        everything = set(range(1, 61 if setups == 17 else 121))
        assert sides[True] == sides[False] == everything
    views = {camera: set() for camera in samples.PKU_VIEWS}  # type: ignore[var-annotated]
    for sample_ in samples.pku().values():
        views[sample_.clip.camera].add(sample_.clip.class_id)
    assert all(len(classes) == 51 for classes in views.values())


def test_the_smaller_list_is_part_of_the_larger_one() -> None:
    assert set(samples.ntu(17)) <= set(samples.ntu(32))


def first_of_each(kind: type[Generator]) -> list[str]:
    first: dict[str, str] = {}
    for name in kind(Params()).clips():
        first.setdefault(name.class_id, name.id)
    return list(first.values())


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    generator = Generator60(Params())
    some = first_of_each(Generator60)[::7]
    together = generator.make(some)
    assert len(together) == len(some)
    for name, clip in zip(some, together, strict=True):
        assert generator.make([name])[0].tobytes() == clip.tobytes()
    backwards = generator.make(some[::-1])[::-1]
    assert [c.tobytes() for c in backwards] == [c.tobytes() for c in together]
    larger = Generator120(Params()).make(some[:2])
    assert [c.tobytes() for c in larger] == [c.tobytes() for c in together[:2]]


def test_clips_are_on_a_grid_of_a_sixteenth_of_a_millimetre() -> None:
    for clip in Generator60(Params()).make(first_of_each(Generator60)[48:51]):
        assert clip.dtype == np.float32
        assert clip.shape[1:] == (2, 25, 3)
        assert np.isfinite(clip).all()
        steps = np.rint(clip.astype(np.float64) * 16_000)
        assert ((steps / 16_000).astype(np.float32) == clip).all()


def test_unknown_clips_are_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"Unknown clip 'S001C001P001R001A999'"):
        Generator60(Params()).make(["S001C001P001R001A999"])


def test_alignment_changes_motions_but_not_people() -> None:
    some = first_of_each(Generator60)[:12]
    plain, mixed = (Generator60(Params(alignment=a)).make(some) for a in (1.0, 0.0))
    assert sum(a.tobytes() != b.tobytes() for a, b in zip(plain, mixed, strict=True)) >= 10


def data_digest(clips: Sequence[NDArray[np.float32]]) -> str:
    total = hashlib.sha256()
    for clip in clips:
        total.update(clip.astype("<f4").tobytes())
    return total.hexdigest()


#: SHA-256 of one clip of each class (the first id) and of the whole set.
DIGESTS: dict[type[Generator], tuple[str, str]] = {
    Generator60: (
        "6d28958c365d518a8d235dd2f42ac089bf65c4afd1888b9a0d61d29dc3b8aa4f",
        "b74cfc8b6f8700f451947ffb293130c37e4865e20468538c01fd73d54c7ed2fc",
    ),
    Generator120: (
        "1f4d00ce26a9125d51c93c5f1f604c3e5acba1641ab2670d84bf382898c1b624",
        "5cdd061d8f9c027f70661a2c3107cb100e56520684729e9fccb4305881216310",
    ),
    GeneratorPKU: (
        "7ddee1eba0853e563bb47a266d9adce4bdbf66ff2881ecd516894d3bea2136b4",
        "a3a682f71c19a48748ca06ff19c42b73c24d04021d2bc2e8ec6295547f7cc9c8",
    ),
}


@pytest.mark.parametrize("kind", DIGESTS)
def test_the_bytes_of_one_clip_a_class_are_pinned(kind: type[Generator]) -> None:
    clips = kind(Params()).make(first_of_each(kind))
    assert data_digest(clips) == DIGESTS[kind][0], (
        "The stand-in's clips changed: that is a new version of its grammar or of the engine, "
        "and every committed figure on it is stale."
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIGESTS)
def test_the_bytes_of_whole_sets_are_pinned_and_quickly_made(kind: type[Generator]) -> None:
    generator = kind(Params())
    names = [name.id for name in generator.clips()]
    started = time.process_time()
    clips = generator.make(names)
    seconds = (time.process_time() - started) / len(names)
    print(f"{kind.__name__}: {len(names)} clips, {1000 * seconds:.1f} ms each")
    assert data_digest(clips) == DIGESTS[kind][1]
    assert seconds < 0.012, "a clip takes about 5 ms on an idle core"


# --- the oracle ------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", oracle.SETS)
def test_oracle_texts_are_not_stale(dataset: str) -> None:
    assert oracle.path(dataset).read_text("utf-8") == oracle.text_file(dataset), (
        "run: python -m zsar_datasets.stand_in.oracle"
    )
    classes = read_classes(DATA / dataset / "classes.toml")
    texts = read_texts("oracle", {"oracle": str(oracle.path(dataset))}, classes)
    assert {"motion", "description"} <= set(texts.fields)
    for action in classes:
        data = MOTIONS[GRAMMAR["pku"].get(action.id, action.id)]
        slow = {"/".join(map(str, k)): v for k, v in slow_vector(data).items()}
        assert oracle.parse(texts.fields["motion"][action.id]) == pytest.approx(slow, abs=6e-4)


def test_the_grammar_encoder_gives_the_motions_of_unit_length() -> None:
    encoder = GrammarEncoder(EncoderParams())
    texts = [oracle.line(WORDS[name]) for name in ("A1", "A67", "A92")]
    found = encoder.encode(texts)
    names = sorted({entry for motion in WORDS.values() for entry in vector(motion)})
    assert found.pooled.shape == (3, len(names))
    for row, name in enumerate(("A1", "A67", "A92")):
        want = np.array([vector(WORDS[name]).get(entry, 0.0) for entry in names])
        want /= np.linalg.norm(want)
        assert found.pooled[row].numpy() == pytest.approx(want, abs=1e-3)
        tokens = found.tokens[row][found.mask[row]].numpy()
        assert ((tokens != 0).sum(axis=1) == 1).all()
        assert tokens.sum(axis=0) == pytest.approx(found.pooled[row].numpy(), abs=1e-6)
    near = found.pooled @ found.pooled.T
    assert near[0, 1] > near[0, 2], "hush is nearer to drinking than carrying is"
    assert encoder.fingerprint() == hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert encoder.encode([]).pooled.shape == (0, len(names))


@pytest.mark.parametrize("text", ["", "a person waves", "1/look/ahead much", "1/look/nowhere 0.5"])
def test_the_grammar_encoder_refuses_language(text: str) -> None:
    with pytest.raises(UserError, match="reads the entries") as error:
        GrammarEncoder(EncoderParams()).encode([text])
    assert "--texts oracle" in error.value.hint
