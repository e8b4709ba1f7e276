"""Policies of ANGC: the two circuits and what they need around them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_angc.angc.action_values import ActionValues, as_tensors
from sb3_angc.angc.actions import ACTION_BINS, ActionParts
from sb3_angc.angc.activations import activation_of
from sb3_angc.angc.epistemic import EpistemicReward, EpistemicScale
from sb3_angc.angc.features import (
    SKETCH_SIZE,
    ImageExtractor,
    PartsExtractor,
    RunningNormalization,
    Sketch,
    default_hidden_sizes,
    hidden_sizes,
    observation_layers,
)
from sb3_angc.angc.optimizer import make_optimizer
from sb3_angc.angc.policy_arguments import check_circuit, check_extractor, check_not_trainable
from sb3_angc.angc.value_scale import ValueScale, agent_settings, can_be_rescaled
from sb3_angc.circuit import Activation, NGCCircuit
from sb3_angc.circuit.layers import Layer
from sb3_angc.common.checks import check_boolean, check_finite_tensor
from sb3_angc.saving.files import writing


class ANGCPolicy(BasePolicy):
    """
    Policy with a controller (observation to the value of each action), its slowly changing
    target, and a generator (observation and action to the next observation).

    :param observation_space: Observation space
    :param action_space: Action space
    :param lr_schedule: Learning rate schedule (could be constant)
    :param net_arch: Sizes of the hidden layers, of both circuits, or of each:
        ``dict(controller=[...], generator=[...])``. ``[128, 128]`` by default; with images, whose
        convolutions come before these, the controller's is ``[512]``, or ``[128]`` where all are
        smaller than 36 x 36.
    :param activation_fn: Activation of the hidden layers: a name in
        ``sb3_angc.circuit.ACTIVATIONS``, an ``Activation``, or the torch module class of the
        same name. ``None`` leaves it to the preset.
    :param features_extractor_class: Features extractor to use; it must have no trainable
        parameters, since nothing here could train them. ``None`` is the policy class's own.
    :param features_extractor_kwargs: Keyword arguments
        to pass to the features extractor.
    :param normalize_images: Whether to normalize images or not,
         dividing by 255.0 (True by default)
    :param optimizer_class: The optimizer to use for both circuits,
        ``th.optim.Adam`` by default
    :param optimizer_kwargs: Additional keyword arguments,
        excluding the learning rate, to pass to the optimizer
    :param circuit: Preset of both circuits, a name in ``sb3_angc.circuit.PRESETS``
    :param circuit_kwargs: Settings of both circuits that override the preset's, see
        ``sb3_angc.circuit.CircuitSettings``. Where none is given, ``output_precision`` of ``"settled"`` is
        0.001, and ``output_init_scale`` of a controller whose weights have no norm 0.1.
    :param normalize_features: Whether the circuits see features scaled to mean 0 and standard
        deviation 1 over the replayed batches. Pixels are never scaled so: divided by 255 they are of
        one scale already, and a scale of their own for each would magnify those that hardly change.
    :param epistemic_scale: What the generator's surprise is divided by, ``"maximum"`` or ``"mean"``,
        see :class:`~sb3_angc.angc.epistemic.EpistemicReward`
    :param cnn_arch: Convolutions of the controller for each image,
        ``(channels, kernel_size[, stride[, padding]])`` each. ``None`` chooses by the image's size: the
        three of SB3's ``NatureCNN`` from 36 x 36 on, ``[(16, 3, 2), (32, 3, 2)]`` from 13 x 13 on,
        ``[(16, 3)]`` for smaller ones.
    :param action_bins: Values that each number of a Box action can take, evenly spaced from its lower to its
        upper bound: 3 are low, middle and high, 2 are bang-bang. Other actions have their own values.
    :param action_input: Whether the action is an input of the controller, whose one output is its value,
        instead of one output for each action: it is asked for each action, of several parts for each choice.
    :param normalize_values: Whether the controller's outputs are values scaled to mean 0 and standard
        deviation 1 over the targets (:class:`~sb3_angc.angc.value_scale.ValueScale`), so that one learning
        rate fits all rewards. Circuits without biases or with a weight norm predict the values themselves.
    :raises ValueError: If an argument is not allowed
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    controller: NGCCircuit
    controller_target: NGCCircuit
    generator: NGCCircuit
    # `ActionParts.outputs` of the policy's, or the same compiled
    read_out: Callable[[NGCCircuit, th.Tensor], th.Tensor]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: str | Activation | type[nn.Module] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        circuit: str = "settled",
        circuit_kwargs: dict[str, Any] | None = None,
        normalize_features: bool = True,
        epistemic_scale: EpistemicScale = "mean",
        cnn_arch: Sequence[Sequence[int]] | None = None,
        action_bins: int = ACTION_BINS,
        action_input: bool = False,
        normalize_values: bool = True,
    ) -> None:
        extractor = features_extractor_class or self.default_features_extractor
        check_extractor(extractor, features_extractor_kwargs, observation_space)
        check_circuit(circuit, circuit_kwargs)
        if not normalize_images and issubclass(extractor, (ImageExtractor, PartsExtractor)):
            features_extractor_kwargs = {"normalized_image": True, **(features_extractor_kwargs or {})}
        super().__init__(
            observation_space,
            action_space,
            extractor,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            normalize_images=normalize_images,
        )
        self.net_arch = net_arch
        self.activation_fn = activation_fn
        self.circuit = circuit
        self.circuit_kwargs = circuit_kwargs or {}
        self.normalize_features = normalize_features
        self.epistemic_scale = epistemic_scale
        self.cnn_arch = cnn_arch
        self.action_bins = action_bins
        self.action_input = action_input
        self.normalize_values = normalize_values
        for name in ("action_input", "normalize_features", "normalize_values"):
            check_boolean(name, getattr(self, name))
        self._build(lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        """
        Create the circuits and their optimizer.

        :param lr_schedule: Learning rate schedule
            lr_schedule(1) is the initial learning rate
        """
        self.features_extractor = self.make_features_extractor()
        check_not_trainable(self.features_extractor)
        images = getattr(self.features_extractor, "image_shapes", [])
        self.n_pixels = sum(map(math.prod, images))
        n_others = int(self.features_extractor.features_dim) - self.n_pixels  # numpy's in some spaces
        dense_size = getattr(self.features_extractor, "dense_size", None)
        if self.net_arch is None:
            controller_arch = default_hidden_sizes(images) if images else [128, 128]
            controller_arch = controller_arch if dense_size is None else []
            self.net_arch = {"controller": controller_arch, "generator": [128, 128]}
        has_others = self.normalize_features and n_others > 0
        self.normalization = RunningNormalization(n_others, self.n_pixels) if has_others else None
        self.action_parts = ActionParts(self.action_space, self.action_bins, self.action_input)
        self.read_out = self.action_parts.outputs
        n_choices = self.action_parts.n_outputs
        n_inputs, n_outputs = (n_others + n_choices, 1) if self.action_input else (n_others, n_choices)
        controller_layers: list[Layer] = [
            *observation_layers(images, n_inputs, self.cnn_arch),
            *([] if dense_size is None else [dense_size]),
            *hidden_sizes(self.net_arch, "controller"),
            n_outputs,
        ]
        self.controller = self._make_circuit(controller_layers, "controller")
        # Where it only predicts, the target needs no error weights of its own.
        settings = self.controller.settings
        feedback = "tied" if settings.settles_at_projection else settings.feedback
        self.controller_target = self._make_circuit(controller_layers, "controller_target", feedback=feedback)
        self.update_target(tau=1.0)
        self.value_scale = ValueScale() if self.normalize_values and can_be_rescaled(settings) else None
        self.sketch = Sketch(self.n_pixels, SKETCH_SIZE) if self.n_pixels > SKETCH_SIZE else None
        n_seen = n_others + min(self.n_pixels, SKETCH_SIZE)
        self.generator = self._make_circuit(
            [n_seen + self.action_parts.input_size, *hidden_sizes(self.net_arch, "generator"), n_seen],
            "generator",
        )
        self.epistemic_reward = EpistemicReward(self.epistemic_scale)
        self.optimizer = make_optimizer(
            self.optimizer_class, [self.controller, self.generator], lr_schedule(1), self.optimizer_kwargs
        )

    def _make_circuit(self, layers: Sequence[Layer], name: str, **settings: Any) -> NGCCircuit:
        settings = {**agent_settings(self.circuit, name, self.circuit_kwargs), **settings}
        if self.activation_fn is not None:
            settings["activation"] = activation_of(self.activation_fn)
        return NGCCircuit(layers, self.circuit, name, **settings)

    @property
    def device(self) -> th.device:
        """Of the circuits; SB3's search through all modules takes a quarter of the time of `predict`."""
        return self.controller.learning_time.device

    def update_target(self, tau: float) -> None:
        """
        Move the target controller towards the controller.

        :param tau: Share of the controller in the new target, 1 for a copy
        """
        self.controller_target.move_towards(self.controller, tau)

    def set_training_mode(self, mode: bool) -> None:
        """
        Circuits compute the same in training and evaluation: the features extractor alone may differ.
        SB3 asks before each prediction; its walk over all modules takes nearly as long as predicting.

        :param mode: if true, set to training mode, else set to evaluation mode
        """
        if mode != self.training:
            self.training = mode
            self.features_extractor.train(mode)

    def q_values(self, obs: Any) -> th.Tensor:
        """
        Values of the actions, or of the values of each of their parts: an action's value is the mean over its
        parts.

        :param obs: Observations, as tensor or as ``predict`` takes them; a single one is a batch of one
        :return: ``(batch, n_actions)``, or those of all parts side by side, ``(batch, n_outputs)``
        """
        return self.values(self.controller, self.features(as_tensors(self, obs)))

    def values(self, controller: NGCCircuit, features: th.Tensor) -> th.Tensor:
        """
        :param controller: The controller or the target controller
        :param features: What it sees of observations, ``(batch, features_dim)``
        :return: The values of all choices, ``(batch, n_outputs)``
        """
        outputs = self.action_parts.outputs(controller, features)
        return outputs if self.value_scale is None else self.value_scale(outputs)

    def observe_targets(self, targets: th.Tensor) -> None:
        """
        Let the scale of values take the targets of a batch, ``(batch, 1)``, into its statistics. But for the
        first batch, no value changes: the last synapses of both controllers are rescaled.
        """
        if self.value_scale is not None:
            change = self.value_scale.observe(targets)
            self.controller.transform_output(*change)
            self.controller_target.transform_output(*change)

    @property
    def q_net(self) -> ActionValues:
        """The controller as DQN's scripts know it: ``model.q_net(obs_tensor)``."""
        return ActionValues(self, self.features, self.values, self.controller, self.action_parts)

    @property
    def q_net_target(self) -> ActionValues:
        """The same of the target controller."""
        return ActionValues(self, self.features, self.values, self.controller_target, self.action_parts)

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observation, as tensor
        :return: What the circuits see of it, ``(batch, features_dim)``
        """
        return self.normalize(self.raw_features(obs))

    def raw_features(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observation, as tensor
        :return: Its features before normalisation, ``(batch, features_dim)``
        """
        if th.is_autocast_enabled(self.device.type):
            raise ValueError("torch.autocast is not allowed: circuits compute in their weights' precision")
        return self.extract_features(obs, self.features_extractor)

    def observe(self, raw_features: th.Tensor) -> None:
        """
        Let the normalisation take a batch into its statistics.

        :param raw_features: Of :meth:`raw_features`
        """
        if self.normalization is not None:
            self.normalization.update(raw_features)

    def normalize(self, raw_features: th.Tensor) -> th.Tensor:
        """
        :param raw_features: Of :meth:`raw_features`; pixels come first, and stay as they are
        :return: What the circuits see, same shape
        """
        return raw_features if self.normalization is None else self.normalization(raw_features)

    def generator_features(self, features: th.Tensor) -> th.Tensor:
        """
        What the generator sees and predicts of an observation. Images of more than ``SKETCH_SIZE``
        pixels together it knows by a fixed random sketch, in which squared errors are on average
        those in pixels: the targets stay where they are while the controller learns, and the
        generator's size does not grow with the image's.

        :param features: Features of the observation, ``(batch, features_dim)``
        :return: ``features``, or sketch and features that are no pixels side by side
        """
        if self.sketch is None:
            return features
        sketch = self.sketch(features[:, : self.n_pixels])
        return th.cat([sketch, features[:, self.n_pixels :]], dim=1)

    def generator_input(self, features: th.Tensor, action_inputs: th.Tensor) -> th.Tensor:
        """
        :param features: Features of the observation, ``(batch, features_dim)``
        :param action_inputs: Of :meth:`~sb3_angc.angc.actions.ActionParts.inputs`, ``(batch, input_size)``
        :return: What the generator sees of both side by side, ``(batch, n + input_size)``
        """
        return th.cat([self.generator_features(features), action_inputs], dim=1)

    def forward(self, obs: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        # Operations on tensors alone, so that a policy can be exported.
        return self._best(self.action_parts.outputs(self.controller, self.features(obs)))

    def _best(self, outputs: th.Tensor) -> th.Tensor:
        # Values rise with outputs: where one is largest, the other is.
        return self.action_parts.actions(self.action_parts.best(outputs))

    def _predict(self, obs: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        check_finite_tensor("The observation", obs)
        outputs = self.read_out(self.controller, self.features(obs))
        check_finite_tensor("The controller's value of an action", outputs)
        return self._best(outputs)

    def save(self, path: str) -> None:
        """
        Save the policy alone. An older file is replaced in one step, when the new one is complete.

        :param path: Path to the file
        :raises OSError: If the file cannot be written; an older one is as it was then
        """
        content = io.BytesIO()
        super().save(content)  # type: ignore[arg-type]  # SB3 takes files as well, and says paths alone
        with writing(path, suffix="") as file:
            file.write(content.getbuffer())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            lr_schedule=self._dummy_schedule,  # dummy lr schedule, not needed for loading policy alone
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            circuit=self.circuit,
            circuit_kwargs=self.circuit_kwargs,
            normalize_features=self.normalize_features,
            epistemic_scale=self.epistemic_scale,
            cnn_arch=self.cnn_arch,
            action_bins=self.action_bins,
            action_input=self.action_input,
            normalize_values=self.normalize_values,
        )
        return data


MlpPolicy = ANGCPolicy


class CnnPolicy(ANGCPolicy):
    """
    Policy of ANGC for images: the controller begins with convolutions, which learn by local updates.

    See :class:`ANGCPolicy` for the parameters. The observation space must be a Box of three dimensions.
    Pixels are divided by the largest value that the space allows.
    """

    default_features_extractor = ImageExtractor


class MultiInputPolicy(ANGCPolicy):
    """
    Policy of ANGC for Dict observations: images among their parts (see
    :func:`~sb3_angc.angc.features.is_image`) have convolutions of their own, the others are flattened
    and joined.

    See :class:`ANGCPolicy` for the parameters.
    """

    default_features_extractor = PartsExtractor
