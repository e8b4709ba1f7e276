"""What would otherwise be computed without a word: other shapes and optimizers, norms not followed."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_angc.circuit import Convolution, NGCCircuit, learn
from sb3_angc.circuit.synapses import DenseSynapses, ParallelSynapses

LINEAR: dict[str, Any] = {"activation": "identity", "feedback": "tied"}


def trained(**settings: Any) -> NGCCircuit:
    """A circuit whose weights have grown unevenly."""
    th.manual_seed(0)
    circuit = NGCCircuit([8, 32, 32, 4], **settings)
    optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)
    x, target = th.randn(128, 8), th.randn(8, 4)
    for _ in range(100):
        learn({circuit: circuit.local_updates(circuit.settle(x, (x @ target).sin()))}, optimizer)
    return circuit


def test_weights_from_a_circuit_that_followed_no_norms() -> None:
    """Power iteration goes at most the whole way, and twenty steps of it nearly that."""
    source = trained(**LINEAR)
    circuit = NGCCircuit([8, 32, 32, 4], order="simultaneous", step_rule="spectral", **LINEAR)
    circuit.load_state_dict(source.state_dict())
    for bundle in circuit.bundles:
        norm = float(th.linalg.matrix_norm(bundle.weight, 2))
        assert 0.95 * norm < float(bundle.squared_spectral_norm().sqrt()) < 1.0001 * norm


def test_norms_that_were_followed_are_loaded_as_they_were() -> None:
    source = trained(order="simultaneous", step_rule="spectral", **LINEAR)
    circuit = NGCCircuit([8, 32, 32, 4], order="simultaneous", step_rule="spectral", **LINEAR)
    circuit.load_state_dict(source.state_dict())
    for own, other in zip(circuit.bundles, source.bundles, strict=True):
        assert th.equal(own.squared_spectral_norm(), other.squared_spectral_norm())


@pytest.mark.parametrize("shape", [(3, 32), (16,), (3, 1, 4, 4)])
@pytest.mark.parametrize("layers", [[(1, 4, 4), Convolution(2, 3), 1], [16, 8, 1]], ids=["image", "numbers"])
@pytest.mark.parametrize("preset", ["settled", "paper"])
def test_inputs_of_another_shape(preset: str, layers: list[Any], shape: tuple[int, ...]) -> None:
    circuit, x = NGCCircuit(layers, preset), th.rand(shape)
    for use in (circuit.project, circuit.infer, lambda x: circuit.settle(x, th.zeros(len(x), 1))):
        with pytest.raises(ValueError, match=r"x of shape .* is not allowed: it must be \(batch, 16\)"):
            use(x)


def test_an_infinite_input_that_phi_makes_finite() -> None:
    circuit = NGCCircuit([2, 4, 1], "paper")
    with pytest.raises(ValueError, match="circuit received an input that is not finite"):
        circuit.settle(th.tensor([[-math.inf, 1.0]]), th.ones(1, 1))


def test_an_optimizer_of_another_circuit() -> None:
    circuit = NGCCircuit([4, 8, 2])
    copied = copy.deepcopy(circuit)
    updates = copied.local_updates(copied.settle(th.rand(3, 4), th.rand(3, 2)))
    with pytest.raises(ValueError, match=r"optimizer is not allowed: it lacks .*\.1\.bias of circuit"):
        learn({copied: updates}, th.optim.Adam(circuit.parameters()))


def test_an_optimizer_older_than_a_bundle() -> None:
    """Nothing moves, not even what it holds; one that is made after the bundle was replaced moves it."""
    circuit = NGCCircuit([4, 8, 8, 2])
    optimizer = th.optim.Adam(circuit.parameters())
    circuit.replace_synapses(1, DenseSynapses(8, 8, bias=True, learned_feedback=True))
    before = copy.deepcopy(circuit.state_dict())
    updates = circuit.local_updates(circuit.settle(th.rand(3, 4), th.rand(3, 2)))
    with pytest.raises(ValueError, match=r"it lacks synapses\.1\.weight, synapses\.1\.bias of circuit"):
        learn({circuit: updates}, optimizer)
    th.testing.assert_close(circuit.state_dict(), before, rtol=0, atol=0)
    learn({circuit: updates}, th.optim.SGD(circuit.prediction_parameters().values(), lr=0.1))
    moved = before["synapses.1.weight"] + 0.1 * updates["synapses.1.weight"]
    th.testing.assert_close(circuit.state_dict()["synapses.1.weight"], moved)


@pytest.mark.parametrize("max_norm", [-1.0, 0.0, math.nan, "10"])
def test_limits_of_the_norm_that_would_unlearn(max_norm: Any) -> None:
    circuit = NGCCircuit([4, 8, 2])
    before = copy.deepcopy(circuit.state_dict())
    updates = circuit.local_updates(circuit.settle(th.rand(3, 4), th.rand(3, 2)))
    with pytest.raises(ValueError, match=f"max_norm={max_norm!r} is not allowed: it must be a number"):
        learn({circuit: updates}, th.optim.SGD(circuit.parameters(), lr=0.1), max_norm)
    th.testing.assert_close(circuit.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "layers",
    [5, None, {2, 3}, {2: 1, 3: 1}, iter([2, 3]), np.array(2)],
    ids=lambda layers: type(layers).__name__,
)
def test_layers_that_are_no_sequence(layers: Any) -> None:
    with pytest.raises(ValueError, match=r"layers=.* is not allowed: it must hold at least two integers"):
        NGCCircuit(layers)


def test_layers_in_an_array() -> None:
    assert NGCCircuit(np.array([2, 3, 1])).layer_sizes == [2, 3, 1]  # type: ignore[arg-type]


def test_names_that_are_no_text() -> None:
    with pytest.raises(ValueError, match=r"preset=\['x'\] is unknown: choose one of settled"):
        NGCCircuit([2, 3], ["x"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"activation=\['relu'\] is unknown: choose one of identity"):
        NGCCircuit([2, 3], activation=["relu"])


@pytest.mark.parametrize("bundle", [th.nn.Linear(2, 8), None, DenseSynapses], ids=str)
def test_a_bundle_that_is_no_synapses(bundle: Any) -> None:
    circuit = NGCCircuit([2, 8, 1], mirror_patterns=0)
    before = circuit.bundles[0]
    with pytest.raises(ValueError, match=r"bundle=.* is not allowed: it must be Synapses or Par"):
        circuit.replace_synapses(0, bundle)
    assert circuit.bundles[0] is before


def test_parts_side_by_side_that_are_no_synapses() -> None:
    dense = DenseSynapses(2, 3, bias=True, learned_feedback=False)
    for part in (th.nn.Linear(2, 3), ParallelSynapses([dense])):
        with pytest.raises(ValueError, match=r"(?s)parts=.* is not allowed: it must be a list of Synapses"):
            ParallelSynapses([dense, part])  # type: ignore[list-item]


@pytest.mark.parametrize("layers", [[(1, 4, 4), Convolution(2, 3), 1], [16, 8, 1]], ids=["image", "numbers"])
@pytest.mark.parametrize("preset", ["settled", "paper"])
def test_updates_of_no_sample(preset: str, layers: list[Any]) -> None:
    circuit = NGCCircuit(layers, preset)
    state = circuit.settle(th.zeros(0, 16), th.zeros(0, 1))
    with pytest.raises(ValueError, match="state of an empty batch is not allowed"):
        circuit.local_updates(state)
