"""The neural generative coding circuit."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch as th
from torch import nn

from sb3_angc.circuit.activations import get_activation
from sb3_angc.circuit.layers import Layer, PlainSynapses, make_synapses, plain_synapses
from sb3_angc.circuit.learning import learn
from sb3_angc.circuit.settings import CircuitSettings, make_settings
from sb3_angc.circuit.settling import Settling
from sb3_angc.circuit.state import CircuitState
from sb3_angc.circuit.sweeping import Sweeping

_to_be_loaded = contextvars.ContextVar("to_be_loaded", default=False)


@contextlib.contextmanager
def circuits_to_be_loaded() -> Iterator[None]:
    """
    Circuits made within this context skip the mirror phase: ``load_state_dict`` is going to give them
    the error weights of a trained circuit. (The phase takes seconds with large images.)
    """
    token = _to_be_loaded.set(True)
    try:
        yield
    finally:
        _to_be_loaded.reset(token)


class NGCCircuit(nn.Module):
    """
    A neural generative coding (NGC) circuit: layers that predict the next one, errors that travel
    back over synapses of their own, and local updates. Nothing is differentiated.

    Paper: https://arxiv.org/abs/2107.07046, https://arxiv.org/abs/2012.03405

    Regression, without any reinforcement learning:

    >>> import torch as th
    >>> from sb3_angc.circuit import Convolution, NGCCircuit
    >>> _ = th.manual_seed(0)
    >>> x = th.rand(512, 2)
    >>> y = x[:, :1] * x[:, 1:]
    >>> circuit = NGCCircuit([2, 64, 64, 1])
    >>> optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)
    >>> for _ in range(500):
    ...     state = circuit.settle(x, y)
    ...     circuit.step(circuit.local_updates(state), optimizer)
    >>> bool((circuit.project(x) - y).square().mean() < 1e-3 * y.var())
    True

    ``bundles`` lists the bundles of synapses from input to output.

    Images are flat outside the circuit as well, ``(batch, channels * height * width)``. Of images
    of 4 channels, 10 pixels high and wide, and of those together with 5 other numbers:

    >>> NGCCircuit([(4, 10, 10), Convolution(16, 3), 128, 6]).layer_sizes
    [400, 1024, 128, 6]
    >>> NGCCircuit([[(4, 10, 10), 5], [Convolution(16, 3), 64], 128, 6]).layer_sizes
    [405, 1088, 128, 6]

    :param layers: All layers from the clamped input to the clamped output, at least two. An integer is
        a layer of so many neurons, connected to all neurons before it; a tuple ``(channels, height,
        width)`` an input image; a :class:`~sb3_angc.circuit.layers.Convolution` an image that sees
        the image before it; a list stands for such parts side by side, each connected with its own
        part of the layer before it
    :param preset: ``"settled"``, ``"paper"`` or ``"released"``, see ``PRESETS``
    :param name: Name of the circuit in errors and diagnostics
    :param settings: Single settings that override the preset's, see :class:`CircuitSettings`
    :raises ValueError: If a layer, the preset or a setting is not allowed
    """

    bundles: list[PlainSynapses]
    learning_time: th.Tensor

    def __init__(
        self, layers: Sequence[Layer], preset: str = "settled", name: str = "circuit", **settings: Any
    ) -> None:
        super().__init__()
        self.name = name
        self.settings: CircuitSettings = make_settings(preset, **settings)
        bundles = make_synapses(layers, self.settings.bias, self.settings.feedback == "learned")
        self.synapses = nn.ModuleList(bundles)
        self.layer_sizes = [bundles[0].in_features, *(bundle.out_features for bundle in bundles)]
        self._list_synapses()
        # Sum of the learning rates of all steps so far, on which the alignment decay depends.
        self.register_buffer("learning_time", th.zeros((), dtype=th.float64))
        for matrix in self._matrices():
            matrix.mul_(self.settings.init_scale)
        self._constrain_weights()
        self._mirror(self._plain_synapses.values())

    def _list_synapses(self) -> None:
        # Looking these up in the modules anew each time would cost more than small layers' products.
        # Bundles side by side have no weights of their own; all others do.
        self.bundles = list(self.synapses)  # type: ignore[arg-type]
        self._plain_synapses = plain_synapses(self)
        self._prediction_parameters = {
            name: value for name, value in self.named_parameters() if not name.endswith("feedback")
        }
        # Bundles with error weights of their own: W and E stand at the same place in both lists.
        self._with_feedback = [
            bundle for bundle in self._plain_synapses.values() if bundle.feedback is not None
        ]
        self._weights: list[th.Tensor] = [bundle.weight for bundle in self._with_feedback]
        self._feedbacks: list[th.Tensor] = [bundle.feedback for bundle in self._with_feedback]  # type: ignore[misc]

    def replace_synapses(self, index: int, bundle: nn.Module) -> None:
        """
        Put synapses of another type in the place of a bundle, before any optimizer is made.

        :param index: The bundle's place, 0 next to the input
        :param bundle: Synapses with the methods of :class:`~sb3_angc.circuit.synapses.dense.DenseSynapses`,
            between layers of the same sizes; learned feedback gets its mirror phase
        :raises ValueError: If the sizes differ
        """
        sizes = self.layer_sizes[index : index + 2]
        if [bundle.in_features, bundle.out_features] != sizes:
            raise ValueError(
                f"bundle of {bundle.in_features} to {bundle.out_features} neurons is not allowed: "
                f"bundle {index} connects {sizes[0]} to {sizes[1]}"
            )
        self.synapses[index] = bundle
        self._list_synapses()
        self._mirror(plain_synapses(bundle).values())

    def _mirror(self, synapses: Iterable[PlainSynapses]) -> None:
        if _to_be_loaded.get():
            return
        for bundle in synapses:
            if bundle.feedback is not None and self.settings.mirror_patterns > 0:
                bundle.mirror(self.settings.mirror_patterns)

    def prediction_parameters(self) -> dict[str, nn.Parameter]:
        """The weights and biases by name: all parameters but the error weights."""
        return self._prediction_parameters

    def project(self, x: th.Tensor) -> th.Tensor:
        """
        The output predicted from an input alone. With errors on the potential and no leak this is
        the settled output of the circuit when the output is free: all errors are zero.

        :param x: Input, ``(batch, layer_sizes[0])``
        :return: Output, ``(batch, layer_sizes[-1])``
        """
        phi = get_activation(self.settings.activation).function
        g = get_activation(self.settings.prediction_activation).function
        activity = phi(x) if self.settings.activate_input else x
        *hidden, output = self.bundles
        for bundle in hidden:
            activity = phi(g(bundle.predict(activity)))
        return g(output.predict(activity))

    forward = project

    def settle(self, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None = None) -> CircuitState:
        """
        Clamp input and output and let the hidden layers settle for ``inference_steps`` steps.

        :param x: Input, ``(batch, layer_sizes[0])``
        :param y: Output, ``(batch, layer_sizes[-1])``
        :param clamped: 1 where an output is clamped and 0 where it is left free, same shape as
            ``y``; ``None`` clamps all
        :return: States, predictions and errors of every layer
        :raises ValueError: If an input is not finite, or the circuit diverged: the layer is named
        """
        state = self.dynamics(x, y, clamped).run()
        # Python's check of one number takes a quarter of the time of torch's. (Compiled, a circuit that
        # diverges is found out by its updates, before it learns.)
        if not th.compiler.is_compiling() and not math.isfinite(state.energies[-1].sum()):
            self._raise_not_finite(state)
        return state

    def dynamics(self, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None = None) -> Sweeping | Settling:
        """The settling that :meth:`settle` runs, at its initial state. Parameters as there."""
        kind = Sweeping if self.settings.order == "sweep" else Settling
        return kind(self.bundles, self.settings, x, y, clamped)

    def local_updates(self, state: CircuitState) -> dict[str, th.Tensor]:
        """
        One update for each parameter from what the synapse sees at its two ends:
        ``dW = phi(z).T e * M_W`` and ``dE = gamma_e dW.T * M_E``.

        :param state: A settled state
        :return: Updates by parameter name (as in ``named_parameters()``), of the parameters' shapes.
            They are to be added: a step along them lowers the energy.
        """
        updates: dict[str, th.Tensor] = {}
        for (prefix, bundle), ends in zip(self._plain_synapses.items(), self._ends(state), strict=True):
            changes = bundle.hebbian(*ends)
            if self.settings.modulation:
                changes["weight"] = changes["weight"] * bundle.modulation()[0]
            if self.settings.normalize_updates:
                changes = {name: _normalized(change) for name, change in changes.items()}
            if bundle.feedback is not None:
                changes["feedback"] = self._feedback_change(bundle, changes["weight"])
            updates.update({f"{prefix}.{name}": change for name, change in changes.items()})
        return updates

    def _ends(self, state: CircuitState) -> Iterator[tuple[th.Tensor, th.Tensor]]:
        """Presynaptic activity and postsynaptic error of all synapses that learn."""
        for bundle, activity, error in zip(self.bundles, state.activities, state.errors, strict=True):
            yield from bundle.ends(activity, error)

    def step(
        self,
        updates: dict[str, th.Tensor],
        optimizer: th.optim.Optimizer,
        max_norm: float | None = None,
    ) -> None:
        """
        One learning step. The optimizer moves weights and biases along their updates; error
        weights then take ``gamma_e`` times the change of the prediction weights beside them (which
        is where an optimizer of their own, fed equal updates, would take them); last come alignment
        decay and weight norm.

        :param updates: Updates of :meth:`local_updates`
        :param optimizer: Any torch optimizer over this circuit's parameters
        :param max_norm: The updates of weights and biases are scaled down so that their joint norm
            is at most this
        :raises ValueError: If an update is not finite; no weight has changed then
        """
        learn({self: updates}, optimizer, max_norm)

    @contextlib.contextmanager
    def weight_change(self, learning_rate: float) -> Iterator[None]:
        """
        Within this context an optimizer changes ``W``. Leaving it changes the error weights beside
        them by ``gamma_e`` times as much, then applies alignment decay and weight norm. ``E`` must not
        be read within.

        :param learning_rate: The optimizer's, on which the alignment decay depends
        """
        weights, feedbacks = self._weights, self._feedbacks
        if not weights:
            yield
        elif self.settings.modulation or self.settings.feedback_rate != 1:
            before = [weight.clone() for weight in weights]
            yield
            for bundle, old, feedback in zip(self._with_feedback, before, feedbacks, strict=True):
                feedback += self._feedback_change(bundle, bundle.weight - old)
        else:
            # Equal changes leave E - W as it is. It is kept in E itself: a copy of W would cost more
            # than both sums.
            th._foreach_sub_(feedbacks, weights)
            try:
                yield
            finally:
                th._foreach_add_(feedbacks, weights)
        self._decay(weights + feedbacks, learning_rate)
        self._constrain_weights()

    def _feedback_change(self, bundle: PlainSynapses, weight_change: th.Tensor) -> th.Tensor:
        """``dE = gamma_e dW.T * M_E`` (``E`` is stored beside ``W``: no transpose)."""
        change = weight_change
        if self.settings.feedback_rate != 1:
            change = self.settings.feedback_rate * change
        if self.settings.modulation:
            change = change * bundle.modulation()[1]
        return change

    def _decay(self, matrices: list[th.Tensor], learning_rate: float) -> None:
        """Shrink ``W`` and ``E`` alike, so that what is not shared by the two dies out."""
        settings = self.settings
        if settings.alignment_decay > 0 and matrices:
            rate = settings.alignment_decay * math.exp(-float(self.learning_time) / settings.alignment_time)
            factor = max(1 - learning_rate * rate, 0.0)
            if factor < 1 - th.finfo(matrices[0].dtype).eps / 4:  # else the weights would not change
                th._foreach_mul_(matrices, factor)
            self.learning_time += learning_rate

    def _constrain_weights(self) -> None:
        """``W <- norm * W / |W|`` for every weight matrix, where a norm is set."""
        if self.settings.weight_norm is not None:
            for matrix in self._matrices():
                matrix.mul_(self.settings.weight_norm / th.linalg.matrix_norm(matrix).clamp(min=1e-12))

    def _matrices(self) -> Iterator[th.Tensor]:
        """Every ``W`` and ``E``."""
        for bundle in self._plain_synapses.values():
            yield from (matrix for matrix in (bundle.weight, bundle.feedback) if matrix is not None)

    def _raise_not_finite(self, state: CircuitState) -> None:
        if not th.isfinite(state.activities[0]).all():
            raise ValueError(f"{self.name} received an input that is not finite")
        if not th.isfinite(state.potentials[-1]).all():
            raise ValueError(f"{self.name} received an output to clamp that is not finite")
        for layer, error in enumerate(state.errors, start=1):
            if not th.isfinite(th.linalg.vecdot(error, error)).all():
                raise ValueError(
                    f"{self.name} diverged in layer {layer} of {len(state.errors)}: its errors are too large "
                    "or not finite. Lower the learning rate or step_size, or use the 'settled' preset"
                )


def _normalized(update: th.Tensor) -> th.Tensor:
    norm: th.Tensor = th.linalg.vector_norm(update).clamp(min=1e-12)
    return update / norm
