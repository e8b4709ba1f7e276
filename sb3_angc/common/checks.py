"""Whether values are what they should be. Each check raises a ``ValueError`` that names the argument."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch as th


def is_integer(value: object, at_least: int) -> bool:
    """Whether a value is an integer, Python's or numpy's, and not too small. A truth value is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= at_least)


def is_number(value: object) -> bool:
    """Whether a value is a number, Python's or numpy's, and not nan. A truth value is none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(value == value)


def require(name: str, value: object, is_allowed: bool, allowed: str) -> None:
    """
    :param name: The argument's name
    :param value: What it was given
    :param is_allowed: Whether it may be that
    :param allowed: What it may be, to go on after "it must be"
    :raises ValueError: If it may not
    """
    if not is_allowed:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {allowed}")


def check_positive_integer(name: str, value: object) -> None:
    """:raises ValueError: If the value is not an integer of at least 1"""
    require(name, value, is_integer(value, 1), "an integer of at least 1")


def check_boolean(name: str, value: object) -> None:
    """:raises ValueError: If the value is not a truth value, as the text "False" is not"""
    require(name, value, isinstance(value, (bool, np.bool_)), "True or False")


def check_fraction(name: str, value: Any) -> None:
    """:raises ValueError: If the value is not a number from 0 to 1"""
    require(name, value, is_number(value) and 0 <= value <= 1, "a number from 0 to 1")


def check_not_negative(name: str, value: Any) -> None:
    """:raises ValueError: If the value is not a finite number of at least 0"""
    require(name, value, is_number(value) and 0 <= value < math.inf, "a finite number of at least 0")


def check_names(name: str, value: object) -> None:
    """:raises ValueError: If the value is not a dict with texts as keys"""
    is_allowed = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    require(name, value, is_allowed, "a dict of arguments by their names")


def check_keywords(
    name: str, kwargs: Any, function: Callable[..., Any], *given: Any, hint: str = "", **named: Any
) -> None:
    """
    :param name: The argument that holds the keyword arguments
    :param kwargs: What it was given
    :param function: What is to be called as ``function(*given, **named, **kwargs)``. It is not called: an
        error within it would be told as one of these arguments.
    :param hint: To end the error with
    :raises ValueError: If it takes no such arguments
    """
    check_names(name, kwargs)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some written in C tell nothing of theirs
        return
    twice = [repr(key) for key in kwargs if key in named]
    try:
        signature.bind(*given, **{**kwargs, **named})
    except TypeError as error:
        problem: str | None = str(error)
    else:
        problem = f"{', '.join(twice)} is told already" if twice else None
    if problem is not None:
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        left = list(signature.parameters.values())[len(given) :]
        names = [each.name for each in left if each.kind not in several and each.name not in named]
        its = getattr(function, "__name__", repr(function))
        raise ValueError(
            f"{name}={kwargs!r} is not allowed: {problem}. It must be a dict of arguments of {its}: "
            f"{', '.join(names) or 'there are none'}{hint and f'. {hint}'}"
        )


def check_finite(what: str, value: Any) -> None:
    """
    :param what: What is checked, for the error
    :param value: An array, a dict of arrays, or ``None``, which passes
    :raises ValueError: If an element is not finite, also as a float32, which is what is stored
    """
    if isinstance(value, dict):
        for key, part in value.items():
            check_finite(f"{what} {key!r}", part)
    elif value is not None and not _is_finite(np.asarray(value)):
        raise ValueError(f"The environment returned a {what} that is not finite as float32: {value}")


def check_finite_tensor(what: str, value: th.Tensor | dict[str, th.Tensor]) -> None:
    """
    :param what: What is checked, for the error
    :param value: A tensor or a dict of tensors
    :raises ValueError: If an element is not finite
    """
    for part in value.values() if isinstance(value, dict) else [value]:
        # The sum is not finite if an element is not, and takes a fraction of the time.
        if not math.isfinite(part.sum()) and not th.isfinite(part).all():
            raise ValueError(f"{what} is not finite: {part}")


def _is_finite(array: np.ndarray[Any, Any]) -> bool:
    if np.issubdtype(array.dtype, np.integer):
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())


def in_a_line(value: Any) -> str:
    """What is printed of a value, in one line: some spaces and errors take several."""
    return " ".join(str(value).split())
