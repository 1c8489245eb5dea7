"""The catalogue: everything registered, as data. The parent knows plugins only from it.

The answer of each plugin is cached with the digest of every source file behind it. Most commands
therefore never start the discovery child, and only plugins that were added or changed are queried.
A damaged answer is discarded.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.answers import (
    CORE,
    AnswerCache,
    Source,
    first_of_each_name,
    merged,
    top_package,
)
from zsar_bench.common.code_digest import files_state
from zsar_bench.common.files import NOT_FOR_PLUGINS, home, parse_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.hookspecs import GROUP
from zsar_bench.registry import KINDS


@dataclass(frozen=True)
class Entry:
    """One registered entry, as the discovery child described it.

    Attributes:
        kind: catalogue section, e.g. ``methods``.
        name, plugin: of the entry, and of the plugin that registered it.
        digest: of the code behind it.
        spec: the spec's fields as JSON values.
        schema: JSON schema of its parameters, or empty.
        profiles: profile name -> values.
    """

    kind: str
    name: str
    plugin: str
    digest: str
    spec: dict[str, Any]
    schema: dict[str, Any]
    profiles: dict[str, dict[str, Any]]


class Catalogue:
    """Read access to the discovery child's answer."""

    def __init__(self, data: dict[str, Any], files: Sequence[Path]) -> None:
        self.data = data
        self.plugin_files = list(files)

    def names(self, kind: str) -> list[str]:
        """Registered names of one section, sorted."""
        return sorted(self.data[kind])

    def entries(self, kind: str) -> list[Entry]:
        """All entries of one section, by name."""
        return [self.find(kind, name) for name in self.names(kind)]

    def find(self, kind: str, name: str) -> Entry:
        """The entry of this name.

        Raises:
            UserError: if there is none, or two plugins claim it.
        """
        claimed = self.data["conflicts"].get(kind, {}).get(name)
        if claimed:
            is_custom = kind == "datasets" and CORE in claimed
            raise UserError(
                f"Two plugins register the {KINDS[kind]} '{name}': {' and '.join(claimed)}.",
                "Uninstall one of them, or leave out its --plugin."
                + f" To drop the one of your is_custom: zsar-bench data rm {name}" * is_custom,
            )
        data = self.data[kind].get(name)
        if data is None:
            self._explain_broken(kind, name)
            raise unknown(
                KINDS[kind], name, self.names(kind), f"zsar-bench list {kind.replace('_', '-')}"
            )
        rest = {k: v for k, v in data.items() if k not in ("digest", "schema", "profiles")}
        return Entry(
            kind=kind,
            name=name,
            plugin=data["plugin"],
            digest=data["digest"],
            spec=rest,
            schema=data.get("schema", {}),
            profiles=data.get("profiles", {}),
        )

    def _explain_broken(self, kind: str, name: str) -> None:
        """Raise an error if the name is registered but its code does not load."""
        prefix = f"{KINDS[kind]} {name}: "
        for row in self.data["plugins"]:
            for error in row["errors"]:
                if error.startswith(prefix):
                    raise UserError(
                        f"The {KINDS[kind]} '{name}' of plugin '{row['name']}' is broken: "
                        f"{error.removeprefix(prefix)}",
                        "zsar-bench list plugins",
                    )

    def default(self, kind: str) -> Entry:
        """The entry with the lowest fallback rank.

        Raises:
            UserError: if none may be chosen by default.
        """
        ranked = [e for e in self.entries(kind) if e.spec.get("fallback_rank") is not None]
        if not ranked:
            raise UserError(f"No {KINDS[kind]} is installed that could be a default.")
        return min(ranked, key=lambda e: (e.spec["fallback_rank"], e.name))

    @property
    def code(self) -> tuple[str, ...]:
        """Every file that the plugins' digests cover."""
        return tuple(sorted(self.data["files"]))

    @property
    def code_state(self) -> str:
        """Digest of these files' contents, from the time when they were hashed."""
        return files_state(self.data["files"])

    @property
    def trackers(self) -> list[str]:
        """Names of plugins that receive events of runs. They belong to the user and run
        unconfined, so records name them."""
        return [row["name"] for row in self.data["plugins"] if "run_event" in row["hooks"]]

    @property
    def protocol_folders(self) -> list[Path]:
        return [Path(p) for p in self.data["protocol_folders"]]

    @property
    def published_folders(self) -> list[Path]:
        return [Path(p) for p in self.data["published_folders"]]

    @property
    def machine(self) -> dict[str, Any]:
        """``torch`` version, whether ``cuda`` is available, name of the ``device``."""
        return dict(self.data["machine"])


def project_plugins(folder: Path | None = None) -> list[Path]:
    """Plugin files named by ``plugins = [...]`` in a project's ``zsar-bench.toml``."""
    path = (folder or Path.cwd()) / "zsar-bench.toml"
    if not path.is_file():
        return []
    try:
        names = parse_toml(path.read_text("utf-8")).get("plugins", [])
    except ValueError as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UserError(f"{path}: 'plugins' must be a list of file names.")
    return [path.parent / name for name in names]


def load(plugin_files: Sequence[Path] = (), refresh: bool = False) -> Catalogue:
    """The catalogue of the installed plugins and these files.

    Args:
        plugin_files: single-file plugins, added to those of the project.
        refresh: query all plugins again, even if nothing changed.

    Raises:
        UserError: if a file does not exist or the discovery child fails.
    """
    files = list(
        dict.fromkeys(p.expanduser().resolve() for p in [*project_plugins(), *plugin_files])
    )
    for path in files:
        if path.suffix != ".py" or not path.is_file():
            raise UserError(f"The plugin file {path} does not exist or is not a .py file.")
    sources = _sources(files)
    first = first_of_each_name(sources)
    cache = AnswerCache(refresh)
    cached = {name: cache.part(source) for name, source in first.items()}
    parts = {name: part for name, part in cached.items() if part is not None}
    machine = cache.machine()
    missing = [source for name, source in first.items() if name not in parts]
    if missing or machine is None:
        answer = _query(missing, _packages(sources), machine is None)
        for source, part in zip(missing, answer["parts"], strict=True):
            parts[source["name"]] = part
            cache.keep_part(source, part)
        if machine is None:
            machine = answer["machine"]
            cache.keep_machine(machine)
    return Catalogue(merged(sources, parts, machine), files)


def _sources(files: Sequence[Path]) -> list[Source]:
    """All plugins, in order; a file lists the files before it, from which it may import."""
    points = importlib.metadata.entry_points(group=GROUP)
    by_point = {
        (point.name, point.value): {
            "kind": "entry-point",
            "name": point.name,
            "value": point.value,
            "distribution": f"{point.dist.name} {point.dist.version}" if point.dist else "",
        }
        for point in points
    }
    rows = [by_point[key] for key in sorted(by_point)]
    names = [str(p) for p in files]
    return rows + [
        {"kind": "file", "name": p.stem, "value": str(p), "before": names[:number]}
        for number, p in enumerate(files)
    ]


def _packages(sources: Sequence[Source]) -> list[str]:
    """Top-level packages of the installed plugins."""
    return sorted({top_package(s["value"]) for s in sources if s["kind"] == "entry-point"})


def _query(sources: list[Source], packages: list[str], machine: bool) -> dict[str, Any]:
    """Start the discovery child for these plugins and, if ``machine``, for torch's description."""
    # Imported here because most commands have all answers in the cache.
    from zsar_bench.sandbox.confinement.confine import ConfinementError
    from zsar_bench.sandbox.confinement.worker_rules import discovery_rules

    request = {"sources": sources, "packages": packages, "machine": machine}
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as temporary:
        rules = discovery_rules(temporary=temporary, protected=[str(p) for p in _protected()])
        folders = dict.fromkeys(("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH"), temporary)
        child = subprocess.run(
            # -P: nothing is imported from the working folder.
            [sys.executable, "-P", "-m", "zsar_bench.catalogue.discovery"],
            input=json.dumps(request | {"rules": asdict(rules)}).encode(),
            capture_output=True,
            check=False,
            env=os.environ | folders | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    try:
        data: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        tail = child.stderr.decode(errors="replace").strip()[-400:]
        raise UserError(
            f"A plugin broke the discovery of plugins (exit code {child.returncode}): {tail}",
            "Leave out the --plugin added last, or uninstall the package added last.",
        ) from None
    if "unconfined" in data:
        raise ConfinementError(*data["unconfined"])
    return data


def _protected() -> list[Path]:
    """Paths that no plugin may read during import: it could store their content in parameters."""
    store = (home() / name for name in ("data", "features", "encoders", "texts"))
    results = (Path("results", name).absolute() for name in NOT_FOR_PLUGINS)
    return [*store, *results]
