"""
What the circuits learn from a batch, from the target to the local updates.

Functions of tensors: nothing is learned yet, and nothing but operations on tensors depends on their values,
so that :func:`local_updates` can be compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch as th

from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import Batch
from sb3_angc.circuit import CircuitState

Updates = dict[str, th.Tensor]


class LocalUpdates(NamedTuple):
    """
    What the circuits learn from a batch.

    :ivar controller: Updates of :meth:`~sb3_angc.circuit.circuit.NGCCircuit.local_updates`
    :ivar generator: The same of the generator; ``None`` where it does not learn
    :ivar loss: Mean energy of the controller before it settled, a number: half the mean squared TD error,
        times the output's precision
    :ivar epistemic_reward: Mean epistemic reward, a number; ``None`` without one
    """

    controller: Updates
    generator: Updates | None
    loss: th.Tensor
    epistemic_reward: th.Tensor | None


def local_updates(
    policy: ANGCPolicy,
    batch: Batch,
    instrumental_weight: float,
    epistemic_weight: th.Tensor | None,
    double_q: bool,
    clamp_all_actions: bool,
) -> LocalUpdates:
    """
    Let both circuits settle on a batch, the generator first: its surprise is a reward, ``r_ep``. What is
    learned from is ``r = alpha_in r_in + alpha_ep r_ep``, with the environment's ``r_in``.

    :param policy: The circuits
    :param batch: What was replayed
    :param instrumental_weight: ``alpha_in``
    :param epistemic_weight: ``alpha_ep``, a number; ``None`` leaves the generator alone
    :param double_q: See :func:`target_values`
    :param clamp_all_actions: See :func:`clamp_values`
    """
    rewards = instrumental_weight * batch.rewards
    generator_updates, mean_epistemic_reward = None, None
    if epistemic_weight is not None:
        state = settle_generator(policy, batch.features, batch.taken, batch.successor_features)
        generator_updates = policy.generator.local_updates(state)
        surprise = state.total_discrepancy
        policy.epistemic_reward.observe(surprise)
        epistemic_reward = policy.epistemic_reward(surprise)
        mean_epistemic_reward = epistemic_reward.mean()
        rewards = rewards + epistemic_weight * epistemic_reward
    targets = target_values(policy, batch, rewards, double_q)
    values, clamped = clamp_values(policy, batch, targets, clamp_all_actions)
    state = policy.controller.settle(batch.features, values, clamped)
    return LocalUpdates(
        policy.controller.local_updates(state),
        generator_updates,
        state.energies[0].mean(),
        mean_epistemic_reward,
    )


def settle_generator(
    policy: ANGCPolicy, features: th.Tensor, taken: th.Tensor, successor_features: th.Tensor
) -> CircuitState:
    """
    Let the generator settle between what was seen and done and what came of it. Its total discrepancy,
    ``sum_l |e_l|^2``, is its surprise.

    :param features: Features of the observations, ``(batch, features_dim)``
    :param taken: 1 at the action taken, 0 elsewhere, ``(batch, n_actions)``
    :param successor_features: Features of the observations one step later, ``(batch, features_dim)``
    """
    return policy.generator.settle(*clamp_generator(policy, features, taken, successor_features))


def clamp_generator(
    policy: ANGCPolicy, features: th.Tensor, taken: th.Tensor, successor_features: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """
    What the generator's input and output are clamped at while it settles. Parameters as in
    :func:`settle_generator`.
    """
    return policy.generator_input(features, taken), policy.generator_features(successor_features)


def target_values(policy: ANGCPolicy, batch: Batch, rewards: th.Tensor, double_q: bool) -> th.Tensor:
    """
    ``t = r + gamma^n Q_target(s', a')`` with ``a' = argmax_a Q(s', a)``, without the second term where the
    episode terminated (a truncated one goes on). ``s'`` is the observation ``n`` steps later.

    :param rewards: ``r``, ``(batch, 1)``
    :param double_q: Whether the controller chooses ``a'`` (double Q-learning,
        https://arxiv.org/abs/1509.06461); otherwise the target controller does
    :return: ``(batch, 1)``
    """
    values = policy.controller_target.infer(batch.bootstrap_features)
    chooser = policy.controller.infer(batch.bootstrap_features) if double_q else values
    value = values.gather(1, chooser.argmax(dim=1, keepdim=True))
    return th.addcmul(rewards, batch.discounts, value)


def clamp_values(
    policy: ANGCPolicy, batch: Batch, targets: th.Tensor, clamp_all_actions: bool
) -> tuple[th.Tensor, th.Tensor | None]:
    """
    What the controller's output is clamped at while it settles: the target, at the action taken.

    :param targets: Of :func:`target_values`, ``(batch, 1)``
    :param clamp_all_actions: Whether the values of the other actions are clamped at their present estimates,
        as in the paper, instead of being left free
    :return: Values, and 1 where they are clamped (``None``: everywhere), each ``(batch, n_actions)``
    """
    if clamp_all_actions:
        return policy.controller.infer(batch.features).scatter(1, batch.actions, targets), None
    return targets.expand_as(batch.taken), batch.taken
