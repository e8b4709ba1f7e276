"""The structure: every layer imports only those before it, and nothing goes round in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "sb3_angc": [
        "common",
        "circuit",
        "hyperparams",
        "agents",
        "saving",
        "angc",
        "diagnostics",
        "plots",
        "zoo",
        "__main__",
    ],
    "benchmarks": ["environments", "runner", "report", "experiments", "__main__"],
}
MOST_LINES = 400


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name; a package's name stands for its ``__init__``."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules among those known that a file imports, at the top, in functions or for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if full in known else node.module
                if name in known:
                    yield name


def defines(path: Path) -> bool:
    """Whether a file has functions or classes of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)


def layer(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("package", LAYERS)
def test_no_layer_imports_upward(package: str) -> None:
    known = modules(package)
    order = LAYERS[package]
    assert {layer(name) for name in known} - {""} == set(order)
    upward = [
        (name, other)
        for name, path in known.items()
        if name != package
        for other in imported(path, known)
        # The package itself stands for what it exports, all of which is the algorithm's or below.
        if order.index(layer(other) or "angc") > order.index(layer(name))
    ]
    assert not upward


@pytest.mark.parametrize("package", LAYERS)
def test_no_imports_go_in_a_circle(package: str) -> None:
    known = modules(package)
    # An `__init__` that only gathers what its modules define is asked for from outside the package.
    gathering = {name for name, path in known.items() if path.name == "__init__.py" and not defines(path)}
    graph = {
        name: {other for other in imported(path, known) if other != name}
        for name, path in known.items()
        if name not in gathering
    }
    for name, others in graph.items():
        parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)} - {package}
        assert not others & gathering & parents, f"{name} imports its own package"
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_circuit_knows_nothing_of_reinforcement_learning() -> None:
    for name, path in modules("sb3_angc").items():
        text = path.read_text(encoding="utf-8")
        if layer(name) == "circuit":
            assert "import gymnasium" not in text
            assert "gymnasium import" not in text
            assert "stable_baselines3" not in text
        if layer(name) != "zoo":
            assert "rl_zoo3" not in text, f"{name}: the Zoo is touched in one folder"


def test_no_file_is_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules("sb3_angc").items()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}
