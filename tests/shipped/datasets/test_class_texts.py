"""Class texts and joint layouts of every data set: complete, distinct, independent, frozen."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from zsar_datasets import DATA

FIELDS = ["description", "motion", "head", "arms", "torso", "legs", "start", "middle", "end"]
TEXTS = sorted(DATA.glob("*/texts-?.toml"))
PAIRED = sorted({p.parent for p in TEXTS if (p.parent / "texts-b.toml").is_file()})
LAYOUTS = sorted(DATA.glob("*/layout.toml"))

#: Texts are frozen before anything is scored with them: whoever changes one raises its version,
#: and results with the old words stay apart from those with the new. A new file adds its line.
FROZEN = {
    "hdm05/texts-a": "623918f07ae4cb5387fc8022cecc32a6ab4bc136f00c51f957abaa12e5c2849b",
    "hdm05/texts-b": "370fb38e85e1700207d145a2d9d890bcceb5aeb4a2eaacd93e144eafd6bd8dd9",
    "kinect20/texts-a": "a775ec75c6b8d64118960de9cff5b470f96e5b50f10ffa0b5e2a211faa88c5d5",
    "kinect20/texts-b": "4295b109a09d63c31de49abd986e73227d7e01f2f4dba6d3406255afd07e3d78",
    "msr-action3d/texts-a": "f41661e9b7b7f30e5375f83f35d8b49790b1fee0c6cfa4774234cb646c619e2e",
    "msr-action3d/texts-b": "ebde77bda30c4dd6a5b6f68890a08285d7369302f69213857a00ce2527330578",
    "ntu-120/texts-a": "be8a7d874df7b76c1e8698474c74951372df2111a45c59729145ffbb7f34e857",
    "ntu-120/texts-b": "79eaae90b8814e48d4d485ea9c2aab5d6e4b6bf5de2ecd6b1d6017ee28ac9c60",
    "nw-ucla/texts-a": "e6044ea9188a02f079c6449c4589fd718894658827f40d10f6ef9b1747b0fc35",
    "nw-ucla/texts-b": "c1f4787870d46fc8a8ef421815ef5c4f0a02e4b4b9be3ec9f24f391892dcf26f",
    "pku-mmd/texts-a": "7ebf919299f19ad51213ee679d52aa3bcd171acfc8f2d9defd60835bb1ff1e39",
    "pku-mmd/texts-b": "064bcd612889632d9fd8f54c6ceac141f52ecc3be56d03bac0a866f8aadecbd0",
    "sbu-kinect/texts-a": "bd9aa3967acff2afc7d51b5fde2672d7758c92849c3e6c80ed58f9f81bfa32a0",
    "sbu-kinect/texts-b": "40baa3c856ad9a53f85e8f38936e6d0e4799caaa7c425b1b0b975aad11842467",
    "utd-mhad/texts-a": "8e242dda2993596382065c392a59449acead4e15227c255addaa07f759185323",
    "utd-mhad/texts-b": "0e39e3d2bd7b0a655d339e34ee829370c9dcdeec3f6aec8f74aabd5e74ab1332",
    "uwa3d-ii/texts-a": "65e45ae4f657b3ada103e755d9f104367f58b322eea3ca0b37d11c3cc4ec7c70",
    "uwa3d-ii/texts-b": "39260c3c64bb72ef6230a535b81ec55c0c98327e94ef5fa615a65075b0cd1f40",
}


def key(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def classes_of(path: Path) -> dict[str, dict[str, str]]:
    """The tables of a file of texts: class id -> field -> text."""
    return {name: table for name, table in read(path).items() if isinstance(table, dict)}


def plain(text: str) -> str:
    """A text without what does not make it another one: case, spaces and marks."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


# --- Texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=key)
def test_a_set_says_what_it_is(path: Path) -> None:
    head = {k: v for k, v in read(path).items() if not isinstance(v, dict)}
    assert set(head) == {"version", "dataset", "set", "author", "style"}
    assert head["version"] >= 1
    assert (head["dataset"], f"texts-{head['set']}") == (path.parent.name, path.stem)
    assert head["author"]
    assert head["style"]


@pytest.mark.parametrize("path", TEXTS, ids=key)
def test_every_class_has_every_field(path: Path) -> None:
    listed = read(path.parent / "classes.toml")["class"]
    texts = classes_of(path)
    assert list(texts) == [c["id"] for c in listed]
    for class_id, table in texts.items():
        assert list(table) == FIELDS, class_id
        for field, text in table.items():
            assert text == " ".join(text.split()), (class_id, field)
            assert text.endswith("."), (class_id, field)
            assert len(text.split()) >= 4, (class_id, field)


@pytest.mark.parametrize("path", TEXTS, ids=key)
@pytest.mark.parametrize("field", FIELDS)
def test_texts_of_a_field_are_distinct(path: Path, field: str) -> None:
    owner: dict[str, str] = {}
    for class_id, table in classes_of(path).items():
        first = owner.setdefault(plain(table[field]), class_id)
        assert first == class_id, f"{first} and {class_id} have the same text"


@pytest.mark.parametrize("folder", PAIRED, ids=lambda p: p.name)
def test_the_sets_share_no_text(folder: Path) -> None:
    a, b = (
        {plain(text) for table in classes_of(folder / name).values() for text in table.values()}
        for name in ("texts-a.toml", "texts-b.toml")
    )
    assert not a & b


@pytest.mark.parametrize("path", TEXTS, ids=key)
def test_texts_are_frozen(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    line = f'"{key(path)}": "{digest}",'
    assert FROZEN.get(key(path)) == digest, f"after a new version, or for a new file: {line}"


def test_nothing_that_is_frozen_is_gone() -> None:
    assert set(FROZEN) <= {key(path) for path in TEXTS}


# --- Classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted({p.parent for p in TEXTS}), ids=lambda p: p.name)
def test_classes_are_named_once(folder: Path) -> None:
    classes = read(folder / "classes.toml")["class"]
    for field in ("id", "name"):
        values = [c[field] for c in classes]
        assert all(values)
        assert len(set(values)) == len(values)
    more = {"of", "why"} if folder.name == "kinect20" else set()  # what was merged, and why
    assert all(set(c) - more == {"id", "name", "verb", "noun"} for c in classes)
    assert all(c["verb"] for c in classes)


# --- Joints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.parent.name)
def test_joints_form_a_tree(path: Path) -> None:
    layout = read(path)
    joints, parents = layout["joints"], layout["parents"]
    assert len(set(joints)) == len(joints)
    for name in ("parents", "parts", "mirror"):
        assert len(layout[name]) == len(joints), name
    assert sum(parent == v for v, parent in enumerate(parents)) == 1
    for v in range(len(joints)):
        way = [v]
        while parents[way[-1]] != way[-1]:
            way.append(parents[way[-1]])
            assert 0 <= way[-1] < len(joints)
            assert len(way) <= len(joints), f"{joints[v]} hangs on a ring"
    assert set(layout["parts"]) == {"head", "arms", "torso", "legs"}
    assert layout["up"] in (0, 1, 2)


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.parent.name)
def test_the_mirror_swaps_left_and_right(path: Path) -> None:
    layout = read(path)
    joints, mirror, parents = layout["joints"], layout["mirror"], layout["parents"]
    swapped = {"left": "right", "right": "left"}
    sided = 0
    for v, joint in enumerate(joints):
        side, _, rest = joint.partition("_")
        sided += side in swapped
        assert joints[mirror[v]] == (f"{swapped[side]}_{rest}" if side in swapped else joint)
        assert mirror[mirror[v]] == v
        assert layout["parts"][mirror[v]] == layout["parts"][v]
        assert parents[mirror[v]] == mirror[parents[v]]
    assert sided >= len(joints) / 2
    assert joints[layout["left_hip"]] == "left_hip"
    assert joints[layout["right_hip"]] == "right_hip"
