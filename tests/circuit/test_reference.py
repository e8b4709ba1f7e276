"""The fast path of a settled update against the plain one: the same weights after 50 updates."""

from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit, learn
from tests.reference import ReferenceCircuit

BATCH = 4
UPDATES = 50
LEARNING_RATE = 1e-2
# Largest relative difference of any weight matrix, bias or error matrix after all updates. Seen: 1e-15 and
# 9e-7. Where an update is made of rounding errors alone, Adam scales it up as it would any other.
TOLERANCE = {th.float64: 1e-12, th.float32: 2e-5}


def make_mask(kind: str, y: th.Tensor, draws: th.Generator) -> th.Tensor | None:
    """Clamped outputs: all, the one of the action taken, or any number, none among them."""
    if kind == "all":
        return None
    if kind == "one":
        chosen = th.randint(y.shape[1], (len(y), 1), generator=draws)
        return th.zeros_like(y).scatter_(1, chosen, 1.0)
    return (th.rand(y.shape, generator=draws) < 0.5).to(y.dtype)


def largest_difference(circuit: NGCCircuit, reference: ReferenceCircuit) -> float:
    """Of all matrices and biases, relative to the reference's norm."""
    pairs: list[tuple[th.Tensor, th.Tensor]] = []
    for index, bundle in enumerate(circuit.bundles):
        pairs.append((bundle.weight.t(), reference.weights[index]))
        if bundle.bias is not None:
            pairs.append((bundle.bias, reference.biases[index]))
        if bundle.feedback is not None:
            pairs.append((bundle.feedback, reference.error_synapses(index)))
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def differences(
    sizes: list[int], mask: str, dtype: th.dtype, max_norm: float = 10.0, **settings: Any
) -> tuple[float, float]:
    """:return: Largest difference from the reference after 50 updates, and the least that a matrix moved"""
    th.manual_seed(0)
    circuit = NGCCircuit(sizes, **settings).to(dtype)
    reference = ReferenceCircuit(circuit, LEARNING_RATE, max_norm)
    start = [bundle.weight.clone() for bundle in circuit.bundles]
    optimizer = th.optim.Adam(circuit.prediction_parameters().values(), lr=LEARNING_RATE, fused=True)
    draws = th.Generator().manual_seed(1)
    for _ in range(UPDATES):
        x = th.randn(BATCH, sizes[0], generator=draws, dtype=dtype)
        y = th.randn(BATCH, sizes[-1], generator=draws, dtype=dtype)
        clamped = make_mask(mask, y, draws)
        reference.update(x, y, clamped)
        state = circuit.settle(x, y, clamped)
        learn({circuit: circuit.local_updates(state)}, optimizer, max_norm)
    moved = min(
        float((bundle.weight - weight).norm() / weight.norm())
        for bundle, weight in zip(circuit.bundles, start, strict=True)
    )
    return largest_difference(circuit, reference), moved


@pytest.mark.parametrize("feedback", ["learned", "tied"])
@pytest.mark.parametrize("mask", ["all", "one", "some"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_same_weights_as_the_reference(steps: int, mask: str, feedback: str) -> None:
    difference, moved = differences([3, 6, 5, 2], mask, th.float64, inference_steps=steps, feedback=feedback)
    assert difference < TOLERANCE[th.float64]
    assert moved > 0.02  # or there would be nothing to compare


@pytest.mark.parametrize("dtype", [th.float64, th.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("sizes", [[3, 2], [3, 5, 2], [3, 6, 5, 2], [3, 5, 4, 6, 3]], ids=str)
def test_same_weights_at_every_depth(sizes: list[int], steps: int, dtype: th.dtype) -> None:
    difference, moved = differences(sizes, "one", dtype, inference_steps=steps)
    assert difference < TOLERANCE[dtype]
    assert moved > 0.02


@pytest.mark.parametrize(
    "settings",
    [
        {"leak": 0.05},
        {"leak": 0.05, "feedback": "tied", "inference_steps": 5},
        {"leak": 0.01, "error_scale": 0.8},
        {"activation": "tanh"},
        {"step_size": 0.7},
        {"bias": False},
        {"feedback_rate": 0.9},
        {"alignment_decay": 0.0},
        {"alignment_time": 0.1},
        {"inference_steps": None},
        {"max_norm": 0.3},  # below nearly every norm
    ],
    ids=str,
)
def test_same_weights_with_other_settings(settings: dict[str, Any]) -> None:
    difference, moved = differences([3, 6, 5, 2], "some", th.float64, **settings)
    assert difference < TOLERANCE[th.float64]
    assert moved > 0.02


def test_the_comparison_sees_a_difference_of_one_setting() -> None:
    """The same comparison against a reference with one sweep less fails by far."""
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 5, 2], inference_steps=2).double()
    fewer = NGCCircuit([3, 6, 5, 2], inference_steps=1).double()
    fewer.load_state_dict(circuit.state_dict())
    reference = ReferenceCircuit(fewer, LEARNING_RATE)
    optimizer = th.optim.Adam(circuit.prediction_parameters().values(), lr=LEARNING_RATE)
    draws = th.Generator().manual_seed(1)
    for _ in range(UPDATES):
        x = th.randn(BATCH, 3, generator=draws, dtype=th.float64)
        y = th.randn(BATCH, 2, generator=draws, dtype=th.float64)
        reference.update(x, y, None)
        learn({circuit: circuit.local_updates(circuit.settle(x, y))}, optimizer)
    assert largest_difference(circuit, reference) > 1e-3
