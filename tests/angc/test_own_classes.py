"""What users derive from the agent and its policy, and what scripts written for DQN do with its networks."""

import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.utils import polyak_update

from sb3_angc import ANGC
from sb3_angc.angc.policies import MlpPolicy
from tests.agents import TINY


class OnlyOne(MlpPolicy):
    """A policy that masks all actions but one."""

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        return np.ones(len(observation), np.int64), None


class OnlyZero(ANGC):
    """An agent that masks all actions but one where it is not to explore."""

    def predict(self, observation: Any, *_: Any, **kwargs: Any) -> tuple[Any, None]:
        return np.zeros(len(observation), np.int64), None


class WithBonus(ANGC):
    """An agent with an argument of its own."""

    def __init__(self, policy: Any, env: Any = None, bonus: float = 0.5, **kwargs: Any) -> None:
        self.bonus = bonus
        super().__init__(policy, env, **kwargs)


class Handed(WithBonus):
    """One that hands all on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Forgetful(ANGC):
    """One that does not keep its argument."""

    def __init__(self, policy: Any, env: Any = None, bonus: float = 0.5, **kwargs: Any) -> None:
        super().__init__(policy, env, **kwargs)


@pytest.mark.parametrize("kept", [1, 5])
@pytest.mark.parametrize(("algorithm", "policy", "action"), [(ANGC, OnlyOne, 1), (OnlyZero, MlpPolicy, 0)])
def test_training_acts_by_a_predict_of_ones_own(
    algorithm: type[ANGC], policy: type[MlpPolicy], action: int, kept: int
) -> None:
    greedy: dict[str, Any] = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}
    model = algorithm(policy, "CartPole-v1", exploration_steps=kept, **greedy, **TINY).learn(120)
    assert model.replay_buffer is not None
    assert (model.replay_buffer.actions[TINY["learning_starts"] : 120] == action).all()


@pytest.mark.parametrize("algorithm", [WithBonus, Handed])
def test_safe_files_of_derived_agents(algorithm: type[WithBonus], tmp_path: Path) -> None:
    model = algorithm("MlpPolicy", "CartPole-v1", bonus=0.25, gamma=0.9, **TINY).learn(60)
    model.save_safe(tmp_path / "agent")
    loaded = algorithm.load_safe(tmp_path / "agent", env="CartPole-v1")
    assert (loaded.bonus, loaded.gamma) == (0.25, 0.9)
    observations = th.randn(5, 4)
    assert th.equal(loaded.policy.q_values(observations), model.policy.q_values(observations))


def test_an_argument_that_is_not_kept_is_named(tmp_path: Path) -> None:
    model = Forgetful("MlpPolicy", "CartPole-v1", **TINY)
    with pytest.raises(ValueError, match="bonus cannot be saved safely: keep what the constructor of"):
        model.save_safe(tmp_path / "agent")
    assert not list(tmp_path.iterdir())


def test_targets_are_moved_as_in_dqn() -> None:
    """Copied and averaged by the scripts' own hands, with DQN beside it."""
    observations = th.randn(5, 4)
    for algorithm in (DQN, ANGC):
        model: Any = algorithm("MlpPolicy", "CartPole-v1", seed=0, device="cpu", learning_starts=20, tau=0.01)
        model.learn(100)
        net, target = model.q_net, model.q_net_target.eval()
        apart = net(observations) - target(observations)
        before = [parameter.clone() for parameter in target.parameters()]
        polyak_update(net.parameters(), target.parameters(), 0.25)
        for old, new, moving in zip(before, target.parameters(), net.parameters(), strict=True):
            th.testing.assert_close(new, old.lerp(moving, 0.25))
        target.load_state_dict(net.state_dict())
        assert th.equal(net(observations), target(observations))
        assert apart.abs().max() > 0


def test_a_state_of_other_shapes_is_refused() -> None:
    narrow, wide = (ANGC("CartPole-v1", policy_kwargs={"net_arch": [n]}).q_net for n in (4, 8))
    with pytest.raises(ValueError, match="state_dict is not allowed: it must have the shapes of synapses"):
        wide.load_state_dict(narrow.state_dict())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,)),
        spaces.Discrete(4),
        spaces.Box(0, 255, (1, 12, 12), np.uint8),
        spaces.Dict({"a": spaces.Box(-1, 1, (3,)), "b": spaces.Discrete(4)}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_single_tensor_is_a_batch_of_one(space: spaces.Space[Any]) -> None:
    class Seen(gym.Env[Any, Any]):
        observation_space = space
        action_space = spaces.Discrete(2)

    space.seed(0)
    policy = ANGC(Seen(), buffer_size=10).policy
    batch, _ = policy.obs_to_tensor(space.sample())
    single: Any = {key: part[0] for key, part in batch.items()} if isinstance(batch, dict) else batch[0]
    assert th.equal(policy.q_values(single), policy.q_values(batch))


def test_what_is_stored_is_what_the_constructor_takes() -> None:
    from sb3_angc.saving.safe_files import NOT_STORED, _stored_arguments

    expected = {*inspect.signature(ANGC.__init__).parameters} - {"self", *NOT_STORED}
    assert {*_stored_arguments(ANGC)} == expected
    assert {*_stored_arguments(Handed)} == {*expected, "bonus"}
