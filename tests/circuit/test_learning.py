"""Several circuits learn by one call as each would alone."""

import copy
from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit, learn

SETTINGS = [
    {},
    {"feedback_rate": 0.9},
    {"feedback": "tied"},
    {"preset": "paper", "inference_steps": 3},
]


def make_circuits(settings: dict[str, Any]) -> list[NGCCircuit]:
    th.manual_seed(0)
    return [NGCCircuit(sizes, name=f"of {sizes}", **settings) for sizes in ([3, 6, 5, 2], [4, 7, 3])]


def updates_of(circuits: list[NGCCircuit]) -> dict[NGCCircuit, dict[str, th.Tensor]]:
    return {
        circuit: circuit.local_updates(
            circuit.settle(th.randn(8, circuit.layer_sizes[0]), th.randn(8, circuit.layer_sizes[-1]))
        )
        for circuit in circuits
    }


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("max_norm", [1e-3, 10.0, float("inf")])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_together_as_alone(settings: dict[str, Any], max_norm: float, maximize: bool) -> None:
    together, alone = make_circuits(settings), make_circuits(settings)
    common = th.optim.Adam(
        [parameter for circuit in together for parameter in circuit.prediction_parameters().values()],
        lr=0.1,
        maximize=maximize,
    )
    own = [th.optim.Adam(circuit.prediction_parameters().values(), lr=0.1) for circuit in alone]
    for seed in range(3):
        th.manual_seed(seed)
        learn(updates_of(together), common, max_norm)
        th.manual_seed(seed)
        for optimizer, (circuit, updates) in zip(own, updates_of(alone).items(), strict=True):
            learn({circuit: updates}, optimizer, max_norm)
    for one, other in zip(together, alone, strict=True):
        for name, value in one.named_parameters():
            th.testing.assert_close(value, dict(other.named_parameters())[name])


def test_the_norm_is_limited_in_each_circuit_by_itself() -> None:
    """
    By hand: norms 5 and 0.5 at most 1 leave directions as they are, and the smaller one whole. A limit of
    4 is one of 1 where errors are multiplied by a precision of 1/2 and divided by two error scales of 1.
    """
    settings: dict[str, Any] = {"bias": False, "output_precision": 0.5, "error_scale": 1.0}
    circuits = [NGCCircuit([1, 2], name=name, **settings) for name in ("large", "small")]
    updates = [th.tensor([[3.0], [4.0]]), th.tensor([[0.3], [0.4]])]
    before = [circuit.bundles[0].weight.clone() for circuit in circuits]
    optimizer = th.optim.SGD([circuit.bundles[0].weight for circuit in circuits], lr=1.0)
    pairs = zip(circuits, updates, strict=True)
    learn({circuit: {"synapses.0.weight": update} for circuit, update in pairs}, optimizer, max_norm=4.0)
    for circuit, start, change in zip(circuits, before, ([[0.6], [0.8]], [[0.3], [0.4]]), strict=True):
        th.testing.assert_close(circuit.bundles[0].weight - start, th.tensor(change))


def test_circuits_without_updates_stay_as_they_are() -> None:
    """Neither an earlier update nor the optimizer's momentum moves one that is not asked to learn."""
    circuits = make_circuits({"alignment_decay": 0.5})
    parameters = [value for circuit in circuits for value in circuit.prediction_parameters().values()]
    optimizer = th.optim.Adam(parameters, lr=0.1)
    updates = updates_of(circuits)
    learn(updates, optimizer)
    before = [{name: value.clone() for name, value in circuit.state_dict().items()} for circuit in circuits]
    learn({circuits[0]: updates[circuits[0]]}, optimizer)
    assert not any(
        th.equal(value, before[0][name]) for name, value in circuits[0].prediction_parameters().items()
    )
    assert all(th.equal(value, before[1][name]) for name, value in circuits[1].state_dict().items())


@pytest.mark.parametrize("n_groups", [1, 2])
def test_circuits_in_groups_of_their_own(n_groups: int) -> None:
    circuits = make_circuits({})
    lists = [list(circuit.parameters()) for circuit in circuits]
    groups = lists if n_groups == 2 else [lists[0] + lists[1]]
    optimizer = th.optim.SGD([{"params": each} for each in groups], lr=0.1)
    updates = updates_of(circuits)
    learn(updates, optimizer)
    before = [value.clone() for value in lists[1]]
    learn({circuits[0]: updates[circuits[0]]}, optimizer)
    assert all(map(th.equal, before, lists[1]))
    for name, value in (("lr", 0.2), ("maximize", True)):
        optimizer.param_groups[-1][name] = value
        if n_groups == 2:
            with pytest.raises(ValueError, match=f"groups of parameters differ in {name!r}"):
                learn(updates, optimizer)
            optimizer.param_groups[-1][name] = optimizer.param_groups[0][name]
        else:
            learn(updates, optimizer)


def test_weights_that_were_put_in_the_place_of_others_learn() -> None:
    circuit, other = make_circuits({})[0], make_circuits({})[0]
    circuit.load_state_dict(copy.deepcopy(circuit.state_dict()), assign=True)
    circuit.bundles[0].weight = th.nn.Parameter(circuit.bundles[0].weight.clone(), requires_grad=False)
    for each in (circuit, other):
        th.manual_seed(1)
        learn(updates_of([each]), th.optim.SGD(each.parameters(), lr=0.1))
    assert all(map(th.equal, circuit.state_dict().values(), other.state_dict().values()))


def test_one_bad_update_leaves_all_circuits_as_they_are() -> None:
    circuits = make_circuits({})
    updates = updates_of(circuits)
    updates[circuits[1]]["synapses.0.bias"][0] = th.nan
    before = [value.clone() for circuit in circuits for value in circuit.state_dict().values()]
    optimizer = th.optim.SGD([value for circuit in circuits for value in circuit.parameters()], lr=0.1)
    with pytest.raises(ValueError, match=r"of \[4, 7, 3\] diverged: its local updates are not finite"):
        learn(updates, optimizer)
    after = [value for circuit in circuits for value in circuit.state_dict().values()]
    assert all(map(th.equal, before, after))


def test_an_optimizer_that_fails_leaves_the_feedback_as_it_is() -> None:
    """While the optimizer works, feedback holds its difference from the weights only."""

    class Failing(th.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    (circuit, _) = make_circuits({})
    before = circuit.bundles[1].feedback.clone()  # type: ignore[union-attr]
    updates = updates_of([circuit])
    with pytest.raises(KeyboardInterrupt):
        learn(updates, Failing(circuit.parameters(), lr=0.1))
    th.testing.assert_close(circuit.bundles[1].feedback.data, before)  # type: ignore[union-attr]
