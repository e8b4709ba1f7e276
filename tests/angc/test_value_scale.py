"""Values at unit scale: what the controllers' outputs stand for does not change with the statistics."""

from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_angc import ANGC, ANGCPolicy
from sb3_angc.angc.value_scale import RATE, SMALLEST_DEVIATION, ValueScale
from tests.agents import TINY
from tests.envs import ScriptedEnv


def trained(**arguments: Any) -> ANGC:
    return ANGC("CartPole-v1", **{**TINY, **arguments}).learn(100)


def test_no_value_changes_with_the_statistics() -> None:
    policy = trained().policy.double()
    scale, last = policy.value_scale, policy.controller.bundles[-1]
    assert scale is not None
    assert last.feedback is not None
    obs = th.randn(5, 4, dtype=th.float64)
    values, others = policy.q_values(obs), policy.q_net_target(obs)
    deviation, weight, feedback = scale.deviation.clone(), last.weight.clone(), last.feedback.clone()
    for mean, spread in ((3000.0, 50.0), (-7.0, 1e-3), (0.0, 1e5)):
        policy.observe_targets(mean + spread * th.randn(64, 1, dtype=th.float64))
        for now, before in ((policy.q_values(obs), values), (policy.q_net_target(obs), others)):
            th.testing.assert_close(now, before, rtol=1e-9, atol=1e-9)
    # What comes back over E is that of the new weights.
    factor = deviation / scale.deviation
    assert factor < 0.1
    th.testing.assert_close(last.weight, factor * weight)
    th.testing.assert_close(last.feedback, factor * feedback)


def test_statistics_are_those_of_all_targets_and_then_of_the_newest() -> None:
    scale = ValueScale().double()
    batches = [th.randn(8, 1, dtype=th.float64) * spread + 5 for spread in (1.0, 10.0, 3.0)]
    for batch in batches:
        scale.observe(batch)
    everything = th.cat(batches)
    th.testing.assert_close(scale.mean, everything.mean())
    th.testing.assert_close(scale.deviation, everything.std(correction=0))
    normalized = scale.normalize(everything)
    assert normalized.mean().item() == pytest.approx(0, abs=1e-12)
    assert normalized.std(correction=0).item() == pytest.approx(1)
    th.testing.assert_close(scale(normalized), everything)

    scale.count.fill_(10**6)
    mean, variance = scale.mean.item(), scale.variance.item()
    scale.observe(th.full((8, 1), mean + 2, dtype=th.float64))
    assert scale.mean.item() == pytest.approx(mean + 2 * RATE)
    assert scale.variance.item() == pytest.approx((1 - RATE) * variance + RATE * (1 - RATE) * 4)


def test_the_first_batch_gives_an_untrained_output_its_scale() -> None:
    """Where all targets are equal, the smallest deviation; an untrained output of 0.5 is half of it then."""
    policy = ANGC("CartPole-v1", **TINY).policy
    obs = th.randn(5, 4)
    outputs = policy.q_values(obs)
    policy.observe_targets(th.full((16, 1), 40.0))
    th.testing.assert_close(policy.q_values(obs), 40 + SMALLEST_DEVIATION * outputs)


def test_targets_that_overflow_leave_the_statistics_as_they_are() -> None:
    policy = trained().policy
    assert policy.value_scale is not None
    before = {name: value.clone() for name, value in policy.value_scale.state_dict().items()}
    obs = th.randn(5, 4)
    values = policy.q_values(obs)
    for bad in (float("nan"), float("inf"), 1e30):
        policy.observe_targets(th.full((16, 1), bad))
    for name in ("mean", "variance", "deviation"):
        assert th.equal(before[name], policy.value_scale.state_dict()[name])
    assert th.equal(policy.q_values(obs), values)


@pytest.mark.parametrize("unit", [2.0**-4, 2.0**20])
def test_what_is_learned_does_not_depend_on_the_unit_of_rewards(unit: float) -> None:
    """Powers of two, by which numbers are multiplied without rounding: outputs are equal to the last bit."""

    def outputs(unit: float) -> tuple[th.Tensor, th.Tensor]:
        env = ScriptedEnv(lambda k: (k % 7, unit * (k % 5), False, False))
        arguments = {**TINY, "policy_kwargs": {"net_arch": [16]}, "alpha_epistemic": 0.0, "gamma": 0.0}
        policy = ANGC(env, n_steps=1, **arguments).learn(150).policy
        obs = th.randn(5, 2, generator=th.Generator().manual_seed(0))
        return policy.controller.infer(policy.features(obs)), policy.q_values(obs)

    (ours, values), (theirs, others) = outputs(1.0), outputs(unit)
    assert th.equal(ours, theirs)
    assert th.equal(unit * values, others)


def test_large_returns_are_learned_as_fast_as_small_ones() -> None:
    class Millions(IdentityEnv[int]):
        def _get_reward(self, action: int) -> float:
            return 1e6 * super()._get_reward(action)

    arguments: dict[str, Any] = {"learning_rate": 1e-2, "gamma": 0.0, "learning_starts": 100, "seed": 0}
    model = ANGC("MlpPolicy", Millions(4), device="cpu", **arguments).learn(1500)
    assert evaluate_policy(model, IdentityEnv(4), 5)[0] > 90  # type: ignore[operator]


def test_the_scale_is_saved_with_the_policy(tmp_path: Path) -> None:
    model = trained()
    obs = th.randn(5, 4)
    model.save(tmp_path / "model")
    model.policy.save(str(tmp_path / "policy"))
    policies = ANGC.load(tmp_path / "model").policy, ANGCPolicy.load(str(tmp_path / "policy"))
    for policy in policies:
        assert th.equal(policy.q_values(obs), model.policy.q_values(obs))
        assert policy.value_scale is not None
        assert policy.value_scale.count > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize_values": False},
        {"circuit": "paper"},
        {"circuit_kwargs": {"bias": False}},
        {"circuit_kwargs": {"weight_norm": 2.0}},
    ],
)
def test_outputs_that_cannot_be_rescaled_are_values(settings: dict[str, Any]) -> None:
    policy = trained(policy_kwargs={"net_arch": [16], **settings}).policy
    assert policy.value_scale is None
    obs = th.randn(5, 4)
    assert th.equal(policy.q_values(obs), policy.controller.infer(policy.features(obs)))


def test_no_target_is_beyond_what_rewards_allow() -> None:
    """Worked by hand: returns of one step, two steps and of an end, with gamma = 0.5."""
    scale = ValueScale()
    rewards, discounts = th.tensor([[1.0], [-3.0], [0.5]]), th.tensor([[0.5], [0.25], [0.0]])
    targets = th.tensor([[9.0], [-9.0], [1.5]])
    # 1 / (1 - 1/2) = 2, -3 / (1 - 1/4) = -4, 0.5 / 1
    assert scale.bounded(targets, rewards, discounts, None).flatten().tolist() == [2.0, -4.0, 1.5]
    # The usual epistemic reward for ever, 0.5 / (1 - 1/2), comes on top; nothing is forgotten.
    less = scale.bounded(targets, rewards / 10, discounts, th.tensor(0.5))
    assert less.flatten().tolist() == [3.0, -4.0, 1.5]


def test_without_a_discount_rewards_set_no_bound() -> None:
    scale = ValueScale()
    targets = th.tensor([[1e6], [-1e6], [0.0]])
    rewards, discounts = th.tensor([[1.0], [-1.0], [0.0]]), th.ones(3, 1)
    assert th.equal(scale.bounded(targets, rewards, discounts, None), targets)
    only_gains = ValueScale().bounded(targets, rewards.abs(), discounts, None)
    assert only_gains.flatten().tolist() == [1e6, 0.0, 0.0]


def test_values_that_no_reward_allows_are_taken_back() -> None:
    """Reward 1 at every step and gamma 0.9: no value is above 10, where the agent's start at 10 000."""
    env = ScriptedEnv(lambda k: (float(k % 5), 1.0, False, False))
    model = ANGC(env, learning_rate=1e-2, gamma=0.9, n_steps=1, alpha_epistemic=0.0, **TINY).learn(60)
    scale = model.policy.value_scale
    assert scale is not None
    scale.mean.fill_(1e4)
    model.train(1, 64)
    assert scale.highest.item() == pytest.approx(10, rel=1e-4)
    assert scale.lowest.item() == 0
    assert model.policy.q_values(th.zeros(1, 2)).max() > 9000
    model.train(500, 64)
    assert model.policy.q_values(th.zeros(1, 2)).max() < 1000
