"""Checks of arguments and of what environments return. Each raises a ``ValueError``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

if TYPE_CHECKING:
    from sb3_angc.angc.angc import ANGC


def check_arguments(model: ANGC) -> None:
    """
    Refuse what would fail or mislead only after hours of training.

    :param model: With its constructor's arguments as attributes
    :raises ValueError: If one is not allowed
    """
    for name in ("buffer_size", "batch_size", "n_steps", "target_update_interval", "_stats_window_size"):
        check_positive_integer(name.removeprefix("_"), getattr(model, name))
    for name in (
        "gamma",
        "tau",
        "exploration_fraction",
        "exploration_initial_eps",
        "exploration_final_eps",
    ):
        check_fraction(name, getattr(model, name))
    if model.epistemic_fraction is not None:
        check_fraction("epistemic_fraction", model.epistemic_fraction)
    for name in ("alpha_instrumental", "alpha_epistemic", "learning_starts"):
        check_weight(name, getattr(model, name))
    if not callable(model.learning_rate):
        check_weight("learning_rate", model.learning_rate)
    if not _is_number(model.max_grad_norm) or not model.max_grad_norm > 0:
        raise ValueError(f"max_grad_norm={model.max_grad_norm!r} is not allowed: it must be above 0")
    _check_counts(model)
    _check_kinds(model)


def check_batch_fits(batch_size: Any, buffer_size: Any) -> None:
    """
    A loaded model may have less memory than a batch (``buffer_size=1``), to act only.

    :raises ValueError: If a batch does not fit into the memory
    """
    if _is_integer(batch_size) and _is_integer(buffer_size) and 0 < buffer_size < batch_size:
        raise ValueError(
            f"batch_size={batch_size} is not allowed: it must be at most buffer_size={buffer_size}"
        )


def _check_counts(model: ANGC) -> None:
    has_unit = isinstance(model.train_freq, tuple) and len(model.train_freq) == 2
    check_positive_integer("train_freq", model.train_freq[0] if has_unit else model.train_freq)  # type: ignore[index]
    for name, least in (("gradient_steps", -1), ("seed", 0)):
        value = getattr(model, name)
        if (value is None and name == "seed") or (_is_integer(value) and least <= value < 2**32):
            continue
        raise ValueError(f"{name}={value!r} is not allowed: it must be an integer of at least {least}")


def _check_kinds(model: ANGC) -> None:
    actions = model.action_space
    if isinstance(actions, spaces.Discrete) and actions.start != 0:
        raise ValueError(
            f"action_space={actions} is not allowed: actions must start at 0, as the controller's values do. "
            "An ActionWrapper around the environment can shift them"
        )
    buffer_class = model.replay_buffer_class
    if buffer_class is not None and not (
        isinstance(buffer_class, type) and issubclass(buffer_class, ReplayBuffer)
    ):
        raise ValueError(
            f"replay_buffer_class={buffer_class!r} is not allowed: it must be a subclass of ReplayBuffer"
        )
    for name in ("replay_buffer_kwargs", "policy_kwargs"):
        if not isinstance(getattr(model, name), dict):
            raise ValueError(f"{name}={getattr(model, name)!r} is not allowed: it must be a dict")


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
    :raises ValueError: If an element is not finite, also as a float32, which is what is stored
    """
    if isinstance(value, dict):
        for key, part in value.items():
            check_finite(f"{what} {key!r}", part)
    elif value is not None and not _is_finite(np.asarray(value)):
        raise ValueError(f"The environment returned a {what} that is not finite: {value}")


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


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_finite(array: np.ndarray[Any, Any]) -> bool:
    if np.issubdtype(array.dtype, np.integer):
        return True
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())
