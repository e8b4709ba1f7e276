"""Outputs that are clamped no further from their predictions than a limit."""

from typing import Any

import pytest
import torch as th
from torch.nn import functional as F

from sb3_angc.circuit import NGCCircuit
from tests.circuit.states import predictions_of, start


def assert_as_if_nearer(
    preset: str,
    limits: dict[str, Any],
    offsets: th.Tensor,
    nearer: th.Tensor,
    clamped: th.Tensor | None = None,
) -> None:
    """A limited circuit's updates are those of one without a limit that is told of nearer outputs."""
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 5, 2], preset, inference_steps=2).double()
    limited = NGCCircuit([3, 6, 5, 2], preset, inference_steps=2, **limits).double()
    limited.load_state_dict(circuit.state_dict())
    x = th.randn(4, 3).double()
    prediction = predictions_of(circuit, start(circuit, x, th.zeros(4, 2).double()))[-1]
    updates = limited.local_updates(limited.settle(x, prediction + offsets, clamped))
    expected = circuit.local_updates(circuit.settle(x, prediction + nearer, clamped))
    for name, update in updates.items():
        th.testing.assert_close(update, expected[name])


every_preset = pytest.mark.parametrize("preset", ["settled", "ngc", "paper", "released"])


@every_preset
def test_far_targets_are_clamped_nearer(preset: str) -> None:
    """As if the circuit were told of outputs no further than 2 from its predictions, on either side."""
    offsets = th.tensor([[1.0, -1.0], [5.0, -1.0], [-2.0, 2.5], [-100.0, 3.0]]).double()
    nearer = th.tensor([[1.0, -1.0], [2.0, -1.0], [-2.0, 2.0], [-2.0, 2.0]]).double()
    assert_as_if_nearer(preset, {"max_discrepancy": 2.0}, offsets, nearer)


@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_far_targets_change_weights_as_the_huber_loss_does(limit: float) -> None:
    """Scheduled and tied, the update is minus autograd's gradient of torch's Huber loss."""
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 2], "released", max_discrepancy=limit).double()
    x, y = th.randn(8, 3).double(), 2 * th.randn(8, 2).double()
    updates = circuit.local_updates(circuit.settle(x, y))
    parameters = circuit.prediction_parameters()
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    output = th.func.functional_call(circuit, leaves, (x,))
    loss = F.huber_loss(output, y, delta=limit, reduction="sum") / len(x)
    gradients = th.autograd.grad(loss, list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        th.testing.assert_close(updates[name], -gradient)
