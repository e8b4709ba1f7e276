"""
Pictures of a trained agent; each function returns a matplotlib figure. Needs the extra ``plots``.

What is drawn comes from the agent's replay buffer: train first, or load one. Nothing changes in the agent,
and the random state that training draws from stays as it is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import CSVOutputFormat, HumanOutputFormat, JSONOutputFormat
from stable_baselines3.common.logger import Figure as LoggedFigure

from sb3_angc.angc import replay, update
from sb3_angc.angc.angc import ANGC
from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.diagnostics import alignment, layer_energies
from sb3_angc.circuit.inference import initial_state, settle
from sb3_angc.circuit.layers import synapses_by_name
from sb3_angc.common.checks import is_integer, require
from sb3_angc.diagnostics.callback import MeasuringCallback
from sb3_angc.saving.resuming import numpy_random_state_kept

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Dimensions = tuple[int, int]
STATES = 1000  # that are drawn or averaged over
OUTLIERS = 1.0  # per cent on each side that a range leaves out
# Texts and tables have no place for a figure.
WITHOUT_FIGURES = (HumanOutputFormat, JSONOutputFormat, CSVOutputFormat)


def plot_action_values(
    model: ANGC, dimensions: Dimensions = (0, 1), names: Sequence[str] | None = None, resolution: int = 60
) -> Figure:
    """
    The value of the best action, and which one that is, over two dimensions of the observation. They run
    over what was replayed; all other dimensions stay at their medians.

    :param model: A trained agent whose observations are a Box of one dimension and whose actions are Discrete
    :param dimensions: Which two
    :param names: Of the two
    :param resolution: Number of states along each axis
    :return: Two panels; row ``i`` of their data belongs to the ``i``-th value of the second dimension
    :raises ValueError: If there is nothing to draw, or the spaces are others
    """
    actions = model.action_space
    if not isinstance(actions, spaces.Discrete):
        raise ValueError(f"action_space={actions} is not allowed: the best of a Discrete's actions is drawn")
    _check_dimensions(model, dimensions, names)
    require("resolution", resolution, is_integer(resolution, 2), "an integer of at least 2")
    seen = _sample(model)[0].cpu().numpy()
    low, high = np.percentile(seen, [OUTLIERS, 100 - OUTLIERS], axis=0)
    first, second = (np.linspace(low[index], high[index], resolution) for index in dimensions)
    states = np.tile(np.median(seen, axis=0), (resolution, resolution, 1)).astype(np.float32)
    states[..., dimensions[0]], states[..., dimensions[1]] = np.meshgrid(first, second)
    with th.no_grad():
        values = model.policy.q_values(th.as_tensor(states.reshape(resolution**2, -1), device=model.device))
    best, greedy = (part.reshape(resolution, resolution).cpu().numpy() for part in values.max(dim=1))

    from matplotlib import colors, patches

    figure, (upper, lower) = _new_figure(2)
    extent = (*_edges(first), *_edges(second))
    drawn = {"origin": "lower", "aspect": "auto", "extent": extent}
    image = upper.imshow(best, cmap="viridis", **drawn)
    figure.colorbar(image, ax=upper)
    upper.set(title="Value of the best action")
    n_actions = int(actions.n)
    palette = colors.ListedColormap([f"C{action % 10}" for action in range(n_actions)])
    lower.imshow(greedy, cmap=palette, vmin=-0.5, vmax=n_actions - 0.5, interpolation="nearest", **drawn)
    lower.set(title="Best action")
    shown = [
        patches.Patch(color=palette(place), label=str(actions.start + place)) for place in np.unique(greedy)
    ]
    beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0), "borderaxespad": 0.0}
    lower.legend(handles=shown, frameon=False, title="action", **beside)
    _name([upper, lower], dimensions, names)
    return figure


def plot_surprise(model: ANGC, dimensions: Dimensions = (0, 1), names: Sequence[str] | None = None) -> Figure:
    """
    How far the generator's prediction of what came next was off, on replayed transitions: the epistemic
    reward that each earns now, before its weight.

    :param model: A trained agent whose observations are a Box of one dimension
    :param dimensions: Which two of them place a transition
    :param names: Of the two
    :return: One panel with a point for each transition
    :raises ValueError: If there is nothing to draw, or the space is another
    """
    _check_dimensions(model, dimensions, names)
    policy = model.policy
    raw, batch = _sample(model)
    if policy.epistemic_reward.divisor == 0:
        raise ValueError(
            "The generator has learned nothing, so that its surprise tells nothing: train with "
            f"alpha_epistemic above 0, here it is {model.alpha_epistemic}"
        )
    state = update.settle_generator(policy, batch.features, batch.action_inputs, batch.successor_features)
    reward = policy.epistemic_reward(state.total_discrepancy).flatten().cpu().numpy()
    order = np.argsort(reward)  # the most surprising on top
    seen = raw.cpu().numpy()[order]

    figure, [axes] = _new_figure(1)
    points = axes.scatter(
        *(seen[:, index] for index in dimensions), c=reward[order], s=12, cmap="viridis", norm="log"
    )
    figure.colorbar(points, ax=axes, label="epistemic reward")
    axes.set(title="Surprise of the generator")
    _name([axes], dimensions, names)
    return figure


def plot_settling(model: ANGC, steps: int | None = None) -> Figure:
    """
    Each layer's share of the energy before settling and after each step, mean over a replayed batch. The
    controller's targets are of the environment's reward alone.

    :param model: A trained agent
    :param steps: Settling steps; ``None`` is what the agent takes, and at least 5 where more change anything
    :return: A panel for each circuit, with a line for each layer that is predicted, the output last
    :raises ValueError: If there is nothing to draw, or no step
    """
    figure, panels = _new_figure(2)
    for axes, (name, (circuit, x, y, clamped)) in zip(
        panels, model.clamps(_sample(model)[1]).items(), strict=True
    ):
        energies = np.asarray(energy_by_layer(circuit, x, y, clamped, steps))
        axes.set(title=name.capitalize(), xlabel="settling step", ylabel="energy, mean over a batch")
        for label, energy in zip(_layer_names(energies.shape[1]), energies.T, strict=True):
            size = 9 - 2 * len(axes.lines)  # layers of equal energy do not hide each other
            axes.plot(energy, marker="o", markersize=max(size, 3), label=label, clip_on=False)
        axes.plot(energies.sum(axis=1), color="0.5", linestyle="--", label="together")
        taken = circuit.settings.inference_steps or len(circuit.bundles)
        axes.axvline(taken, color="0.8", zorder=0)
        axes.annotate(
            " in training", (taken, 0.96), xycoords=("data", "axes fraction"), va="top", color="0.5"
        )
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
    return figure


def energy_by_layer(
    circuit: NGCCircuit,
    x: th.Tensor,
    y: th.Tensor,
    clamped: th.Tensor | None = None,
    steps: int | None = None,
) -> list[list[float]]:
    """
    :param circuit: The circuit
    :param x: Input, ``(batch, n_in)``
    :param y: Output to clamp, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped, 0 where it is free; ``None`` clamps all
    :param steps: As in :func:`plot_settling`, at least 1
    :return: Before settling and after each step, each layer's
        :func:`~sb3_angc.circuit.diagnostics.layer_energies`
    """
    require("steps", steps, steps is None or is_integer(steps, 1), "None or an integer of at least 1")
    settings, bundles = circuit.settings, circuit.bundles
    taken = settings.inference_steps or len(bundles)
    if steps is None:  # a schedule ends when each layer has moved
        steps = taken if settings.order == "scheduled" else max(taken, 5)
    by_number = (replace(settings, inference_steps=number) for number in range(1, steps + 1))
    return [
        layer_energies(settings, initial_state(bundles, settings, x, y, clamped)),
        *(layer_energies(each, settle(bundles, each, x, y, clamped)) for each in by_number),
    ]


def plot_weights(model: ANGC) -> Figure:
    """
    How the weights of each bundle of synapses are distributed, and how well its feedback is aligned: the
    cosine of ``W`` and ``E.T``. Nothing receives the errors of the first bundle.

    :param model: An agent
    :return: For each circuit two panels: weights, and alignment
    """
    figure, panels = _new_figure(4, 2.3)
    circuits = {"Controller": model.policy.controller, "Generator": model.policy.generator}
    for (left, right), (name, circuit) in zip(panels.reshape(2, 2), circuits.items(), strict=True):
        left.set(title=f"{name}: weights", xlabel="weight", ylabel="density")
        right.set(title=f"{name}: feedback", ylabel=r"cosine of $W$ and $E^\top$")
        labels = _layer_names(len(circuit.bundles))
        for place, bundle in enumerate(circuit.bundles):
            parts = synapses_by_name(bundle).values()
            weights = th.cat([part.weight.detach().flatten() for part in parts]).cpu()
            bins = min(max(math.isqrt(len(weights)), 10), 60)
            left.hist(weights.numpy(), bins, density=True, histtype="step", label=labels[place])
            cosine = alignment(bundle)
            told = "none" if place == 0 else "tied" if cosine is None else f"{cosine:.2f}"
            height = 0.0 if place == 0 or cosine is None else cosine
            right.bar(place, height, color=f"C{place}")
            right.annotate(told, (place, max(height, 0.0)), ha="center", va="bottom")
        left.legend(frameon=False)
        right.set_ylim(min(0.0, right.get_ylim()[0]), 1.15)
        right.set_xticks(range(len(labels)), labels)
    return figure


class PlotsCallback(MeasuringCallback):
    """
    Draws the agent while it trains, into SB3's TensorBoard log under ``plots/``: what of
    :func:`plot_action_values`, :func:`plot_surprise`, :func:`plot_settling` and :func:`plot_weights` fits its
    spaces.

    :param frequency: Environment steps between two drawings
    :param dimensions: Of the observation, for the first two figures
    :param names: Of these dimensions
    :param verbose: Verbosity level: 0 for no output, 1 for info messages, 2 for debug messages
    :raises ValueError: If ``frequency`` is not an integer of at least 1; when training starts, if the
        observations have no such dimensions, or there are not two names
    """

    def __init__(
        self,
        frequency: int = 10_000,
        dimensions: Dimensions = (0, 1),
        names: Sequence[str] | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(frequency, verbose)
        self.dimensions, self.names = dimensions, names

    def _on_training_start(self) -> None:
        super()._on_training_start()
        # What the first drawing needs, before training for it
        _figure_class()
        if self._places_states():
            _check_dimensions(self.model, self.dimensions, self.names)
        if all(isinstance(each, WITHOUT_FIGURES) for each in self.logger.output_formats):
            warnings.warn(
                "PlotsCallback draws for nobody: no log takes figures. Give the agent a tensorboard_log, or "
                "another logger",
                stacklevel=2,
            )

    def measure(self) -> None:
        """Draw the agent."""
        for name, figure in self.figures().items():
            # What is recorded is written with the next log.
            kept_out = ("stdout", "log", "json", "csv")
            self.logger.record(f"plots/{name}", LoggedFigure(figure, close=True), exclude=kept_out)

    def figures(self) -> dict[str, Figure]:
        """:return: All figures of the agent as it is, by name"""
        drawn: dict[str, Callable[[], Figure]] = {}
        if self._places_states():
            if isinstance(self.model.action_space, spaces.Discrete):
                drawn["action_values"] = lambda: plot_action_values(self.model, self.dimensions, self.names)
            if self.model.alpha_epistemic > 0:
                drawn["surprise"] = lambda: plot_surprise(self.model, self.dimensions, self.names)
        drawn["settling"] = lambda: plot_settling(self.model)
        drawn["weights"] = lambda: plot_weights(self.model)
        return {name: draw() for name, draw in drawn.items()}

    def _places_states(self) -> bool:
        """Whether observations have two dimensions to place states by."""
        space = self.model.observation_space
        return isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0] >= 2


def _sample(model: ANGC) -> tuple[th.Tensor, replay.Batch]:
    """Replayed observations as the policy is given them, and the batch that becomes of them."""
    replay.check_filled(model.replay_buffer)
    model.policy.set_training_mode(False)
    with numpy_random_state_kept(), th.no_grad():
        samples = model.draw(STATES)
        return samples.observations, replay.seen(samples, model.policy, model.gamma)


def _check_dimensions(model: ANGC, dimensions: Any, names: Any) -> None:
    """:raises ValueError: If observations have no such two dimensions to draw, or there are not two names"""
    space = model.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"observation_space={space} is not allowed: a Box of one dimension is drawn")
    size = space.shape[0]
    are_two = _is_pair(dimensions) and all(is_integer(each, 0) and each < size for each in dimensions)
    are_two = are_two and dimensions[0] != dimensions[1]
    require("dimensions", dimensions, are_two, f"two different ones from 0 to {size - 1}")
    require("names", names, names is None or _is_pair(names), "None, or two names")


def _is_pair(value: object) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) and len(value) == 2


def _edges(centres: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Where the first cell of an image begins and the last one ends, of cells with these centres."""
    half = (centres[-1] - centres[0]) / (2 * (len(centres) - 1))
    return float(centres[0] - half), float(centres[-1] + half)


def _layer_names(n_layers: int) -> list[str]:
    return [f"layer {layer}" for layer in range(1, n_layers)] + ["output"]


def _new_figure(rows: int, height: float = 3.2) -> tuple[Figure, Any]:
    """
    A figure that no window and no list of open figures holds, and its panels: one below the other, so that a
    narrow screen shows them whole.
    """
    figure = _figure_class()(figsize=(5.2, height * rows), layout="constrained")
    return figure, figure.subplots(rows, squeeze=False).flatten()


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib: pip install 'sb3_angc[plots]'") from error
    return Figure


def _name(panels: Sequence[Axes], dimensions: Dimensions, names: Sequence[str] | None) -> None:
    labels = [f"observation {index}" for index in dimensions] if names is None else names
    for axes in panels:
        axes.set(xlabel=labels[0], ylabel=labels[1])
