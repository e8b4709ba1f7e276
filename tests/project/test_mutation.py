"""Mistakes are planted in the syntax tree of the function named, and nowhere else."""

import ast
from pathlib import Path

import pytest

from tests.mutation.mistakes import MUTANTS, TESTS
from tests.mutation.planting import Mutant, plant

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
def first(x):
    """x + 1"""
    # x + 1
    return x + 1


class Thing:
    def method(self, x):
        y = x + 1
        self.count()
        if x:
            self.reset()
            return y
        return f(x + 2)
'''


def planted(function: str, original: str, mistake: str) -> str:
    return plant(SOURCE, Mutant("file.py", function, original, mistake))


def test_expression_in_a_function() -> None:
    expected = SOURCE.replace("return x + 1", "return x - 1")
    assert planted("first", "x + 1", "x - 1") == ast.unparse(ast.parse(expected))


def test_expression_in_a_method_whatever_its_spaces() -> None:
    assert "y = x - 1" in planted("Thing.method", "x+1", "x - 1")
    assert "return x + 1" in planted("Thing.method", "x+1", "x - 1")  # of the other function


def test_statements() -> None:
    assert "count" not in planted("Thing.method", "self.count()", "pass")
    changed = planted("Thing.method", "self.reset()\nreturn y", "return x")
    assert "reset" not in changed
    assert "return x\n" in changed


@pytest.mark.parametrize(
    ("function", "original", "message"),
    [
        ("first", "x + 2", "0 times"),
        ("Thing.method", "x", "times, not once"),
        ("second", "x + 1", "second is not there once"),
        ("Thing.other", "x + 1", "Thing.other is not there once"),
    ],
)
def test_what_is_not_there_once_is_refused(function: str, original: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted(function, original, "0")


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_every_mistake_has_its_place(mutant: Mutant) -> None:
    source = (ROOT / "sb3_angc" / mutant.file).read_text(encoding="utf-8")
    assert plant(source, mutant) != ast.unparse(ast.parse(source))
    assert all((ROOT / "tests" / name).exists() for name in TESTS[mutant.file])
