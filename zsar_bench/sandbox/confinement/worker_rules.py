"""The rules of a worker: files of the system, of Python, of the plugin, and its bundle."""

from __future__ import annotations

import functools
import glob
import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import zsar_bench
from zsar_bench.errors import DataError
from zsar_bench.hookspecs import GROUP
from zsar_bench.sandbox.confinement.rules import (
    NETWORK,
    OWN,
    SYSTEM,
    Rules,
    below,
    carve,
    check,
    devices,
    existing,
    kernel_files,
    real,
)

#: Parts of a Python installation, or of a conda environment.
PREFIX_PARTS = (
    *("bin", "lib", "lib64", "libexec", "include", "share", "ssl", "etc", "nvvm", "targets"),
    "pyvenv.cfg",
)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
#: Variables that name a folder of models, and the default folders in the cache.
MODEL_FOLDERS = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HUGGINGFACE_HUB_CACHE"),
    *("TRANSFORMERS_CACHE", "SENTENCE_TRANSFORMERS_HOME", "TORCH_HOME"),
)
MODEL_CACHES = ("huggingface", "torch", "clip")
METADATA_FILES = ("METADATA", "PKG-INFO", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")


def worker_rules(
    *,
    sys_path: Sequence[str],
    prefixes: Sequence[str],
    code: Sequence[str],
    reads: Sequence[str],
    workdir: str,
    protected: Sequence[str],
    network: bool,
) -> Rules:
    """The rules of a job's worker.

    Args:
        sys_path: the worker's import path.
        prefixes: ``sys.prefix`` and ``sys.base_prefix``.
        code: the source files of the job's plugins, which are part of their identity.
        reads: the job's bundle.
        workdir: the folder the job writes to.
        protected: store, results, raw data; only paths in ``reads``, ``code`` and ``workdir``
            are allowed inside.
        network: whether the job may download models; their caches are then writable.

    Raises:
        DataError: if a file of the bundle or of the code is missing.
        UserError: if an allowed path is, or contains, a protected one.
    """
    for path in (*reads, *code):
        if not os.path.exists(path):
            raise DataError(f"The file {path}, which a job needs, is missing.")
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    fixed = _system_rules(
        tuple(dict.fromkeys(p for p in sys_path if p)),
        tuple(dict.fromkeys(prefixes)),
        tuple(sorted(set(code))),
        tuple(sorted(set(protected))),
        tuple(path for path in libraries if path),
    )
    granted = Rules(
        read=(*map(real, reads), *(_network() if network else ())),
        write=(real(workdir), *(model_caches() if network else ())),
    )
    check(granted, protected)
    return Rules(
        read=(*fixed.read, OWN, *granted.read),
        names=fixed.names,
        write=(*fixed.write, *granted.write),
        network=network,
    )


def discovery_rules(*, temporary: str, protected: Sequence[str]) -> Rules:
    """The rules of the discovery child: it may read everything that is not protected.

    Args:
        temporary: the only folder it may write to.
        protected: data and results; paths that do not exist are ignored.
    """
    borders = existing(*protected)
    read = [
        *carve("/", [*borders, "/proc", "/dev"]),
        *existing("/dev/urandom"),
        *kernel_files(),
        OWN,
    ]
    return Rules(read=tuple(read), write=(*devices(), real(temporary)))


def _network() -> Iterator[str]:
    named = (os.environ.get(name, "") for name in CERTIFICATES)
    yield from map(real, existing(*NETWORK, *filter(None, named)))


def model_caches() -> list[str]:
    """Folders where libraries store downloaded models; created if missing."""
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    named = [os.environ[name] for name in MODEL_FOLDERS if os.environ.get(name)]
    folders = []
    for folder in [*named, *(os.path.join(cache, name) for name in MODEL_CACHES)]:
        place = real(folder)
        try:
            os.makedirs(place, exist_ok=True)
        except OSError:  # the home folder is read-only
            continue
        if place not in folders:
            folders.append(place)
    return folders


@functools.lru_cache(maxsize=64)
def _system_rules(
    sys_path: tuple[str, ...],
    prefixes: tuple[str, ...],
    code: tuple[str, ...],
    protected: tuple[str, ...],
    libraries: tuple[str, ...],
) -> Rules:
    """The rules that all jobs of a plugin share, cached because they have hundreds of paths."""
    entries = [real(path) for path in sys_path]
    places = [real(path) for path in prefixes]
    borders = [real(path) for path in protected]
    harness = real(os.path.dirname(str(zsar_bench.__file__)))
    files = [real(path) for path in code]
    roots = {root for file in files if (root := _root(file, entries, harness))}
    hidden = sorted(roots | _plugin_paths(entries, harness))

    read = [*files, *_package_inits(files, roots), *_metadata_files(hidden)]
    read += _around(harness, borders)
    for path in (*SYSTEM, *libraries):
        read += carve(path, [*borders, *hidden])
    for prefix in places:
        for part in PREFIX_PARTS:
            read += _around(os.path.join(prefix, part), borders, hidden)
    names = [root for root in roots if not any(below(border, root) for border in borders)]
    for entry in entries:
        inside_prefix = any(below(entry, os.path.join(prefix, "lib")) for prefix in places)
        if inside_prefix:
            read += _around(entry, borders, hidden)
        elif _is_site(entry):
            read += carve(entry, [*borders, *hidden])
        else:
            read += [p for m in _importable(entry) for p in carve(m, [*borders, *hidden])]
            continue
        # Imports must be able to list a folder that is only partly readable.
        if not any(below(border, entry) for border in borders):
            names.append(entry)
    writable = devices()
    read += kernel_files()
    rules = Rules(
        read=tuple(dict.fromkeys(read)),
        names=tuple(dict.fromkeys(names)),
        write=tuple(writable),
    )
    check(rules, protected)
    return rules


def _around(path: str, borders: Iterable[str], hidden: Iterable[str] = ()) -> list[str]:
    """A part of Python's installation, carved; it is allowed even inside a protected folder."""
    place = real(path)
    return carve(place, [*(w for w in borders if not below(place, w)), *hidden])


def _root(file: str, entries: Sequence[str], harness: str) -> str | None:
    """The folder of the top-level package that a file of a plugin belongs to, if there is one."""
    if below(file, harness):
        return None
    above = [entry for entry in entries if below(file, entry) and file != entry]
    if above:
        entry = max(above, key=len)
        first = os.path.join(entry, os.path.relpath(file, entry).split(os.sep)[0])
        return first if os.path.isdir(first) else None
    root = None
    folder = os.path.dirname(file)
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        root, folder = folder, os.path.dirname(folder)
    return root


def _package_inits(files: Iterable[str], roots: Iterable[str]) -> Iterator[str]:
    """The ``__init__.py`` files between a package's top and the files of its code."""
    tops = set(roots)
    for file in files:
        folders = [str(folder) for folder in Path(file).parents]
        top = next((i for i, folder in enumerate(folders) if folder in tops), None)
        if top is not None:
            inits = (os.path.join(folder, "__init__.py") for folder in folders[: top + 1])
            yield from (init for init in inits if os.path.isfile(init))


def _plugin_paths(entries: Sequence[str], harness: str) -> set[str]:
    """Top-level entries in folders of ``sys.path`` that belong to installed plugins."""
    paths = set()
    for distribution in importlib.metadata.distributions(path=list(entries)):
        if not any(point.group == GROUP for point in distribution.entry_points):
            continue
        for file in distribution.files or ():
            if file.parts[0] != "..":
                paths.add(real(str(distribution.locate_file(file.parts[0]))))
    return {path for path in paths if path != harness and os.path.exists(path)}


def _metadata_files(folders: Iterable[str]) -> Iterator[str]:
    """Files that ``importlib.metadata`` reads of the distributions among these folders."""
    for folder in folders:
        if folder.endswith((".dist-info", ".egg-info")):
            files = (os.path.join(folder, name) for name in METADATA_FILES)
            yield from (file for file in files if os.path.isfile(file))


def _is_site(entry: str) -> bool:
    """Whether packages are installed in this folder, as opposed to a working folder."""
    return os.path.basename(entry) in ("site-packages", "dist-packages") or bool(
        glob.glob(os.path.join(glob.escape(entry), "*.dist-info"))
    )


def _importable(entry: str) -> list[str]:
    """Modules and packages in a folder on the import path, and the metadata of editable
    installations, without other files."""
    if os.path.isfile(entry):  # a zip archive
        return [entry]
    with_init = glob.glob(os.path.join(glob.escape(entry), "*", "__init__.py"))
    modules = glob.glob(os.path.join(glob.escape(entry), "*.py"))
    modules += glob.glob(os.path.join(glob.escape(entry), "*.so"))
    metadata = _metadata_files(glob.glob(os.path.join(glob.escape(entry), "*.egg-info")))
    return sorted({*modules, *map(os.path.dirname, with_init), *metadata})
