"""Random choices: those of each part of an action, and those that are kept for some steps."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.utils import set_random_seed

from sb3_angc import ANGC
from sb3_angc.angc.exploration import KeptChoices, draw, mostly, random_actions
from tests.action_spaces import SPACES, Sum, every_space, set_values
from tests.agents import TINY


def test_each_part_draws_its_own_epsilon() -> None:
    model = ANGC(Sum(spaces.MultiBinary(2)), **TINY)
    model.exploration_rate = 0.5
    set_values(model.policy.controller, [0.0, 1, 0, 1])  # the best is (1, 1)
    np.random.seed(0)  # noqa: NPY002 -- the generator that SB3 seeds
    actions = np.concatenate([model.predict(np.zeros((8, 2)))[0] for _ in range(500)])
    # A part is 0 if it is random and then 0: with probability 1/4, independently of the other
    assert np.mean(actions == 0) == pytest.approx(0.25, abs=0.03)
    assert np.mean((actions == 0).all(axis=1)) == pytest.approx(1 / 16, abs=0.02)


def test_draws_of_a_discrete_action_are_those_of_dqn() -> None:
    """One number for each environment, then a sample of the space for each that explores."""
    space = spaces.Discrete(7, seed=3)
    set_random_seed(0)
    explores = draw(space, 50, 0.3)
    actions = random_actions(space, 3, explores)
    after = np.random.rand()  # noqa: NPY002
    set_random_seed(0)
    space.seed(3)
    expected = np.random.rand(50) < 0.3  # noqa: NPY002
    assert (explores == expected).all()
    assert actions[expected].tolist() == [space.sample() for _ in range(expected.sum())]
    assert np.random.rand() == after  # noqa: NPY002


@pytest.mark.parametrize(
    ("explores", "is_random"),
    [
        (np.array([True, False]), [True, False]),  # one part without a shape
        (np.array([[True, True, False], [True, False, False]]), [True, False]),
        (np.array([[True, False], [True, True]]), [False, True]),  # one of two is not most
        (np.array([[[True, False], [True, True]]]), [True]),
    ],
)
def test_an_action_is_random_where_most_of_its_parts_are(explores: Any, is_random: list[bool]) -> None:
    assert mostly(explores).tolist() == is_random


def test_kept_choices_last_as_drawn() -> None:
    """Lengths 1, 2 and 3 in the proportions 1 : 1/4 : 1/9, and no choice changes on the way."""
    keep, lengths = KeptChoices(), []
    rng = np.random.default_rng(0)
    set_random_seed(0)
    before, run = None, 0
    for _ in range(30_000):
        explores, actions = keep(np.ones((1, 1), bool), rng.random((1, 1)), 3)
        assert explores.all()
        if actions[0, 0] == before:
            run += 1
        else:
            lengths.append(run)
            before, run = actions[0, 0], 1
    shares = np.bincount(lengths[1:], minlength=4)[1:] / len(lengths[1:])
    np.testing.assert_allclose(shares, np.array([1, 1 / 4, 1 / 9]) / (1 + 1 / 4 + 1 / 9), atol=0.01)


def test_kept_choices_go_on_alone_and_end_with_the_episode() -> None:
    keep = KeptChoices()
    keep.steps_left, keep.actions = np.array([[2, 0], [2, 2]]), np.array([[5, 0], [6, 7]])
    nowhere, others = np.zeros((2, 2), bool), np.full((2, 2), 9)
    explores, actions = keep(nowhere, others, 4)
    assert explores.tolist() == [[True, False], [True, True]]
    assert actions[explores].tolist() == [5, 6, 7]
    keep.end(np.array([False, True]))
    assert keep(nowhere, others, 4)[0].tolist() == [[True, False], [False, False]]
    assert not keep(nowhere, others, 4)[0].any()


@every_space
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_one_observation_has_one_action(space: spaces.Space[Any], rate: float) -> None:
    env = Sum(space, length=100)
    model = ANGC("MlpPolicy", env, **TINY)
    model.exploration_rate = rate
    observation, _ = env.reset(seed=0)
    for _ in range(20):
        best, _ = model.predict(observation, deterministic=True)
        action, _ = model.predict(observation)
        assert (type(action), action.shape, action.dtype) == (type(best), best.shape, best.dtype)
        assert rate > 0 or (action == best).all()
        observation, *_ = env.step(action)  # which asks whether the action is in its space


def test_no_choice_is_kept_beyond_a_reset() -> None:
    """What a second ``learn()`` resets: a choice that would have lasted for 1000 steps is not taken again."""
    model = ANGC(Sum(SPACES["Box"], length=1000), exploration_steps=10, exploration_final_eps=0.0, **TINY)
    model.learn(60)
    assert model._kept_choices is not None
    model._kept_choices.steps_left = np.full((1, 1), 1000)
    before = model._kept_choices.steps_left
    model.learn(32, reset_num_timesteps=False)  # goes on in the same episode
    assert model._kept_choices.steps_left == 1000 - 32 < before
    model.learn(60)
    assert model._kept_choices.steps_left < 100


@pytest.mark.parametrize("learning_starts", [0, 400])
def test_training_keeps_choices(learning_starts: int) -> None:
    settings = {**TINY, "learning_starts": learning_starts, "exploration_final_eps": 1.0}
    repeats = []
    for exploration_steps in (1, 50):
        env = Sum(SPACES["Box"], length=1000)
        model = ANGC(env, exploration_steps=exploration_steps, **settings).learn(400)
        assert model.replay_buffer is not None
        actions = model.replay_buffer.actions[:400].ravel()
        assert set(np.unique(actions)) == {-1, 0, 1}
        repeats.append(np.mean(actions[1:] == actions[:-1]))
    assert repeats[0] == pytest.approx(1 / 3, abs=0.1)
    assert repeats[1] > repeats[0] + 0.2
