"""Activations against finite differences and torch's own functions."""

import pytest
import torch as th
from torch.nn import functional as F

from sb3_angc.circuit import ACTIVATIONS, Activation, NGCCircuit
from sb3_angc.circuit.activations import get_activation

TORCH_FUNCTIONS = {
    "identity": lambda z: z,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "tanh": F.tanh,
    "elu": F.elu,
    "softplus": F.softplus,
}


def test_every_activation_is_compared() -> None:
    assert set(ACTIVATIONS) == set(TORCH_FUNCTIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_function_equals_torch(name: str) -> None:
    potential = th.linspace(-8, 8, 101, dtype=th.float64)
    assert th.equal(ACTIVATIONS[name].function(potential), TORCH_FUNCTIONS[name](potential))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_equals_finite_difference(name: str) -> None:
    # No point within the difference's step of a kink at 0 or 6.
    potential = th.linspace(-8.03, 8.05, 57, dtype=th.float64)
    step = 1e-6
    function = ACTIVATIONS[name].function
    difference = (function(potential + step) - function(potential - step)) / (2 * step)
    th.testing.assert_close(ACTIVATIONS[name].derivative(potential), difference, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_leaves_the_potential_alone(name: str) -> None:
    potential = th.linspace(-2, 8, 11)
    before = potential.clone()
    ACTIVATIONS[name].derivative(potential)
    ACTIVATIONS[name].function(potential)
    assert th.equal(potential, before)


def test_own_pair_is_used() -> None:
    circuit = NGCCircuit([1, 1, 1], activation=Activation("sine", th.sin, th.cos), bias=False).double()
    first, second = circuit.bundles
    x = th.tensor([[0.3]], dtype=th.float64)
    expected = th.sin(x @ first.weight.T) @ second.weight.T
    assert th.equal(circuit.project(x), expected)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="activation='swish' is unknown: choose one of identity, relu"):
        get_activation("swish")
