"""Figures show the values of the diagnostics they were made from."""

import math
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th

pytest.importorskip("matplotlib", reason="matplotlib is the extra 'plots'")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_angc import ANGC, NGCCircuit
from sb3_angc.circuit import diagnose
from sb3_angc.diagnostics import CircuitDiagnosticsCallback
from sb3_angc.diagnostics.plots import plot_alignment, plot_epistemic_reward, plot_errors
from tests.agents import TINY


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def points(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


@pytest.mark.parametrize("circuit", ["controller", "generator"])
def test_errors_and_alignment_over_training(circuit: str) -> None:
    callback = CircuitDiagnosticsCallback(frequency=60)
    ANGC("CartPole-v1", **TINY).learn(300, callback=callback)
    assert [steps for steps, _ in callback.history] == [60, 120, 180, 240, 300]

    lines = plot_errors(callback.history, circuit).lines
    assert len(lines) == 3
    for layer, line in enumerate(lines):
        assert points(line)[0] == [60, 120, 180, 240, 300]
        assert points(line)[1] == [figures[circuit].error_norm[layer] for _, figures in callback.history]

    lines = plot_alignment(callback.history, circuit).lines
    assert [line.get_label() for line in lines] == [
        "layer 2",
        "layer 3",
    ]  # nothing receives the first's errors
    for layer, line in enumerate(lines, start=1):
        assert points(line)[1] == [
            figures[circuit].feedback_alignment[layer] for _, figures in callback.history
        ]


def test_epistemic_reward_of_mountain_car() -> None:
    model = ANGC("MountainCar-v0", **TINY).learn(300)
    maximum = model.policy.epistemic_reward.divisor.clone()
    positions, velocities = np.linspace(-1.2, 0.6, 6), np.linspace(-0.07, 0.07, 6)

    def expected(position: float, velocity: float, action: int) -> float:
        # Moore 1990's equations
        new_velocity = np.clip(velocity + (action - 1) * 0.001 - math.cos(3 * position) * 0.0025, -0.07, 0.07)
        new_position = np.clip(position + new_velocity, -1.2, 0.6)
        if new_position == -1.2 and new_velocity < 0:
            new_velocity = 0
        both = th.tensor([[position, velocity], [new_position, new_velocity]], dtype=th.float32)
        seen, followed = model.policy.normalization(both).unsqueeze(1)  # type: ignore[misc]
        one_hot = th.eye(3)[action : action + 1]
        state = model.policy.generator.settle(th.cat([seen, one_hot], dim=1), followed)
        return float(sum(error.square().sum() for error in state.errors))

    def image(**arguments: Any) -> np.ndarray[Any, Any]:
        axes = plot_epistemic_reward(model, gym.make("MountainCar-v0"), resolution=6, **arguments)
        assert axes.images[0].get_extent() == pytest.approx([-1.2, 0.6, -0.07, 0.07])
        return np.asarray(axes.images[0].get_array())

    by_action = []
    for action in range(3):
        grid = np.array([[expected(p, v, action) for p in positions] for v in velocities])
        by_action.append((grid / float(maximum)).clip(max=5))
    np.testing.assert_allclose(image(action=2), by_action[2], rtol=1e-3)
    np.testing.assert_allclose(image(), np.mean(by_action, axis=0), rtol=1e-3)
    assert th.equal(model.policy.epistemic_reward.divisor, maximum)


class BoxEnv(gym.Env[Any, Any]):
    """Two bounded numbers, and no state."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros(2, np.float32), {}


def test_refuses_what_cannot_be_drawn() -> None:
    model = ANGC("CartPole-v1", **TINY)
    with pytest.raises(ValueError, match="two bounded numbers"):
        plot_epistemic_reward(model, gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="no attribute 'state'"):
        plot_epistemic_reward(model, BoxEnv())
    for wrong in (0, -1, 1.5):
        resolution: Any = wrong
        with pytest.raises(
            ValueError, match=f"resolution={wrong} is not allowed: it must be an integer of at"
        ):
            plot_epistemic_reward(model, gym.make("MountainCar-v0"), resolution=resolution)
    with pytest.raises(ValueError, match="longer than its frequency"):
        plot_errors([])
    figures = diagnose(NGCCircuit([3, 8, 2]), th.randn(4, 3), th.randn(4, 2))
    with pytest.raises(ValueError, match="choose one of controller, generator"):
        plot_errors([(1, {"controller": figures, "generator": figures})], "critic")


def test_says_what_is_missing_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    figures = diagnose(NGCCircuit([3, 8, 2]), th.randn(4, 3), th.randn(4, 2))
    with pytest.raises(ImportError, match=r"sb3_angc\[plots\]"):
        plot_errors([(1, {"controller": figures})])


def test_epistemic_reward_of_normalized_observations() -> None:
    """States are normalised as those that the agent learned from: each cell, by the wrapper itself."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("MountainCar-v0")]))
    model = ANGC("MlpPolicy", env, **TINY).learn(300)
    env.training = False
    axes = plot_epistemic_reward(model, gym.make("MountainCar-v0"), action=2, resolution=3)
    drawn = np.asarray(axes.images[0].get_array())

    car = gym.make("MountainCar-v0").unwrapped
    car.reset()
    surprise = np.empty((3, 3))
    for row, velocity in enumerate((-0.07, 0.0, 0.07)):
        for column, position in enumerate((-1.2, -0.3, 0.6)):
            car.state = (position, velocity)  # type: ignore[attr-defined]
            pair = np.stack([np.array([position, velocity], np.float32), car.step(2)[0]])
            seen, followed = model.policy.features(th.as_tensor(env.normalize_obs(pair))).unsqueeze(1)
            state = model.policy.generator.settle(th.cat([seen, th.tensor([[0.0, 0.0, 1.0]])], 1), followed)
            surprise[row, column] = sum(float(error.square().sum()) for error in state.errors)
    divisor = float(model.policy.epistemic_reward.divisor)
    np.testing.assert_allclose(drawn, (surprise / divisor).clip(max=5), rtol=1e-3)


def test_tied_feedback_has_no_alignment_to_draw() -> None:
    tied = {**TINY, "policy_kwargs": {"net_arch": [8], "circuit_kwargs": {"feedback": "tied"}}}
    callback = CircuitDiagnosticsCallback(frequency=100)
    ANGC("CartPole-v1", **tied).learn(200, callback=callback)
    axes = plot_alignment(callback.history)
    assert len(axes.lines) == 0
    assert axes.get_legend() is None
