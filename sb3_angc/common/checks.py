"""Whether values are what they should be. Each check raises a ``ValueError`` that names the argument."""

from __future__ import annotations

import math
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
