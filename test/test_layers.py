"""The layers are those of ARCHITECTURE.md: no import goes up or sideways, nor in a circle."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dapdee_ros"


@cache
def layers() -> list[set[str]]:
    """Package names from the top to the bottom, as the picture has them."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = re.search(r"```layers\n(.*?)```", text, re.S)
    assert found, "ARCHITECTURE.md has no diagram of the layers"
    return [set(line.split("    ")[0].split()) for line in found.group(1).splitlines()]


@cache
def modules() -> dict[str, Path]:
    """Every module below the package, by its dotted name in it."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE or path.stem != "__init__"
    }


@cache
def imports(path: Path) -> set[str]:
    """Modules of this package that a module imports when it runs, wherever in it that stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {
            name.removeprefix("dapdee_ros.") for name in names if name.startswith("dapdee_ros.")
        }
    return found


def test_the_picture_names_every_package_once() -> None:
    named = [name for layer in layers() for name in layer]
    there = {name.partition(".")[0] for name in modules()}
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down(module: str) -> None:
    height = {name: -row for row, layer in enumerate(layers()) for name in layer}
    own = module.partition(".")[0]
    for name in imports(modules()[module]):
        package = name.partition(".")[0]
        if package not in height or package == own:
            continue
        assert height[package] < height[own], f"{module} imports {name}, which is not below it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = nx.DiGraph(
        (module, name)
        for module, path in known.items()
        for name in imports(path)
        if name in known and name != module
    )
    assert [circle for circle in nx.strongly_connected_components(graph) if len(circle) > 1] == []
