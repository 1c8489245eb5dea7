"""Which paths a worker may reach: carved around what is protected, and no wider than code needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.paths import ROOT
from zsar_bench.errors import DataError, UserError
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.sandbox.confinement.rules import Rules, carve, check, devices
from zsar_bench.sandbox.confinement.worker_rules import discovery_rules, model_caches, worker_rules

REPOSITORY = ROOT
ONLY_LINUX = pytest.mark.skipif(support().abi == 0, reason="this kernel has no Landlock")


def make(root: Path, *files: str, text: str = "x") -> None:
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def rules(tmp_path: Path, **given: object) -> Rules:
    (tmp_path / "work").mkdir(exist_ok=True)
    usual: dict = {"sys_path": [], "prefixes": [], "code": [], "reads": [], "protected": []}
    usual |= {"workdir": str(tmp_path / "work"), "network": False}
    return worker_rules(**(usual | given))


def reachable(paths: tuple[str, ...] | list[str], file: Path) -> bool:
    """Whether a file lies in one of the paths; by pathlib, not by strings."""
    return any(file == Path(path) or Path(path) in file.parents for path in paths)


# Carving.


TREE = ("a/b/one", "a/b/two", "a/c/three", "a/four", "ab/five", "d/e/f/six", "seven")


@given(st.sets(st.sampled_from([*TREE, "a", "a/b", "d/e/f", "d/e", "ab", "a/none"])))
@settings(max_examples=60, deadline=None)
def test_carving_leaves_exactly_what_is_not_protected(
    tmp_path_factory: pytest.TempPathFactory, protected: set[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "carve-tree"
    make(root, *TREE)
    confinement = [str(root / name) for name in protected]
    found = carve(str(root), confinement)
    for name in TREE:
        assert reachable(found, root / name) != reachable(confinement, root / name), name
    for path in found:  # the largest: its folder holds something protected
        parent = os.path.dirname(path)
        assert path == str(root) or any(w.startswith(parent + os.sep) for w in confinement)
    check(Rules(read=tuple(found)), confinement)


def test_carving_a_part_of_something_protected_gives_nothing(tmp_path: Path) -> None:
    make(tmp_path, "store/features/a")
    assert carve(str(tmp_path / "store" / "features"), [str(tmp_path / "store")]) == []
    assert carve(str(tmp_path / "gone"), []) == []


def test_carving_follows_no_link_and_sees_through_links_to_what_is_protected(
    tmp_path: Path,
) -> None:
    make(tmp_path, "data/clips", "lib/module.py", "elsewhere/file")
    (tmp_path / "lib" / "link").symlink_to(tmp_path / "data")
    (tmp_path / "lib" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(tmp_path / "lib")
    (tmp_path / "lib" / "hidden").mkdir()
    # Named through a link, the protected folder is still the one in lib.
    found = carve(str(tmp_path / "alias"), [str(tmp_path / "alias" / "hidden")])
    assert found == [str(tmp_path / "lib" / "module.py")]


@pytest.mark.parametrize("kind", ["read", "names", "write"])
def test_what_is_or_holds_something_protected_is_refused_in_a_sentence(
    kind: str, tmp_path: Path
) -> None:
    store = tmp_path / "cache" / "store"
    make(store, "features")
    for path in (store, tmp_path / "cache", tmp_path):
        with pytest.raises(UserError, match="Plugin code would have to be given the folder") as e:
            check(Rules(**{kind: (str(path),)}), [str(store)])
        assert str(path) in e.value.what
        assert "ZSAR_BENCH_HOME" in e.value.hint
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "cache")
    with pytest.raises(UserError):
        check(Rules(**{kind: (str(link),)}), [str(store)])
    # Beside it, below it, or with a name that only begins alike: fine.
    make(tmp_path, "cache/store-of-others/x")
    for path in (store / "features", tmp_path / "cache" / "store-of-others"):
        check(Rules(**{kind: (str(path),)}), [str(store)])


# The rules of a worker.


def test_an_installed_environment_passes_and_opens_nothing_protected(tmp_path: Path) -> None:
    protected = [str(tmp_path / "store"), str(REPOSITORY / "results"), str(tmp_path / "results")]
    code = sorted(map(str, (REPOSITORY / "plugins" / "zsar_alignment").glob("*.py")))[:2]
    make(tmp_path, "store/features/bundle", "store/features/other", "results/run.json")
    bundle = str(tmp_path / "store" / "features" / "bundle")
    made = rules(
        tmp_path,
        sys_path=sys.path,
        prefixes=[sys.prefix, sys.base_prefix],
        code=code,
        reads=[bundle],
        protected=protected,
    )
    check(made, protected)
    opened = (*made.read, *made.write)
    assert reachable(opened, Path(bundle))
    assert all(reachable(opened, Path(file)) for file in code)
    assert reachable(opened, Path(os.path.realpath(json.__file__)))
    assert not reachable(opened, tmp_path / "store" / "features" / "other")
    assert not reachable((*opened, *made.names), tmp_path / "results" / "run.json")
    assert not reachable((*opened, *made.names), REPOSITORY / "results" / "published")
    # The plugins of this repository are installed, and still closed but for the code named.
    others = [p for p in (REPOSITORY / "plugins").rglob("*.py") if p.name != "__init__.py"]
    assert len(others) > 10
    assert [str(p) for p in others if reachable(opened, p)] == [
        file for file in code if not file.endswith("__init__.py")
    ]


@ONLY_LINUX
def test_the_paths_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "site-packages/pkg/__init__.py", "one", "two")
    site = str(tmp_path / "site-packages")
    first = rules(tmp_path, sys_path=[site], reads=[str(tmp_path / "one")])
    monkeypatch.setattr(os, "scandir", None)  # a second look would need it
    second = rules(tmp_path, sys_path=[site], reads=[str(tmp_path / "two")])
    assert set(first.read) ^ set(second.read) == {str(tmp_path / "one"), str(tmp_path / "two")}


def test_a_missing_file_of_the_bundle_is_an_error(tmp_path: Path) -> None:
    for kind in ("reads", "code"):
        with pytest.raises(DataError, match="gone"):
            rules(tmp_path, **{kind: [str(tmp_path / "gone")]})


def test_a_bundle_above_something_protected_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "store/raw/clip")
    with pytest.raises(UserError, match="holds"):
        rules(tmp_path, reads=[str(tmp_path / "store")], protected=[str(tmp_path / "store/raw")])
    with pytest.raises(UserError, match="holds"):
        rules(tmp_path, workdir=str(tmp_path), protected=[str(tmp_path / "store")])


def test_python_installed_inside_of_the_results_folder_stays_usable(tmp_path: Path) -> None:
    make(tmp_path, "venv/lib/python3/site-packages/pkg/a.py", "venv/bin/python", "runs/run.json")
    site = tmp_path / "venv/lib/python3/site-packages"
    made = rules(
        tmp_path,
        sys_path=[str(site)],
        prefixes=[str(tmp_path / "venv")],
        protected=[str(tmp_path)],
    )
    assert reachable(made.read, site / "pkg" / "a.py")
    assert not reachable(made.read, tmp_path / "runs" / "run.json")


def test_model_caches_are_open_with_a_network_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "models"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    store = tmp_path / "home" / ".cache" / "zsar-bench"
    make(store, "features")
    open_ = rules(tmp_path, network=True, protected=[str(store)])
    shut = rules(tmp_path, protected=[str(store)])
    for folder in (tmp_path / "models", tmp_path / "home" / ".cache" / "huggingface"):
        assert reachable(open_.write, folder)
        assert not reachable(shut.write, folder)
    assert not reachable(open_.write, store)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert str(tmp_path / "xdg" / "torch") in model_caches()
    # A cache of models that holds the store would open it all.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="holds"):
        rules(tmp_path, network=True, protected=[str(store)])


# What imports find with these rules, in a real process.

INSIDE = """
import importlib, json, os, sys
from zsar_bench.sandbox.confinement.confine import Rules, confine
request = json.loads(open(sys.argv[1]).read())
sys.path[1:1] = request["path"]
confine(Rules(*(tuple(request["rules"][k]) for k in ("read", "names", "write"))))
answers = {}
for name in request["imports"]:
    try:
        answers[name] = str(importlib.import_module(name).VALUE)
    except OSError:
        answers[name] = "refused"
    except ImportError as error:
        answers[name] = "none"
for name in request["files"]:
    try:
        answers[name] = os.listdir(name) if os.path.isdir(name) else open(name).read()
    except OSError:
        answers[name] = "refused"
print(json.dumps(answers))
"""


def inside(tmp_path: Path, made: Rules, path: list[str], imports: list[str], files: list[str]):
    request = {"rules": vars(made), "path": path, "imports": imports, "files": files}
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(tmp_path / "request.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages: a plugin that brings more than it declares, and others."""
    site = tmp_path / "site-packages"
    make(site, "wallplug/__init__.py", "wallplug/deep/__init__.py", text="VALUE = 'package'")
    make(site, "wallplug/deep/method.py", "wallplug/secret.py", text="VALUE = 'module'")
    make(site, "walldata/answers.py", "walllib/__init__.py", "wallmod.py", text="VALUE = 'other'")
    make(site, "wallplug/answers.npz", "wallplug/asset.npz", "walldata/answers.npz")
    about = site / "wallplug-1.0.dist-info"
    make(about, "METADATA", text="Metadata-Version: 2.1\nName: wallplug\nVersion: 1.0\n")
    make(about, "entry_points.txt", text="[zsar_bench]\nwallplug = wallplug\n")
    installed = ("wallplug/__init__.py", "walldata/answers.py", "wallplug-1.0.dist-info/RECORD")
    make(about, "RECORD", text="".join(f"{name},,\n" for name in installed))
    make(about, "answers.npz")
    return site


@ONLY_LINUX
def test_of_a_plugin_only_its_declared_files_can_be_read(site: Path, tmp_path: Path) -> None:
    code = [str(site / "wallplug" / name) for name in ("deep/method.py", "asset.npz")]
    made = rules(
        tmp_path, sys_path=[str(site), *sys.path], prefixes=[sys.prefix, sys.base_prefix], code=code
    )
    data = ["wallplug/asset.npz", "wallplug/answers.npz", "walldata/answers.npz"]
    data += ["wallplug-1.0.dist-info/answers.npz", "wallplug-1.0.dist-info/METADATA"]
    modules = ["wallplug.deep.method", "wallplug.secret", "walldata.answers", "walllib", "wallmod"]
    answers = inside(tmp_path, made, [str(site)], modules, [str(site / name) for name in data])
    assert [answers[name] for name in modules] == ["module", "refused", "refused", "other", "other"]
    found = [answers[str(site / name)] for name in data]
    assert [text == "refused" for text in found] == [False, True, True, True, False]


@ONLY_LINUX
def test_an_editable_root_that_holds_the_results_is_carved(tmp_path: Path) -> None:
    root = tmp_path / "project"
    make(root, "wallpkg/__init__.py", "wallpkg/method.py", "wallsolo.py", text="VALUE = 'code'")
    make(root, "wallother/__init__.py", "wallother/tool.py", text="VALUE = 'other'")
    make(root, "results/runs/run.json", "labels.csv", "raw/S001C001P001R001A001.skeleton")
    protected = [str(root / "results")]
    made = rules(
        tmp_path,
        sys_path=[str(root), *sys.path],
        prefixes=[sys.prefix, sys.base_prefix],
        code=[str(root / "wallpkg" / "method.py")],
        protected=protected,
    )
    check(made, protected)
    closed = ["results", "results/runs/run.json", "labels.csv", "raw", "."]
    modules = ["wallpkg.method", "wallsolo", "wallother.tool", "wallnone"]
    answers = inside(tmp_path, made, [str(root)], modules, [str(root / name) for name in closed])
    assert [answers[name] for name in modules] == ["code", "code", "other", "none"]
    assert {answers[str(root / name)] for name in closed} == {"refused"}


@ONLY_LINUX
def test_of_an_editable_installation_its_metadata_can_be_read(tmp_path: Path) -> None:
    """Else each library that asks for entry points is told as a refused access."""
    root = tmp_path / "project"
    make(root, "wallpkg/__init__.py", "wallpkg/method.py", text="VALUE = 'code'")
    names = ["PKG-INFO", "entry_points.txt", "top_level.txt", "answers.npz"]
    make(root, *(f"wallpkg.egg-info/{name}" for name in names))
    made = rules(
        tmp_path,
        sys_path=[str(root), *sys.path],
        prefixes=[sys.prefix, sys.base_prefix],
        code=[str(root / "wallpkg" / "method.py")],
    )
    files = [str(root / "wallpkg.egg-info" / name) for name in names]
    answers = inside(tmp_path, made, [str(root)], [], files)
    assert [answers[file] == "refused" for file in files] == [False, False, False, True]


@pytest.mark.skipif(os.path.exists("/dev/nvidia-uvm"), reason="CUDA's device files are there")
def test_missing_device_files_of_cuda_are_made_by_the_program_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-modprobe"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    program.chmod(0o755)
    assert devices() == ["/dev/null", "/dev/zero"] or support().abi == 0
    assert not (tmp_path / "said").exists()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    devices()
    assert (tmp_path / "said").read_text() == "-u -c 0\n"


def test_the_discovery_child_reads_all_but_what_is_protected(tmp_path: Path) -> None:
    make(tmp_path, "store/features", "beside", "tmp/x")
    made = discovery_rules(
        temporary=str(tmp_path / "tmp"),
        protected=[str(tmp_path / "store"), str(tmp_path / "not-yet")],
    )
    check(made, [str(tmp_path / "store")])
    assert reachable(made.read, tmp_path / "beside")
    assert reachable(made.read, Path(os.path.realpath(json.__file__)))
    assert not reachable((*made.read, *made.write), tmp_path / "store" / "features")
    others = Path(f"/proc/{os.getppid()}/environ")
    assert not reachable(made.read, others)
    folders = [path for path in made.write if not path.startswith("/dev/")]
    assert folders == [str(tmp_path / "tmp")]
