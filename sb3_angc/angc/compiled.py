"""An update as one compiled function, from the replayed batch to the moved weights."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any, TypeVar

import torch as th

from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import Batch
from sb3_angc.angc.update import Learned, local_updates, update_circuits
from sb3_angc.circuit.learning import check_norms, learn, learn_by_rule, parameters_of
from sb3_angc.circuit.rules import RULES, OptimizerRule, rule_of
from sb3_angc.common.compiling import CompiledIfPossible

R = TypeVar("R")


def update_by_rule(
    policy: ANGCPolicy,
    batch: Batch,
    instrumental_weight: float,
    epistemic_weight: th.Tensor | None,
    double_q: bool,
    clamp_all_actions: bool,
    max_norm: float | None,
    rule: OptimizerRule,
    learning_rate: th.Tensor,
) -> tuple[Learned, th.Tensor]:
    """
    :func:`~sb3_angc.angc.update.update_circuits` in operations on tensors alone.

    :param rule: The optimizer's
    :param learning_rate: A number. Other parameters as there
    :return: As there, and the norms of :func:`~sb3_angc.circuit.learning.learn_by_rule`
    """
    found = local_updates(policy, batch, instrumental_weight, epistemic_weight, double_q, clamp_all_actions)
    norms = learn_by_rule(found.by_circuit(policy), rule, learning_rate, max_norm)
    return Learned(found.loss, found.epistemic_reward), norms


class CompiledUpdate:
    """
    :func:`~sb3_angc.angc.update.update_circuits`, compiled where that works. The first update goes through
    the optimizer itself, which makes its state then. An optimizer of another class than those in
    :data:`~sb3_angc.circuit.rules.RULES` moves the weights itself, after compiled local updates.

    :param verbose: From 1 on, a line says when something is compiled
    :param backend: torch.compile's
    """

    def __init__(self, verbose: int = 0, backend: str = "inductor") -> None:
        self.verbose = verbose
        self.whole = CompiledIfPossible(update_by_rule, backend)
        self.local = CompiledIfPossible(local_updates, backend)
        self._is_told = False

    def __call__(
        self,
        policy: ANGCPolicy,
        batch: Batch,
        instrumental_weight: float,
        epistemic_weight: th.Tensor | None,
        double_q: bool,
        clamp_all_actions: bool,
        max_norm: float | None,
    ) -> Learned:
        # Compiled code expects the layout in memory that it was compiled for.
        batch = Batch._make(part.contiguous() for part in batch)
        asked = (policy, batch, instrumental_weight, epistemic_weight, double_q, clamp_all_actions)
        circuits = [policy.controller] if epistemic_weight is None else [policy.controller, policy.generator]
        key: tuple[Any, ...] = (
            *((tuple(part.shape), part.dtype, part.device) for part in batch),
            *(circuit.settings for circuit in circuits),
            *(instrumental_weight, double_q, clamp_all_actions, max_norm),
        )
        optimizer = policy.optimizer
        if type(optimizer) not in RULES:
            self._tell_what_is_left_out(optimizer)
            found = self._run(self.local, key, batch, *asked) or local_updates(*asked)
            learn(found.by_circuit(policy), optimizer, max_norm)
            return Learned(found.loss, found.epistemic_reward)
        rule = rule_of(optimizer, parameters_of(circuits))
        if rule is None:
            return update_circuits(*asked, max_norm)
        rate = th.tensor(optimizer.param_groups[0]["lr"]).to(batch.features)
        key = (*key, type(optimizer).__name__, repr(rule.options))
        done = self._run(self.whole, key, batch, *asked, max_norm, rule, rate)
        if done is None:
            return update_circuits(*asked, max_norm)
        learned, norms = done
        check_norms(dict(zip(circuits, norms.tolist(), strict=True)))
        return learned

    def _run(
        self, compiled: CompiledIfPossible[..., R], key: Hashable, batch: Batch, *arguments: Any
    ) -> R | None:
        if self.verbose >= 1 and compiled.works and not compiled.has(key):
            print(
                "Compiling the updates: about half a minute, or some seconds where torch finds what it "
                "compiled before"
            )
        return compiled(key, batch.features.device, *arguments)

    def _tell_what_is_left_out(self, optimizer: th.optim.Optimizer) -> None:
        if not self._is_told:
            names = ", ".join(each.__name__ for each in RULES)
            warnings.warn(
                f"compile_updates=True compiles the local updates, not {type(optimizer).__name__}, which "
                f"moves the weights as it is: optimizers that are compiled are {names}.",
                stacklevel=2,
            )
            self._is_told = True
