"""Actions of every kind of space: their parts, what is learned of each, and what the environment gets."""

import copy
import itertools
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc import ANGC
from sb3_angc.angc import actions as actions_module
from sb3_angc.angc import replay, update
from sb3_angc.angc.actions import ActionParts, random_action
from sb3_angc.angc.compiled import CompiledUpdate
from sb3_angc.angc.exploration import KeptChoices, draw, mostly, random_actions
from sb3_angc.diagnostics.plots import plot_epistemic_reward
from tests.agents import TINY
from tests.reference import trainable

MATRIX = spaces.Box(
    np.array([[-1, 0, 2], [0.1, -3, -1]], np.float32), np.array([[1, 5, 3], [0.7, 9, 1]], np.float32)
)
SPACES: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(3),
    "Discrete from 5": spaces.Discrete(3, start=5),
    "MultiDiscrete": spaces.MultiDiscrete([2, 4, 3]),
    "MultiDiscrete, alike": spaces.MultiDiscrete([3, 3]),
    "MultiDiscrete from elsewhere": spaces.MultiDiscrete([2, 3], start=[7, -2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Box": spaces.Box(-2, 2, (1,), np.float32),
    "Box, one number": spaces.Box(-2, 2, (), np.float32),
    "Box, matrix": MATRIX,
    "Box, float64": spaces.Box(-1, 1, (2,), np.float64),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def by_hand(space: spaces.Space[Any]) -> list[list[Any]]:
    """The values that each part can take, low to high."""
    if isinstance(space, spaces.Discrete):
        return [[space.start + i for i in range(space.n)]]
    if isinstance(space, spaces.MultiDiscrete):
        return [[start + i for i in range(n)] for start, n in zip(space.start, space.nvec, strict=True)]
    if isinstance(space, spaces.MultiBinary):
        return [[0, 1]] * space.shape[0]
    assert isinstance(space, spaces.Box)
    bounds = zip(space.low.flat, space.high.flat, strict=True)
    return [[low, (float(low) + float(high)) / 2, high] for low, high in bounds]


class Sum(gym.Env[Any, Any]):
    """
    Reward: minus how far each part of an action is from what the observation asks of it, in shares of what it
    can be. The best earns 0, and values factor over the parts. Actions outside the space are errors.
    """

    def __init__(self, space: spaces.Space[Any], length: int = 5) -> None:
        self.action_space = copy.deepcopy(space)
        self.levels = by_hand(space)
        self.sizes = np.array([len(levels) for levels in self.levels])
        self.observation_space = spaces.Box(-1, 1, (len(self.sizes),), np.float32)
        self.length = length

    def _observe(self) -> Any:
        self.wanted = self.np_random.integers(self.sizes)
        return np.array(2 * self.wanted / (self.sizes - 1) - 1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a Box of no dimensions takes numbers, and warns of them
            assert self.action_space.contains(action), action
        wrong = [
            abs(part - levels[wanted]) / (levels[-1] - levels[0])
            for part, levels, wanted in zip(np.ravel(action), self.levels, self.wanted, strict=True)
        ]
        reward = -float(sum(wrong))
        self.count += 1
        return self._observe(), reward, False, self.count == self.length, {}


def set_values(circuit: Any, values: Any) -> None:
    """Let a circuit's outputs be these whatever it sees."""
    for bundle in circuit.bundles:
        bundle.weight.zero_()
        bundle.bias.zero_()
    circuit.bundles[-1].bias.copy_(th.as_tensor(values))


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


# Exploring


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


# Around the agent


@every_space
@pytest.mark.parametrize("circuit", ["settled", "paper"])
def test_trains_saves_and_loads(space: spaces.Space[Any], circuit: str, tmp_path: Path) -> None:
    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "circuit": circuit}}
    env = DummyVecEnv([lambda: Sum(space)] * 2)
    model = ANGC("MlpPolicy", env, exploration_steps=4, **settings).learn(200)
    assert model._n_updates > 0
    observations = np.random.default_rng(0).uniform(-1, 1, (30, model.policy.action_parts.n_parts))
    actions, _ = model.predict(observations, deterministic=True)
    assert len(np.unique(actions.reshape(30, -1), axis=0)) > 1 or circuit == "paper"
    one, _ = model.predict(observations[3], deterministic=True)
    assert (one == actions[3]).all()
    assert one.shape == (space.shape or ())
    model.save(tmp_path / "angc")
    model.policy.save(str(tmp_path / "policy"))
    model.save_safe(tmp_path / "safe")
    others = (
        ANGC.load(tmp_path / "angc", env, device="cpu"),
        ANGC.load_safe(tmp_path / "safe", env, device="cpu"),
        type(model.policy).load(str(tmp_path / "policy"), device="cpu"),
    )
    for other in others:
        assert (other.predict(observations, deterministic=True)[0] == actions).all()
    tensor = th.as_tensor(observations, dtype=th.float32)
    assert (model.policy(tensor).numpy() == actions).all()
    assert (model.q_net.predict(observations.astype(np.float32))[0] == actions).all()
    assert pickle.loads(pickle.dumps(model.policy.action_parts)).sizes == model.policy.action_parts.sizes


@pytest.mark.parametrize("kind", ["MultiDiscrete", "Box, matrix"])
def test_a_run_that_was_stopped_goes_on_exactly(kind: str, tmp_path: Path) -> None:
    settings = {**TINY, "exploration_steps": 20, "learning_rate": 1e-3}
    whole = ANGC(Sum(SPACES[kind]), **settings)
    whole.learn(100)
    env = whole.get_env()
    whole.save(tmp_path / "half")
    whole.save_replay_buffer(tmp_path / "buffer")
    half_env = copy.deepcopy(env)
    whole.learn(100, reset_num_timesteps=False)
    rest = ANGC.load(tmp_path / "half", device="cpu")
    rest.set_env(half_env, force_reset=False)  # type: ignore[arg-type]
    rest.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    rest.learn(100, reset_num_timesteps=False)
    for name, value in whole.policy.state_dict().items():
        assert th.equal(value, rest.policy.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["MultiDiscrete", "MultiBinary", "Box, matrix"])
@pytest.mark.parametrize("clamp_all_actions", [False, True])
def test_compiled_updates_are_the_updates(kind: str, clamp_all_actions: bool) -> None:
    th.compiler.reset()
    settings = {**TINY, "clamp_all_actions": clamp_all_actions}
    plain = ANGC(Sum(SPACES[kind]), **settings).learn(150)
    fast = ANGC(Sum(SPACES[kind]), compile_updates=True, **settings)
    fast._compiled_update = CompiledUpdate(backend="aot_eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not work")
        fast.learn(150)
    th.testing.assert_close(
        dict(plain.policy.state_dict()), dict(fast.policy.state_dict()), rtol=1e-4, atol=1e-4
    )


def test_policy_can_be_exported() -> None:
    policy = ANGC(Sum(SPACES["MultiDiscrete"]), **TINY).learn(100).policy
    observations = th.randn(4, 3)
    exported = th.export.export(policy, (observations,))
    assert th.equal(exported.module()(observations), policy(observations))


def test_vec_normalize_and_evaluation() -> None:
    env = VecNormalize(DummyVecEnv([lambda: Sum(MATRIX)]))
    model = ANGC("MlpPolicy", env, **TINY).learn(200)
    assert model._n_updates > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no Monitor
        mean, _ = evaluate_policy(model, env, 3)
    assert np.isfinite(mean)


class Reach(gym.Env[Any, Any]):
    """Two numbers are moved to a goal by steps of their own."""

    observation_space = spaces.Dict(
        dict.fromkeys(("observation", "achieved_goal", "desired_goal"), spaces.Box(-1, 1, (2,), np.float32))
    )
    action_space = spaces.Box(-0.25, 0.25, (2,), np.float32)

    def _observe(self) -> dict[str, Any]:
        return {"observation": self.place, "achieved_goal": self.place, "desired_goal": self.goal}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return np.where(np.abs(achieved - desired).max(axis=-1) < 0.3, 0.0, -1.0).astype(np.float32)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.place, self.goal = np.zeros(2, np.float32), self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = np.clip(self.place + action, -1, 1).astype(np.float32)
        self.count += 1
        reward = float(self.compute_reward(self.place, self.goal, {}))
        return self._observe(), reward, reward == 0, self.count == 10, {"is_success": reward == 0}


def test_hindsight_learns_to_reach() -> None:
    her = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 4}}
    settings = {**TINY, "learning_starts": 200, "train_freq": 1, "batch_size": 64, "alpha_epistemic": 0.0}
    settings["policy_kwargs"] = {"net_arch": [64]}
    model = ANGC(Reach(), gamma=0.9, **her, **settings).learn(1500)  # type: ignore[arg-type]
    env, reached = Reach(), 0
    observation, _ = env.reset(seed=0)
    for _ in range(50):
        done = False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
        reached += terminated
        observation, _ = env.reset()
    assert reached >= 45


def test_epistemic_reward_of_continuous_actions_is_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    env = gym.make("MountainCarContinuous-v0")
    model = ANGC(env, **TINY).learn(100)
    axes = plot_epistemic_reward(model, gym.make("MountainCarContinuous-v0"), resolution=4)
    whole = np.asarray(axes.images[0].get_array())
    of_each = [
        np.asarray(
            plot_epistemic_reward(
                model, gym.make("MountainCarContinuous-v0"), np.array([force], np.float32), resolution=4
            )
            .images[0]
            .get_array()
        )
        for force in (-1, 0, 1)
    ]
    np.testing.assert_allclose(whole, np.mean(of_each, axis=0), rtol=1e-5)
    many = ANGC(env, **{**TINY, "policy_kwargs": {"action_bins": 101}})
    with pytest.raises(ValueError, match="there are 101 actions, and the mean is taken over at most 100"):
        plot_epistemic_reward(many, gym.make("MountainCarContinuous-v0"), resolution=4)


# What is refused


@pytest.mark.parametrize(
    ("space", "kwargs", "message"),
    [
        (
            spaces.Box(-np.inf, np.inf, (2,)),
            {},
            "is not allowed: Its bounds must be finite, and the upper ones above the lower ones: give it "
            "such bounds with gymnasium's TransformAction",
        ),
        (spaces.Box(-1, np.inf, (2,)), {}, "Its bounds must be finite"),
        (spaces.Box(-3e38, 3e38, (2,)), {}, "Its bounds must be finite"),
        (spaces.Box(1, 1, (2,)), {}, "the upper ones above the lower ones"),
        (spaces.Box(0, 5, (2,), np.int32), {}, "Integers are a MultiDiscrete"),
        (spaces.Box(0, 1, (2**17,)), {}, "393216 values together, and at most 262144 are allowed"),
        (spaces.Box(0, 1, (2,)), {"action_bins": 10**9}, "with action_bins=1000000000 is not allowed"),
        (spaces.Box(0, 1, (2,)), {"action_bins": 1}, "action_bins=1 is not allowed: it must be an integer"),
        (spaces.Box(0, 1, (2,)), {"action_bins": 2.5}, "action_bins=2.5 is not allowed"),
        (spaces.MultiDiscrete([2**17, 2**18]), {}, "393216 values together"),
        (spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])), {}, "flatten it with gymnasium's TransformAction"),
        (spaces.MultiBinary([2, 3]), {}, "flatten it with gymnasium's TransformAction"),
        (
            spaces.Tuple([spaces.Discrete(2)]),
            {},
            "It must be one of Discrete, MultiDiscrete, MultiBinary, Box. Make it one",
        ),
    ],
    ids=str,
)
def test_spaces_that_are_refused(space: spaces.Space[Any], kwargs: dict[str, Any], message: str) -> None:
    class Env(gym.Env[Any, Any]):
        observation_space = spaces.Box(-1, 1, (2,))
        action_space = space

    with pytest.raises(ValueError, match=re.escape(message)):
        ANGC("MlpPolicy", Env(), policy_kwargs=kwargs)


def test_the_largest_output_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "LARGEST_OUTPUT", 6)
    assert ActionParts(spaces.MultiBinary(3), 3).n_outputs == 6
    with pytest.raises(ValueError, match="9 values together, and at most 6"):
        ActionParts(spaces.Box(0, 1, (3,)), 3)
