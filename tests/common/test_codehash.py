"""What changes a code digest, and which files it covers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from zsar_bench.common.code_digest import (
    asset_digests,
    code_closure,
    code_digest,
    file_digest,
    package_root,
    source_digest,
    with_assets,
)

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
        ("2 * x", "2 + x"),
        ("2 * x", "2.0 * x"),
        ("2 * x", "-2 * x"),
        ("self, x)", "self, *, x)"),
        ("class Network:", "class Network(object):"),
        ("    def forward", "    @staticmethod\n    def forward"),
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


# --- Ways to import ----------------------------------------------------------------------------


def lay(root: Path, sources: dict[str, str]) -> Path:
    """Modules of the package ``own``: ``a/b`` is ``own/a/b.py``."""
    for name, text in sources.items():
        path = root / "own" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root / "own"


def reached(own: Path, module: str = "method") -> set[str]:
    return set(code_closure(f"own.{module}", own / f"{module.replace('.', '/')}.py"))


REACH = [
    "import own.sub.helper",
    "import own.sub.helper as h",
    "from own.sub import helper",
    "from own.sub.helper import RATE",
    "from own.sub.helper import *",
    "from .sub import helper as h",
    "from . import sub\nsub.helper",  # sub's __init__ imports it
    "from .sub import *",  # by its __all__
    "if __debug__:\n    from .sub import helper",
    "try:\n    import numba\nexcept ImportError:\n    from .sub import helper",
    "def late():\n    from .sub import helper",
    "class Late:\n    from .sub import helper",
    "import importlib\nh = importlib.import_module('own.sub.helper')",
    "import importlib as i\nh = i.import_module('.sub.helper', __package__)",
    "from importlib import import_module\nh = import_module('.helper', package='own.sub')",
    "h = __import__('own.sub.helper', fromlist=['RATE'])",
]


@pytest.mark.parametrize("text", REACH)
def test_every_way_to_import_reaches_the_helper(text, tmp_path):
    more = {"sub/__init__": "from . import helper", "sub/helper": "RATE = 1"}
    if "import *" in text:
        more["sub/__init__"] = "names = ['other']\n__all__ = ['helper'] + names"
    own = lay(tmp_path, {"__init__": "", "method": text} | more)
    assert "own.sub.helper" in reached(own)
    before = code_digest(code_closure("own.method", own / "method.py"))
    (own / "sub" / "helper.py").write_text("RATE = 2")
    assert code_digest(code_closure("own.method", own / "method.py")) != before


def test_a_name_relative_to_a_packages_own_name(tmp_path):
    text = "import importlib\nhelper = importlib.import_module('.helper', __name__)"
    own = lay(tmp_path, {"__init__": "", "method": "from . import sub", "sub/__init__": text})
    (own / "sub" / "helper.py").write_text("")
    assert reached(own) == {"own", "own.method", "own.sub", "own.sub.helper"}


def test_what_only_a_name_made_at_run_time_says_is_not_found(tmp_path):
    # docs/identity.md says so: such a module has to be declared as an asset.
    text = "import importlib\nh = importlib.import_module('own.' + 'helper')"
    own = lay(tmp_path, {"__init__": "", "method": text, "helper": ""})
    assert reached(own) == {"own.method"}


def test_a_package_hides_a_module_of_its_name_as_it_does_for_python(tmp_path):
    own = lay(tmp_path, {"__init__": "", "method": "from . import twin", "twin": "RATE = 1"})
    lay(tmp_path, {"twin/__init__": "RATE = 2"})
    closure = code_closure("own.method", own / "method.py")
    assert closure["own.twin"] == own / "twin" / "__init__.py"
    found = subprocess.run(
        [sys.executable, "-c", "import own.method; print(own.method.twin.RATE)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert found.stdout == "2\n"


def test_import_of_a_dotted_name_gives_what_its_package_holds(tmp_path):
    text = "import own.sub.helper\nrate = own.RATE"
    own = lay(tmp_path, {"__init__": "RATE = 1", "method": text, "sub/helper": ""})
    assert {"own", "own.sub.helper"} <= reached(own)


# --- What runs before the target ---------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        "torch.set_default_dtype(torch.float64)",
        "torch.backends.cudnn.benchmark = True",
        "if True:\n    torch.manual_seed(0)",
        "try:\n    torch.use_it()\nexcept AttributeError:\n    pass",
        "os.environ['X'] = '1'",
        "for name in (1, 2):\n    register(name)",
        "RATE = 1\ndel RATE",
    ],
)
def test_a_package_that_acts_when_it_is_imported_counts(act, tmp_path):
    own = lay(tmp_path, {"__init__": "", "sub/__init__": act, "sub/method": ""})
    assert "own.sub" in reached(own, "sub.method")


@pytest.mark.parametrize(
    "text",
    [
        '"""Only words."""',
        "from zsar_bench import MethodSpec\napi = 1\n\ndef register_methods(registry): pass",
        "from __future__ import annotations\nA, B = 1, 2\nC: int = 3\nclass D: pass\nA += 1",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import acting",
        "try:\n    import numba\nexcept ImportError:\n    numba = None",
    ],
)
def test_a_package_that_only_names_things_does_not(text, tmp_path):
    # Or a word changed in a plugin's summary would make all of its runs new ones.
    acting = "import torch\ntorch.manual_seed(0)"
    own = lay(tmp_path, {"__init__": text, "method": "import torch", "acting": acting})
    assert reached(own) == {"own.method"}


def test_what_acts_behind_a_package_counts_too(tmp_path):
    own = lay(
        tmp_path,
        {
            "__init__": "from . import quiet",
            "quiet": "from . import acting, idle",
            "acting": "from .rate import RATE\nprint(RATE)",
            "rate": "RATE = 1",
            "idle": "RATE = 2",
            "method": "",
        },
    )
    assert reached(own) == {"own.method", "own.acting", "own.rate"}


# --- Code that reads itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "prompt = __doc__",
        "from inspect import getdoc",
        "import inspect\nprompt = inspect.getsource(later)",
        "prompt = getattr(later, '__doc__')",
    ],
)
def test_docstrings_that_somebody_reads_count(text, tmp_path):
    own = lay(tmp_path, {"__init__": "", "method": "from . import reads, prompts", "reads": text})
    prompts = own / "prompts.py"
    prompts.write_text('"""jump up"""')
    before = code_digest(code_closure("own.method", own / "method.py"))
    prompts.write_text('"""sit down"""')
    assert code_digest(code_closure("own.method", own / "method.py")) != before


def test_a_byte_order_mark_and_another_encoding_do_not_matter():
    text = "NAME = 'grüßen'\n"
    plain = source_digest(text)
    assert source_digest(b"\xef\xbb\xbf" + text.encode()) == plain
    assert source_digest(b"# coding: latin-1\n" + text.encode("latin-1")) == plain


# --- Assets ------------------------------------------------------------------------------------


def test_the_root_of_a_module(package):
    assert package_root("own", package / "__init__.py") == package
    assert package_root("own.method", package / "method.py") == package
    assert package_root("own.inner", package / "inner" / "__init__.py") == package
    assert package_root("own.inner.deep", package / "inner" / "deep.py") == package
    assert package_root("single", package / "method.py") == package


def test_assets_change_the_digest_and_none_leave_it(package):
    code = "0" * 64
    assert with_assets(code, {}) == code
    one, two = package / "one.bin", package / "two.bin"
    one.write_bytes(b"1")
    two.write_bytes(b"2")

    def digest(*files: Path) -> str:
        return with_assets(code, asset_digests(files, [package]))

    ones = hashlib.sha256(b"1").hexdigest()
    text = f'["{code}", "{ones}"]'  # pinned: stored data sets hang on it
    assert digest(one) == hashlib.sha256(text.encode()).hexdigest()
    before = {digest(), digest(one), digest(two), digest(one, two)}
    assert len(before) == 4
    two.write_bytes(b"3")
    assert digest(one, two) not in before


def test_an_asset_may_lie_behind_a_link_within_the_package(package, tmp_path):
    (package / "real.bin").write_bytes(b"abc")
    (package / "link.bin").symlink_to("real.bin")
    (tmp_path / "way-in").symlink_to(package)  # as editable installs have them
    there = tmp_path / "way-in" / "link.bin"
    found = asset_digests((there,), [tmp_path / "way-in"])
    assert found == {str(package / "real.bin"): hashlib.sha256(b"abc").hexdigest()}
