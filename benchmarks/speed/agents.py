"""The agents that are timed: equal settings, and replay buffers full of real transitions."""

import importlib.util
from typing import Any, TypeVar

import gymnasium as gym
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_angc import ANGC
from sb3_angc.hyperparams import hyperparams

Agent = TypeVar("Agent", bound=OffPolicyAlgorithm)

ENVIRONMENT = "LunarLander-v3"
SBX_IS_MISSING = "SBX is not installed: pip install 'sb3_angc[sbx]'"


def settings(**changes: Any) -> dict[str, Any]:
    """
    The settings of the LunarLander results, which are DQN's arguments as well.

    :param changes: of them
    """
    chosen = {name: value for name, value in hyperparams[ENVIRONMENT].items() if name != "n_timesteps"}
    return {**chosen, **changes}


def has_sbx() -> bool:
    """Whether the optional peer is installed."""
    return importlib.util.find_spec("sbx") is not None


def filled(algorithm: type[Agent], transitions: int, **arguments: Any) -> Agent:
    """
    An agent that has acted at random for a while and learned nothing yet.

    :param algorithm: its class
    :param transitions: how long
    :param arguments: of the class
    """
    arguments = {**arguments, "learning_starts": transitions, "seed": 0, "device": "cpu"}
    agent = algorithm(env=gym.make(ENVIRONMENT), **arguments)
    return agent.learn(transitions)


def angc(transitions: int, circuit: str = "settled", **arguments: Any) -> ANGC:
    """
    ANGC with the settings of the LunarLander results.

    :param transitions: in its buffer
    :param circuit: preset
    :param arguments: changes
    """
    chosen = settings(**arguments)
    chosen["policy_kwargs"] = {**chosen["policy_kwargs"], "circuit": circuit}
    return filled(ANGC, transitions, **chosen)


def dqn(transitions: int) -> DQN:
    """
    SB3's DQN with the same settings, as RL Zoo has them too.

    :param transitions: in its buffer
    """
    return filled(DQN, transitions, **settings())


def sbx_dqn(transitions: int) -> OffPolicyAlgorithm:
    """
    SBX's DQN (JAX, jitted) with the same settings.

    :param transitions: in its buffer
    """
    from sbx import DQN as SBXDQN

    return filled(SBXDQN, transitions, **settings())  # type: ignore[no-any-return]
