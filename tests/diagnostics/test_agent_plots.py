"""Pictures of an agent show what is computed from it by hand."""

import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

pytest.importorskip("matplotlib", reason="matplotlib is the extra 'plots'")

from sb3_angc import ANGC, NGCCircuit, plots
from sb3_angc.circuit import diagnose
from tests.agents import TINY
from tests.envs import Parts


@pytest.fixture(scope="module")
def model() -> ANGC:
    return ANGC("CartPole-v1", **TINY).learn(300)


def test_actions_have_the_names_of_the_space() -> None:
    env = gym.make("CartPole-v1")
    started = gym.wrappers.TransformAction(env, lambda action: action - 5, spaces.Discrete(2, start=5))
    agent = ANGC(started, **TINY).learn(100)
    figure = plots.plot_action_values(agent, resolution=30)
    [legend] = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert legend is not None
    shown = {text.get_text() for text in legend.get_texts()}
    [image] = [axes.images[0] for axes in figure.axes if axes.get_title() == "Best action"]
    assert shown == {str(5 + int(place)) for place in np.unique(np.asarray(image.get_array()))}


@pytest.mark.parametrize("dimensions", [(0, 1), (3, 2)])
def test_values_and_best_actions(
    model: ANGC, dimensions: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "STATES", 100_000)  # so that their medians are the memory's
    figure = plots.plot_action_values(model, dimensions, ("one", "other"), resolution=5)
    left, right = (axes for axes in figure.axes if axes.images and axes.get_xlabel())
    assert (left.get_xlabel(), right.get_ylabel()) == ("one", "other")
    values, actions = (np.asarray(axes.images[0].get_array()) for axes in (left, right))
    x_axis, y_axis = np.reshape(left.images[0].get_extent(), (2, 2))
    columns, rows = (low + (high - low) * (np.arange(5) + 0.5) / 5 for low, high in (x_axis, y_axis))
    buffer = model.replay_buffer
    assert buffer is not None
    seen = buffer.observations[: buffer.size(), 0]
    for centres, dimension in zip((columns, rows), dimensions, strict=True):
        spread = np.percentile(seen[:, dimension], [1, 99])
        np.testing.assert_allclose(centres[[0, -1]], spread, atol=0.05 * np.ptp(spread))
    state = np.median(seen, axis=0)
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            state[list(dimensions)] = x, y
            expected = model.policy.q_values(state.astype(np.float32))[0]
            assert values[row, column] == pytest.approx(float(expected.max()), rel=0.05, abs=0.02)
            chosen = expected[int(actions[row, column])]
            assert float(chosen) == pytest.approx(float(expected.max()), rel=0.05, abs=0.02)
    assert len(np.unique(values)) > 10


def test_surprise_of_replayed_transitions(model: ANGC) -> None:
    before = model.policy.epistemic_reward.divisor.clone()
    axes = plots.plot_surprise(model, (2, 3)).axes[0]
    [points] = axes.collections
    places, reward = np.asarray(points.get_offsets()), np.asarray(points.get_array())
    assert (np.diff(reward) >= 0).all()  # the most surprising are drawn last, on top
    buffer = model.replay_buffer
    assert buffer is not None
    for index in (0, 500, 999):
        [place, *_] = np.flatnonzero((buffer.observations[:, 0, 2:] == places[index]).all(axis=1))
        seen, came = (th.as_tensor(part[place]) for part in (buffer.observations, buffer.next_observations))
        taken = th.eye(2)[buffer.actions[place, 0]]
        features, next_features = (model.policy.features(part) for part in (seen, came))
        state = model.policy.generator.settle(th.cat([features, taken], dim=1), next_features)
        surprise = sum(float(error.square().sum()) for error in state.errors)
        assert reward[index] == pytest.approx(min(surprise / float(before), 5), rel=1e-3)
    assert th.equal(model.policy.epistemic_reward.divisor, before)


@pytest.mark.parametrize("preset", ["settled", "paper", "released"])
def test_energy_of_layers_adds_up_to_the_energy(preset: str) -> None:
    circuit = NGCCircuit([3, 8, 6, 2], preset, leak=0.0)
    x, y = th.randn(20, 3), th.randn(20, 2)
    rows = plots.energy_by_layer(circuit, x, y)
    figures = diagnose(circuit, x, y)
    steps = len(figures.energy_by_step) - 1
    assert len(rows) == 1 + (steps if preset == "released" else max(steps, 5))
    np.testing.assert_allclose([sum(row) for row in rows[: steps + 1]], figures.energy_by_step, rtol=1e-4)
    np.testing.assert_allclose(rows[steps], figures.energy, rtol=1e-4)


def test_settling_has_a_line_for_each_layer(model: ANGC) -> None:
    figure = plots.plot_settling(model, steps=3)
    assert [axes.get_title() for axes in figure.axes] == ["Controller", "Generator"]
    for axes in figure.axes:
        *layers, together, _ = axes.lines
        assert [line.get_label() for line in layers] == ["layer 1", "layer 2", "output"]
        heights = [np.asarray(line.get_ydata()) for line in layers]
        assert all(len(height) == 4 for height in heights)
        np.testing.assert_allclose(np.asarray(together.get_ydata()), sum(heights), rtol=1e-6)


def test_alignment_is_the_cosine(model: ANGC) -> None:
    figure = plots.plot_weights(model)
    for right, circuit in (
        (figure.axes[1], model.policy.controller),
        (figure.axes[3], model.policy.generator),
    ):
        cosines = diagnose(circuit, th.randn(4, circuit.layer_sizes[0]), th.randn(4, circuit.layer_sizes[-1]))
        heights = [bar.get_height() for bar in right.patches]  # type: ignore[attr-defined]
        assert heights == pytest.approx([value or 0.0 for value in cosines.feedback_alignment])
        assert right.texts[0].get_text() == "none"
    tied = ANGC("CartPole-v1", **{**TINY, "policy_kwargs": {"circuit_kwargs": {"feedback": "tied"}}})
    assert [text.get_text() for text in plots.plot_weights(tied).axes[1].texts] == ["none", "tied", "tied"]


def test_drawing_does_not_disturb_training(tmp_path: Path) -> None:
    """Figures are in TensorBoard's files, each time; the agent ends as it would have without them."""
    pytest.importorskip("tensorboard", reason="tensorboard is in the extra 'extra'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ends = []
    for callback in (None, plots.PlotsCallback(frequency=100)):
        log = None if callback is None else str(tmp_path)
        agent = ANGC("CartPole-v1", tensorboard_log=log, **TINY)
        agent.learn(400, callback=callback, log_interval=1)
        ends.append(agent.policy.state_dict())
    assert all(th.equal(ends[0][name], ends[1][name]) for name in ends[0])
    events = EventAccumulator(str(tmp_path / "ANGC_1"), size_guidance={"images": 0}).Reload()
    names = {f"plots/{name}" for name in ("action_values", "surprise", "settling", "weights")}
    assert set(events.Tags()["images"]) == names
    for name in names:
        assert len(events.Images(name)) >= 3
        assert events.Images(name)[0].encoded_image_string.startswith(b"\x89PNG")


def test_drawing_for_nobody_is_told_once(tmp_path: Path) -> None:
    """A log on the screen takes no figures; one into TensorBoard does."""
    pytest.importorskip("tensorboard", reason="tensorboard is in the extra 'extra'")
    for verbose, log, expected in ((0, None, 1), (1, None, 1), (1, str(tmp_path), 0)):
        agent = ANGC("CartPole-v1", verbose=verbose, tensorboard_log=log, **TINY)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            agent.learn(120, callback=plots.PlotsCallback(frequency=20))
        messages = [str(each.message) for each in told]
        assert sum("PlotsCallback draws for nobody" in message for message in messages) == expected


@pytest.mark.filterwarnings("ignore:PlotsCallback draws for nobody")
def test_callback_draws_what_fits(model: ANGC) -> None:
    normalized = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    cases: list[tuple[Any, dict[str, Any], set[str]]] = [
        (Parts(), {}, {"settling", "weights"}),
        ("CartPole-v1", {"alpha_epistemic": 0.0}, {"action_values", "settling", "weights"}),
        ("Pendulum-v1", {}, {"surprise", "settling", "weights"}),
        (normalized, {}, {"action_values", "surprise", "settling", "weights"}),
    ]
    for env, arguments, expected in cases:
        callback = plots.PlotsCallback(frequency=10**9)
        ANGC(env, **TINY, **arguments).learn(100, callback=callback)
        assert set(callback.figures()) == expected
    with pytest.raises(ValueError, match="frequency=0 is not allowed: it must be an integer of at least 1"):
        plots.PlotsCallback(frequency=0)
    wrong: Any = "1000"
    with pytest.raises(ValueError, match="frequency='1000' is not allowed"):
        plots.PlotsCallback(frequency=wrong)


@pytest.mark.filterwarnings("ignore:PlotsCallback draws for nobody")
def test_what_the_callback_cannot_draw_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its first drawing it would end a run that has learned for hours."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"dimensions": (0, 4)}, r"dimensions=\(0, 4\) is not allowed: .* from 0 to 3"),
        ({"dimensions": 5}, "dimensions=5 is not allowed"),
        ({"names": ["position"]}, r"names=\['position'\] is not allowed: it must be None, or two names"),
        ({"names": "xy"}, "names='xy' is not allowed"),
    ]
    for arguments, message in wrong:
        agent = ANGC("CartPole-v1", **TINY)
        with pytest.raises(ValueError, match=message):
            agent.learn(100, callback=plots.PlotsCallback(**arguments))
        assert agent.num_timesteps == 0
    # Where no figure has dimensions they do not matter.
    ANGC(Parts(), **TINY).learn(10, callback=plots.PlotsCallback(dimensions=(7, 9)))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    agent = ANGC("CartPole-v1", **TINY)
    with pytest.raises(ImportError, match=r"sb3_angc\[plots\]"):
        agent.learn(100, callback=plots.PlotsCallback())
    assert agent.num_timesteps == 0


def test_what_cannot_be_drawn_is_told(model: ANGC, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[Any] = [(0, 4), (1, 1), (-1, 0), 5, (0,), ([0], 1), (0.0, 1), "01"]
    for dimensions in wrong:
        with pytest.raises(ValueError, match=r"dimensions=.* two different ones from 0 to 3"):
            plots.plot_surprise(model, dimensions)
    with pytest.raises(ValueError, match="The replay buffer is empty"):
        plots.plot_action_values(ANGC("CartPole-v1", **TINY))
    with pytest.raises(ValueError, match="a Box of one dimension is drawn"):
        plots.plot_surprise(ANGC(Parts(), **TINY).learn(100))
    with pytest.raises(ValueError, match="the best of a Discrete's actions is drawn"):
        plots.plot_action_values(ANGC("Pendulum-v1", **TINY))
    with pytest.raises(ValueError, match=r"names=.* is not allowed: it must be None, or two names"):
        plots.plot_surprise(model, names=["position"])
    wrong = [0, -1, 1.5]
    for steps in wrong:
        with pytest.raises(
            ValueError, match=f"steps={steps} is not allowed: it must be None or an integer of"
        ):
            plots.plot_settling(model, steps)
    with pytest.raises(ValueError, match="resolution=1 is not allowed: it must be an integer of at least 2"):
        plots.plot_action_values(model, resolution=1)
    with pytest.raises(ValueError, match="train with alpha_epistemic above 0, here it is 0"):
        plots.plot_surprise(ANGC("CartPole-v1", alpha_epistemic=0, **TINY).learn(100))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"sb3_angc\[plots\]"):
        plots.plot_weights(model)
