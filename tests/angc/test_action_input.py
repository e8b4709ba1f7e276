"""Actions as inputs of the controller: the same values, asked for one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import SimpleMultiObsEnv
from torch.nn import functional as F

from sb3_angc import ANGC
from sb3_angc.angc import replay, update
from tests.action_spaces import Sum
from tests.agents import TINY
from tests.reference import trainable

AS_INPUT: dict[str, Any] = {"net_arch": [16, 16], "action_input": True}


def agent(env: Any = "CartPole-v1", **policy_kwargs: Any) -> ANGC:
    return ANGC(env, **{**TINY, "policy_kwargs": {**AS_INPUT, **policy_kwargs}})


def test_each_action_is_asked_for_by_itself() -> None:
    model = agent().learn(150)
    policy = model.policy
    assert (policy.controller.layer_sizes[0], policy.controller.layer_sizes[-1]) == (4 + 2, 1)
    obs = th.randn(3, 4)
    for action in range(2):
        asked = th.cat([policy.features(obs), F.one_hot(th.full((3,), action), 2).float()], dim=1)
        assert policy.value_scale is not None
        values = policy.value_scale(policy.controller.project(asked))[:, 0]
        th.testing.assert_close(policy.q_values(obs)[:, action], values)
    best = policy.q_values(obs).argmax(1).numpy()
    assert np.array_equal(model.predict(obs.numpy(), deterministic=True)[0], best)
    assert np.array_equal(model.q_net.predict(obs.numpy())[0], best)
    assert np.array_equal(policy(obs).numpy(), best)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3])], ids=str)
def test_updates_are_the_gradient_of_the_squared_error(space: spaces.Space[Any]) -> None:
    """Released preset, whose updates are a gradient: of half the squared TD error, by autograd."""
    model = agent(Sum(space), circuit="released", normalize_values=False).learn(150)
    model.policy.double()
    policy, batch = model.policy, model.sample(32)
    batch = replay.Batch(*(field.double() if field.is_floating_point() else field for field in batch))
    targets = update.target_values(policy, batch, batch.rewards, True)
    found = update.local_updates(policy, batch, update.Objective(1.0, None, True, False))
    parameters = trainable(policy.controller)
    n_choices = policy.action_parts.n_outputs
    values = th.stack(
        [
            th.func.functional_call(
                policy.controller,
                parameters,
                (th.cat([batch.features, F.one_hot(choices, n_choices).double()], dim=1),),
            )[:, 0]
            for choices in batch.choices.unbind(1)
        ],
        dim=1,
    )
    every = policy.action_parts.outputs(policy.controller, batch.features)
    advantages = values.detach() - every.gather(1, policy.action_parts.best(every))
    wanted = targets + advantages - advantages.mean(1, keepdim=True)
    # Each value is a sample of its own, and updates are means over samples.
    loss = (wanted - values).square().mean() / 2
    gradient = th.autograd.grad(loss, list(parameters.values()))
    for (name, ours), theirs in zip(found.controller.items(), gradient, strict=True):
        th.testing.assert_close(ours, -theirs, msg=name)
    th.testing.assert_close(found.loss, loss.detach())


def test_beside_images_too(tmp_path: Path) -> None:
    env = SimpleMultiObsEnv(discrete_actions=True, channel_last=False)
    model = agent(env, cnn_arch=[(2, 3, 4)], net_arch=[16]).learn(150)
    obs = env.observation_space.sample()
    model.save(tmp_path / "agent")
    loaded = ANGC.load(tmp_path / "agent")
    assert loaded.policy.action_input
    assert th.equal(loaded.policy.q_values(obs), model.policy.q_values(obs))
    assert model.policy.q_values(obs).std() > 0


def test_figures_are_of_what_the_controller_learns() -> None:
    model = agent().learn(150)
    circuit, x, y, clamped = model.clamps(model.sample(8))["controller"]
    assert (x.shape, y.shape, clamped) == ((8, 6), (8, 1), None)
    cosines = model.diagnose(with_gradient=True)["controller"].gradient_cosine
    assert all(cosine is not None and cosine > 0.9 for cosine in cosines)
    assert circuit is model.policy.controller


def test_there_is_no_other_action_to_clamp() -> None:
    with pytest.raises(ValueError, match="clamp_all_actions=True is not allowed with action_input=True"):
        ANGC("CartPole-v1", clamp_all_actions=True, **{**TINY, "policy_kwargs": AS_INPUT})
