"""Learning by an optimizer's rule is what the optimizer itself does."""

from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit, learn
from sb3_angc.circuit.learning import joint_norm, learn_by_rule, numbers_of, parameters_of, scales
from sb3_angc.circuit.rules import RULES, state_of

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


def learn_as_compiled(
    updates: dict[NGCCircuit, dict[str, th.Tensor]], optimizer: th.optim.Optimizer, max_norm: float
) -> None:
    """What a compiled agent does, without a compiler."""
    factors = scales({circuit: float(joint_norm(its)) for circuit, its in updates.items()}, max_norm)
    rule, state = RULES[type(optimizer)], state_of(optimizer, parameters_of(updates))
    assert state is not None
    options = optimizer.param_groups[0]
    numbers = th.tensor(numbers_of(factors, rule, state, options), dtype=th.float64)
    learn_by_rule(list(updates), list(updates.values()), rule.move, state, options, numbers)


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
@pytest.mark.parametrize("max_norm", [2.0, 1e3, float("inf")])
def test_the_rule_is_the_optimizer_itself(
    optimizer_class: type[th.optim.Optimizer], options: dict[str, Any], max_norm: float
) -> None:
    settings = {"alignment_decay": 1.0, "feedback_rate": 0.9, "modulation": True, "mirror_patterns": 0}
    theirs, ours = two_circuits(**settings), two_circuits(**settings)
    first, second = (optimizer_class(parameters_of(c), lr=1e-2, **options) for c in (theirs, ours))  # type: ignore[call-arg]
    # The second circuit begins to learn later: its steps are counted apart.
    learn(updates_of(ours[:1], 0), second, max_norm)
    learn(updates_of(theirs[:1], 0), first, max_norm)
    learn(updates_of(ours, 1), second, max_norm)
    learn(updates_of(theirs, 1), first, max_norm)
    for step in range(2, 7):
        learn(updates_of(theirs, step), first, max_norm)
        learn_as_compiled(updates_of(ours, step), second, max_norm)
    for one, other in zip(theirs, ours, strict=True):
        th.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-9, atol=1e-11)
    saved, of_rule = first.state_dict()["state"], second.state_dict()["state"]
    th.testing.assert_close(of_rule, saved, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_where_an_update_is_not_finite_a_circuit_is_named(value: float, which: int) -> None:
    circuits = two_circuits()
    updates = updates_of(circuits, 1)
    updates[circuits[which]]["synapses.1.weight"][0, 0] = value
    with pytest.raises(ValueError, match=f"{circuits[which].name} diverged: its local updates"):
        scales({circuit: float(joint_norm(its)) for circuit, its in updates.items()}, float("inf"))


def test_an_optimizer_makes_its_state_itself() -> None:
    one, other = two_circuits()
    adam = th.optim.Adam(parameters_of([one, other]))
    assert state_of(adam, parameters_of([one])) is None
    learn(updates_of([one], 0), adam)
    assert state_of(adam, parameters_of([one])) is not None
    assert state_of(adam, parameters_of([one, other])) is None
    assert len(adam.state) == len(parameters_of([one])), "asking has made state"
    momentum = th.optim.SGD(parameters_of([one]), lr=0.1, momentum=0.9)
    assert state_of(momentum, parameters_of([one])) is None
    assert state_of(th.optim.SGD(parameters_of([one]), lr=0.1), parameters_of([one])) == [{}] * 4


def test_classes_derived_from_an_optimizer_have_no_rule() -> None:
    """They may do anything."""

    class Other(th.optim.Adam):
        pass

    (circuit, _) = two_circuits()
    assert type(Other(parameters_of([circuit]))) not in RULES
    assert set(RULES) == {each for each, _ in OPTIMIZERS}
