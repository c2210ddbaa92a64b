"""Fingerprints of code and inputs, so that a change re-runs what depends on it."""

from __future__ import annotations

import ast
import hashlib
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure

PACKAGE = Path(__file__).resolve().parent.parent


def tool_path(tool: str) -> Path:
    """Find the file of a tool: beside the package in a checkout, else on PATH.

    Raises
    ------
    Failure
        CONFIG when it is in neither place.
    """
    beside = PACKAGE.parent / tool
    if beside.is_file():
        return beside
    found = shutil.which(tool)
    if found is None:
        raise Failure(Category.CONFIG, f"the tool {tool} is not installed", "run `make setup`")
    return Path(found)


@cache
def code(tool: str) -> str:
    """Fingerprint a tool together with every module of the package that it imports.

    Imports are read from the source, also those inside functions, so the answer may include
    a module that a run does not need, never miss one.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    pending = list(_imports(tool_path(tool)))
    seen: set[Path] = set()
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            pending.extend(_imports(path))
    # The tool's own file counts by what follows the first line: installers rewrite that one.
    digest = hashlib.sha256(tool_path(tool).read_bytes().partition(b"\n")[2])
    for path in sorted(seen):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """List the package's modules that a Python file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(path, node)
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return tuple(sorted(file for name in names for file in _module_files(name)))


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    """Name the module of a `from … import`, also of a relative one inside the package."""
    if not node.level:
        return node.module or ""
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).parts)[: -node.level]
    return ".".join((*parts, node.module) if node.module else parts)


def _module_files(name: str) -> Iterable[Path]:
    """Yield the files that run when a module is imported: its own and its packages'."""
    package, *parts = name.split(".")
    if package != "cohortflow":
        return
    files = [PACKAGE.joinpath(*parts[:n], "__init__.py") for n in range(len(parts) + 1)]
    if parts:
        files.append(PACKAGE.joinpath(*parts[:-1], f"{parts[-1]}.py"))
    yield from (file for file in files if file.is_file())


def inputs(files: Iterable[Input]) -> str:
    """Fingerprint the inputs of a unit by role, name, size, time and listing.

    Returns
    -------
    str
        Sixteen hexadecimal digits; the folder that holds the study does not matter.
    """
    digest = hashlib.sha256()
    for facts in sorted(
        repr(
            (
                file.role,
                Path(file.path).name,
                file.bytes,
                file.mtime_ns,
                file.sha256,
                file.files,
                file.listing,
            )
        )
        for file in files
    ):
        digest.update(facts.encode())
    return digest.hexdigest()[:16]
