"""Figures of what the circuits are doing. Needs matplotlib, the extra ``plots``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from sb3_angc.angc.angc import ANGC
from sb3_angc.angc.update import settle_generator
from sb3_angc.circuit import CircuitDiagnostics
from sb3_angc.common.checks import check_positive_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of which an epistemic reward is the mean where no action is given, at most
MOST_ACTIONS = 100
# What `CircuitDiagnosticsCallback.history` holds
History = Sequence[tuple[int, dict[str, CircuitDiagnostics]]]


def plot_errors(history: History, circuit: str = "controller", axes: Axes | None = None) -> Axes:
    """
    Norm of each layer's errors over training.

    :param history: ``history`` of a :class:`~sb3_angc.diagnostics.callback.CircuitDiagnosticsCallback`
    :param circuit: ``"controller"`` or ``"generator"``
    :param axes: Where to draw; ``None`` makes a figure
    :return: The axes, with one line for each layer, the output last
    :raises ValueError: If the history is empty or has no such circuit
    """
    axes = _plot_by_layer(history, circuit, "error_norm", axes)
    axes.set(ylabel="norm of the errors", yscale="log")
    return axes


def plot_alignment(history: History, circuit: str = "controller", axes: Axes | None = None) -> Axes:
    """
    Cosine of weights and error weights over training; 1 is alignment.

    :param history: ``history`` of a :class:`~sb3_angc.diagnostics.callback.CircuitDiagnosticsCallback`
    :param circuit: ``"controller"`` or ``"generator"``
    :param axes: Where to draw; ``None`` makes a figure
    :return: The axes, with one line for each bundle of synapses that has error weights
    :raises ValueError: If the history is empty or has no such circuit
    """
    axes = _plot_by_layer(history, circuit, "feedback_alignment", axes)
    axes.set(ylabel=r"cosine of $W$ and $E^\top$", ylim=(-0.05, 1.05))
    return axes


def plot_epistemic_reward(
    model: ANGC,
    env: gym.Env[Any, Any],
    action: Any = None,
    resolution: int = 40,
    axes: Axes | None = None,
) -> Axes:
    """
    Epistemic reward of every state of an environment whose observation is its state, of two numbers,
    such as MountainCar. What the reward is divided by stays as it is.

    :param model: A trained agent
    :param env: The environment. Its state is set and stepped on: give one that nothing else uses.
    :param action: The action taken in each state; ``None`` is the mean over all actions
    :param resolution: Number of states along each axis
    :param axes: Where to draw; ``None`` makes a figure
    :return: The axes, with one image; row ``i`` of its data belongs to the ``i``-th value of the
        observation's second number
    :raises ValueError: If the observations are not two bounded numbers, the state cannot be set, there are
        too many actions, or ``resolution`` is not an integer of at least 1
    """
    check_positive_integer("resolution", resolution)
    space = env.observation_space
    if not isinstance(space, spaces.Box) or space.shape != (2,) or not space.is_bounded():
        raise ValueError(
            f"env={env} is not allowed: its observations must be two bounded numbers, not {space}"
        )
    env.reset()  # classic control tasks have no state before
    if not hasattr(env.unwrapped, "state"):
        raise ValueError(f"env={env} is not allowed: it has no attribute 'state' that could be set")
    parts = model.policy.action_parts
    if action is None and math.prod(parts.sizes) > MOST_ACTIONS:
        raise ValueError(
            f"action=None is not allowed: there are {math.prod(parts.sizes)} actions, and the mean is taken "
            f"over at most {MOST_ACTIONS}"
        )
    actions = parts.actions(parts.every()).cpu().numpy() if action is None else [action]
    columns, rows = (
        np.linspace(low, high, resolution) for low, high in zip(space.low, space.high, strict=True)
    )
    states = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float32)
    reward = np.mean([_epistemic_rewards(model, env, states, action) for action in actions], axis=0)

    axes = _new_axes() if axes is None else axes
    image = axes.imshow(
        reward.reshape(resolution, resolution),
        origin="lower",
        aspect="auto",
        norm="log",  # a few states surprise a hundred times more than most
        extent=(float(space.low[0]), float(space.high[0]), float(space.low[1]), float(space.high[1])),
    )
    axes.figure.colorbar(image, ax=axes, label="epistemic reward")
    axes.set(xlabel="first observation", ylabel="second observation")
    return axes


def _epistemic_rewards(
    model: ANGC, env: gym.Env[Any, Any], states: np.ndarray[Any, Any], action: Any
) -> np.ndarray[Any, Any]:
    """What each state and an action there earn, ``(n,)``."""
    successors = np.empty_like(states)
    for index, state in enumerate(states):
        setattr(env.unwrapped, "state", tuple(state.astype(np.float64)))  # noqa: B010 -- Gymnasium declares none
        # Not `env.step`: wrappers count steps.
        successors[index] = env.unwrapped.step(action)[0]
    policy = model.policy
    statistics = model.get_vec_normalize_env()
    if statistics is not None:
        states, successors = (np.asarray(statistics.normalize_obs(part)) for part in (states, successors))
    features, successor_features = (
        policy.features(th.as_tensor(part, device=model.device)) for part in (states, successors)
    )
    parts = policy.action_parts
    is_scaled = isinstance(model.action_space, spaces.Box)  # in a buffer
    numbers = np.ravel(policy.scale_action(action) if is_scaled else action)
    stored = th.as_tensor(numbers, device=model.device).expand(len(states), -1)
    inputs = parts.inputs(stored, parts.chosen(parts.choices(stored), features.dtype))
    settled = settle_generator(policy, features, inputs, successor_features)
    reward: th.Tensor = policy.epistemic_reward(settled.total_discrepancy)
    return reward.squeeze(1).cpu().numpy()


def _plot_by_layer(history: History, circuit: str, key: str, axes: Axes | None) -> Axes:
    if not history:
        raise ValueError("history=[] is not allowed: train with the callback for longer than its frequency")
    if circuit not in history[0][1]:
        raise ValueError(f"circuit={circuit!r} is unknown: choose one of {', '.join(history[0][1])}")
    axes = _new_axes() if axes is None else axes
    steps = [step for step, _ in history]
    by_layer = zip(*(getattr(figures[circuit], key) for _, figures in history), strict=True)
    for layer, values in enumerate(by_layer, start=1):
        if None not in values:
            axes.plot(steps, values, color=f"C{layer - 1}", label=f"layer {layer}")  # the same in all figures
    axes.set(xlabel="environment steps", title=circuit)
    axes.locator_params(axis="x", nbins=5)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return axes


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("Figures need matplotlib: pip install 'sb3_angc[plots]'") from error
    return pyplot.subplots(figsize=(5, 3.5), layout="constrained")[1]
