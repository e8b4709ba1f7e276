"""Activations against finite differences and torch's own functions."""

from pathlib import Path

import pytest
import torch as th
from torch.nn import functional as F

from sb3_angc import ANGC
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


@pytest.mark.parametrize("dtype", [th.float32, th.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_equals_autograd_at_kinks_and_far_out(name: str, dtype: th.dtype) -> None:
    """At a kink, autograd's choice of a subgradient is ours: 'released' then equals backpropagation."""
    potential = th.tensor([-1e4, -100.0, -1e-6, -0.0, 0.0, 1e-6, 6.0, 7.0, 100.0, 1e4], dtype=dtype)
    leaf = potential.clone().requires_grad_()
    [expected] = th.autograd.grad(TORCH_FUNCTIONS[name](leaf).sum(), leaf)
    derivative = ACTIVATIONS[name].derivative(potential)
    assert derivative.dtype == dtype
    th.testing.assert_close(derivative, expected, rtol=1e-6, atol=1e-7)


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


def test_own_derivative_is_used() -> None:
    """The scheduled circuit's updates with an own pair are minus torch's gradient, in every layer."""
    sine = Activation("sine", th.sin, th.cos)
    circuit = NGCCircuit([3, 5, 4, 2], preset="released", activation=sine).double()
    x, y = th.randn(7, 3, dtype=th.float64), th.randn(7, 2, dtype=th.float64)
    updates = circuit.local_updates(circuit.settle(x, y))
    weights = [bundle.weight.clone().requires_grad_() for bundle in circuit.bundles]
    first, second, third = weights
    output = th.sin(th.sin(x @ first.T) @ second.T) @ third.T
    gradients = th.autograd.grad(0.5 * (output - y).square().sum(1).mean(), weights)
    for index, gradient in enumerate(gradients):
        th.testing.assert_close(updates[f"synapses.{index}.weight"], -gradient)


def test_own_pair_reaches_an_agent_and_its_file(tmp_path: Path) -> None:
    sine = Activation("sine", th.sin, th.cos)
    model = ANGC(
        "CartPole-v1",
        policy_kwargs={"net_arch": [8], "activation_fn": sine, "normalize_features": False},
        device="cpu",
        seed=0,
    )
    first, second = model.policy.controller.bundles
    observations = th.randn(5, 4)
    expected = th.sin(observations @ first.weight.T) @ second.weight.T
    th.testing.assert_close(model.policy.q_values(observations), expected)
    model.save(tmp_path / "sine")
    loaded = ANGC.load(tmp_path / "sine", device="cpu")
    assert th.equal(loaded.policy.q_values(observations), model.policy.q_values(observations))


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="activation='swish' is unknown: choose one of identity, relu"):
        get_activation("swish")
