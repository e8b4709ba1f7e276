"""The algorithm: what it learns from, how it explores, and that nothing is backpropagated."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import IdentityEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from sb3_angc import ANGC, ANGCPolicy
from sb3_angc.angc import replay, update
from sb3_angc.angc.epistemic import EpistemicReward
from sb3_angc.angc.features import RunningNormalization
from sb3_angc.angc.replay import Batch
from sb3_angc.circuit import learn
from tests.agents import TINY
from tests.envs import ScriptedEnv


def test_environment_first_chooses_the_policy() -> None:
    assert type(ANGC("CartPole-v1", **TINY).policy).__name__ == "ANGCPolicy"
    env = SimpleMultiObsEnv(discrete_actions=True, channel_last=False)
    env.observation_space = spaces.Dict({"vec": env.observation_space["vec"]})  # type: ignore[index]
    assert type(ANGC(env, **TINY).policy).__name__ == "MultiInputPolicy"


def test_learns_the_identity() -> None:
    model = ANGC(
        "MlpPolicy", IdentityEnv(4), learning_rate=1e-2, gamma=0.0, learning_starts=100, seed=0, device="cpu"
    )
    model.learn(1500)
    assert evaluate_policy(model, IdentityEnv(4), 5)[0] > 90  # type: ignore[operator]


def test_values_start_near_zero_where_nothing_else_is_said() -> None:
    """At a tenth of He's scale, the generator at the whole; what is given counts, and so does a norm."""

    def start(**circuit_kwargs: Any) -> ANGCPolicy:
        return ANGC(
            "CartPole-v1", policy_kwargs={"circuit_kwargs": circuit_kwargs}, seed=0, device="cpu"
        ).policy

    x = th.randn(5, 4)
    default, given = start(), start(output_init_scale=1.0)
    th.testing.assert_close(default.q_values(x), 0.1 * given.q_values(x))
    for small, large in zip(default.generator.parameters(), given.generator.parameters(), strict=True):
        assert th.equal(small, large)
    assert start(output_init_scale=0.3).controller.settings.output_init_scale == 0.3
    assert start(weight_norm=2.0).controller.settings.output_init_scale == 1


@pytest.mark.parametrize("circuit", ["settled", "paper", "released"])
def test_no_backpropagation_anywhere(circuit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("backpropagation")

    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "circuit": circuit}}
    ANGC("CartPole-v1", **settings).learn(60)  # torch imports parts of itself late, which may not be patched
    monkeypatch.setattr(th.Tensor, "backward", refuse)
    monkeypatch.setattr(th.autograd, "backward", refuse)
    monkeypatch.setattr(th.autograd, "grad", refuse)
    model = ANGC("CartPole-v1", **settings)
    before = {name: value.clone() for name, value in model.policy.named_parameters()}
    model.learn(200)
    assert model._n_updates > 0
    changed = {name for name, value in model.policy.named_parameters() if not th.equal(value, before[name])}
    assert {name for name in before if name.startswith(("controller.", "generator."))} <= changed
    assert not any(parameter.requires_grad for parameter in model.policy.parameters())


def test_update_lowers_the_td_error_of_the_action_taken() -> None:
    model = ANGC("CartPole-v1", learning_rate=1e-2, **TINY)
    features, actions = th.randn(16, 4), th.randint(0, 2, (16, 1))
    targets = model.policy.controller.project(features).gather(1, actions) + 1
    taken = F.one_hot(actions.squeeze(1), 2).float()
    batch = Batch(features, actions, taken, taken, features, features, targets, targets)
    clamps = update.clamp_controller(model.policy, batch, targets, clamp_all_actions=False)
    controller, losses = model.policy.controller, []
    for _ in range(50):
        state = controller.settle(*clamps)
        learn({controller: controller.local_updates(state)}, model.policy.optimizer)
        losses.append(state.energies[0].mean().item())
    # Half the squared TD error of 1, times the output's precision
    assert losses[0] == pytest.approx(0.5 * model.policy.controller.settings.output_precision)
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("double_q", [True, False])
def test_target_values_by_hand(double_q: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q = (1, 5, 2) and Q_target = (10, 20, 30) everywhere: argmax Q = 1, argmax Q_target = 2."""
    model = ANGC(ScriptedEnv(lambda k: (0, 0, False, False)), gamma=0.5, double_q=double_q, **TINY)
    for circuit, values in (
        (model.policy.controller, [1.0, 5.0, 2.0]),
        (model.policy.controller_target, [10.0, 20.0, 30.0]),
    ):
        for bundle in circuit.bundles:
            bundle.weight.zero_()
        circuit.bundles[-1].bias.copy_(th.tensor(values))  # type: ignore[union-attr]
    rewards, dones = th.tensor([[1.0], [1.0]]), th.tensor([[0.0], [1.0]])
    samples = ReplayBufferSamples(th.zeros(2, 2), th.zeros(2, 1), th.zeros(2, 2), dones, rewards, None)
    # n-step returns bring their own discounts
    for discounts, discount in ((None, 0.5), (th.tensor([[0.125], [0.125]]), 0.125)):
        replayed = samples._replace(discounts=discounts)
        monkeypatch.setattr(model.replay_buffer, "sample", lambda n, env, replayed=replayed: replayed)
        targets = update.target_values(model.policy, model.sample(2), rewards, model.double_q)
        assert targets.tolist() == [[1 + discount * (20 if double_q else 30)], [1.0]]


@pytest.mark.parametrize("double_q", [True, False])
def test_a_circuit_that_leaves_the_projection_acts_and_bootstraps_on_what_it_settles_to(
    double_q: bool,
) -> None:
    """From zeros, over its own error weights, which the target has a copy of."""
    settings = {**TINY, "policy_kwargs": {"net_arch": [8, 8], "circuit": "paper"}}
    policy = ANGC("CartPole-v1", double_q=double_q, **settings).policy
    obs = th.randn(5, 4)
    features = policy.features(obs)
    free = th.zeros(5, 2)
    for circuit, values in (
        (policy.controller, policy.q_values(obs)),
        (policy.controller, policy.q_net(obs)),
        (policy.controller_target, policy.q_net_target(obs)),
    ):
        state = circuit.settle(features, free, free)
        assert th.equal(values, circuit.bundles[-1].predict(state.activities[-1]))
        assert (values - circuit.project(features)).abs().max() > 1e-4
    th.testing.assert_close(policy.q_net(obs), policy.q_net_target(obs))
    policy.controller.bundles[1].error_weight.mul_(-1)
    policy.update_target(0.5)
    assert policy.controller_target.bundles[1].error_weight.abs().max() == 0
    batch = Batch(
        features, th.zeros(5, 1).long(), free, free, features, features, free[:, :1], free[:, :1] + 0.5
    )
    values, chooser = policy.q_net_target(obs), policy.q_net(obs)
    best = (chooser if double_q else values).argmax(1, keepdim=True)
    targets = update.target_values(policy, batch, batch.rewards, double_q)
    th.testing.assert_close(targets, 0.5 * values.gather(1, best))


def test_batches_of_many_updates_are_sampled_at_once() -> None:
    """And hold what the buffer holds: action, reward and next observation of a step are its number."""
    env = ScriptedEnv(lambda k: (k % 10, float(k % 10), False, False))
    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "normalize_features": False}}
    model = ANGC(env, n_steps=1, gamma=0.5, **settings).learn(49)
    sampled: list[int] = []
    sample = model.replay_buffer.sample  # type: ignore[union-attr]
    model.replay_buffer.sample = lambda n, env: sampled.append(n) or sample(n, env)  # type: ignore
    assert model.replay_buffer is not None
    batches = list(replay.batches(model.replay_buffer, 1, 0.5, None, model.policy, 7, 16))
    assert sampled == [7 * 16]
    assert [len(batch.features) for batch in batches] == [16] * 7
    for batch in batches:
        th.testing.assert_close(batch.bootstrap_features, batch.rewards.expand(-1, 2))
        th.testing.assert_close(batch.successor_features, batch.bootstrap_features)
        assert batch.discounts.tolist() == [[0.5]] * 16
    assert not th.equal(batches[0].features, batches[1].features)


def test_truncation_is_not_termination() -> None:
    """Reward 1 at every step, episodes cut at 5: the value is 1 / (1 - gamma) = 2, not less."""
    env = gym.wrappers.TimeLimit(ScriptedEnv(lambda k: (0, 1.0, False, False)), 5)
    settings = {**TINY, "train_freq": 2, "learning_rate": 1e-2, "gamma": 0.5, "alpha_epistemic": 0.0}
    settings["replay_buffer_kwargs"] = {"cut_at_random_choices": False}  # all choices are random
    model = ANGC(env, tau=1.0, target_update_interval=20, exploration_final_eps=1.0, **settings).learn(2500)
    values = model.policy.q_values(th.zeros(1, 2))
    th.testing.assert_close(values, th.full((1, 3), 2.0), rtol=0.05, atol=0)


def test_termination_ends_the_return() -> None:
    env = ScriptedEnv(lambda k: (0, 1.0, True, False))
    settings = {**TINY, "learning_rate": 1e-2, "gamma": 0.5, "alpha_epistemic": 0.0}
    model = ANGC(env, tau=1.0, target_update_interval=20, exploration_final_eps=1.0, **settings).learn(1000)
    th.testing.assert_close(model.policy.q_values(th.zeros(1, 2)), th.full((1, 3), 1.0), rtol=0.05, atol=0)


def learned_reward(reward: EpistemicReward, *discrepancies: float) -> list[float]:
    """The rewards of transitions that are learned from."""
    reward.observe(th.tensor(discrepancies))
    rewards: th.Tensor = reward(th.tensor(discrepancies))
    assert rewards.shape == (len(discrepancies), 1)
    return rewards.flatten().tolist()


def test_epistemic_reward_is_divided_by_its_running_maximum() -> None:
    reward = EpistemicReward("maximum")
    assert learned_reward(reward, 1.0, 4.0) == [0.25, 1.0]
    assert learned_reward(reward, 1.0, 2.0) == [0.25, 0.5]
    assert learned_reward(reward, 8.0, 2.0) == [1.0, 0.25]
    assert reward(th.tensor([16.0, 80.0])).tolist() == [[2.0], [5.0]]  # asking moves nothing
    assert reward.divisor.item() == 8.0
    assert learned_reward(reward, 0.0, 0.0) == [0.0, 0.0]
    assert EpistemicReward("maximum")(th.zeros(2)).tolist() == [[0.0], [0.0]]  # nothing seen yet: no 0 / 0


def test_epistemic_reward_can_be_divided_by_its_running_mean() -> None:
    reward = EpistemicReward("mean")
    assert learned_reward(reward, 1.0, 3.0) == [0.5, 1.5]  # the first mean, 2
    assert learned_reward(reward, 2.0, 10.0) == pytest.approx([2 / 2.04, 10 / 2.04])  # 2 + 4 / 100
    assert max(learned_reward(reward, 1.0, 1e6)) == 5.0
    assert EpistemicReward("mean")(th.zeros(2)).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.25, [3.5, 3.3, 3.0, 3.0]), (None, [3.5] * 4), (1.0, [3.5, 3.45, 3.375, 3.0]), (0.0, [3.0] * 4)],
)
def test_epistemic_weight_falls_to_zero(
    fraction: float | None, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = ScriptedEnv(lambda k: (0, 3.0, False, False))
    model = ANGC(env, n_steps=1, alpha_epistemic=0.5, epistemic_fraction=fraction, **TINY).learn(60)
    seen: list[float] = []

    def record(policy: ANGCPolicy, batch: Batch, rewards: th.Tensor, double_q: bool) -> th.Tensor:
        seen.append(rewards[0].item())
        return rewards

    monkeypatch.setattr(update, "target_values", record)
    monkeypatch.setattr(model.policy.epistemic_reward, "forward", lambda discrepancy: th.ones(16, 1))
    for remaining in (1.0, 0.9, 0.75, 0.0):
        model._current_progress_remaining = remaining
        model.train(1, 16)
    assert seen == pytest.approx(expected)


def test_alphas_weigh_the_two_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ScriptedEnv(lambda k: (0, 3.0, False, False))
    model = ANGC(
        env, n_steps=1, alpha_instrumental=2.0, alpha_epistemic=0.5, epistemic_fraction=None, **TINY
    ).learn(60)
    seen: list[th.Tensor] = []
    original = update.target_values

    def record(policy: ANGCPolicy, batch: Batch, rewards: th.Tensor, double_q: bool) -> th.Tensor:
        seen.append(rewards)
        return original(policy, batch, rewards, double_q)

    monkeypatch.setattr(update, "target_values", record)
    monkeypatch.setattr(model.policy.epistemic_reward, "forward", lambda discrepancy: th.full((16, 1), 0.4))
    model.train(1, 16)
    th.testing.assert_close(seen[0], th.full((16, 1), 2 * 3.0 + 0.5 * 0.4))


def test_without_epistemic_weight_the_generator_is_left_alone() -> None:
    model = ANGC("CartPole-v1", alpha_epistemic=0.0, **TINY)
    before = [parameter.clone() for parameter in model.policy.generator.parameters()]
    model.learn(200)
    assert all(th.equal(a, b) for a, b in zip(before, model.policy.generator.parameters(), strict=True))


@pytest.mark.parametrize(("n_envs", "interval", "tau"), [(1, 10, 1.0), (2, 10, 0.5), (4, 2, 1.0)])
def test_target_controller_is_updated_as_in_dqn(n_envs: int, interval: int, tau: float) -> None:
    """Every interval // n_envs calls, at least at each; never before."""
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")] * n_envs)
    model = ANGC(env, tau=tau, target_update_interval=interval, **{**TINY, "learning_starts": 10_000})
    model.learn(n_envs)
    source = model.policy.controller.bundles[0].weight
    target = model.policy.controller_target.bundles[0].weight
    period = max(interval // n_envs, 1)
    model._n_calls = 0
    for call in range(1, 2 * period + 1):
        source.fill_(1.0)
        target.zero_()
        model._on_step()
        assert target.mean().item() == (tau if call % period == 0 else 0.0)
    assert model.target_update_interval == interval


def test_each_environment_draws_its_own_epsilon() -> None:
    model = ANGC("CartPole-v1", **TINY)
    model.exploration_rate = 0.5
    model.policy.controller.bundles[-1].weight.zero_()
    model.policy.controller.bundles[-1].bias.copy_(th.tensor([0.0, 1.0]))  # type: ignore[union-attr]
    np.random.seed(0)  # noqa: NPY002 -- the generator that SB3 seeds
    actions = np.stack([model.predict(np.zeros((8, 4)))[0] for _ in range(500)])
    # greedy is 1; a random action is 0 half of the time: 0 with probability 1/4, independently
    assert np.mean(actions == 0) == pytest.approx(0.25, abs=0.03)
    both = np.mean((actions[:, 0] == 0) & (actions[:, 1] == 0))
    assert both == pytest.approx(1 / 16, abs=0.035)
    assert (model.predict(np.zeros((8, 4)), deterministic=True)[0] == 1).all()
    assert model.predict(np.zeros(4), deterministic=True)[0].shape == ()
    assert model.predict(np.zeros(4))[0].shape == ()


def test_same_seed_same_weights() -> None:
    states = [ANGC("CartPole-v1", **TINY).learn(300).policy.state_dict() for _ in range(2)]
    assert all(th.equal(states[0][key], states[1][key]) for key in states[0])
    other = ANGC("CartPole-v1", **{**TINY, "seed": 1}).learn(300).policy.state_dict()
    assert not th.equal(states[0]["controller.synapses.0.weight"], other["controller.synapses.0.weight"])


def test_save_load_predict(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(300)
    model.save(tmp_path / "angc")
    loaded = ANGC.load(tmp_path / "angc", device="cpu")
    observations = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    for key, value in model.policy.state_dict().items():
        assert th.equal(value, loaded.policy.state_dict()[key]), key
    assert loaded.policy.epistemic_reward.divisor > 0
    assert th.equal(
        model.policy.q_values(th.as_tensor(observations)), loaded.policy.q_values(th.as_tensor(observations))
    )
    loaded_moments = loaded.policy.optimizer.state_dict()["state"]
    for key, moments in model.policy.optimizer.state_dict()["state"].items():
        assert th.equal(moments["exp_avg"], loaded_moments[key]["exp_avg"])
    loaded.set_env(gym.make("CartPole-v1"))
    loaded.learn(100, reset_num_timesteps=False)
    assert loaded.num_timesteps == 400


def test_policy_alone_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    model.policy.save(str(tmp_path / "policy"))
    loaded = type(model.policy).load(str(tmp_path / "policy"), device="cpu")
    observations = th.randn(10, 4)
    assert th.equal(loaded.q_values(observations), model.policy.q_values(observations))


def test_logger_keys(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(400, log_interval=1)
    keys = set((tmp_path / "progress.csv").read_text().splitlines()[0].split(","))
    dqn_keys = {
        *("rollout/exploration_rate", "rollout/ep_rew_mean", "rollout/ep_len_mean"),
        *("time/episodes", "time/fps", "time/time_elapsed", "time/total_timesteps"),
        *("train/learning_rate", "train/loss", "train/n_updates"),
    }
    assert keys == dqn_keys | {"train/epistemic_reward"}


def test_normalization_equals_the_statistics_of_all_batches() -> None:
    normalization = RunningNormalization(3).double()
    batches = [th.randn(n, 3, dtype=th.float64) * scale + 5 for n, scale in ((4, 1), (7, 10), (1, 3))]
    for batch in batches:
        normalization.update(batch)
    everything = th.cat(batches)
    th.testing.assert_close(normalization.mean, everything.mean(0))
    th.testing.assert_close(normalization.variance, everything.var(0, correction=0))
    expected = (everything - everything.mean(0)) / everything.std(0, correction=0)
    th.testing.assert_close(normalization(everything), expected)
    assert normalization(th.full((1, 3), 1e9).double()).tolist() == [[10.0] * 3]


def test_binary_features_stay_as_they_are() -> None:
    """Until another value comes: the first feature is binary for good, the second up to the second batch."""
    normalization = RunningNormalization(3)
    batch = th.tensor([[0.0, 1.0, 5.0]] * 99 + [[1.0, 0.0, 6.0]])
    normalization.update(batch)
    seen = normalization(batch)
    assert th.equal(seen[:, :2], batch[:, :2])
    assert seen[-1, 2].item() == pytest.approx(99**0.5, rel=1e-3)  # one in 100 is a spike
    normalization.update(batch + th.tensor([0.0, 0.5, 0.0]))
    normalization.update(batch)
    seen = normalization(batch)
    assert th.equal(seen[:, 0], batch[:, 0])
    th.testing.assert_close(
        seen[:, 1], (batch[:, 1] - normalization.mean[1]) / normalization.variance[1].sqrt()
    )


def test_schedules_end_where_training_ends() -> None:
    """A rollout of 100 steps ends at 300 of 250: a linear rate is 0 then, not below."""
    settings = {**TINY, "train_freq": 100, "learning_rate": lambda progress: 1e-3 * progress}
    model = ANGC("CartPole-v1", **settings).learn(250)
    assert model.num_timesteps == 300
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0


def test_actions_not_taken_are_clamped_at_their_present_values_if_asked() -> None:
    """The paper's target vector: what the controller predicts, but for the action taken."""
    settings = {**TINY, "policy_kwargs": {"net_arch": [16, 16], "normalize_values": False}}
    model = ANGC("CartPole-v1", **settings, clamp_all_actions=True).learn(100)
    batch = model.sample(8)
    targets = th.arange(8.0).unsqueeze(1)
    expected = [
        [
            float(targets[row]) if action == batch.choices[row] else float(value)
            for action, value in enumerate(values)
        ]
        for row, values in enumerate(model.policy.controller.project(batch.features))
    ]
    _, clamped_at, clamped = update.clamp_controller(model.policy, batch, targets, clamp_all_actions=True)
    assert clamped is None  # everywhere
    assert clamped_at.tolist() == expected

    controller = model.policy.controller
    errors = controller.settle(batch.features, clamped_at, clamped).errors[-1]
    assert (errors.gather(1, 1 - batch.choices) != 0).any()  # held, so that settling strains them
    _, values, clamped = update.clamp_controller(model.policy, batch, targets, clamp_all_actions=False)
    errors = controller.settle(batch.features, values, clamped).errors[-1]
    assert (errors.gather(1, 1 - batch.choices) == 0).all()


@pytest.mark.parametrize("optimizer_class", [th.optim.SGD, th.optim.RMSprop, th.optim.Adagrad])
def test_every_optimizer_steps_with_the_updates_and_not_against_them(
    optimizer_class: type[th.optim.Optimizer],
) -> None:
    """Torch's optimizers minimise, and local updates are to be added: signs of changes and updates agree."""
    policy_kwargs = {
        **TINY["policy_kwargs"],
        "optimizer_class": optimizer_class,
        "circuit_kwargs": {"output_init_scale": 1.0, "output_precision": 0.1},
    }
    policy = ANGC("CartPole-v1", **{**TINY, "policy_kwargs": policy_kwargs}).policy
    circuit = policy.controller
    updates = circuit.local_updates(circuit.settle(th.randn(16, 4), th.randn(16, 2)))
    before = {name: value.clone() for name, value in circuit.prediction_parameters().items()}
    learn({circuit: updates}, policy.optimizer)
    for name, value in circuit.prediction_parameters().items():
        moved = updates[name].abs() > 1e-6  # less is lost in rounding
        assert moved.any()
        assert th.equal((value - before[name]).sign()[moved], updates[name].sign()[moved]), name


def test_calling_the_policy_is_acting_greedily() -> None:
    policy = ANGC("CartPole-v1", **TINY).learn(100).policy
    observations = th.randn(32, 4)
    assert th.equal(policy(observations), policy.q_values(observations).argmax(dim=1))
