"""Planting a mistake in the syntax tree of a named function: text and comments do not matter."""

from __future__ import annotations

import ast
from typing import NamedTuple


class Mutant(NamedTuple):
    """
    A mistake.

    :param file: Where, relative to ``sb3_angc``
    :param function: The function or method, by its qualified name
    :param original: An expression or statements that are there once
    :param planted: What takes their place
    """

    file: str
    function: str
    original: str
    planted: str

    def __str__(self) -> str:
        return f"{self.file}, {self.function}: {self.original!r} -> {self.planted!r}"


def plant(source: str, mutant: Mutant) -> str:
    """
    :param source: A module
    :param mutant: The mistake; its file is not looked at
    :return: The module with the mistake
    :raises ValueError: If the function is not there, or what is to be replaced is not in it exactly once
    """
    tree = ast.parse(source)
    planter = _Planter(mutant.original, mutant.planted)
    planter.visit(_find(tree, mutant.function.split(".")))
    if planter.found != 1:
        raise ValueError(f"{mutant} is there {planter.found} times, not once")
    return ast.unparse(ast.fix_missing_locations(tree))


def _find(tree: ast.AST, names: list[str]) -> ast.AST:
    for name in names:
        kinds = (ast.FunctionDef, ast.ClassDef)
        found = [n for n in ast.iter_child_nodes(tree) if isinstance(n, kinds) and n.name == name]
        if len(found) != 1:
            raise ValueError(f"{'.'.join(names)} is not there once")
        tree = found[0]
    return tree


class _Planter(ast.NodeTransformer):
    """Replaces what looks like the original, and counts how often."""

    def __init__(self, original: str, planted: str) -> None:
        self.found = 0
        self.original, self.planted = ast.parse(original).body, ast.parse(planted).body
        expressions = [
            statements[0].value
            for statements in (self.original, self.planted)
            if len(statements) == 1 and isinstance(statements[0], ast.Expr)
        ]
        self.expressions = expressions if len(expressions) == 2 else None

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if self.expressions is None:
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list):
                    self._replace_in(block)
        return node

    def visit(self, node: ast.AST) -> ast.AST:
        node = super().visit(node)
        if self.expressions is not None and ast.dump(node) == ast.dump(self.expressions[0]):
            self.found += 1
            return self.expressions[1]
        return node

    def _replace_in(self, block: list[ast.stmt]) -> None:
        length = len(self.original)
        wanted = [ast.dump(statement) for statement in self.original]
        for index in range(len(block) - length + 1):
            if [ast.dump(statement) for statement in block[index : index + length]] == wanted:
                self.found += 1
                block[index : index + length] = self.planted
