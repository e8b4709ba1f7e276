"""
What is compiled: an update, from the replayed batch to the moved weights, and acting where circuits settle
for that.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch as th

from sb3_angc.angc.actions import ActionParts
from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import Batch, Samples, prepared
from sb3_angc.angc.update import Learned, LocalUpdates, Objective, Updates, local_updates, update_circuits
from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.learning import joint_norm, learn, learn_by_rule, numbers_of, parameters_of, scales
from sb3_angc.circuit.rules import RULES, state_of
from sb3_angc.common.compiling import CompiledIfPossible


def updates_and_norms(
    policy: ANGCPolicy, batch: Batch, objective: Objective
) -> tuple[LocalUpdates, th.Tensor]:
    """
    :func:`~sb3_angc.angc.update.local_updates`, and the norm of each circuit's, ``(circuits,)``.
    """
    found = local_updates(policy, batch, objective)
    return found, th.stack([joint_norm(updates) for updates in found.by_circuit(policy).values()])


def prepared_in_memory(
    policy: ANGCPolicy, samples: Samples, raw_features: th.Tensor, gamma: float, n_batches: int
) -> Batch:
    """
    :func:`~sb3_angc.angc.replay.prepared`, fields of all batches stacked, ``(n_batches, batch, ...)``: each
    batch in a piece of memory of its own, since compiled code expects the layout that it was compiled for.
    """
    (drawn,) = prepared(policy, samples, raw_features, gamma, 1)
    dealt = (field.reshape(-1, n_batches, *field.shape[1:]).transpose(0, 1) for field in drawn)
    return Batch._make(field.contiguous() for field in dealt)


class CompiledUpdate:
    """
    :func:`~sb3_angc.angc.update.update_circuits`, and :func:`~sb3_angc.angc.replay.prepared` before it,
    compiled where that works. The first update goes through the optimizer itself, which makes its state then.
    An optimizer of another class than those in :data:`~sb3_angc.circuit.rules.RULES` moves the weights
    itself, after compiled local updates.

    :param verbose: From 1 on, a line says when something is compiled
    :param backend: torch.compile's
    """

    def __init__(self, verbose: int = 0, backend: str = "inductor") -> None:
        self.verbose = verbose
        self.look = CompiledIfPossible(prepared_in_memory, backend)
        self.find = CompiledIfPossible(updates_and_norms, backend)
        self.learn = CompiledIfPossible(learn_by_rule, backend)
        self._is_told = False

    def prepared(
        self, policy: ANGCPolicy, samples: Samples, raw_features: th.Tensor, gamma: float, n_batches: int
    ) -> list[Batch]:
        """:func:`~sb3_angc.angc.replay.prepared`"""
        known = policy, samples, raw_features, gamma, n_batches
        key = (*map(_layout, samples), _layout(raw_features), gamma, n_batches)
        stacked = self.look(key, policy.device, *known)
        if stacked is None:
            stacked = prepared_in_memory(*known)
        return [Batch._make(fields) for fields in zip(*map(th.unbind, stacked), strict=True)]

    def __call__(self, policy: ANGCPolicy, batch: Batch, objective: Objective, max_norm: float) -> Learned:
        key: tuple[Any, ...] = (
            *map(_layout, batch),
            *(policy.controller.settings, policy.generator.settings),
            # The value of a tensor is none of what is compiled.
            objective._replace(epistemic_weight=None),
            objective.epistemic_weight is None,
        )
        if self.verbose >= 1 and self.find.compiles(key):
            print(
                "Compiling the updates: about half a minute, or some seconds where torch finds what it "
                "compiled before"
            )
        done = self.find(key, batch.features.device, policy, batch, objective)
        if done is None:
            return update_circuits(policy, batch, objective, max_norm)
        found, norms = done
        updates = found.by_circuit(policy)
        factors = scales(dict(zip(updates, norms.tolist(), strict=True)), max_norm)
        if not self._learn(updates, factors, policy.optimizer, key):
            learn(updates, policy.optimizer, max_norm)
        return Learned(found.loss, found.epistemic_reward)

    def _learn(
        self,
        updates: Mapping[NGCCircuit, Updates],
        factors: Mapping[NGCCircuit, float],
        optimizer: th.optim.Optimizer,
        key: tuple[Any, ...],
    ) -> bool:
        """:return: Whether the circuits have learned; otherwise nothing has changed"""
        rule = RULES.get(type(optimizer))
        if rule is None:
            self._tell_what_is_left_out(optimizer)
            return False
        state = state_of(optimizer, parameters_of(updates))
        if state is None:
            return False
        options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
        numbers = th.tensor(numbers_of(factors, rule, state, options))
        del options["lr"]  # which changes, and is among the numbers
        key = (*key, type(optimizer).__name__, repr(options))
        if not self.learn.takes(key):
            return False
        weights = parameters_of(updates)[0]
        each = list(updates), list(updates.values())
        self.learn(key, weights.device, *each, rule.move, state, options, numbers.to(weights))
        return self.learn.works

    def _tell_what_is_left_out(self, optimizer: th.optim.Optimizer) -> None:
        if not self._is_told:
            names = ", ".join(each.__name__ for each in RULES)
            warnings.warn(
                f"compile_updates=True compiles the local updates, not {type(optimizer).__name__}, which "
                f"moves the weights as it is: optimizers that are compiled are {names}.",
                stacklevel=2,
            )
            self._is_told = True


class CompiledOutputs:
    """
    :meth:`~sb3_angc.angc.actions.ActionParts.outputs`, compiled for each number of observations where that
    works.

    :param action_parts: Of the policy that acts
    :param backend: torch.compile's
    """

    def __init__(self, action_parts: ActionParts, backend: str = "inductor") -> None:
        self.action_parts = action_parts
        self.read = CompiledIfPossible(ActionParts.outputs, backend)

    def __call__(self, controller: NGCCircuit, features: th.Tensor) -> th.Tensor:
        key = _layout(features), controller.settings
        found = self.read(key, features.device, self.action_parts, controller, features)
        return self.action_parts.outputs(controller, features) if found is None else found


def _layout(part: th.Tensor | dict[str, th.Tensor] | None) -> Any:
    """What compiled code knows of a tensor, or of a dict of them."""
    if isinstance(part, dict):
        return tuple((key, _layout(value)) for key, value in part.items())
    return None if part is None else (tuple(part.shape), part.dtype, part.device)
