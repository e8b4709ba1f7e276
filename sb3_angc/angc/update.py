"""
What the circuits learn from a batch, from the target to the local updates.

Up to the local updates nothing but operations on tensors depends on their values, so that
:func:`local_updates` can be compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch as th

from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import Batch
from sb3_angc.circuit import CircuitState, NGCCircuit, learn

Updates = dict[str, th.Tensor]


class Objective(NamedTuple):
    """
    What is to be learned from a batch.

    :ivar instrumental_weight: ``alpha_in``, weight of the environment's reward
    :ivar epistemic_weight: ``alpha_ep``, a number; ``None`` leaves the generator alone
    :ivar double_q: See :func:`target_values`
    :ivar clamp_all_actions: See :func:`clamp_controller`
    """

    instrumental_weight: float
    epistemic_weight: th.Tensor | None
    double_q: bool
    clamp_all_actions: bool


class LocalUpdates(NamedTuple):
    """
    What the circuits learn from a batch.

    :ivar controller: Updates of :meth:`~sb3_angc.circuit.circuit.NGCCircuit.local_updates`
    :ivar generator: The same of the generator; ``None`` where it does not learn
    :ivar loss: Mean energy of the controller before it settled, over the parts of an action, a number: half
        the mean squared TD error, in units of the values' deviation, times the output's precision
    :ivar epistemic_reward: Mean epistemic reward, a number; ``None`` without one
    """

    controller: Updates
    generator: Updates | None
    loss: th.Tensor
    epistemic_reward: th.Tensor | None

    def by_circuit(self, policy: ANGCPolicy) -> dict[NGCCircuit, Updates]:
        """The updates of those circuits that learn."""
        updates = {policy.controller: self.controller}
        return updates if self.generator is None else {**updates, policy.generator: self.generator}


class Learned(NamedTuple):
    """
    What is told of an update.

    :ivar loss: As in :class:`LocalUpdates`
    :ivar epistemic_reward: As in :class:`LocalUpdates`
    """

    loss: th.Tensor
    epistemic_reward: th.Tensor | None


def update_circuits(policy: ANGCPolicy, batch: Batch, objective: Objective, max_norm: float) -> Learned:
    """
    Let both circuits learn from a batch, see :func:`local_updates` and
    :func:`~sb3_angc.circuit.learning.learn`.

    :param max_norm: As in ``learn``; other parameters as in :func:`local_updates`
    :raises ValueError: If a circuit diverged: neither has learned. (Scales of values and of surprise may have
        moved.)
    """
    found = local_updates(policy, batch, objective)
    learn(found.by_circuit(policy), policy.optimizer, max_norm)
    return Learned(found.loss, found.epistemic_reward)


def local_updates(policy: ANGCPolicy, batch: Batch, objective: Objective) -> LocalUpdates:
    """
    Let both circuits settle on a batch, the generator first: its surprise is a reward, ``r_ep``. What is
    learned from is ``r = alpha_in r_in + alpha_ep r_ep``, with the environment's ``r_in``.

    :param policy: The circuits
    :param batch: What was replayed
    :param objective: The two weights, and how the target is made and clamped
    """
    instrumental_rewards = objective.instrumental_weight * batch.rewards
    rewards, epistemic_weight = instrumental_rewards, objective.epistemic_weight
    generator_updates, mean_epistemic_reward = None, None
    if epistemic_weight is not None:
        state = settle_generator(policy, batch.features, batch.action_inputs, batch.successor_features)
        generator_updates = policy.generator.local_updates(state)
        surprise = state.total_discrepancy
        policy.epistemic_reward.observe(surprise)
        epistemic_reward = policy.epistemic_reward(surprise)
        mean_epistemic_reward = epistemic_reward.mean()
        rewards = rewards + epistemic_weight * epistemic_reward
    targets = target_values(policy, batch, rewards, objective.double_q)
    if policy.value_scale is not None:
        targets = policy.value_scale.bounded(targets, instrumental_rewards, batch.discounts, epistemic_weight)
    policy.observe_targets(targets)
    state = policy.controller.settle(*clamp_controller(policy, batch, targets, objective.clamp_all_actions))
    return LocalUpdates(
        policy.controller.local_updates(state),
        generator_updates,
        state.energies[0].sum() / batch.choices.numel(),
        mean_epistemic_reward,
    )


def settle_generator(
    policy: ANGCPolicy, features: th.Tensor, action_inputs: th.Tensor, successor_features: th.Tensor
) -> CircuitState:
    """
    Let the generator settle between what was seen and done and what came of it. Its total discrepancy,
    ``sum_l |e_l|^2``, is its surprise.

    :param features: Features of the observations, ``(batch, features_dim)``
    :param action_inputs: Of the actions taken, see :class:`~sb3_angc.angc.replay.Batch`
    :param successor_features: Features of the observations one step later, ``(batch, features_dim)``
    """
    return policy.generator.settle(*clamp_generator(policy, features, action_inputs, successor_features))


def clamp_generator(
    policy: ANGCPolicy, features: th.Tensor, action_inputs: th.Tensor, successor_features: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """
    What the generator's input and output are clamped at while it settles. Parameters as in
    :func:`settle_generator`.
    """
    return policy.generator_input(features, action_inputs), policy.generator_features(successor_features)


def target_values(policy: ANGCPolicy, batch: Batch, rewards: th.Tensor, double_q: bool) -> th.Tensor:
    """
    ``t = r + gamma^n mean_j Q_target,j(s', a'_j)`` with ``a'_j = argmax_a Q_j(s', a)`` for each part ``j`` of
    an action, without the second term where the episode terminated (a truncated one goes on). ``s'`` is the
    observation ``n`` steps later.

    :param rewards: ``r``, ``(batch, 1)``
    :param double_q: Whether the controller chooses ``a'`` (double Q-learning,
        https://arxiv.org/abs/1509.06461); otherwise the target controller does
    :return: ``(batch, 1)``
    """
    values = policy.values(policy.controller_target, batch.bootstrap_features)
    chooser = policy.values(policy.controller, batch.bootstrap_features) if double_q else values
    value = values.gather(1, policy.action_parts.best(chooser)).mean(dim=1, keepdim=True)
    return th.addcmul(rewards, batch.discounts, value)


def clamp_controller(
    policy: ANGCPolicy, batch: Batch, targets: th.Tensor, clamp_all_actions: bool
) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
    """
    What the controller is clamped at while it settles: with one part its output is the target, at the action
    taken. With several, the values of the parts taken are clamped at ``t + A_j - mean_i A_i``: their mean is
    the target (Seyde et al. 2023, https://arxiv.org/abs/2210.12566), and each choice keeps its advantage
    ``A_j`` over the best of its part, so that no part's values drift away from the others'. Outputs stand for
    values, see :class:`~sb3_angc.angc.value_scale.ValueScale`.
    Where the action is an input, each of these values is a sample of its own.

    :param targets: ``t`` of :func:`target_values`, ``(batch, 1)``
    :param clamp_all_actions: Whether the values of the other actions are clamped at their present estimates,
        as in the paper, instead of being left free
    :return: Input, output, and 1 where the output is clamped (``None``: everywhere), as
        :meth:`~sb3_angc.circuit.circuit.NGCCircuit.settle` takes them
    """
    parts = policy.action_parts
    targets = targets if policy.value_scale is None else policy.value_scale.normalize(targets)
    moved, present = targets, None
    if parts.n_parts > 1 or clamp_all_actions:
        present = parts.outputs(policy.controller, batch.features)
        advantages = present.gather(1, batch.choices) - present.gather(1, parts.best(present))
        moved = targets + (advantages - advantages.mean(dim=1, keepdim=True))
    if parts.as_input:
        return parts.beside(batch.features, batch.choices), moved.reshape(-1, 1), None
    if present is None:  # whatever the present values are
        return batch.features, targets.expand_as(batch.taken), batch.taken
    outputs = present.scatter(1, batch.choices, moved)
    return batch.features, outputs, None if clamp_all_actions else batch.taken
