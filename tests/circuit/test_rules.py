"""Learning by an optimizer's rule is what the optimizer itself does."""

import copy
from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit, learn
from sb3_angc.circuit.learning import check_norms, learn_by_rule, parameters_of
from sb3_angc.circuit.rules import rule_of

OPTIMIZERS: list[tuple[type[th.optim.Optimizer], dict[str, Any]]] = [
    (th.optim.Adam, {}),
    (th.optim.Adam, {"fused": True, "maximize": True, "betas": [0.5, 0.9], "weight_decay": 0.1}),
    (th.optim.Adam, {"amsgrad": True, "eps": 1e-3}),
    (th.optim.AdamW, {"weight_decay": 0.5, "maximize": True}),
    (th.optim.SGD, {}),
    (th.optim.SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    (th.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (th.optim.RMSprop, {"alpha": 0.8}),
    (th.optim.RMSprop, {"momentum": 0.5, "centered": True, "maximize": True, "weight_decay": 0.1}),
]


def two_circuits(**settings: Any) -> list[NGCCircuit]:
    th.manual_seed(0)
    return [NGCCircuit([3, 5, 2], name=name, **settings).double() for name in ("one", "other")]


def updates_of(circuits: list[NGCCircuit], step: int) -> dict[NGCCircuit, dict[str, th.Tensor]]:
    generator = th.Generator().manual_seed(step)
    return {
        circuit: {
            name: th.randn(parameter.shape, generator=generator, dtype=th.float64)
            for name, parameter in circuit.prediction_parameters().items()
        }
        for circuit in circuits
    }


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
@pytest.mark.parametrize("max_norm", [None, 2.0, 1e3])
def test_the_rule_is_the_optimizer_itself(
    optimizer_class: type[th.optim.Optimizer], options: dict[str, Any], max_norm: float | None
) -> None:
    settings = {"alignment_decay": 1.0, "feedback_rate": 0.9, "modulation": True, "mirror_patterns": 0}
    theirs, ours = two_circuits(**settings), two_circuits(**settings)
    first, second = (optimizer_class(parameters_of(c), lr=1e-2, **options) for c in (theirs, ours))  # type: ignore[call-arg]
    learn(updates_of(ours, 0), second, max_norm)
    learn(updates_of(theirs, 0), first, max_norm)
    for step in range(1, 6):
        learn(updates_of(theirs, step), first, max_norm)
        rule = rule_of(second, parameters_of(ours))
        assert rule is not None
        norms = learn_by_rule(updates_of(ours, step), rule, th.tensor(1e-2, dtype=th.float64), max_norm)
        expected = [
            th.cat([u.flatten() for u in its.values()]).norm() for its in updates_of(ours, step).values()
        ]
        th.testing.assert_close(norms, th.stack(expected))
    for one, other in zip(theirs, ours, strict=True):
        # Steps are counted in single precision, as torch keeps them.
        th.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-6)
    saved, of_rule = first.state_dict()["state"], second.state_dict()["state"]
    th.testing.assert_close(of_rule, saved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_where_an_update_is_not_finite_no_weight_changes(value: float, which: int) -> None:
    circuits = two_circuits(alignment_decay=1.0, mirror_patterns=0)
    optimizer = th.optim.AdamW(parameters_of(circuits), lr=1e-2, weight_decay=0.1)
    learn(updates_of(circuits, 0), optimizer)
    before = [copy.deepcopy(circuit.state_dict()) for circuit in circuits]
    updates = updates_of(circuits, 1)
    updates[circuits[which]]["synapses.1.weight"][0, 0] = value
    rule = rule_of(optimizer, parameters_of(circuits))
    assert rule is not None
    norms = learn_by_rule(updates, rule, th.tensor(1e-2, dtype=th.float64), 10.0)
    for circuit, state in zip(circuits, before, strict=True):
        th.testing.assert_close(circuit.state_dict(), state, rtol=0, atol=0)
    assert all(th.isfinite(part).all() for state in optimizer.state.values() for part in state.values())
    with pytest.raises(
        ValueError, match=f"{circuits[which].name} diverged: its local updates are not finite"
    ):
        check_norms(dict(zip(circuits, norms.tolist(), strict=True)))


def test_an_optimizer_makes_its_state_itself() -> None:
    one, other = two_circuits()
    adam = th.optim.Adam(parameters_of([one, other]))
    assert rule_of(adam, parameters_of([one])) is None
    learn(updates_of([one], 0), adam)
    assert rule_of(adam, parameters_of([one])) is not None
    assert rule_of(adam, parameters_of([one, other])) is None
    assert len(adam.state) == len(parameters_of([one])), "asking has made state"
    assert rule_of(th.optim.SGD(parameters_of([one]), lr=0.1), parameters_of([one])) is not None
    assert rule_of(th.optim.SGD(parameters_of([one]), lr=0.1, momentum=0.9), parameters_of([one])) is None
