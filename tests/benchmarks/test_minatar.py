"""The MinAtar study: both methods have the same layers, see the same image and are trained by the study."""

import inspect
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN

from sb3_angc import ANGC

pytest.importorskip("minatar", reason="MinAtar is the extra 'minatar'")

from benchmarks.environments import minatar
from benchmarks.runner.cell import make_manager
from benchmarks.runner.study import read_study
from sb3_angc.zoo import register

STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "minatar.yml"


@pytest.mark.parametrize("game", ["Breakout", "Asterix"])
def test_both_methods_have_the_same_layers(game: str) -> None:
    """With ANGC's weights, DQN's network has ANGC's values."""
    env = f"MinAtar/{game}-v1"
    angc = ANGC("CnnPolicy", env, buffer_size=100, device="cpu").policy
    dqn = DQN(minatar.DQNPolicy, env, buffer_size=100, device="cpu").policy
    parameters = list(dqn.q_net.parameters())
    assert len(parameters) == 6
    for mine, its in zip(angc.controller.prediction_parameters().values(), parameters, strict=True):
        its.data = mine.detach().reshape(its.shape).clone()
    observations = np.stack([gym.make(env).observation_space.sample() for _ in range(9)])
    tensor, _ = angc.obs_to_tensor(observations)
    assert isinstance(tensor, th.Tensor)
    th.testing.assert_close(angc.q_values(tensor), dqn.q_net(tensor).detach())


def test_both_methods_have_the_same_settings() -> None:
    """Those that the preset leaves to the constructors, whose defaults differ, among them."""
    register()
    agents = {}
    for cell in read_study(STUDY).cells:
        if cell.environment == "MinAtar/Breakout-v1" and cell.seed == 0:
            hyperparams, _ = make_manager(cell, "unused").read_hyperparameters()
            settings = {name: value for name, value in hyperparams.items() if name != "n_timesteps"}
            policy = settings.pop("policy")
            policy = minatar.DQNPolicy if policy == "benchmarks.environments.minatar.DQNPolicy" else policy
            algorithm = {"angc": ANGC, "dqn": DQN}[cell.algorithm]
            agents[cell.algorithm] = algorithm(policy, cell.environment, device="cpu", **settings)
    angc, dqn = agents["angc"], agents["dqn"]
    shared = set(vars(angc)) & set(inspect.signature(DQN).parameters) - {"policy", "env", "policy_kwargs"}
    shared -= {"max_grad_norm"}  # ANGC's results were made when its limit never acted
    assert {"tau", "gamma", "learning_rate", "batch_size", "buffer_size", "gradient_steps"} < shared
    for name in shared:
        assert getattr(angc, name) == getattr(dqn, name), name


def test_study_names_what_exists() -> None:
    study = read_study(STUDY)
    assert len(study.cells) == 2 * 2 * 3
    assert {cell.preset for cell in study.cells} == {"benchmarks.environments.minatar"}
    for cell in study.cells:
        assert gym.spec(cell.environment).id == cell.environment
        policy = cell.hyperparams.get("policy", minatar.hyperparams["default"]["policy"])
        assert policy in ANGC.policy_aliases or hasattr(
            minatar, policy.removeprefix("benchmarks.environments.minatar.")
        )
