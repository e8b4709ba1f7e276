"""Actions of every kind of space: their parts, what is learned of each, and what the environment gets."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_angc import ANGC
from sb3_angc.angc import replay, update
from sb3_angc.angc.actions import ActionParts, random_action
from tests.action_spaces import MATRIX, SPACES, Sum, by_hand, every_space, set_values
from tests.agents import TINY
from tests.reference import trainable

# The parts of an action


@every_space
def test_the_best_action_is_the_best_of_all_combinations(space: spaces.Space[Any]) -> None:
    """Mean over parts: among all actions, one by one, none is worth more than the best of each part."""
    parts, levels = ActionParts(space, 3), by_hand(space)
    assert parts.sizes == [len(part) for part in levels]
    values = th.randn(5, parts.n_outputs, dtype=th.float64, generator=th.Generator().manual_seed(0))
    found = parts.actions(parts.best(values)).numpy()
    assert found.shape == (5, *(space.shape or ()))
    assert found.dtype == (np.int64 if isinstance(space, spaces.Discrete) else space.dtype)
    for row in range(5):
        of_part = np.split(values[row].numpy(), np.cumsum(parts.sizes)[:-1])
        worth = {
            combination: np.mean([part[i] for part, i in zip(of_part, combination, strict=True)])
            for combination in itertools.product(*map(range, parts.sizes))
        }
        best = max(worth, key=lambda combination: worth[combination])
        expected = [part[i] for part, i in zip(levels, best, strict=True)]
        np.testing.assert_allclose(found[row].ravel(), expected, rtol=1e-6)
        assert space.contains(found[row]) or space.shape == ()


@every_space
def test_all_actions_one_by_one(space: spaces.Space[Any]) -> None:
    parts = ActionParts(space, 3)
    every = parts.actions(parts.every()).reshape(-1, parts.n_parts)
    expected = np.array(list(itertools.product(*by_hand(space))))
    np.testing.assert_allclose(every.numpy(), expected, rtol=1e-6)


@every_space
def test_from_the_buffer_come_the_choices_that_were_made(space: spaces.Space[Any]) -> None:
    """Stored as SB3 stores them; seen by the generator as numbers (Box), or one 1 for each part."""
    model = ANGC(Sum(space), n_steps=1, **TINY)
    parts = model.policy.action_parts
    buffer, env = model.replay_buffer, model.get_env()
    assert buffer is not None
    assert env is not None
    for choices in parts.every():
        action = parts.actions(choices[None]).numpy()
        stored = model.policy.scale_action(action) if isinstance(space, spaces.Box) else action
        nothing, zero = np.zeros((1, parts.n_parts)), np.zeros(1)
        buffer.add(nothing, nothing, stored, zero, zero, [{}])
    samples = buffer._get_samples(np.arange(buffer.size()))
    assert th.equal(parts.choices(samples.actions), parts.every())
    batch = replay.as_batch(samples, th.zeros(buffer.size(), parts.n_parts), model.policy, 0.9)
    assert th.equal(batch.choices, parts.every())
    ends = np.cumsum(parts.sizes)
    for part, (end, size) in enumerate(zip(ends, parts.sizes, strict=True)):
        one_hot = batch.taken[:, end - size : end]
        assert th.equal(one_hot.argmax(1) + end - size, batch.choices[:, part])
        assert (one_hot.sum(1) == 1).all()
    if isinstance(space, spaces.Box):
        np.testing.assert_allclose(batch.action_inputs, (batch.choices - parts.first) - 1.0, atol=1e-6)
    else:
        assert th.equal(batch.action_inputs, batch.taken)
    assert model.policy.generator.layer_sizes[0] == parts.n_parts + parts.input_size


@pytest.mark.parametrize("action_bins", [2, 3, 6])
def test_bins_are_evenly_spaced_from_bound_to_bound(action_bins: int) -> None:
    parts = ActionParts(MATRIX, action_bins)
    levels = parts.levels.view(6, action_bins)
    for row, low, high in zip(levels.numpy(), MATRIX.low.flat, MATRIX.high.flat, strict=True):
        assert (row[0], row[-1]) == (low, high)  # exactly: nothing lies outside
        np.testing.assert_allclose(row, np.linspace(low, high, action_bins), rtol=1e-6)
    # Stored by somebody else, as from demonstrations, between two values: the nearer one's
    stored = th.linspace(-1, 1, 101)[:, None].expand(-1, 6)
    nearest = (th.linspace(-1, 1, action_bins) - stored[:, :1]).abs().argmin(1)
    far_from_middle = ((stored[:, 0] + 1) / 2 * (action_bins - 1) % 1 - 0.5).abs() > 1e-3
    choices = parts.choices(stored) - parts.first
    assert (choices[far_from_middle] == nearest[far_from_middle, None]).all()


@every_space
def test_random_actions_are_uniform_over_the_values(space: spaces.Space[Any]) -> None:
    space.seed(0)
    drawn = np.array([np.ravel(random_action(space, 3)) for _ in range(3000)])
    for column, values in zip(drawn.T, by_hand(space), strict=True):
        shares = [np.isclose(column, value).mean() for value in values]
        assert sum(shares) == pytest.approx(1)
        np.testing.assert_allclose(shares, 1 / len(values), atol=0.05)


# What is learned


def test_target_and_clamped_values_by_hand() -> None:
    """
    Two parts of two and three values. Q = (1, 4 | 0, 2, 7), Q_target = (10, 20 | 30, 40, 50), r = 1, gamma is
    0.5: the controller chooses the second and the third, which the target values at (20 + 50) / 2 = 35, so
    that t = 18.5. The choices taken, (0, 1), are worth 3 and 5 less than the best of their parts, 4 on the
    average: the first is to be one above t, the second one below.
    """
    model = ANGC(Sum(spaces.MultiDiscrete([2, 3])), gamma=0.5, n_steps=1, **TINY)
    policy, parts = model.policy, model.policy.action_parts
    set_values(policy.controller, [1.0, 4, 0, 2, 7])
    set_values(policy.controller_target, [10.0, 20, 30, 40, 50])
    choices = parts.choices(th.tensor([[0, 1]]))
    features = th.zeros(1, 2)
    taken = parts.chosen(choices, th.float32)
    batch = replay.Batch(
        features, choices, taken, taken, features, features, th.ones(1, 1), th.full((1, 1), 0.5)
    )
    targets = update.target_values(policy, batch, batch.rewards, True)
    assert targets.tolist() == [[18.5]]
    set_values(policy.controller_target, [30.0, 20, 50, 40, 30])
    assert update.target_values(policy, batch, batch.rewards, True).tolist() == [[1 + 0.5 * (20 + 30) / 2]]
    assert update.target_values(policy, batch, batch.rewards, False).tolist() == [[1 + 0.5 * (30 + 50) / 2]]
    _, values, clamped = update.clamp_controller(policy, batch, targets, False)
    assert clamped is not None
    assert clamped.tolist() == [[1, 0, 0, 1, 0]]
    assert (values * clamped).tolist() == [[19.5, 0, 0, 17.5, 0]]
    _, values, clamped = update.clamp_controller(policy, batch, targets, True)
    assert clamped is None
    assert values.tolist() == [[19.5, 4, 0, 17.5, 7]]


@pytest.mark.parametrize("space", [SPACES["MultiDiscrete"], MATRIX], ids=str)
def test_updates_are_the_gradient_of_the_parts_errors(space: spaces.Space[Any]) -> None:
    """
    Released preset, whose updates are a gradient: of ``1/2 sum_j (y_j - Q_j)^2``, by autograd. The ``y_j`` of
    a sample have its target as their mean, and differ as the advantages of its choices do.
    """
    kwargs = {"net_arch": [16, 16], "circuit": "released", "normalize_values": False}
    model = ANGC(Sum(space), **{**TINY, "policy_kwargs": kwargs}).learn(150)
    model.policy.double()
    policy, batch = model.policy, model.sample(32)
    batch = replay.Batch(*(field.double() if field.is_floating_point() else field for field in batch))
    targets = update.target_values(policy, batch, batch.rewards, True)
    found = update.local_updates(policy, batch, update.Objective(1.0, None, True, False))
    parameters = trainable(policy.controller)
    values = th.func.functional_call(policy.controller, parameters, (batch.features,))
    taken = values.gather(1, batch.choices)
    best = values.detach().gather(1, policy.action_parts.best(values.detach()))
    wanted = (
        targets - best + best.mean(1, keepdim=True) + taken.detach() - taken.detach().mean(1, keepdim=True)
    )
    th.testing.assert_close(wanted.mean(1, keepdim=True), targets)
    errors = wanted - taken
    loss = errors.square().sum(1).mean() / 2
    gradient = th.autograd.grad(loss, list(parameters.values()))
    for (name, ours), theirs in zip(found.controller.items(), gradient, strict=True):
        th.testing.assert_close(ours, -theirs, msg=name)
    th.testing.assert_close(found.loss, errors.detach().square().mean() / 2)


@pytest.mark.parametrize("action_input", [False, True], ids=["outputs", "inputs"])
@pytest.mark.parametrize("kind", ["MultiDiscrete", "MultiBinary", "Box, matrix", "Discrete from 5"])
def test_learns_what_each_part_is_to_be(kind: str, action_input: bool) -> None:
    """The optimum is known, 0, among up to 729 actions."""
    env = Sum(SPACES[kind])
    policy_kwargs = {"net_arch": [64], "action_input": action_input}
    settings = {**TINY, "train_freq": 1, "batch_size": 64, "policy_kwargs": policy_kwargs}
    model = ANGC(env, learning_rate=1e-2, gamma=0.0, n_steps=1, **settings)
    # With actions as inputs the choices of all parts share one output, which takes longer to learn.
    model.learn(3000 if action_input else 2000)
    env.action_space.seed(0)
    rewards = []
    for _ in range(200):
        observation, _ = env.reset()
        rewards.append(env.step(model.predict(observation, deterministic=True)[0])[1])
    assert np.mean(np.array(rewards) > -1e-5) > 0.95
