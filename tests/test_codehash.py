"""What changes a code digest, and which files it covers."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from zsar_bench.codehash import code_closure, code_digest, file_digest, source_digest

SOURCE = '''
"""A module."""

RATE = 0.1  # per step


class Network:
    """A network."""

    def forward(self, x):
        """Doubles.

        Twice.
        """
        "a comment in disguise"
        return 2 * x


async def wait():
    """Only a docstring."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # per step", "  # per epoch, at most"),
        ('"""A module."""\n', ""),
        ("A network.", "Another word."),
        ("        Twice.\n", ""),
        ('        "a comment in disguise"\n', ""),
        ("2 * x", "(\n            2\n            * x\n        )"),
        ("RATE = 0.1", "RATE=.1"),
        ('    """Only a docstring."""', "    pass"),
        ("\n\n\n", "\n"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(old, new):
    assert old in SOURCE
    assert source_digest(SOURCE.replace(old, new)) == source_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("2 * x", "x * 2"),
        ("forward", "forwards"),
        ("return 2", "return 'a text that is used' or 2"),
        ("async def", "def"),
        ("self, x)", "self, x=1)"),
    ],
)
def test_what_the_code_does_counts(old, new):
    assert old in SOURCE
    assert source_digest(SOURCE.replace(old, new)) != source_digest(SOURCE)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose module ``method`` reaches some of the others."""
    sources = {
        "__init__.py": "import method_of_another_package",
        "method.py": """
            import numpy, own.direct
            from own import by_name, CONSTANT
            from . import sibling
            from .inner import deep
            from other_package import own as foreign
            def later():
                from own.lazy import thing
            """,
        "direct.py": "",
        "by_name.py": "from own.method import later",  # a circle
        "sibling.py": "from .chained import x",
        "chained.py": "",
        "lazy.py": "",
        "unused.py": "",
        "inner/__init__.py": "from .. import above",
        "inner/deep.py": "from ..twice_up import x\nfrom .beside import y",
        "inner/beside.py": "",
        "inner/unused.py": "",
        "above.py": "",
        "twice_up.py": "",
        "numpy.py": "",  # own.numpy is not numpy
    }
    root = tmp_path / "own"
    for name, text in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    (tmp_path / "other_package.py").write_text("")
    return root


def test_the_closure_follows_imports_within_the_package_only(package):
    closure = code_closure("own.method", package / "method.py")
    assert {name: path.relative_to(package).as_posix() for name, path in closure.items()} == {
        "own": "__init__.py",
        "own.method": "method.py",
        "own.direct": "direct.py",
        "own.by_name": "by_name.py",
        "own.sibling": "sibling.py",
        "own.chained": "chained.py",
        "own.lazy": "lazy.py",
        "own.inner": "inner/__init__.py",
        "own.inner.deep": "inner/deep.py",
        "own.inner.beside": "inner/beside.py",
        "own.above": "above.py",
        "own.twice_up": "twice_up.py",
    }


@pytest.mark.parametrize(
    ("module", "file", "reached"),
    [
        ("own", "__init__.py", {"own"}),
        ("own.inner", "inner/__init__.py", {"own", "own.inner", "own.above"}),
        (
            "own.inner.deep",
            "inner/deep.py",
            {"own.inner.deep", "own.inner.beside", "own.twice_up", "own.inner", "own", "own.above"},
        ),
    ],
)
def test_a_closure_may_start_anywhere_in_the_package(package, module, file, reached):
    found = set(code_closure(module, package / file))
    assert {module} <= found <= reached


def test_a_single_file_is_its_own_closure(tmp_path):
    file = tmp_path / "zsar_plugin_mine.py"
    file.write_text("import json\nfrom zsar_plugin_other import x")
    assert code_closure("zsar_plugin_mine", file) == {"zsar_plugin_mine": file}


def test_the_digest_is_of_all_modules_by_name_not_by_place(package, tmp_path):
    closure = code_closure("own.method", package / "method.py")
    before = code_digest(closure)
    moved = package.rename(tmp_path / "elsewhere")
    there = {n: moved / p.relative_to(package) for n, p in closure.items()}
    assert code_digest(there) == before
    assert code_digest(dict(reversed(there.items()))) == before

    (moved / "unused.py").write_text("X = 1")
    assert code_digest(there) == before
    (moved / "chained.py").write_text("# nothing new")
    assert code_digest(there) == before
    (moved / "chained.py").write_text("x = 1")
    assert code_digest(there) != before


def test_two_modules_that_swap_their_code_are_different_code(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"X = {name!r}")
    straight = {"p.a": tmp_path / "a", "p.b": tmp_path / "b"}
    crossed = {"p.a": tmp_path / "b", "p.b": tmp_path / "a"}
    assert code_digest(straight) != code_digest(crossed)


def test_a_file_digest_is_its_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "x") == known
