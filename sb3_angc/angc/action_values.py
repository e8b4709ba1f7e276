"""What scripts written for DQN ask of a ``q_net``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_angc.angc.actions import ActionParts
from sb3_angc.circuit import NGCCircuit


def as_tensors(policy: BasePolicy, obs: Any) -> PyTorchObs:
    """
    :param policy: Whose observation it is
    :param obs: As tensor, or as :meth:`predict` takes it: one observation, or a batch of them
    :return: A batch as tensor, or as dict of tensors
    """
    space: Any = policy.observation_space
    if isinstance(obs, th.Tensor):
        return obs.unsqueeze(0) if obs.shape == space.shape else obs
    if isinstance(obs, dict) and all(isinstance(part, th.Tensor) for part in obs.values()):
        is_single = all(part.shape == space[key].shape for key, part in obs.items())
        return {key: part.unsqueeze(0) if is_single else part for key, part in obs.items()}
    return policy.obs_to_tensor(obs)[0]


class ActionValues:
    """
    A controller as DQN's scripts know it: ``model.q_net(obs_tensor)``.

    :param policy: Makes tensors of observations
    :param features: What the circuit sees of them
    :param values: What a circuit's outputs stand for, from these features
    :param circuit: The controller or the target controller
    :param parts: What its outputs stand for
    """

    def __init__(
        self,
        policy: BasePolicy,
        features: Callable[[PyTorchObs], th.Tensor],
        values: Callable[[NGCCircuit, th.Tensor], th.Tensor],
        circuit: NGCCircuit,
        parts: ActionParts,
    ) -> None:
        self.policy = policy
        self.features = features
        self.values = values
        self.circuit = circuit
        self.parts = parts

    def __call__(self, obs: Any) -> th.Tensor:
        """As :meth:`~sb3_angc.angc.policies.ANGCPolicy.q_values` of a policy."""
        return self.values(self.circuit, self.features(as_tensors(self.policy, obs)))

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        """The best action of an observation, or of each of many, as numpy's; no state."""
        obs, is_batch = self.policy.obs_to_tensor(observation)
        actions = self.parts.actions(self.parts.best(self(obs))).cpu().numpy()
        return (actions if is_batch else actions[0]), None

    @property
    def device(self) -> th.device:
        """The policy's."""
        return self.policy.device

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """As the policy's."""
        return self.policy.obs_to_tensor(observation)

    def parameters(self) -> Iterator[th.nn.Parameter]:
        """Weights and biases, without error weights: as many of the controller as of the target."""
        return iter(self.circuit.prediction_parameters().values())

    def state_dict(self) -> dict[str, th.Tensor]:
        """The :meth:`parameters` by name."""
        return {name: value.detach() for name, value in self.circuit.prediction_parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, th.Tensor]) -> None:
        """
        Copy weights and biases. Error weights stay as they are.

        :param state_dict: Of :meth:`state_dict`
        :raises ValueError: If names or shapes are others
        """
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {
            name: value.shape for name, value in state_dict.items()
        }:
            raise ValueError(f"state_dict is not allowed: it must have the shapes of {', '.join(own)}")
        for name, value in own.items():
            value.copy_(state_dict[name])

    def save(self, path: str) -> None:
        """As the policy's: its file holds both controllers."""
        self.policy.save(path)

    def load(self, path: str, device: th.device | str = "auto") -> ActionValues:
        """What :meth:`save` wrote, beside this one, which stays as it is."""
        loaded: Any = type(self.policy).load(path, device)
        circuit = getattr(loaded, self.circuit.name)
        return ActionValues(loaded, loaded.features, loaded.values, circuit, loaded.action_parts)

    def set_training_mode(self, mode: bool) -> None:
        """As the policy's."""
        self.policy.set_training_mode(mode)

    def train(self, mode: bool = True) -> ActionValues:
        """As a module's."""
        self.set_training_mode(mode)
        return self

    def eval(self) -> ActionValues:
        """As a module's."""
        return self.train(False)
