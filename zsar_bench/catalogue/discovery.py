"""The discovery child: imports plugins and describes, as JSON, what each of them registers.

    python -m zsar_bench.catalogue.discovery < request.json > answer.json

Runs in a separate process, so that a plugin that raises, prints, exits or is slow to import does
not affect the parent. The process is confined: it can read everything but prepared data and
results, can write to a temporary folder only and has no network. Plugins are loaded one at a time,
each in its own plugin manager; a broken plugin becomes a row with its error.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pluggy

from zsar_bench.catalogue.answers import Source, empty_row
from zsar_bench.catalogue.loading import file_module_name, import_file, resolve
from zsar_bench.catalogue.search_space import check_ranges
from zsar_bench.common.code_digest import (
    asset_digests,
    code_closure,
    code_digest,
    file_digest,
    package_root,
    with_assets,
)
from zsar_bench.common.names import NAME
from zsar_bench.hookspecs import GROUP, Hooks
from zsar_bench.registry import KINDS, Registry, Spec, spec_as_json
from zsar_bench.sandbox.confinement.confine import ConfinementError, confine
from zsar_bench.sandbox.confinement.rules import Rules
from zsar_bench.sandbox.processes import die_with_parent
from zsar_bench.specs import generated
from zsar_bench.version import API

#: Methods that a target's class must have, by catalogue section.
REQUIRED_METHODS = {
    "methods": ("fit", "bind", "score", "state_dict", "load_state_dict"),
    "skeleton_encoders": ("fit", "encode", "module", "state_dict", "load_state_dict"),
    "text_encoders": ("fingerprint", "encode"),
    "datasets": ("identify", "read"),
}
GENERATOR = ("clips", "make")  #: of a generated data set
EXECUTORS = (
    "executors do not plug in: they ran in the process that holds the labels; "
    "remove ExecutorSpec and register_executors"
)


def _reason(error: BaseException) -> str:
    """Why a plugin is broken, in one line."""
    if isinstance(error, ImportError) and "'ExecutorSpec'" in str(error):
        return EXECUTORS
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:300]


def load_plugin(source: Source) -> Any:
    if source["kind"] == "file":
        return import_file(Path(source["value"]))
    entry = importlib.metadata.EntryPoint(source["name"], source["value"], GROUP)
    return entry.load()


def _collect(module: Any) -> tuple[Registry, list[str]]:
    """Call a plugin's hooks; returns what it registered and the hooks it implements."""
    api = getattr(module, "api", None)
    if api != API:
        declared = "declares no 'api'" if api is None else f"declares api = {api!r}"
        raise ValueError(f"the plugin {declared}; this zsar-bench speaks api = {API}")
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(module)
    if hasattr(manager.hook, "register_executors"):
        raise ValueError(EXECUTORS)
    manager.check_pending()  # a misspelt hook is an error
    registry = Registry()
    hooks = [caller.name for caller in manager.get_hookcallers(module) or []]
    for name in sorted(hooks):
        if name.startswith("register_"):
            getattr(manager.hook, name)(registry=registry)
    if not hooks:
        raise ValueError("the plugin implements no hook")
    return registry, sorted(hooks)


def _describe(kind: str, spec: Spec, files: dict[str, str], plugin: Path) -> dict[str, Any]:
    """Import a spec's target and parameters; returns its catalogue entry.

    Args:
        kind: catalogue section.
        spec: what the plugin registered.
        files: gains path -> SHA-256 of every file behind it.
        plugin: folder of the plugin's package.
    """
    target = resolve(spec.target)
    is_generated = kind == "datasets" and generated(vars(spec))
    required = GENERATOR if is_generated else REQUIRED_METHODS.get(kind, ())
    if getattr(spec, "setting", "") == "transductive":
        required = (*required, "adapt")
    missing = [method for method in required if not callable(getattr(target, method, None))]
    if missing:
        raise TypeError(f"{spec.target} lacks {', '.join(missing)}()")
    closure: dict[str, Path] = {}
    roots = [plugin]
    entry = spec_as_json(spec)
    for reference in filter(None, (spec.target, getattr(spec, "params", ""))):
        name, file = _source(reference.partition(":")[0])
        closure |= code_closure(name, file)
        roots.append(package_root(name, file))
    files |= {str(path): file_digest(path) for path in closure.values()}
    assets = asset_digests(getattr(spec, "assets", ()), roots)
    files |= assets
    entry["digest"] = with_assets(code_digest(closure), assets)
    if getattr(spec, "params", ""):
        params = resolve(spec.params)  # type: ignore[union-attr]
        for profile in params.profiles:
            if not NAME.fullmatch(profile):
                raise ValueError(f"profile {profile!r} must match {NAME.pattern}")
        entry["schema"] = params.model_json_schema()
        batch = getattr(spec, "batch", "")
        if batch and batch not in entry["schema"].get("properties", {}):
            raise ValueError(f"'batch' names '{batch}', which is no parameter")
        _check_leaks(getattr(spec, "leaks", ()), entry["schema"], params.profiles)
        check_ranges(entry["schema"])
        entry["profiles"] = params.profiles
        for values in params.profiles.values():
            params(**values)
    return entry


def _check_leaks(leaks: Sequence[str], schema: dict[str, Any], profiles: dict[str, Any]) -> None:
    """Refuse a leak that is on by default or in a profile, or that is no science parameter."""
    for name in leaks:
        field = schema.get("properties", {}).get(name, {})
        facts = (field.get("type"), field.get("default"), field.get("kind"))
        if facts != ("boolean", False, "science"):
            raise ValueError(
                f"'leaks' names '{name}', which is no science parameter, false at first"
            )
        if any(values.get(name) for values in profiles.values()):
            raise ValueError(f"'leaks' names '{name}', which a profile switches on")


def _source(module: str) -> tuple[str, Path]:
    """Name and file of an imported module."""
    imported = sys.modules[module]
    return imported.__name__, Path(str(imported.__file__))


def _loaded(packages: set[str]) -> dict[str, str]:
    """Path -> SHA-256 of every Python file of these packages that is imported by now.

    A package's ``__init__`` and helpers of other plugins are in no target's digest, but the plugin
    does not load without them. Modules imported by plugins before it count as well: whether it
    would have imported them itself is unknown.
    """
    modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in packages]
    paths = {Path(str(getattr(m, "__file__", None) or "")) for m in modules}
    return {str(p): file_digest(p) for p in sorted(paths) if p.suffix == ".py" and p.is_file()}


def _import_all(plugin_files: Sequence[str]) -> None:
    """Import these files; errors of a file are reported in its own row."""
    for name in plugin_files:
        try:
            import_file(Path(name))
        except KeyboardInterrupt:
            raise
        except BaseException:  # a plugin may raise anything, SystemExit included
            continue


def part_of(source: Source, packages: Sequence[str] = ()) -> dict[str, Any]:
    """What one plugin adds to the catalogue.

    Args:
        source: the plugin; a file lists those ``before`` it, from which it may import.
        packages: top-level packages of installed plugins, from which it may import, too.

    Returns:
        ``row``, its row in the list of plugins; ``entries``, section -> name -> entry; the
        ``protocol_folders`` and ``published_folders`` it registers; and ``files``, path ->
        SHA-256, on which the answer depends.
    """
    row = empty_row(source)
    files: dict[str, str] = {}
    entries: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    part: dict[str, Any] = {"row": row, "entries": entries, "files": files}
    part |= {"protocol_folders": [], "published_folders": []}
    before = source.get("before", ())
    _import_all(before)
    try:
        if source["kind"] == "file":
            files[source["value"]] = file_digest(Path(source["value"]))
        module = load_plugin(source)
        path = Path(str(module.__file__))
        files |= {str(p): file_digest(p) for p in code_closure(module.__name__, path).values()}
        root = package_root(module.__name__, path)
        registry, row["hooks"] = _collect(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        row["status"] = "broken"
        row["errors"].append(_reason(error))
        return part
    used = {*packages, *map(file_module_name, map(Path, before))}
    used.add(module.__name__.partition(".")[0])
    part["protocol_folders"] = [str(p) for p in registry.protocol_folders]
    part["published_folders"] = [str(p) for p in registry.published_folders]
    for kind, name, reason in registry.broken:
        row["status"] = "partly broken"
        row["errors"].append(f"{KINDS[kind]} {name}: {reason}")
    for kind, specs in registry.specs.items():
        for name, spec in specs.items():
            try:
                entry = _describe(kind, spec, files, root)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                row["status"] = "partly broken"
                row["errors"].append(f"{KINDS[kind]} {name}: {_one_line(error)}")
                continue
            used.add(spec.target.partition(".")[0].partition(":")[0])
            entries[kind][name] = entry
    files |= _loaded(used - {"zsar_bench"})  # the harness belongs to no plugin
    return part


def _machine() -> dict[str, Any]:
    """Description of this machine by torch, which the parent never imports."""
    try:
        import torch
    except Exception as error:
        return {"torch": "", "cuda": False, "device": "", "error": _one_line(error)}
    cuda = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "cuda": cuda,
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
    }


def main() -> None:
    """Read a request from standard input, write the answer to standard output."""
    die_with_parent()  # a plugin that hangs must not survive a killed command
    answer = os.dup(1)
    os.dup2(2, 1)  # output of plugins must not mix with the answer
    request = json.load(sys.stdin)
    reply: dict[str, Any]
    try:
        rules = request["rules"]
        paths = {name: tuple(rules[name]) for name in ("read", "names", "write")}
        confine(Rules(**paths, network=rules["network"]))
        parts = [part_of(source, request["packages"]) for source in request["sources"]]
        reply = {"parts": parts, "machine": _machine() if request["machine"] else None}
    except ConfinementError as error:
        reply = {"unconfined": [error.what, error.hint]}
    with os.fdopen(answer, "w") as out:
        json.dump(reply, out)
        out.flush()
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(0)  # without running plugins' threads and exit handlers


if __name__ == "__main__":
    main()
