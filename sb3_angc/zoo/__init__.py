"""
ANGC in RL Zoo: the Zoo's own commands, with ``angc`` among its algorithms::

    python -m sb3_angc.zoo train --algo angc --env CartPole-v1
    python -m sb3_angc.zoo enjoy --algo angc --env CartPole-v1 -f logs
    python -m sb3_angc.zoo benchmark --log-dir logs --benchmark-dir results

Commands and flags are the Zoo's; plots have one flag more, ``--figures FOLDER``, and so have ``record_video``
and ``benchmark``, ``--gym-packages MODULE``. A script of one's own calls :func:`register` before the Zoo
parses its arguments.
"""

import argparse
import contextlib
import importlib.util
import shutil
import traceback
from pathlib import Path
from typing import Any

import gymnasium as gym

try:
    import rl_zoo3.exp_manager
    import rl_zoo3.train
except ImportError as error:
    raise ImportError(f"{error}: RL Zoo is an extra, pip install 'sb3_angc[zoo]'") from error

from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.vec_env import VecEnv

from sb3_angc import ANGC
from sb3_angc.angc.arguments import check_observation_space, policy_for
from sb3_angc.common.checks import in_a_line
from sb3_angc.common.environments import register_minatar
from sb3_angc.zoo.search_space import convert_angc_params, sample_angc_params, with_sb3_schedule

__all__ = ["Manager", "register"]

SBX_DQN = "sbx_dqn"
# Packages whose refusals are told in a line
REFUSING = ("sb3_angc", "stable_baselines3", "gymnasium")
# Settings of an algorithm where no -conf is given: the Zoo looks in its own package only, by its name.
SETTINGS = {
    "angc": "sb3_angc.hyperparams",
    SBX_DQN: str(Path(rl_zoo3.exp_manager.__file__).parent / "hyperparams" / "dqn.yml"),
}


class SBXDQN:
    """SBX's DQN, which is imported where it is made: JAX takes seconds."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """An agent of SBX."""
        return importlib.import_module("sbx").DQN(*args, **kwargs)

    @staticmethod
    def load(*args: Any, **kwargs: Any) -> Any:
        """An agent of SBX that was saved."""
        return importlib.import_module("sbx").DQN.load(*args, **kwargs)


class Manager(rl_zoo3.exp_manager.ExperimentManager):
    """
    The Zoo's manager of a run, which also finds the settings of a plugin, and the policy where those name
    none; it evaluates in the environment that it trains in, and a run that does not start leaves no folder.

    :param args: The parsed arguments, which are saved beside the agent
    :param algo: The algorithm
    :param more: The Zoo's
    :param settings: The Zoo's
    """

    def __init__(self, args: argparse.Namespace, algo: str, *more: Any, **settings: Any) -> None:
        if settings.get("config") is None and algo in SETTINGS:
            settings["config"] = SETTINGS[algo]
            if algo == "angc":  # a module, where a file would be one of this machine
                args.conf_file = SETTINGS[algo]
        super().__init__(args, algo, *more, **settings)

    def setup_experiment(self) -> Any:
        """As the Zoo's; what ``angc`` cannot train is told in a line, errors of other code in full."""
        try:
            return super().setup_experiment()
        except (AssertionError, ValueError) as error:  # SB3's own refusals are assertions
            *_, (raised_in, _) = traceback.walk_tb(error.__traceback__)
            package = raised_in.f_globals.get("__name__", "").partition(".")[0]
            if self.algo != "angc" or package not in REFUSING:
                raise
            raise SystemExit(f"error: {in_a_line(error)}") from error
        finally:
            # Settings are saved last. Without them the folder would count as the newest run, with no agent.
            if not self.optimize_hyperparameters and not Path(self.params_path, "config.yml").exists():
                shutil.rmtree(self.save_path, ignore_errors=True)

    def create_envs(self, *args: Any, **kwargs: Any) -> Any:
        """As the Zoo's; an observation that cannot be vectorised is refused as ``ANGC`` refuses it."""
        try:
            return super().create_envs(*args, **kwargs)
        except (TypeError, NotImplementedError):  # SB3's, of spaces without a shape and of nested ones
            if self.algo == "angc":
                env = gym.make(self.env_name.gym_id, **self.env_kwargs)
                check_observation_space((self.env_wrapper or (lambda env: env))(env).observation_space)
            raise

    def _preprocess_hyperparams(self, hyperparams: dict[str, Any]) -> Any:
        prepared, *others = super()._preprocess_hyperparams(hyperparams)
        if self._eval_env_kwargs_args is None:  # the Zoo evaluates without the env_kwargs of the settings
            self.eval_env_kwargs = self.env_kwargs
        return with_sb3_schedule(prepared) if self.algo == "angc" else prepared, *others

    def _preprocess_action_noise(
        self, hyperparams: dict[str, Any], saved_hyperparams: dict[str, Any], env: VecEnv
    ) -> dict[str, Any]:
        # The first that the Zoo calls when the environment is made
        if self.algo == "angc" and "policy" not in hyperparams:
            hyperparams["policy"] = saved_hyperparams["policy"] = policy_for(env.observation_space)
        prepared: dict[str, Any] = super()._preprocess_action_noise(hyperparams, saved_hyperparams, env)
        return prepared


def register() -> None:
    """
    Make ``angc`` known to RL Zoo in this process, for training, watching and tuning; and where SBX is
    installed, its DQN as ``sbx_dqn``, with the Zoo's settings of ``dqn``.
    Call it before the Zoo parses its arguments.
    """
    with contextlib.suppress(ImportError):
        register_minatar()
    # The Zoo's modules share these dictionaries: they are changed in place.
    ALGOS["angc"] = ANGC
    HYPERPARAMS_SAMPLER["angc"] = sample_angc_params
    HYPERPARAMS_CONVERTER["angc"] = convert_angc_params
    if importlib.util.find_spec("sbx") is not None:
        sbx_dqn: Any = SBXDQN  # no class of algorithms, but made and loaded as one
        ALGOS[SBX_DQN] = sbx_dqn
        HYPERPARAMS_SAMPLER[SBX_DQN] = HYPERPARAMS_SAMPLER["dqn"]
        HYPERPARAMS_CONVERTER[SBX_DQN] = HYPERPARAMS_CONVERTER["dqn"]
    for module in (rl_zoo3.exp_manager, rl_zoo3.train):
        vars(module)["ExperimentManager"] = Manager
