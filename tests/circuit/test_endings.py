"""Inputs that differ in their ends: the same outputs as of each input by itself."""

from typing import Any

import pytest
import torch as th
from torch.utils.flop_counter import FlopCounterMode

from sb3_angc.circuit import Convolution, NGCCircuit
from sb3_angc.circuit.layers import Layer
from sb3_angc.circuit.synapses import DenseSynapses

IMAGE = (2, 6, 6)
LAYERS: dict[str, list[Layer]] = {
    "numbers": [9, 8, 7, 1],
    "numbers, no hidden layer": [9, 2],
    "an image": [[IMAGE, 4], [Convolution(3, 3), 5], 8, 1],
    "an image, two convolutions": [[IMAGE, 4], [Convolution(3, 3), 5], [Convolution(2, 2), 6], 8, 1],
    "two images and numbers": [[IMAGE, IMAGE, 7], [Convolution(3, 3), Convolution(2, 3), 5], 8, 2],
    "one part": [[9], [6], [5], 1],
    "parts to the end": [[IMAGE, 4], [Convolution(3, 3), 5], [2, 3]],
}


def both(circuit: NGCCircuit, n_ending: int) -> tuple[th.Tensor, th.Tensor]:
    for synapses in circuit.plain_synapses.values():
        assert synapses.bias is not None
        synapses.bias.normal_()  # all are 0 before anything is learned
    x = th.randn(6, circuit.layer_sizes[0] - n_ending, dtype=th.float64)
    endings = th.randn(3, n_ending, dtype=th.float64)
    found = circuit.infer_with_each(x, endings)
    assert found.shape == (6, 3, circuit.layer_sizes[-1])
    by_itself = [circuit.infer(th.cat([x, row.expand(6, -1)], dim=1)) for row in endings]
    return found, th.stack(by_itself, dim=1)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("settings", [{}, {"preset": "ngc"}, {"activate_input": True}], ids=str)
def test_outputs_are_those_of_each_input_by_itself(layers: list[Layer], settings: dict[str, Any]) -> None:
    circuit = NGCCircuit(layers, **settings).double()
    th.testing.assert_close(*both(circuit, n_ending=4))


def test_synapses_of_ones_own_are_asked_for_their_prediction() -> None:
    class Halved(DenseSynapses):
        def predict(self, activity: th.Tensor) -> th.Tensor:
            return super().predict(activity) / 2

    circuit = NGCCircuit([9, 8, 1])
    circuit.replace_synapses(0, Halved(9, 8, bias=True, learned_feedback=False))
    th.testing.assert_close(*both(circuit.double(), n_ending=4))


def test_what_inputs_share_is_computed_once() -> None:
    """By hand: the convolution and its product with the dense layer for six rows, the endings' for three."""
    circuit = NGCCircuit(LAYERS["an image"]).double()
    x, endings = th.randn(6, 72, dtype=th.float64), th.randn(3, 4, dtype=th.float64)
    with FlopCounterMode(display=False) as counter:
        circuit.infer_with_each(x, endings)
    of_rows, of_endings, of_both = 16 * 3 * 18 + 48 * 8, 4 * 5 + 5 * 8, 8 * 1
    assert counter.get_total_flops() == 2 * (6 * of_rows + 3 * of_endings + 18 * of_both)


def test_bundles_of_ones_own_between_parallel_ones() -> None:
    for index, (n_in, n_out) in enumerate([(9, 12), (12, 12), (12, 12)]):
        circuit = NGCCircuit([[4, 5], [6, 6], [6, 6], [6, 6], 2])
        circuit.replace_synapses(index, DenseSynapses(n_in, n_out, bias=True, learned_feedback=True))
        th.testing.assert_close(*both(circuit.double(), n_ending=3))


def test_a_beginning_and_an_ending_must_make_an_input() -> None:
    circuit = NGCCircuit([9, 8, 1])
    told = (
        r"shapes \(6, 5\) and \(3, 3\) are not allowed: their rows must have 9 numbers together, .* at most 9"
    )
    with pytest.raises(ValueError, match=told):
        circuit.infer_with_each(th.zeros(6, 5), th.zeros(3, 3))
    with pytest.raises(ValueError, match=r"shapes \(6, 9\) and \(3,\) are not allowed"):
        circuit.infer_with_each(th.zeros(6, 9), th.zeros(3))
    parts = NGCCircuit([[4, 5], [6, 6], 2])
    with pytest.raises(ValueError, match="9 numbers together, the ending at most 5 of them"):
        parts.infer_with_each(th.zeros(6, 3), th.zeros(3, 6))
