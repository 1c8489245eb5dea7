"""The rooms of ``zsar_bench/``: who may import whom, how many modules, how long.

A package imports only what stands above it in ``ROOMS``. Lazy imports and those under
``TYPE_CHECKING`` count: they are debts like any other.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kit.paths import ROOT

#: In the order in which data flows; the root's modules and ``common`` are one ground floor.
ROOMS = (
    ("", "common"),
    ("metrics",),
    ("rawfiles",),
    ("sandbox",),
    ("catalogue",),
    ("data",),
    ("records",),
    ("features",),
    ("plans",),
    ("runs",),
    ("comparison",),
    ("reporters",),
    ("verification",),
    ("worker",),
    ("api",),
    ("cli",),
)
FLOOR = {name: number for number, names in enumerate(ROOMS) for name in names}
#: What plugin authors import; nothing else may stand at the root.
AT_THE_ROOT = {
    *("__init__", "__main__", "contracts", "errors", "hookspecs", "params", "registry"),
    *("specs", "version", "views"),
}
MOST_MODULES = 9  #: a package; ``cli`` has one a command group
MOST_LINES = 450
#: Its two files are one model; the circle opens when its code changes for another reason.
CIRCLES = {"zsar_tdsm": [{"zsar_tdsm.objective", "zsar_tdsm.params"}]}


def modules(package: str, folder: Path) -> dict[str, Path]:
    """Dotted name -> file, of a package's modules."""
    names = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(name: str, path: Path, known: Iterable[str]) -> Iterator[str]:
    """The modules of its own package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")[: (path.name == "__init__.py") - node.level or None]
            base = ".".join(parts if node.level else []) + "." * bool(node.level and node.module)
            base += node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in known:
                    yield full
                elif base in known:
                    yield base


def imports(package: str, folder: Path) -> dict[str, set[str]]:
    known = modules(package, folder)
    return {name: {*imported(name, path, known)} - {name} for name, path in known.items()}


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach each other; slow and obvious."""
    reached: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in edges[todo.pop()]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        reached[start] = seen
    groups = {frozenset(m for m in edges[n] | reached[n] if n in reached[m]) for n in edges}
    return [set(group) for group in groups if group]


HARNESS = modules("zsar_bench", ROOT / "zsar_bench")
EDGES = imports("zsar_bench", ROOT / "zsar_bench")


def room(name: str) -> str:
    """The package directly below ``zsar_bench`` that a module is in; empty: the root."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else ""


def test_every_package_has_its_place() -> None:
    folders = {p.name for p in (ROOT / "zsar_bench").iterdir() if (p / "__init__.py").is_file()}
    assert folders == {*FLOOR} - {""}


def test_a_package_imports_only_what_stands_above_it() -> None:
    upward = [
        f"{name} -> {other}"
        for name, others in EDGES.items()
        for other in others
        if FLOOR[room(other)] > FLOOR[room(name)]
    ]
    # ``python -m zsar_bench`` starts the command line and is no part of the ground floor.
    assert upward == ["zsar_bench.__main__ -> zsar_bench.cli"]


def test_nobody_imports_the_worker_but_its_own_package() -> None:
    users = {n for n, others in EDGES.items() if any(room(o) == "worker" for o in others)}
    assert {room(name) for name in users} == {"worker"}


def test_there_is_no_circle() -> None:
    assert circles(EDGES) == []


@pytest.mark.parametrize("name", ["zsar_alignment", "zsar_datasets", "zsar_encoders", "zsar_tdsm"])
def test_plugins_have_no_circle_but_the_known_one(name: str) -> None:
    assert circles(imports(name, ROOT / "plugins" / name)) == CIRCLES.get(name, [])


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_packages_are_small() -> None:
    sizes = Counter(
        str(path.parent.relative_to(ROOT))
        for path in HARNESS.values()
        if path.stem != "__init__" and path.parent.name != "cli"
    )
    del sizes["zsar_bench"]  # the root, see below
    assert {folder: n for folder, n in sizes.items() if n > MOST_MODULES} == {}
    depth = max(len(path.relative_to(ROOT / "zsar_bench").parts) for path in HARNESS.values())
    assert depth <= 3  # two levels of folders


def test_a_command_group_is_one_module() -> None:
    from zsar_bench.cli import app

    groups = {command.name for command in app.registered_commands}
    groups |= {group.name for group in app.registered_groups}
    helpers = {"__init__", "common", "run_shown", "stand_in"}
    names = {"list": "listing"}
    files = {p.stem for p in (ROOT / "zsar_bench" / "cli").glob("*.py")}
    assert files == {names.get(str(g), str(g)) for g in groups} | helpers


def test_nothing_new_stands_at_the_root() -> None:
    assert {p.stem for p in (ROOT / "zsar_bench").glob("*.py")} == AT_THE_ROOT


def test_modules_are_short() -> None:
    lines = {n: len(path.read_text("utf-8").splitlines()) for n, path in HARNESS.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_the_wheel_carries_every_package() -> None:
    import tomllib

    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = {p for p in told["packages"] if p.startswith("zsar_bench")}
    there = {n for n, path in HARNESS.items() if path.name == "__init__.py"}
    assert packages == there


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("__init__", "a", "b", "c", "d", "inner/__init__", "inner/e"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from p.b import x\n"
        "def f():\n    import p.c\n    from p import d\n"
    )
    (tmp_path / "inner" / "e.py").write_text("from .. import b\nfrom ..a import f\n")
    edges: dict[str, set[str]] = defaultdict(set, imports("p", tmp_path))
    assert edges["p.a"] == {"p.b", "p.c", "p.d"}
    assert edges["p.inner.e"] == {"p.b", "p.a"}
