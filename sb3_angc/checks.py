"""Checks of arguments and of what environments return. Each raises a ``ValueError``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def check_positive_integer(name: str, value: Any) -> None:
    """:raises ValueError: If the value is not an integer of at least 1"""
    if not _is_integer(value) or value < 1:
        raise ValueError(f"{name}={value!r} is not allowed: it must be an integer of at least 1")


def check_fraction(name: str, value: Any) -> None:
    """:raises ValueError: If the value is not a number from 0 to 1"""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r} is not allowed: it must be a number from 0 to 1")


def check_weight(name: str, value: Any) -> None:
    """:raises ValueError: If the value is not a finite number of at least 0"""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r} is not allowed: it must be a finite number of at least 0")


def check_finite(what: str, value: Any) -> None:
    """
    :param what: What is checked, for the error
    :param value: An array, a dict of arrays, or ``None``, which passes
    :raises ValueError: If an element is not finite
    """
    if isinstance(value, dict):
        for key, part in value.items():
            check_finite(f"{what} {key!r}", part)
    elif value is not None and not np.isfinite(value).all():
        raise ValueError(f"The environment returned a {what} that is not finite: {value}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
