"""The agents that are timed: equal settings, and replay buffers full of real transitions."""

import importlib.util
import inspect
from typing import Any, TypeVar

import gymnasium as gym
import yaml
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule

from benchmarks.experiments.speed.plan import TUNED, Plan
from benchmarks.runner.provenance import ROOT
from sb3_angc import ANGC
from sb3_angc.angc.compiled import CompiledUpdate
from sb3_angc.hyperparams import hyperparams

Agent = TypeVar("Agent", bound=OffPolicyAlgorithm)

ENVIRONMENT = "LunarLander-v3"
MINATAR = "MinAtar/Breakout-v1"
MINATAR_IS_MISSING = "MinAtar is not installed: pip install 'sb3_angc[minatar]'"
SBX_IS_MISSING = "SBX is not installed: pip install 'sb3_angc[sbx]'"


def tuned(environment: str) -> dict[str, Any]:
    """
    What ``TUNED`` says, the budget ``n_timesteps`` among it.

    :param environment: its id
    """
    chosen: dict[str, Any] = yaml.safe_load((ROOT / TUNED).read_text(encoding="utf-8"))[environment]
    return chosen


def settings() -> dict[str, Any]:
    """Those of ``TUNED``, as arguments of ``ANGC``."""
    chosen = tuned(ENVIRONMENT)
    del chosen["n_timesteps"]
    # The Zoo's way to write a rate that falls to 0
    start = float(str(chosen["learning_rate"]).removeprefix("lin_"))
    chosen["learning_rate"] = LinearSchedule(start, 0.0, 1.0)
    return chosen


def peer_settings() -> dict[str, Any]:
    """What of these a DQN understands, with a network of the controller's layers, and one-step returns."""
    chosen = settings()
    net_arch = chosen["policy_kwargs"]["net_arch"]
    # Peers keep their own limit on the gradient (SBX's has none that could be set) and their own buffers.
    names = inspect.signature(DQN).parameters.keys() - {"n_steps", "max_grad_norm", "replay_buffer_kwargs"}
    return {
        **{name: value for name, value in chosen.items() if name in names},
        "policy_kwargs": {"net_arch": net_arch["controller"] if isinstance(net_arch, dict) else net_arch},
    }


def has_sbx() -> bool:
    """Whether the optional peer is installed."""
    return importlib.util.find_spec("sbx") is not None


def filled(
    algorithm: type[Agent], transitions: int, environment: str = ENVIRONMENT, **arguments: Any
) -> Agent:
    """
    An agent that has acted at random for a while and learned nothing yet.

    :param algorithm: its class
    :param transitions: how long
    :param environment: its id
    :param arguments: of the class
    """
    arguments = {**arguments, "learning_starts": transitions, "seed": 0, "device": "cpu"}
    agent = algorithm(env=gym.make(environment), **arguments)
    return agent.learn(transitions)


def angc(transitions: int, circuit: str = "settled", **arguments: Any) -> ANGC:
    """
    ANGC with the settings of ``TUNED``.

    :param transitions: in its buffer
    :param circuit: preset
    :param arguments: changes
    """
    chosen = settings()
    policy_kwargs = {**chosen["policy_kwargs"], **arguments.get("policy_kwargs", {}), "circuit": circuit}
    return filled(ANGC, transitions, **{**chosen, **arguments, "policy_kwargs": policy_kwargs})


def compiled(agent: ANGC, plan: Plan) -> ANGC:
    """
    The agent after what ``compile_updates=True`` does.

    :param agent: that has made no update yet
    :param plan: which compiler
    """
    agent.compile_updates = True
    agent._compiled_update = CompiledUpdate(backend=plan.compiler)
    return agent


def dqn(transitions: int) -> DQN:
    """
    SB3's DQN with the same settings.

    :param transitions: in its buffer
    """
    return filled(DQN, transitions, **peer_settings())


def minatar(transitions: int) -> tuple[ANGC, DQN]:
    """
    ANGC and SB3's DQN for MinAtar's Breakout, with the same layers and the settings of the study.

    :param transitions: in their buffers
    """
    from benchmarks.environments.minatar import SETTINGS, DQNPolicy

    ours = {name: value for name, value in hyperparams[MINATAR].items() if name != "n_timesteps"}
    theirs = {name: value for name, value in SETTINGS["default"].items() if name != "n_timesteps"}
    dqn = filled(DQN, transitions, MINATAR, **{**theirs, "policy": DQNPolicy})
    return filled(ANGC, transitions, MINATAR, **ours), dqn


def sbx_dqn(transitions: int) -> OffPolicyAlgorithm:
    """
    SBX's DQN (JAX, jitted) with the same settings.

    :param transitions: in its buffer
    """
    from sbx import DQN as SBXDQN

    agent: OffPolicyAlgorithm = filled(SBXDQN, transitions, **peer_settings())
    return agent
