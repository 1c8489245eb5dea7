"""Digest of the code behind a target: what it does, not how it is commented.

The digest covers the target's module and every module of the same top-level package that it
imports, directly or not. Comments, docstrings and formatting do not change it; a constant
does. Two Python versions may disagree (their syntax trees do).
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def source_digest(source: str) -> str:
    """SHA-256 of a module's syntax tree without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A string that stands alone is a docstring or a comment in disguise.
            node.body = [s for s in node.body if not _is_bare_string(s)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _find(module: str, package: str, root: Path) -> Path | None:
    """File of ``module`` inside ``package``, whose folder is ``root``."""
    inner = module.split(".")[1:]
    base = root.joinpath(*inner)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if (inner or path.name == "__init__.py") and path.is_file():
            return path
    return None


def _imports(path: Path, module: str, is_package: bool) -> set[str]:
    """Absolute names of everything a module imports, submodules by guess included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:keep], *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def code_closure(module: str, file: Path) -> dict[str, Path]:
    """Module name -> file, for a module and what it imports from its own package.

    Args:
        module: dotted name.
        file: the module's source file.
    """
    package = module.split(".")[0]
    if "." not in module and file.name != "__init__.py":
        return {module: file}
    depth = len(module.split(".")) - (1 if file.name != "__init__.py" else 0)
    root = file.parent if depth <= 1 else file.parents[depth - 1]
    closure: dict[str, Path] = {}
    todo = [(module, file)]
    while todo:
        name, path = todo.pop()
        if name in closure:
            continue
        closure[name] = path
        for imported in _imports(path, name, path.name == "__init__.py"):
            if imported.split(".")[0] == package and imported not in closure:
                found = _find(imported, package, root)
                if found is not None:
                    todo.append((imported, found))
    return closure


def code_digest(closure: dict[str, Path]) -> str:
    """One digest of all modules of a closure, by name, not by place."""
    total = hashlib.sha256()
    for name in sorted(closure):
        total.update(f"{name} {source_digest(closure[name].read_text('utf-8'))}\n".encode())
    return total.hexdigest()
