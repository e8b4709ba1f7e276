"""The arguments of ``ANGC``: what is refused, and which policy and environment are meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_angc.angc.actions import ACTION_BINS, check_action_space
from sb3_angc.angc.features import is_image
from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import choose_n_steps
from sb3_angc.common.checks import (
    check_boolean,
    check_finite,
    check_fraction,
    check_keywords,
    check_not_negative,
    check_positive_integer,
    in_a_line,
    is_integer,
    is_number,
    require,
)
from sb3_angc.common.environments import make_env

POSITIVE_INTEGERS = (
    *("buffer_size", "batch_size", "n_steps", "target_update_interval", "exploration_steps"),
    "_stats_window_size",
)
FRACTIONS = ("gamma", "tau", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")
NOT_NEGATIVE = ("alpha_instrumental", "alpha_epistemic", "learning_starts")
BOOLEANS = ("double_q", "clamp_all_actions", "compile_updates")


def in_place_of_none(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    What ``load`` was given as ``None`` means what it means to the constructor, which ``load`` passes by.

    :param arguments: What ``ANGC`` was given, by the names of its attributes
    :return: The values of those that are ``None`` and may be
    """
    chosen: dict[str, Any] = {}
    if arguments["replay_buffer_kwargs"] is None:
        chosen["replay_buffer_kwargs"] = {}
    if arguments["tau"] is None:
        chosen["tau"] = choose_tau(None, arguments["target_update_interval"])
    if arguments["n_steps"] is None:
        chosen["n_steps"] = choose_n_steps(
            None,
            arguments["gamma"],
            arguments["replay_buffer_class"],
            arguments["replay_buffer_kwargs"],
            isinstance(arguments["observation_space"], spaces.Dict),
            arguments["optimize_memory_usage"],
        )
    return chosen


def check_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    Refuse what would fail or mislead only after hours of training.

    :param arguments: What ``ANGC`` was given, by the names of its attributes
    :return: The numbers among them, as Python's own: numpy's would make others double
    :raises ValueError: If one is not allowed: argument, value and what is allowed are named
    """
    for name in POSITIVE_INTEGERS:
        check_positive_integer(name.removeprefix("_"), arguments[name])
    for name in FRACTIONS:
        check_fraction(name, arguments[name])
    for name in NOT_NEGATIVE:
        check_not_negative(name, arguments[name])
    if arguments["epistemic_fraction"] is not None:
        check_fraction("epistemic_fraction", arguments["epistemic_fraction"])
    if not callable(arguments["learning_rate"]):
        check_not_negative("learning_rate", arguments["learning_rate"])
    norm = arguments["max_grad_norm"]
    require("max_grad_norm", norm, is_number(norm) and norm > 0, "above 0")

    for name in BOOLEANS:
        check_boolean(name, arguments[name])
    numbers = {name: value.item() for name, value in arguments.items() if isinstance(value, np.number)}
    train_freq = arguments["train_freq"]
    has_unit = isinstance(train_freq, tuple) and len(train_freq) == 2
    steps = train_freq[0] if has_unit else train_freq
    allowed = "an integer of at least 1, or a pair of it and a unit, (4, 'step') or (1, 'episode')"
    require("train_freq", train_freq, is_integer(steps, 1), allowed)
    if has_unit:
        numbers["train_freq"] = (int(steps), train_freq[1])
    steps, seed = arguments["gradient_steps"], arguments["seed"]
    require("gradient_steps", steps, is_integer(steps, -1), "an integer of at least -1")
    is_seed = seed is None or (is_integer(seed, 0) and seed < 2**32)
    require("seed", seed, is_seed, "an integer from 0 to 2**32 - 1")

    kind = arguments["replay_buffer_class"]
    is_buffer = kind is None or (isinstance(kind, type) and issubclass(kind, ReplayBuffer))
    require("replay_buffer_class", kind, is_buffer, "a subclass of ReplayBuffer")
    for name in ("replay_buffer_kwargs", "policy_kwargs"):
        require(name, arguments[name], isinstance(arguments[name], dict), "a dict")
    # Which the policy is given besides: two spaces, and the schedule of the learning rate
    check_keywords("policy_kwargs", arguments["policy_kwargs"], arguments["policy_class"], None, None, None)
    if arguments["clamp_all_actions"] and arguments["policy_kwargs"].get("action_input", False):
        raise ValueError(
            "clamp_all_actions=True is not allowed with action_input=True: the controller's one output is of "
            "the action taken"
        )
    # Before the replay buffer takes its memory
    check_action_space(arguments["action_space"], arguments["policy_kwargs"].get("action_bins", ACTION_BINS))
    return numbers


def check_observation_space(space: spaces.Space[Any], key: str | None = None) -> None:
    """
    :param space: What an agent is to observe
    :param key: Its key, where it is a part of a ``Dict``
    :raises ValueError: If the circuits cannot see what is of this space; the wrapper that helps is named
    """
    if isinstance(space, spaces.Dict) and key is None:
        for name, part in space.items():
            check_observation_space(part, name)
        require("observation_space", space, spaces.flatdim(space) > 0, "of at least one number")
        return
    is_allowed, way_out = True, ""
    if isinstance(space, spaces.Discrete):
        is_allowed, way_out = space.start == 0, "Shift it to start at 0 with gymnasium's TransformObservation"
    elif isinstance(space, spaces.MultiDiscrete):
        is_allowed, way_out = len(space.shape) == 1, "Flatten it with gymnasium's FlattenObservation"
        if is_allowed and np.any(space.start):
            is_allowed, way_out = False, "Shift it to start at 0 with gymnasium's TransformObservation"
    elif isinstance(space, spaces.Box):
        is_allowed, way_out = len(space.shape) > 0, "Give it a dimension with gymnasium's ReshapeObservation"
    elif not isinstance(space, spaces.MultiBinary):
        is_allowed, way_out = False, _way_out(space, key is not None)
    # A part without numbers adds nothing, unless convolutions are to see it.
    if is_allowed and 0 in (space.shape or ()) and (key is None or is_image(space)):
        is_allowed, way_out = False, "It holds no number"
    if not is_allowed:
        where = "observation_space" if key is None else f"observation_space[{key!r}]"
        raise ValueError(f"{where}={in_a_line(space)} is not allowed: the circuits cannot see it. {way_out}")


def _way_out(space: spaces.Space[Any], is_part: bool) -> str:
    """Which wrapper makes what can be seen of a space that is not of numbers, or of several."""
    if type(space).__module__.split(".")[0] == "minigrid":  # its missions, which gymnasium cannot flatten
        return "Leave it out with minigrid.wrappers.ImgObsWrapper, or flatten all with its FlatObsWrapper"
    try:
        can_be_flattened = space.is_np_flattenable
    except NotImplementedError:  # the space of somebody's own
        can_be_flattened = False
    if is_part:
        flatten = ", or flatten all with FlattenObservation" if can_be_flattened else ""
        return f"Leave it out with gymnasium's FilterObservation{flatten}"
    if can_be_flattened:
        return "Flatten it with gymnasium's FlattenObservation"
    return "Make a fixed number of numbers of it with gymnasium's TransformObservation"


def check_normalized_observations(vec_normalize: VecNormalize | None, policy: ANGCPolicy) -> None:
    """
    :param vec_normalize: The ``VecNormalize`` around the environments, if there is one
    :param policy: The agent's
    :raises ValueError: If pixels are normalised, or the buffer could not store what VecNormalize was given
    """
    if vec_normalize is None:
        return
    space = policy.observation_space
    if vec_normalize.norm_obs and isinstance(space, spaces.Dict):
        keys = vec_normalize.norm_obs_keys or []
        others = [key for key in keys if not _was_an_image(space[key], vec_normalize.clip_obs)]
        if others != keys:
            warnings.warn(
                "VecNormalize makes other numbers of the pixels of an image, so that it is seen without "
                f"convolutions. To leave images as they are, give it norm_obs_keys={others}",
                stacklevel=2,
            )
    if vec_normalize.norm_obs and policy.n_pixels > 0 and isinstance(space, spaces.Box):
        raise ValueError(
            "VecNormalize is not allowed on images: their pixels are of one scale already. "
            "Give it norm_obs=False, and it normalises rewards alone"
        )
    if vec_normalize.observation_space != space:
        raise ValueError(
            "A wrapper that changes observations over VecNormalize, as VecFrameStack or VecTransposeImage "
            "(which SB3 adds where channels are last), is not allowed: the replay buffer stores what "
            "VecNormalize was given. Put VecNormalize around all other wrappers"
        )


def _was_an_image(space: spaces.Space[Any], clip_obs: float) -> bool:
    """Whether a part's space is what ``VecNormalize`` writes in the place of an image's."""
    is_box = isinstance(space, spaces.Box) and len(space.shape) == 3
    return is_box and space == spaces.Box(-clip_obs, clip_obs, space.shape, np.float32)


def choose_tau(tau: float | None, target_update_interval: int) -> float:
    """
    :param tau: The argument of ``ANGC``
    :param target_update_interval: The argument of ``ANGC``
    :return: ``tau``; for ``None`` 1 where the target is updated at an interval, and 0.005 at every step
    """
    if tau is not None:
        return tau
    return 1.0 if is_integer(target_update_interval, 2) else 0.005


def warn_of_short_interval(target_update_interval: int, n_envs: int) -> None:
    """Warn as DQN does, except of the default interval, at which every step is meant."""
    if n_envs > target_update_interval > 1:
        warnings.warn(
            "The number of environments used is greater than the target network update interval "
            f"({n_envs} > {target_update_interval}), therefore the target network will be updated after each "
            f"call to env.step() which corresponds to {n_envs} steps.",
            stacklevel=3,
        )


def check_transition(
    observation: Any, reward: Any, infos: list[dict[str, Any]], vec_normalize: VecNormalize | None
) -> None:
    """
    Refuse what is not finite: one bad value in the buffer would reach the weights at some later step.

    :param observation: The new observation of each environment
    :param reward: The reward of each
    :param infos: The info of each, where the last observation of an episode is
    :param vec_normalize: The wrapper whose clipping hides what is infinite
    :raises ValueError: If a value is not finite
    """
    check_finite("reward", reward)
    check_finite("observation", observation)
    for info in infos:
        check_finite("terminal observation", info.get("terminal_observation"))
    if vec_normalize is not None:
        check_finite("reward", vec_normalize.get_original_reward())
        check_finite("observation", vec_normalize.get_original_obs())


def make_policy_and_env(
    policy: str | type[ANGCPolicy] | GymEnv,
    env: GymEnv | str | None,
    aliases: dict[str, type[BasePolicy]],
    verbose: int,
) -> tuple[str | type[ANGCPolicy], GymEnv | None]:
    """
    Make the environment of an id; where the environment stands in the policy's place, choose the policy.

    :param policy: As in :class:`~sb3_angc.angc.angc.ANGC`
    :param env: As there
    :param aliases: Policy classes by name
    :param verbose: As there
    :raises ValueError: If the policy is of another algorithm, or no environment has the given id
    """
    if isinstance(policy, type) and not issubclass(policy, ANGCPolicy):
        raise ValueError(
            f"policy={policy.__name__} is not allowed: it must be {', '.join(aliases)}, "
            "a subclass of sb3_angc.ANGCPolicy or, alone, an environment"
        )
    if isinstance(policy, type) or (isinstance(policy, str) and policy in aliases):
        return policy, None if env is None else _make_env(env, aliases, verbose)
    if env is not None:
        raise ValueError(f"policy={policy!r} is not allowed: it must be {', '.join(aliases)}, or a class")
    made = _make_env(policy, aliases, verbose)
    return policy_for(made.observation_space), made


def _make_env(env: GymEnv | str, aliases: Iterable[str], verbose: int) -> GymEnv:
    made = make_env(env, verbose, aliases)
    check_observation_space(made.observation_space)
    check_action_space(made.action_space)  # SB3 would refuse some in other words
    return made


def policy_for(observation_space: spaces.Space[Any]) -> str:
    """
    :param observation_space: An environment's observation space
    :return: Name of the policy class for it
    """
    if isinstance(observation_space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image(observation_space) else "MlpPolicy"
