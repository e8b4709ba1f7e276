"""The neural generative coding circuit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch as th
from torch import nn

from sb3_angc.circuit import inference
from sb3_angc.circuit.activations import get_activation
from sb3_angc.circuit.endings import project_with_each
from sb3_angc.circuit.layers import Layer, make_synapses, synapses_by_name
from sb3_angc.circuit.settings import CircuitSettings, make_settings
from sb3_angc.circuit.state import CircuitState
from sb3_angc.circuit.synapses import ParallelSynapses, Synapses
from sb3_angc.common.checks import is_integer, require

# Steps of power iteration when a circuit is made; one for each update follows.
FIRST_ITERATIONS = 20


class NGCCircuit(nn.Module):
    """
    A neural generative coding (NGC) circuit: layers that predict the next one, errors that travel
    back over synapses of their own, and local updates. Nothing is differentiated.

    Paper: https://arxiv.org/abs/2107.07046, https://arxiv.org/abs/2012.03405

    Regression, without any reinforcement learning:

    >>> import torch as th
    >>> from sb3_angc.circuit import Convolution, NGCCircuit, learn
    >>> _ = th.manual_seed(0)
    >>> x = th.rand(512, 2)
    >>> y = x[:, :1] * x[:, 1:]
    >>> circuit = NGCCircuit([2, 64, 64, 1])
    >>> optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)
    >>> for _ in range(500):
    ...     state = circuit.settle(x, y)
    ...     learn({circuit: circuit.local_updates(state)}, optimizer)
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
    :param preset: ``"settled"``, ``"ngc"``, ``"paper"`` or ``"released"``, see ``PRESETS``
    :param name: Name of the circuit in errors and diagnostics
    :param settings: Single settings that override the preset's, see :class:`CircuitSettings`
    :raises ValueError: If a layer, the preset or a setting is not allowed
    """

    bundles: list[Synapses]
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
        self.register_buffer("learning_time", th.zeros(()))
        for matrix in self.matrices():
            matrix.mul_(self.settings.init_scale)
        for synapses in synapses_by_name(bundles[-1]).values():
            for matrix in synapses.matrices():
                matrix.mul_(self.settings.output_init_scale)
        self.normalize_weights()
        self._prepare(self.plain_synapses.values())
        register_hook: Any = self.register_load_state_dict_post_hook  # torch has no types for it
        register_hook(_find_norms)

    def _list_synapses(self) -> None:
        # Looking these up in the modules anew each time would cost more than small layers' products.
        # Bundles side by side have the methods of all others, but no weights of their own.
        self.bundles = list(cast("Iterable[Synapses]", self.synapses))
        self.plain_synapses = synapses_by_name(self)
        self.synapses_with_feedback = [s for s in self.plain_synapses.values() if s.feedback is not None]

    def replace_synapses(self, index: int, bundle: Synapses) -> None:
        """
        Put synapses of another type in the place of a bundle, before any optimizer is made.

        :param index: The bundle's place, 0 next to the input
        :param bundle: Synapses between layers of the same sizes. Their first weights are taken as they are,
            whatever ``init_scale`` says; learned feedback gets its mirror phase
        :raises ValueError: If there is no such place, the bundle is no synapses, or the sizes differ
        """
        last = len(self.bundles) - 1
        require("index", index, is_integer(index, 0) and index <= last, f"an integer from 0 to {last}")
        # Torch's own layers have sizes too, but neither errors nor updates.
        is_bundle = isinstance(bundle, (Synapses, ParallelSynapses))
        require("bundle", bundle, is_bundle, "Synapses or ParallelSynapses")
        sizes = self.layer_sizes[index : index + 2]
        if [bundle.in_features, bundle.out_features] != sizes:
            raise ValueError(
                f"bundle of {bundle.in_features} to {bundle.out_features} neurons is not allowed: "
                f"bundle {index} connects {sizes[0]} to {sizes[1]}"
            )
        self.synapses[index] = bundle
        self._list_synapses()
        self._prepare(synapses_by_name(bundle).values())

    def _prepare(self, synapses: Iterable[Synapses]) -> None:
        """The mirror phase of error weights; the largest singular values where the step depends on them."""
        for bundle in synapses:
            if bundle.feedback is not None and self.settings.mirror_patterns > 0:
                bundle.mirror(self.settings.mirror_patterns)
            if self.settings.step_rule == "spectral":
                for _ in range(FIRST_ITERATIONS):
                    bundle.track_norm()

    def prediction_parameters(self) -> dict[str, nn.Parameter]:
        """The weights and biases by name: all parameters but the error weights."""
        # Not by named_parameters(), which walks through all modules each time.
        return {
            f"{prefix}.{name}": value
            for prefix, synapses in self.plain_synapses.items()
            for name, value in synapses._parameters.items()
            if value is not None and name != "feedback"
        }

    def matrices(self) -> Iterator[nn.Parameter]:
        """Every ``W`` and ``E``."""
        for bundle in self.plain_synapses.values():
            yield from bundle.matrices()

    def move_towards(self, other: NGCCircuit, share: float) -> None:
        """
        Move weights and biases towards another circuit's, and error weights too where there are any.

        :param other: A circuit of the same layers
        :param share: Of the other in the result, 1 for a copy
        """
        own: list[th.Tensor] = list(self.prediction_parameters().values())
        others: list[th.Tensor] = list(other.prediction_parameters().values())
        if self.synapses_with_feedback:
            own += [synapses.error_weight for synapses in self.synapses_with_feedback]
            others += [synapses.error_weight for synapses in other.synapses_with_feedback]
        th._foreach_lerp_(own, others, share)
        if self.settings.step_rule == "spectral":
            for name, synapses in self.plain_synapses.items():
                synapses._singular_vector.copy_(other.plain_synapses[name]._singular_vector)

    def track_norms(self) -> None:
        """
        Follow the largest singular values, after weights have changed, where the step depends on them. After
        weights were put in by hand, twenty calls find them.
        """
        if self.settings.step_rule == "spectral":
            for synapses in self.plain_synapses.values():
                synapses.track_norm()

    def normalize_weights(self) -> None:
        """``W <- norm * W / |W|`` (Frobenius) for every weight matrix, where the setting gives a norm."""
        if self.settings.weight_norm is not None:
            for matrix in self.matrices():
                matrix.mul_(self.settings.weight_norm / th.linalg.matrix_norm(matrix).clamp(min=1e-12))

    def transform_output(self, factor: th.Tensor, shift: th.Tensor) -> None:
        """
        Change the last synapses so that the output is predicted to be ``factor`` times what it was, plus
        ``shift``: their weights, error weights and biases.

        :param factor: Above 0, a number
        :param shift: A number; all outputs move by it
        """
        for synapses in synapses_by_name(self.bundles[-1]).values():
            assert synapses.bias is not None, "Without biases an output cannot be shifted"
            for matrix in synapses.matrices():
                matrix.mul_(factor)
            synapses.bias.mul_(factor).add_(shift)

    def project(self, x: th.Tensor) -> th.Tensor:
        """
        The output predicted from an input alone, layer by layer.

        :param x: Input, ``(batch, layer_sizes[0])``
        :return: Output, ``(batch, layer_sizes[-1])``
        :raises ValueError: If the shape is another
        """
        self._check_input(x)
        phi = get_activation(self.settings.activation).function
        activity = phi(x) if self.settings.activate_input else x
        *hidden, output = self.bundles
        for bundle in hidden:
            activity = phi(bundle.predict(activity))
        return output.predict(activity)

    forward = project

    def infer(self, x: th.Tensor) -> th.Tensor:
        """
        The output that the circuit predicts once it has settled with its output left free: what it is read
        out by. Where nothing moves a circuit from the projection
        (:attr:`~sb3_angc.circuit.settings.CircuitSettings.settles_at_projection`), that is :meth:`project`.

        :param x: Input, ``(batch, layer_sizes[0])``
        :return: Output, ``(batch, layer_sizes[-1])``
        :raises ValueError: If it settles, and diverged: the layer is named
        """
        if self.settings.settles_at_projection:
            return self.project(x)
        free = x.new_zeros(x.shape[0], self.layer_sizes[-1])
        state = self.settle(x, free, clamped=free)
        return self.bundles[-1].predict(state.activities[-1])

    def infer_with_each(self, x: th.Tensor, endings: th.Tensor) -> th.Tensor:
        """
        As :meth:`infer` of each row of ``x`` followed by each ending, in less time: see
        :func:`~sb3_angc.circuit.endings.project_with_each`.

        :param x: How inputs begin, ``(batch, n)``
        :param endings: How they end, ``(n_endings, layer_sizes[0] - n)``
        :return: Outputs, ``(batch, n_endings, layer_sizes[-1])``
        :raises ValueError: As :meth:`infer`, or if a beginning and an ending make no whole input
        """
        first = self.bundles[0]
        longest = first.in_sizes[-1] if isinstance(first, ParallelSynapses) else self.layer_sizes[0]
        fits = x.ndim == endings.ndim == 2 and endings.shape[1] <= longest
        if not fits or x.shape[1] + endings.shape[1] != self.layer_sizes[0]:
            raise ValueError(
                f"x and endings of shapes {tuple(x.shape)} and {tuple(endings.shape)} are not allowed: their "
                f"rows must have {self.layer_sizes[0]} numbers together, the ending at most {longest} of them"
            )
        if self.settings.settles_at_projection:
            return project_with_each(self.bundles, self.settings, x, endings)
        n_rows, n_endings = x.shape[0], endings.shape[0]
        every = [x.repeat_interleave(n_endings, dim=0), endings.repeat(n_rows, 1)]
        return self.infer(th.cat(every, dim=1)).view(n_rows, n_endings, -1)

    def settle(self, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None = None) -> CircuitState:
        """
        Clamp input and output and let the hidden layers settle, see
        :func:`~sb3_angc.circuit.inference.settle`.

        :param x: Input, ``(batch, layer_sizes[0])``
        :param y: Output, ``(batch, layer_sizes[-1])``
        :param clamped: 1 where an output is clamped and 0 where it is left free, same shape as
            ``y``; ``None`` clamps all. (What lies between would weigh errors and energy differently.)
        :return: Activities, potentials and errors of every layer
        :raises ValueError: If a shape is not allowed, an input or an output (a free one, too) is not finite,
            or the circuit diverged: the layer is named
        """
        self._check_input(x)
        shape = x.shape[0], self.layer_sizes[-1]
        for argument, value in (("y", y), ("clamped", clamped)):
            if value is not None and tuple(value.shape) != shape:
                found = tuple(value.shape)
                raise ValueError(f"{argument} of shape {found} is not allowed: it must be {shape}")
        state = inference.settle(self.bundles, self.settings, x, y, clamped)
        # Python's check of one number takes a quarter of the time of torch's. (Compiled, a circuit that
        # diverges is found out by its updates, before it learns.)
        if not th.compiler.is_compiling():
            if not math.isfinite(state.energies[-1].sum()):
                self._raise_not_finite(state)
            if self.settings.activate_input and not math.isfinite(x.sum()):  # phi may have made it finite
                raise ValueError(f"{self.name} received an input that is not finite")
        return state

    def local_updates(self, state: CircuitState) -> dict[str, th.Tensor]:
        """
        One update for each weight and bias from what the synapse sees at its two ends:
        ``dW = phi(z).T e * M_W``. (Error weights follow when the circuit learns, see
        :func:`~sb3_angc.circuit.learning.learn`.)

        :param state: A settled state
        :return: Updates by parameter name (as in ``named_parameters()``), of the parameters' shapes.
            They are to be added: a step along them lowers the energy.
        :raises ValueError: If the state is of no sample: an update is a mean over samples
        """
        if state.errors[-1].shape[0] == 0:
            raise ValueError("state of an empty batch is not allowed: it must hold at least one sample")
        parts = [
            part
            for bundle, activity, error in zip(self.bundles, state.activities, state.errors, strict=True)
            for part in bundle.by_part(activity, error)
        ]
        updates: dict[str, th.Tensor] = {}
        for prefix, (synapses, activity, error) in zip(self.plain_synapses, parts, strict=True):
            changes = synapses.hebbian(activity, error)
            if self.settings.modulation:
                changes["weight"] = changes["weight"] * synapses.modulation()[0]
            if self.settings.normalize_updates:
                changes = {name: _normalized(change) for name, change in changes.items()}
            updates.update({f"{prefix}.{name}": change for name, change in changes.items()})
        return updates

    def _check_input(self, x: th.Tensor) -> None:
        if x.shape[1:] != (self.layer_sizes[0],):
            found = tuple(x.shape)
            raise ValueError(f"x of shape {found} is not allowed: it must be (batch, {self.layer_sizes[0]})")

    def _raise_not_finite(self, state: CircuitState) -> None:
        if not th.isfinite(state.activities[0]).all():
            raise ValueError(f"{self.name} received an input that is not finite")
        if not th.isfinite(state.output).all():
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


def _find_norms(circuit: NGCCircuit, _: Any) -> None:
    """Weights of a circuit that did not follow its largest singular values: find them."""
    if circuit.settings.step_rule == "spectral":
        for synapses in circuit.plain_synapses.values():
            if (synapses._singular_vector == synapses._singular_vector[0]).all():
                for _step in range(FIRST_ITERATIONS):
                    synapses.track_norm()
