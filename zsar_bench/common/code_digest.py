"""Digest of the code behind a target, without comments and formatting.

The digest covers the target's module, every module of the same top-level package that it
imports, directly or not, and the declared assets. Comments, docstrings and formatting do not
change it; a constant does. Two Python versions may disagree (their syntax trees do).

``docs/identity.md`` lists what counts as imported and what cannot be detected.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Code that uses one of these names may read comments and docstrings as data.
_READS_ITSELF = re.compile("__doc__|get(doc|comments|source|sourcelines)")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@dataclass(frozen=True)
class _Module:
    """What a digest needs of a module's source, which is parsed once.

    Attributes:
        digest: SHA-256 of its syntax tree without docstrings.
        words: every name, attribute and text in it.
        importing: statements and calls that may import.
        at_import: those of them that run when the module is imported.
        has_side_effects: whether importing it does more than import modules and define names.
    """

    digest: str
    words: frozenset[str]
    importing: tuple[ast.AST, ...]
    at_import: tuple[ast.AST, ...]
    has_side_effects: bool


@functools.cache
def _module(source: str | bytes) -> _Module:
    # The targets of a package share most of its files, so modules are remembered by their bytes.
    tree = ast.parse(source)
    nodes = tuple(ast.walk(tree))
    imports = ast.Import | ast.ImportFrom | ast.Call
    at_import = tuple(_at_import(tree.body))
    words, side_effects = _words(nodes), not all(map(_is_harmless, at_import))
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A bare string is a docstring, or serves as a comment.
            node.body = [s for s in node.body if not _is_bare_string(s)] or [ast.Pass()]
    return _Module(
        digest=hashlib.sha256(ast.dump(tree).encode()).hexdigest(),
        words=words,
        importing=tuple(n for n in nodes if isinstance(n, imports)),
        at_import=tuple(n for n in at_import if isinstance(n, imports)),
        has_side_effects=side_effects,
    )


def source_digest(source: str | bytes) -> str:
    """SHA-256 of a module's syntax tree without its docstrings."""
    return _module(source).digest


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def package_root(module: str, file: Path) -> Path:
    """Folder of a module's top-level package; for a module without package, its own folder."""
    depth = len(module.split(".")) - (file.name != "__init__.py")
    return file.parent if depth <= 1 else file.parents[depth - 1]


def code_closure(module: str, file: Path) -> dict[str, Path]:
    """Module name -> file, for a module and what it imports from its own package.

    The ``__init__`` of a package runs before its modules. One that only defines names is not part
    of the closure, nor is what it imports, unless a module imports from it. One that does more,
    such as setting an option of a library, is part of the closure.

    Args:
        module: dotted name.
        file: the module's source file.
    """
    package = module.split(".")[0]
    if "." not in module and file.name != "__init__.py":
        return {module: file}
    root = package_root(module, file)
    closure: dict[str, Path] = {}
    ran: set[str] = set()
    todo = [(module, file, True)]
    while todo:
        name, path, used = todo.pop()
        if name in closure or (name in ran and not used):
            continue
        ran.add(name)
        is_package = path.name == "__init__.py"
        content = _module(path.read_bytes())
        used = used or content.has_side_effects
        if used:
            closure[name] = path
        nodes = content.importing if used else content.at_import
        imported = dict.fromkeys(_imports(nodes, name, is_package, root), used)
        above = name.split(".")[:-1]
        before = {".".join(above[:n]): False for n in range(1, len(above) + 1)}
        for other, named in (before | imported).items():
            if other.split(".")[0] == package and (source_file := _find(other, root)) is not None:
                todo.append((other, source_file, named))
    return closure


def _find(module: str, root: Path) -> Path | None:
    """File of a module of the package whose folder is ``root``; a folder takes precedence."""
    inner = module.split(".")[1:]
    base = root.joinpath(*inner)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if (inner or path.name == "__init__.py") and path.is_file():
            return path
    return None


def _imports(nodes: Iterable[ast.AST], module: str, is_package: bool, root: Path) -> Iterator[str]:
    """Absolute names of everything these nodes import, possible submodules included."""
    parent = module if is_package else module.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                # ``import a.b`` binds ``a``, and with it all that ``a`` holds.
                parts = [] if alias.asname else alias.name.split(".")[:-1]
                yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), parent)
            yield base
            for alias in node.names:
                yield f"{base}.{alias.name}"
            if any(alias.name == "*" for alias in node.names):
                yield from (f"{base}.{name}" for name in _exported(base, root))
        elif isinstance(node, ast.Call):
            yield from _dynamic(node, module, parent)


def _absolute(name: str, package: str) -> str:
    """The absolute name of a module relative to ``package``; "" if there is none."""
    bare = name.lstrip(".")
    up = len(name) - len(bare)
    if not up:
        return bare
    parts = package.split(".")
    kept = parts[: max(0, len(parts) - up + 1)]
    return ".".join([*kept, *([bare] if bare else [])])


def _exported(module: str, root: Path) -> Iterator[str]:
    """Every text in a package's ``__all__``: ``from package import *`` imports such modules."""
    path = _find(module, root)
    if path is None or path.name != "__init__.py":
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def _dynamic(call: ast.Call, module: str, parent: str) -> Iterator[str]:
    """What ``import_module("name")`` or ``__import__("name")`` imports."""
    function = call.func
    named = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    if named not in ("import_module", "__import__"):
        return
    given = dict(zip(("name", "package"), call.args, strict=False))
    given |= {word.arg: word.value for word in call.keywords if word.arg}
    name, package = given.get("name"), given.get("package")
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return
    origin = parent
    if isinstance(package, ast.Constant) and isinstance(package.value, str):
        origin = package.value
    elif isinstance(package, ast.Name) and package.id == "__name__":
        origin = module
    imported = _absolute(name.value, origin)
    yield imported
    if named == "__import__":  # returns the top-level package
        yield imported.split(".")[0]


def _at_import(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, those within ``if`` and ``try`` included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            test = statement.test
            named = test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")
            if named != "TYPE_CHECKING":
                yield from _at_import(statement.body)
            yield from _at_import(statement.orelse)
        elif isinstance(statement, ast.Try):
            handled = [s for handler in statement.handlers for s in handler.body]
            for part in (statement.body, handled, statement.orelse, statement.finalbody):
                yield from _at_import(part)


_HARMLESS = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.If, ast.Try, ast.Pass),
)


def _is_harmless(statement: ast.stmt) -> bool:
    """Whether a statement only imports modules, defines names, or contains what is looked at."""
    if isinstance(statement, _HARMLESS):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        parts = [p for t in targets for p in (t.elts if isinstance(t, ast.Tuple) else [t])]
        return all(isinstance(p, ast.Name) for p in parts)
    return False


def _words(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Every name, attribute and text in these nodes."""
    words: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.alias(name=word):
                words.add(word)
            case ast.Constant(value=str(word)):
                words.add(word)
    return frozenset(words)


def code_digest(closure: dict[str, Path]) -> str:
    """One digest of all modules of a closure, by their names, not their paths.

    Code that reads docstrings or source is hashed as text: for it, a comment is data.
    """
    sources = {name: closure[name].read_bytes() for name in sorted(closure)}
    words = {word for source in sources.values() for word in _module(source).words}
    literal = any(map(_READS_ITSELF.fullmatch, words))
    total = hashlib.sha256()
    for name, source in sources.items():
        module_digest = hashlib.sha256(source).hexdigest() if literal else source_digest(source)
        total.update(f"{name} {module_digest}\n".encode())
    return total.hexdigest()


def asset_digests(assets: object, roots: Sequence[Path]) -> dict[str, str]:
    """Real path -> SHA-256 of each asset, in the order declared.

    Args:
        assets: as a spec declares them.
        roots: folders of the plugin's code; every asset must lie in one of them.

    Raises:
        ValueError: for an asset that is missing, no file, or outside the plugin's folders.
    """
    if not isinstance(assets, tuple | list) or not all(isinstance(a, Path) for a in assets):
        raise ValueError("'assets' must be a tuple of pathlib.Path")
    digests: dict[str, str] = {}
    for path in assets:
        if not path.is_absolute():
            raise ValueError(f"asset '{path}' must be a whole path: Path(__file__).parent / ...")
        if path.is_dir():
            raise ValueError(f"asset {path} is a folder; name its files one by one")
        if not path.exists():
            raise ValueError(f"asset {path} does not exist")
        if not path.is_file():
            raise ValueError(f"asset {path} is not a regular file")
        real = path.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            raise ValueError(f"asset {path} leads out of the plugin's package, to {real}")
        digests[str(real)] = file_digest(real)
    return digests


def with_assets(code: str, assets: dict[str, str]) -> str:
    """The digest of code and its assets' bytes; that of the code alone if there are no assets."""
    if not assets:
        return code
    return hashlib.sha256(json.dumps([code, *assets.values()]).encode()).hexdigest()


def files_state(digests: Mapping[str, str]) -> str:
    """One digest of files, from those of their bytes: name -> SHA-256."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def unchanged(names: Sequence[str], state: str) -> bool:
    """Whether ``files_state`` of these files is still ``state``; True if ``state`` is empty."""
    if not state:
        return True
    try:
        return files_state({name: file_digest(Path(name)) for name in names}) == state
    except OSError:
        return False
