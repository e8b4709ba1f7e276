"""Agents with the tuned settings of ``angc.yml``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium as gym
import stable_baselines3
from stable_baselines3.common.utils import LinearSchedule

from sb3_angc.common.environments import register_minatar
from sb3_angc.hyperparams import tuned_settings
from sb3_angc.saving.resuming import ResumableAlgorithm

SelfTuned = TypeVar("SelfTuned", bound="TunedAlgorithm")
Wrapper = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]
# What settings in ``angc.yml`` have beside the constructor's arguments
NOT_ARGUMENTS = ("n_timesteps", "env_wrapper")


class TunedAlgorithm(ResumableAlgorithm):
    """An algorithm that knows good settings for some environments."""

    #: Steps of a call of ``learn()`` that is given none
    budget: int = 50_000

    @classmethod
    def tuned(cls: type[SelfTuned], env_id: str, **changes: Any) -> SelfTuned:
        """
        An agent with the tuned settings for an environment, in its wrappers. ``learn()`` without a number
        then trains for the tuned number of steps. RL Zoo's ``train --algo angc`` has the same settings.

        :param env_id: Id of an environment in ``sb3_angc/hyperparams/angc.yml``
        :param changes: Constructor's arguments that take the place of the tuned ones, ``env`` among them
        :return: The agent
        :raises ValueError: If the environment has no tuned settings
        :raises ImportError: If pyyaml is not installed, which the extra ``extra`` brings
        """
        settings = {name: _plain(name, value) for name, value in tuned_settings(env_id).items()}
        arguments = {name: value for name, value in settings.items() if name not in NOT_ARGUMENTS}
        if "env" not in changes:
            changes = {**changes, "env": make_tuned_env(env_id)}
        make_model: Callable[..., SelfTuned] = cls
        model = make_model(**{**arguments, **changes})
        model.budget = int(settings["n_timesteps"])
        return model


def make_tuned_env(env_id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """
    :param env_id: Id of an environment in ``sb3_angc/hyperparams/angc.yml``
    :param kwargs: The environment's
    :return: The environment in the wrappers that its settings name
    :raises ValueError: If the environment has no tuned settings
    """
    named = tuned_settings(env_id).get("env_wrapper") or []
    if env_id.startswith("MinAtar/"):
        register_minatar()
    env = gym.make(env_id, **kwargs)
    for name in named if isinstance(named, list) else [named]:
        env = _wrapper(name)(env)
    return env


def _wrapper(named: str | dict[str, dict[str, Any]]) -> Wrapper:
    """A wrapper as RL Zoo's settings name it: ``module.Class``, or that with its arguments."""
    [(path, kwargs)] = named.items() if isinstance(named, dict) else [(named, {})]
    module, _, name = path.rpartition(".")
    wrapper = getattr(importlib.import_module(module), name)
    return lambda env: wrapper(env, **kwargs)


def _plain(name: str, value: Any) -> Any:
    """What RL Zoo's settings say in text, as ``ANGC`` takes it; a list where that is a pair, as a tuple."""
    if name == "learning_rate" and isinstance(value, str):
        return LinearSchedule(start=float(value.removeprefix("lin_")), end=0.0, end_fraction=1.0)
    if name == "replay_buffer_class":
        return getattr(stable_baselines3, value)
    return tuple(value) if name == "train_freq" and isinstance(value, list) else value
