"""Writes one reference page a package before the build: what is new in the source is on a page.

The pages go to `docs/reference/api/`, which git ignores. A page is only rewritten when its text has
changed, so that an incremental build stays one.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
SOURCE = DOCS.parent / "src" / "pegai"
TARGET = DOCS / "reference" / "api"

ORDER = ("schema", "privacy", "data", "encode", "synth", "evaluate", "report", "workflow", "cli")


def write_pages(app: Any) -> None:
    """One page for the modules of each package, and one for those at the top."""
    TARGET.mkdir(parents=True, exist_ok=True)
    packages = [p for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()]
    pages = {p.name: _page(p.name, _modules(p)) for p in packages}
    tops = sorted(p for p in SOURCE.glob("*.py") if not p.stem.startswith("_"))
    pages["top"] = _page("top", [(f"pegai.{p.stem}", p) for p in tops])
    for name, text in pages.items():
        _write(TARGET / f"{name}.md", text)
    known = [n for n in ORDER if n in pages]
    rest = sorted(set(pages) - set(known) - {"top"})
    _write(TARGET / "index.md", _index(["top", *known, *rest]))
    for stale in TARGET.glob("*.md"):
        if stale.stem not in pages and stale.stem != "index":
            stale.unlink()


def _modules(package: Path) -> list[tuple[str, Path]]:
    """The modules of a package and of those below it, by dotted name."""
    found: list[tuple[str, Path]] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        dotted = ".".join(p for p in parts if p != "__init__")
        if path.stem == "__init__" and not _has_definitions(path):
            continue
        if path.stem.startswith("_") and path.stem != "__init__":
            continue
        found.append((dotted, path))
    return found


def _has_definitions(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in tree.body)


def _page(name: str, modules: list[tuple[str, Path]]) -> str:
    title = "pegai: errors, streams" if name == "top" else f"pegai.{name}"
    intro = "" if name == "top" else _first_line(SOURCE / name / "__init__.py")
    lines = [f"# {title}", "", intro, ""]
    for dotted, _ in modules:
        lines += [f"## {dotted}", "", "```{eval-rst}", f".. automodule:: {dotted}", "```", ""]
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = text.strip().split("\n")[0]
    return first if len(first) > 1 else ""


def _index(names: list[str]) -> str:
    entries = "\n".join(names)
    return (
        "# Modules\n\n"
        "Built from the docstrings of the source, one page a package. Imports run downwards only: "
        "a package knows those above it in this list, never those below.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"
    )


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True}
