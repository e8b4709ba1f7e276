"""Environments by their id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import gymnasium as gym
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.type_aliases import GymEnv

from sb3_angc.common.checks import require

# Training starts from the seed itself: added to it, so that episodes of an evaluation are others.
EVALUATION_SEED_OFFSET = 1_000_000


def register_minatar() -> None:
    """
    Make MinAtar's games known to Gymnasium, which MinAtar does not by itself.

    :raises ImportError: If MinAtar is not installed
    """
    if "MinAtar/Breakout-v1" not in gym.registry:
        try:
            from minatar.gym import register_envs
        except ImportError as error:
            raise ImportError(f"{error}: MinAtar is an extra, pip install 'sb3_angc[minatar]'") from error
        register_envs()


def make_env(env: GymEnv | str, verbose: int = 0, policies: Iterable[str] = ()) -> GymEnv:
    """
    :param env: An environment, which is returned as it is, or the id of a registered one
    :param verbose: From 1 on, a line says that one is made
    :param policies: What the id may be a misspelling of
    :return: The environment
    :raises ValueError: If no environment has this id, or it is none
    """
    if isinstance(env, str) and env.startswith("MinAtar/"):
        register_minatar()
    try:
        made: GymEnv = maybe_make_env(env, verbose)
    except gym.error.UnregisteredEnv as error:
        close = difflib.get_close_matches(str(env), policies, n=1)
        meant = f" Or is the policy {close[0]!r} meant?" if close else ""
        raise ValueError(f"env={env!r} is not a registered environment: {error}{meant}") from error
    allowed = (
        "an environment, a VecEnv or the id of a registered environment, and no class or function of one"
    )
    # Not by its type: SB3 takes environments of the former gym, too.
    is_environment = hasattr(made, "observation_space") and not isinstance(made, type)
    require("env", env, is_environment, allowed)
    return made
